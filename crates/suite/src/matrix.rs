//! From a scenario to the runs that it asks for.

use std::path::{Path, PathBuf};

use stallbox_sweep::{BeginAt, Seeds};

use crate::expect::Expect;
use crate::scenario::{
    Kernel, Setting, Written, WrittenCase, WrittenCommand, WrittenPlan, WrittenPlans,
};

/// Runs of one machine, which differ in nothing but the seed.
#[derive(Clone, Debug)]
pub struct Group {
    /// What of the scenario it is, in words: its case, kernel and plan, as far as there are several.
    pub name: String,
    /// Its case, if the scenario has any.
    pub case: Option<String>,
    /// What boots.
    pub kernel: Kernel,
    /// The fault plan.
    pub plan: Option<PlanSource>,
    /// Options of the machine, by their long names.
    pub machine: Vec<(String, Setting)>,
    /// A run for each of these; without it, one run with the machine's seed.
    pub seeds: Option<Seeds>,
    /// Where the runs begin to differ.
    pub from: BeginAt,
    /// What runs in the guest; nothing, for its shell.
    pub command: Vec<String>,
    /// What must come of it.
    pub expect: Expect,
}

/// Where a fault plan is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanSource {
    /// In a file.
    File(PathBuf),
    /// Here.
    Inline(String),
}

impl Group {
    /// The machine's options as words of a command line.
    pub fn words(&self) -> Vec<String> {
        let options = self.machine.iter();
        options
            .flat_map(|(name, setting)| setting.words(name))
            .collect()
    }

    /// The name of one of its runs.
    pub fn run_name(&self, seed: Option<u64>) -> String {
        match (self.name.as_str(), seed) {
            ("", None) => "run".to_owned(),
            (name, None) => name.to_owned(),
            ("", Some(seed)) => format!("seed {seed}"),
            (name, Some(seed)) => format!("{name}, seed {seed}"),
        }
    }
}

/// All of them: each case on each of its kernels under each of its plans.
pub(crate) fn groups(written: &Written, kernels: &[Kernel]) -> Vec<Group> {
    let implied = [WrittenCase::default()];
    let cases = match written.case.as_slice() {
        [] => implied.as_slice(),
        cases => cases,
    };
    let mut groups = Vec::new();
    for case in cases {
        let plans = plans(case.plan.as_ref().or(written.plan.as_ref()));
        for kernel in kernels.iter().filter(|it| has(case, it)) {
            for (plan_name, plan) in &plans {
                let mut name =
                    Vec::from_iter((!case.name.is_empty()).then_some(case.name.as_str()));
                name.extend((kernels.len() > 1).then_some(kernel.name.as_str()));
                name.extend((plans.len() > 1).then_some(plan_name.as_str()));
                let seeds = case.seeds.as_ref().or(written.seeds.as_ref());
                let from = match seeds {
                    None => BeginAt::Start,
                    Some(_) => BeginAt::ready(),
                };
                groups.push(Group {
                    name: name.join(", "),
                    case: (!case.name.is_empty()).then(|| case.name.clone()),
                    kernel: kernel.clone(),
                    plan: plan.clone(),
                    machine: machine(written, case),
                    seeds: seeds.map(|seeds| seeds.0.clone()),
                    from: written.from.clone().unwrap_or(from),
                    command: command(case.command.as_ref().or(written.command.as_ref())),
                    expect: case.expect.over(&written.expect),
                });
            }
        }
    }
    groups
}

fn has(case: &WrittenCase, kernel: &Kernel) -> bool {
    let names = case.kernels.as_ref();
    names.is_none_or(|names| names.iter().any(|name| *name.get_ref() == kernel.name))
}

/// A case's options go before those for all.
fn machine(written: &Written, case: &WrittenCase) -> Vec<(String, Setting)> {
    let mut machine = std::collections::BTreeMap::new();
    for (name, setting) in written.machine.iter().chain(&case.machine) {
        machine.insert(name.get_ref().clone(), setting.get_ref().clone());
    }
    machine.into_iter().collect()
}

fn command(command: Option<&WrittenCommand>) -> Vec<String> {
    match command {
        None => Vec::new(),
        Some(WrittenCommand::Script(script)) => vec![script.clone()],
        Some(WrittenCommand::Words(words)) => words.clone(),
    }
}

fn plans(plans: Option<&WrittenPlans>) -> Vec<(String, Option<PlanSource>)> {
    match plans {
        None => vec![(String::new(), None)],
        Some(WrittenPlans::One(one)) => vec![plan(0, one)],
        Some(WrittenPlans::Several(several)) => {
            let several = several.iter().enumerate();
            several.map(|(index, it)| plan(index, it)).collect()
        }
    }
}

fn plan(index: usize, written: &WrittenPlan) -> (String, Option<PlanSource>) {
    match written {
        WrittenPlan::File(path) if path == "none" => (path.clone(), None),
        WrittenPlan::File(path) => {
            let path = Path::new(path);
            let stem = path.file_stem().unwrap_or_default();
            let name = stem.to_string_lossy().into_owned();
            (name, Some(PlanSource::File(path.to_owned())))
        }
        WrittenPlan::Inline(table) => {
            let name = format!("plan {}", index + 1);
            // What was read as TOML can be written as such.
            let text = toml::to_string(table).unwrap_or_default();
            (name, Some(PlanSource::Inline(text)))
        }
    }
}
