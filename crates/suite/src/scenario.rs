//! The language: a TOML text, and the mistakes in it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use stallbox_faultplan::{Beside, Mistake, Plan, PlanError};
use stallbox_sweep::{BeginAt, Seeds};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::expect::Expect;
use crate::matrix::{self, Group};
use crate::schema::OptionInfo;

/// Longest text of a scenario, in bytes.
const TEXT_BYTES_MAX: usize = 4 << 20;
/// A day.
const SECONDS_MAX: f64 = 86_400.0;

/// What is run, and what must come of it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// In a line.
    pub title: String,
    /// What there is to say about it.
    pub text: String,
    /// As long as a run may take, in the host's time.
    pub timeout: Option<Duration>,
    /// Runs of one machine each, in the order of the text.
    pub groups: Vec<Group>,
}

/// Why a text is no scenario: its mistakes, each with its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct ScenarioError(PlanError);

impl ScenarioError {
    /// The same, of a text with another name.
    #[must_use]
    pub fn named(self, name: &str) -> ScenarioError {
        ScenarioError(self.0.named(name))
    }

    fn of(mistakes: Vec<Mistake>) -> ScenarioError {
        ScenarioError(PlanError {
            name: "scenario".to_owned(),
            mistakes,
        })
    }
}

/// The value of an option of `stallbox run`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Setting {
    /// Of one without a value: true gives it.
    Switch(bool),
    /// An integer.
    Number(i64),
    /// What is written behind the option.
    Text(String),
    /// The option, so often.
    Several(Vec<String>),
}

impl Setting {
    /// The words of a command line that it stands for.
    pub fn words(&self, option: &str) -> Vec<String> {
        let with = |value: &str| format!("--{option}={value}");
        match self {
            Setting::Switch(true) => vec![format!("--{option}")],
            Setting::Switch(false) => Vec::new(),
            Setting::Number(number) => vec![with(&number.to_string())],
            Setting::Text(text) => vec![with(text)],
            Setting::Several(values) => values.iter().map(|value| with(value)).collect(),
        }
    }
}

/// Options by their long names.
pub(crate) type Machine = BTreeMap<Spanned<String>, Spanned<Setting>>;

fn begin_at<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<BeginAt>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let why = "write \"start\", \"ready\" or \"marker:NAME\"";
    let at = text.parse().map_err(|_| serde::de::Error::custom(why))?;
    Ok(Some(at))
}

/// What boots, with the name that it has in the scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// In the scenario.
    pub name: String,
    /// What it is.
    pub guest: Guest,
}

/// What boots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guest {
    /// An image that there is.
    Image(String),
    /// Files.
    Files {
        /// An arm64 Image.
        kernel: PathBuf,
        /// An initial RAM disk.
        initrd: Option<PathBuf>,
    },
    /// An image to be built.
    Built {
        /// The project's own image whose kernel it starts from.
        base: Option<String>,
        /// A kernel tree instead.
        source: Option<PathBuf>,
        /// Patches, in order.
        patches: Vec<PathBuf>,
        /// Lines for the kernel's configuration.
        config: Option<PathBuf>,
        /// Folders of kernel modules.
        modules: Vec<PathBuf>,
    },
}

/// A kernel and what boots with it: an image, files, or something to be built.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenKernel {
    /// How cases and reports call it.
    name: String,
    /// One of the images that `stallbox image list` shows.
    image: Option<String>,
    /// An arm64 Image.
    file: Option<PathBuf>,
    /// With `file`: an initial RAM disk.
    initrd: Option<PathBuf>,
    /// To be built: the project's own image whose kernel to start from.
    base: Option<String>,
    /// To be built: a kernel tree instead.
    source: Option<PathBuf>,
    /// To be built: patches, in order.
    #[serde(default)]
    patch: Vec<PathBuf>,
    /// To be built: lines for the kernel's configuration, or a whole one.
    config: Option<PathBuf>,
    /// To be built: folders of kernel modules.
    #[serde(default)]
    module: Vec<PathBuf>,
}

