//! The state of a run of wired or software-generated interrupts, and the registers over it.
//!
//! IHI 0069, *Interrupt handling state machine* (4.1.2). The distributor has a bank for its SPIs,
//! each redistributor one for its SGIs and PPIs; their registers have the same layout.

use super::spec::PRIORITY_MASK;

/// A register over a bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BankRegister {
    /// `IGROUPR`.
    Group,
    /// `ISENABLER`.
    SetEnable,
    /// `ICENABLER`.
    ClearEnable,
    /// `ISPENDR`.
    SetPending,
    /// `ICPENDR`.
    ClearPending,
    /// `ISACTIVER`.
    SetActive,
    /// `ICACTIVER`.
    ClearActive,
    /// `IPRIORITYR`, four interrupts a word.
    Priority,
    /// `ICFGR`, sixteen interrupts a word.
    Config,
}

impl BankRegister {
    /// The register at `offset` of the distributor or of an `SGI_base` frame, with the first INTID
    /// that its word is about.
    pub(super) fn at(offset: u64) -> Option<(BankRegister, u32)> {
        let (register, base, per_word) = match offset {
            0x080..0x100 => (BankRegister::Group, 0x080, 32),
            0x100..0x180 => (BankRegister::SetEnable, 0x100, 32),
            0x180..0x200 => (BankRegister::ClearEnable, 0x180, 32),
            0x200..0x280 => (BankRegister::SetPending, 0x200, 32),
            0x280..0x300 => (BankRegister::ClearPending, 0x280, 32),
            0x300..0x380 => (BankRegister::SetActive, 0x300, 32),
            0x380..0x400 => (BankRegister::ClearActive, 0x380, 32),
            0x400..0x800 => (BankRegister::Priority, 0x400, 4),
            0xc00..0xd00 => (BankRegister::Config, 0xc00, 16),
            _ => return None,
        };
        Some((register, (offset - base) as u32 / 4 * per_word))
    }
}

/// 32 interrupts, a bit each.
#[derive(Clone, Copy, Default)]
struct Word {
    group1: u32,
    enabled: u32,
    /// Made pending by an edge or by software, not yet taken.
    latched: u32,
    /// The wire.
    line: u32,
    edge: u32,
    active: u32,
}

impl Word {
    fn pending(&self) -> u32 {
        self.latched | (self.line & !self.edge)
    }
}

/// How far an interrupt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// Pending.
    pub pending: bool,
    /// Active.
    pub active: bool,
    /// Enabled.
    pub enabled: bool,
}

/// A run of interrupts. Indices count from the first of the bank; one out of range has no state,
/// reads as zero and ignores writes.
pub(super) struct Bank {
    words: Vec<Word>,
    priority: Vec<u8>,
    /// Interrupts whose configuration is fixed: SGIs are always edge-triggered.
    fixed_edge: u32,
}

impl Bank {
    /// `count` interrupts (a multiple of 32), the first of which are SGIs if `sgis`.
    pub(super) fn new(count: u32, sgis: bool) -> Bank {
        let mut words = vec![Word::default(); count as usize / 32];
        let fixed_edge = if sgis { 0xffff } else { 0 };
        if let Some(first) = words.first_mut() {
            first.edge = fixed_edge;
        }
        Bank {
            words,
            priority: vec![0; count as usize],
            fixed_edge,
        }
    }

    /// Interrupts in the bank.
    pub(super) fn len(&self) -> u32 {
        self.priority.len() as u32
    }

    /// Drives a wire; returns whether that may change what is pending.
    pub(super) fn set_line(&mut self, index: u32, asserted: bool) -> bool {
        let bit = 1 << (index % 32);
        let Some(word) = self.words.get_mut(index as usize / 32) else {
            return false;
        };
        if (word.line & bit != 0) == asserted {
            return false;
        }
        let before = word.pending();
        word.line ^= bit;
        if asserted {
            word.latched |= word.edge & bit;
        }
        word.pending() != before
    }

    /// Makes an interrupt pending as an edge does.
    pub(super) fn latch(&mut self, index: u32) {
        if let Some(word) = self.words.get_mut(index as usize / 32) {
            word.latched |= 1 << (index % 32);
        }
    }

    /// Takes an interrupt: active, and pending only if its level still is.
    pub(super) fn activate(&mut self, index: u32) {
        if let Some(word) = self.words.get_mut(index as usize / 32) {
            word.active |= 1 << (index % 32);
            word.latched &= !(1 << (index % 32));
        }
    }

