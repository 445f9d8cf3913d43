//! Scenarios in files: which there are, and what the command line's parser says to their options.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, Command, FromArgMatches};
use stallbox_machine::check::CheckConfig;
use stallbox_machine::kernel_reports::FailOn;
use stallbox_suite::{Group, OptionInfo, PlanSource, Scenario, Setting};

use super::course::Planned;
use crate::cli::MachineArgs;
use crate::plan;

/// What a scenario says in places of its own.
const ELSEWHERE: &[&str] = &["image", "kernel", "initrd", "plan"];
/// Options whose values are paths. One of --latency is, unless it is a part's.
const PATHS: &[&str] = &["add", "symbols", "latency"];

/// The scenarios that are meant.
pub(super) fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let named = || format!("cannot read the folder {}", path.display());
        let mut found = Vec::new();
        for entry in fs::read_dir(path).with_context(named)? {
            let file = entry.with_context(named)?.path();
            if file.extension().is_some_and(|it| it == "toml") && file.is_file() {
                found.push(file);
            }
        }
        if found.is_empty() {
            bail!(
                "the folder {} has no scenario, no file that ends in .toml",
                path.display()
            );
        }
        found.sort();
        files.append(&mut found);
    }
    Ok(files)
}

fn command() -> Command {
    MachineArgs::augment_args(Command::new("machine").no_binary_name(true))
}

/// What a machine has.
pub(super) fn options() -> Vec<OptionInfo> {
    let command = command();
    let options = command.get_arguments().filter_map(|option| {
        let name = option.get_long()?;
        let is_here = !ELSEWHERE.contains(&name);
        is_here.then(|| OptionInfo {
            name: name.to_owned(),
            about: option
                .get_help()
                .map(ToString::to_string)
                .unwrap_or_default(),
            has_value: option.get_action().takes_values(),
        })
    });
    options.collect()
}

fn machine(words: impl IntoIterator<Item = String>) -> Result<MachineArgs, String> {
    let matches = command().try_get_matches_from(words);
    let machine = matches.and_then(|matches| MachineArgs::from_arg_matches(&matches));
    machine.map_err(|refusal| {
        let told = refusal.to_string();
        let first = told.split("\n\n").next().unwrap_or_default();
        first.trim_start_matches("error: ").trim_end().to_owned()
    })
}

fn check(option: &str, setting: &Setting) -> Result<(), String> {
    if let Setting::Switch(_) = setting {
        let has_value = options().iter().any(|it| it.name == option && it.has_value);
        if has_value {
            return Err(format!(
                "`{option}` has a value, and is not switched on or off"
            ));
        }
    }
    machine(setting.words(option)).map(|_| ())
}

/// A scenario of a file.
pub(super) struct Read {
    /// The file.
    pub path: PathBuf,
    /// What is in it.
    pub scenario: Scenario,
}

