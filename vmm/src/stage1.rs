//! Stage 1 translation tables as they are in memory, whatever a TLB has of them.
//!
//! DDI 0487: *VMSAv8-64 translation table format descriptors*; IHI 0070, *Context Descriptor*.

use stallbox_devices::GuestRam;
use vm_memory::{Bytes, GuestAddress};

/// A word of RAM; `None` if there is none.
pub(crate) fn read64(ram: &GuestRam, at: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    ram.read_slice(&mut bytes, GuestAddress(at)).ok()?;
    Some(u64::from_le_bytes(bytes))
}

/// One half of an address space.
#[derive(Clone, Copy, Debug)]
pub struct Half {
    /// First table.
    pub(crate) table: u64,
    /// log2 of the granule.
    pub(crate) granule: u32,
    /// How many bits of address it has.
    pub(crate) input_bits: u32,
}

/// T0SZ and T1SZ are 16 to 39 wherever there are tables; what else a guest writes must do no harm.
fn input_bits(size: u64) -> u32 {
    64 - (size & 0x3f).clamp(16, 39) as u32
}

/// log2 of the granule by TG0.
fn granule0(tg0: u64) -> u32 {
    match tg0 & 3 {
        1 => 16,
        2 => 14,
        _ => 12,
    }
}

/// The same by TG1, which has other values.
fn granule1(tg1: u64) -> u32 {
    match tg1 & 3 {
        1 => 14,
        3 => 16,
        _ => 12,
    }
}

impl Half {
    /// The upper half by TTBR1_EL1 and TCR_EL1.
    pub(crate) fn upper(ttbr1: u64, tcr: u64) -> Half {
        Half {
            table: ttbr1 & 0x0000_ffff_ffff_fffe,
            granule: granule1(tcr >> 30),
            input_bits: input_bits(tcr >> 16),
        }
    }

    /// A half by a context descriptor; `None` if it has no tables (EPD0, EPD1).
    pub(crate) fn of_context(words: &[u64; 8], upper: bool) -> Option<Half> {
        let first = words[0];
        let (epd, base, granule, size) = if upper {
            (first >> 30, words[2], granule1(first >> 22), first >> 16)
        } else {
            (first >> 14, words[1], granule0(first >> 6), first)
        };
        (epd & 1 == 0).then(|| Half {
            table: base & 0x000f_ffff_ffff_fff0,
            granule,
            input_bits: input_bits(size),
        })
    }

    /// Where an address leads, if it is mapped.
    pub(crate) fn translate(&self, ram: &GuestRam, address: u64) -> Option<u64> {
        self.walk(ram, address).output()
    }

    /// Reads the descriptors of an address, from the first table to where it ends.
    pub(crate) fn walk(&self, ram: &GuestRam, address: u64) -> Walk {
        let mut steps = Vec::new();
        let stride = self.granule - 3;
        let start = 4 - (self.input_bits - self.granule).div_ceil(stride);
        let mut table = self.table;
        for level in start..4 {
            let low = self.granule + stride * (3 - level);
            let bits = if level == start {
                self.input_bits - low
            } else {
                stride
            };
            let at = table + 8 * (address >> low & ((1 << bits) - 1));
            let Some(raw) = read64(ram, at) else {
                let end = End::NotRam { at };
                return Walk { steps, end };
            };
            let kind = Kind::of(raw, level);
            steps.push(Step {
                level,
                at,
                raw,
                kind,
            });
            let address_bits = 0x0000_ffff_ffff_ffff;
            match kind {
                Kind::Table => table = raw & address_bits & !((1 << self.granule) - 1),
                Kind::Block | Kind::Page => {
                    let inside = (1_u64 << low) - 1;
                    let output = raw & address_bits & !inside | address & inside;
                    let end = End::Mapped { output, raw };
                    return Walk { steps, end };
                }
                Kind::Invalid | Kind::Reserved => break,
            }
        }
        Walk {
            steps,
            end: End::Invalid,
        }
    }
}

/// What a descriptor is at its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Invalid,
    /// A block where there can be none.
    Reserved,
    Block,
    Page,
    Table,
}

impl Kind {
    fn of(raw: u64, level: u32) -> Kind {
        match (raw & 3, level) {
            (0 | 2, _) => Kind::Invalid,
            (1, 0 | 3) => Kind::Reserved,
            (1, _) => Kind::Block,
            (_, 3) => Kind::Page,
            _ => Kind::Table,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Invalid => "invalid",
            Kind::Reserved => "reserved",
            Kind::Block => "block",
            Kind::Page => "page",
            Kind::Table => "table",
        }
    }
}

/// A descriptor that was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub level: u32,
    pub at: u64,
    pub raw: u64,
    pub kind: Kind,
}

