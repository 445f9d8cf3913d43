//! A machine for tests: some RAM, a device that records, addresses that abort, and a CPU whose
//! control registers are what Linux sets for 4 KiB pages and 48-bit addresses.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Bus, BusError, Cpu, CpuConfig, Size};

/// RAM.
pub(crate) const RAM: std::ops::Range<u64> = 0x4000_0000..0x8000_0000;
/// A device: reads give the address, writes are recorded.
pub(crate) const DEVICE: std::ops::Range<u64> = 0x0900_0000..0x0901_0000;

/// MAIR_EL1 as Linux has it: Normal, Normal, Normal Non-cacheable, Device-nGnRnE, Device-nGnRE.
pub(crate) const MAIR: u64 = 0x0000_0004_0044_ffff;
/// TCR_EL1: 48-bit halves, 4 KiB, 48-bit output, 16-bit ASIDs, TBI0.
pub(crate) const TCR: u64 = 16 | 16 << 16 | 2 << 30 | 5 << 32 | 1 << 36 | 1 << 37;

/// Kernel data, global: AttrIndx 0, Inner Shareable, AF, PXN, UXN.
pub(crate) const KERNEL_RW: u64 = 0x0060_0000_0000_0703;
/// Kernel text: read-only, UXN.
pub(crate) const KERNEL_RX: u64 = 0x0040_0000_0000_0783;
/// User data: writable at EL0, non-global, PXN, UXN.
pub(crate) const USER_RW: u64 = 0x0060_0000_0000_0f43;
/// User text: read-only at EL0, non-global, PXN.
pub(crate) const USER_RX: u64 = 0x0020_0000_0000_0fc3;
/// Kernel mapping of Device-nGnRE.
pub(crate) const KERNEL_DEVICE: u64 = 0x0060_0000_0000_0713;

/// One access that reached the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceAccess {
    pub address: u64,
    pub bytes: u64,
    pub written: Option<u128>,
}

/// The machine.
#[derive(Default)]
pub(crate) struct TestBus {
    words: BTreeMap<u64, u64>,
    /// 8-byte aligned addresses that abort.
    pub aborts: BTreeSet<u64>,
    pub accesses: Vec<DeviceAccess>,
    pub registers: BTreeMap<u16, u64>,
    pub irq: bool,
    pub fiq: bool,
}

impl TestBus {
    /// The 8 bytes at an address.
    pub(crate) fn word(&self, address: u64) -> u64 {
        self.words.get(&(address & !7)).copied().unwrap_or(0)
    }

    pub(crate) fn set_word(&mut self, address: u64, value: u64) {
        self.words.insert(address & !7, value);
    }

    fn check(&self, address: u64, bytes: u64) -> Result<bool, BusError> {
        assert_eq!(
            address % bytes,
            0,
            "the CPU must not ask for unaligned accesses"
        );
        if self.aborts.contains(&(address & !7)) {
            Err(BusError)
        } else if RAM.contains(&address) {
            Ok(true)
        } else if DEVICE.contains(&address) {
            Ok(false)
        } else {
            Err(BusError)
        }
    }
}

impl Bus for TestBus {
    fn read(&mut self, _when: u64, address: u64, size: Size) -> Result<u64, BusError> {
        let bytes = size.bytes();
        if !self.check(address, bytes)? {
            self.accesses.push(DeviceAccess {
                address,
                bytes,
                written: None,
            });
            return Ok(address & (u64::MAX >> (64 - bytes * 8)));
        }
        let word = self.word(address) >> ((address & 7) * 8);
        Ok(word & (u64::MAX >> (64 - bytes * 8)))
    }

    fn write(&mut self, _when: u64, address: u64, size: Size, value: u64) -> Result<(), BusError> {
        let bytes = size.bytes();
        let mask = u64::MAX >> (64 - bytes * 8);
        if !self.check(address, bytes)? {
            let written = Some(u128::from(value & mask));
            self.accesses.push(DeviceAccess {
                address,
                bytes,
                written,
            });
            return Ok(());
        }
        let shift = (address & 7) * 8;
        let word = self.word(address) & !(mask << shift) | (value & mask) << shift;
        self.set_word(address, word);
        Ok(())
    }

