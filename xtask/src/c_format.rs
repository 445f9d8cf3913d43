//! Whether what is written in C has the format of `.clang-format`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo;
use crate::stages::Stages;

/// Where there is C.
const FOLDERS: &[&str] = &["bench/guest", "crates/aarch64/oracle", "guest-images/guest"];

/// The major versions of clang-format that agree on every file: those of Debian 12 and 13.
const VERSIONS: &[u32] = &[14, 19];

/// Checks the format, unless the clang-format that is here may want another.
pub(crate) fn stage(stages: &mut Stages) -> Result<()> {
    const NAME: &str = "format of C";
    let version = version()?;
    if !VERSIONS.contains(&version) {
        stages.skip(NAME, "clang-format is neither 14 nor 19");
        return Ok(());
    }
    stages.run(NAME, || {
        let mut files = Vec::new();
        for folder in FOLDERS {
            collect(&cargo::root().join(folder), &mut files)?;
        }
        cargo::run(
            Command::new("clang-format")
                .args(["--dry-run", "--Werror"])
                .args(files),
        )
        .context("`clang-format -i` mends it")
    })
}

fn version() -> Result<u32> {
    let output = Command::new("clang-format")
        .arg("--version")
        .output()
        .context("cannot start clang-format")?;
    major(&String::from_utf8_lossy(&output.stdout))
}

fn major(text: &str) -> Result<u32> {
    let number = text
        .split_whitespace()
        .skip_while(|word| *word != "version")
        .nth(1)
        .and_then(|version| version.split('.').next())
        .and_then(|major| major.parse().ok());
    match number {
        Some(number) => Ok(number),
        None => bail!("clang-format does not tell its version: {text}"),
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {folder:?}"))?;
    for entry in entries {
        let path = entry
            .with_context(|| format!("cannot list {folder:?}"))?
            .path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "c" || extension == "h")
        {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_debian_s_say() {
        assert_eq!(major("Debian clang-format version 14.0.6\n").unwrap(), 14);
        assert_eq!(
            major("Debian clang-format version 19.1.7 (3+b1)\n").unwrap(),
            19
        );
        assert!(major("clang-format\n").is_err());
    }

    #[test]
    fn every_folder_with_c_is_looked_at() {
        let mut files = Vec::new();
        for folder in FOLDERS {
            let before = files.len();
            collect(&cargo::root().join(folder), &mut files).unwrap();
            assert!(files.len() > before, "{folder}");
        }
    }
}
