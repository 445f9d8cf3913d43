//! Kernel configurations: fragments, one over the other.

use std::path::{Path, PathBuf};

use crate::Error;
use crate::error::read_to_string;

/// How `make` marks a whole configuration, against a fragment.
const WHOLE: &str = "# Automatically generated file; DO NOT EDIT.";

/// What a kernel is to be configured with. A later line for an option replaces an earlier one.
#[derive(Debug, Default)]
pub(crate) struct Config {
    lines: Vec<Line>,
    /// A `.config` of its own stands below the lines, instead of `allnoconfig`.
    whole: Option<String>,
}

#[derive(Debug)]
struct Line {
    option: String,
    text: String,
    file: PathBuf,
    /// Must take effect.
    strict: bool,
}

/// A line that had no effect.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub line: String,
    pub found: String,
    pub file: PathBuf,
    pub strict: bool,
}

impl Config {
    /// All of these fragments, the last one on top.
    pub(crate) fn of(files: &[PathBuf]) -> Result<Config, Error> {
        let mut config = Config::default();
        for file in files {
            config.add(file, true)?;
        }
        Ok(config)
    }

    /// Puts a file on top. Of a `strict` one each line must take effect. A whole `.config` takes
    /// the place of all that is below it.
    pub(crate) fn add(&mut self, file: &Path, strict: bool) -> Result<(), Error> {
        let text = read_to_string(file)?;
        if text.lines().take(4).any(|line| line == WHOLE) {
            self.lines.clear();
            self.whole = Some(text);
            return Ok(());
        }
        for line in text.lines().map(str::trim) {
            let (option, text) = match line.strip_prefix("# ") {
                // As a .config says it.
                Some(rest) => match rest.strip_suffix(" is not set") {
                    Some(option) => (option, format!("{option}=n")),
                    None => continue,
                },
                None if line.is_empty() || line.starts_with('#') => continue,
                None => (
                    line.split_once('=').map_or(line, |(option, _)| option),
                    line.to_owned(),
                ),
            };
            self.lines.retain(|line| line.option != option);
            self.lines.push(Line {
                option: option.to_owned(),
                text,
                file: file.to_owned(),
                strict,
            });
        }
        Ok(())
    }

    /// For `make allnoconfig` with KCONFIG_ALLCONFIG, or, with a whole configuration, for
    /// `make olddefconfig`, which takes the last word on each option.
    pub(crate) fn text(&self) -> String {
        let mut text = self.whole.clone().unwrap_or_default();
        for line in &self.lines {
            text.push_str(&line.text);
            text.push('\n');
        }
        text
    }

    /// Whether `text` is a whole configuration.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole.is_some()
    }

    /// Each line must be true of the configuration that came of it: Kconfig drops, without a
    /// word, what has unmet dependencies or does not exist.
    pub(crate) fn dropped(&self, configuration: &str) -> Vec<Dropped> {
        let value = |name: &str| {
            configuration
                .lines()
                .filter_map(|line| line.split_once('='))
                .find(|(option, _)| *option == name)
                .map(|(_, value)| value)
        };
        let mut dropped = Vec::new();
        for line in &self.lines {
            let wanted = line.text.split_once('=').map_or("", |(_, wanted)| wanted);
            let found = value(&line.option).unwrap_or("n");
            if found != wanted {
                dropped.push(Dropped {
                    line: line.text.clone(),
                    found: format!("{}={found}", line.option),
                    file: line.file.clone(),
                    strict: line.strict,
                });
            }
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::write;

    const CONFIGURATION: &str = "CONFIG_PCI=y\n# CONFIG_VT is not set\nCONFIG_NR_CPUS=8\n";

    fn config(fragments: &[&str]) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let files: Vec<PathBuf> = (0..fragments.len())
            .map(|n| folder.path().join(n.to_string()))
            .collect();
        for (file, text) in files.iter().zip(fragments) {
            write(file, text).unwrap();
        }
        Config::of(&files).unwrap()
    }

    #[test]
    fn a_configuration_with_all_that_was_asked_for_passes() {
        let fragment =
            "# a comment\n\nCONFIG_PCI=y\nCONFIG_VT=n\nCONFIG_NR_CPUS=8\nCONFIG_NONE=n\n";
        assert_eq!(config(&[fragment]).dropped(CONFIGURATION), []);
        assert_eq!(
            config(&["# CONFIG_VT is not set\n"]).dropped(CONFIGURATION),
            []
        );
    }

    #[test]
    fn an_option_that_did_not_take_is_named() {
        for (line, found) in [
            ("CONFIG_UACCE=y", "CONFIG_UACCE=n"),
            ("CONFIG_NR_CPUS=16", "CONFIG_NR_CPUS=8"),
            ("CONFIG_PCI=n", "CONFIG_PCI=y"),
            ("CONFIG_PC=y", "CONFIG_PC=n"),
            ("# CONFIG_ok\nCONFIG_UACCE", "CONFIG_UACCE=n"),
        ] {
            let dropped = config(&[line]).dropped(CONFIGURATION);
            assert_eq!(dropped.len(), 1, "{line}");
            assert_eq!(dropped[0].line, line.lines().last().unwrap());
            assert_eq!(dropped[0].found, found);
        }
    }

    #[test]
    fn a_later_fragment_has_the_last_word() {
        let config = config(&["CONFIG_A=y\nCONFIG_B=y\n", "CONFIG_A=n\n"]);
        assert_eq!(config.text(), "CONFIG_B=y\nCONFIG_A=n\n");
    }

    #[test]
    fn a_whole_configuration_takes_the_place_of_what_is_below() {
        let whole = "#\n# Automatically generated file; DO NOT EDIT.\n# Linux\n#\nCONFIG_C=y\n";
        let config = config(&["CONFIG_A=y\n", whole, "CONFIG_D=y\n"]);
        assert!(config.is_whole());
        assert_eq!(config.text(), format!("{whole}CONFIG_D=y\n"));
    }
}
