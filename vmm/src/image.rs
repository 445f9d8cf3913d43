//! `stallbox image`: builds guests and manages the cache of them.

use std::fmt::Display;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use stallbox_guest_images::{self as guest_images, Clean, Definition, GuestImage, Progress, STOCK};
use stallbox_output::{print, tell};

use crate::cli::{AddArgs, BuildArgs, ImageAction, ImageArgs};

/// Does what is asked for, and gives Stallbox's exit status.
pub fn run(args: &ImageArgs) -> Result<u8> {
    let root = guest_images::source_root()?;
    match &args.action {
        ImageAction::Build(args) => build(&root, args)?,
        ImageAction::Add(args) => add(&root, args)?,
        ImageAction::List => list(&root)?,
        ImageAction::Path { name } => print_paths(&guest_images::find(&root, name)?)?,
        ImageAction::Clean { names, all } => {
            let what = match (all, names.as_slice()) {
                (true, _) => Clean::All,
                (false, []) => Clean::Stale,
                (false, names) => Clean::Images(names),
            };
            let bytes = guest_images::clean(&root, what, &Lines)?;
            print(format_args!("{} MB freed\n", bytes / 1_000_000))?;
        }
    }
    Ok(0)
}

fn build(root: &Path, args: &BuildArgs) -> Result<()> {
    let definition = Definition {
        base: args.base.clone(),
        kernel_source: args.kernel_source.clone(),
        patches: args.patch.clone(),
        config: args.config.clone(),
        modules: args.module.clone(),
        added: Vec::new(),
    };
    let has_options = definition != Definition::default();
    let name = match (&args.name, &args.kernel_source) {
        (Some(name), _) => name.clone(),
        (None, Some(folder)) => name_of(folder)?,
        (None, None) if has_options => {
            bail!("give the image a name, as in: stallbox image build mine --patch mine.patch")
        }
        (None, None) => STOCK.to_owned(),
    };
    if has_options {
        // What was added to it stays.
        let added = guest_images::definition(root, &name)?.unwrap_or_default();
        let definition = Definition {
            added: added.added,
            ..definition
        };
        guest_images::define(root, &name, definition)?;
    }
    build_and_tell(root, &name)
}

fn add(root: &Path, args: &AddArgs) -> Result<()> {
    let name = match &args.image {
        Some(name) => name.clone(),
        None => name_of(&args.folder)?,
    };
    let folder = fs::canonicalize(&args.folder)
        .with_context(|| format!("cannot find {}", args.folder.display()))?;
    if !folder.is_dir() {
        bail!("{} is no folder", folder.display());
    }
    let mut definition = guest_images::definition(root, &name)?.unwrap_or_default();
    if let Some(base) = &args.base {
        if definition.kernel_source.is_some() {
            bail!("--base: the image {name} has a kernel of your own");
        }
        definition.base = Some(base.clone());
    }
    if !definition.added.contains(&folder) {
        definition.added.push(folder);
    }
    guest_images::define(root, &name, definition)?;
    build_and_tell(root, &name)
}

fn build_and_tell(root: &Path, name: &str) -> Result<()> {
    let image = guest_images::build(root, name, &Lines)?;
    print_paths(&image)?;
    tell!("boot it: stallbox run --image {name}");
    Ok(())
}

/// An image's name, from a folder's.
fn name_of(folder: &Path) -> Result<String> {
    let folder =
        fs::canonicalize(folder).with_context(|| format!("cannot find {}", folder.display()))?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    Ok(name.into_owned())
}

fn print_paths(image: &GuestImage) -> Result<()> {
    let mut text = String::new();
    let mut line = |what: &str, is: &dyn Display| text += &format!("{what:<11}{is}\n");
    line("kernel", &image.kernel.display());
    line("initrd", &image.initrd.display());
    line("vmlinux", &image.vmlinux.display());
    line("System.map", &image.system_map.display());
    for path in &image.overlays {
        line("added", &path.display());
    }
    line("release", &image.kernel_version);
    Ok(print(text)?)
}

fn list(root: &Path) -> Result<()> {
    let images = guest_images::list(root)?;
    let width = images
        .iter()
        .map(|image| image.name.len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for listed in images {
        let release = listed
            .image
            .map_or_else(|| "not built".to_owned(), |image| image.kernel_version);
        let (name, about) = (listed.name, listed.about);
        text += &format!("{name:<width$}  {release:<20}  {about}\n");
    }
    Ok(print(text)?)
}

/// A line for each step, on standard error.
pub(crate) struct Lines;

impl Progress for Lines {
    fn step(&self, name: &str, _total: Option<u64>) {
        tell!("stallbox: {name} ...");
    }

    fn advance(&self, _done: u64) {}

    fn say(&self, line: &str) {
        tell!("{line}");
    }
}
