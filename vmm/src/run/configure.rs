//! From the options to what is to be built: machine, guest, checkers.

use std::fs::File;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use stallbox_bundle::Bundle;
use stallbox_faultplan::Plan;
use stallbox_machine::check::{CheckConfig, SymbolSource, Symbols};
use stallbox_machine::config::MachineConfig;
use stallbox_machine::latency::LatencyModel;
use stallbox_machine::schedule::Schedule;

use crate::cli::MachineArgs;
use crate::config::GuestConfig;
use crate::plan;

/// Seed of a run that names none.
pub(crate) const DEFAULT_SEED: u64 = 1;

/// What options name files for.
pub(crate) struct Choices {
    plan: Plan,
    latency: LatencyModel,
}

impl Choices {
    /// Reads the files.
    pub(crate) fn read(args: &MachineArgs) -> Result<Choices> {
        let plan = args.plan.as_deref().map(plan::read).transpose()?;
        Ok(Choices {
            plan: plan.unwrap_or_default(),
            latency: LatencyModel::with(&args.guest.latency)?,
        })
    }

    /// The same with a plan that is in no file.
    pub(crate) fn with_plan(self, text: &str) -> Result<Choices> {
        Ok(Choices {
            plan: Plan::parse(text)?,
            ..self
        })
    }

    /// Takes them from a bundle.
    pub(crate) fn recorded(bundle: &Bundle) -> Result<Choices> {
        let plan = bundle.plan.as_deref().map(Plan::parse).transpose();
        let latency = serde_json::from_value(bundle.latency.clone());
        Ok(Choices {
            plan: plan.context("the plan in it")?.unwrap_or_default(),
            latency: latency
                .map_err(anyhow::Error::new)
                .and_then(LatencyModel::from_portable)
                .context("the latency model in it")?,
        })
    }
}

/// The machine.
pub(crate) fn machine(args: &MachineArgs, choices: Choices) -> Result<MachineConfig> {
    let (accelerator, test_engine) = args.accelerators()?;
    let Choices { plan, latency } = choices;
    let mut smmu = plan.smmu.clone();
    for more in &args.smmu {
        if let Err(key) = smmu.add(more.clone()) {
            bail!("--smmu: `{key}` is given twice, here or in the plan; leave one out");
        }
    }
    Ok(MachineConfig {
        memory_bytes: args.guest.memory,
        memory_backend: args.memory_backend,
        cpus: args.cpus,
        nodes: args.nodes,
        accelerator,
        test_engine,
        cpu_hafdbs: args.guest.cpu_hafdbs,
        smmu_httu: args.guest.smmu_httu,
        smmu_msi: args.smmu_irq == "msi",
        smmu,
        latency,
        seed: args.seed.unwrap_or(DEFAULT_SEED),
        schedule: Schedule {
            order: args.schedule,
            seed: args.schedule_seed,
            preemptions_max: args.preemptions,
        },
        kaslr_seed: args.kaslr_seed,
        plan,
        check: check_config(args)?,
        symbols: symbols(args)?,
    })
}

fn check_config(args: &MachineArgs) -> Result<CheckConfig> {
    let mut config = CheckConfig::default();
    for text in &args.check {
        config.add(text)?;
    }
    Ok(config)
}

/// The symbols that the user named; with our own kernel and a checker on, those beside it.
fn symbols(args: &MachineArgs) -> Result<Option<Rc<Symbols>>> {
    let beside = || {
        let wanted = !args.check.is_empty();
        wanted.then(|| symbols_beside(args)).flatten()
    };
    let path = args.symbols.clone().or_else(beside);
    let symbols = path.as_deref().map(Symbols::read).transpose()?;
    Ok(symbols.map(Rc::new))
}

/// The symbols beside our own kernel.
fn symbols_beside(args: &MachineArgs) -> Option<PathBuf> {
    if args.guest.kernel.is_some() {
        return None;
    }
    let (kernel, _) = args.guest.files().ok()?;
    let map = kernel.with_file_name("System.map");
    map.exists().then_some(map)
}

/// The same for the backtraces of a guest that hangs, which need them at the end only.
pub(crate) fn symbol_source(args: &MachineArgs, machine: &MachineConfig) -> SymbolSource {
    if let Some(symbols) = &machine.symbols {
        return SymbolSource::ready(symbols.clone());
    }
    let file = symbols_beside(args).and_then(|path| File::open(path).ok());
    file.map_or_else(SymbolSource::default, SymbolSource::file)
}

/// What it boots.
pub(crate) fn guest(args: &MachineArgs) -> Result<GuestConfig> {
    let (kernel, initrd) = args.guest.files()?;
    Ok(GuestConfig {
        kernel,
        initrd,
        added: args.guest.add.clone(),
        bootargs: args.bootargs.clone(),
        append: args.append.clone(),
        command: args.script(),
    })
}
