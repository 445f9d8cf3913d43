//! Removing what is not needed any more.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::cache::LockedCache;
use crate::named::{Store, remove};
use crate::{Error, Progress};

/// Kinds of folders in the cache that an image may be made of.
const KINDS: &[&str] = &["kernel-", "module-", "initramfs-", "added-", "recipe-"];

/// What to remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clean<'a> {
    /// What no image is made of: kernels and others of earlier recipes.
    Stale,
    /// These images. The project's own can be built again; a user's is forgotten.
    Images(&'a [String]),
    /// Everything: all images, fetched packages, and objects kept for the next build.
    All,
}

/// Removes, and gives the number of bytes that were taken.
pub fn clean(root: &Path, what: Clean<'_>, progress: &dyn Progress) -> Result<u64, Error> {
    let store = Store::open(root)?;
    let lock = store.cache().lock(progress)?;
    let before = size(store.cache().root());
    let names: Vec<String> = store.names().into_iter().map(|(name, _)| name).collect();
    match what {
        Clean::All => lock.empty()?,
        Clean::Stale => sweep(&store, root, &lock, &names)?,
        Clean::Images(gone) => {
            let mut folders = BTreeSet::new();
            for name in gone {
                // Before anything is removed: a wrong name removes nothing.
                folders.extend(made_of(&store, name)?);
            }
            for name in names.iter().filter(|name| !gone.contains(name)) {
                for folder in made_of(&store, name)? {
                    folders.remove(&folder);
                }
            }
            for folder in folders {
                remove(&lock.root().join(folder))?;
            }
            for name in gone {
                if store.is_users(name) {
                    store.forget(name)?;
                }
            }
        }
    }
    Ok(before.saturating_sub(size(store.cache().root())))
}

/// The folders that an image is made of. A user's image whose source is gone, or cannot be read, is
/// made of nothing: it must not stand in the way of cleaning, least of all of its own.
fn made_of(store: &Store<'_>, name: &str) -> Result<Vec<String>, Error> {
    match store.folders(name) {
        Err(_) if store.is_users(name) => Ok(Vec::new()),
        folders => folders,
    }
}

/// Removes what none of these images is made of.
fn sweep(
    store: &Store<'_>,
    root: &Path,
    lock: &LockedCache<'_>,
    names: &[String],
) -> Result<(), Error> {
    // The recipe itself may be in the cache.
    let recipe = root.file_name().and_then(|name| name.to_str());
    let mut used: BTreeSet<String> = recipe.map(str::to_owned).into_iter().collect();
    for name in names {
        used.extend(made_of(store, name)?);
    }
    for (path, name) in entries(lock.root()) {
        if KINDS.iter().any(|kind| name.starts_with(kind)) && !used.contains(&name) {
            remove(&path)?;
        }
    }
    for (path, name) in entries(&store.trees()) {
        if !names.contains(&name) {
            remove(&path)?;
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> Vec<(PathBuf, String)> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.path(), entry.file_name().into_string().ok()?)))
        .collect()
}

/// Bytes of the files below a folder.
fn size(folder: &Path) -> u64 {
    let mut bytes = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for (path, _) in entries(&folder) {
            let Ok(status) = fs::symlink_metadata(&path) else {
                continue;
            };
            if status.is_dir() {
                folders.push(path);
            } else {
                bytes += status.len();
            }
        }
    }
    bytes
}
