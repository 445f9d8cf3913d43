//! Options of `stallbox run`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::config::{AcceleratorConfig, Revision};

/// Options of `stallbox run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Kernel: an uncompressed arm64 Image. Without it, the project's own guest image.
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// Initial RAM disk. Without it and without --kernel, that of the project's own guest image.
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// Added to the kernel's command line.
    #[arg(
        long,
        value_name = "ARGS",
        default_value = "",
        allow_hyphen_values = true
    )]
    pub append: String,
    /// RAM: a number with K, M or G (1024 each).
    #[arg(long, value_name = "SIZE", default_value = "512M", value_parser = parse_size)]
    pub memory: u64,
    /// vCPUs.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    pub cpus: u8,
    /// NUMA nodes over which RAM and vCPUs are spread.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=4))]
    pub nodes: u8,
    /// Accelerator: zip, zip,rev=0x21, zip,rev=0x30 or none.
    #[arg(long, value_name = "DEVICE", default_value = "zip,rev=0x30", value_parser = parse_accelerator)]
    pub accel: Accelerator,
    /// Interrupts of the SMMU: wired, or msi through the ITS.
    #[arg(long, value_name = "KIND", default_value = "wired", value_parser = ["wired", "msi"])]
    pub smmu_irq: String,
    /// Latencies: a TOML file, or one part as in walk_step=fixed:80 (repeatable).
    #[arg(long, value_name = "FILE|PART=DIST")]
    pub latency: Vec<String>,
    /// Seed of every random draw.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Writes the trace, a JSON object a line.
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Writes counts, latencies and the trace's hash as JSON.
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,
    /// Writes what guest programs reported with --result, a JSON object a line.
    #[arg(long, value_name = "FILE")]
    pub results: Option<PathBuf>,
    /// Ends the run after so many seconds of the host's time.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub timeout: Option<f64>,
    /// Does not show the guest's console.
    #[arg(long)]
    pub quiet: bool,
    /// Runs in the guest, by its shell; without it the guest's init gives a shell.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// What `--accel` names.
#[derive(Clone, Copy, Debug)]
pub struct Accelerator(pub Option<AcceleratorConfig>);

fn parse_size(text: &str) -> Result<u64> {
    let unit_at = text
        .trim_end_matches(|c: char| c.is_ascii_alphabetic())
        .len();
    let (digits, unit) = text.split_at(unit_at);
    let shift = match unit {
        "" => 0,
        "K" | "k" => 10,
        "M" | "m" => 20,
        "G" | "g" => 30,
        unit => bail!("\"{unit}\" is no unit; use K, M or G"),
    };
    let number: u64 = digits
        .parse()
        .context("write a number with K, M or G, as in 512M")?;
    let bytes = number
        .checked_mul(1 << shift)
        .filter(|bytes| *bytes <= stallbox_firmware::layout::RAM_BYTES_MAX)
        .context("more than the memory map holds (255G)")?;
    if bytes < 64 << 20 || bytes % (2 << 20) != 0 {
        bail!("RAM must be at least 64M and a multiple of 2M");
    }
    Ok(bytes)
}

fn parse_accelerator(text: &str) -> Result<Accelerator> {
    let mut words = text.split(',');
    match words.next() {
        Some("none") if words.next().is_none() => return Ok(Accelerator(None)),
        Some("zip") => {}
        _ => bail!("there is zip (with rev=0x21 or rev=0x30) and none"),
    }
    let mut revision = Revision::V3;
    for word in words {
        revision = match word.split_once('=') {
            Some(("rev", "0x21")) => Revision::V2,
            Some(("rev", "0x30")) => Revision::V3,
            _ => bail!("\"{word}\" is no option of zip; there are rev=0x21 and rev=0x30"),
        };
    }
    Ok(Accelerator(Some(AcceleratorConfig { revision })))
}

fn parse_seconds(text: &str) -> Result<f64> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds.is_finite() => Ok(seconds),
        _ => bail!("write a number of seconds above 0"),
    }
}

impl RunArgs {
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
        let Action::Run(args) = cli.action;
        assert_eq!(args.script().unwrap(), r"echo 'a  b' 'it'\''s'");
    }

    #[test]
    fn sizes_have_units_and_limits() {
        assert_eq!(parse_size("512M").unwrap(), 512 << 20);
        assert_eq!(parse_size("1G").unwrap(), 1 << 30);
        for bad in ["12", "1T", "x", "65M", "100000G", "M"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn accelerators_are_named_with_their_revision() {
        let revision = |text| parse_accelerator(text).unwrap().0.map(|it| it.revision);
        assert_eq!(revision("zip"), Some(Revision::V3));
        assert_eq!(revision("zip,rev=0x21"), Some(Revision::V2));
        assert_eq!(revision("none"), None);
        assert!(parse_accelerator("zip,rev=0x20").is_err());
        assert!(parse_accelerator("sec").is_err());
    }
}