impl Read {
    /// Reads one. Mistakes in it are told with their lines.
    pub(super) fn file(path: &Path) -> Result<Read> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read the scenario {}", path.display()))?;
        let scenario = Scenario::parse(&text, &options(), &check)
            .map_err(|error| error.named(&path.display().to_string()))?;
        let read = Read {
            path: path.to_owned(),
            scenario,
        };
        for group in &read.scenario.groups {
            read.check(group)
                .with_context(|| path.display().to_string())?;
        }
        Ok(read)
    }

    /// What the language itself does not know.
    fn check(&self, group: &Group) -> Result<()> {
        for (is_checker, name) in group.expect.named_reports() {
            let known = match is_checker {
                true => CheckConfig::default().add(name),
                false => FailOn::parse(name).map(|_| ()),
            };
            let key = if is_checker {
                "check_reports"
            } else {
                "reports"
            };
            known.with_context(|| format!("`{key}`"))?;
        }
        let plan = match &group.plan {
            Some(PlanSource::File(file)) => Some(plan::read(&self.beside(file))?),
            Some(PlanSource::Inline(text)) => Some(stallbox_faultplan::Plan::parse(text)?),
            None => None,
        };
        if let Some(rule) = plan.as_ref().and_then(plan::pausing_rule) {
            bail!(
                "rule \"{rule}\" of the fault plan pauses the run, and nobody could let it go on here"
            );
        }
        let args = self.args(group, Vec::new())?;
        args.accelerators()?;
        let mut checkers = CheckConfig::default();
        args.check.iter().try_for_each(|text| checkers.add(text))
    }

    /// Leaves out cases of other names, if any is named.
    pub(super) fn only(&mut self, cases: &[String]) {
        let is_meant = |group: &Group| group.case.as_ref().is_some_and(|it| cases.contains(it));
        let groups = &mut self.scenario.groups;
        groups.retain(|group| cases.is_empty() || is_meant(group));
    }

    /// A path that the scenario names: from its own folder.
    pub(super) fn beside(&self, path: &Path) -> PathBuf {
        match self.path.parent() {
            Some(folder) => folder.join(path),
            None => path.to_owned(),
        }
    }

    /// The command line of a group's machine, before its command.
    fn words(&self, group: &Group, guest: Vec<String>) -> Vec<String> {
        let mut words = guest;
        for (name, setting) in &group.machine {
            let is_path = |value: &String| {
                PATHS.contains(&name.as_str()) && !(name == "latency" && value.contains('='))
            };
            let placed = |value: &String| match is_path(value) {
                true => self.beside(Path::new(value)).display().to_string(),
                false => value.clone(),
            };
            let setting = match setting {
                Setting::Text(text) => Setting::Text(placed(text)),
                Setting::Several(values) => Setting::Several(values.iter().map(placed).collect()),
                other => other.clone(),
            };
            words.extend(setting.words(name));
        }
        match &group.plan {
            Some(PlanSource::File(file)) => {
                words.push(format!("--plan={}", self.beside(file).display()));
            }
            // What a bundle tells of where it came from.
            Some(PlanSource::Inline(_)) => words.push(format!("--plan={}", self.path.display())),
            None => {}
        }
        words
    }

    fn args(&self, group: &Group, guest: Vec<String>) -> Result<MachineArgs> {
        let mut words = self.words(group, guest);
        words.push("--".to_owned());
        words.extend(group.command.iter().cloned());
        machine(words).map_err(|why| anyhow!(why))
    }

    /// A group as it is run. `guest` is what boots, or why nothing does.
    pub(super) fn plan(&self, group: &Group, guest: Result<Vec<String>>) -> Planned {
        let made = guest.and_then(|guest| {
            let mut arguments = match &group.seeds {
                None => vec!["run".to_owned()],
                Some(seeds) => vec![
                    "sweep".to_owned(),
                    format!("--seeds={seeds}"),
                    format!("--from={}", group.from),
                ],
            };
            arguments.extend(self.words(group, guest.clone()));
            arguments.push("--".to_owned());
            arguments.extend(group.command.iter().cloned());
            let mut args = self.args(group, guest)?;
            let text = match &group.plan {
                Some(PlanSource::Inline(text)) => {
                    args.plan = None;
                    Some(text.clone())
                }
                _ => None,
            };
            Ok((args, text, arguments))
        });
        Planned {
            scenario: self.path.display().to_string(),
            group: group.clone(),
            timeout: self.scenario.timeout,
            made: made.map_err(|error| format!("{error:#}")),
        }
    }

    /// What its runs are.
    pub(super) fn describe(&self) -> String {
        let mut text = format!("{}: {}\n", self.path.display(), self.scenario.title);
        for group in &self.scenario.groups {
            let runs = match &group.seeds {
                None => "1 run".to_owned(),
                Some(seeds) if seeds.len() == 1 => "1 run".to_owned(),
                Some(seeds) => format!("{} runs", seeds.len()),
            };
            let name = group.run_name(None);
            text += &format!("  {name}: {runs} on {}\n", group.kernel.name);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Read> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.toml");
        fs::write(&path, text).unwrap();
        Read::file(&path)
    }

    #[test]
    fn a_machine_has_the_options_of_a_run() {
        let options = options();
        let has = |name: &str| options.iter().any(|it| it.name == name);
        for name in [
            "cpus", "memory", "accel", "smmu", "check", "seed", "stop-at", "fail-on",
        ] {
            assert!(has(name), "{name}");
        }
        assert!(!ELSEWHERE.iter().any(|name| has(name)));
    }

    #[test]
    fn values_are_those_of_the_command_line() {
        for (text, why) in [
            (
                "title = 't'\n[machine]\ncpus = 0",
                "s.toml:3:8: invalid value '0' for '--cpus",
            ),
            ("title = 't'\n[machine]\ncpus = true", "has a value"),
            (
                "title = 't'\n[machine]\naccel = ['zip', 'zip']",
                "zip is given twice",
            ),
            ("title = 't'\n[machine]\ncheck = 'tlbs'", "tlbs"),
            ("title = 't'\n[expect]\nreports = ['opps']", "opps"),
            ("title = 't'\n[expect]\ncheck_reports = ['tbl']", "tbl"),
            ("title = 't'\nplan = 'no/such.toml'", "no/such.toml"),
            (
                "title = 't'\n[[plan.rule]]\nname = 'p'\nat = 'record'\ndo = { pause = true }",
                "\"p\" of the fault plan pauses",
            ),
        ] {
            let error = read(text).err().map(|it| format!("{it:#}"));
            let error = error.unwrap_or_else(|| panic!("{text} is taken"));
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn paths_begin_at_the_scenario() {
        let read = read("title = 't'\n[machine]\nadd = 'files'\nlatency = ['a=fixed:1', 'b.toml']")
            .unwrap();
        let words = read.words(&read.scenario.groups[0], Vec::new());
        let folder = read.path.parent().unwrap().display().to_string();
        assert_eq!(
            words,
            [
                format!("--add={folder}/files"),
                "--latency=a=fixed:1".to_owned(),
                format!("--latency={folder}/b.toml")
            ]
        );
    }
}
