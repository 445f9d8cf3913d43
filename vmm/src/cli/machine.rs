//! Options that say which machine runs what: with the same ones, the soft engine gives the same run.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use stallbox_faultplan::SmmuSettings;
use stallbox_machine::config::{AcceleratorConfig, CPUS_MAX, MemoryBackend, TestEngineConfig};
use stallbox_machine::kernel_reports::FailOn;
use stallbox_machine::schedule::Order;
use stallbox_timeline::Time;

use super::accel::{Accelerator, accelerator_help, parse_accelerator};
use super::guest::GuestArgs;

/// Options of whatever runs one machine, or many like it.
#[derive(Clone, Debug, Args)]
pub struct MachineArgs {
    /// Which guest.
    #[command(flatten)]
    pub guest: GuestArgs,
    /// Added to the kernel's command line.
    #[arg(
        long,
        value_name = "ARGS",
        default_value = "",
        allow_hyphen_values = true
    )]
    pub append: String,
    /// The whole command line of a kernel that is not Linux, in place of the one that names the console
    /// and the drivers' options.
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    pub bootargs: Option<String>,
    /// What RAM is made of.
    #[arg(long, value_enum, value_name = "KIND", default_value = "anon")]
    pub memory_backend: MemoryBackend,
    /// vCPUs: up to 8, with --engine kvm up to what the host's KVM can do.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(CPUS_MAX)), allow_negative_numbers = true)]
    pub cpus: u8,
    /// NUMA nodes over which RAM and vCPUs are spread.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=4), allow_negative_numbers = true)]
    pub nodes: u8,
    /// Accelerator, with its options (docs/accelerators.md; repeatable).
    #[arg(long, value_name = "DEVICE[,OPTION]...", default_value = "zip,rev=0x30", value_parser = parse_accelerator, long_help = accelerator_help())]
    pub accel: Vec<Accelerator>,
    /// Interrupts of the SMMU: wired, or msi through the ITS.
    #[arg(long, value_name = "KIND", default_value = "wired", value_parser = ["wired", "msi"])]
    pub smmu_irq: String,
    /// Properties of the SMMU, as in ril=false,ssid_bits=8,stall_model=force: what its identification
    /// registers say, and the sizes of its queues and caches (docs/smmu.md; repeatable).
    #[arg(long, value_name = "KEY=VALUE,...", value_parser = parse_smmu)]
    pub smmu: Vec<SmmuSettings>,
    /// Seed of every random draw [default: 1].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub seed: Option<u64>,
    /// In which order vCPUs advance, with the soft engine: round-robin, random, points, or
    /// pct:DEPTH[,steps=N] (docs/schedules.md).
    #[arg(long, value_name = "ORDER", default_value = "round-robin", value_parser = parse_schedule)]
    pub schedule: Order,
    /// Seed of that order's draws [default: that of --seed].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub schedule_seed: Option<u64>,
    /// With another order than round-robin: after so many preemptions there are no more.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub preemptions: Option<u64>,
    /// Where a kernel with CONFIG_RANDOMIZE_BASE goes in its address space (KASLR): kaslr-seed in the
    /// device tree's /chosen, decimal or with 0x. The place follows from its upper bits: small numbers
    /// give the same one. Without it, such a kernel shuffles nothing.
    #[arg(long, value_name = "N", value_parser = parse_kaslr_seed, allow_negative_numbers = true)]
    pub kaslr_seed: Option<u64>,
    /// Fault plan: what goes wrong, where and when (docs/fault-plans.md).
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Checkers: tlb, stall, dma, config, pasid, separated by commas; tlb, stall and config may have
    /// a limit in microseconds, as in stall=5000 (docs/checkers.md; repeatable).
    #[arg(long, value_name = "NAME[=US],...")]
    pub check: Vec<String>,
    /// Symbols of the guest's kernel, vmlinux or System.map, for backtraces. Without it and
    /// without --kernel, those of the project's own kernel.
    #[arg(long, value_name = "FILE")]
    pub symbols: Option<PathBuf>,
    /// Fails (exit status 120) if the guest's kernel reports one of these on its console: panic, oops,
    /// bug, kasan, kmsan, kfence, kcsan, ubsan, warn, lockdep, rcu-stall, lockup, hung-task, irq, all;
    /// all,-warn is all but one; or none (docs/hangs.md).
    #[arg(long, value_name = "KIND,...", default_value = "all", value_parser = FailOn::parse)]
    pub fail_on: FailOn,
    /// Ends the run at this point of the guest's time, in nanoseconds since power-on: with the soft
    /// engine, at the same instruction each time. Exit status 124, as for --timeout.
    #[arg(long, value_name = "NS", value_parser = parse_time)]
    pub stop_at: Option<Time>,
    /// Runs in the guest, by its shell; without it the guest's init gives a shell.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

