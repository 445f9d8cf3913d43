//! Builds the runner and speaks to it as it runs under `qemu-aarch64`.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use crate::case::{Case, Outcome};

/// Cases in one batch; the runner has room for 512.
pub(crate) const BATCH: usize = 256;

/// Armv8.0-A with CRC32, and the cryptographic extension, which the tests leave out.
pub(crate) const BASE_CPU: &str = "cortex-a57";
/// Has the atomics of Armv8.1.
pub(crate) const LSE_CPU: &str = "neoverse-n1";

fn build() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("oracle/runner.c");
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
            // Test processes may build at the same time; a rename is atomic.
            let built = folder.join(format!("oracle-runner-{}", std::process::id()));
            let output = Command::new("aarch64-linux-gnu-gcc")
                .args(["-O2", "-Wall", "-Wextra", "-static", "-nostdlib"])
                .args([
                    "-ffreestanding",
                    "-fno-builtin",
                    "-fno-stack-protector",
                    "-fno-pie",
                ])
                .args(["-fno-tree-loop-distribute-patterns", "-no-pie"])
                // Out of reach of any direct branch from the code area.
                .args([
                    "-Wl,--build-id=none",
                    "-Wl,-Ttext-segment=0x200000000",
                    "-o",
                ])
                .arg(&built)
                .arg(source)
                .output()
                .unwrap_or_else(|error| {
                    panic!(
                        "cannot start aarch64-linux-gnu-gcc ({error}): \
                         install the Debian package gcc-aarch64-linux-gnu"
                    )
                });
            assert!(
                output.status.success(),
                "the runner does not build:\n{}",
                String::from_utf8_lossy(&output.stderr)
            );
            let path = folder.join("oracle-runner");
            std::fs::rename(&built, &path).expect("rename within the target folder");
            path
        })
        .clone()
}

/// One process of the oracle.
pub(crate) struct Oracle {
    child: Child,
    to: Option<Input>,
    from: ChildStdout,
}

/// The way in.
pub(crate) struct Input(ChildStdin);

impl Input {
    /// Hands over a batch. The runner answers a whole batch before it reads the next, so whoever
    /// sends ahead needs a thread for it.
    pub(crate) fn send(&mut self, cases: &[Case]) -> std::io::Result<()> {
        let mut bytes = (cases.len() as u32).to_le_bytes().to_vec();
        cases.iter().for_each(|case| case.write(&mut bytes));
        self.0.write_all(&bytes)
    }
}

impl Oracle {
    pub(crate) fn start(cpu: &str) -> Oracle {
        let mut child = Command::new("qemu-aarch64")
            .args(["-cpu", cpu])
            .arg(build())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("cannot start qemu-aarch64 ({error}): install the Debian package qemu-user")
            });
        let to = child.stdin.take().map(Input);
        let from = child.stdout.take().expect("stdout is piped");
        Oracle { child, to, from }
    }

    /// Takes the way in, for a thread that sends ahead.
    pub(crate) fn take_input(&mut self) -> Input {
        self.to.take().expect("taken once")
    }

    /// Waits for the outcomes of the batch sent.
    pub(crate) fn receive(&mut self, count: usize) -> Vec<Outcome> {
        let mut bytes = vec![0; count * Outcome::BYTES];
        if let Err(error) = self.from.read_exact(&mut bytes) {
            let status = self.child.wait();
            panic!("the oracle ended within a batch ({error}; {status:?})");
        }
        bytes
            .chunks_exact(Outcome::BYTES)
            .map(Outcome::read)
            .collect()
    }

    /// Runs a batch to its end.
    pub(crate) fn run(&mut self, cases: &[Case]) -> Vec<Outcome> {
        let to = self.to.as_mut().expect("not taken");
        to.send(cases).expect("the oracle takes a batch");
        self.receive(cases.len())
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // End of input ends the runner.
        self.to = None;
        if std::thread::panicking() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
