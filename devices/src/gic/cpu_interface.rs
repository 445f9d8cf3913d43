//! One CPU's interface: priorities, preemption, and which interrupts it is handling.
//!
//! IHI 0069, *Interrupt prioritization* (4.8) and *AArch64 System register descriptions* (12.2).
//! The machine has neither EL2 nor EL3 and one Security state: group 0 is signalled as FIQ, group 1
//! as IRQ, and `ICC_BPR1_EL1` counts the way the Non-secure copy does.

use super::spec::{IccCtlr, PRIORITY_BITS, PRIORITY_MASK};

/// An interrupt group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    /// Signalled as FIQ.
    Zero,
    /// Signalled as IRQ.
    One,
}

/// The most urgent interrupt that is forwarded to a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pending {
    /// Lower is more urgent. First, so that the order of this type is that of urgency.
    pub priority: u8,
    /// Breaks ties: the lower one first.
    pub intid: u32,
    /// Its group.
    pub group: Group,
}

/// Priority shift of one active-priority bit.
const LEVEL_SHIFT: u32 = 8 - PRIORITY_BITS;
/// `ICC_RPR_EL1` while nothing is active.
const IDLE_PRIORITY: u8 = 0xff;
/// Smallest binary point of group 0: all implemented bits are group priority.
const BPR0_MIN: u8 = 7 - PRIORITY_BITS as u8;
/// Smallest binary point of group 1, which counts one higher.
const BPR1_MIN: u8 = BPR0_MIN + 1;

/// The interface's registers.
pub(super) struct CpuInterface {
    priority_mask: u8,
    bpr0: u8,
    bpr1: u8,
    cbpr: bool,
    /// `ICC_CTLR_EL1.EOImode`: end of interrupt does not deactivate.
    pub eoi_mode: bool,
    /// `ICC_IGRPEN0_EL1` and `ICC_IGRPEN1_EL1`.
    pub enabled: [bool; 2],
    /// `ICC_AP0R0_EL1` and `ICC_AP1R0_EL1`: a bit for each active priority level, most urgent
    /// lowest. Five priority bits are 32 levels: there is no second register.
    pub active_priorities: [u32; 2],
    /// The most urgent interrupt forwarded to this CPU, kept up to date by the GIC.
    pub highest: Option<Pending>,
}

impl CpuInterface {
    /// An interface after reset: everything masked.
    pub(super) fn new() -> CpuInterface {
        CpuInterface {
            priority_mask: 0,
            bpr0: BPR0_MIN,
            bpr1: BPR1_MIN,
            cbpr: false,
            eoi_mode: false,
            enabled: [false; 2],
            active_priorities: [0; 2],
            highest: None,
        }
    }

    /// The part of a priority that decides about preemption (*Priority grouping*, 4.8.2).
    fn group_mask(&self, group: Group) -> u8 {
        let subpriority_bits = match group {
            Group::One if !self.cbpr => self.bpr1,
            _ => self.bpr0 + 1,
        };
        (0xff_u16 << subpriority_bits) as u8
    }

    /// `ICC_RPR_EL1`: the priority of what is being handled.
    pub(super) fn running_priority(&self) -> u8 {
        match self.active_priorities[0] | self.active_priorities[1] {
            0 => IDLE_PRIORITY,
            levels => (levels.trailing_zeros() << LEVEL_SHIFT) as u8,
        }
    }

    /// The interrupt that is signalled to the CPU, if any: the most urgent one, if it passes the
    /// priority mask and preempts what runs.
    pub(super) fn signalled(&self) -> Option<Pending> {
        self.highest.filter(|pending| {
            pending.priority < self.priority_mask
                && pending.priority & self.group_mask(pending.group) < self.running_priority()
        })
    }

    /// Takes the signalled interrupt if it is of `group`.
    pub(super) fn acknowledge(&mut self, group: Group) -> Option<Pending> {
        let pending = self.signalled().filter(|pending| pending.group == group)?;
        let level = (pending.priority & self.group_mask(group)) >> LEVEL_SHIFT;
        self.active_priorities[group as usize] |= 1 << level;
        Some(pending)
    }

    /// Drops the running priority at the end of an interrupt of `group`. False, with nothing
    /// changed, if what runs is not of that group.
    pub(super) fn drop_priority(&mut self, group: Group) -> bool {
        let [zero, one] = self.active_priorities;
        let lowest = |levels: u32| levels & levels.wrapping_neg();
        let (levels, others) = match group {
            Group::Zero => (zero, one),
            Group::One => (one, zero),
        };
        let top = lowest(levels);
        if top == 0 || (others != 0 && lowest(others) < top) {
            return false;
        }
        self.active_priorities[group as usize] &= !top;
        true
    }

    /// `ICC_PMR_EL1`.
    pub(super) fn priority_mask(&self) -> u8 {
        self.priority_mask
    }

    /// Writes `ICC_PMR_EL1`.
    pub(super) fn set_priority_mask(&mut self, value: u64) {
        self.priority_mask = value as u8 & PRIORITY_MASK;
    }

    /// `ICC_BPR0_EL1` or `ICC_BPR1_EL1`.
    pub(super) fn binary_point(&self, group: Group) -> u8 {
        match group {
            Group::Zero => self.bpr0,
            Group::One if self.cbpr => (self.bpr0 + 1).min(7),
            Group::One => self.bpr1,
        }
    }

    /// Writes `ICC_BPR0_EL1` or `ICC_BPR1_EL1`; what is below the minimum sets the minimum.
    pub(super) fn set_binary_point(&mut self, group: Group, value: u64) {
        let point = (value & 7) as u8;
        match group {
            Group::Zero => self.bpr0 = point.max(BPR0_MIN),
            Group::One if self.cbpr => {}
            Group::One => self.bpr1 = point.max(BPR1_MIN),
        }
    }

    /// `ICC_CTLR_EL1`: 16 INTID bits, no SError generation, Aff3 zero, no range selector.
    pub(super) fn ctlr(&self) -> IccCtlr {
        IccCtlr::new()
            .with_cbpr(self.cbpr)
            .with_eoi_mode(self.eoi_mode)
            .with_pri_bits(PRIORITY_BITS as u8 - 1)
    }

    /// Writes `ICC_CTLR_EL1`. PMHE, a hint about 1-of-N interrupts, is RAZ/WI: there are none.
    pub(super) fn set_ctlr(&mut self, value: IccCtlr) {
        self.cbpr = value.cbpr();
        self.eoi_mode = value.eoi_mode();
    }
}
