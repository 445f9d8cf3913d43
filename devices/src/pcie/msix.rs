//! MSI-X (PCI Express Base Specification, *MSI-X Capability and Table Structure*): the capability,
//! and the table and pending bits, which lie behind a BAR.

use super::capability::{
    Capability, CapabilityId, Effects, Message, read_registers, replace, write_registers,
};

/// Capability id.
pub const MSIX_ID: u8 = 0x11;
/// Bytes of a table entry.
pub const ENTRY_BYTES: u64 = 16;

const CONTROL: u16 = 0x00;
const TABLE: u16 = 0x04;
const PBA: u16 = 0x08;
const LENGTH: u16 = 0x0c;

const ENABLE: u32 = 1 << 31;
const FUNCTION_MASK: u32 = 1 << 30;
const VECTOR_MASKED: u32 = 1;

#[derive(Clone, Copy, Debug)]
struct Entry {
    address: [u32; 2],
    data: u32,
    control: u32,
    pending: bool,
}

impl Entry {
    /// Every vector is masked at reset.
    const RESET: Entry = Entry {
        address: [0; 2],
        data: 0,
        control: VECTOR_MASKED,
        pending: false,
    };

    fn message(&self) -> Message {
        let [low, high] = self.address;
        Message {
            address: u64::from(high) << 32 | u64::from(low),
            data: self.data,
        }
    }
}

/// The MSI-X capability structure with its table.
#[derive(Clone, Debug)]
pub struct MsiX {
    bar: u8,
    table_offset: u32,
    pba_offset: u32,
    control: u32,
    entries: Vec<Entry>,
}

impl MsiX {
    /// `vectors` entries at `table_offset` of BAR `bar`, their pending bits at `pba_offset`.
    ///
    /// # Panics
    /// If there are no vectors or more than 2048, an offset is not a multiple of 8, or the two
    /// overlap.
    pub fn new(vectors: u16, bar: u8, table_offset: u32, pba_offset: u32) -> MsiX {
        assert!(
            (1..=2048).contains(&vectors),
            "MSI-X with {vectors} vectors"
        );
        assert!(
            table_offset.is_multiple_of(8) && pba_offset.is_multiple_of(8),
            "MSI-X alignment"
        );
        let entries = vec![Entry::RESET; vectors.into()];
        let msix = MsiX {
            bar,
            table_offset,
            pba_offset,
            control: 0,
            entries,
        };
        let (table, pba) = (u64::from(table_offset), u64::from(pba_offset));
        assert!(
            table + msix.table_bytes() <= pba || pba + msix.pba_bytes() <= table,
            "MSI-X table and PBA overlap"
        );
        msix
    }

    /// MSI-X Enable.
    pub fn enabled(&self) -> bool {
        self.control & ENABLE != 0
    }

    /// Raises `vector`: the message to send now. `None` if MSI-X is disabled or there is no such
    /// vector, or if it is masked, in which case it becomes pending.
    pub fn message(&mut self, vector: u16) -> Option<Message> {
        let (enabled, function_masked) = (self.enabled(), self.control & FUNCTION_MASK != 0);
        let entry = self
            .entries
            .get_mut(usize::from(vector))
            .filter(|_| enabled)?;
        if function_masked || entry.control & VECTOR_MASKED != 0 {
            entry.pending = true;
            return None;
        }
        Some(entry.message())
    }

    /// The cause of `vector` is gone before it was unmasked.
    pub fn withdraw(&mut self, vector: u16) {
        if let Some(entry) = self.entries.get_mut(usize::from(vector)) {
            entry.pending = false;
        }
    }

    /// Reads the table or the PBA, if that is what lies at `offset` of BAR `bar`.
    pub fn bar_read(&self, bar: u8, offset: u64, data: &mut [u8]) -> bool {
        let bytes = data.len() as u64;
        if let Some(at) = self.inside(bar, offset, bytes, self.table_offset, self.table_bytes()) {
            read_registers(at, data, |register| Some(self.read_table(register)));
        } else if let Some(at) = self.inside(bar, offset, bytes, self.pba_offset, self.pba_bytes())
        {
            read_registers(at, data, |register| Some(self.read_pba(register)));
        } else {
            return false;
        }
        true
    }

