//! A world that is dropped leaves nothing behind.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

use stallbox_devices::pcie::RequesterId;
use stallbox_faultplan::Plan;
use stallbox_firmware::boot::EntryState;
use stallbox_firmware::layout::{PCI_ECAM, PCI_MEMORY_32, PCI_MEMORY_64, RAM_BASE, SMMU};
use stallbox_machine::check::CheckConfig;
use stallbox_machine::config::{
    AcceleratorConfig, FaultMode, MachineConfig, Revision, TestEngineConfig,
};
use stallbox_machine::outcome::Outcome;
use stallbox_machine::vcpu::VcpuState;
use stallbox_machine::{ACCELERATOR, TEST_ENGINE, World};
use stallbox_smmu::testing::{USER_RW, cd_sva, ste_stage1};
use stallbox_timeline::Time;
use stallbox_vmm::engine::{Engine, Watch, soft};
use vm_memory::{Bytes, GuestAddress};

const PROGRAM: u64 = RAM_BASE + 0x1000;
const STORES: u64 = RAM_BASE + 0x2000;
const COMMAND_QUEUE: u64 = RAM_BASE + 0x3000;
const EVENT_QUEUE: u64 = RAM_BASE + 0x4000;
const PAGE_REQUEST_QUEUE: u64 = RAM_BASE + 0x5000;
const CONTEXT_TABLE: u64 = RAM_BASE + 0x6000;
const STREAM_TABLE: u64 = RAM_BASE + 0x8000;
const TABLES: u64 = RAM_BASE + 0x1_0000;
const RINGS: u64 = RAM_BASE + 0x2_0000;

/// Addresses of the process: its rings are mapped, its data is not.
const SUBMISSION: u64 = 0x1000;
const COMPLETION: u64 = 0x2000;
const DATA: u64 = 0x5000;
const PASID: u32 = 1;

const ZIP_BAR: u64 = PCI_MEMORY_32.base;
const ENGINE_BAR: u64 = PCI_MEMORY_64.base;
const ENGINE_PAGES: u64 = PCI_MEMORY_64.base + 0x1000_0000;

/// Accesses beside the devices' own, again and again, a translation that waits at a gate, and a
/// record that is delayed for longer than the test takes.
const PLAN: &str = r#"
[[rule]]
name = "touch"
at = "time"
match = { from_ns = 1000, period_ns = 1000 }
do = { touch = { stream = 8, pasid = 1, address = 0x6000 } }

[[rule]]
name = "aside"
at = "time"
match = { from_ns = 1500 }
do = { touch = { stream = 8, pasid = 1, address = 0x7000 } }

[[rule]]
name = "hold"
at = "translation"
match = { address = 0x7000 }
do = { gate = "never" }

[[rule]]
name = "late"
at = "record"
match = { nth = 1 }
do = { delay = 1_000_000_000 }
"#;

/// A trace that the test can look at.
#[derive(Clone, Default)]
struct Trace(Rc<RefCell<Vec<u8>>>);

impl Write for Trace {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Ends the run at its second look.
#[derive(Default)]
struct Twice(u32);

impl Watch for Twice {
    fn look(&mut self, _world: &World, _: &dyn Fn() -> Vec<VcpuState>) -> Option<Outcome> {
        self.0 += 1;
        (self.0 > 2).then_some(Outcome::Quit)
    }
}

fn config(fault: FaultMode) -> MachineConfig {
    let mut check = CheckConfig::default();
    check.add("tlb,stall,dma").unwrap();
    MachineConfig {
        memory_bytes: 64 << 20,
        cpus: 2,
        accelerator: Some(AcceleratorConfig::new(Revision::V3)),
        test_engine: Some(TestEngineConfig {
            fault,
            ..TestEngineConfig::default()
        }),
        smmu_msi: true,
        plan: Plan::parse(PLAN).unwrap(),
        check,
        ..MachineConfig::default()
    }
}

/// The driver's side, from the CPUs' bus.
struct Driver<'a>(&'a World);