    /// Ends the active state.
    pub(super) fn deactivate(&mut self, index: u32) {
        if let Some(word) = self.words.get_mut(index as usize / 32) {
            word.active &= !(1 << (index % 32));
        }
    }

    /// Whether an interrupt is in group 1.
    pub(super) fn is_group1(&self, index: u32) -> bool {
        self.words
            .get(index as usize / 32)
            .is_some_and(|word| word.group1 & 1 << (index % 32) != 0)
    }

    /// The priority of an interrupt.
    pub(super) fn priority(&self, index: u32) -> u8 {
        self.priority.get(index as usize).copied().unwrap_or(0xff)
    }

    /// Calls `visit` with each interrupt that could be signalled now: pending, enabled, not active,
    /// in one of the groups asked for. Lowest index first.
    pub(super) fn for_each_candidate(
        &self,
        group0: bool,
        group1: bool,
        mut visit: impl FnMut(u32),
    ) {
        for (index, word) in self.words.iter().enumerate() {
            let groups =
                if group0 { !word.group1 } else { 0 } | if group1 { word.group1 } else { 0 };
            let mut left = word.pending() & word.enabled & !word.active & groups;
            while left != 0 {
                visit(index as u32 * 32 + left.trailing_zeros());
                left &= left - 1;
            }
        }
    }

    /// Each interrupt that is pending or active, by index.
    pub(super) fn in_progress(&self) -> impl Iterator<Item = (u32, Progress)> {
        let bits = |(index, word): (usize, &Word)| {
            let word = *word;
            let either = word.pending() | word.active;
            (0..32)
                .filter(move |bit| either >> bit & 1 != 0)
                .map(move |bit| {
                    let is = |bits: u32| bits >> bit & 1 != 0;
                    let progress = Progress {
                        pending: is(word.pending()),
                        active: is(word.active),
                        enabled: is(word.enabled),
                    };
                    (index as u32 * 32 + bit, progress)
                })
        };
        self.words.iter().enumerate().flat_map(bits)
    }

    /// Reads the word of `register` that begins with interrupt `index`.
    pub(super) fn read(&self, register: BankRegister, index: u32) -> u32 {
        match register {
            BankRegister::Priority => {
                let bytes = self.priority.get(index as usize..index as usize + 4);
                bytes.map_or(0, |bytes| {
                    bytes
                        .iter()
                        .rev()
                        .fold(0, |word, b| word << 8 | u32::from(*b))
                })
            }
            BankRegister::Config => {
                let Some(word) = self.words.get(index as usize / 32) else {
                    return 0;
                };
                let edge = word.edge >> (index % 32);
                // Bit 1 of each pair: edge-triggered. Bit 0 is RES0.
                (0..16).fold(0, |config, bit| config | (edge >> bit & 1) << (2 * bit + 1))
            }
            _ => {
                let Some(word) = self.words.get(index as usize / 32) else {
                    return 0;
                };
                match register {
                    BankRegister::Group => word.group1,
                    BankRegister::SetEnable | BankRegister::ClearEnable => word.enabled,
                    BankRegister::SetPending | BankRegister::ClearPending => word.pending(),
                    _ => word.active,
                }
            }
        }
    }

    /// Writes the bytes under `mask` of the word of `register` that begins with interrupt `index`.
    pub(super) fn write(&mut self, register: BankRegister, index: u32, value: u32, mask: u32) {
        if register == BankRegister::Priority {
            let Some(bytes) = self.priority.get_mut(index as usize..index as usize + 4) else {
                return;
            };
            for (place, byte) in bytes.iter_mut().enumerate() {
                if mask.to_le_bytes()[place] != 0 {
                    *byte = value.to_le_bytes()[place] & PRIORITY_MASK;
                }
            }
            return;
        }
        let fixed_edge = if index < 32 { self.fixed_edge } else { 0 };
        let Some(word) = self.words.get_mut(index as usize / 32) else {
            return;
        };
        match register {
            BankRegister::Group => word.group1 = value,
            BankRegister::SetEnable => word.enabled |= value,
            BankRegister::ClearEnable => word.enabled &= !value,
            BankRegister::SetPending => word.latched |= value,
            BankRegister::ClearPending => word.latched &= !value,
            BankRegister::SetActive => word.active |= value,
            BankRegister::ClearActive => word.active &= !value,
            BankRegister::Config => {
                let edge = (0..16).fold(0, |edge, bit| edge | (value >> (2 * bit + 1) & 1) << bit);
                let shift = index % 32;
                word.edge = (word.edge & !(0xffff << shift)) | edge << shift | fixed_edge;
            }
            BankRegister::Priority => {}
        }
    }
}