impl WrittenKernel {
    fn read(&self) -> Result<Kernel, &'static str> {
        let is_built = self.base.is_some()
            || self.source.is_some()
            || self.config.is_some()
            || !self.patch.is_empty()
            || !self.module.is_empty();
        let guest = match (&self.image, &self.file, is_built) {
            (Some(image), None, false) if self.initrd.is_none() => Guest::Image(image.clone()),
            (None, Some(file), false) => Guest::Files {
                kernel: file.clone(),
                initrd: self.initrd.clone(),
            },
            (None, None, true) if self.base.is_some() && self.source.is_some() => {
                return Err("`base` and `source` are both a kernel to start from: leave one out");
            }
            (None, None, true) if self.initrd.is_none() => Guest::Built {
                base: self.base.clone(),
                source: self.source.clone(),
                patches: self.patch.clone(),
                config: self.config.clone(),
                modules: self.module.clone(),
            },
            _ => {
                return Err(
                    "a kernel is one of these: `image`; `file`, with `initrd` if there is one; or what is \
                            built of `base` or `source`, `patch`, `config` and `module`",
                );
            }
        };
        Ok(Kernel {
            name: self.name.clone(),
            guest,
        })
    }
}

/// A fault plan: the path of one, or one itself.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum WrittenPlan {
    /// A path; none, for no plan.
    File(String),
    /// What a fault plan has in it.
    Inline(#[schemars(with = "serde_json::Map<String, serde_json::Value>")] toml::Table),
}

/// One fault plan, or several: each gives runs of its own.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum WrittenPlans {
    /// One.
    One(WrittenPlan),
    /// Several.
    Several(Vec<WrittenPlan>),
}

/// Seeds: a number, or as `--seeds` of `stallbox sweep` has them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "SeedsText")]
#[schemars(with = "SeedsText")]
pub(crate) struct WrittenSeeds(pub Seeds);

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum SeedsText {
    One(u64),
    Set(String),
}

impl TryFrom<SeedsText> for WrittenSeeds {
    type Error = String;

    fn try_from(written: SeedsText) -> Result<WrittenSeeds, String> {
        match written {
            SeedsText::One(seed) => Ok(WrittenSeeds(Seeds::run(seed, 1))),
            SeedsText::Set(text) => match text.parse::<Seeds>() {
                Ok(seeds) => Ok(WrittenSeeds(seeds)),
                Err(error) => Err(error.to_string()),
            },
        }
    }
}

/// A script for the guest's shell, or a command and its arguments.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum WrittenCommand {
    /// A script.
    Script(String),
    /// A command and its arguments.
    Words(Vec<String>),
}

/// A case: what stands here goes before what stands outside of cases.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenCase {
    /// What reports call it.
    pub name: String,
    /// Names of the kernels that it runs on; without it, all of them.
    #[schemars(with = "Option<Vec<String>>")]
    pub kernels: Option<Vec<Spanned<String>>>,
    /// Options of the machine, beside and before those for all.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Setting>")]
    pub machine: Machine,
    /// Its fault plan, or plans.
    pub plan: Option<WrittenPlans>,
    /// Its seeds.
    pub seeds: Option<WrittenSeeds>,
    /// What runs in the guest.
    pub command: Option<WrittenCommand>,
    /// What must come of it; what is not said here is as for all.
    #[serde(default)]
    pub expect: Expect,
}

/// A scenario, as it is written.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(
    title = "Stallbox scenario",
    description = "docs/scenarios.md is the reference."
)]
pub(crate) struct Written {
    /// What it shows, in a line.
    pub title: String,
    /// What else there is to say.
    #[serde(default)]
    pub text: String,
    /// Images to run it on, by name.
    #[serde(default)]
    pub images: Vec<String>,
    /// Other kernels to run it on.
    #[serde(default)]
    #[schemars(with = "Vec<WrittenKernel>")]
    pub kernel: Vec<Spanned<WrittenKernel>>,
    /// Options of `stallbox run`, by their long names.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Setting>")]
    pub machine: Machine,
    /// A fault plan, or several.
    pub plan: Option<WrittenPlans>,
    /// A run for each of these seeds; without it, one run.
    pub seeds: Option<WrittenSeeds>,
    /// Where runs under several seeds part: start, ready (the default) or marker:NAME.
    #[serde(default, deserialize_with = "begin_at")]
    #[schemars(with = "Option<String>")]
    pub from: Option<BeginAt>,
    /// As long as a run may take, in seconds of the host's time.
    #[schemars(with = "Option<f64>")]
    pub timeout: Option<Spanned<f64>>,
    /// What runs in the guest.
    pub command: Option<WrittenCommand>,
    /// What must come of it.
    #[serde(default)]
    pub expect: Expect,
    /// Cases, which differ in what they say themselves.
    #[serde(default)]
    pub case: Vec<WrittenCase>,
}

