//! The kernel's translation tables as they are in memory: where an address of a vCPU leads.
//!
//! DDI 0487: *VMSAv8-64 translation table format descriptors*.

use stallbox_devices::GuestRam;
use vm_memory::{Bytes, GuestAddress};

/// A word of RAM; `None` if there is none.
pub fn read64(ram: &GuestRam, at: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    ram.read_slice(&mut bytes, GuestAddress(at)).ok()?;
    Some(u64::from_le_bytes(bytes))
}

/// RAM as [`View`](stallbox_smmu::view::View) reads it.
pub fn reader(ram: &GuestRam) -> impl Fn(u64) -> Option<u64> {
    move |at| read64(ram, at)
}

/// One half of an address space.
#[derive(Clone, Copy, Debug)]
pub struct Half {
    /// First table.
    pub table: u64,
    /// log2 of the granule.
    pub granule: u32,
    /// How many bits of address it has.
    pub input_bits: u32,
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

/// log2 of the granule by TG1.
fn granule1(tg1: u64) -> u32 {
    match tg1 & 3 {
        1 => 14,
        3 => 16,
        _ => 12,
    }
}

/// Bits of TTBR0_EL1 and TTBR1_EL1 that say where the table is, without ASID and CnP.
const TABLE: u64 = 0x0000_ffff_ffff_fffe;

impl Half {
    /// The half that an address is in.
    pub fn of(address: u64, ttbr0: u64, ttbr1: u64, tcr: u64) -> Half {
        if address >> 55 & 1 != 0 {
            Half::upper(ttbr1, tcr)
        } else {
            Half::lower(ttbr0, tcr)
        }
    }

    /// The lower half by TTBR0_EL1 and TCR_EL1.
    pub fn lower(ttbr0: u64, tcr: u64) -> Half {
        Half {
            table: ttbr0 & TABLE,
            granule: granule0(tcr >> 14),
            input_bits: input_bits(tcr),
        }
    }

    /// The upper half by TTBR1_EL1 and TCR_EL1.
    pub fn upper(ttbr1: u64, tcr: u64) -> Half {
        Half {
            table: ttbr1 & TABLE,
            granule: granule1(tcr >> 30),
            input_bits: input_bits(tcr >> 16),
        }
    }

    /// Where an address leads, if it is mapped.
    pub fn translate(&self, ram: &GuestRam, address: u64) -> Option<u64> {
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
            let raw = read64(ram, table + 8 * (address >> low & ((1 << bits) - 1)))?;
            let inside = match (raw & 3, level) {
                (3, 0..=2) => {
                    table = raw & ADDRESS & !((1 << self.granule) - 1);
                    continue;
                }
                // A block where there can be none, or nothing.
                (1, 0 | 3) | (0 | 2, _) => return None,
                _ => (1_u64 << low) - 1,
            };
            return Some(raw & ADDRESS & !inside | address & inside);
        }
        None
    }
}

/// The address in a descriptor.
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

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

    #[test]
    fn pages_and_blocks_are_found() {
        // Indices 0x1ff, 0x100, 3 and 5; 0x1ff, 0x100, 4 and the rest.
        let page = 0xffff_ffc0_0060_5678;
        let block = 0xffff_ffc0_0080_5678;
        let ram = memory(&[
            (RAM + 8 * 0x1ff, RAM + 0x1003),
            (RAM, RAM + 0x1001),
            (RAM + 8, 0xffff_ffff_f003),
            (RAM + 0x1000 + 8 * 0x100, RAM + 0x2003),
            (RAM + 0x2000 + 8 * 3, RAM + 0x3003),
            (RAM + 0x2000 + 8 * 4, 0x0060_0000_8020_0f41),
            (RAM + 0x3000 + 8 * 5, 0x00e8_0001_2345_6f43),
        ]);
        // TG1 is 2 for 4 KiB, T1SZ 16.
        let half = Half::upper(RAM, 2 << 30 | 16 << 16);
        assert_eq!(half.translate(&ram, page), Some(0x1_2345_6678));
        assert_eq!(half.translate(&ram, block), Some(0x8020_5678));
        let nowhere = |address: u64| half.translate(&ram, 0xffff << 48 | address).is_none();
        assert!(nowhere(1 << 40), "nothing is mapped");
        assert!(nowhere(0), "there is no block of 512 GiB");
        assert!(nowhere(1 << 39), "a table that is not RAM");
    }

    #[test]
    fn granules_have_their_field() {
        // TG1 is 16, 4, 64 KiB from 1 on.
        let granule = |tg1: u64| Half::upper(RAM, 16 << 16 | tg1 << 30).granule;
        assert_eq!([1, 2, 3].map(granule), [14, 12, 16]);
        // TG0 is 4, 64, 16 KiB from 0 on.
        let granule = |tg0: u64| Half::lower(RAM, 16 | tg0 << 14).granule;
        assert_eq!([0, 1, 2].map(granule), [12, 16, 14]);
        let kernel = Half::upper(RAM | 1, 25 << 16 | 2 << 30);
        assert_eq!((kernel.input_bits, kernel.granule), (39, 12));
    }

    #[test]
    fn an_address_is_in_the_half_that_bit_55_says() {
        let (program, kernel) = (RAM + 0x1000, RAM + 0x2000);
        let tcr = 16 | 25 << 16 | 2 << 30;
        let half = |address| Half::of(address, 7 << 48 | program | 1, kernel | 1, tcr);
        let found = [0xab00_0000_0040_c7a0, 0xffff_ffc0_0000_0000].map(half);
        assert_eq!(found.map(|it| it.table), [program, kernel]);
        assert_eq!(found.map(|it| it.input_bits), [48, 39]);
    }
}
