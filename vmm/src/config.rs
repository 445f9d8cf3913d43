//! What runs and what is booted. Types only; the command line fills them in.

use std::path::PathBuf;

use clap::ValueEnum;

/// What runs guest instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EngineKind {
    /// Our own CPUs, on any host, in virtual time: equal runs are equal.
    Soft,
    /// The vCPUs of an arm64 Linux host, in the host's time.
    Kvm,
    /// kvm where it works, else soft.
    Auto,
}

/// What is booted.
#[derive(Clone, Debug)]
pub struct GuestConfig {
    /// The kernel: an uncompressed arm64 Image.
    pub kernel: PathBuf,
    /// Initial RAM disks: archives that the kernel unpacks one after the other.
    pub initrd: Vec<PathBuf>,
    /// Folders whose content the guest finds in its `/`, on top of these.
    pub added: Vec<PathBuf>,
    /// The kernel command line, if it is not the one that every Linux gets.
    pub bootargs: Option<String>,
    /// Added to it.
    pub append: String,
    /// Run by the guest's init instead of a shell.
    pub command: Option<String>,
}
