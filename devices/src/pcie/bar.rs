//! Base Address Registers (PCI Express Base Specification, *Base Address Registers*): memory only.
//! I/O space is deprecated there, and an arm64 host needs none.

use super::capability::replace;

/// What a BAR asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    size: u64,
    wide: bool,
    prefetchable: bool,
}

impl Bar {
    /// Memory that must be placed below 4 GiB.
    ///
    /// # Panics
    /// If `size` is not a power of two from 128 bytes, the least that a PCI Express function may
    /// ask for, to 2 GiB.
    pub fn memory32(size: u64) -> Bar {
        assert!(
            size.is_power_of_two() && (128..=1 << 31).contains(&size),
            "BAR of {size:#x} bytes"
        );
        Bar {
            size,
            wide: false,
            prefetchable: false,
        }
    }

    /// Memory that can be placed anywhere; it takes the next BAR's register too.
    ///
    /// # Panics
    /// If `size` is not a power of two of at least 128 bytes.
    pub fn memory64(size: u64) -> Bar {
        assert!(
            size.is_power_of_two() && size >= 128,
            "BAR of {size:#x} bytes"
        );
        Bar {
            size,
            wide: true,
            prefetchable: false,
        }
    }

    /// The same, prefetchable.
    pub fn prefetchable(self) -> Bar {
        Bar {
            prefetchable: true,
            ..self
        }
    }

    /// Bytes that it decodes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether it takes two registers.
    pub fn is_64bit(&self) -> bool {
        self.wide
    }

    fn flags(&self) -> u32 {
        u32::from(self.wide) << 2 | u32::from(self.prefetchable) << 3
    }
}

/// The six BAR registers of a type 0 header.
#[derive(Clone, Debug, Default)]
pub(super) struct Bars {
    placed: [Option<(Bar, u64)>; 6],
}

impl Bars {
    pub(super) fn add(&mut self, index: u8, bar: Bar) {
        let slot = usize::from(index);
        let registers = if bar.wide { 2 } else { 1 };
        assert!(slot + registers <= 6, "BAR{index} does not fit");
        assert!(
            (slot..slot + registers).all(|i| self.placed[i].is_none() && !self.is_upper_half(i)),
            "BAR{index} is taken"
        );
        self.placed[slot] = Some((bar, 0));
    }

    /// BAR numbers with their addresses, whether they decode or not.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u8, Bar, u64)> + '_ {
        (0u8..).zip(self.placed).filter_map(|(index, placed)| {
            let (bar, address) = placed?;
            Some((index, bar, address))
        })
    }

    /// The addresses alone: enough to see that one moved.
    pub(super) fn addresses(&self) -> [u64; 6] {
        self.placed
            .map(|placed| placed.map_or(0, |(_, address)| address))
    }

    pub(super) fn read(&self, index: usize) -> u32 {
        match self.placed[index] {
            Some((bar, address)) => address as u32 | bar.flags(),
            None if self.is_upper_half(index) => {
                self.placed[index - 1].map_or(0, |(_, address)| (address >> 32) as u32)
            }
            None => 0,
        }
    }

    /// The address bits below the size are hardwired to zero, which is what software that writes
    /// all ones learns the size from.
    pub(super) fn write(&mut self, index: usize, value: u32, enables: u32) {
        let upper = self.is_upper_half(index);
        let slot = if upper { index - 1 } else { index };
        let Some((bar, address)) = &mut self.placed[slot] else {
            return;
        };
        let (low, high) = (*address as u32, (*address >> 32) as u32);
        let (low, high) = if upper {
            (low, replace(high, value, enables))
        } else {
            (replace(low, value, enables), high)
        };
        *address = (u64::from(high) << 32 | u64::from(low)) & !(bar.size - 1);
    }

    pub(super) fn reset(&mut self) {
        for (_, address) in self.placed.iter_mut().flatten() {
            *address = 0;
        }
    }

    fn is_upper_half(&self, index: usize) -> bool {
        index > 0 && self.placed[index - 1].is_some_and(|(bar, _)| bar.wide)
    }
}
