//! The register file: what is kept, what may be written when, and what reads back.
//!
//! IHI 0070, *Memory map and registers*. A write to a register whose enable is set is ignored, as
//! SMMUv3.2 demands and earlier versions allow. What a write sets in motion is an [`Effect`], for
//! the caller to act on.

use std::cell::Cell;

use crate::features::Config;
use crate::spec::regs::{self as spec, cr0, cr1, cr2, gbpa, gerror, irq_ctrl, mask};

/// What a register write sets in motion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    None,
    /// CR0 changed.
    Enables {
        before: u32,
        after: u32,
    },
    /// CMDQ_PROD moved.
    CommandsQueued,
    /// EVENTQ_CONS was written.
    EventsConsumed,
    /// GERRORN was written.
    ErrorsAcknowledged,
}

/// An interrupt's message: `*_IRQ_CFG0` to `*_IRQ_CFG2`.
#[derive(Default)]
pub(crate) struct Message {
    pub(crate) address: Cell<u64>,
    pub(crate) data: Cell<u32>,
    pub(crate) attributes: Cell<u32>,
}

/// The registers of a queue: `*Q_BASE`, `*Q_PROD` and `*Q_CONS`.
#[derive(Default)]
pub(crate) struct QueueRegisters {
    pub(crate) base: Cell<u64>,
    pub(crate) prod: Cell<u32>,
    pub(crate) cons: Cell<u32>,
}

/// The registers that hold something. Those that read as constants are not here.
#[derive(Default)]
pub(crate) struct Registers {
    pub(crate) cr0: Cell<u32>,
    cr1: Cell<u32>,
    pub(crate) cr2: Cell<u32>,
    pub(crate) gbpa_abort: Cell<bool>,
    gbpa_perms: Cell<u32>,
    pub(crate) irq_ctrl: Cell<u32>,
    pub(crate) gerror: Cell<u32>,
    pub(crate) gerrorn: Cell<u32>,
    pub(crate) gerror_msi: Message,
    pub(crate) eventq_msi: Message,
    pub(crate) strtab_base: Cell<u64>,
    pub(crate) strtab_base_cfg: Cell<u32>,
    pub(crate) cmdq: QueueRegisters,
    pub(crate) eventq: QueueRegisters,
    pub(crate) priq: QueueRegisters,
    pub(crate) priq_msi: Message,
}

/// The bits of CR0 that are there.
fn cr0_implemented(features: &Config) -> u32 {
    let ats = if features.ats { cr0::ATSCHK } else { 0 };
    let pri = if features.pri { cr0::PRIQEN } else { 0 };
    cr0::IMPLEMENTED | ats | pri
}

/// One half of a 64-bit register.
fn half(register: &Cell<u64>, high: bool) -> u32 {
    (register.get() >> if high { 32 } else { 0 }) as u32
}

fn set_half(register: &Cell<u64>, high: bool, value: u32, mask: u64) {
    let shift = if high { 32 } else { 0 };
    let kept = register.get() & !(0xffff_ffff << shift);
    register.set((kept | u64::from(value) << shift) & mask);
}

impl Registers {
    pub(crate) fn enabled(&self, enables: u32) -> bool {
        self.cr0.get() & enables != 0
    }

    /// Errors that software has not acknowledged.
    pub(crate) fn active_errors(&self) -> u32 {
        self.gerror.get() ^ self.gerrorn.get()
    }

