//! The Debian packages that the build runs on.

use std::process::{Command, Stdio};

/// What a kernel with this configuration and a few static C programs need. Kernel builds often
/// ask for libssl-dev and libelf-dev too: module signing and objtool, neither of which is here.
const REQUIRED: &[&str] = &[
    "bc",
    "bison",
    "ccache",
    "debian-archive-keyring",
    "flex",
    "gcc",
    "gcc-aarch64-linux-gnu",
    "libc6-dev",
    "libc6-dev-arm64-cross",
    "make",
    "patch",
    "xz-utils",
];

/// The packages that the build needs and that are not installed.
pub fn missing_packages() -> Vec<&'static str> {
    // Exits with 1 if it does not know one of them, and still lists the others.
    let listed = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Package} ${db:Status-Status}\n"])
        .args(REQUIRED)
        .stderr(Stdio::null())
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    absent(&listed)
}

fn absent(listed: &str) -> Vec<&'static str> {
    REQUIRED
        .iter()
        .copied()
        .filter(|name| {
            !listed
                .lines()
                .any(|line| line.split_once(' ') == Some((name, "installed")))
        })
        .collect()
}

/// The one command that installs `packages`, to be run as root.
pub fn install_command(packages: &[&str]) -> String {
    format!(
        "apt-get install --yes --no-install-recommends {}",
        packages.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_package_with_its_configuration_left_is_absent() {
        let listed = REQUIRED
            .iter()
            .map(|name| match *name {
                "flex" => "flex config-files\n".to_owned(),
                // Not listed at all.
                "make" => String::new(),
                name => format!("{name} installed\n"),
            })
            .collect::<String>();
        assert_eq!(absent(&listed), ["flex", "make"]);
    }

    #[test]
    fn all_are_absent_without_dpkg() {
        assert_eq!(absent(""), REQUIRED);
    }
}
