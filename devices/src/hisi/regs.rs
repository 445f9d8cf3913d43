//! BAR2's 32-bit registers, except those that are the queue manager's own (mailbox, doorbells,
//! VFT, event masks).
//!
//! Linux reads large ranges for debugfs (`debugfs.c: dfx_regs_init`), so a read changes nothing,
//! and what is not implemented reads as zero: some of it is compared with zero before every
//! mailbox command (`qm_check_dev_error`).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use super::Revision;
use super::errors::Errors;
use super::spec::*;

/// What a write wants from the rest of the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// An abnormal event became visible.
    RaiseAbnormal,
    /// The queue manager's memories are to be cleared.
    InitializeMemory,
    /// The AXI master is to stop (true) or to go on.
    StopMaster(bool),
}

pub(super) struct Registers {
    constants: BTreeMap<u32, u32>,
    stored: RefCell<BTreeMap<u32, u32>>,
    qm_errors: Cell<Errors>,
    zip_errors: Cell<Errors>,
    master_stopped: Cell<bool>,
    written_back: Cell<bool>,
}

impl Registers {
    pub(super) fn new(revision: Revision, queues: u16, stop_commands: bool) -> Registers {
        let mut constants = BTreeMap::new();
        if revision == Revision::V3 {
            constants.extend(CAPABILITIES_V3.iter().copied());
            let stop = if stop_commands { FEATURES_STOP } else { 0 };
            constants.insert(FEATURES, FEATURES_VERSION | stop);
            let queues = u32::from(queues);
            constants.insert(QUEUE_COUNTS, queues << 11 | queues);
        }
        // Nothing here takes time: memory is initialised as soon as it is asked for, and after a
        // function level reset the driver relies on that without asking.
        constants.insert(MEMORY_INIT_DONE, 1);
        Registers {
            constants,
            stored: RefCell::new(BTreeMap::new()),
            qm_errors: Cell::new(Errors::new(QM_ERRORS)),
            zip_errors: Cell::new(Errors::new(ZIP_ERRORS)),
            master_stopped: Cell::new(false),
            written_back: Cell::new(false),
        }
    }

    pub(super) fn reset(&self) {
        self.stored.borrow_mut().clear();
        self.qm_errors.set(Errors::new(QM_ERRORS));
        self.zip_errors.set(Errors::new(ZIP_ERRORS));
        self.master_stopped.set(false);
        self.written_back.set(false);
    }

    pub(super) fn read(&self, offset: u32) -> u32 {
        if let Some(&value) = self.constants.get(&offset) {
            return value;
        }
        if let Some(&value) = self.stored.borrow().get(&offset) {
            return value;
        }
        let (qm, zip) = (self.qm_errors.get(), self.zip_errors.get());
        match offset.wrapping_sub(QM_ERROR_SOURCE) {
            0x0 => return qm.source(),
            0x4 => return qm.mask(),
            0x8 => return qm.status(),
            _ => {}
        }
        match offset.wrapping_sub(ZIP_ERROR_SOURCE) {
            0x0 => return zip.source(),
            0x4 => return zip.mask(),
            0xc => return zip.status(),
            _ => {}
        }
        match offset {
            CACHE_WB_DONE => self.written_back.get().into(),
            MASTER_CONTROL => self.master_stopped.get().into(),
            _ => 0,
        }
    }

    /// The bit of a user-domain register that puts a PASID on data (revision 0x21).
    pub(super) fn ssv(&self, offset: u32) -> bool {
        self.read(offset) & USER_SSV != 0
    }

