//! The function's share of the queues, set indirectly through seven registers (Linux 6.12, qm.c:
//! `qm_set_vft_common`, `qm_get_vft_v2`).

use std::collections::BTreeMap;

use super::spec::SqcVft;

/// Register offsets in BAR2 (`QM_VFT_CFG*`).
pub(super) const ENABLE: u32 = 0x10_0054;
const OPERATION: u32 = 0x10_0058;
const KIND: u32 = 0x10_005c;
const FUNCTION: u32 = 0x10_0060;
const DATA_LOW: u32 = 0x10_0064;
const DATA_HIGH: u32 = 0x10_0068;
pub(super) const READY: u32 = 0x10_006c;

/// `SQC_VFT`; `CQC_VFT` and `SHAPER_VFT` follow.
const KIND_SQC: u32 = 0;
const KIND_LAST: u32 = 2;
/// 64 functions; for the shaper the algorithm type comes above them.
const FUNCTION_MASK: u32 = 0xff;
/// The physical function.
const THIS_FUNCTION: u32 = 0;

pub(super) struct Vft {
    read_back: bool,
    kind: u32,
    function: u32,
    data: u64,
    ready: bool,
    entries: BTreeMap<(u32, u32), u64>,
}

impl Vft {
    pub(super) fn new() -> Vft {
        // Ready out of reset: the driver polls it before its first use.
        Vft {
            read_back: false,
            kind: 0,
            function: 0,
            data: 0,
            ready: true,
            entries: BTreeMap::new(),
        }
    }

    pub(super) fn owns(offset: u32) -> bool {
        (ENABLE..=READY).contains(&offset)
    }

    pub(super) fn read(&self, offset: u32) -> u32 {
        match offset {
            OPERATION => self.read_back.into(),
            KIND => self.kind,
            FUNCTION => self.function,
            DATA_LOW => self.data as u32,
            DATA_HIGH => (self.data >> 32) as u32,
            READY => self.ready.into(),
            _ => 0,
        }
    }

    /// True if the function's own queue range changed.
    pub(super) fn write(&mut self, offset: u32, value: u32) -> bool {
        match offset {
            OPERATION => self.read_back = value & 1 != 0,
            KIND => self.kind = value,
            FUNCTION => self.function = value & FUNCTION_MASK,
            DATA_LOW => self.data = self.data & !0xffff_ffff | u64::from(value),
            DATA_HIGH => self.data = self.data & 0xffff_ffff | u64::from(value) << 32,
            READY => self.ready = value & 1 != 0,
            ENABLE if value & 1 != 0 => return self.execute(),
            _ => {}
        }
        false
    }

    fn execute(&mut self) -> bool {
        self.ready = true;
        if self.kind > KIND_LAST {
            return false;
        }
        let key = (self.kind, self.function);
        if self.read_back {
            self.data = self.entries.get(&key).copied().unwrap_or(0);
            return false;
        }
        let before = self.entries.insert(key, self.data).unwrap_or(0);
        key == (KIND_SQC, THIS_FUNCTION) && before != self.data
    }

    fn own(&self) -> SqcVft {
        SqcVft::from(
            self.entries
                .get(&(KIND_SQC, THIS_FUNCTION))
                .copied()
                .unwrap_or(0),
        )
    }

    /// The answer to mailbox command 6.
    pub(super) fn answer(&self) -> u64 {
        self.own().into()
    }

    /// How many queues the function has.
    pub(super) fn queues(&self) -> u16 {
        let own = self.own();
        if own.valid() { own.last() + 1 } else { 0 }
    }
}
