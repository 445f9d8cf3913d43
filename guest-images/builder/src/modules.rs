//! Kernel modules: each folder of `modules/`, built out of tree against the cached kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::{Key, KeyBuilder, LockedCache};
use crate::error::{create_dir, read};
use crate::kernel::{self, Kernel};
use crate::process;
use crate::{Error, Progress};

/// To be raised when this file changes what is built.
const RECIPE: &str = "1";

const MODULES: &str = "modules";

/// A folder with a `Kbuild` or `Makefile` for `make M=`.
#[derive(Clone, Debug)]
pub(crate) struct Module {
    folder: PathBuf,
}

impl Module {
    /// The module whose sources are in `folder`.
    pub(crate) fn at(folder: PathBuf) -> Result<Module, Error> {
        if ["Kbuild", "Makefile"]
            .iter()
            .any(|name| folder.join(name).is_file())
        {
            return Ok(Module { folder });
        }
        Err(Error::NoModule { path: folder })
    }

    /// Those of the recipe, by name.
    pub(crate) fn of_recipe(root: &Path) -> Result<Vec<Module>, Error> {
        let folder = root.join(MODULES);
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let mut modules = fs::read_dir(&folder)
            .map_err(Error::file("list", &folder))?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.is_dir())
            .map(Module::at)
            .collect::<Result<Vec<_>, _>>()?;
        modules.sort_by(|a, b| a.folder.cmp(&b.folder));
        Ok(modules)
    }

    fn name(&self) -> String {
        self.folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }

    /// Where the .ko files of this module for that kernel are cached.
    pub(crate) fn key(&self, kernel: &Key) -> Result<Key, Error> {
        let mut key = KeyBuilder::new("module")
            .part("recipe", RECIPE)
            .part("kernel", kernel.name());
        for path in sources(&self.folder)? {
            let name = path.strip_prefix(&self.folder).unwrap_or(&path);
            key = key.part(&name.to_string_lossy(), read(&path)?);
        }
        Ok(key.finish())
    }

    /// Builds it for that kernel.
    pub(crate) fn build(
        &self,
        kernel: &Kernel,
        cache: &LockedCache<'_>,
        key: &Key,
        progress: &dyn Progress,
    ) -> Result<PathBuf, Error> {
        progress.step(&format!("build the module {}", self.name()), None);
        let work = cache.work_folder()?;
        let copy = self.copy(work.path())?;
        process::build(
            &mut make(&kernel.build, &cache.compilations(), &copy),
            &format!("the module {}", self.name()),
            0,
            &InPlace {
                progress,
                copy: copy.display().to_string(),
                folder: self.folder.display().to_string(),
            },
        )?;
        let published = work.path().join("published");
        create_dir(&published)?;
        let built = objects(&copy)?;
        if built.is_empty() {
            return Err(Error::EmptyModule {
                path: self.folder.clone(),
            });
        }
        for from in built {
            let to = published.join(from.file_name().unwrap_or_default());
            fs::rename(&from, &to).map_err(Error::file("take", &from))?;
        }
        cache.publish(key, &published)
    }

    /// The sources again below `work`: Kbuild writes beside them.
    fn copy(&self, work: &Path) -> Result<PathBuf, Error> {
        let copy = work.join(self.name());
        for path in sources(&self.folder)? {
            let to = copy.join(path.strip_prefix(&self.folder).unwrap_or(&path));
            create_dir(to.parent().unwrap_or(&copy))?;
            fs::copy(&path, &to).map_err(Error::file("copy to", &to))?;
        }
        Ok(copy)
    }
}

/// Builds the module in `folder` against the kernel that was built in `kernel`.
fn make(kernel: &Path, ccache: &Path, folder: &Path) -> Command {
    let mut make = kernel::make(ccache);
    make.current_dir(kernel)
        // A build in some folder must not differ by its name.
        .arg(format!("M={}", folder.display()))
        .arg("KCFLAGS=-fmacro-prefix-map=$(M)/=")
        .arg("modules");
    make
}

