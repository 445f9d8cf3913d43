//! The latency model: named parts, a distribution each.
//!
//! `docs/latency.md` says of each default whether it is measured, published or a guess.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use stallbox_timeline::{Dist, Sampler, Span};

/// The built-in profile; a user's file replaces parts of it.
const DEFAULT_PROFILE: &str = include_str!("../profiles/default.toml");

/// A named part of a transaction's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// From the doorbell write to the engine's attention.
    Doorbell,
    /// The fetch of a submission queue entry, beyond its transaction.
    DescriptorFetch,
    /// One DMA transaction of up to 256 bytes, beyond its translation.
    Transaction,
    /// A translation found in the TLB.
    TlbHit,
    /// One access to a translation table.
    WalkStep,
    /// One access to a stream or context descriptor table.
    ConfigFetch,
    /// From the detection of a fault to its record in the event queue.
    FaultReport,
    /// From the consumption of CMD_RESUME to the retry.
    ResumeToRetry,
    /// The fetch and execution of one SMMU command.
    Command,
    /// The write of a completion, beyond its transaction.
    CompletionWrite,
    /// The engine's work on one KiB of input.
    ComputePerKib,
    /// A translation found in a device's own cache.
    AtcHit,
    /// The way of an ATS translation request and of its completion, beyond the translation.
    AtsRequest,
    /// From the sending of a page request to its entry in the PRI queue.
    PageRequest,
    /// From the consumption of CMD_PRI_RESP to the device.
    PageResponse,
    /// From the consumption of CMD_ATC_INV to the device.
    AtcInvalidate,
    /// How long the completion of an invalidation may take.
    AtcTimeout,
}

impl Part {
    /// All parts, in the order of a fault's way.
    pub const ALL: [Part; 17] = [
        Part::Doorbell,
        Part::DescriptorFetch,
        Part::Transaction,
        Part::TlbHit,
        Part::WalkStep,
        Part::ConfigFetch,
        Part::FaultReport,
        Part::ResumeToRetry,
        Part::Command,
        Part::CompletionWrite,
        Part::ComputePerKib,
        Part::AtcHit,
        Part::AtsRequest,
        Part::PageRequest,
        Part::PageResponse,
        Part::AtcInvalidate,
        Part::AtcTimeout,
    ];

