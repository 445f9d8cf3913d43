//! Files, network and other processes, locked away by Landlock.

use anyhow::{Context, Result};
use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus, Scope};

/// The newest Landlock that is asked for; an older kernel does what it can.
const NEWEST: ABI = ABI::V6;

/// How far files are locked away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileLock {
    /// All of it.
    Full,
    /// As much as this kernel's Landlock knows: files, but not network or signals.
    Partial,
    /// The kernel has no Landlock, or it is not enabled.
    None,
}

impl FileLock {
    /// What to tell the user, if it is less than all.
    pub fn remark(self) -> Option<&'static str> {
        match self {
            FileLock::Full | FileLock::Partial => None,
            FileLock::None => Some(
                "this kernel has no Landlock (CONFIG_SECURITY_LANDLOCK, and landlock in lsm=), so \
                 seccomp alone confines this process",
            ),
        }
    }
}

/// Sets no_new_privs and locks everything away. What is open stays open.
pub(super) fn lock() -> Result<FileLock> {
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(NEWEST)))
        .and_then(|rules| rules.scope(Scope::from_all(NEWEST)))
        .and_then(Ruleset::create)
        .and_then(|rules| rules.restrict_self())
        .context("Landlock")?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => FileLock::Full,
        RulesetStatus::PartiallyEnforced => FileLock::Partial,
        RulesetStatus::NotEnforced => FileLock::None,
    })
}