impl Driver<'_> {
    fn store(&self, at: u64, words: &[u64]) {
        for (word, at) in words.iter().zip((at..).step_by(8)) {
            self.0.ram.write_obj(*word, GuestAddress(at)).unwrap();
        }
    }

    fn write(&self, address: u64, data: &[u8]) {
        assert!(self.0.write_device(Time::ZERO, address, data));
    }

    fn write32(&self, address: u64, value: u32) {
        self.write(address, &value.to_le_bytes());
    }

    fn read32(&self, address: u64) -> u32 {
        let mut data = [0; 4];
        assert!(self.0.read_device(Time::ZERO, address, &mut data));
        u32::from_le_bytes(data)
    }

    fn config(&self, requester: RequesterId, offset: u64) -> u64 {
        PCI_ECAM.base + (u64::from(requester.0) << 12) + offset
    }

    /// Where an extended capability is; `None` if the function has none.
    fn extended(&self, requester: RequesterId, id: u32) -> Option<u64> {
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
    fn start_smmu(&self, fault: FaultMode) {
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

    fn start_functions(&self) {
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

    /// A program that does the `stores`, of 32 bits each, and waits.
    fn start_program(&self, stores: &[(u64, u32)]) -> EntryState {
        let words: Vec<u64> = stores
            .iter()
            .flat_map(|&(address, value)| [address, value.into()])
            .chain([0, 0])
            .collect();
        self.store(STORES, &words);
        // ldp x1, x2, [x0], #16; cbz x1, . + 12; str w2, [x1]; b . - 12; wfi; b . - 4
        let program: [u32; 6] = [
            0xa8c1_0801,
            0xb400_0061,
            0xb900_0022,
            0x17ff_fffd,
            0xd503_207f,
            0x17ff_ffff,
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

/// Both devices wait for the kernel, which never answers, a plan and all checkers are at work.
fn dropped_with_everything_under_way(fault: FaultMode) {
    let machine = config(fault);
    let trace = Trace::default();
    let engine = soft::Board::new(&machine).unwrap();
    let world = engine
        .world(&machine, None, Some(Box::new(trace.clone())))
        .unwrap();
    let driver = Driver(&world);
    driver.start_smmu(fault);
    driver.start_functions();
    let entry = driver.start_program(&[
        // The engine's doorbell; then a mailbox command of the ZIP, whose context is not there.
        (ENGINE_PAGES, 1),
        (ZIP_BAR + 0x300, 1 << 13),
        (ZIP_BAR + 0x304, DATA as u32),
        (ZIP_BAR + 0x308, 0),
        (ZIP_BAR + 0x30c, 0),
    ]);
    let mut vcpus = engine.vcpus(&world, &machine, &entry).unwrap();
    assert_eq!(vcpus.run(&mut Twice::default()).unwrap(), Outcome::Quit);
    world.tracer.finish().unwrap();

    let busy = driver.read32(ENGINE_BAR + 0x1004) & 2;
    assert_ne!(busy, 0, "the engine has nothing to do");
    assert_ne!(driver.read32(ZIP_BAR + 0x300) & 1 << 13, 0, "mailbox");
    let waiting = world.smmu.outstanding_stalls();
    assert!(waiting.iter().any(|it| it.transaction.stream.0 == 8));
    if fault == FaultMode::Pri {
        assert_ne!(driver.read32(SMMU.base + 0x1_00c8), 0, "page requests");
    } else {
        assert!(waiting.iter().any(|it| it.transaction.stream.0 == 16));
    }
    let gates = world.faults.gates().list();
    assert!(gates.iter().any(|gate| gate.waiting > 0));
    assert!(world.timeline.live_tasks() > 3);
    assert!(world.timeline.next_event().is_some());

    let ram = Rc::downgrade(&world.ram);
    let devices = Rc::downgrade(&world.devices);
    let faults = Rc::downgrade(&world.faults);
    let checkers = Rc::downgrade(&world.checkers);
    let timeline = world.timeline.clone();
    let traced = trace.0.borrow().len();
    drop(vcpus);
    drop(world);
    assert_eq!((timeline.live_tasks(), timeline.next_event()), (0, None));
    assert!(devices.upgrade().is_none(), "devices");
    assert!(faults.upgrade().is_none(), "the fault plan");
    assert!(checkers.upgrade().is_none(), "checkers");
    drop(engine);
    assert_eq!(ram.strong_count(), 0, "RAM has an owner");
    assert_eq!(trace.0.borrow().len(), traced, "the end is in the trace");
}

#[test]
fn a_dropped_world_frees_its_ram() {
    dropped_with_everything_under_way(FaultMode::Stall);
}

#[test]
fn a_dropped_world_with_page_requests_frees_its_ram() {
    dropped_with_everything_under_way(FaultMode::Pri);
}
