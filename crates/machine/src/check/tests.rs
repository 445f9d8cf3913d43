//! Checkers at a real SMMU: a driver that forgets CMD_CFGI, gives a PASID away under a stall, answers
//! twice. Words are those that Linux writes (arm-smmu-v3.h).

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use stallbox_smmu::testing::{cd_sva, ste_nested, ste_stage1, ste_stage2};
use stallbox_smmu::{
    Access, Config, DescriptorRead, ExternalAbort, Interrupts, Line, Memory, Note, PageRequest,
    Probe, Smmu, Step, StreamId, SubstreamId, Transaction, Translation,
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
/// Of two levels: the second of the stream table, the first of context descriptors.
const SECOND_LEVEL: u64 = RAM_BASE + 0x8_0000;
const CONTEXT_LEVEL1: u64 = RAM_BASE + 0x9_0000;
/// Of a virtual machine: its VMID, first table and RAM.
const VMID: u16 = 5;
const STAGE2: u64 = RAM_BASE + 0xa_0000;
const GUEST: u64 = 0x8000_0000;
/// A page as KVM maps it (KVM_PTE_LEAF_ATTR_LO_S2_*): normal memory, readable, writable, accessed.
const S2_PAGE: u64 = 0x7ff;
const S2_WRITE: u64 = 1 << 7;

/// How the stream and its translations are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tables {
    /// Stage 1, one level of each table.
    Linear,
    /// Stage 1, two levels of each table.
    TwoLevels,
    /// Both stages: the guest's RAM is at GUEST.
    Nested,
    /// Stage 2 alone.
    Stage2,
}

