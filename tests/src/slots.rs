//! A limit on guests that run at the same time, over all test threads and processes: each wants
//! a host CPU and its RAM to itself.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::num::NonZero;
use std::thread;
use std::time::Duration;

/// A guest, and what a test has beside it.
const BYTES: u64 = 1 << 30;

/// As many as the host has CPUs, unless its memory is too small for them.
fn slots() -> usize {
    let cpus = thread::available_parallelism().map_or(1, NonZero::get);
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    fitting(cpus, &meminfo)
}

fn fitting(cpus: usize, meminfo: &str) -> usize {
    let total = meminfo.lines().find_map(|line| {
        let kibibytes = line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?;
        kibibytes.parse::<u64>().ok()
    });
    let room = total.map_or(usize::MAX, |total| ((total << 10) / BYTES) as usize);
    cpus.min(room).max(1)
}

/// The right to run a guest, until it is dropped.
pub struct Slot {
    _lock: File,
}

/// Waits for the right to run a guest.
pub fn take() -> Slot {
    // Beside the test program: shared by all that belong to this build, and writable.
    let program = env::current_exe().expect("a test knows its own program");
    let folder = program.parent().expect("a program is in a folder");
    let files: Vec<File> = (0..slots())
        .map(|slot| {
            let path = folder.join(format!("stallbox-guest-{slot}.lock"));
            OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
                .unwrap_or_else(|error| panic!("cannot create {}: {error}", path.display()))
        })
        .collect();
    loop {
        // The locks live as long as their files are open, even if the test is killed.
        for file in &files {
            if file.try_lock().is_ok() {
                return Slot {
                    _lock: file.try_clone().expect("cannot share a lock file"),
                };
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::fitting;

    #[test]
    fn slots_follow_cpus_and_memory() {
        // Captured from a machine with 24 GiB.
        let meminfo = "MemTotal:       24612312 kB\nMemFree:        13151108 kB\n";
        assert_eq!(fitting(2, meminfo), 2);
        assert_eq!(fitting(64, meminfo), 23);
        assert_eq!(fitting(4, "MemTotal: 600000 kB\n"), 1);
        assert_eq!(fitting(4, ""), 4);
    }
}