impl Scenario {
    /// Reads a scenario. `options` are those that a machine has, and `check` says why a value is none of
    /// an option's.
    ///
    /// # Errors
    ///
    /// All mistakes that were found, or the first against the grammar.
    pub fn parse(
        text: &str,
        options: &[OptionInfo],
        check: &dyn Fn(&str, &Setting) -> Result<(), String>,
    ) -> Result<Scenario, ScenarioError> {
        if text.len() > TEXT_BYTES_MAX {
            let message = format!("a scenario has at most {} MiB", TEXT_BYTES_MAX >> 20);
            let mistake = Mistake::new("", 0..0, message, None);
            return Err(ScenarioError::of(vec![mistake]));
        }
        let written: Written = toml::from_str(text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            let message = error.message().trim_end().to_owned();
            let help = "docs/scenarios.md has the keys; `stallbox test --schema` is for editors"
                .to_owned();
            ScenarioError::of(vec![Mistake::new(text, span, message, Some(help))])
        })?;
        let mut reader = Reader {
            text,
            options,
            check,
            mistakes: Vec::new(),
        };
        let scenario = reader.read(&written);
        let mut mistakes = reader.mistakes;
        match scenario {
            Some(scenario) if mistakes.is_empty() => Ok(scenario),
            _ => {
                mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
                Err(ScenarioError::of(mistakes))
            }
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    options: &'a [OptionInfo],
    check: &'a dyn Fn(&str, &Setting) -> Result<(), String>,
    mistakes: Vec<Mistake>,
}

impl Reader<'_> {
    fn mistake(&mut self, span: Range<usize>, message: impl Into<String>, help: Option<String>) {
        let mistake = Mistake::new(self.text, span, message, help);
        self.mistakes.push(mistake);
    }

    fn read(&mut self, written: &Written) -> Option<Scenario> {
        self.machine(&written.machine);
        let cases = written.case.iter();
        cases.for_each(|case| self.machine(&case.machine));
        self.plans();
        let kernels = self.kernels(written);
        self.cases(written, &kernels);
        if let Some(timeout) = &written.timeout
            && !(0.001..=SECONDS_MAX).contains(timeout.get_ref())
        {
            let message =
                format!("`timeout` must be a number of seconds from 0.001 to {SECONDS_MAX}");
            self.mistake(timeout.span(), message, None);
        }
        self.mistakes.is_empty().then(|| Scenario {
            title: written.title.clone(),
            text: written.text.clone(),
            timeout: written
                .timeout
                .as_ref()
                .map(|seconds| Duration::from_secs_f64(*seconds.get_ref())),
            groups: matrix::groups(written, &kernels),
        })
    }

    fn kernels(&mut self, written: &Written) -> Vec<Kernel> {
        let mut kernels: Vec<Kernel> = Vec::new();
        for name in &written.images {
            kernels.push(Kernel {
                name: name.clone(),
                guest: Guest::Image(name.clone()),
            });
        }
        for kernel in &written.kernel {
            match kernel.get_ref().read() {
                Ok(kernel) => kernels.push(kernel),
                Err(why) => self.mistake(kernel.span(), why, None),
            }
        }
        let twice = (1..kernels.len())
            .find(|&at| kernels[..at].iter().any(|it| it.name == kernels[at].name));
        if let Some(at) = twice {
            let message = format!("there are two kernels named \"{}\"", kernels[at].name);
            let help = "leave one out, or give it another name".to_owned();
            self.mistake(0..0, message, Some(help));
        }
        if kernels.is_empty() {
            kernels.push(Kernel {
                name: "stock".to_owned(),
                guest: Guest::Image("stock".to_owned()),
            });
        }
        kernels
    }

