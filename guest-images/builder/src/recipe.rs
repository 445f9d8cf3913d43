//! The recipe: what guests are built from, the folder `guest` beside this crate.
//!
//! In its checkout, `stallbox` takes the files that are there. It also has a copy of them inside, for
//! where it is alone: that is unpacked into the cache when it is first needed.

use std::env;
use std::path::{Path, PathBuf};

use rust_embed::RustEmbed;

use crate::cache::{Cache, KeyBuilder};
use crate::error::{create_dir, write};
use crate::{Error, Silent};

/// Names a folder with a recipe, or one of ready images.
const CHOSEN: &str = "STALLBOX_GUEST_IMAGES";

/// The recipe as it was when this was compiled.
#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/../guest"]
struct Embedded;

/// Where the recipe was when this was compiled.
pub(crate) fn checkout() -> PathBuf {
    // Not `../guest`: the path is shown to users.
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("guest")
}

/// The folder with the recipe: the one, or the ready image, that the environment variable
/// `STALLBOX_GUEST_IMAGES` names; else that of the checkout in which this was compiled; else, where
/// that is not there, the copy that was compiled in.
pub fn source_root() -> Result<PathBuf, Error> {
    if let Some(chosen) = env::var_os(CHOSEN) {
        return Ok(chosen.into());
    }
    let checkout = checkout();
    if checkout.join("versions.toml").is_file() {
        return Ok(checkout);
    }
    unpacked(&Cache::of_user()?)
}

/// Where the cache has the copy, put there now if it is not.
fn unpacked(cache: &Cache) -> Result<PathBuf, Error> {
    let files: Vec<_> = Embedded::iter()
        .filter_map(|name| Embedded::get(&name).map(|file| (name, file.data)))
        .collect();
    let key = files
        .iter()
        .fold(KeyBuilder::new("recipe"), |key, (name, data)| {
            key.part(name, data)
        })
        .finish();
    if let Some(folder) = cache.find(&key) {
        return Ok(folder);
    }
    let lock = cache.lock(&Silent)?;
    // Looked up again under the lock: another process may have just unpacked it.
    if let Some(folder) = cache.find(&key) {
        return Ok(folder);
    }
    let work = lock.work_folder()?;
    let published = work.path().join("published");
    for (name, data) in &files {
        let path = published.join(name.as_ref());
        create_dir(path.parent().unwrap_or(&published))?;
        write(&path, data)?;
    }
    lock.publish(&key, &published)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;

    fn files(folder: &Path) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(files(&path));
            } else {
                found.insert(path);
            }
        }
        found
    }

    #[test]
    fn the_copy_is_the_checkout_s_recipe() {
        let folder = tempfile::tempdir().unwrap();
        let copy = unpacked(&Cache::at(folder.path().join("guest"))).unwrap();
        let checkout = checkout();
        let names = |root: &Path| -> BTreeSet<PathBuf> {
            let below = files(root);
            let names = below.iter().map(|path| path.strip_prefix(root).unwrap());
            names.map(Path::to_owned).collect()
        };
        assert_eq!(names(&copy), names(&checkout));
        for path in files(&copy) {
            let original = checkout.join(path.strip_prefix(&copy).unwrap());
            assert_eq!(fs::read(&path).unwrap(), fs::read(original).unwrap());
        }
        assert_eq!(
            unpacked(&Cache::at(folder.path().join("guest"))).unwrap(),
            copy
        );
    }
}
