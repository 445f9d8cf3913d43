//! `--accel`: which accelerators, with which options.
//!
//! An option is a row of a device's table. What is refused, what errors name and what the help lists
//! all come from there.

use std::fmt::Write as _;

use anyhow::{Result, bail};
use stallbox_machine::config::{
    AcceleratorConfig, DmaErrors, FaultMode, Revision, TestEngineConfig,
};
use stallbox_machine::latency::given_twice;

/// What one `--accel` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// No accelerator.
    None,
    /// HiSilicon's compressor.
    Zip(AcceleratorConfig),
    /// The SVA test engine (`docs/test-engine.md`).
    TestEngine(TestEngineConfig),
}

/// What an option may be set to.
enum Values {
    /// Nothing: it is given, or not.
    Flag,
    /// One of these words.
    Words(&'static [&'static str]),
    /// A number in this range.
    Number(u32, u32),
}

/// An option of a device.
struct Row<Config: 'static> {
    name: &'static str,
    values: Values,
    /// The revision that alone has it, if it is one.
    only: Option<Revision>,
    /// Takes the value over: the number, the word's place in the list, or 1.
    set: fn(&mut Config, u32),
    help: &'static str,
}

const ZIP: &[Row<AcceleratorConfig>] = &[
    Row {
        name: "rev",
        values: Values::Words(&["0x21", "0x30"]),
        only: None,
        // Settled before the others, which it decides about.
        set: |_, _| {},
        help: "revision: Kunpeng 920 or 930 [0x30]",
    },
    Row {
        name: "queues",
        values: Values::Number(2, 1024),
        only: None,
        set: |zip, count| zip.queues = count as u16,
        help: "queues of the device [1024]",
    },
    Row {
        name: "compress-cores",
        values: Values::Number(1, 2),
        only: None,
        set: |zip, count| zip.compress_cores = count,
        help: "jobs that compress at a time [2]",
    },
    Row {
        name: "decompress-cores",
        values: Values::Number(1, 6),
        only: None,
        set: |zip, count| zip.decompress_cores = count,
        help: "jobs that decompress at a time [0x21: 6, 0x30: 3]",
    },
    Row {
        name: "level",
        values: Values::Number(0, 9),
        only: None,
        set: |zip, level| zip.level = level,
        help: "how hard it compresses, as zlib's levels [6]",
    },
    Row {
        name: "coalesce",
        values: Values::Words(&["off", "on"]),
        only: None,
        set: |zip, on| zip.coalesce = on == 1,
        help: "on: a queue has one entry of the event queue at most that the driver has not taken [on]",
    },
    Row {
        name: "dma_error",
        values: Values::Words(&["status", "ras"]),
        only: None,
        set: |zip, word| {
            zip.dma_errors = match word {
                0 => DmaErrors::Status,
                _ => DmaErrors::Ras,
            };
        },
        help: "how a refused access is told: by the completion, or an error interrupt too [status]",
    },
    Row {
        name: "stop-qp",
        values: Values::Flag,
        only: Some(Revision::V3),
        set: |zip, _| zip.stop_qp = true,
        help: "announces the mailbox command STOP_QP",
    },
    Row {
        name: "flush-qm",
        values: Values::Flag,
        only: Some(Revision::V3),
        set: |zip, _| zip.flush_qm = true,
        help: "announces the mailbox command FLUSH_QM",
    },
];

const TEST_ENGINE: &[Row<TestEngineConfig>] = &[
    Row {
        name: "queues",
        values: Values::Number(1, 256),
        only: None,
        set: |engine, count| engine.queues = count as u16,
        help: "queues of the device [64]",
    },
    Row {
        name: "fault",
        values: Values::Words(&["stall", "pri"]),
        only: None,
        set: |engine, word| {
            engine.fault = match word {
                0 => FaultMode::Stall,
                _ => FaultMode::Pri,
            };
        },
        help: "how it waits for a page: stalled in the SMMU, or by page requests [stall]",
    },
    Row {
        name: "ats",
        values: Values::Words(&["prefill"]),
        only: None,
        set: |engine, _| engine.prefill = true,
        help: "with fault=pri: asks for translations before an operation starts",
    },
];

impl<Config> Row<Config> {
    /// As it is written, with what it may be set to.
    fn usage(&self) -> String {
        let name = self.name;
        match self.values {
            Values::Flag => name.to_owned(),
            Values::Words(words) => format!("{name}={}", words.join("|")),
            Values::Number(min, max) => format!("{name}={min}..{max}"),
        }
    }

