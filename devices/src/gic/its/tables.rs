//! The ITS's tables in guest memory: devices, collections, and each device's translations.
//!
//! IHI 0069, *The ITS tables* (5.2) and `GITS_BASER<n>` (12.19). The formats of the entries are the
//! implementation's own; ours are below. Nothing is cached, so what a guest scribbles over them is
//! what the ITS finds: every field is checked again on each use.

use bitfield_struct::bitfield;
use vm_memory::{Bytes, GuestAddress};

use super::super::spec::{BASER_MASK, Baser, TABLE_DEVICES};
use crate::GuestRam;

/// Bytes of any entry, of the first level of an indirect table too.
pub(super) const ENTRY_BYTES: u64 = 8;

/// An entry of the device table.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct DeviceEntry {
    /// EventID bits less one.
    #[bits(5)]
    pub event_bits: u8,
    #[bits(3)]
    _unused: u8,
    /// The device's translation table.
    #[bits(44)]
    pub itt_256: u64,
    #[bits(11)]
    _unused: u16,
    pub valid: bool,
}

/// An entry of a device's translation table.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct TranslationEntry {
    /// The LPI.
    pub intid: u32,
    /// Its collection.
    pub collection: u16,
    #[bits(15)]
    _unused: u16,
    pub valid: bool,
}

/// An entry of the collection table.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct CollectionEntry {
    /// Processor number of the redistributor.
    pub processor: u32,
    #[bits(31)]
    _unused: u32,
    pub valid: bool,
}

/// A first-level entry of an indirect table (`GITS_BASER<n>.Indirect`).
#[bitfield(u64)]
struct LevelOneEntry {
    #[bits(12)]
    _res0: u16,
    #[bits(40)]
    address_4k: u64,
    #[bits(11)]
    _res0: u16,
    valid: bool,
}

/// A table that a `GITS_BASER<n>` describes.
pub(super) struct Table {
    register: Baser,
    /// Ids have so many bits, whatever there is memory for.
    id_bits: u32,
}

impl Table {
    /// A table of `table_type` without memory. Pages have 64 KiB until software chooses: the value
    /// after reset is UNKNOWN, and what looks for a table without writing first expects this
    /// (Linux, `INITIAL_BASER_VALUE` in arch/arm64/kvm/vgic/vgic-its.c).
    pub(super) fn new(table_type: u8, id_bits: u32) -> Table {
        let register = Baser::new()
            .with_table_type(table_type)
            .with_page_size(2)
            .with_entry_size(ENTRY_BYTES as u8 - 1);
        Table { register, id_bits }
    }

    /// The register.
    pub(super) fn register(&self) -> u64 {
        self.register.into()
    }

    /// Writes the register.
    pub(super) fn set_register(&mut self, value: u64) {
        let fixed = u64::from(self.register) & !BASER_MASK;
        let mut register = Baser::from(value & BASER_MASK | fixed);
        if register.page_size() == 3 {
            // Reserved: treated as 64 KiB.
            register.set_page_size(2);
        }
        if register.table_type() != TABLE_DEVICES {
            // 16 bits of collections fit into a flat table of 64 KiB pages many times over.
            register.set_indirect(false);
        }
        self.register = register;
    }

    /// Where the entry of `id` is, if the table has memory for it.
    pub(super) fn entry(&self, ram: &GuestRam, id: u32) -> Option<GuestAddress> {
        let register = self.register;
        if !register.valid() || u64::from(id) >> self.id_bits != 0 {
            return None;
        }
        let page_log2 = 12 + 2 * u32::from(register.page_size());
        let page_bytes = 1_u64 << page_log2;
        let table_entries = (u64::from(register.size()) + 1) * page_bytes / ENTRY_BYTES;
        // Bits 15:12 are address bits 51:48 when pages are 64 KiB.
        let field = register.address_4k() << 12;
        let base = if page_log2 == 16 {
            field & !0xf000 | (field & 0xf000) << 36
        } else {
            field
        };
        let base = base & !(page_bytes - 1);

        let id = u64::from(id);
        if !register.indirect() {
            return (id < table_entries).then(|| GuestAddress(base + id * ENTRY_BYTES));
        }
        let per_page = page_bytes / ENTRY_BYTES;
        if id / per_page >= table_entries {
            return None;
        }
        let address = GuestAddress(base + id / per_page * ENTRY_BYTES);
        let level_one = LevelOneEntry::from(ram.read_obj::<u64>(address).ok()?);
        let page = (level_one.address_4k() << 12) & !(page_bytes - 1);
        level_one
            .valid()
            .then(|| GuestAddress(page + id % per_page * ENTRY_BYTES))
    }
}

/// Reads an entry. What lies outside memory reads as zeros, which no entry calls valid.
pub(super) fn load(ram: &GuestRam, address: GuestAddress) -> u64 {
    ram.read_obj::<u64>(address).map_or(0, u64::from_le)
}

/// Writes an entry. What lies outside memory is lost.
pub(super) fn store(ram: &GuestRam, address: GuestAddress, entry: u64) {
    let _ = ram.write_obj(entry.to_le(), address);
}
