//! A device's translation cache, its port, the SMMU and RAM together; the test is the kernel.

use std::cell::RefCell;
use std::rc::Rc;

use stallbox_devices::GuestRam;
use stallbox_devices::atc::{Atc, AtcConfig};
use stallbox_devices::dma::{AtsPort, DmaAbort, DmaAttrs, DmaPort, Op, PageRequest, Pasid};
use stallbox_devices::irq::{IrqLine, Unconnected};
use stallbox_devices::pcie::RequesterId;
use stallbox_devices::pcie::ats::Ats;
use stallbox_devices::pcie::capability::Capability;
use stallbox_devices::pcie::pri::Pri;
use stallbox_faultplan::Plan;
use stallbox_smmu::testing::{USER_RW, cd_sva, ste_stage1};
use stallbox_smmu::{Config, Interrupts, Line, Points, Smmu};
use stallbox_timeline::{Span, Timeline};
use stallbox_trace::Tracer;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::Functions;
use crate::check::{CheckConfig, Checkers};
use crate::dma::SmmuPort;
use crate::faults::Faults;
use crate::latency::LatencyModel;
use crate::memory::Physical;
use crate::probe::SmmuProbe;
use crate::{Devices, InterruptController};

const FUNCTION: RequesterId = RequesterId(2 << 3);
const PROCESS: DmaAttrs = DmaAttrs::of(Pasid(1));

const RAM: u64 = 0x4000_0000;
const STREAM_TABLE: u64 = RAM + 0x1_0000;
const CONTEXT_TABLE: u64 = RAM + 0x2_0000;
const COMMAND_QUEUE: u64 = RAM + 0x3_0000;
const EVENT_QUEUE: u64 = RAM + 0x4_0000;
const PAGE_REQUEST_QUEUE: u64 = RAM + 0x5_0000;
/// Tables of levels 0 to 3, one each: they cover 2 MiB from address 0.
const TABLES: u64 = RAM + 0x6_0000;
const FRAME: u64 = RAM + 0x10_0000;

struct Nowhere;

impl InterruptController for Nowhere {
    fn spi(&self, _intid: u32) -> Rc<dyn IrqLine> {
        Rc::new(Unconnected)
    }

    fn msi(&self, _device_id: u32, _event_id: u32) {}
}

#[derive(Default)]
struct Lines(RefCell<Vec<Line>>);

impl Interrupts for Lines {
    fn pulse(&self, line: Line) {
        self.0.borrow_mut().push(line);
    }
}

struct Machine {
    timeline: Timeline,
    ram: GuestRam,
    smmu: Smmu,
    _devices: Rc<Devices>,
    lines: Rc<Lines>,
    port: Rc<SmmuPort>,
    atc: Rc<Atc>,
    pri: Pri,
}

type Outcome = Rc<RefCell<Option<Result<Vec<u8>, DmaAbort>>>>;

impl Machine {
    fn new() -> Machine {
        Machine::planned("")
    }

