//! `versions.toml`: which Debian packages the image is made of.

use std::path::Path;

use serde::Deserialize;

use crate::Error;
use crate::error::read_to_string;

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Versions {
    /// The Debian suite, such as `trixie`.
    pub suite: String,
    pub kernel: Pin,
    pub kernel_next: Pin,
    pub busybox: Pin,
    /// Of the arm64 host that is emulated where there is none.
    pub host_kernel: Pin,
}

/// One package as it was when somebody last looked.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pin {
    /// Another suite than that of the rest.
    pub suite: Option<String>,
    pub package: String,
    /// Depends on the newest package of the series, where the package's name holds a version.
    pub metapackage: Option<String>,
    pub version: String,
    /// Of the .deb file, in lower-case hexadecimal digits.
    pub sha256: String,
}

impl Versions {
    pub(crate) fn load(root: &Path) -> Result<Versions, Error> {
        let path = root.join("versions.toml");
        toml::from_str(&read_to_string(&path)?).map_err(|source| Error::Versions {
            path,
            source: Box::new(source),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe;

    #[test]
    fn the_repository_pins_full_checksums() {
        let versions = Versions::load(&recipe::checkout()).unwrap();
        for pin in [
            &versions.kernel,
            &versions.kernel_next,
            &versions.busybox,
            &versions.host_kernel,
        ] {
            assert_eq!(pin.sha256.len(), 64, "{}", pin.package);
            assert!(
                pin.sha256
                    .bytes()
                    .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            );
        }
        assert!(versions.kernel.package.starts_with("linux-source-"));
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("versions.toml"), "suit = \"trixie\"\n").unwrap();
        let error = Versions::load(folder.path()).unwrap_err();
        assert!(matches!(error, Error::Versions { .. }), "{error}");
    }
}
