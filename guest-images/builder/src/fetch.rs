//! Gets Debian packages without changing the machine's apt configuration.
//!
//! apt runs with a state of its own in a temporary folder: its own source list for the suite we
//! want, the machine's mirror and Debian's keys. What it downloads it has checked against the
//! suite's signed index, so the checksums in `versions.toml` are a second lock, not the only one.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::{LockedCache, sha256};
use crate::error::{create_dir, read, read_to_string, write};
use crate::process::{command, output};
use crate::versions::Pin;
use crate::{Error, Progress};

/// Of the packages' files; `Architecture: all` packages are listed there too.
const ARCHITECTURE: &str = "arm64";

const KEYRINGS: &str = "/usr/share/keyrings";

/// The package of `pin`, from the cache or from a mirror.
pub(crate) fn package(
    cache: &LockedCache<'_>,
    suite: &str,
    pin: &Pin,
    progress: &dyn Progress,
) -> Result<PathBuf, Error> {
    let kept = cache.package(&pin.sha256)?;
    if kept.is_file() {
        return Ok(kept);
    }
    progress.step(&format!("fetch {}", pin.package), None);
    let work = cache.work_folder()?;
    let fetched = fetch(work.path(), suite, pin, progress)?;
    fs::rename(&fetched, &kept).map_err(Error::file("keep", &kept))?;
    Ok(kept)
}

fn fetch(work: &Path, suite: &str, pin: &Pin, progress: &dyn Progress) -> Result<PathBuf, Error> {
    let mut failure = None;
    // The first mirror may be one that carries other suites only.
    for mirror in mirrors()? {
        let apt = Apt::new(work, suite, &mirror)?;
        if let Err(error) = output(apt.get().arg("update")) {
            failure = Some(error);
            continue;
        }
        let Some((package, version)) = apt.find(pin)? else {
            continue;
        };
        let pinned = package == pin.package && version == pin.version;
        if !pinned {
            progress.say(&format!(
                "{} {} is gone from {suite}; taking {package} {version} instead",
                pin.package, pin.version
            ));
        }
        let file = apt.download(&package, &version)?;
        let found = sha256(&read(&file)?);
        if pinned && found != pin.sha256 {
            return Err(Error::Checksum {
                package,
                version,
                expected: pin.sha256.clone(),
                found,
            });
        }
        return Ok(file);
    }
    Err(failure.unwrap_or_else(|| Error::NoPackage {
        package: pin.package.clone(),
        suite: suite.to_owned(),
    }))
}

/// apt with everything it writes in one folder.
struct Apt {
    folder: PathBuf,
    configuration: PathBuf,
}

impl Apt {
    fn new(work: &Path, suite: &str, mirror: &str) -> Result<Apt, Error> {
        // Goes with `work`: what is downloaded has to outlive this value.
        let folder = tempfile::tempdir_in(work)
            .map_err(Error::file("create a folder in", work))?
            .keep();
        let base = folder.as_path();
        let keyring = keyring()?;
        create_dir(&base.join("state/lists/partial"))?;
        create_dir(&base.join("cache/archives/partial"))?;
        write(
            &base.join("sources.list"),
            format!(
                "deb [arch={ARCHITECTURE} lang=none targets=Packages signed-by={}] \
                 {mirror} {suite} main\n",
                keyring.display()
            ),
        )?;
        let configuration = base.join("apt.conf");
        let base = base.display();
        // The machine's own apt.conf.d stays in force, for a proxy may be set there; but its
        // hooks are for its own package lists.
        write(
            &configuration,
            format!(
                "Dir::State \"{base}/state\";\n\
                 Dir::State::status \"/dev/null\";\n\
                 Dir::Cache \"{base}/cache\";\n\
                 Dir::Etc::sourcelist \"{base}/sources.list\";\n\
                 Dir::Etc::sourceparts \"/dev/null\";\n\
                 Dir::Etc::preferences \"/dev/null\";\n\
                 Dir::Etc::preferencesparts \"/dev/null\";\n\
                 APT::Architecture \"{ARCHITECTURE}\";\n\
                 #clear APT::Architectures;\n\
                 APT::Architectures {{ \"{ARCHITECTURE}\"; }};\n\
                 APT::Sandbox::User \"root\";\n\
                 #clear APT::Update;\n\
                 Acquire::Retries \"3\";\n"
            ),
        )?;
        Ok(Apt {
            folder,
            configuration,
        })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = command(program);
        command
            .arg("--config-file")
            .arg(&self.configuration)
            .current_dir(&self.folder);
        command
    }

    fn get(&self) -> Command {
        let mut command = self.command("apt-get");
        command.args(["--quiet=2", "--option", "APT::Get::Assume-Yes=true"]);
        // An index that could not be fetched must not pass for an old one.
        command.args(["--option", "APT::Update::Error-Mode=any"]);
        command
    }

    /// The pinned package in the pinned version if the suite has it, or else its successor.
    fn find(&self, pin: &Pin) -> Result<Option<(String, String)>, Error> {
        let versions = self.versions(&pin.package)?;
        if versions.contains(&pin.version) {
            return Ok(Some((pin.package.clone(), pin.version.clone())));
        }
        let Some(metapackage) = &pin.metapackage else {
            let newest = versions.into_iter().next();
            return Ok(newest.map(|version| (pin.package.clone(), version)));
        };
        let text = output(self.command("apt-cache").args(["depends", metapackage]))?;
        let Some(package) = first_dependency(&String::from_utf8_lossy(&text)) else {
            return Ok(None);
        };
        let newest = self.versions(&package)?.into_iter().next();
        Ok(newest.map(|version| (package, version)))
    }

