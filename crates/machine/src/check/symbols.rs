//! The guest kernel's symbols: from a `System.map`, or from the symbol table of a `vmlinux`.

use std::cell::{Cell, OnceCell, RefCell};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use object::{Object, ObjectSymbol, SymbolKind};
use stallbox_devices::GuestRam;

use crate::stage1::read64;

/// More than this is no symbol table of a kernel.
const SYMBOLS_MAX: usize = 4_000_000;

/// Symbols that are read when somebody asks: a run that ends well never does.
#[derive(Debug, Default)]
pub struct SymbolSource {
    read: OnceCell<Option<Rc<Symbols>>>,
    /// Open already: a confined process opens no file.
    file: RefCell<Option<File>>,
    /// Where the kernel was loaded.
    load: Cell<Option<u64>>,
}

impl SymbolSource {
    /// Symbols that are there.
    pub fn ready(symbols: Rc<Symbols>) -> SymbolSource {
        SymbolSource {
            read: OnceCell::from(Some(symbols)),
            ..SymbolSource::default()
        }
    }

    /// Those in a file.
    pub fn file(file: File) -> SymbolSource {
        SymbolSource {
            file: RefCell::new(Some(file)),
            ..SymbolSource::default()
        }
    }

    /// The kernel was loaded at this physical address.
    pub fn kernel_loaded(&self, load: u64) {
        self.load.set(Some(load));
    }

    /// Names for the addresses of the kernel that runs in this RAM, if there are symbols.
    pub fn names(&self, ram: &GuestRam) -> Option<Names<'_>> {
        let symbols = self.get()?;
        Some(symbols.names(self.load.get(), ram))
    }

    fn get(&self) -> Option<&Symbols> {
        let read = || {
            let mut bytes = Vec::new();
            let mut file = self.file.take()?;
            // What cannot be read leaves addresses without names.
            file.read_to_end(&mut bytes).ok()?;
            Symbols::parse(&bytes).ok().map(Rc::new)
        };
        self.read.get_or_init(read).as_deref()
    }
}

/// Addresses and names, in order.
#[derive(Debug)]
pub struct Symbols(Vec<(u64, Box<str>)>);

impl Symbols {
    /// Reads a file of either kind.
    pub fn read(path: &Path) -> Result<Symbols> {
        let bytes = std::fs::read(path).with_context(|| {
            format!("cannot read the symbols in {} (--symbols)", path.display())
        })?;
        Symbols::parse(&bytes)
            .with_context(|| format!("in the symbols {} (--symbols)", path.display()))
    }

    fn parse(bytes: &[u8]) -> Result<Symbols> {
        if bytes.starts_with(b"\x7fELF") {
            Symbols::of_elf(bytes)
        } else {
            Symbols::of_map(bytes)
        }
    }

    fn of_elf(bytes: &[u8]) -> Result<Symbols> {
        let file = object::File::parse(bytes).context("this is no ELF file that can be read")?;
        let symbols = file.symbols().filter(|symbol| {
            symbol.is_definition()
                && matches!(
                    symbol.kind(),
                    SymbolKind::Text | SymbolKind::Data | SymbolKind::Unknown | SymbolKind::Label
                )
        });
        Symbols::sorted(symbols.filter_map(|symbol| {
            let name = symbol.name().ok().filter(|name| is_name(name))?;
            Some((symbol.address(), name.into()))
        }))
    }

    /// Lines of `ffff800080000000 T _text`.
    pub(super) fn of_map(bytes: &[u8]) -> Result<Symbols> {
        let text =
            std::str::from_utf8(bytes).context("this is neither a vmlinux nor a System.map")?;
        Symbols::sorted(text.lines().filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let address = u64::from_str_radix(words.next()?, 16).ok()?;
            let name = words.nth(1).filter(|name| is_name(name))?;
            Some((address, name.into()))
        }))
    }

    fn sorted(symbols: impl Iterator<Item = (u64, Box<str>)>) -> Result<Symbols> {
        let mut symbols: Vec<_> = symbols.take(SYMBOLS_MAX).collect();
        symbols.sort();
        if symbols.is_empty() {
            bail!("there is no symbol in it: give the kernel's vmlinux or System.map");
        }
        Ok(Symbols(symbols))
    }

    /// The address of a symbol.
    pub fn address(&self, name: &str) -> Option<u64> {
        let found = self.0.iter().find(|(_, known)| **known == *name)?;
        Some(found.0)
    }

    /// Names for the addresses of the kernel that was loaded at the physical address `load`, and runs in
    /// this RAM.
    pub fn names(&self, load: Option<u64>, ram: &GuestRam) -> Names<'_> {
        Names {
            symbols: self,
            moved: load.map_or(0, |load| self.moved(load, ram)),
        }
    }

    /// How far from its symbols' addresses a kernel runs (KASLR). `kimage_voffset` is what its virtual
    /// addresses have more than its physical ones; 0, and so no move, until it is up.
    fn moved(&self, load: u64, ram: &GuestRam) -> u64 {
        let offset = || {
            let text = self.address("_text")?;
            let at = self.address("kimage_voffset")?.wrapping_sub(text);
            let offset = read64(ram, load.wrapping_add(at)).filter(|offset| *offset != 0)?;
            Some(offset.wrapping_add(load).wrapping_sub(text))
        };
        offset().unwrap_or(0)
    }

    fn name_by(&self, address: u64, within: u64) -> Option<String> {
        let after = self.0.partition_point(|(at, _)| *at <= within);
        let (at, name) = self.0.get(after.checked_sub(1)?)?;
        let offset = address - at;
        (offset < 1 << 20).then(|| format!("{name}+{offset:#x}"))
    }
}

/// What the addresses of a kernel that runs are called.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    symbols: &'a Symbols,
    /// How far from its symbols' addresses the kernel runs.
    moved: u64,
}

impl Names<'_> {
    /// `function+0x1c`, if the address is within 1 MiB behind a symbol.
    pub fn name(&self, address: u64) -> Option<String> {
        let address = address.wrapping_sub(self.moved);
        self.symbols.name_by(address, address)
    }

    /// The same for a return address: a function that is called for good can be the last of its
    /// caller, and the return address then in the next one.
    pub fn name_of_caller(&self, address: u64) -> Option<String> {
        let address = address.wrapping_sub(self.moved);
        self.symbols.name_by(address, address.checked_sub(1)?)
    }
}

/// Mapping symbols (`$x`, `$d`) and labels of the assembler are no names.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('$') && !name.starts_with(".L")
}

#[cfg(test)]
mod tests {
    use vm_memory::{GuestAddress, GuestMemoryMmap};

    use super::*;

    #[test]
    fn an_address_has_the_name_before_it() {
        let symbols = Symbols::of_map(
            b"ffff800080010000 T first\nffff800080010100 t $x\nffff800080010200 T second\n",
        )
        .unwrap();
        let ram = GuestRam::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 4096)]).unwrap());
        let names = symbols.names(None, &ram);
        assert_eq!(names.name(0xffff_8000_8001_01fc).unwrap(), "first+0x1fc");
        assert_eq!(names.name(0xffff_8000_8001_0200).unwrap(), "second+0x0");
        let next = names.name_of_caller(0xffff_8000_8001_0200);
        assert_eq!(next.unwrap(), "first+0x200");
        assert_eq!(names.name(0xffff_8000_8000_ffff), None);
        assert_eq!(names.name(0xffff_8000_9000_0000), None);
        assert_eq!(symbols.address("second"), Some(0xffff_8000_8001_0200));
        assert!(Symbols::of_map(b"nonsense").is_err());
    }
}