    /// Writes the table, if that is what lies at `offset` of BAR `bar`; `None` if neither it nor
    /// the read-only PBA does. Messages that this unmasks are the caller's to take:
    /// [`ConfigSpace::write_msix`](super::config::ConfigSpace::write_msix) does.
    pub(super) fn bar_write(&mut self, bar: u8, offset: u64, data: &[u8]) -> Option<Effects> {
        let bytes = data.len() as u64;
        if let Some(at) = self.inside(bar, offset, bytes, self.table_offset, self.table_bytes()) {
            write_registers(at, data, |register, value, enables| {
                self.write_table(register, value, enables);
                true
            });
            return Some(Effects {
                msi_changed: true,
                ..Effects::default()
            });
        }
        self.inside(bar, offset, bytes, self.pba_offset, self.pba_bytes())
            .map(|_| Effects::default())
    }

    /// Pending messages that are no longer masked; they stop being pending.
    pub(super) fn take_unmasked(&mut self) -> Vec<Message> {
        if !self.enabled() || self.control & FUNCTION_MASK != 0 {
            return Vec::new();
        }
        let ready = self
            .entries
            .iter_mut()
            .filter(|e| e.pending && e.control & VECTOR_MASKED == 0);
        ready
            .map(|entry| {
                entry.pending = false;
                entry.message()
            })
            .collect()
    }

    fn table_bytes(&self) -> u64 {
        self.entries.len() as u64 * ENTRY_BYTES
    }

    fn pba_bytes(&self) -> u64 {
        self.entries.len().div_ceil(64) as u64 * 8
    }

    /// Offset into the structure at `start`, if the whole access is inside it.
    fn inside(&self, bar: u8, offset: u64, bytes: u64, start: u32, length: u64) -> Option<u64> {
        let at = offset
            .checked_sub(start.into())
            .filter(|_| bar == self.bar)?;
        (at.checked_add(bytes)? <= length).then_some(at)
    }

    fn read_table(&self, register: u64) -> u32 {
        let Some(entry) = self.entries.get((register / ENTRY_BYTES) as usize) else {
            return 0;
        };
        match register % ENTRY_BYTES {
            0x0 => entry.address[0],
            0x4 => entry.address[1],
            0x8 => entry.data,
            _ => entry.control,
        }
    }

    fn write_table(&mut self, register: u64, value: u32, enables: u32) {
        let Some(entry) = self.entries.get_mut((register / ENTRY_BYTES) as usize) else {
            return;
        };
        let (field, writable) = match register % ENTRY_BYTES {
            0x0 => (&mut entry.address[0], !3),
            0x4 => (&mut entry.address[1], !0),
            0x8 => (&mut entry.data, !0),
            _ => (&mut entry.control, VECTOR_MASKED),
        };
        *field = replace(*field, value, enables & writable);
    }

    fn read_pba(&self, register: u64) -> u32 {
        let first = register as usize * 8;
        let vectors = self.entries.iter().skip(first).take(32);
        vectors.zip(0..).fold(0, |bits, (entry, bit)| {
            bits | u32::from(entry.pending) << bit
        })
    }
}

impl Capability for MsiX {
    fn id(&self) -> CapabilityId {
        CapabilityId::Standard(MSIX_ID)
    }

    fn length(&self) -> u16 {
        LENGTH
    }

    fn read(&self, register: u16) -> u32 {
        match register {
            CONTROL => self.control | (self.entries.len() as u32 - 1) << 16,
            TABLE => self.table_offset | u32::from(self.bar),
            PBA => self.pba_offset | u32::from(self.bar),
            _ => 0,
        }
    }

    fn write(&mut self, register: u16, value: u32, enables: u32) -> Effects {
        if register != CONTROL {
            return Effects::default();
        }
        self.control = replace(self.control, value, enables & (ENABLE | FUNCTION_MASK));
        Effects {
            msi_changed: true,
            ..Effects::default()
        }
    }

    fn reset(&mut self) {
        self.control = 0;
        self.entries.fill(Entry::RESET);
    }
}