    /// The 32 bits at `offset`, a multiple of 4; `None` if there is no register.
    pub(crate) fn read(&self, features: &Config, offset: u64) -> Option<u32> {
        let high = offset & 4 != 0;
        Some(match offset {
            spec::IDR0 => features.idr0(),
            spec::IDR1 => features.idr1(),
            spec::IDR3 => features.idr3(),
            spec::IDR5 => features.idr5(),
            spec::IIDR => features.iidr,
            spec::AIDR => features.aidr(),
            // Every change is in force at once, so the acknowledgements are the registers.
            spec::CR0 | spec::CR0ACK => self.cr0.get(),
            spec::CR1 => self.cr1.get(),
            spec::CR2 => self.cr2.get(),
            spec::GBPA => {
                gbpa::SHCFG_INCOMING
                    | self.gbpa_perms.get()
                    | if self.gbpa_abort.get() {
                        gbpa::ABORT
                    } else {
                        0
                    }
            }
            spec::IRQ_CTRL | spec::IRQ_CTRLACK => self.irq_ctrl.get(),
            spec::GERROR => self.gerror.get(),
            spec::GERRORN => self.gerrorn.get(),
            0x68 | 0x6c => half(&self.gerror_msi.address, high),
            spec::GERROR_IRQ_CFG1 => self.gerror_msi.data.get(),
            spec::GERROR_IRQ_CFG2 => self.gerror_msi.attributes.get(),
            0x80 | 0x84 => half(&self.strtab_base, high),
            spec::STRTAB_BASE_CFG => self.strtab_base_cfg.get(),
            0x90 | 0x94 => half(&self.cmdq.base, high),
            spec::CMDQ_PROD => self.cmdq.prod.get(),
            spec::CMDQ_CONS => self.cmdq.cons.get(),
            0xa0 | 0xa4 => half(&self.eventq.base, high),
            spec::EVENTQ_PROD | spec::EVENTQ_PROD_ALIAS => self.eventq.prod.get(),
            spec::EVENTQ_CONS | spec::EVENTQ_CONS_ALIAS => self.eventq.cons.get(),
            0xb0 | 0xb4 => half(&self.eventq_msi.address, high),
            spec::EVENTQ_IRQ_CFG1 => self.eventq_msi.data.get(),
            spec::EVENTQ_IRQ_CFG2 => self.eventq_msi.attributes.get(),
            // Nothing of what they announce is there.
            spec::IDR2 | spec::IDR4 | spec::IDR6 => 0,
            _ if features.pri => return self.read_pri(offset),
            _ => return None,
        })
    }

    /// Writes the 32 bits at `offset`, a multiple of 4.
    pub(crate) fn write(&self, features: &Config, offset: u64, value: u32) -> Effect {
        let high = offset & 4 != 0;
        let queues = cr0::EVENTQEN | cr0::CMDQEN | cr0::PRIQEN;
        match offset {
            spec::CR0 => {
                let (before, after) = (self.cr0.get(), value & cr0_implemented(features));
                self.cr0.set(after);
                return Effect::Enables { before, after };
            }
            spec::CR1 => {
                let mut writable = 0;
                if !self.enabled(cr0::SMMUEN) {
                    writable |= cr1::TABLE;
                }
                if !self.enabled(queues) {
                    writable |= cr1::QUEUE;
                }
                self.cr1.set(self.cr1.get() & !writable | value & writable);
            }
            spec::CR2 if self.free(offset, cr0::SMMUEN) => {
                let e2h = if features.hyp { cr2::E2H } else { 0 };
                let ats = if features.ats { cr2::REC_CFG_ATS } else { 0 };
                self.cr2.set(value & (cr2::RECINVSID | e2h | ats));
            }
            // One write says everything, and it is in force before Update can be read as 1.
            spec::GBPA if value & gbpa::UPDATE != 0 => {
                self.gbpa_abort.set(value & gbpa::ABORT != 0);
                if features.attr_perms_ovr {
                    self.gbpa_perms.set(value & gbpa::PERMS);
                }
            }
            spec::IRQ_CTRL => {
                let pri = if features.pri { irq_ctrl::PRIQ } else { 0 };
                self.irq_ctrl.set(value & (irq_ctrl::IMPLEMENTED | pri));
            }
            spec::GERRORN => {
                let pri = if features.pri {
                    gerror::PRIQ_ABT_ERR | gerror::MSI_PRIQ_ABT_ERR
                } else {
                    0
                };
                self.gerrorn.set(value & (gerror::IMPLEMENTED | pri));
                return Effect::ErrorsAcknowledged;
            }
            0x68..=0x77 => {
                let place = (offset - spec::GERROR_IRQ_CFG0) as u32;
                self.write_message(features, &self.gerror_msi, irq_ctrl::GERROR, place, value);
            }
            0xb0..=0xbf => {
                let place = (offset - spec::EVENTQ_IRQ_CFG0) as u32;
                self.write_message(features, &self.eventq_msi, irq_ctrl::EVENTQ, place, value);
            }
            0x80 | 0x84 if self.free(offset, cr0::SMMUEN) => {
                set_half(&self.strtab_base, high, value, mask::STRTAB_BASE);
            }
            spec::STRTAB_BASE_CFG if self.free(offset, cr0::SMMUEN) => {
                // FMT and SPLIT are RES0 where tables have one level.
                let implemented = if features.two_level_streams {
                    mask::STRTAB_BASE_CFG
                } else {
                    mask::STRTAB_BASE_CFG_LOG2SIZE
                };
                self.strtab_base_cfg.set(value & implemented);
            }
            0x90 | 0x94 if self.free(offset, cr0::CMDQEN) => {
                set_half(&self.cmdq.base, high, value, mask::QUEUE_BASE);
            }
            spec::CMDQ_PROD => {
                self.cmdq.prod.set(value & mask::QUEUE_INDEX);
                return Effect::CommandsQueued;
            }
            spec::CMDQ_CONS if self.free(offset, cr0::CMDQEN) => {
                self.cmdq
                    .cons
                    .set(value & (mask::QUEUE_INDEX | mask::CMDQ_CONS_ERR));
            }
            0xa0 | 0xa4 if self.free(offset, cr0::EVENTQEN) => {
                set_half(&self.eventq.base, high, value, mask::QUEUE_BASE);
            }
            spec::EVENTQ_PROD | spec::EVENTQ_PROD_ALIAS if self.free(offset, cr0::EVENTQEN) => {
                self.eventq
                    .prod
                    .set(value & (mask::QUEUE_INDEX | mask::QUEUE_OVERFLOW));
            }
            spec::EVENTQ_CONS | spec::EVENTQ_CONS_ALIAS => {
                self.eventq
                    .cons
                    .set(value & (mask::QUEUE_INDEX | mask::QUEUE_OVERFLOW));
                return Effect::EventsConsumed;
            }
            _ if features.pri => self.write_pri(features, offset, value),
            _ => log::debug!("smmu: write of {value:#x} to {offset:#x} ignored"),
        }
        Effect::None
    }