    fn read_pair(&mut self, _when: u64, address: u64) -> Result<u128, BusError> {
        if !self.check(address, 16)? {
            self.accesses.push(DeviceAccess {
                address,
                bytes: 16,
                written: None,
            });
            return Ok(u128::from(address));
        }
        Ok(u128::from(self.word(address + 8)) << 64 | u128::from(self.word(address)))
    }

    fn write_pair(&mut self, _when: u64, address: u64, value: u128) -> Result<(), BusError> {
        if !self.check(address, 16)? {
            self.accesses.push(DeviceAccess {
                address,
                bytes: 16,
                written: Some(value),
            });
            return Ok(());
        }
        self.set_word(address, value as u64);
        self.set_word(address + 8, (value >> 64) as u64);
        Ok(())
    }

    fn is_ram(&self, address: u64) -> bool {
        RAM.contains(&address)
    }

    fn sysreg_read(&mut self, _when: u64, register: u16) -> Option<u64> {
        self.registers.get(&register).copied()
    }

    fn sysreg_write(&mut self, _when: u64, register: u16, value: u64) -> Option<()> {
        self.registers.get_mut(&register).map(|r| *r = value)
    }

    fn irq(&self) -> bool {
        self.irq
    }

    fn fiq(&self) -> bool {
        self.fiq
    }

    fn attention(&mut self) -> bool {
        false
    }
}

/// A CPU, its machine, and a builder of tables.
pub(crate) struct Machine {
    pub cpu: Cpu,
    pub bus: TestBus,
    next_table: u64,
}

impl Machine {
    /// At EL1, the MMU on, nothing mapped. Tables for TTBR0 and TTBR1 are the first two pages.
    pub(crate) fn new() -> Self {
        let mut cpu = Cpu::new(CpuConfig::default());
        cpu.state.sys.mair = MAIR;
        cpu.state.sys.tcr = TCR;
        cpu.state.sys.ttbr0 = RAM.start;
        cpu.state.sys.ttbr1 = RAM.start + 0x1000;
        cpu.state.sys.sctlr |= 1;
        cpu.translation_control_changed();
        Self {
            cpu,
            bus: TestBus::default(),
            next_table: RAM.start + 0x2000,
        }
    }

    /// Maps 4 KiB (or, with `level` below 3, a block) by 4 KiB-granule tables; returns where the
    /// descriptor is. `word` is the whole descriptor.
    pub(crate) fn map(&mut self, va: u64, level: u32, word: u64) -> u64 {
        let ttbr = if va >> 55 & 1 != 0 {
            self.cpu.state.sys.ttbr1
        } else {
            self.cpu.state.sys.ttbr0
        };
        let mut table = ttbr & 0x0000_ffff_ffff_f000;
        for at in 0.. {
            let slot = table + (va >> (39 - 9 * at) & 511) * 8;
            if at == level {
                self.bus.set_word(slot, word);
                return slot;
            }
            if self.bus.word(slot) & 1 == 0 {
                let new = self.next_table;
                self.next_table += 0x1000;
                self.bus.set_word(slot, new | 3);
            }
            table = self.bus.word(slot) & 0x0000_ffff_ffff_f000;
        }
        unreachable!("a level between 0 and 3 was asked for")
    }

    pub(crate) fn at_el0(mut self) -> Self {
        self.cpu.state.set_el(0, false);
        self
    }

    /// Takes the exception of a failed access; gives ESR_EL1 and FAR_EL1.
    pub(crate) fn taken<T: std::fmt::Debug>(
        &mut self,
        outcome: Result<T, crate::Exception>,
    ) -> (u64, u64) {
        self.cpu
            .take_synchronous(outcome.expect_err("the access must fault"));
        (self.cpu.state.sys.esr, self.cpu.state.sys.far)
    }
}
