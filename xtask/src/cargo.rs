//! Running cargo, the one that runs us, in this workspace.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// The folder of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is a folder of the workspace")
}

/// cargo, to be given a subcommand. Nothing that it runs may wait for input.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// Runs a command to its end; its output goes where ours goes.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = describe(command);
    let status = command
        .status()
        .with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// The command line, for people.
pub(crate) fn describe(command: &Command) -> String {
    // cargo's full path says nothing that `cargo` does not.
    let program = Path::new(command.get_program());
    let name = program
        .file_name()
        .unwrap_or(program.as_os_str())
        .to_string_lossy();
    let words = command.get_args().map(|word| word.to_string_lossy());
    std::iter::once(name)
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

/// A line of `--message-format=json`, as far as it matters here.
#[derive(Deserialize)]
struct Message {
    reason: String,
    executable: Option<PathBuf>,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Builds `stallbox` in release and tells where it is, which depends on the user's configuration.
pub(crate) fn build_stallbox() -> Result<PathBuf> {
    let mut command = cargo();
    command.args([
        "build",
        "--release",
        "--package",
        "stallbox",
        "--bin",
        "stallbox",
    ]);
    executable(&mut command)
}

/// Runs a command of cargo that builds one program, and tells where it is.
pub(crate) fn executable(command: &mut Command) -> Result<PathBuf> {
    let line = describe(command);
    executables(command, false)?
        .pop()
        .with_context(|| format!("`{line}` built no executable"))
}

/// Runs a command of cargo that builds programs, and tells where those are that are tests, or that
/// are not: a package's integration tests bring its programs along.
pub(crate) fn executables(command: &mut Command, tests: bool) -> Result<Vec<PathBuf>> {
    command
        .arg("--message-format=json-render-diagnostics")
        .stdout(Stdio::piped());
    let line = describe(command);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start `{line}`"))?;
    let mut executables = Vec::new();
    for message in BufReader::new(child.stdout.take().expect("piped")).lines() {
        let message = message.with_context(|| format!("cannot read what `{line}` prints"))?;
        if let Ok(Message {
            reason,
            executable: Some(path),
            profile: Some(profile),
        }) = serde_json::from_str(&message)
            && reason == "compiler-artifact"
            && profile.test == tests
        {
            executables.push(path);
        }
    }
    let status = child
        .wait()
        .with_context(|| format!("cannot wait for `{line}`"))?;
    if !status.success() {
        bail!("Stallbox does not build: `{line}` failed ({status})");
    }
    Ok(executables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_the_workspace() {
        assert!(root().join("Cargo.lock").is_file());
    }

    #[test]
    fn a_failure_names_the_command() {
        let error = run(Command::new("sh").args(["-c", "exit 3"])).unwrap_err();
        assert!(format!("{error:#}").contains("`sh -c exit 3` failed"));
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let error = run(&mut Command::new("stallbox-no-such-program")).unwrap_err();
        assert!(format!("{error:#}").contains("stallbox-no-such-program"));
    }
}
