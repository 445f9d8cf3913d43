//! Running the tools of the build: the same environment for each, and errors with their output.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::thread;

use crate::Error;

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
    let text = String::from_utf8_lossy(&output.stderr);
    let mut tail = Tail::default();
    text.lines().for_each(|line| tail.push(line));
    Err(Error::Command {
        command: describe(command),
        status: output.status.to_string(),
        output: tail.text(),
    })
}

/// Runs to the end and hands each line of standard output to `on_line` as it comes.
pub(crate) fn stream(command: &mut Command, mut on_line: impl FnMut(&str)) -> Result<(), Error> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start_error(command))?;
    let mut stderr = child.stderr.take().expect("piped");
    // Both pipes are read at once: a full one would stop the child.
    let errors = thread::spawn(move || {
        let mut text = Vec::new();
        let _ = stderr.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let mut tail = Tail::default();
    for line in BufReader::new(child.stdout.take().expect("piped")).split(b'\n') {
        let Ok(line) = line else { break };
        let line = String::from_utf8_lossy(&line);
        on_line(&line);
        tail.push(&line);
    }
    let status = child.wait().map_err(start_error(command))?;
    errors
        .join()
        .unwrap_or_default()
        .lines()
        .for_each(|line| tail.push(line));
    if status.success() {
        return Ok(());
    }
    Err(Error::Command {
        command: describe(command),
        status: status.to_string(),
        output: tail.text(),
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
        let error = stream(command("sh").args(["-c", script]), |line| {
            lines.push(line.to_owned());
        })
        .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("last words") && text.contains("cause"),
            "{text}"
        );
        assert_eq!(lines, ["last words"]);
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