    fn value(&self, text: Option<&str>) -> Result<u32> {
        let number = match (&self.values, text) {
            (Values::Flag, None) => Some(1),
            (Values::Words(words), Some(text)) => {
                let place = words.iter().position(|word| *word == text);
                place.map(|place| place as u32)
            }
            (Values::Number(min, max), Some(text)) => {
                let number = text.parse().ok();
                number.filter(|number| (*min..=*max).contains(number))
            }
            _ => None,
        };
        let Some(number) = number else {
            let given = text.map_or_else(String::new, |text| format!("={text}"));
            bail!("\"{}{given}\": write {}", self.name, self.usage());
        };
        Ok(number)
    }
}

fn usages<Config>(options: &[Row<Config>]) -> String {
    let usages: Vec<String> = options.iter().map(Row::usage).collect();
    usages.join(", ")
}

/// The options of a device, as they are given.
struct Given<'a>(Vec<(&'a str, Option<&'a str>)>);

impl<'a> Given<'a> {
    fn split(device: &str, words: impl Iterator<Item = &'a str>) -> Result<Given<'a>> {
        let mut given: Vec<(&str, Option<&str>)> = Vec::new();
        for word in words {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word, None),
            };
            given.push((name, value));
        }
        if let Some(name) = given_twice(given.iter().map(|(name, _)| *name)) {
            bail!("{name} is given twice for {device}");
        }
        Ok(Given(given))
    }

    fn apply<Config>(
        &self,
        device: &str,
        options: &[Row<Config>],
        config: &mut Config,
        revision: Option<Revision>,
    ) -> Result<()> {
        for (name, text) in &self.0 {
            let Some(option) = options.iter().find(|option| option.name == *name) else {
                bail!(
                    "{device} has no option \"{name}\"; it has {}",
                    usages(options)
                );
            };
            let value = option.value(*text)?;
            if let Some(only) = option.only
                && revision != Some(only)
            {
                bail!("{device}: {name} is of rev={} alone", only.name());
            }
            (option.set)(config, value);
        }
        Ok(())
    }
}

fn zip(given: &Given<'_>) -> Result<AcceleratorConfig> {
    let revision = match given.0.iter().find(|(name, _)| *name == "rev") {
        Some((_, Some("0x21"))) => Revision::V2,
        _ => Revision::V3,
    };
    let mut config = AcceleratorConfig::new(revision);
    given.apply("zip", ZIP, &mut config, Some(revision))?;
    Ok(config)
}

fn test_engine(given: &Given<'_>) -> Result<TestEngineConfig> {
    let mut config = TestEngineConfig::default();
    given.apply("test-engine", TEST_ENGINE, &mut config, None)?;
    if config.prefill && config.fault != FaultMode::Pri {
        bail!("ats=prefill needs fault=pri: a device that stalls translates no addresses");
    }
    Ok(config)
}

/// Reads what one `--accel` is given.
pub(super) fn parse_accelerator(text: &str) -> Result<Accelerator> {
    let mut words = text.split(',');
    let device = words.next().unwrap_or_default();
    let given = Given::split(device, words)?;
    match device {
        "none" => match given.0.first() {
            None => Ok(Accelerator::None),
            Some((option, _)) => bail!("none has no options such as \"{option}\""),
        },
        "zip" => Ok(Accelerator::Zip(zip(&given)?)),
        "test-engine" => Ok(Accelerator::TestEngine(test_engine(&given)?)),
        _ => bail!(
            "there is zip (with {}), test-engine (with {}) and none",
            usages(ZIP),
            usages(TEST_ENGINE)
        ),
    }
}

/// The options of both devices, for `--help`.
pub(super) fn accelerator_help() -> String {
    let mut text = String::from(
        "Accelerator, with options behind commas, as in zip,rev=0x21 (docs/accelerators.md): zip, \
         test-engine or none (repeatable).\n",
    );
    rows(&mut text, "zip", ZIP);
    rows(&mut text, "test-engine", TEST_ENGINE);
    text
}