/// Says of the sources what the compiler says of their copy.
struct InPlace<'a> {
    progress: &'a dyn Progress,
    copy: String,
    folder: String,
}

impl Progress for InPlace<'_> {
    fn step(&self, name: &str, total: Option<u64>) {
        self.progress.step(name, total);
    }

    fn advance(&self, done: u64) {
        self.progress.advance(done);
    }

    fn say(&self, line: &str) {
        self.progress.say(&line.replace(&self.copy, &self.folder));
    }
}

/// The .ko files in a folder, by name.
pub(crate) fn objects(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .map_err(Error::file("list", folder))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "ko"))
        .collect();
    paths.sort();
    Ok(paths)
}

/// What of a folder is source, at any depth and by name: a user may have built there.
fn sources(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)
            .map_err(Error::file("list", &folder))?
            .flatten()
        {
            let path = entry.path();
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with('.') {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if matches!(&*name, "Kbuild" | "Makefile" | "Kconfig")
                || (!name.ends_with(".mod.c")
                    && path.extension().is_some_and(|extension| {
                        ["c", "h", "S", "mk"]
                            .iter()
                            .any(|known| extension == *known)
                    }))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Cache;
    use crate::error::write;
    use crate::recipe;
    use crate::variant::{STOCK, Variant};
    use crate::versions::Versions;

    fn example() -> (tempfile::TempDir, Module) {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("Kbuild"), "obj-m += example.o\n").unwrap();
        write(&folder.path().join("example.c"), "int x;\n").unwrap();
        let module = Module::at(folder.path().to_owned()).unwrap();
        (folder, module)
    }

    #[test]
    fn a_folder_without_a_makefile_is_no_module() {
        let folder = tempfile::tempdir().unwrap();
        let error = Module::at(folder.path().to_owned())
            .unwrap_err()
            .to_string();
        assert!(error.contains("Kbuild"), "{error}");
    }

    /// As for the programs, users with a newer compiler are spared.
    #[test]
    fn modules_compile_without_warnings() {
        let root = recipe::checkout();
        let versions = Versions::load(&root).unwrap();
        let stock = Variant::find(STOCK).unwrap().kernel(&root, &versions);
        // The image itself is another one as soon as a module changes.
        let key = process::compiler_version().and_then(|compiler| stock.key(&compiler));
        let Some(kernel) = Cache::of_user().unwrap().find(&key.unwrap()) else {
            eprintln!("skipped: the stock kernel has not been built");
            return;
        };
        let kernel = kernel.join(kernel::BUILD_FOLDER);
        let folder = tempfile::tempdir().unwrap();
        for module in Module::of_recipe(&root).unwrap() {
            let copy = module.copy(folder.path()).unwrap();
            // scripts/Makefile.extrawarn: 1 is -Wextra but for what the kernel's own headers do,
            // e is -Werror.
            let mut make = make(&kernel, &folder.path().join("ccache"), &copy);
            process::output(make.arg("W=1e")).unwrap();
        }
    }

    #[test]
    fn the_key_follows_sources_and_kernel_but_not_what_a_build_leaves() {
        let (folder, module) = example();
        let kernel = |name| KeyBuilder::new("kernel").part("name", name).finish();
        let original = module.key(&kernel("a")).unwrap();
        assert_ne!(original, module.key(&kernel("b")).unwrap());
        for left in ["example.o", "example.mod.c", ".example.o.cmd", "example.ko"] {
            write(&folder.path().join(left), "old").unwrap();
        }
        assert_eq!(original, module.key(&kernel("a")).unwrap());
        create_dir(&folder.path().join("include")).unwrap();
        write(&folder.path().join("include/example.h"), "").unwrap();
        assert_ne!(original, module.key(&kernel("a")).unwrap());
    }
}