    fn cases(&mut self, written: &Written, kernels: &[Kernel]) {
        let names: Vec<&str> = kernels.iter().map(|it| it.name.as_str()).collect();
        for case in &written.case {
            for name in case.kernels.iter().flatten() {
                if !names.contains(&name.get_ref().as_str()) {
                    let message = format!("there is no kernel \"{}\"", name.get_ref());
                    let help = format!("there are: {}", names.join(", "));
                    self.mistake(name.span(), message, Some(help));
                }
            }
        }
        let cases = &written.case;
        let twice =
            (1..cases.len()).find(|&at| cases[..at].iter().any(|it| it.name == cases[at].name));
        if let Some(at) = twice {
            let message = format!("there are two cases named \"{}\"", cases[at].name);
            self.mistake(0..0, message, Some("give one another name".to_owned()));
        }
    }

    fn machine(&mut self, machine: &Machine) {
        for (option, setting) in machine {
            let name = option.get_ref().as_str();
            let known = self.options.iter().any(|it| it.name == name);
            if known {
                if let Err(why) = (self.check)(name, setting.get_ref()) {
                    self.mistake(setting.span(), why, None);
                }
                continue;
            }
            let help = match name {
                "image" | "kernel" | "initrd" => {
                    "images stand in `images`, other kernels in [[kernel]], outside of [machine]"
                        .to_owned()
                }
                "plan" => "the plan stands in `plan`, outside of [machine]".to_owned(),
                _ => {
                    let dashes = name.replace('_', "-");
                    match self.options.iter().find(|it| it.name == dashes) {
                        Some(meant) => format!("did you mean `{}`?", meant.name),
                        None => {
                            let names: Vec<&str> =
                                self.options.iter().map(|it| it.name.as_str()).collect();
                            format!("there are: {}", names.join(", "))
                        }
                    }
                }
            };
            let message = format!("a machine has no option `{name}`");
            self.mistake(option.span(), message, Some(help));
        }
    }