/// Where the stage 2 descriptor of a page of the guest's RAM is.
fn second_leaf(ipa: u64) -> u64 {
    STAGE2 + 0x3000 + 8 * (ipa >> 12 & 0x1ff)
}

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
    fn descriptor_read(&self, transaction: &Transaction, descriptor: &DescriptorRead) {
        if let Some(checkers) = self.0.upgrade() {
            checkers.descriptor_read(transaction, descriptor);
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
        Driver::with(check, Tables::Linear)
    }

    fn with(check: &str, tables: Tables) -> Driver {
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
        driver.start(tables);
        driver
    }

    fn start(&self, tables: Tables) {
        let set = |offset: u64, value: u64| self.smmu.write(offset, &value.to_le_bytes());
        let set32 = |offset: u64, value: u32| self.smmu.write(offset, &value.to_le_bytes());
        set(0x80, STREAM_TABLE);
        set32(0x88, 6);
        let mut ste = STREAM_TABLE + 64 * u64::from(STREAM);
        let mut words = ste_stage1(CONTEXTS, 3);
        match tables {
            Tables::Linear => {}
            Tables::TwoLevels => {
                // STRTAB_BASE_CFG_FMT, STRTAB_BASE_CFG_SPLIT; STRTAB_L1_DESC_SPAN for 2^6 entries.
                set32(0x88, 1 << 16 | 6 << 6 | 8);
                self.words(STREAM_TABLE, &[SECOND_LEVEL | 7]);
                ste = SECOND_LEVEL + 64 * u64::from(STREAM);
                // STRTAB_STE_0_S1FMT: two levels with leaves of 4 KiB; STRTAB_STE_0_S1CDMAX.
                words = ste_stage1(CONTEXT_LEVEL1, 8);
                words[0] |= 1 << 4;
                self.words(CONTEXT_LEVEL1, &[CONTEXTS | 1]);
            }
            Tables::Nested => {
                words = ste_nested(GUEST + (CONTEXTS - RAM_BASE), 3, VMID, STAGE2);
            }
            Tables::Stage2 => words = ste_stage2(VMID, STAGE2),
        }
        if matches!(tables, Tables::Nested | Tables::Stage2) {
            // The guest's RAM, of 1 MiB, in pages: at GUEST, and level 2 and 3 tables for it.
            self.words(STAGE2, &[(STAGE2 + 0x1000) | 3]);
            self.words(
                STAGE2 + 0x1000 + 8 * (GUEST >> 30),
                &[(STAGE2 + 0x2000) | 3],
            );
            self.words(STAGE2 + 0x2000, &[(STAGE2 + 0x3000) | 3]);
            for page in 0..256 {
                self.words(
                    second_leaf(GUEST + page * 0x1000),
                    &[(RAM_BASE + page * 0x1000) | S2_PAGE],
                );
            }
        }
        set(0x90, COMMANDS | 4);
        set(0xa0, (COMMANDS + 0x1000) | 4);
        self.words(ste, &words);
        // What the guest takes for the address of its RAM.
        let moved = match tables {
            Tables::Nested => GUEST.wrapping_sub(RAM_BASE),
            _ => 0,
        };
        for (root, page) in ROOTS.into_iter().zip([0x6_0000, 0x7_0000]) {
            let table = |at: u64| root.wrapping_add(moved) + at + 3;
            self.words(root, &[table(0x1000)]);
            self.words(root + 0x1000, &[table(0x2000)]);
            self.words(root + 0x2000, &[table(0x3000)]);
            let page = (RAM_BASE + page).wrapping_add(moved);
            self.words(root + 0x3008, &[page | 0x0060_0000_0000_0f43]);
        }
        self.attach(1, ROOTS[0].wrapping_add(moved));
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
                current: None,
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
        self.transact(Some(SubstreamId(1)), VA, Access::WRITE);
    }

    fn transact(&self, substream: Option<SubstreamId>, address: u64, access: Access) {
        let smmu = self.smmu.clone();
        self.timeline.spawn(async move {
            let _ = smmu
                .translate(Transaction {
                    stream: StreamId(STREAM),
                    substream,
                    address,
                    access,
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

/// CMDQ_OP_CFGI_STE or CMDQ_OP_CFGI_CD, as arm_smmu_cmdq_build_cmd puts it together.
fn cfgi(opcode: u64, leaf: bool) -> [u64; 2] {
    let pasid = if opcode == 5 { 1 << 12 } else { 0 };
    [opcode | pasid | u64::from(STREAM) << 32, leaf.into()]
}

#[test]
fn a_level_1_descriptor_that_changed_without_cfgi_is_found() {
    let run = |at: u64, word: u64, told: &[[u64; 2]]| {
        let driver = Driver::with("config", Tables::TwoLevels);
        driver.access();
        driver.wait(Span::from_ms(20));
        assert_eq!(driver.reports(), 0);
        driver.store(at, word);
        driver.access();
        for command in told {
            driver.command(*command);
        }
        driver.command([0x46, 0]);
        driver.access();
        driver.wait(Span::from_ms(11));
        driver.reports()
    };
    for (at, moved, opcode) in [
        (STREAM_TABLE, SECOND_LEVEL + 0x1_0000 + 7, 3),
        (CONTEXT_LEVEL1, CONTEXTS + 0x1001, 5),
    ] {
        for word in [0, moved] {
            assert_eq!(run(at, word, &[]), 1, "{at:#x} {word:#x}");
            // What it led to is named, and not the way there.
            assert_eq!(run(at, word, &[cfgi(opcode, true)]), 1, "{at:#x} {word:#x}");
            assert_eq!(
                run(at, word, &[cfgi(opcode, false)]),
                0,
                "{at:#x} {word:#x}"
            );
        }
        // CMD_CFGI_STE_RANGE with Range 31 is CMD_CFGI_ALL.
        assert_eq!(run(at, 0, &[[0x04, 31]]), 0);
    }
    // STRTAB_L1_DESC_SPAN: the table is shorter than it was.
    assert_eq!(run(STREAM_TABLE, SECOND_LEVEL | 3, &[]), 1);
    // What the SMMU does not look at is software's.
    assert_eq!(run(CONTEXT_LEVEL1, CONTEXTS | 1 | 1 << 62, &[]), 0);
}

#[test]
fn a_level_1_descriptor_that_changed_before_its_cfgi_and_the_next_use_is_right() {
    let driver = Driver::with("config", Tables::TwoLevels);
    driver.access();
    // The same tables, moved.
    let words: [u64; 8] = driver
        .ram
        .read_obj(GuestAddress(SECOND_LEVEL + 0x200))
        .unwrap();
    driver.words(SECOND_LEVEL + 0x1_0200, &words);
    driver.store(STREAM_TABLE, (SECOND_LEVEL + 0x1_0000) | 7);
    driver.command(cfgi(3, false));
    driver.command([0x46, 0]);
    driver.access();
    driver.wait(Span::from_ms(11));
    assert_eq!(driver.reports(), 0);
    // And from there, again.
    driver.store(STREAM_TABLE, SECOND_LEVEL | 7);
    driver.access();
    driver.wait(Span::from_ms(11));
    assert_eq!(driver.reports(), 1);
}

/// CMDQ_OP_TLBI_S12_VMALL, CMDQ_OP_TLBI_NH_ALL and CMDQ_OP_TLBI_S2_IPA: CMDQ_TLBI_0_VMID, and
/// CMDQ_TLBI_1_IPA_MASK.
fn tlbi(opcode: u64, vmid: u16, address: u64) -> [u64; 2] {
    [opcode | u64::from(vmid) << 32, address]
}

const S12_VMALL: u64 = 0x28;
const S2_IPA: u64 = 0x2a;
const NH_ALL: u64 = 0x10;

/// One access before and one after a stage 2 descriptor has changed, and then these commands.
fn second_changed(tables: Tables, ipa: u64, flip: u64, access: Access, told: &[[u64; 2]]) -> u32 {
    let driver = Driver::with("tlb", tables);
    let (substream, address) = match tables {
        Tables::Stage2 => (None, ipa),
        _ => (Some(SubstreamId(1)), VA),
    };
    driver.transact(substream, address, access);
    let was: u64 = driver.ram.read_obj(GuestAddress(second_leaf(ipa))).unwrap();
    assert_eq!(was & 0xfff, S2_PAGE);
    driver.store(second_leaf(ipa), was ^ flip);
    driver.transact(substream, address, access);
    for command in told {
        driver.command(*command);
    }
    driver.command([0x46, 0]);
    driver.wait(Span::from_ms(11));
    driver.reports()
}

#[test]
fn a_stage_2_descriptor_that_changed_without_tlbi_is_found() {
    let page = GUEST + 0x6_0000;
    for tables in [Tables::Stage2, Tables::Nested] {
        let run = |flip, access| second_changed(tables, page, flip, access, &[]);
        assert_eq!(run(1, Access::READ), 1, "{tables:?}: invalid");
        assert_eq!(run(0x1000, Access::READ), 1, "{tables:?}: elsewhere");
        assert_eq!(run(1 << 6, Access::READ), 1, "{tables:?}: not readable");
        assert_eq!(
            run(1 << 6, Access::WRITE),
            0,
            "{tables:?}: reads are not at stake"
        );
        assert_eq!(run(S2_WRITE, Access::WRITE), 1, "{tables:?}: read-only");
        assert_eq!(
            run(S2_WRITE, Access::READ),
            0,
            "{tables:?}: writes are not at stake"
        );
        assert_eq!(run(0xf << 2, Access::READ), 1, "{tables:?}: device memory");
        assert_eq!(run(1 << 10, Access::READ), 0, "{tables:?}: access flag");
        assert_eq!(run(1 << 52, Access::READ), 0, "{tables:?}: contiguous");
    }
}

#[test]
fn what_bypasses_stage_1_is_judged_by_stage_2() {
    let driver = Driver::with("tlb", Tables::Nested);
    // STRTAB_STE_1_S1DSS is STRTAB_STE_1_S1DSS_BYPASS.
    driver.words(STREAM_TABLE + 64 * u64::from(STREAM) + 8, &[0xd5]);
    let page = GUEST + 0x6_0000;
    driver.transact(None, page, Access::READ);
    driver.transact(None, page, Access::READ);
    driver.wait(Span::from_ms(11));
    assert_eq!(driver.reports(), 0);
    driver.store(second_leaf(page), 0);
    driver.transact(None, page, Access::READ);
    driver.wait(Span::from_ms(11));
    assert_eq!(driver.reports(), 1);
}

#[test]
fn a_stage_2_change_of_a_table_of_stage_1_is_found() {
    let tables = Tables::Nested;
    let leaf = GUEST + (ROOTS[0] - RAM_BASE) + 0x3000;
    let run = |flip| second_changed(tables, leaf, flip, Access::WRITE, &[]);
    assert_eq!(run(1), 1, "the table is not mapped any more");
    assert_eq!(run(1 << 6), 1, "nor readable");
    assert_eq!(run(S2_WRITE), 0, "tables are only read");
}

#[test]
fn an_invalidation_of_stage_2_acquits_what_it_covers() {
    let page = GUEST + 0x6_0000;
    let run = |tables, told: &[[u64; 2]]| second_changed(tables, page, 1, Access::READ, told);
    for tables in [Tables::Stage2, Tables::Nested] {
        assert_eq!(run(tables, &[tlbi(S12_VMALL, VMID, 0)]), 0, "{tables:?}");
        assert_eq!(run(tables, &[tlbi(S12_VMALL, 6, 0)]), 1, "{tables:?}: VMID");
    }
    let by_ipa = |ipa| run(Tables::Stage2, &[tlbi(S2_IPA, VMID, ipa)]);
    assert_eq!((by_ipa(page), by_ipa(page + 0x1000)), (0, 1));
    // What is cached of both stages together stays, until stage 1 is invalidated too.
    let by_ipa = tlbi(S2_IPA, VMID, page);
    assert_eq!(run(Tables::Nested, &[by_ipa]), 1);
    assert_eq!(run(Tables::Nested, &[by_ipa, tlbi(NH_ALL, VMID, 0)]), 0);
    assert_eq!(run(Tables::Nested, &[by_ipa, tlbi(NH_ALL, 6, 0)]), 1);
    // Without stage 1, that is for translations that there are none of.
    assert_eq!(run(Tables::Stage2, &[tlbi(NH_ALL, VMID, 0)]), 1);
}

#[test]
fn stage_2_that_is_found_in_the_tlb_is_followed_too() {
    // The page is walked for again, from a stage 1 that has changed and was invalidated, and what stage 2
    // says of it and of the tables comes from the TLB.
    let driver = Driver::with("tlb", Tables::Nested);
    let again = || driver.command([0x11 | 1 << 48 | u64::from(VMID) << 32, 0]);
    driver.access();
    again();
    driver.access();
    driver.wait(Span::from_ms(11));
    assert_eq!(driver.reports(), 0);
    again();
    let page = second_leaf(GUEST + 0x6_0000);
    driver.store(page, (RAM_BASE + 0x7_0000) | S2_PAGE);
    driver.access();
    driver.wait(Span::from_ms(11));
    assert_eq!(driver.reports(), 1);
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
    let start = |queue, tag| {
        let started = JobNote::Started {
            queue,
            tag,
            pasid: Some(1),
            input_bytes: 1,
        };
        driver.checkers.job(STREAM, &started);
    };
    // Of one queue that has one at a time, and of one that has many.
    start(3, 0);
    for tag in 0..3 {
        start(4, tag);
    }
    let (queue, tag) = (4, Some(1));
    let done = JobNote::Done { queue, tag };
    driver.checkers.job(STREAM, &done);
    driver.access();
    assert_eq!(driver.reports(), 0);
    driver.attach(2, ROOTS[1]);
    driver.forget();
    driver.access();
    driver.access();
    assert_eq!(driver.reports(), 3, "once a job");
    start(3, 0);
    driver.access();
    assert_eq!(driver.reports(), 3, "the next job is the new owner's");
    driver.checkers.job(STREAM, &JobNote::Reset);
    driver.attach(1, ROOTS[0]);
    driver.forget();
    driver.access();
    assert_eq!(driver.reports(), 3, "there is no job");
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
    ask(8, true);
    driver.checkers.cut_off();
    assert_eq!(driver.reports(), 4, "not answered when the run ended");
    driver.checkers.cut_off();
    driver.wait(Span::from_ms(2));
    assert_eq!(driver.reports(), 4, "once");
}