    fn planned(plan: &str) -> Machine {
        let plan = Plan::parse(plan).unwrap();
        let timeline = Timeline::new();
        let ram: GuestRam =
            Rc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(RAM), 4 << 20)]).unwrap());
        let tracer = Tracer::new(timeline.clone(), None);
        let memory = Physical::new(ram.clone(), Rc::new(Nowhere), tracer.clone());
        let lines = Rc::new(Lines::default());
        let latency = Rc::new(LatencyModel::built_in().sampler(1));
        let faults = Faults::new(&plan, 1, &timeline, &tracer, &Rc::default());
        let checkers = Checkers::new(&CheckConfig::default(), None, &timeline, &tracer, &ram);
        let probe = SmmuProbe::new(latency.clone(), tracer.clone(), faults.clone(), checkers);
        let smmu = Smmu::new(
            Config {
                ats: true,
                pri: true,
                ..Config::default()
            },
            timeline.clone(),
            memory.clone(),
            lines.clone(),
            Rc::new(probe),
        );
        let devices = Rc::new(Devices::new(smmu.clone()));
        faults.attach(&devices, Points::NONE);
        let functions = Rc::new(Functions::default());
        smmu.connect(functions.clone());
        let port = Rc::new(SmmuPort::new(
            FUNCTION,
            smmu.clone(),
            memory,
            timeline.clone(),
            latency.clone(),
            tracer.clone(),
            Some(functions),
        ));
        let (mut ats, mut pri) = (Ats::new(), Pri::new(32, true));
        // pci_enable_ats(dev, 12), pci_enable_pri(dev, 8).
        let _ = ats.write(4, 0x8000_0000, 0xffff_0000);
        let _ = pri.write(0xc, 8, u32::MAX);
        let _ = pri.write(4, 1, 0xffff);
        let atc = Atc::new(
            timeline.clone(),
            port.clone(),
            ats.state(),
            Some(pri.state()),
            AtcConfig::default(),
            Rc::new(super::AtcProbe::new(FUNCTION, latency, tracer)),
        );
        let machine = Machine {
            timeline,
            ram,
            smmu,
            _devices: devices,
            lines,
            port,
            atc,
            pri,
        };
        machine.start();
        machine
    }

    fn store(&self, at: u64, words: &[u64]) {
        for (word, at) in words.iter().zip((at..).step_by(8)) {
            self.ram.write_obj(*word, GuestAddress(at)).unwrap();
        }
    }

    fn load(&self, at: u64) -> u64 {
        self.ram.read_obj(GuestAddress(at)).unwrap()
    }

    fn write32(&self, offset: u64, value: u32) {
        self.smmu.write(offset, &value.to_le_bytes());
    }

    fn read32(&self, offset: u64) -> u32 {
        let mut data = [0; 4];
        self.smmu.read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    /// As arm_smmu_device_reset does, with the tables of one process.
    fn start(&self) {
        let base = |at: u64, log2: u64| (at | 1 << 62 | log2).to_le_bytes();
        self.smmu.write(0x80, &base(STREAM_TABLE, 0));
        self.write32(0x88, 6);
        self.smmu.write(0x90, &base(COMMAND_QUEUE, 7));
        self.smmu.write(0xa0, &base(EVENT_QUEUE, 7));
        self.smmu.write(0xc0, &base(PAGE_REQUEST_QUEUE, 7));
        self.write32(0x50, 0x7);
        self.write32(0x20, 0x1f);
        let mut ste = ste_stage1(CONTEXT_TABLE, 3);
        // STRTAB_STE_1_EATS_TRANS, STRTAB_STE_1_S1STALLD.
        ste[1] |= 1 << 28 | 1 << 27;
        self.store(STREAM_TABLE + 64 * u64::from(FUNCTION.0), &ste);
        let mut cd = cd_sva(1, TABLES);
        cd[0] &= !(1 << 44);
        self.store(CONTEXT_TABLE + 64, &cd);
        for level in 0..3 {
            let table = TABLES + 0x1000 * level;
            self.store(table, &[(table + 0x1000) | 3]);
        }
    }

    fn map(&self, address: u64, leaf: u64) {
        self.store(TABLES + 0x3000 + 8 * (address >> 12), &[leaf]);
    }

    fn command(&self, words: [u64; 2]) {
        let prod = self.read32(0x98);
        self.store(COMMAND_QUEUE + 16 * u64::from(prod & 0x7f), &words);
        self.write32(0x98, prod + 1);
        self.timeline.run_ready();
    }

    fn is_synced(&self) -> bool {
        self.read32(0x98) == self.read32(0x9c)
    }

    /// The kernel's side of a page request: the next entry of the queue.
    fn page_request(&self) -> Option<[u64; 2]> {
        let (prod, cons) = (self.read32(0x1_00c8), self.read32(0x1_00cc));
        if (prod ^ cons) & 0xff == 0 {
            return None;
        }
        let at = PAGE_REQUEST_QUEUE + 16 * u64::from(cons & 0x7f);
        self.write32(0x1_00cc, cons + 1);
        Some([self.load(at), self.load(at + 8)])
    }

    /// CMD_PRI_RESP with the PASID: 1 is an invalid request, 2 is success.
    fn respond(&self, entry: [u64; 2], code: u64) {
        let (sid, ssid) = (entry[0] & 0xffff_ffff, entry[0] >> 32 & 0xf_ffff);
        self.command([
            0x41 | 1 << 11 | ssid << 12 | sid << 32,
            entry[1] & 0x1ff | code << 12,
        ]);
    }

    fn write(&self, address: u64, bytes: &'static [u8]) -> Outcome {
        let outcome = Outcome::default();
        let (atc, slot) = (self.atc.clone(), outcome.clone());
        self.timeline.spawn(async move {
            let result = atc.access(PROCESS, address, Op::Write(bytes)).await;
            *slot.borrow_mut() = Some(result.map(|()| Vec::new()));
        });
        self.wait();
        outcome
    }

    fn read(&self, address: u64, bytes: usize) -> Outcome {
        let outcome = Outcome::default();
        let (atc, slot) = (self.atc.clone(), outcome.clone());
        self.timeline.spawn(async move {
            let mut buffer = vec![0; bytes];
            let result = atc.access(PROCESS, address, Op::Read(&mut buffer)).await;
            *slot.borrow_mut() = Some(result.map(|()| buffer));
        });
        self.wait();
        outcome
    }

    fn wait(&self) {
        self.timeline
            .advance_to(self.timeline.now() + Span::from_us(100));
    }
}

