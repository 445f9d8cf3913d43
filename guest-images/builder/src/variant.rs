//! The project's own images.

use std::path::{Path, PathBuf};

use crate::kernel::Recipe;
use crate::versions::{Pin, Versions};

/// The image that is booted unless another one is named.
pub const STOCK: &str = "stock";

/// An image of the project's own. Paths are relative to the recipe's root.
pub(crate) struct Variant {
    pub name: &'static str,
    /// What is special about it, for people.
    pub about: &'static str,
    fragments: &'static [&'static str],
    patches: &'static [&'static str],
    pin: fn(&Versions) -> &Pin,
}

pub(crate) const VARIANTS: &[Variant] = &[
    Variant {
        name: STOCK,
        about: "Debian's 6.12, unmodified",
        fragments: &["kernel/6.12.config"],
        patches: &[],
        pin: |versions| &versions.kernel,
    },
    Variant {
        name: "pin",
        about: "Debian's 6.12 with mempinfd",
        fragments: &["kernel/6.12.config", "kernel/pin.config"],
        patches: &["patches/6.12/mempinfd.patch"],
        pin: |versions| &versions.kernel,
    },
    Variant {
        name: "pin-7.3",
        about: "Debian's 7.3 with mempinfd",
        fragments: &[
            "kernel/6.12.config",
            "kernel/7.3.config",
            "kernel/pin.config",
        ],
        patches: &["patches/7.3/mempinfd.patch"],
        pin: |versions| &versions.kernel_next,
    },
    Variant {
        name: "pri",
        about: "Debian's 6.12 with page requests (PRI) and mempinfd",
        fragments: &["kernel/6.12.config", "kernel/pin.config"],
        patches: &[
            "patches/6.12/arm-smmu-v3-pri.patch",
            "patches/6.12/mempinfd.patch",
        ],
        pin: |versions| &versions.kernel,
    },
    Variant {
        name: "pri-7.3",
        about: "Debian's 7.3 with page requests (PRI) and mempinfd",
        fragments: &[
            "kernel/6.12.config",
            "kernel/7.3.config",
            "kernel/pin.config",
        ],
        patches: &[
            "patches/7.3/arm-smmu-v3-pri.patch",
            "patches/7.3/mempinfd.patch",
        ],
        pin: |versions| &versions.kernel_next,
    },
    Variant {
        name: "svabugs",
        about: "Debian's 6.12 with bugs for the checkers to find (svabugs=)",
        fragments: &["kernel/6.12.config"],
        patches: &["patches/6.12/svabugs.patch"],
        pin: |versions| &versions.kernel,
    },
];

impl Variant {
    pub(crate) fn find(name: &str) -> Option<&'static Variant> {
        VARIANTS.iter().find(|variant| variant.name == name)
    }

    pub(crate) fn kernel<'a>(&self, root: &Path, versions: &'a Versions) -> Recipe<'a> {
        let files =
            |names: &[&str]| -> Vec<PathBuf> { names.iter().map(|name| root.join(name)).collect() };
        let pin = (self.pin)(versions);
        Recipe {
            suite: pin.suite.as_deref().unwrap_or(&versions.suite),
            pin,
            fragments: files(self.fragments),
            patches: files(self.patches),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::error::read_to_string;
    use crate::recipe;

    fn root() -> PathBuf {
        recipe::checkout()
    }

    #[test]
    fn every_file_of_a_variant_is_there() {
        let versions = Versions::load(&root()).unwrap();
        for variant in VARIANTS {
            let recipe = variant.kernel(&root(), &versions);
            Config::of(&recipe.fragments).unwrap();
            for patch in &recipe.patches {
                assert!(patch.is_file(), "{}", patch.display());
            }
        }
    }

    /// The patch and the module are one driver, so they must not drift apart.
    #[test]
    fn the_patches_hold_the_sources_of_the_module() {
        for (patch, sources) in [
            ("uacce_ctrl.patch", ["uacce_ctrl.c", "uacce_ctrl.h"]),
            (
                "uacce_ctrl-as-posted.patch",
                ["uacce_ctrl_as_posted.c", "uacce_ctrl.h"],
            ),
        ] {
            for series in ["6.12", "7.3"] {
                let path = root().join("patches").join(series).join(patch);
                let text = read_to_string(&path).unwrap();
                assert!(text.contains("SPDX-License-Identifier: GPL-2.0"));
                for source in sources {
                    let module = root().join("modules/uacce_ctrl").join(source);
                    assert_eq!(
                        added(&text, &format!("drivers/misc/uacce/{source}")),
                        read_to_string(&module).unwrap(),
                        "{series} {patch} {source}"
                    );
                }
            }
        }
    }

    /// The content of a file that a patch makes.
    fn added(patch: &str, name: &str) -> String {
        let (_, rest) = patch
            .split_once(&format!("+++ b/{name}\n"))
            .unwrap_or_else(|| panic!("the patch does not make {name}"));
        rest.lines()
            .skip(1)
            .map_while(|line| line.strip_prefix('+'))
            .map(|line| format!("{line}\n"))
            .collect()
    }
}