fn rows<Config>(text: &mut String, device: &str, options: &[Row<Config>]) {
    // Writing to a string cannot fail.
    let _ = write!(text, "\n{device}:\n");
    for option in options {
        let only = match option.only {
            Some(revision) => format!("; rev={} alone", revision.name()),
            None => String::new(),
        };
        let _ = writeln!(text, "  {:24} {}{only}", option.usage(), option.help);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let parsed = parse_accelerator(text);
        parsed.expect_err(text).to_string()
    }

    fn parsed(text: &str) -> Accelerator {
        parse_accelerator(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn accelerators_are_named_with_their_options() {
        let zip = |revision| Accelerator::Zip(AcceleratorConfig::new(revision));
        assert_eq!(parsed("zip"), zip(Revision::V3));
        assert_eq!(parsed("zip,rev=0x21"), zip(Revision::V2));
        assert_eq!(parsed("none"), Accelerator::None);
        let engine = |fault, prefill| {
            Accelerator::TestEngine(TestEngineConfig {
                fault,
                prefill,
                ..TestEngineConfig::default()
            })
        };
        for text in ["test-engine", "test-engine,fault=stall"] {
            assert_eq!(parsed(text), engine(FaultMode::Stall, false));
        }
        let pri = engine(FaultMode::Pri, false);
        assert_eq!(parsed("test-engine,fault=pri"), pri);
        let prefilled = engine(FaultMode::Pri, true);
        assert_eq!(parsed("test-engine,ats=prefill,fault=pri"), prefilled);
    }

    #[test]
    fn each_option_reaches_the_device() {
        let all = "zip,flush-qm,stop-qp,queues=64,compress-cores=1,decompress-cores=6,level=9,\
                   coalesce=off,dma_error=ras,rev=0x30";
        let expected = AcceleratorConfig {
            revision: Revision::V3,
            queues: 64,
            compress_cores: 1,
            decompress_cores: 6,
            level: 9,
            coalesce: false,
            stop_qp: true,
            flush_qm: true,
            dma_errors: DmaErrors::Ras,
        };
        assert_eq!(parsed(all), Accelerator::Zip(expected));
        let Accelerator::TestEngine(engine) = parsed("test-engine,queues=256") else {
            panic!("another device");
        };
        assert_eq!(engine.queues, 256);
    }

    #[test]
    fn what_is_out_of_range_or_of_another_revision_is_refused_by_name() {
        for (text, says) in [
            ("zip,rev=0x20", "\"rev=0x20\": write rev=0x21|0x30"),
            ("zip,rev", "\"rev\": write rev=0x21|0x30"),
            ("zip,queues=1", "\"queues=1\": write queues=2..1024"),
            ("zip,queues=-1", "\"queues=-1\": write queues=2..1024"),
            ("zip,level=10", "\"level=10\": write level=0..9"),
            (
                "zip,coalesce=yes",
                "\"coalesce=yes\": write coalesce=off|on",
            ),
            ("zip,rev=0x30,stop-qp=1", "\"stop-qp=1\": write stop-qp"),
            ("zip,stop-qp,rev=0x21", "zip: stop-qp is of rev=0x30 alone"),
            (
                "zip,rev=0x21,flush-qm",
                "zip: flush-qm is of rev=0x30 alone",
            ),
            ("zip,rev=0x21,rev=0x30", "rev is given twice for zip"),
            (
                "zip,stop_qp",
                "zip has no option \"stop_qp\"; it has rev=0x21|0x30",
            ),
            ("zip,", "zip has no option \"\""),
            (
                "test-engine,fault=no",
                "\"fault=no\": write fault=stall|pri",
            ),
            (
                "test-engine,queues=257",
                "\"queues=257\": write queues=1..256",
            ),
            ("test-engine,ats=prefill", "ats=prefill needs fault=pri"),
            ("none,rev=0x21", "none has no options such as \"rev\""),
            ("sec", "there is zip (with rev=0x21|0x30"),
        ] {
            let refusal = refusal(text);
            assert!(refusal.starts_with(says), "{text}: {refusal}");
        }
    }

    #[test]
    fn options_have_names_of_their_own_and_are_in_the_help_and_the_page() {
        // A bar in a table is escaped.
        let page = include_str!("../../../docs/accelerators.md").replace("\\|", "|");
        let help = accelerator_help();
        let mut usages: Vec<String> = ZIP.iter().map(Row::usage).collect();
        usages.extend(TEST_ENGINE.iter().map(Row::usage));
        for usage in usages {
            assert!(help.contains(&usage), "{usage}");
            assert!(page.contains(&format!("`{usage}`")), "{usage}");
        }
        for (index, option) in ZIP.iter().enumerate() {
            assert!(ZIP[index + 1..].iter().all(|it| it.name != option.name));
        }
    }
}
