//! What decided a run, for its summary: with the same inputs the soft engine gives the same run.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use sha2::{Digest, Sha256};
use stallbox_bundle::{Bundle, Content};
use stallbox_machine::config::MachineConfig;

use crate::boot::Files;
use crate::cli::MachineArgs;
use crate::config::GuestConfig;

/// The inputs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Inputs {
    /// Stallbox's version.
    version: &'static str,
    /// Options and command, as they were given.
    arguments: Vec<String>,
    /// What the guest's shell ran; null for a shell on its console.
    command: Option<String>,
    /// The kernel.
    kernel: Named,
    /// Initial RAM disks, in order.
    initramfs: Vec<Named>,
    /// Folders of `--add`, and all that the guest unpacks before the command; null without.
    added: Option<Added>,
    /// What was added to the kernel's command line.
    append: String,
    /// The fault plan.
    plan: Option<Named>,
    /// What was given as `--latency`.
    latency: Vec<Latency>,
    /// The seed of every draw.
    seed: u64,
    /// In which order vCPUs advance.
    schedule: String,
    /// The seed of that order's draws, if it was another.
    schedule_seed: Option<u64>,
    /// As many preemptions were allowed.
    preemptions: Option<u64>,
    /// What KASLR began with.
    kaslr_seed: Option<u64>,
}

/// A file.
#[derive(Clone, Debug, Serialize)]
struct Named {
    path: String,
    /// Of its content.
    sha256: String,
}

/// What `--add` gives the guest.
#[derive(Clone, Debug, Serialize)]
struct Added {
    folders: Vec<String>,
    /// Of the initial RAM disks and the folders' archives, one behind the other.
    sha256: String,
}

impl Added {
    fn of(machine: &MachineConfig, guest: &GuestConfig) -> Result<Option<Added>> {
        if guest.added.is_empty() {
            return Ok(None);
        }
        let files = Files::read(guest, machine.memory_bytes)?;
        let folders = guest.added.iter();
        Ok(Some(Added {
            folders: folders.map(|path| path.display().to_string()).collect(),
            sha256: hex(&Sha256::digest(files.archives())),
        }))
    }
}

/// One `--latency`.
#[derive(Clone, Debug, Serialize)]
struct Latency {
    option: String,
    /// Of the file, if it names one.
    sha256: Option<String>,
}

impl Inputs {
    /// What the guest's shell ran.
    pub(crate) fn command(&self) -> Option<&str> {
        self.command.as_deref()
    }

    /// Reads the files, which a confined process cannot.
    pub(crate) fn of(
        args: &MachineArgs,
        machine: &MachineConfig,
        guest: &GuestConfig,
    ) -> Result<Inputs> {
        let latency = |option: &String| Latency {
            sha256: hash(Path::new(option)).ok(),
            option: option.clone(),
        };
        Ok(Inputs {
            version: env!("CARGO_PKG_VERSION"),
            arguments: std::env::args_os()
                .skip(1)
                .map(|argument| argument.to_string_lossy().into_owned())
                .collect(),
            command: guest.command.clone(),
            kernel: Named::of(&guest.kernel)?,
            initramfs: guest
                .initrd
                .iter()
                .map(|path| Named::of(path))
                .collect::<Result<_>>()?,
            added: Added::of(machine, guest)?,
            append: guest.append.clone(),
            plan: args.plan.as_deref().map(Named::of).transpose()?,
            latency: args.guest.latency.iter().map(latency).collect(),
            seed: machine.seed,
            schedule: machine.schedule.order.to_string(),
            schedule_seed: machine.schedule.seed,
            preemptions: machine.schedule.preemptions_max,
            kaslr_seed: machine.kaslr_seed,
        })
    }
}

impl Inputs {
    /// Of a run that is repeated.
    pub(crate) fn repeated(args: &MachineArgs, bundle: &Bundle) -> Inputs {
        let named = |content: &Content| Named {
            path: content.paths.join(", "),
            sha256: content.sha256.clone(),
        };
        let plan = args.plan.as_deref().zip(bundle.plan.as_ref());
        Inputs {
            version: env!("CARGO_PKG_VERSION"),
            arguments: bundle.arguments.clone(),
            command: args.script(),
            kernel: named(&bundle.kernel),
            initramfs: bundle.initramfs.iter().map(named).collect(),
            added: None,
            append: args.append.clone(),
            plan: plan.map(|(path, text)| Named {
                path: path.display().to_string(),
                sha256: hex(&Sha256::digest(text)),
            }),
            latency: Vec::new(),
            seed: args.seed.unwrap_or(super::configure::DEFAULT_SEED),
            schedule: args.schedule.to_string(),
            schedule_seed: args.schedule_seed,
            preemptions: args.preemptions,
            kaslr_seed: args.kaslr_seed,
        }
    }
}

impl Named {
    fn of(path: &Path) -> Result<Named> {
        Ok(Named {
            path: path.display().to_string(),
            sha256: hash(path).with_context(|| format!("cannot read {}", path.display()))?,
        })
    }
}

pub(super) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hash(path: &Path) -> Result<String> {
    let mut file = BufReader::new(File::open(path)?);
    let mut hash = Sha256::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        match file.read(&mut piece)? {
            0 => break,
            length => hash.update(&piece[..length]),
        }
    }
    Ok(hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_hash_that_sha256sum_gives_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "abc").unwrap();
        // FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash(file.path()).unwrap(), expected);
        assert!(hash(Path::new("/no/such/file")).is_err());
    }
}
