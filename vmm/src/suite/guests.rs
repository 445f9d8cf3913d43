//! What scenarios boot: images that there are, and those that they want built.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use stallbox_guest_images::{self as guest_images, Definition};
use stallbox_suite::{Group, Guest};

use super::read::Read;
use crate::image;

/// Finds and builds, each thing once.
pub(super) struct Guests {
    root: PathBuf,
    /// Builds images that have a name and were not built.
    builds: bool,
    /// Images that were built for a scenario, or why they were not.
    built: HashMap<String, Result<(), String>>,
}

impl Guests {
    pub(super) fn new(builds: bool) -> Result<Guests> {
        Ok(Guests {
            root: guest_images::source_root()?,
            builds,
            built: HashMap::new(),
        })
    }

    /// The options that name what a group boots.
    pub(super) fn words(&mut self, scenario: &Read, group: &Group) -> Result<Vec<String>> {
        let kernel = &group.kernel;
        match &kernel.guest {
            Guest::Image(name) => {
                if guest_images::find(&self.root, name).is_err() && self.builds {
                    self.build(name, None)?;
                }
                // What it says names the cure.
                guest_images::find(&self.root, name)
                    .with_context(|| format!("kernel \"{}\"", kernel.name))?;
                Ok(vec![format!("--image={name}")])
            }
            Guest::Files { kernel, initrd } => {
                let file = |option: &str, path: &Path| {
                    let path = scenario.beside(path);
                    match path.is_file() {
                        true => Ok(format!("--{option}={}", path.display())),
                        false => bail!("there is no file {} ({option})", path.display()),
                    }
                };
                let mut words = vec![file("kernel", kernel)?];
                let initrd = initrd.as_deref().map(|path| file("initrd", path));
                words.extend(initrd.transpose()?);
                Ok(words)
            }
            Guest::Built {
                base,
                source,
                patches,
                config,
                modules,
            } => {
                let beside =
                    |paths: &[PathBuf]| paths.iter().map(|it| scenario.beside(it)).collect();
                let definition = Definition {
                    base: base.clone(),
                    kernel_source: source.as_ref().map(|it| scenario.beside(it)),
                    patches: beside(patches),
                    config: config.as_ref().map(|it| scenario.beside(it)),
                    modules: beside(modules),
                    added: Vec::new(),
                };
                let stem = scenario.path.file_stem().unwrap_or_default();
                let name = image_name(&stem.to_string_lossy(), &kernel.name);
                self.build(&name, Some(definition))?;
                Ok(vec![format!("--image={name}")])
            }
        }
    }

    fn build(&mut self, name: &str, definition: Option<Definition>) -> Result<()> {
        if !self.built.contains_key(name) {
            let built = build(&self.root, name, definition).map_err(|error| format!("{error:#}"));
            self.built.insert(name.to_owned(), built);
        }
        match self.built.get(name) {
            Some(Err(why)) => bail!("the image {name} was not built: {why}"),
            _ => Ok(()),
        }
    }
}

/// Builds an image, told on standard error.
pub(super) fn build(
    root: &Path,
    name: &str,
    definition: Option<Definition>,
) -> Result<(), guest_images::Error> {
    if let Some(definition) = definition {
        guest_images::define(root, name, definition)?;
    }
    guest_images::build(root, name, &image::Lines).map(|_| ())
}

/// A name that is one of an image's.
fn image_name(scenario: &str, kernel: &str) -> String {
    let name = format!("test-{scenario}-{kernel}");
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    name.chars()
        .map(|c| if fits(c) { c } else { '_' })
        .collect()
}
