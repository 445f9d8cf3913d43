//! Two emulators, started the same way and watched through their consoles.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::guest::Guest;

/// What begins a line that a benchmark waits for. The kernel may have put something before it.
const MARK: &str = "@bench ";
/// The longest wait for the next line.
const PATIENCE: Duration = Duration::from_secs(300);
const MEMORY: &str = "512M";
/// The guest's RAM.
pub(crate) const MEMORY_BYTES: u64 = 512 << 20;

/// An emulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Emulator {
    /// Ours.
    Stallbox,
    /// The peer, with its just-in-time compiler.
    Qemu,
}

/// Where the emulators are.
pub(crate) struct Programs {
    stallbox: PathBuf,
    /// For the table.
    pub qemu_version: String,
}

const QEMU: &str = "qemu-system-aarch64";

impl Programs {
    /// Takes `stallbox`, or builds it with its release profile.
    pub(crate) fn find_stallbox(stallbox: Option<&Path>) -> Result<PathBuf> {
        stallbox.map_or_else(build, |path| Ok(path.to_owned()))
    }

    /// Takes `stallbox`, or builds it with its release profile, and looks for QEMU.
    pub(crate) fn find(stallbox: Option<&Path>) -> Result<Programs> {
        let stallbox = Programs::find_stallbox(stallbox)?;
        let version = Command::new(QEMU)
            .arg("--version")
            .output()
            .with_context(|| format!("cannot run {QEMU} (Debian: qemu-system-arm)"))?;
        let version = String::from_utf8_lossy(&version.stdout);
        let version = version.split_whitespace().nth(3).unwrap_or("?");
        Ok(Programs {
            stallbox,
            qemu_version: format!("QEMU {version}"),
        })
    }

    /// Runs `command` in a guest of `emulator` and lets `watch` look on, which says too whether the
    /// guest is to end by itself. `summary` is for Stallbox only.
    pub(crate) fn run<T>(
        &self,
        emulator: Emulator,
        guest: &Guest,
        command: &str,
        summary: Option<&Path>,
        watch: impl FnOnce(&Run) -> Result<(T, End)>,
    ) -> Result<T> {
        let mut run = self.start(emulator, guest, command, summary)?;
        let result = match watch(&run) {
            Ok((value, End::ByItself)) => run.finish().map(|()| value),
            Ok((value, End::Now)) => Ok(value),
            Err(error) => Err(error),
        };
        // It may have ended already.
        let _ = run.child.kill();
        let _ = run.child.wait();
        result.with_context(|| format!("{emulator:?} said last:\n{}", run.tail()))
    }

    fn start(
        &self,
        emulator: Emulator,
        guest: &Guest,
        command: &str,
        summary: Option<&Path>,
    ) -> Result<Run> {
        let initrd = guest.initrd(command)?;
        let mut program = match emulator {
            Emulator::Stallbox => {
                let mut program = Command::new(&self.stallbox);
                program
                    .args(["run", "--memory", MEMORY, "--kernel"])
                    .arg(&guest.kernel);
                program.arg("--initrd").arg(initrd);
                program.args(["--timeout", &PATIENCE.as_secs().to_string()]);
                if let Some(summary) = summary {
                    program.arg("--summary").arg(summary);
                }
                // The same as in the initramfs; without it Stallbox expects somebody at the keys.
                program.arg("--").arg(command);
                program
            }
            Emulator::Qemu => {
                let mut program = Command::new(QEMU);
                program.args([
                    "-M",
                    "virt,gic-version=3",
                    "-cpu",
                    "cortex-a57",
                    "-accel",
                    "tcg",
                ]);
                program.args([
                    "-smp", "1", "-m", MEMORY, "-display", "none", "-monitor", "none",
                ]);
                program.args(["-serial", "stdio", "-nic", "none", "-no-reboot", "-kernel"]);
                program.arg(&guest.kernel).arg("-initrd").arg(initrd);
                let console = "console=ttyAMA0 earlycon=pl011,0x9000000 panic=-1";
                program.arg("-append").arg(console);
                program
            }
        };
        program
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let started = Instant::now();
        let child = program
            .spawn()
            .with_context(|| format!("cannot start {emulator:?}"))?;
        Run::new(child, started)
    }
}

