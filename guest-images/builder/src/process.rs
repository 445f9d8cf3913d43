//! Running the tools of the build: the same environment for each, and errors with their output.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use crate::{Error, Progress};

pub(crate) const CROSS_COMPILE: &str = "aarch64-linux-gnu-";

/// How much of a failed program's output is worth showing.
const TAIL_LINES: usize = 40;

/// Variables that would change what is built, or how make talks to a make above it.
const UNWANTED: &[&str] = &[
    "ARCH",
    "CROSS_COMPILE",
    "KCFLAGS",
    "KCONFIG_ALLCONFIG",
    "KCONFIG_CONFIG",
    "LLVM",
    "LOCALVERSION",
    "MAKEFLAGS",
    "MAKELEVEL",
    "MFLAGS",
];

/// A command in the build's environment.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .stdin(Stdio::null());
    for name in UNWANTED {
        command.env_remove(name);
    }
    command
}

fn describe(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

fn start_error(command: &Command) -> impl FnOnce(std::io::Error) -> Error {
    let command = command.get_program().to_string_lossy().into_owned();
    move |source| Error::Start { command, source }
}

/// Runs to the end and returns standard output.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>, Error> {
    let output = command.output().map_err(start_error(command))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let mut tail = Tail::default();
    // Both: `patch` complains on standard output.
    for stream in [&output.stdout, &output.stderr] {
        let text = String::from_utf8_lossy(stream);
        text.lines().for_each(|line| tail.push(line));
    }
    Err(Error::Command {
        command: describe(command),
        status: output.status.to_string(),
        output: tail.text(),
    })
}

/// Runs to the end and hands on each line as it comes, and whether it is of standard error.
fn stream(command: &mut Command, mut on_line: impl FnMut(bool, &str)) -> Result<(), Error> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start_error(command))?;
    let (sender, lines) = mpsc::channel();
    // Both pipes are read at once: a full one would stop the child.
    let stdout = child.stdout.take().expect("piped");
    let stderr = child.stderr.take().expect("piped");
    let readers = [
        read_lines(stdout, false, sender.clone()),
        read_lines(stderr, true, sender),
    ];
    let mut tail = Tail::default();
    for (is_error, line) in lines {
        tail.push(&line);
        on_line(is_error, &line);
    }
    for reader in readers {
        let _ = reader.join();
    }
    let status = child.wait().map_err(start_error(command))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Command {
        command: describe(command),
        status: status.to_string(),
        output: tail.text(),
    })
}

/// Runs a build of `what` that prints a line for each file. Standard error, so warnings and errors
/// as the compiler gives them, goes to `progress` and is not repeated in the error.
pub(crate) fn build(
    command: &mut Command,
    what: &str,
    total: u64,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let mut lines = 0;
    stream(command, |is_error, line| {
        if is_error {
            progress.say(line);
        } else {
            lines += 1;
            progress.advance(lines.min(total));
        }
    })
    .map_err(|error| match error {
        Error::Command {
            command, status, ..
        } => Error::Build {
            what: what.to_owned(),
            command,
            status,
        },
        error => error,
    })
}

fn read_lines(
    stream: impl Read + Send + 'static,
    is_error: bool,
    to: mpsc::Sender<(bool, String)>,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n') {
            let Ok(line) = line else { return };
            let line = String::from_utf8_lossy(&line).into_owned();
            if to.send((is_error, line)).is_err() {
                return;
            }
        }
    })
}

/// Runs `from | to`. Returns what `to` prints.
pub(crate) fn pipe(from: &mut Command, to: &mut Command) -> Result<Vec<u8>, Error> {
    let mut producer = from
        .stdout(Stdio::piped())
        .spawn()
        .map_err(start_error(from))?;
    let result = output(to.stdin(producer.stdout.take().expect("piped")));
    // `Command` holds the read end until it is dropped or given another one.
    to.stdin(Stdio::null());
    let status = producer.wait().map_err(start_error(from))?;
    let text = result?;
    if status.success() {
        return Ok(text);
    }
    Err(Error::Command {
        command: describe(from),
        status: status.to_string(),
        output: String::new(),
    })
}

/// What `--version` of the cross compiler says: a part of every cache key.
pub(crate) fn compiler_version() -> Result<String, Error> {
    let text = output(command(format!("{CROSS_COMPILE}gcc")).arg("--version"))?;
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

#[derive(Default)]
struct Tail(VecDeque<String>);

impl Tail {
    fn push(&mut self, line: &str) {
        if self.0.len() == TAIL_LINES {
            self.0.pop_front();
        }
        self.0.push_back(line.to_owned());
    }

    fn text(self) -> String {
        Vec::from(self.0).join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_both_streams() {
        let script = "echo last words; echo cause >&2; exit 3";
        let mut lines = Vec::new();
        let error = stream(command("sh").args(["-c", script]), |is_error, line| {
            lines.push(format!("{is_error} {line}"));
        })
        .unwrap_err();
        lines.sort();
        let text = error.to_string();
        assert!(
            text.contains("last words") && text.contains("cause"),
            "{text}"
        );
        assert_eq!(lines, ["false last words", "true cause"]);
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = output(&mut command("stallbox-no-such-program")).unwrap_err();
        assert!(error.to_string().contains("stallbox-no-such-program"));
    }

    #[test]
    fn a_pipe_carries_the_data() {
        let text = pipe(command("echo").arg("a b"), command("tr").args([" ", "\n"])).unwrap();
        assert_eq!(text, b"a\nb\n");
    }
}
