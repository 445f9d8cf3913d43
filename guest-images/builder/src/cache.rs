//! The cache: folders named by the SHA-256 of what went into them.

use std::env;
use std::fs::{self, File};
use std::ops::Deref;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::error::create_dir;
use crate::{Error, Progress};

/// Prefix of folders in which something is being made; left-overs are swept.
const WORK: &str = "work-";

pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// `$XDG_CACHE_HOME/stallbox/guest`, or the same below `~/.cache`.
    pub(crate) fn of_user() -> Result<Cache, Error> {
        let absolute = |name| {
            env::var_os(name)
                .map(PathBuf::from)
                // The XDG specification: relative ones are to be ignored.
                .filter(|path| path.is_absolute())
        };
        absolute("XDG_CACHE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
            .map(|folder| Cache::at(folder.join("stallbox/guest")))
            .ok_or(Error::NoCacheFolder)
    }

    pub(crate) fn at(root: PathBuf) -> Cache {
        Cache { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder published under this key.
    pub(crate) fn find(&self, key: &Key) -> Option<PathBuf> {
        Some(self.root.join(&key.0)).filter(|path| path.is_dir())
    }

    /// Waits until this is the only builder. Readers need no lock: what is published is complete.
    pub(crate) fn lock(&self, progress: &dyn Progress) -> Result<LockedCache<'_>, Error> {
        create_dir(&self.root)?;
        let path = self.root.join("lock");
        let file = File::create(&path).map_err(Error::file("create", &path))?;
        if file.try_lock().is_err() {
            progress.say("another process is building the guest image; waiting for it");
            file.lock().map_err(Error::file("lock", &path))?;
        }
        let locked = LockedCache {
            cache: self,
            _file: file,
        };
        locked.sweep();
        Ok(locked)
    }
}

/// The cache with the right to publish into it.
pub(crate) struct LockedCache<'a> {
    cache: &'a Cache,
    _file: File,
}

impl Deref for LockedCache<'_> {
    type Target = Cache;

    fn deref(&self) -> &Cache {
        self.cache
    }
}

impl LockedCache<'_> {
    /// A folder to build in, on the cache's own file system so that publishing is a rename.
    pub(crate) fn work_folder(&self) -> Result<TempDir, Error> {
        tempfile::Builder::new()
            .prefix(WORK)
            .tempdir_in(&self.root)
            .map_err(Error::file("create a folder in", &self.root))
    }

    /// Makes `folder` the content of `key`.
    pub(crate) fn publish(&self, key: &Key, folder: &Path) -> Result<PathBuf, Error> {
        let path = self.root.join(&key.0);
        fs::rename(folder, &path).map_err(Error::file("publish", &path))?;
        Ok(path)
    }

    /// Where ccache keeps objects, so that a kernel which differs by a patch is soon compiled.
    pub(crate) fn compilations(&self) -> PathBuf {
        self.root.join("ccache")
    }

    /// Where the package with this pinned checksum is kept.
    pub(crate) fn package(&self, sha256: &str) -> Result<PathBuf, Error> {
        let folder = self.root.join("packages");
        create_dir(&folder)?;
        Ok(folder.join(format!("{sha256}.deb")))
    }

    /// Removes everything but the lock.
    pub(crate) fn empty(&self) -> Result<(), Error> {
        let entries = fs::read_dir(&self.root).map_err(Error::file("list", &self.root))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                fs::remove_dir_all(&path).map_err(Error::file("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Removes what builders that were killed have left. Nobody else is building: we hold the lock.
    fn sweep(&self) {
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(WORK) {
                // If it cannot be removed it only takes room.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// Name of a published folder: a readable kind and a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key(String);

impl Key {
    /// One that was written down.
    pub(crate) fn named(name: &str) -> Key {
        Key(name.to_owned())
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }
}

/// Collects what a cached thing depends on.
pub(crate) struct KeyBuilder {
    kind: &'static str,
    hash: Sha256,
}

impl KeyBuilder {
    pub(crate) fn new(kind: &'static str) -> KeyBuilder {
        KeyBuilder {
            kind,
            hash: Sha256::new(),
        }
    }

    /// Lengths are hashed too, so that no two lists of parts run into the same bytes.
    pub(crate) fn part(mut self, name: &str, content: impl AsRef<[u8]>) -> KeyBuilder {
        for bytes in [name.as_bytes(), content.as_ref()] {
            self.hash.update((bytes.len() as u64).to_le_bytes());
            self.hash.update(bytes);
        }
        self
    }

    pub(crate) fn finish(self) -> Key {
        let digest = hex(&self.hash.finalize());
        Key(format!("{}-{}", self.kind, &digest[..32]))
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Silent;

    #[test]
    fn sha256_is_the_known_one() {
        // FIPS 180-4's example for "abc".
        assert_eq!(
            sha256(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let key = |a: &str, b: &str| KeyBuilder::new("k").part("x", a).part("y", b).finish();
        assert_ne!(key("ab", "c"), key("a", "bc"));
        assert_eq!(key("ab", "c"), key("ab", "c"));
    }

    #[test]
    fn what_is_published_is_found_and_left_overs_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("guest"));
        let key = KeyBuilder::new("thing").finish();
        {
            let lock = cache.lock(&Silent).unwrap();
            let work = lock.work_folder().unwrap().keep();
            let out = work.join("out");
            create_dir(&out).unwrap();
            assert_eq!(cache.find(&key), None);
            assert_eq!(Some(lock.publish(&key, &out).unwrap()), cache.find(&key));
            assert!(work.is_dir());
        }
        let _lock = cache.lock(&Silent).unwrap();
        let names: Vec<_> = fs::read_dir(&cache.root)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(
            names.iter().all(|name| !name.starts_with(WORK)),
            "{names:?}"
        );
        assert!(cache.find(&key).is_some());
    }
}
