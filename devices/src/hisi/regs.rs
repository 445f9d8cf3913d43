//! BAR2's 32-bit registers, except those that are the queue manager's own (mailbox, doorbells,
//! VFT, event interrupts) and the counters.
//!
//! `docs/hisi-registers.md` says for each who touches it and what it does. Linux reads large ranges
//! for debugfs (`debugfs.c: dfx_regs_init`), so a read changes nothing but a counter that is told to
//! clear, and some of what reads as zero is compared with zero before every mailbox command
//! (`qm_check_dev_error`).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::counters::{CoreCounts, CoreKind, CoreName, Counters, QmEvent};
use super::errors::Errors;
use super::spec::*;
use super::{DmaErrors, Revision, ZipConfig};

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
    counters: Rc<Counters>,
    cores: CoreCounts,
    dma_errors: DmaErrors,
    stored: RefCell<BTreeMap<u32, u32>>,
    qm_errors: Cell<Errors>,
    zip_errors: Cell<Errors>,
    master_stopped: Cell<bool>,
    written_back: Cell<bool>,
    /// A read, and a write, was answered with an error.
    alarms: Cell<[bool; 2]>,
}

impl Registers {
    pub(super) fn new(config: &ZipConfig, counters: &Rc<Counters>, cores: CoreCounts) -> Registers {
        let mut constants = BTreeMap::new();
        if config.revision == Revision::V3 {
            let fixed = CAPABILITIES_V3.iter();
            constants.extend(fixed.map(|&(offset, _, value)| (offset, value)));
            let feature = |there: bool, bit: u32| if there { bit } else { 0 };
            let stop = feature(config.stop_qp, FEATURE_STOP_QP)
                | feature(config.flush_qm, FEATURE_FLUSH_QM);
            constants.insert(FEATURES, FEATURES_VERSION | stop);
            // Those of the device as sold give way.
            constants.extend(core_capabilities(
                config.compress_cores,
                config.decompress_cores,
            ));
            let queues = u32::from(config.queues);
            constants.insert(QUEUE_COUNTS, queues << 11 | queues);
        }
        // Nothing here takes time: memory is initialised as soon as it is asked for, and after a
        // function level reset the driver relies on that without asking.
        constants.insert(MEMORY_INIT_DONE, 1);
        Registers {
            constants,
            counters: counters.clone(),
            cores,
            dma_errors: config.dma_errors,
            stored: RefCell::new(BTreeMap::new()),
            qm_errors: Cell::new(Errors::new(QM_ERRORS)),
            zip_errors: Cell::new(Errors::new(ZIP_ERRORS)),
            master_stopped: Cell::new(false),
            written_back: Cell::new(false),
            alarms: Cell::default(),
        }
    }

