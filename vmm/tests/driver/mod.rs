//! A machine without Linux: what a driver writes, and a small program.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

use stallbox_devices::pcie::RequesterId;
use stallbox_firmware::boot::EntryState;
use stallbox_firmware::layout::{PCI_ECAM, PCI_MEMORY_32, PCI_MEMORY_64, RAM_BASE, SMMU};
use stallbox_machine::config::FaultMode;
use stallbox_machine::{ACCELERATOR, TEST_ENGINE, World};
use stallbox_smmu::testing::{USER_RW, cd_sva, ste_stage1};
use stallbox_timeline::Time;
use vm_memory::{Bytes, GuestAddress};

pub(crate) const PROGRAM: u64 = RAM_BASE + 0x1000;
pub(crate) const STORES: u64 = RAM_BASE + 0x2000;
pub(crate) const COMMAND_QUEUE: u64 = RAM_BASE + 0x3000;
pub(crate) const EVENT_QUEUE: u64 = RAM_BASE + 0x4000;
pub(crate) const PAGE_REQUEST_QUEUE: u64 = RAM_BASE + 0x5000;
pub(crate) const CONTEXT_TABLE: u64 = RAM_BASE + 0x6000;
pub(crate) const STREAM_TABLE: u64 = RAM_BASE + 0x8000;
pub(crate) const TABLES: u64 = RAM_BASE + 0x1_0000;
pub(crate) const RINGS: u64 = RAM_BASE + 0x2_0000;

/// Addresses of the process: its rings are mapped, its data is not.
pub(crate) const SUBMISSION: u64 = 0x1000;
pub(crate) const COMPLETION: u64 = 0x2000;
pub(crate) const DATA: u64 = 0x5000;
pub(crate) const PASID: u32 = 1;

pub(crate) const ZIP_BAR: u64 = PCI_MEMORY_32.base;
pub(crate) const ENGINE_BAR: u64 = PCI_MEMORY_64.base;
pub(crate) const ENGINE_PAGES: u64 = PCI_MEMORY_64.base + 0x1000_0000;

/// A trace that the test can look at.
#[derive(Clone, Default)]
pub(crate) struct Trace(pub Rc<RefCell<Vec<u8>>>);

impl Write for Trace {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the program does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Do {
    /// Stores 32 bits at an address.
    Store(u64, u32),
    /// Goes round in a loop of two instructions.
    Spin(u32),
    /// Switches the machine off.
    PowerOff,
}

/// The driver's side, from the CPUs' bus.
pub(crate) struct Driver<'a>(pub &'a World);

