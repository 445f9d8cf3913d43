//! The signals that end a run in order: the trace and the summary are written.

use std::fs;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};
use signal_hook::flag;

const ENDING: [i32; 3] = [libc::SIGHUP, libc::SIGINT, libc::SIGTERM];

/// What was ignored when this process started. Looked up once, by [`flag`]: a confined process reads
/// no file.
static IGNORED: OnceLock<u64> = OnceLock::new();

/// The signals that end a run: those that whoever started this process has not had ignored, as
/// nohup(1) does and shells do for jobs in the background.
pub(crate) fn ending() -> Vec<i32> {
    let ignored = *IGNORED.get_or_init(|| {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        ignored(&status)
    });
    let counts = |signal: &i32| ignored >> (signal - 1) & 1 == 0;
    ENDING.into_iter().filter(counts).collect()
}

/// The mask SigIgn of proc_pid_status(5); 0 if it is not there.
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

/// The flag is set when the run is to end. Who is in a hurry sends another: the second ends the
/// process as if nothing had been set up.
pub(crate) fn flag() -> Result<Arc<AtomicBool>> {
    let told = Arc::new(AtomicBool::new(false));
    for signal in ending() {
        // Handlers run in this order.
        flag::register_conditional_default(signal, told.clone())
            .and_then(|_| flag::register(signal, told.clone()))
            .with_context(|| format!("cannot handle signal {signal}"))?;
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_in_the_mask() {
        // Captured: `nohup cat /proc/self/status`.
        let status = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000001\n";
        assert_eq!(ignored(status), 1 << (libc::SIGHUP - 1));
        assert_eq!(ignored(""), 0);
    }
}
