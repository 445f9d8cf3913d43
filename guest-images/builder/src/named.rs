//! Images by name: the project's own, and those that users define.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cache::{Cache, Key, KeyBuilder, LockedCache};
use crate::config::Config;
use crate::cpio::Names;
use crate::error::{create_dir, read, read_to_string, write};
use crate::kernel::{self, Kernel};
use crate::modules::Module;
use crate::variant::{STOCK, VARIANTS, Variant};
use crate::versions::Versions;
use crate::{Error, GuestImage, Progress, added, initramfs, process};

/// Where definitions are kept, below the cache's folder.
const DEFINITIONS: &str = "images";

/// What a user's kernel tree is mirrored and built in, a folder for each image.
const TREES: &str = "trees";

pub(crate) const ARCHIVE: &str = "added.cpio";

/// What an image is made of, as far as it differs from one of the project's own.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Definition {
    /// The image of the project's own whose kernel this one starts from; `stock` if it is none.
    pub base: Option<String>,
    /// A kernel tree instead.
    pub kernel_source: Option<PathBuf>,
    /// Patches for the kernel, in order.
    pub patches: Vec<PathBuf>,
    /// A fragment on top of the kernel's configuration, or a whole configuration.
    pub config: Option<PathBuf>,
    /// Folders of kernel modules.
    pub modules: Vec<PathBuf>,
    /// Folders whose content the guest finds in its `/`, in order.
    pub added: Vec<PathBuf>,
}

/// What is kept of a user's image.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
struct Record {
    definition: Definition,
    built: Option<Built>,
}

/// What the last build gave, where it cannot be told from the definition.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Built {
    /// The cached kernel of a user's tree.
    kernel: Option<String>,
    /// The cached archives of the folders.
    added: Vec<String>,
}

impl Definition {
    /// Paths that still mean the same from another folder.
    fn absolute(mut self) -> Result<Definition, Error> {
        let all = self
            .kernel_source
            .iter_mut()
            .chain(&mut self.patches)
            .chain(&mut self.config)
            .chain(&mut self.modules)
            .chain(&mut self.added);
        for path in all {
            *path = fs::canonicalize(&*path).map_err(Error::file("find", path))?;
        }
        Ok(self)
    }
}

/// All that is needed to find or to build images.
pub(crate) struct Store<'a> {
    root: &'a Path,
    versions: Versions,
    compiler: String,
    cache: Cache,
}

/// A name, resolved.
struct Named {
    name: String,
    variant: &'static Variant,
    definition: Definition,
    built: Option<Built>,
    /// The project's own; there is no file for it.
    own: bool,
}