    fn read_pri(&self, offset: u64) -> Option<u32> {
        let high = offset & 4 != 0;
        Some(match offset {
            0xc0 | 0xc4 => half(&self.priq.base, high),
            spec::PRIQ_PROD | spec::PRIQ_PROD_ALIAS => self.priq.prod.get(),
            spec::PRIQ_CONS | spec::PRIQ_CONS_ALIAS => self.priq.cons.get(),
            0xd0 | 0xd4 => half(&self.priq_msi.address, high),
            spec::PRIQ_IRQ_CFG1 => self.priq_msi.data.get(),
            spec::PRIQ_IRQ_CFG2 => self.priq_msi.attributes.get(),
            _ => return None,
        })
    }

    /// The registers of the page request queue. None of them sets anything in motion: a request
    /// that found no room was answered, and does not come again by itself.
    fn write_pri(&self, features: &Config, offset: u64, value: u32) {
        let high = offset & 4 != 0;
        match offset {
            0xc0 | 0xc4 if self.free(offset, cr0::PRIQEN) => {
                set_half(&self.priq.base, high, value, mask::QUEUE_BASE);
            }
            spec::PRIQ_PROD | spec::PRIQ_PROD_ALIAS if self.free(offset, cr0::PRIQEN) => {
                self.priq
                    .prod
                    .set(value & (mask::QUEUE_INDEX | mask::QUEUE_OVERFLOW));
            }
            spec::PRIQ_CONS | spec::PRIQ_CONS_ALIAS => {
                self.priq
                    .cons
                    .set(value & (mask::QUEUE_INDEX | mask::QUEUE_OVERFLOW));
            }
            spec::PRIQ_IRQ_CFG2 => {
                // LO has a meaning without MSIs too.
                if self.irq_ctrl.get() & irq_ctrl::PRIQ == 0 {
                    let attributes = if features.msi { mask::IRQ_CFG2 } else { 0 };
                    self.priq_msi
                        .attributes
                        .set(value & (attributes | mask::IRQ_CFG2_LO));
                }
            }
            0xd0..=0xdb => {
                let place = (offset - spec::PRIQ_IRQ_CFG0) as u32;
                self.write_message(features, &self.priq_msi, irq_ctrl::PRIQ, place, value);
            }
            _ => log::debug!("smmu: write of {value:#x} to {offset:#x} ignored"),
        }
    }

    /// Whether the guard of the register at `offset` is open.
    fn free(&self, offset: u64, guard: u32) -> bool {
        let free = !self.enabled(guard);
        if !free {
            log::debug!("smmu: {offset:#x} is guarded by CR0 bits {guard:#x}, which are set");
        }
        free
    }

    fn write_message(
        &self,
        features: &Config,
        message: &Message,
        guard: u32,
        place: u32,
        value: u32,
    ) {
        if !features.msi || self.irq_ctrl.get() & guard != 0 {
            log::debug!("smmu: message of an interrupt that is enabled, or has none; ignored");
            return;
        }
        match place {
            0 | 4 => set_half(&message.address, place == 4, value, mask::IRQ_CFG0),
            8 => message.data.set(value),
            _ => message.attributes.set(value & mask::IRQ_CFG2),
        }
    }
}