#[test]
fn a_write_to_a_page_that_is_not_there_is_done_by_a_page_request() {
    let machine = Machine::new();
    let access = machine.write(0x3ffe, &[1, 2, 3, 4]);

    assert_eq!(*machine.lines.0.borrow(), [Line::PageRequestQueue]);
    let first = machine.page_request().unwrap();
    // SSID_V, LAST, WRITE, SSID 1, SID 0x10; the page and index 0.
    assert_eq!(first, [0xe000_0001_0000_0010, 0x3000]);
    machine.map(0x3000, FRAME | USER_RW);
    machine.respond(first, 2);
    machine.wait();
    let second = machine.page_request().unwrap();
    assert_eq!(second, [0xe000_0001_0000_0010, 0x4001]);
    assert!(access.borrow().is_none());
    machine.map(0x4000, (FRAME + 0x5000) | USER_RW);
    machine.respond(second, 2);
    machine.wait();

    assert_eq!(access.take(), Some(Ok(Vec::new())));
    assert_eq!(machine.load(FRAME + 0xff8) >> 48, 0x0201);
    assert_eq!(machine.load(FRAME + 0x5000), 0x0403);
    let counters = machine.smmu.counters();
    assert_eq!((counters.stalls, counters.page_requests), (0, 2));
    assert!(counters.events_written.is_empty());
    assert_eq!(machine.atc.entries().len(), 2);
}

#[test]
fn an_invalid_request_is_an_abort() {
    let machine = Machine::new();
    let access = machine.read(0x3000, 8);
    machine.respond(machine.page_request().unwrap(), 1);
    machine.wait();
    assert_eq!(access.take(), Some(Err(DmaAbort { address: 0x3000 })));
    // PCI_PRI_STATUS: neither RF nor UPRGI.
    assert_eq!(machine.pri.read(4) >> 16 & 3, 0);
}

#[test]
fn an_unmapped_page_is_invalidated_in_the_smmu_and_in_the_device() {
    let machine = Machine::new();
    machine.map(0x3000, FRAME | USER_RW);
    assert!(machine.read(0x3000, 8).borrow().is_some());
    assert_eq!(machine.atc.entries().len(), 1);

    machine.map(0x3000, 0);
    // arm_smmu_mm_arch_invalidate_secondary_tlbs: TLBI_NH_VA of ASID 1, SYNC, ATC_INV of PASID 1, SYNC.
    machine.command([0x12 | 1 << 48, 0x3000]);
    machine.command([0x46, 0]);
    assert!(machine.is_synced());
    // Until then the device may use what it has.
    assert_eq!(machine.atc.entries().len(), 1);
    machine.command([0x40 | 1 << 11 | 1 << 12 | 0x10 << 32, 0x3000]);
    machine.command([0x46, 0]);
    machine.wait();
    assert!(machine.is_synced());
    assert!(machine.atc.entries().is_empty());

    assert!(
        machine.read(0x3000, 8).borrow().is_none(),
        "it asks for the page"
    );
    assert!(machine.page_request().is_some());
}

#[test]
fn a_prefill_makes_no_page_request() {
    let machine = Machine::new();
    machine.map(0x3000, FRAME | USER_RW);
    let result = Rc::new(RefCell::new(None));
    let (atc, slot) = (machine.atc.clone(), result.clone());
    machine.timeline.spawn(async move {
        *slot.borrow_mut() = Some(atc.prefill(PROCESS, 0x2000, 0x3000, true).await);
    });
    machine.wait();
    let prefill = result.take().unwrap();
    assert_eq!((prefill.requested, prefill.present), (3, 1));
    assert_eq!(machine.page_request(), None);
}