fn build() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("no workspace")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--quiet", "-p", "stallbox"])
        .current_dir(root)
        .status()
        .context("cannot run cargo")?;
    ensure!(built.success(), "Stallbox does not build");
    // This program lies in the folder of its profile, beside which that of the other is.
    let here = std::env::current_exe().context("where is this program?")?;
    let profiles = here
        .parent()
        .and_then(Path::parent)
        .context("no target folder")?;
    let stallbox = profiles.join("release").join("stallbox");
    ensure!(stallbox.is_file(), "{} is not there", stallbox.display());
    Ok(stallbox)
}

/// A line that a benchmark waits for, as it arrived.
#[derive(Debug)]
pub(crate) struct Mark {
    /// Without what marks it.
    pub text: String,
    /// When it came, counted from the start of the process.
    pub wall: Duration,
    /// Processor time of the process until then.
    pub cpu: Duration,
}

/// How a run ends once it has been watched.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// The guest switches itself off.
    ByItself,
    /// It is stopped.
    Now,
}

/// An emulator at work.
pub(crate) struct Run {
    child: Child,
    marks: Receiver<Mark>,
    console: thread::JoinHandle<String>,
    errors: thread::JoinHandle<String>,
}

impl Run {
    fn new(mut child: Child, started: Instant) -> Result<Run> {
        let pid = child.id();
        let output = child.stdout.take().context("no console")?;
        let errors = child.stderr.take().context("no standard error")?;
        let (send, marks) = channel();
        let console = thread::spawn(move || {
            lines(output, |line| {
                let Some(at) = line.find(MARK) else { return };
                let (wall, cpu) = (started.elapsed(), cpu_time(pid));
                let text = line[at + MARK.len()..].trim_end().to_owned();
                // Nobody may be waiting any more.
                let _ = send.send(Mark { text, wall, cpu });
            })
        });
        let errors = thread::spawn(move || lines(errors, |_| {}));
        Ok(Run {
            child,
            marks,
            console,
            errors,
        })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next marked line within `patience`; `None` if none came.
    pub(crate) fn poll(&self, patience: Duration) -> Result<Option<Mark>> {
        match self.marks.recv_timeout(patience) {
            Ok(mark) => Ok(Some(mark)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => bail!("the guest ended too soon"),
        }
    }

    /// The next marked line, which must begin with `expected`.
    pub(crate) fn expect(&self, expected: &str) -> Result<Mark> {
        let mark = self
            .poll(PATIENCE)?
            .with_context(|| format!("no \"{expected}\" came"))?;
        ensure!(
            mark.text.starts_with(expected),
            "\"{}\" came for \"{expected}\"",
            mark.text
        );
        Ok(mark)
    }

    /// The time between a `begin` line and the `end` line of the same name.
    pub(crate) fn interval(&self, name: &str) -> Result<Interval> {
        let begin = self.expect(&format!("begin {name}"))?;
        let end = self.expect(&format!("end {name}"))?;
        Ok(Interval {
            wall: end.wall - begin.wall,
            cpu: end.cpu.saturating_sub(begin.cpu),
        })
    }

    fn finish(&mut self) -> Result<()> {
        let status = self.child.wait().context("cannot wait")?;
        ensure!(status.success(), "it ended with {status}");
        Ok(())
    }

    fn tail(self) -> String {
        // Also what makes the threads end: the process is gone.
        let text = [self.console, self.errors]
            .map(|it| it.join().unwrap_or_default())
            .concat();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// Between two lines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interval {
    /// By the clock.
    pub wall: Duration,
    /// By the process's processor time.
    pub cpu: Duration,
}

/// Reads to the end, which is also what is returned.
fn lines(from: impl std::io::Read, mut each: impl FnMut(&str)) -> String {
    let mut from = BufReader::new(from);
    let (mut all, mut line) = (String::new(), Vec::new());
    while from
        .read_until(b'\n', &mut line)
        .is_ok_and(|bytes| bytes > 0)
    {
        let text = String::from_utf8_lossy(&line);
        each(&text);
        all.push_str(&text);
        line.clear();
    }
    all
}

/// Of all threads that live. /proc/PID/stat counts in ticks, which are too long.
fn cpu_time(pid: u32) -> Duration {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Duration::ZERO;
    };
    let nanoseconds = threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .sum();
    Duration::from_nanos(nanoseconds)
}