impl<'a> Store<'a> {
    pub(crate) fn open(root: &'a Path) -> Result<Store<'a>, Error> {
        Ok(Store {
            root,
            versions: Versions::load(root)?,
            compiler: process::compiler_version()?,
            cache: Cache::of_user()?,
        })
    }

    /// The image as it is in the cache; `None` if something of it is not.
    pub(crate) fn find(&self, name: &str) -> Result<Option<GuestImage>, Error> {
        let named = self.named(name)?;
        let Some(kernel) = self.find_kernel(&named)? else {
            return Ok(None);
        };
        let (_, initramfs_key) = self.keys(&named, &kernel)?;
        let Some(initramfs) = self.cache.find(&initramfs_key) else {
            return Ok(None);
        };
        let built = named.built.unwrap_or_default();
        let overlays: Option<Vec<PathBuf>> = built
            .added
            .iter()
            .map(|key| self.cache.find(&Key::named(key)))
            .map(|folder| Some(folder?.join(ARCHIVE)))
            .collect();
        match overlays {
            Some(overlays) if overlays.len() == named.definition.added.len() => {
                image(&kernel.folder, &initramfs, overlays).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The image, built as far as it is not in the cache. A user's tree and folders are looked at
    /// for changes.
    pub(crate) fn build(&self, name: &str, progress: &dyn Progress) -> Result<GuestImage, Error> {
        let lock = self.cache.lock(progress)?;
        let named = self.named(name)?;
        let kernel = self.build_kernel(&named, &lock, progress)?;
        let (modules, initramfs_key) = self.keys(&named, &kernel)?;
        let initramfs = match lock.find(&initramfs_key) {
            Some(path) => path,
            None => {
                let mut objects = Vec::new();
                for (module, key) in &modules {
                    objects.push(match lock.find(key) {
                        Some(path) => path,
                        None => module.build(&kernel, &lock, key, progress)?,
                    });
                }
                initramfs::build(
                    self.root,
                    &self.versions,
                    &lock,
                    &initramfs_key,
                    &objects,
                    progress,
                )?
            }
        };
        let mut overlays = Vec::new();
        let mut added = Vec::new();
        for folder in &named.definition.added {
            progress.step(&format!("add {}", folder.display()), None);
            let (key, path) = add(folder, &lock)?;
            added.push(key);
            overlays.push(path);
        }
        if !named.own {
            let kernel = named
                .definition
                .kernel_source
                .as_ref()
                .map(|_| kernel.key.name().to_owned());
            let record = Record {
                definition: named.definition,
                built: Some(Built { kernel, added }),
            };
            self.write(name, &record)?;
        }
        image(&kernel.folder, &initramfs, overlays)
    }

    /// Makes `definition` what `name` stands for.
    pub(crate) fn define(&self, name: &str, definition: Definition) -> Result<(), Error> {
        let fit = !name.starts_with(['.', '-'])
            && !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c));
        if !fit || Variant::find(name).is_some() {
            return Err(Error::ImageName {
                name: name.to_owned(),
            });
        }
        if let Some(base) = &definition.base
            && Variant::find(base).is_none()
        {
            return Err(Error::NoImage { name: base.clone() });
        }
        let definition = definition.absolute()?;
        for folder in &definition.modules {
            Module::at(folder.clone())?;
        }
        // Objects of another tree would not be told from those of this one.
        let moved = self
            .definition(name)?
            .is_some_and(|old| old.kernel_source != definition.kernel_source);
        if moved {
            remove(&self.tree(name))?;
        }
        let record = Record {
            definition,
            built: None,
        };
        self.write(name, &record)
    }

    /// What `name` stands for, if a user has defined it.
    pub(crate) fn definition(&self, name: &str) -> Result<Option<Definition>, Error> {
        Ok(self.record(name)?.map(|record| record.definition))
    }

    /// Whether a user has defined it; the definition may be unreadable.
    pub(crate) fn is_users(&self, name: &str) -> bool {
        // Not everything is the name of a file in one folder.
        !name.contains('/') && self.file(name).is_file()
    }

    fn record(&self, name: &str) -> Result<Option<Record>, Error> {
        if !self.is_users(name) {
            return Ok(None);
        }
        let path = self.file(name);
        toml::from_str(&read_to_string(&path)?)
            .map(Some)
            .map_err(|source| Error::Versions {
                path,
                source: Box::new(source),
            })
    }

    /// All names: the project's own, then the users', each with what there is to say.
    pub(crate) fn names(&self) -> Vec<(String, String)> {
        let mut names: Vec<(String, String)> = VARIANTS
            .iter()
            .map(|variant| (variant.name.to_owned(), variant.about.to_owned()))
            .collect();
        let mut users: Vec<(String, String)> = fs::read_dir(self.cache.root().join(DEFINITIONS))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let name = name.strip_suffix(".toml")?.to_owned();
                let about = match self.definition(&name) {
                    Ok(definition) => about(&definition?),
                    Err(error) => error.to_string(),
                };
                Some((name, about))
            })
            .collect();
        users.sort();
        names.append(&mut users);
        names
    }

    /// Forgets a user's image, and its tree.
    pub(crate) fn forget(&self, name: &str) -> Result<(), Error> {
        if !self.is_users(name) {
            return Err(Error::NoImage {
                name: name.to_owned(),
            });
        }
        remove(&self.tree(name))?;
        let path = self.file(name);
        fs::remove_file(&path).map_err(Error::file("remove", &path))
    }

    /// The names of the folders in the cache that `name` is made of.
    pub(crate) fn folders(&self, name: &str) -> Result<Vec<String>, Error> {
        let named = self.named(name)?;
        let mut folders: Vec<String> = Vec::new();
        if let Some(built) = &named.built {
            folders.extend(built.added.iter().cloned());
        }
        if named.definition.kernel_source.is_none() {
            folders.push(self.recipe(&named).key(&self.compiler)?.name().to_owned());
        }
        if let Some(kernel) = self.find_kernel(&named)? {
            let (modules, initramfs) = self.keys(&named, &kernel)?;
            folders.push(kernel.key.name().to_owned());
            folders.extend(modules.iter().map(|(_, key)| key.name().to_owned()));
            folders.push(initramfs.name().to_owned());
        }
        Ok(folders)
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The folder of trees, for those that belong to no image.
    pub(crate) fn trees(&self) -> PathBuf {
        self.cache.root().join(TREES)
    }

    fn tree(&self, name: &str) -> PathBuf {
        self.trees().join(name)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.cache
            .root()
            .join(DEFINITIONS)
            .join(format!("{name}.toml"))
    }

    fn write(&self, name: &str, record: &Record) -> Result<(), Error> {
        let path = self.file(name);
        create_dir(&self.cache.root().join(DEFINITIONS))?;
        let text = toml::to_string(record).expect("a record is tables of texts");
        write(&path, text)
    }

    fn named(&self, name: &str) -> Result<Named, Error> {
        if let Some(variant) = Variant::find(name) {
            return Ok(Named {
                name: name.to_owned(),
                variant,
                definition: Definition::default(),
                built: None,
                own: true,
            });
        }
        let no_image = |name: &str| Error::NoImage {
            name: name.to_owned(),
        };
        let record = self.record(name)?.ok_or_else(|| no_image(name))?;
        let base = record.definition.base.as_deref().unwrap_or(STOCK);
        Ok(Named {
            name: name.to_owned(),
            variant: Variant::find(base).ok_or_else(|| no_image(base))?,
            definition: record.definition,
            built: record.built,
            own: false,
        })
    }

    /// Of an image without a tree of the user's.
    fn recipe(&self, named: &Named) -> kernel::Recipe<'_> {
        let mut recipe = named.variant.kernel(self.root, &self.versions);
        recipe.patches.extend_from_slice(&named.definition.patches);
        recipe.fragments.extend(named.definition.config.clone());
        recipe
    }

