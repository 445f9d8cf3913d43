//! Checkers at a real SMMU: a driver that forgets CMD_CFGI, gives a PASID away under a stall, answers
//! twice. Words are those that Linux writes (arm-smmu-v3.h).

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use stallbox_devices::dma::Pasid;
use stallbox_smmu::testing::{cd_sva, ste_stage1};
use stallbox_smmu::{
    Access, Config, ExternalAbort, Interrupts, Line, Memory, Note, PageRequest, Probe, Smmu, Step,
    StreamId, SubstreamId, Transaction, Translation,
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::*;

const STREAM: u32 = 8;
const STREAM_TABLE: u64 = RAM_BASE + 0x1_0000;
const COMMANDS: u64 = RAM_BASE + 0x2_0000;
const CONTEXTS: u64 = RAM_BASE + 0x3_0000;
/// First tables of two processes.
const ROOTS: [u64; 2] = [RAM_BASE + 0x4_0000, RAM_BASE + 0x5_0000];
const VA: u64 = 0x1000;

struct Ram(GuestRam);

impl Memory for Ram {
    fn read(&self, address: u64, data: &mut [u8]) -> Result<(), ExternalAbort> {
        let at = GuestAddress(address);
        self.0.read_slice(data, at).map_err(|_| ExternalAbort)
    }
    fn write(&self, address: u64, data: &[u8]) -> Result<(), ExternalAbort> {
        let at = GuestAddress(address);
        self.0.write_slice(data, at).map_err(|_| ExternalAbort)
    }
}

struct NoLines;

impl Interrupts for NoLines {
    fn pulse(&self, _: Line) {}
}

struct Listener(Weak<Checkers>, RefCell<Vec<u16>>);

impl Probe for Listener {
    fn spend(&self, _: Step, _: Option<&Transaction>) -> Span {
        Span::ZERO
    }
    fn note(&self, note: &Note) {
        if let Note::Stalled { stag, .. } = note {
            self.1.borrow_mut().push(*stag);
        }
        if let Some(checkers) = self.0.upgrade() {
            checkers.noted(note);
        }
    }
    fn descriptor_read(&self, transaction: &Transaction, at: u64, raw: u64) {
        if let Some(checkers) = self.0.upgrade() {
            checkers.descriptor_read(transaction, at, raw);
        }
    }
    fn translated(&self, transaction: &Transaction, translation: &Translation) {
        if let Some(checkers) = self.0.upgrade() {
            checkers.translated(transaction, translation);
        }
    }
}

struct Driver {
    smmu: Smmu,
    ram: GuestRam,
    timeline: Timeline,
    checkers: Rc<Checkers>,
    listener: Rc<Listener>,
}

impl Driver {
    fn new(check: &str) -> Driver {
        let mut config = CheckConfig::default();
        config.add(check).unwrap();
        let ranges = [(GuestAddress(RAM_BASE), 1 << 20)];
        let ram: GuestRam = Rc::new(GuestMemoryMmap::from_ranges(&ranges).unwrap());
        let timeline = Timeline::new();
        let tracer = Tracer::new(timeline.clone(), None);
        let checkers = Checkers::new(&config, None, &timeline, &tracer, &ram);
        let listener = Rc::new(Listener(Rc::downgrade(&checkers), RefCell::default()));
        let smmu = Smmu::new(
            Config::default(),
            timeline.clone(),
            Rc::new(Ram(ram.clone())),
            Rc::new(NoLines),
            listener.clone(),
        );
        smmu.watch(checkers.points());
        *checkers.alone.borrow_mut() = Some(smmu.clone());
        let driver = Driver {
            smmu,
            ram,
            timeline,
            checkers,
            listener,
        };
        driver.start();
        driver
    }

    fn start(&self) {
        let set = |offset: u64, value: u64| self.smmu.write(offset, &value.to_le_bytes());
        let set32 = |offset: u64, value: u32| self.smmu.write(offset, &value.to_le_bytes());
        set(0x80, STREAM_TABLE);
        set32(0x88, 6);
        set(0x90, COMMANDS | 4);
        set(0xa0, (COMMANDS + 0x1000) | 4);
        self.words(
            STREAM_TABLE + 64 * u64::from(STREAM),
            &ste_stage1(CONTEXTS, 3),
        );
        for (root, page) in ROOTS.into_iter().zip([0x6_0000, 0x7_0000]) {
            self.words(root, &[root + 0x1003]);
            self.words(root + 0x1000, &[root + 0x2003]);
            self.words(root + 0x2000, &[root + 0x3003]);
            self.words(root + 0x3008, &[(RAM_BASE + page) | 0x0060_0000_0000_0f43]);
        }
        self.attach(1, ROOTS[0]);
        set32(0x20, 0xd);
    }

    fn words(&self, at: u64, words: &[u64]) {
        for (at, word) in (at..).step_by(8).zip(words) {
            self.ram.write_obj(word.to_le(), GuestAddress(at)).unwrap();
        }
    }

    /// Stores as a vCPU, seen by whoever watches.
    fn store(&self, at: u64, word: u64) {
        let old: u64 = self.ram.read_obj(GuestAddress(at)).unwrap();
        self.words(at, &[word]);
        let watch = self.checkers.watch().unwrap();
        if watch.watches((at - RAM_BASE) as usize) {
            watch.stored(Store {
                time_ps: self.timeline.now().as_ps(),
                at,
                old: u64::from_le(old),
                new: word,
            });
            self.checkers.stored(&Caller {
                cpu: 0,
                pc: 0xffff_8000_8000_1234,
                frame: 0,
                link: 0,
                half: crate::stage1::Half::upper(0, 0),
            });
        }
    }

    /// PASID 1's.
    fn attach(&self, asid: u16, root: u64) {
        for (at, word) in (CONTEXTS + 64..).step_by(8).zip(cd_sva(asid, root)) {
            self.store(at, word);
        }
    }

    fn detach(&self) {
        self.store(CONTEXTS + 64, 0);
    }

    fn command(&self, words: [u64; 2]) {
        assert!(self.smmu.inject_command(words), "{words:#x?}");
    }

    fn forget(&self) {
        self.command([0x05 | 1 << 12 | u64::from(STREAM) << 32, 1]);
        self.command([0x46, 0]);
    }

    fn access(&self) {
        let smmu = self.smmu.clone();
        self.timeline.spawn(async move {
            let _ = smmu
                .translate(Transaction {
                    stream: StreamId(STREAM),
                    substream: Some(SubstreamId(1)),
                    address: VA,
                    access: Access::WRITE,
                })
                .await;
        });
        self.wait(Span::from_us(1));
    }

    /// Takes the record from the event queue, and answers it.
    fn retry(&self) {
        let mut prod = [0; 4];
        self.smmu.read(0x1_00a8, &mut prod);
        self.smmu.write(0x1_00ac, &prod);
        let tag = self.listener.1.borrow_mut().pop().unwrap();
        let stream = u64::from(STREAM) << 32;
        self.command([0x44 | 1 << 12 | stream, tag.into()]);
        self.wait(Span::from_us(1));
    }

    fn wait(&self, span: Span) {
        let end = self.timeline.now() + span;
        self.timeline.advance_to(end);
    }

    fn reports(&self) -> u32 {
        self.checkers.reports()
    }
}

#[test]
fn a_context_descriptor_that_changed_without_cfgi_is_found() {
    let driver = Driver::new("config");
    driver.access();
    // What a driver does in the right order is no mistake, be it used in between.
    driver.detach();
    driver.access();
    driver.forget();
    driver.attach(1, ROOTS[0]);
    driver.forget();
    driver.access();
    driver.wait(Span::from_ms(20));
    assert_eq!(driver.reports(), 0);
    // V is cleared, and CMD_SYNC comes without CMD_CFGI_CD.
    driver.detach();
    driver.command([0x46, 0]);
    driver.access();
    driver.wait(Span::from_ms(9));
    assert_eq!(driver.reports(), 0);
    driver.wait(Span::from_ms(2));
    assert_eq!(driver.reports(), 1);
    driver.access();
    driver.wait(Span::from_ms(20));
    assert_eq!(driver.reports(), 1, "once");
}

#[test]
fn a_stream_table_entry_that_changed_without_cfgi_is_found() {
    let driver = Driver::new("config");
    driver.access();
    driver.store(STREAM_TABLE + 64 * u64::from(STREAM), 0);
    driver.access();
    // CMD_CFGI_CD does not cover it.
    driver.forget();
    driver.wait(Span::from_ms(11));
    assert_eq!(driver.reports(), 1);

    let driver = Driver::new("config");
    driver.access();
    driver.store(STREAM_TABLE + 64 * u64::from(STREAM), 0);
    driver.access();
    // CMD_CFGI_STE.
    driver.command([0x03 | u64::from(STREAM) << 32, 1]);
    driver.command([0x46, 0]);
    driver.wait(Span::from_ms(11));
    assert_eq!(driver.reports(), 0);
}

#[test]
fn a_pasid_that_changes_hands_under_a_stall_is_found() {
    let run = |change: &dyn Fn(&Driver)| {
        let driver = Driver::new("pasid");
        let leaf = ROOTS[0] + 0x3008;
        let page: u64 = driver.ram.read_obj(GuestAddress(leaf)).unwrap();
        driver.words(leaf, &[0]);
        driver.access();
        change(&driver);
        driver.words(leaf, &[page]);
        driver.retry();
        driver.reports()
    };
    assert_eq!(run(&|_| {}), 0, "the page is mapped, and no more");
    let to = |driver: &Driver, asid, root| {
        driver.detach();
        driver.forget();
        driver.attach(asid, root);
        driver.forget();
    };
    assert_eq!(run(&|driver| to(driver, 2, ROOTS[1])), 1, "another's");
    assert_eq!(
        run(&|driver| to(driver, 1, ROOTS[0])),
        1,
        "detached in between"
    );
}

#[test]
fn a_job_that_goes_on_in_another_address_space_is_found() {
    let driver = Driver::new("pasid");
    let note = |note| driver.checkers.device(STREAM, &note);
    let start = || DeviceNote::JobStarted {
        queue: 3,
        pasid: Some(Pasid(1)),
        tag: 0,
        input: 1,
        output: 1,
    };
    note(start());
    driver.access();
    assert_eq!(driver.reports(), 0);
    driver.attach(2, ROOTS[1]);
    driver.forget();
    driver.access();
    driver.access();
    assert_eq!(driver.reports(), 1, "once a job");
    note(start());
    driver.access();
    assert_eq!(driver.reports(), 1, "the next job is the new owner's");
}

#[test]
fn the_same_fault_again_and_again_is_a_loop() {
    let driver = Driver::new("stall");
    driver.words(ROOTS[0] + 0x3008, &[0]);
    driver.access();
    for _ in 0..62 {
        driver.retry();
    }
    assert_eq!(driver.reports(), 0);
    driver.retry();
    assert_eq!(driver.reports(), 1);
    for _ in 0..100 {
        driver.retry();
    }
    assert_eq!(driver.reports(), 1, "once");
}

/// CMD_PRI_RESP as arm_smmu_cmdq_build_cmd writes it: CMDQ_0_SSV, CMDQ_PRI_0_SSID, CMDQ_PRI_0_SID;
/// CMDQ_PRI_1_GRPID, CMDQ_PRI_1_RESP.
fn page_response(pasid: u64, group: u64) -> [u64; 2] {
    [
        0x41 | 1 << 11 | pasid << 12 | u64::from(STREAM) << 32,
        group | 2 << 12,
    ]
}

#[test]
fn page_request_groups_are_answered_once_and_in_time() {
    let driver = Driver::new("stall=1000");
    let ask = |index: u16, last: bool| {
        let request = PageRequest {
            stream: StreamId(STREAM),
            substream: Some(SubstreamId(1)),
            address: VA,
            read: true,
            write: false,
            execute: false,
            privileged: false,
            last,
            index,
        };
        let words = [0; 2];
        driver
            .checkers
            .noted(&Note::PageRequestQueued { request, words });
    };
    let answer = |pasid, group| {
        let words = page_response(pasid, group);
        driver.checkers.noted(&Note::Command { words });
    };
    // Answered in time; of a group that is not complete no answer is due.
    ask(5, true);
    ask(6, false);
    answer(1, 5);
    driver.wait(Span::from_ms(2));
    assert_eq!(driver.reports(), 0);
    answer(1, 5);
    assert_eq!(driver.reports(), 1, "answered twice");
    answer(2, 5);
    assert_eq!(driver.reports(), 2, "another PASID's group never asked");
    ask(7, true);
    driver.wait(Span::from_us(999));
    assert_eq!(driver.reports(), 2);
    driver.wait(Span::from_us(2));
    assert_eq!(driver.reports(), 3, "never answered");
}
