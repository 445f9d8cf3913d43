//! A limit on guests that run at the same time, over all test threads and processes: each wants
//! a host CPU and its RAM to itself.

use std::env;
use std::fs::{File, OpenOptions};
use std::thread;
use std::time::Duration;

/// The machines that must bear it have two CPUs.
const SLOTS: usize = 2;

/// The right to run a guest, until it is dropped.
pub struct Slot {
    _lock: File,
}

/// Waits for the right to run a guest.
pub fn take() -> Slot {
    // Beside the test program: shared by all that belong to this build, and writable.
    let program = env::current_exe().expect("a test knows its own program");
    let folder = program.parent().expect("a program is in a folder");
    let files: Vec<File> = (0..SLOTS)
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