    pub(super) fn reset(&self) {
        self.stored.borrow_mut().clear();
        self.qm_errors.set(Errors::new(QM_ERRORS));
        self.zip_errors.set(Errors::new(ZIP_ERRORS));
        self.master_stopped.set(false);
        self.written_back.set(false);
        self.alarms.take();
        self.counters.reset();
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
            ALARM_READ => self.alarms.get()[0].into(),
            ALARM_WRITE => self.alarms.get()[1].into(),
            _ => self.read_counter(offset),
        }
    }

    fn kept(&self, offset: u32) -> u32 {
        self.stored.borrow().get(&offset).copied().unwrap_or(0)
    }

    fn read_counter(&self, offset: u32) -> u32 {
        if let Some((kind, index, at)) = core_register(offset) {
            let clear = self.kept(ZIP_COUNTERS_CLEAR) & COUNTERS_CLEAR != 0;
            return self.counters.read_core(CoreName { kind, index }, at, clear);
        }
        // What is selected stands two words before the counter (`QM_DFX_MB_CNT_VF` and its like).
        let selected = offset.checked_sub(8).map_or(0, |at| self.kept(at));
        let clear = self.kept(QM_COUNTERS_CLEAR) & COUNTERS_CLEAR != 0;
        self.counters.read_qm(offset, selected, clear).unwrap_or(0)
    }

    /// Whether an access means a register that is modelled. What the driver copies as a whole is no news
    /// when it is read.
    pub(super) fn is_modelled(&self, offset: u32, write: bool) -> bool {
        let of_core =
            |(kind, core, at)| core < self.cores.of(kind) && find(CORE_REGISTERS, at).is_some();
        role(offset).is_some()
            || self.constants.contains_key(&offset)
            || core_register(offset).is_some_and(of_core)
            || !write && is_dumped(offset)
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
            0xc => {
                abnormal |= qm.set(value);
                for (bit, many) in [(QM_ECC_ONE_BIT, false), (QM_ECC_MANY_BITS, true)] {
                    if value & bit != 0 {
                        self.counters.qm(QmEvent::Ecc { many });
                    }
                }
            }
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
                if role(offset) == Some(Role::Kept) {
                    let mut stored = self.stored.borrow_mut();
                    let register = stored.entry(offset).or_insert(0);
                    *register = merged(*register);
                }
            }
        }
        None
    }

    /// An access was refused: the queue manager's own, or for a job. True if an interrupt is due.
    ///
    /// For a job both bits are set, whichever access it was: that is what the hardware's firmware printed
    /// (Linaro/uadk issue 226, "5.12 kernel has issue": `ZIP_CORE_INT_SOURCE = 0xc`,
    /// `QM_PF_ABNORMAL_INT_SOURCE = 0x0`, with completion status 0x41). Of a ring there is no log. MODEL:
    /// the queue manager sets the one that is named after the access.
    pub(super) fn dma_refused(&self, of_a_job: bool, write: bool) -> bool {
        let mut alarms = self.alarms.get();
        alarms[usize::from(write)] = true;
        self.alarms.set(alarms);
        let (errors, bits) = match (of_a_job, write) {
            (true, _) => (&self.zip_errors, ZIP_AXI_ERRORS),
            (false, false) => (&self.qm_errors, QM_AXI_READ_ERROR),
            (false, true) => (&self.qm_errors, QM_AXI_WRITE_ERROR),
        };
        let mut changed = errors.get();
        let due = match self.dma_errors {
            DmaErrors::Status => {
                changed.set_elsewhere(bits);
                false
            }
            DmaErrors::Ras => changed.set(bits),
        };
        errors.set(changed);
        due
    }

    /// Sets abnormal events; true if an interrupt is due.
    pub(super) fn set_errors(&self, qm: u32, zip: u32) -> bool {
        let qm_due = self.write(QM_ERROR_SOURCE + 0xc, qm, !0).is_some();
        let zip_due = self.write(ZIP_ERROR_SOURCE + 0x8, zip, !0).is_some();
        qm_due || zip_due
    }
}

/// What a register does that both revisions have and that is no core's.
fn role(offset: u32) -> Option<Role> {
    find(REGISTERS, offset)
}

fn find(table: &[(u32, &str, Role)], offset: u32) -> Option<Role> {
    let at = table.binary_search_by_key(&offset, |&(offset, ..)| offset);
    at.ok().map(|at| table[at].2)
}

/// Whether `offset` is in what the driver copies as a whole.
fn is_dumped(offset: u32) -> bool {
    DUMPED
        .iter()
        .any(|&(first, bytes)| (first..first + bytes).contains(&offset))
}

/// The registers of a core: which of both kinds, and the offset in them.
pub(super) fn core_register(offset: u32) -> Option<(CoreKind, usize, u32)> {
    let (kind, first) = match offset {
        COMPRESS_CORES..DECOMPRESS_CORES => (CoreKind::Compress, COMPRESS_CORES),
        DECOMPRESS_CORES..CORES_END => (CoreKind::Decompress, DECOMPRESS_CORES),
        _ => return None,
    };
    let at = offset - first;
    Some((kind, (at / CORE_BYTES) as usize, at % CORE_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_in_order_and_do_not_overlap() {
        assert!(REGISTERS.is_sorted_by(|a, b| a.0 < b.0));
        assert!(CORE_REGISTERS.is_sorted_by(|a, b| a.0 < b.0));
        let is_capability = |offset| CAPABILITIES_V3.iter().any(|it| it.0 == offset);
        assert!(!REGISTERS.iter().any(|it| is_capability(it.0)));
    }

    /// The page is what users read; the tables are what the model does.
    #[test]
    fn the_document_has_every_register() {
        let text = include_str!("../../../docs/hisi-registers.md");
        let has = |offset: u32, name: &str| {
            let row = format!("| `{offset:#x}` | `{name}` |");
            assert!(
                text.contains(&row),
                "docs/hisi-registers.md has no row {row}"
            );
        };
        for &(offset, name, _) in REGISTERS.iter().chain(CORE_REGISTERS) {
            has(offset, name);
        }
        for &(offset, name, _) in CAPABILITIES_V3 {
            has(offset, name);
        }
    }
}