#[test]
fn an_atomic_add_is_translated_for_a_write() {
    let machine = Machine::new();
    machine.map(0x3000, FRAME | USER_RW);
    machine.store(FRAME + 8, &[40]);
    let before = Rc::new(RefCell::new([0; 8]));
    let (atc, slot) = (machine.atc.clone(), before.clone());
    machine.timeline.spawn(async move {
        let mut old = [0; 8];
        let two = 2_u64.to_le_bytes();
        atc.access(
            PROCESS,
            0x3008,
            Op::FetchAdd {
                operand: &two,
                before: &mut old,
            },
        )
        .await
        .unwrap();
        *slot.borrow_mut() = old;
    });
    machine.wait();
    assert_eq!(u64::from_le_bytes(before.take()), 40);
    assert_eq!(machine.load(FRAME + 8), 42);
    assert!(machine.atc.entries()[0].write);
}

#[test]
fn a_function_that_ats_is_off_for_is_refused() {
    let machine = Machine::new();
    machine.store(STREAM_TABLE + 64 * u64::from(FUNCTION.0), &[0; 8]);
    let access = machine.read(0x3000, 8);
    assert_eq!(access.take(), Some(Err(DmaAbort { address: 0x3000 })));
}

#[test]
fn a_stop_marker_reaches_the_queue_after_the_requests() {
    let machine = Machine::new();
    let access = machine.read(0x3000, 8);
    machine.atc.stop_pasid(Pasid(1));
    machine.wait();
    assert!(matches!(*access.borrow(), Some(Err(_))));
    assert_eq!(machine.page_request().unwrap()[1], 0x3000);
    // SSID_V and LAST, neither READ nor WRITE.
    assert_eq!(machine.page_request(), Some([0xc000_0001_0000_0010, 0]));
}

#[test]
fn requests_beyond_the_port_are_the_functions_own() {
    let machine = Machine::new();
    machine.port.page_request(PageRequest {
        pasid: None,
        address: 0x7000,
        read: true,
        write: false,
        execute: false,
        privileged: false,
        last: true,
        index: 9,
    });
    machine.wait();
    assert_eq!(
        machine.page_request(),
        Some([0x5000_0000_0000_0010, 0x7009])
    );
}

#[test]
fn a_plan_overflows_the_queue_and_the_device_asks_again() {
    let machine = Machine::planned(
        "[[rule]]
         at = 'page_request'
         match = { pasid = 1, nth = 1 }
         do = { overflow = true }",
    );
    let access = machine.write(0x3000, &[7]);
    // OVFLG, which nobody acknowledged: each request is answered with Success, and comes again.
    assert_eq!(machine.read32(0x1_00c8) >> 31, 1);
    assert!(machine.smmu.counters().page_responses_automatic > 1);
    // The queue, of 128 entries, is full of copies; none has LAST, and so none has an answer.
    for _ in 0..128 {
        let copy = machine.page_request().unwrap();
        assert_eq!((copy[0] >> 62 & 1, copy[1] & !0xfff), (0, 0x3000));
    }
    assert_eq!(machine.page_request(), None);
    let cons = machine.read32(0x1_00cc);
    machine.write32(0x1_00cc, cons | 1 << 31);
    machine.wait();
    // PROD keeps the flag, and its wrap flag.
    let (prod, cons) = (machine.read32(0x1_00c8), machine.read32(0x1_00cc));
    assert_eq!((prod, cons), (1 << 31 | 0x81, 1 << 31 | 0x80));
    let entry = machine.page_request().unwrap();
    machine.map(0x3000, FRAME | USER_RW);
    machine.respond(entry, 2);
    machine.wait();
    assert_eq!(access.take(), Some(Ok(Vec::new())));
}

#[test]
fn a_plan_loses_a_request_and_makes_messages_late() {
    let machine = Machine::planned(
        "[[rule]]
         at = 'page_request'
         match = { address = 0x3000 }
         do = { drop = true }
         [[rule]]
         at = 'page_response'
         do = { delay = 400_000 }",
    );
    let lost = machine.read(0x3000, 8);
    assert_eq!(machine.page_request(), None);
    let late = machine.read(0x4000, 8);
    machine.map(0x4000, FRAME | USER_RW);
    machine.respond(machine.page_request().unwrap(), 2);
    machine.wait();
    machine.wait();
    assert!(late.borrow().is_none());
    machine
        .timeline
        .advance_to(machine.timeline.now() + Span::from_us(400));
    assert!(late.borrow().is_some() && lost.borrow().is_none());
}