    /// The part's name in files, flags and traces.
    pub const fn name(self) -> &'static str {
        match self {
            Part::Doorbell => "doorbell",
            Part::DescriptorFetch => "descriptor_fetch",
            Part::Transaction => "transaction",
            Part::TlbHit => "tlb_hit",
            Part::WalkStep => "walk_step",
            Part::ConfigFetch => "config_fetch",
            Part::FaultReport => "fault_report",
            Part::ResumeToRetry => "resume_to_retry",
            Part::Command => "command",
            Part::CompletionWrite => "completion_write",
            Part::ComputePerKib => "compute_per_kib",
            Part::AtcHit => "atc_hit",
            Part::AtsRequest => "ats_request",
            Part::PageRequest => "page_request",
            Part::PageResponse => "page_response",
            Part::AtcInvalidate => "atc_invalidate",
            Part::AtcTimeout => "atc_timeout",
        }
    }

    fn named(name: &str) -> Result<Part> {
        match Part::ALL.into_iter().find(|part| part.name() == name) {
            Some(part) => Ok(part),
            None => {
                let names: Vec<_> = Part::ALL.iter().map(|part| part.name()).collect();
                bail!(
                    "there is no latency part \"{name}\"; there are: {}",
                    names.join(", ")
                )
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Virtual time of one retired guest instruction.
    instruction_ps: Option<u64>,
    #[serde(default)]
    latency: BTreeMap<String, Dist>,
}

/// What each part costs, before a seed makes draws of it.
#[derive(Clone, Debug)]
pub struct LatencyModel {
    instruction: Span,
    /// The user's file has set it.
    instruction_chosen: bool,
    parts: BTreeMap<Part, Dist>,
}

impl LatencyModel {
    /// The built-in profile.
    ///
    /// # Panics
    /// Never: a test reads the profile.
    pub fn built_in() -> LatencyModel {
        let mut model = LatencyModel {
            instruction: Span::ZERO,
            instruction_chosen: false,
            parts: BTreeMap::new(),
        };
        model
            .merge(DEFAULT_PROFILE, Path::new("."))
            .expect("the built-in profile is tested");
        model.instruction_chosen = false;
        model
    }

    /// The built-in profile, changed by `--latency` options in their order.
    pub fn with(options: &[String]) -> Result<LatencyModel> {
        let parts = options.iter().filter_map(|option| part_and_spec(option));
        if let Some(part) = given_twice(parts.map(|(part, _)| part)) {
            bail!("--latency {part} is given twice; leave one out");
        }
        let mut model = LatencyModel::built_in();
        for option in options {
            model.apply(option)?;
        }
        Ok(model)
    }

    /// Applies one `--latency` option: a TOML file, or `part=distribution:numbers`.
    pub fn apply(&mut self, option: &str) -> Result<()> {
        match part_and_spec(option) {
            Some((name, spec)) => {
                let part = Part::named(name).with_context(|| {
                    format!("--latency {option} (a file with = in its name: ./{option})")
                })?;
                let dist = parse_flag(spec).with_context(|| {
                    format!("--latency {option}: \"{spec}\" is no distribution")
                })?;
                self.parts.insert(part, dist);
                Ok(())
            }
            None => {
                let path = Path::new(option);
                let text = std::fs::read_to_string(path).with_context(|| {
                    format!(
                        "cannot read the latency file {option} (for one part, write part=fixed:100)"
                    )
                })?;
                self.merge(&text, path.parent().unwrap_or(Path::new(".")))
                    .with_context(|| format!("in the latency file {option}"))
            }
        }
    }

    fn merge(&mut self, text: &str, base: &Path) -> Result<()> {
        let file: File = toml::from_str(text)?;
        if let Some(ps) = file.instruction_ps {
            if !(1..=1_000_000).contains(&ps) {
                bail!("instruction_ps = {ps} is not between 1 and 1000000");
            }
            self.instruction = Span::from_ps(ps);
            self.instruction_chosen = true;
        }
        for (name, mut dist) in file.latency {
            let part = Part::named(&name)?;
            dist.load(base).with_context(|| format!("latency.{name}"))?;
            self.parts.insert(part, dist);
        }
        Ok(())
    }

    /// Virtual time of one retired guest instruction.
    pub fn instruction(&self) -> Span {
        self.instruction
    }

    /// Whether the user chose the price of an instruction, which has a meaning in virtual time only.
    pub fn is_instruction_chosen(&self) -> bool {
        self.instruction_chosen
    }

    /// Draws for `seed`.
    pub fn sampler(&self, seed: u64) -> Latency {
        Latency(Part::ALL.map(|part| {
            let dist = self.parts.get(&part).cloned().unwrap_or(Dist::fixed(0.0));
            Sampler::new(dist, seed, part.name())
        }))
    }
}

/// A latency model by itself: what its files had is in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortableLatency {
    instruction_ps: u64,
    instruction_chosen: bool,
    parts: BTreeMap<String, PortableDist>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PortableDist {
    dist: Dist,
    /// Of a distribution from a file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    samples_ns: Vec<f64>,
}

impl LatencyModel {
    /// All of it, with nothing left in a file.
    pub fn portable(&self) -> PortableLatency {
        let portable = |dist: &Dist| PortableDist {
            samples_ns: match dist {
                Dist::File { samples_ns, .. } => samples_ns.to_vec(),
                _ => Vec::new(),
            },
            dist: dist.clone(),
        };
        let parts = self.parts.iter();
        PortableLatency {
            instruction_ps: self.instruction.as_ps(),
            instruction_chosen: self.instruction_chosen,
            parts: parts
                .map(|(part, dist)| (part.name().to_owned(), portable(dist)))
                .collect(),
        }
    }

    /// The model that [`LatencyModel::portable`] was made of.
    pub fn from_portable(portable: PortableLatency) -> Result<LatencyModel> {
        let mut parts = BTreeMap::new();
        for (
            name,
            PortableDist {
                mut dist,
                samples_ns: samples,
            },
        ) in portable.parts
        {
            if let Dist::File { samples_ns, .. } = &mut dist {
                *samples_ns = samples.into();
            }
            dist.check().with_context(|| format!("latency.{name}"))?;
            parts.insert(Part::named(&name)?, dist);
        }
        if !(1..=1_000_000).contains(&portable.instruction_ps) {
            bail!("instruction_ps is not between 1 and 1000000");
        }
        Ok(LatencyModel {
            instruction: Span::from_ps(portable.instruction_ps),
            instruction_chosen: portable.instruction_chosen,
            parts,
        })
    }
}

/// The latency model at work: each part has a random stream of its own.
pub struct Latency([Sampler; Part::ALL.len()]);

impl Latency {
    /// From now on draws as a model at its beginning does for `seed`.
    pub(crate) fn reseed(&self, seed: u64) {
        for part in Part::ALL {
            self.0[part as usize].reseed(seed, part.name());
        }
    }

    /// The next draw of `part`.
    pub fn draw(&self, part: Part) -> Span {
        self.0[part as usize].draw()
    }
}

/// The first that comes a second time: options are given once.
pub fn given_twice<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = BTreeSet::new();
    names.into_iter().find(|name| !seen.insert(*name))
}

/// Takes `part=distribution` apart; `None` is a file, whose path may have a = in it, too.
fn part_and_spec(option: &str) -> Option<(&str, &str)> {
    option
        .split_once('=')
        .filter(|(part, _)| !part.contains('/'))
}

/// `fixed:100`, `uniform:50,200`, `normal:100,10`, `lognormal:100,0.3`, `pareto:100,2.5,10000`,
/// `file:samples.txt`.
fn parse_flag(spec: &str) -> Result<Dist> {
    let usage = "write fixed:NS, uniform:MIN,MAX, normal:MEAN,STDDEV, lognormal:MEDIAN,SIGMA, \
                 pareto:MIN,ALPHA,MAX or file:PATH (times in nanoseconds)";
    let (name, rest) = spec.split_once(':').context(usage)?;
    if name == "file" {
        let mut dist = Dist::File {
            path: rest.to_owned(),
            samples_ns: [].into(),
        };
        dist.load(Path::new("."))?;
        return Ok(dist);
    }
    let numbers = rest
        .split(',')
        .map(|number| {
            number
                .trim()
                .parse::<f64>()
                .with_context(|| format!("\"{number}\" is no number"))
        })
        .collect::<Result<Vec<_>>>()?;
    let dist = match (name, numbers.as_slice()) {
        ("fixed", [ns]) => Dist::Fixed { ns: *ns },
        ("uniform", [min_ns, max_ns]) => Dist::Uniform {
            min_ns: *min_ns,
            max_ns: *max_ns,
        },
        ("normal", [mean_ns, stddev_ns]) => Dist::Normal {
            mean_ns: *mean_ns,
            stddev_ns: *stddev_ns,
        },
        ("lognormal", [median_ns, sigma]) => Dist::Lognormal {
            median_ns: *median_ns,
            sigma: *sigma,
        },
        ("pareto", [min_ns, alpha, max_ns]) => Dist::Pareto {
            min_ns: *min_ns,
            alpha: *alpha,
            max_ns: *max_ns,
        },
        _ => bail!(usage),
    };
    dist.check()?;
    Ok(dist)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_profile_names_every_part() {
        let model = LatencyModel::built_in();
        assert_eq!(model.parts.len(), Part::ALL.len());
        assert!(model.instruction() > Span::ZERO);
    }

    #[test]
    fn a_flag_replaces_one_part() {
        let mut model = LatencyModel::built_in();
        model.apply("walk_step=fixed:77").unwrap();
        assert_eq!(model.sampler(1).draw(Part::WalkStep), Span::from_ns(77));
    }

    #[test]
    fn errors_name_the_part_and_the_cure() {
        let mut model = LatencyModel::built_in();
        let text = |result: Result<()>| format!("{:#}", result.unwrap_err());
        assert!(text(model.apply("walkstep=fixed:1")).contains("there are: doorbell"));
        assert!(text(model.apply("tlb_hit=fixed")).contains("fixed:NS"));
        assert!(text(model.apply("/no/such/file.toml")).contains("/no/such/file.toml"));
        assert!(text(model.apply("a=b.toml")).contains("./a=b.toml"));
    }

    #[test]
    fn a_file_may_have_an_equals_sign_in_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a=b.toml");
        std::fs::write(&path, "latency.walk_step = { dist = 'fixed', ns = 77 }").unwrap();
        let mut model = LatencyModel::built_in();
        model.apply(path.to_str().unwrap()).unwrap();
        assert_eq!(model.sampler(1).draw(Part::WalkStep), Span::from_ns(77));
    }

    #[test]
    fn a_portable_model_is_the_model() {
        let folder = tempfile::tempdir().unwrap();
        let samples = folder.path().join("samples");
        std::fs::write(&samples, "3.7\n80\n0.1\n").unwrap();
        let mut model = LatencyModel::built_in();
        let option = format!("walk_step=file:{}", samples.display());
        model.apply(&option).unwrap();
        let text = serde_json::to_string(&model.portable()).unwrap();
        drop(folder);
        let read = LatencyModel::from_portable(serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(read.portable(), model.portable());
        for part in Part::ALL {
            let (one, other) = (model.sampler(7), read.sampler(7));
            for _ in 0..100 {
                assert_eq!(one.draw(part), other.draw(part));
            }
        }
    }

    #[test]
    fn a_part_is_given_once() {
        let options = ["walk_step=fixed:1", "tlb_hit=fixed:2", "walk_step=fixed:3"];
        let error = LatencyModel::with(&options.map(str::to_owned)).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("--latency walk_step is given twice")
        );
    }
}