fn parse_smmu(text: &str) -> Result<SmmuSettings> {
    SmmuSettings::parse_pairs(text).map_err(anyhow::Error::msg)
}

fn parse_schedule(text: &str) -> Result<Order> {
    text.parse().map_err(anyhow::Error::msg)
}

/// 0 is what Linux takes for no seed (arch/arm64/kernel/pi, get_kaslr_seed).
fn parse_kaslr_seed(text: &str) -> Result<u64> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    match parsed {
        Ok(seed @ 1..) => Ok(seed),
        _ => bail!("write a number from 1 to 0xffffffffffffffff"),
    }
}

/// A point of virtual time that can be said in picoseconds.
fn parse_time(text: &str) -> Result<Time> {
    const NS_MAX: u64 = u64::MAX / 1000;
    match text.parse() {
        Ok(ns @ 1..=NS_MAX) => Ok(Time::from_ns(ns)),
        _ => bail!("write a number of nanoseconds from 1 to {NS_MAX}"),
    }
}

impl MachineArgs {
    /// The accelerators to plug in: each kind once, or none.
    pub fn accelerators(&self) -> Result<(Option<AcceleratorConfig>, Option<TestEngineConfig>)> {
        let (mut zip, mut test_engine) = (None, None);
        for accelerator in &self.accel {
            let (name, twice) = match *accelerator {
                Accelerator::None if self.accel.len() > 1 => {
                    bail!("--accel none goes with no other --accel; leave one out")
                }
                Accelerator::None => break,
                Accelerator::Zip(config) => ("zip", zip.replace(config).is_some()),
                Accelerator::TestEngine(config) => {
                    ("test-engine", test_engine.replace(config).is_some())
                }
            };
            if twice {
                bail!("--accel {name} is given twice; the machine has room for one");
            }
        }
        Ok((zip, test_engine))
    }

    /// The command as the guest's shell reads it. One word is a script; several are a command and
    /// its arguments, which the shell must not take apart again.
    pub fn script(&self) -> Option<String> {
        match self.command.as_slice() {
            [] => None,
            [script] => Some(script.clone()),
            words => Some(
                words
                    .iter()
                    .map(|word| quote(word))
                    .collect::<Vec<_>>()
                    .join(" "),
            ),
        }
    }
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Action, Cli};

    #[test]
    fn several_words_reach_the_guest_as_they_are() {
        let cli = Cli::try_parse_from(["stallbox", "run", "--", "echo", "a  b", "it's"]).unwrap();
        let Action::Run(args) = cli.action else {
            panic!("{cli:?} is another command");
        };
        assert_eq!(args.machine.script().unwrap(), r"echo 'a  b' 'it'\''s'");
    }

    fn accelerators(
        options: &[&str],
    ) -> Result<(Option<AcceleratorConfig>, Option<TestEngineConfig>)> {
        let line = ["stallbox", "run"].iter().chain(options);
        let Action::Run(args) = Cli::try_parse_from(line).unwrap().action else {
            panic!("another command");
        };
        args.machine.accelerators()
    }

    #[test]
    fn both_accelerators_can_be_plugged_in_but_none_twice() {
        let found = |options: &[&str]| {
            let (zip, test_engine) = accelerators(options).unwrap();
            (zip.is_some(), test_engine.is_some())
        };
        assert_eq!(found(&[]), (true, false));
        assert_eq!(found(&["--accel", "none"]), (false, false));
        assert_eq!(found(&["--accel", "test-engine"]), (false, true));
        let both = ["--accel", "zip", "--accel", "test-engine"];
        assert_eq!(found(&both), (true, true));
        let twice = accelerators(&["--accel", "zip", "--accel", "zip,rev=0x21"]).unwrap_err();
        assert!(twice.to_string().contains("zip is given twice"), "{twice}");
        let none = accelerators(&["--accel", "none", "--accel", "zip"]).unwrap_err();
        assert!(none.to_string().contains("leave one out"), "{none}");
    }
}