    /// Writes a register; `enables` are the bits that the access covers.
    pub(super) fn write(&self, offset: u32, value: u32, enables: u32) -> Option<Request> {
        let value = value & enables;
        let merged = |old: u32| old & !enables | value;
        let mut qm = self.qm_errors.get();
        let mut zip = self.zip_errors.get();
        let mut abnormal = false;
        match offset.wrapping_sub(QM_ERROR_SOURCE) {
            0x0 => qm.clear(value),
            0x4 => abnormal |= qm.set_mask(merged(qm.mask())),
            0xc => abnormal |= qm.set(value),
            _ => {}
        }
        match offset.wrapping_sub(ZIP_ERROR_SOURCE) {
            0x0 => zip.clear(value),
            0x4 => abnormal |= zip.set_mask(merged(zip.mask())),
            0x8 => abnormal |= zip.set(value),
            _ => {}
        }
        self.qm_errors.set(qm);
        self.zip_errors.set(zip);
        if abnormal {
            return Some(Request::RaiseAbnormal);
        }
        match offset {
            // Contexts are not cached apart from memory, so they are written back at once.
            CACHE_WB_START => self
                .written_back
                .set(value & 1 != 0 || self.written_back.get()),
            MEMORY_INIT if value & 1 != 0 => return Some(Request::InitializeMemory),
            MASTER_CONTROL => {
                let stopped = merged(self.master_stopped.get().into()) & 1 != 0;
                self.master_stopped.set(stopped);
                return Some(Request::StopMaster(stopped));
            }
            _ => {
                if STORED.binary_search(&offset).is_ok() {
                    let mut stored = self.stored.borrow_mut();
                    let register = stored.entry(offset).or_insert(0);
                    *register = merged(*register);
                }
            }
        }
        None
    }

    /// Sets abnormal events; true if an interrupt is due.
    pub(super) fn set_errors(&self, qm: u32, zip: u32) -> bool {
        let qm_due = self.write(QM_ERROR_SOURCE + 0xc, qm, !0).is_some();
        let zip_due = self.write(ZIP_ERROR_SOURCE + 0x8, zip, !0).is_some();
        qm_due || zip_due
    }
}

/// Reads bytes out of 32-bit registers, whatever the width of the access.
pub(super) fn read_words(offset: u64, data: &mut [u8], read: impl Fn(u32) -> u32) {
    let mut current: Option<(u64, [u8; 4])> = None;
    for (at, byte) in (offset..).zip(data) {
        let register = at & !3;
        let bytes = match current {
            Some((of, bytes)) if of == register => bytes,
            _ => u32::try_from(register).map_or(0, &read).to_le_bytes(),
        };
        current = Some((register, bytes));
        *byte = bytes[(at & 3) as usize];
    }
}

/// Writes bytes into 32-bit registers: for each one its offset, the value and the covered bits.
pub(super) fn write_words(offset: u64, data: &[u8], mut write: impl FnMut(u32, u32, u32)) {
    let mut at = offset;
    let mut rest = data;
    while !rest.is_empty() {
        let lane = (at & 3) as usize;
        let (part, after) = rest.split_at(rest.len().min(4 - lane));
        let (mut value, mut enables) = ([0; 4], [0; 4]);
        value[lane..lane + part.len()].copy_from_slice(part);
        enables[lane..lane + part.len()].fill(0xff);
        if let Ok(register) = u32::try_from(at & !3) {
            write(
                register,
                u32::from_le_bytes(value),
                u32::from_le_bytes(enables),
            );
        }
        at += part.len() as u64;
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_registers_are_sorted_and_not_constants() {
        assert!(STORED.is_sorted_by(|a, b| a < b));
        let registers = Registers::new(Revision::V3, 1024, false);
        assert!(
            STORED
                .iter()
                .all(|offset| !registers.constants.contains_key(offset))
        );
    }

    #[test]
    fn words_are_cut_and_joined_by_lane() {
        let mut seen = Vec::new();
        write_words(0x102, &[1, 2, 3], |at, value, enables| {
            seen.push((at, value, enables))
        });
        assert_eq!(seen, [(0x100, 0x0201_0000, 0xffff_0000), (0x104, 3, 0xff)]);
        let mut data = [0; 3];
        read_words(0x102, &mut data, |at| {
            if at == 0x100 { 0xaabb_0000 } else { 0xcc }
        });
        assert_eq!(data, [0xbb, 0xaa, 0xcc]);
    }
}
