//! The host process of a run is confined, all threads of it.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use stallbox_tests::{ENGINE, Guest, stallbox};

/// A run that goes on until it is dropped.
struct Running(Child);

impl Running {
    fn start(options: &[&str]) -> Running {
        let child = Command::new(stallbox())
            .arg("run")
            .args(ENGINE)
            .args(options)
            .args(["--quiet", "--timeout", "120", "--", "while :; do :; done"])
            .stdin(Stdio::null())
            .spawn()
            .expect("cannot start stallbox");
        Running(child)
    }

    /// A line of `/proc/PID/task/TID/status` (proc_pid_status(5)) of every thread.
    fn statuses(&self, name: &str) -> Vec<String> {
        let folder = format!("/proc/{}/task", self.0.id());
        fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            // A thread may end meanwhile.
            .filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok())
            .filter_map(|status| {
                let line = status.lines().find_map(|line| line.strip_prefix(name))?;
                Some(line.trim().to_owned())
            })
            .collect()
    }

    /// Waits until this line is the same for every thread.
    fn all(&self, name: &str, value: &str) -> bool {
        let end = Instant::now() + Duration::from_secs(60);
        while Instant::now() < end {
            let values = self.statuses(name);
            if !values.is_empty() && values.iter().all(|found| found == value) {
                return true;
            }
            sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().expect("cannot kill stallbox");
        self.0.wait().expect("cannot wait for stallbox");
    }
}

#[test]
fn every_thread_has_its_filter_and_no_new_privileges() {
    let run = Running::start(&[]);
    // 2 is SECCOMP_MODE_FILTER.
    assert!(run.all("Seccomp:", "2"), "{:?}", run.statuses("Seccomp:"));
    assert!(run.all("NoNewPrivs:", "1"));
    // What is refused, and what is allowed.
    assert!(
        run.all("Seccomp_filters:", "2"),
        "{:?}",
        run.statuses("Seccomp_filters:")
    );
}

#[test]
fn nothing_is_confined_that_is_not_to_be() {
    let run = Running::start(&["--unconfined"]);
    // Long enough for a run that confines itself.
    sleep(Duration::from_secs(3));
    assert!(run.all("Seccomp:", "0"));
}

#[test]
fn outputs_are_written_in_spite_of_it() {
    let run = Guest::new()
        .traced()
        .run("echo 'result {\"n\":1}' > /dev/ttyS1; echo seen")
        .success();
    assert_eq!(run.output(), "seen\n", "{run}");
    assert_eq!(run.results()[0]["n"], 1, "{run}");
    assert_eq!(run.trace().len() as u64, run.summary().events, "{run}");
    assert!(!run.errors().contains("confine"), "{run}");
}