/// What a walk read, and found.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    pub steps: Vec<Step>,
    pub end: End,
}

impl Walk {
    /// Where the address leads, if it is mapped.
    pub(crate) fn output(&self) -> Option<u64> {
        match self.end {
            End::Mapped { output, .. } => Some(output),
            End::Invalid | End::NotRam { .. } => None,
        }
    }
}

/// How a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// At a leaf.
    Mapped {
        /// Where the address leads.
        output: u64,
        /// The leaf.
        raw: u64,
    },
    /// The last descriptor leads nowhere.
    Invalid,
    /// The next descriptor would not be in RAM.
    NotRam {
        /// Where it would be.
        at: u64,
    },
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use vm_memory::GuestMemoryMmap;

    use super::*;

    const RAM: u64 = 0x4000_0000;

    fn memory(words: &[(u64, u64)]) -> GuestRam {
        let ranges = [(GuestAddress(RAM), 1 << 20)];
        let ram = Rc::new(GuestMemoryMmap::from_ranges(&ranges).unwrap());
        for (at, word) in words {
            ram.write_slice(&word.to_le_bytes(), GuestAddress(*at))
                .unwrap();
        }
        ram
    }

    /// A context as Linux 6.12 writes it for a process with 48 bits and 4 KiB: T0SZ 16, EPD1, V,
    /// AA64; its tables at [`RAM`].
    fn context(first: u64) -> [u64; 8] {
        [first, RAM, 0, 0, 0, 0, 0, 0]
    }
    const LINUX: u64 = 1 << 41 | 1 << 31 | 1 << 30 | 16;

    #[test]
    fn a_page_and_a_block_are_found_with_all_that_leads_there() {
        // Indices 0x1ff, 0x100, 3 and 5; 0x1ff, 0x100, 4 and the rest.
        let page = 0x0000_ffc0_0060_5678;
        let block = 0x0000_ffc0_0080_5678;
        let ram = memory(&[
            (RAM + 8 * 0x1ff, RAM + 0x1003),
            (RAM + 0x1000 + 8 * 0x100, RAM + 0x2003),
            (RAM + 0x2000 + 8 * 3, RAM + 0x3003),
            (RAM + 0x2000 + 8 * 4, 0x0060_0000_8020_0f41),
            (RAM + 0x3000 + 8 * 5, 0x00e8_0001_2345_6f43),
        ]);
        let half = Half::of_context(&context(LINUX), false).unwrap();
        let page = half.walk(&ram, page);
        assert_eq!(page.output(), Some(0x1_2345_6678));
        let levels: Vec<_> = page.steps.iter().map(|it| (it.level, it.kind)).collect();
        let tables = [0, 1, 2].map(|level| (level, Kind::Table));
        assert_eq!(levels, [&tables[..], &[(3, Kind::Page)]].concat());
        let block = half.walk(&ram, block);
        assert_eq!(block.output(), Some(0x8020_5678));
        assert_eq!(block.steps.last().map(|it| it.kind), Some(Kind::Block));
    }

    #[test]
    fn a_walk_that_leads_nowhere_says_where_it_ended() {
        let ram = memory(&[
            (RAM, RAM + 0x1003),
            (RAM + 8, 0xffff_ffff_f003),
            (RAM + 16, RAM + 0x1001),
        ]);
        let half = Half::of_context(&context(LINUX), false).unwrap();
        let invalid = half.walk(&ram, 0);
        assert_eq!((invalid.end, invalid.steps.len()), (End::Invalid, 2));
        let at = 0xffff_ffff_f000;
        assert_eq!(half.walk(&ram, 1 << 39).end, End::NotRam { at });
        // There is no block of 512 GiB.
        let reserved = half.walk(&ram, 2 << 39);
        assert_eq!(reserved.steps[0].kind, Kind::Reserved);
        assert_eq!(reserved.output(), None);
    }

    #[test]
    fn granules_and_halves_have_their_fields() {
        let half = |first, upper| Half::of_context(&context(first), upper);
        assert!(half(LINUX, true).is_none());
        assert!(half(1 << 14, false).is_none());
        let granule = |first, upper| half(first, upper).map(|it| it.granule);
        // TG0 is 4, 64, 16 KiB; TG1 16, 4, 64 KiB from 1 on.
        let lower = [0, 1, 2].map(|tg0| granule(tg0 << 6 | 16, false));
        assert_eq!(lower, [Some(12), Some(16), Some(14)]);
        let upper = [1, 2, 3].map(|tg1| granule(tg1 << 22 | 16 << 16, true));
        assert_eq!(upper, [Some(14), Some(12), Some(16)]);
        let kernel = Half::upper(RAM | 1, 25 << 16 | 2 << 30);
        assert_eq!((kernel.input_bits, kernel.granule), (39, 12));
    }
}