impl Driver<'_> {
    pub(crate) fn store(&self, at: u64, words: &[u64]) {
        for (word, at) in words.iter().zip((at..).step_by(8)) {
            self.0.ram.write_obj(*word, GuestAddress(at)).unwrap();
        }
    }

    pub(crate) fn write(&self, address: u64, data: &[u8]) {
        assert!(self.0.write_device(Time::ZERO, address, data));
    }

    pub(crate) fn write32(&self, address: u64, value: u32) {
        self.write(address, &value.to_le_bytes());
    }

    pub(crate) fn read32(&self, address: u64) -> u32 {
        let mut data = [0; 4];
        assert!(self.0.read_device(Time::ZERO, address, &mut data));
        u32::from_le_bytes(data)
    }

    pub(crate) fn config(&self, requester: RequesterId, offset: u64) -> u64 {
        PCI_ECAM.base + (u64::from(requester.0) << 12) + offset
    }

    /// Where an extended capability is; `None` if the function has none.
    pub(crate) fn extended(&self, requester: RequesterId, id: u32) -> Option<u64> {
        let mut at = 0x100;
        while at != 0 {
            let header = self.read32(self.config(requester, at));
            if header & 0xffff == id {
                return Some(self.config(requester, at));
            }
            at = u64::from(header >> 20);
        }
        None
    }

    /// As arm_smmu_device_reset does, with one process at each device.
    pub(crate) fn start_smmu(&self, fault: FaultMode) {
        let base = |at: u64, log2: u64| (at | 1 << 62 | log2).to_le_bytes();
        self.write(SMMU.base + 0x80, &base(STREAM_TABLE, 0));
        self.write32(SMMU.base + 0x88, 6);
        self.write(SMMU.base + 0x90, &base(COMMAND_QUEUE, 7));
        self.write(SMMU.base + 0xa0, &base(EVENT_QUEUE, 7));
        self.write(SMMU.base + 0xc0, &base(PAGE_REQUEST_QUEUE, 7));
        self.write32(SMMU.base + 0x50, 0x7);
        let enabled = if fault == FaultMode::Pri { 0x1f } else { 0xd };
        self.write32(SMMU.base + 0x20, enabled);
        for requester in [ACCELERATOR, TEST_ENGINE] {
            let mut ste = ste_stage1(CONTEXT_TABLE, 3);
            if requester == TEST_ENGINE && fault == FaultMode::Pri {
                // STRTAB_STE_1_EATS_TRANS, STRTAB_STE_1_S1STALLD.
                ste[1] |= 1 << 28 | 1 << 27;
            }
            self.store(STREAM_TABLE + 64 * u64::from(requester.0), &ste);
        }
        let mut cd = cd_sva(1, TABLES);
        self.store(CONTEXT_TABLE, &cd);
        if fault == FaultMode::Pri {
            cd[0] &= !(1 << 44);
        }
        self.store(CONTEXT_TABLE + 64 * u64::from(PASID), &cd);
        for level in 0..3 {
            let table = TABLES + 0x1000 * level;
            self.store(table, &[(table + 0x1000) | 3]);
        }
        for (address, frame) in [(SUBMISSION, RINGS), (COMPLETION, RINGS + 0x1000)] {
            let at = TABLES + 0x3000 + 8 * (address >> 12);
            self.store(at, &[frame | USER_RW]);
        }
    }

    pub(crate) fn start_functions(&self) {
        for (requester, bars) in [
            (ACCELERATOR, vec![(0x18, ZIP_BAR)]),
            (TEST_ENGINE, vec![(0x10, ENGINE_BAR), (0x18, ENGINE_PAGES)]),
        ] {
            for (offset, bar) in bars {
                self.write32(self.config(requester, offset), bar as u32);
                self.write32(self.config(requester, offset + 4), (bar >> 32) as u32);
            }
            // pci_enable_pasid, pci_enable_pri, pci_enable_ats(dev, 12).
            if let Some(pasid) = self.extended(requester, 0x1b) {
                self.write(pasid + 6, &[1, 0]);
            }
            if let Some(pri) = self.extended(requester, 0x13) {
                self.write32(pri + 0xc, 8);
                self.write(pri + 4, &[1, 0]);
            }
            if let Some(ats) = self.extended(requester, 0xf) {
                self.write(ats + 6, &[0, 0x80]);
            }
            self.write(self.config(requester, 4), &[6, 0]);
        }
        let queue = ENGINE_BAR + 0x1000;
        for (offset, value) in [
            (0x08, 1 << 31 | PASID),
            (0x0c, 4 | 1 << 8 | 12 << 16),
            (0x10, SUBMISSION as u32),
            (0x18, COMPLETION as u32),
            (0x00, 1),
        ] {
            self.write32(queue + offset, value);
        }
        // COPY of a page.
        self.store(RINGS, &[2, 7, DATA, DATA + 0x10_0000, 4096]);
    }

    /// A program that does these things, and waits.
    pub(crate) fn start_program(&self, things: &[Do]) -> EntryState {
        let words: Vec<u64> = things
            .iter()
            .flat_map(|thing| match *thing {
                Do::Store(address, value) => [address, value.into()],
                Do::Spin(rounds) => [1, rounds.into()],
                Do::PowerOff => [2, 0],
            })
            .chain([0, 0])
            .collect();
        self.store(STORES, &words);
        let program: [u32; 16] = [
            0xa8c1_0801, // next: ldp x1, x2, [x0], #16
            0xb400_01a1, //       cbz x1, wait
            0xf100_043f, //       cmp x1, #1
            0x5400_00a0, //       b.eq spin
            0xf100_083f, //       cmp x1, #2
            0x5400_00c0, //       b.eq off
            0xb900_0022, //       str w2, [x1]
            0x17ff_fff9, //       b next
            0xf100_0442, // spin: subs x2, x2, #1
            0x54ff_ffe1, //       b.ne spin
            0x17ff_fff6, //       b next
            0x5280_0100, // off:  mov w0, #8
            0x72b0_8000, //       movk w0, #0x8400, lsl #16 (SYSTEM_OFF)
            0xd400_0002, //       hvc #0
            0xd503_207f, // wait: wfi
            0x17ff_ffff, //       b wait
        ];
        for (word, at) in program.iter().zip((PROGRAM..).step_by(4)) {
            self.0.ram.write_obj(*word, GuestAddress(at)).unwrap();
        }
        EntryState {
            pc: PROGRAM,
            x: [STORES, 0, 0, 0],
            pstate: 0x3c5,
        }
    }
}