    /// The versions that the suite has, newest first.
    fn versions(&self, package: &str) -> Result<Vec<String>, Error> {
        let text = output(self.command("apt-cache").args(["madison", package]))?;
        Ok(madison_versions(&String::from_utf8_lossy(&text)))
    }

    fn download(&self, package: &str, version: &str) -> Result<PathBuf, Error> {
        output(
            self.get()
                .arg("download")
                .arg(format!("{package}={version}")),
        )?;
        fs::read_dir(&self.folder)
            .map_err(Error::file("list", &self.folder))?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .ok_or_else(|| Error::NotInPackage {
                package: package.to_owned(),
                file: "*.deb".to_owned(),
            })
    }
}

/// Lines such as ` linux-source-6.12 | 6.12.107-1 | http://... trixie/main arm64 Packages`.
fn madison_versions(text: &str) -> Vec<String> {
    let mut versions: Vec<String> = text
        .lines()
        .filter_map(|line| line.split('|').nth(1))
        .map(|version| version.trim().to_owned())
        .collect();
    versions.dedup();
    versions
}

/// What `apt-cache depends` prints: the name, then a line for each relation.
fn first_dependency(text: &str) -> Option<String> {
    text.lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "))
        .map(str::to_owned)
}

fn keyring() -> Result<PathBuf, Error> {
    // Debian 13 renames it to .pgp.
    ["debian-archive-keyring.gpg", "debian-archive-keyring.pgp"]
        .iter()
        .map(|name| Path::new(KEYRINGS).join(name))
        .find(|path| path.exists())
        .ok_or(Error::NoKeyring { folder: KEYRINGS })
}

/// The Debian mirrors of this machine, in the order of its configuration.
fn mirrors() -> Result<Vec<String>, Error> {
    if let Ok(mirror) = env::var("STALLBOX_DEBIAN_MIRROR") {
        return Ok(vec![mirror]);
    }
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let mut parts: Vec<PathBuf> = fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    parts.sort();
    files.append(&mut parts);

    let mut found: Vec<String> = Vec::new();
    for file in files {
        let Ok(text) = read_to_string(&file) else {
            continue;
        };
        for uri in uris(&text) {
            if is_debian(uri) && !found.iter().any(|known| known == uri) {
                found.push(uri.to_owned());
            }
        }
    }
    if found.is_empty() {
        return Err(Error::NoMirror);
    }
    Ok(found)
}

/// The URIs of enabled sources, in either of apt's formats (sources.list(5)).
fn uris(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for line in text.lines().map(str::trim_start) {
        if let Some(source) = line.strip_prefix("deb ") {
            // deb [options] URI suite component...: the options may hold spaces.
            let rest = match source.trim_start().strip_prefix('[') {
                Some(options) => options.split_once(']').map_or("", |(_, rest)| rest),
                None => source,
            };
            found.extend(rest.split_whitespace().next());
        } else if let Some((key, value)) = line.split_once(':')
            && key.eq_ignore_ascii_case("uris")
        {
            found.extend(value.split_whitespace());
        }
    }
    found
}

/// The main archive: neither security updates nor anybody else's packages.
fn is_debian(uri: &str) -> bool {
    uri.split_once(':')
        .is_some_and(|(scheme, _)| ["http", "https", "ftp", "file", "copy"].contains(&scheme))
        && uri.trim_end_matches('/').ends_with("/debian")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debian(text: &str) -> Vec<&str> {
        uris(text)
            .into_iter()
            .filter(|uri| is_debian(uri))
            .collect()
    }

    #[test]
    fn mirrors_are_found_in_both_formats() {
        assert_eq!(
            debian(
                "Types: deb\nURIs: http://mirror.example/debian https://other.example/debian/\n\
                 Suites: bookworm\n\nTypes: deb\nURIs: http://mirror.example/debian-security\n"
            ),
            [
                "http://mirror.example/debian",
                "https://other.example/debian/"
            ]
        );
        assert_eq!(
            debian(
                "# deb http://old.example/debian bookworm main\n\
                 deb-src http://source.example/debian bookworm main\n\
                 deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian bookworm main\n\
                 deb http://plain.example/debian/ bookworm main contrib\n\
                 deb cdrom:[Debian 12]/ bookworm main\n\
                 deb http://packages.example apt main\n"
            ),
            [
                "http://mirror.example/debian",
                "http://plain.example/debian/"
            ]
        );
    }

    #[test]
    fn versions_come_from_the_second_column() {
        let text = " linux-source-6.12 | 6.12.107-1 | http://m/debian trixie/main arm64 Packages\n \
                    linux-source-6.12 |  6.12.94-1 | http://m/debian trixie/main arm64 Packages\n";
        assert_eq!(madison_versions(text), ["6.12.107-1", "6.12.94-1"]);
        assert!(madison_versions("").is_empty());
    }

    #[test]
    fn a_metapackage_names_its_package() {
        let text = "linux-image-cloud-arm64\n  Depends: linux-image-6.12.117+deb13-cloud-arm64\n";
        assert_eq!(
            first_dependency(text).as_deref(),
            Some("linux-image-6.12.117+deb13-cloud-arm64")
        );
        assert_eq!(first_dependency("linux-image-cloud-arm64\n"), None);
    }
}