    fn find_kernel(&self, named: &Named) -> Result<Option<Kernel>, Error> {
        if named.definition.kernel_source.is_some() {
            let built = named.built.as_ref();
            let Some(name) = built.and_then(|built| built.kernel.as_deref()) else {
                return Ok(None);
            };
            let key = Key::named(name);
            return Ok(self.cache.find(&key).map(|folder| Kernel {
                folder,
                key,
                build: kernel::own_objects(&self.tree(&named.name)),
            }));
        }
        let key = self.recipe(named).key(&self.compiler)?;
        Ok(self
            .cache
            .find(&key)
            .map(|folder| Kernel::cached(folder, key)))
    }

    fn build_kernel(
        &self,
        named: &Named,
        lock: &LockedCache<'_>,
        progress: &dyn Progress,
    ) -> Result<Kernel, Error> {
        let definition = &named.definition;
        if let Some(tree) = &definition.kernel_source {
            let mut config = Config::default();
            // The fragment is that of another kernel: what this one has not is no error.
            for fragment in self.recipe(named).fragments {
                let strict = Some(&fragment) == definition.config.as_ref();
                config.add(&fragment, strict)?;
            }
            return kernel::build_own(
                tree,
                &definition.patches,
                &config,
                &self.tree(&named.name),
                lock,
                progress,
            );
        }
        if let Some(kernel) = self.find_kernel(named)? {
            return Ok(kernel);
        }
        let recipe = self.recipe(named);
        let key = recipe.key(&self.compiler)?;
        let folder = recipe.build(lock, &key, progress)?;
        Ok(Kernel::cached(folder, key))
    }

    /// The modules with their keys, and the key of the initramfs.
    fn keys(&self, named: &Named, kernel: &Kernel) -> Result<(Vec<(Module, Key)>, Key), Error> {
        let mut modules = Module::of_recipe(self.root)?;
        for folder in &named.definition.modules {
            modules.push(Module::at(folder.clone())?);
        }
        let modules = modules
            .into_iter()
            .map(|module| module.key(&kernel.key).map(|key| (module, key)))
            .collect::<Result<Vec<_>, Error>>()?;
        let keys: Vec<&Key> = modules.iter().map(|(_, key)| key).collect();
        let initramfs = initramfs::key(self.root, &self.versions, &self.compiler, &keys)?;
        Ok((modules, initramfs))
    }
}

fn about(definition: &Definition) -> String {
    let base = definition.base.as_deref().unwrap_or(STOCK);
    let mut parts = vec![match &definition.kernel_source {
        Some(tree) => tree.display().to_string(),
        None => base.to_owned(),
    }];
    let more = definition
        .patches
        .iter()
        .chain(&definition.config)
        .chain(&definition.modules)
        .chain(&definition.added);
    parts.extend(more.map(|path| {
        let name = path.file_name().unwrap_or(path.as_os_str());
        name.to_string_lossy().into_owned()
    }));
    parts.join(" + ")
}

/// The archive of a user's folder, and its name in the cache.
fn add(folder: &Path, lock: &LockedCache<'_>) -> Result<(String, PathBuf), Error> {
    let archive = added::archive(folder, &Names::default(), u64::MAX)?;
    let key = KeyBuilder::new("added").part("archive", &archive).finish();
    let folder = match lock.find(&key) {
        Some(folder) => folder,
        None => {
            let work = lock.work_folder()?;
            let published = work.path().join("published");
            create_dir(&published)?;
            write(&published.join(ARCHIVE), archive)?;
            lock.publish(&key, &published)?
        }
    };
    Ok((key.name().to_owned(), folder.join(ARCHIVE)))
}

pub(crate) fn remove(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file("remove", folder)(error))
        }
        _ => Ok(()),
    }
}

/// What is in the folders of a kernel and of an initramfs.
pub(crate) fn image(
    folder: &Path,
    initramfs: &Path,
    overlays: Vec<PathBuf>,
) -> Result<GuestImage, Error> {
    let release = read(&folder.join(kernel::RELEASE))?;
    Ok(GuestImage {
        kernel: folder.join(kernel::IMAGE),
        initrd: initramfs.join(initramfs::ARCHIVE),
        overlays,
        vmlinux: folder.join(kernel::VMLINUX),
        system_map: folder.join(kernel::SYSTEM_MAP),
        kernel_version: String::from_utf8_lossy(&release).trim().to_owned(),
    })
}