    /// Plans that stand in the text, with their mistakes where they are in it.
    fn plans(&mut self) {
        let Ok(root) = DeTable::parse(self.text) else {
            return;
        };
        let root = root.get_ref();
        let cases = root.get("case").map(Spanned::get_ref);
        let cases = cases.and_then(DeValue::as_array).into_iter().flatten();
        let cases = cases.filter_map(|case| case.get_ref().as_table());
        for plan in [root]
            .into_iter()
            .chain(cases)
            .filter_map(|it| it.get("plan"))
        {
            let plans = match plan.get_ref() {
                DeValue::Array(plans) => plans.iter().collect(),
                _ => vec![plan],
            };
            for plan in plans {
                if let DeValue::Table(table) = plan.get_ref() {
                    let read = Plan::parse_table(self.text, table, plan.span(), &Beside::default());
                    self.mistakes.extend(read.err().into_iter().flatten());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::PlanSource;

    fn options() -> Vec<OptionInfo> {
        let names = ["cpus", "stop-at", "add", "seed"];
        names
            .map(|name| OptionInfo {
                name: name.to_owned(),
                about: String::new(),
                has_value: true,
            })
            .to_vec()
    }

    fn parse(text: &str) -> Result<Scenario, ScenarioError> {
        Scenario::parse(text, &options(), &|name, setting| match setting {
            Setting::Number(9) if name == "cpus" => Err("9 is not in 1..=8".to_owned()),
            _ => Ok(()),
        })
    }

    fn refused(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_title_is_enough() {
        let scenario = parse("title = 'it boots'").unwrap();
        assert_eq!(scenario.groups.len(), 1);
        let group = &scenario.groups[0];
        assert_eq!(group.kernel.guest, Guest::Image("stock".to_owned()));
        assert_eq!(group.from, BeginAt::Start);
        assert!(group.command.is_empty() && group.seeds.is_none());
    }

    #[test]
    fn cases_say_what_is_different() {
        let scenario = parse(
            "title = 't'
             images = ['stock']
             command = 'true'
             seeds = '0..4'
             [machine]
             cpus = 1
             stop-at = 5
             [[kernel]]
             name = 'fixed'
             base = 'stock'
             patch = ['fix.patch']
             [expect]
             console = ['done']
             [[case]]
             name = 'before'
             kernels = ['stock']
             expect = { status = 124 }
             [[case]]
             name = 'after'
             machine = { cpus = 2 }
             seeds = 7
             command = ['sh', '-c', 'exit']
             [[case.plan.rule]]
             at = 'command'
             do = { drop = true }",
        )
        .unwrap();
        let names: Vec<&str> = scenario.groups.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["before, stock", "after, stock", "after, fixed"]);
        let [before, after, fixed] = scenario.groups.as_slice() else {
            panic!()
        };
        assert_eq!(before.seeds.as_ref().unwrap().len(), 4);
        assert_eq!(before.from, BeginAt::ready());
        assert_eq!(before.command, ["true"]);
        assert_eq!(before.words(), ["--cpus=1", "--stop-at=5"]);
        assert_eq!(after.words(), ["--cpus=2", "--stop-at=5"]);
        assert_eq!(after.command, ["sh", "-c", "exit"]);
        assert!(
            matches!(&after.plan, Some(PlanSource::Inline(text)) if text.contains("drop = true"))
        );
        assert!(matches!(&fixed.kernel.guest, Guest::Built { patches, .. } if patches.len() == 1));
    }

    #[test]
    fn each_plan_has_its_runs() {
        let scenario = parse("title = 't'\nplan = ['none', 'a/late.toml']").unwrap();
        let names: Vec<&str> = scenario.groups.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["none", "late"]);
        assert_eq!(scenario.groups[0].plan, None);
    }

    #[test]
    fn mistakes_have_their_places() {
        for (text, place, what) in [
            ("titel = 'x'", ":1:1:", "unknown field `titel`"),
            (
                "title = 't'\n[machine]\ncpu = 1",
                ":3:1:",
                "no option `cpu`",
            ),
            (
                "title = 't'\n[machine]\nstop_at = 1",
                ":3:1:",
                "did you mean `stop-at`?",
            ),
            (
                "title = 't'\n[machine]\ncpus = 9",
                ":3:8:",
                "9 is not in 1..=8",
            ),
            (
                "title = 't'\n[machine]\nplan = 'x'",
                ":3:1:",
                "outside of [machine]",
            ),
            (
                "title = 't'\n[[plan.rule]]\nat = 'nowhere'\ndo = {drop = true}",
                ":3:6:",
                "\"nowhere\"",
            ),
            (
                "title = 't'\n[[case]]\nname = 'a'\nplan = { seed = 'x' }",
                ":4:17:",
                "`seed`",
            ),
            (
                "title = 't'\n[expect]\nstatus = '3..1'",
                ":3:10:",
                "contains no number",
            ),
            (
                "title = 't'\n[expect]\nconsole = ['(']",
                ":3:11:",
                "unclosed group",
            ),
            ("title = 't'\nseeds = 'x'", ":2:9:", "no seed"),
            (
                "title = 't'\n[[case]]\nname = 'a'\nkernels = ['b']",
                ":4:12:",
                "there are: stock",
            ),
            ("title = 't'\ntimeout = 0", ":2:11:", "0.001"),
            (
                "title = 't'\n[[kernel]]\nname = 'a'",
                ":2:1:",
                "one of these",
            ),
            ("title = 't'\nimages = ['a', 'a']", ":1:1:", "two kernels"),
            ("title = ", ":1:", ""),
        ] {
            let told = refused(text);
            assert!(told.starts_with(&format!("scenario{place}")), "{told}");
            assert!(told.contains(what), "{what}: {told}");
        }
    }

    #[test]
    fn options_become_words() {
        let several = Setting::Several(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(several.words("check"), ["--check=a", "--check=b"]);
        assert_eq!(Setting::Switch(true).words("x"), ["--x"]);
        assert!(Setting::Switch(false).words("x").is_empty());
        assert_eq!(Setting::Number(-1).words("x"), ["--x=-1"]);
    }
}
