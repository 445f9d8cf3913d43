//! The other side, for tests: memory that can abort, interrupt lines that remember, a probe that
//! takes as long as it is told, and a [`Driver`] that works the SMMU as an operating system does.
//!
//! All words here are put together from the field positions that the Linux driver uses
//! (drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.h, 6.12) and never through the model's own layouts: a
//! field in the wrong place would otherwise agree with itself.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use stallbox_timeline::{Gate, Span, Time, Timeline};

use crate::{
    Aborted, Access, Config, DescriptorRead, ExternalAbort, Interrupts, Line, Memory, Note,
    OnCommand, OnInterrupt, OnPageRequest, OnRecord, OnTranslation, PageRequest, Probe, Smmu, Step,
    StreamId, SubstreamId, Transaction, Translation, Verdict,
};

/// Physical memory of zeros, as large as it must be, that aborts where it is told to.
#[derive(Default)]
pub struct FakeMemory {
    words: RefCell<BTreeMap<u64, u64>>,
    aborts: RefCell<BTreeSet<u64>>,
    read_only: RefCell<BTreeSet<u64>>,
    overtaking: RefCell<Vec<(u64, u64)>>,
}

impl FakeMemory {
    /// From now on, accesses that include the byte at `address` abort.
    pub fn abort_at(&self, address: u64) {
        self.aborts.borrow_mut().insert(address);
    }

    /// From now on, writes that include the byte at `address` abort.
    pub fn abort_writes_at(&self, address: u64) {
        self.read_only.borrow_mut().insert(address);
    }

    /// No access aborts any more.
    pub fn heal(&self) {
        self.aborts.borrow_mut().clear();
        self.read_only.borrow_mut().clear();
    }

    /// Somebody else stores `word` at `address` just before the next atomic update of that.
    pub fn overtake(&self, address: u64, word: u64) {
        self.overtaking.borrow_mut().push((address, word));
    }

    /// Stores 64-bit words at `address`, a multiple of 8.
    pub fn store(&self, address: u64, words: &[u64]) {
        for (word, at) in words.iter().zip((address..).step_by(8)) {
            self.words.borrow_mut().insert(at, *word);
        }
    }

    /// Loads the 64-bit word at `address`, a multiple of 8.
    pub fn load(&self, address: u64) -> u64 {
        self.words.borrow().get(&address).copied().unwrap_or(0)
    }

    fn check(&self, address: u64, length: usize) -> Result<(), ExternalAbort> {
        let range = address..address.saturating_add(length as u64);
        match self.aborts.borrow().range(range).next() {
            Some(_) => Err(ExternalAbort),
            None => Ok(()),
        }
    }
}

impl Memory for FakeMemory {
    fn read(&self, address: u64, data: &mut [u8]) -> Result<(), ExternalAbort> {
        self.check(address, data.len())?;
        for (byte, at) in data.iter_mut().zip(address..) {
            *byte = self.load(at & !7).to_le_bytes()[(at & 7) as usize];
        }
        Ok(())
    }

    fn write(&self, address: u64, data: &[u8]) -> Result<(), ExternalAbort> {
        self.check(address, data.len())?;
        let range = address..address.saturating_add(data.len() as u64);
        if self.read_only.borrow().range(range).next().is_some() {
            return Err(ExternalAbort);
        }
        for (byte, at) in data.iter().zip(address..) {
            let mut bytes = self.load(at & !7).to_le_bytes();
            bytes[(at & 7) as usize] = *byte;
            self.store(at & !7, &[u64::from_le_bytes(bytes)]);
        }
        Ok(())
    }

    fn compare_exchange(&self, address: u64, current: u64, new: u64) -> Result<u64, ExternalAbort> {
        self.overtaking.borrow_mut().retain(|&(at, word)| {
            if at == address {
                self.store(at, &[word]);
            }
            at != address
        });
        let was = self.load(address);
        if was == current {
            self.write(address, &new.to_le_bytes())?;
        }
        Ok(was)
    }
}

/// Interrupt lines that remember their edges.
#[derive(Default)]
pub struct Pulses {
    lines: RefCell<Vec<Line>>,
    events: Cell<u32>,
}

impl Pulses {
    /// The edges since the last call, in order.
    pub fn take(&self) -> Vec<Line> {
        self.lines.take()
    }

    /// The wake-ups of WFE since the last call.
    pub fn take_events(&self) -> u32 {
        self.events.take()
    }
}

impl Interrupts for Pulses {
    fn pulse(&self, line: Line) {
        self.lines.borrow_mut().push(line);
    }

    fn send_event(&self) {
        self.events.set(self.events.get() + 1);
    }
}

/// A probe with a fixed latency for each step, that keeps what it is told, and gives verdicts in the
/// order in which it was given them.
#[derive(Default)]
pub struct FixedProbe {
    spans: RefCell<BTreeMap<Step, Span>>,
    notes: RefCell<Vec<Note>>,
    /// For attempts at translations; [`OnTranslation::Go`] when there are no more.
    pub translations: Verdicts<OnTranslation>,
    /// For event records.
    pub records: Verdicts<OnRecord>,
    /// For commands.
    pub commands: Verdicts<OnCommand>,
    /// For page requests.
    pub page_requests: Verdicts<OnPageRequest>,
    /// For interrupts.
    pub lines: Verdicts<OnInterrupt>,
    descriptors: RefCell<Vec<DescriptorRead>>,
}

/// Verdicts that wait for their turn.
#[derive(Default)]
pub struct Verdicts<A>(RefCell<VecDeque<Verdict<A>>>);

impl<A: Default> Verdicts<A> {
    /// The next verdict: `act` at once.
    pub fn push(&self, act: A) {
        self.0.borrow_mut().push_back(Verdict { wait: None, act });
    }

    /// The next verdict: `act` once the gate that is returned is open.
    pub fn push_behind_gate(&self, act: A) -> Gate {
        let gate = Gate::new();
        self.0.borrow_mut().push_back(Verdict {
            wait: Some(gate.clone()),
            act,
        });
        gate
    }

    fn next(&self) -> Verdict<A> {
        self.0.borrow_mut().pop_front().unwrap_or_default()
    }
}

impl FixedProbe {
    /// From now on `step` takes `span`.
    pub fn set(&self, step: Step, span: Span) {
        self.spans.borrow_mut().insert(step, span);
    }

    /// The notes since the last call, in order.
    pub fn take(&self) -> Vec<Note> {
        self.notes.take()
    }

    /// The descriptors read since the last call.
    pub fn take_descriptors(&self) -> Vec<DescriptorRead> {
        self.descriptors.take()
    }
}

impl Probe for FixedProbe {
    fn spend(&self, step: Step, _transaction: Option<&Transaction>) -> Span {
        self.spans
            .borrow()
            .get(&step)
            .copied()
            .unwrap_or(Span::ZERO)
    }

    fn note(&self, note: &Note) {
        self.notes.borrow_mut().push(note.clone());
    }

    fn on_translation(&self, _transaction: &Transaction, _stalls: u32) -> Verdict<OnTranslation> {
        self.translations.next()
    }

    fn on_record(&self, _words: &[u64; 4], _stalled: bool) -> Verdict<OnRecord> {
        self.records.next()
    }

    fn on_command(&self, _words: &[u64; 2]) -> Verdict<OnCommand> {
        self.commands.next()
    }

    fn on_interrupt(&self, _line: Line, _stream: Option<StreamId>) -> Verdict<OnInterrupt> {
        self.lines.next()
    }

    fn on_page_request(&self, _request: &PageRequest) -> Verdict<OnPageRequest> {
        self.page_requests.next()
    }

    fn descriptor_read(&self, _transaction: &Transaction, descriptor: &DescriptorRead) {
        self.descriptors.borrow_mut().push(*descriptor);
    }
}

/// A transaction that was begun, and its outcome once there is one.
#[derive(Clone)]
pub struct Pending(Rc<Cell<Option<Outcome>>>);

type Outcome = (Time, Result<Translation, Aborted>);

impl Pending {
    /// The outcome, if there is one.
    pub fn outcome(&self) -> Option<Result<Translation, Aborted>> {
        self.0.get().map(|(_, outcome)| outcome)
    }

    /// The physical address that it came to.
    ///
    /// # Panics
    ///
    /// If it is not done, or was aborted.
    #[track_caller]
    pub fn address(&self) -> u64 {
        match self.outcome() {
            Some(Ok(translation)) => translation.address,
            other => panic!("not translated: {other:?}"),
        }
    }

    /// Whether it was aborted.
    pub fn is_aborted(&self) -> bool {
        matches!(self.outcome(), Some(Err(Aborted { .. })))
    }

    /// Whether it still waits.
    pub fn is_waiting(&self) -> bool {
        self.0.get().is_none()
    }

    /// When it was done, in nanoseconds.
    pub fn done_at_ns(&self) -> Option<u64> {
        self.0.get().map(|(at, _)| at.as_ns())
    }
}

/// The stream that [`Driver::ready`] sets up.
pub const SID: u32 = 0x105;
/// Where the (linear) stream table is.
pub const STREAM_TABLE: u64 = 0x1_0000_0000;
/// Where the (linear) context descriptor table is.
pub const CONTEXT_TABLE: u64 = 0x2_0000_0000;
/// Where the command queue is.
pub const COMMAND_QUEUE: u64 = 0x3_0000_0000;
/// Where the event queue is.
pub const EVENT_QUEUE: u64 = 0x4_0000_0000;
/// Where [`Driver::map`] begins to put tables below the first.
pub const TABLES: u64 = 0x5_0000_0000;
/// log2 of the command queue's entries.
pub const COMMANDS_LOG2: u32 = 4;
/// log2 of the event queue's entries.
pub const EVENTS_LOG2: u32 = 2;

/// A leaf descriptor for user data, readable and writable, not global: Linux's for a process, the
/// memory type apart.
pub const USER_RW: u64 = 0x0060_0000_0000_0f43;
/// The same, but read-only.
pub const USER_RO: u64 = USER_RW | 0x80;

/// Where [`Driver::virtual_machine`] puts the first table of stage 2.
pub const STAGE2_ROOT: u64 = TABLES - 0x10_0000;
/// A stage 2 leaf descriptor for memory, readable and writable: Linux's (io-pgtable-arm.c).
pub const STAGE2_RW: u64 = 0x7ff;
/// The same, but read-only.
pub const STAGE2_RO: u64 = STAGE2_RW & !0x80;

/// An operating system's driver: it writes registers and memory, and knows nothing of the model.
pub struct Driver {
    /// The SMMU.
    pub smmu: Smmu,
    /// Its timeline.
    pub timeline: Timeline,
    /// Its memory.
    pub memory: Rc<FakeMemory>,
    /// Its interrupt lines.
    pub interrupts: Rc<Pulses>,
    /// Its probe.
    pub probe: Rc<FixedProbe>,
    next_table: Cell<u64>,
}

impl Default for Driver {
    fn default() -> Driver {
        Driver::new(Config::default())
    }
}

impl Driver {
    /// An SMMU out of reset, with nothing set up.
    pub fn new(config: Config) -> Driver {
        let (timeline, memory) = (Timeline::new(), Rc::new(FakeMemory::default()));
        let (interrupts, probe) = (Rc::new(Pulses::default()), Rc::new(FixedProbe::default()));
        let smmu = Smmu::new(
            config,
            timeline.clone(),
            memory.clone(),
            interrupts.clone(),
            probe.clone(),
        );
        let next_table = Cell::new(TABLES);
        Driver {
            smmu,
            timeline,
            memory,
            interrupts,
            probe,
            next_table,
        }
    }

    /// An SMMU that is enabled, with queues, a linear stream table, and [`SID`] as Linux leaves a
    /// stream with SVA: 8 contexts in a linear table, of which none is valid, and context 0 for
    /// traffic without SubstreamID.
    pub fn ready() -> Driver {
        let driver = Driver::default();
        driver.start();
        driver.set_ste(SID, ste_stage1(CONTEXT_TABLE, 3));
        driver
    }

    /// [`Driver::ready`], and context 1 of [`SID`] as Linux's for an SVA process with ASID 1 and
    /// its tables at [`Driver::root`].
    pub fn with_process() -> Driver {
        let driver = Driver::ready();
        driver.set_cd(1, cd_sva(1, Driver::root(1)));
        driver
    }

    /// A driver of `config`, enabled.
    pub fn started(config: Config) -> Driver {
        let driver = Driver::new(config);
        driver.start();
        driver
    }

    /// [`Driver::with_process`] inside a virtual machine with VMID 7: [`SID`] has both stages, and
    /// the second maps nothing but what is needed to walk the first, in blocks of 1 GiB. The context
    /// descriptors are 64 GiB higher in the machine's eyes than they are.
    pub fn virtual_machine() -> Driver {
        let driver = Driver::ready();
        let high = CONTEXT_TABLE + 0x10_0000_0000;
        driver.set_ste(SID, ste_nested(high, 3, 7, STAGE2_ROOT));
        driver.map_at(STAGE2_ROOT, 1, high, CONTEXT_TABLE | STAGE2_RW & !2);
        for table in [TABLES, TABLES - 0x4000_0000] {
            driver.map_at(STAGE2_ROOT, 1, table, table | STAGE2_RW & !2);
        }
        driver.set_cd(1, cd_sva(1, Driver::root(1)));
        driver
    }

    /// A page of the virtual machine.
    pub fn map_stage2(&self, address: u64, leaf: u64) -> u64 {
        self.map_at(STAGE2_ROOT, 3, address, leaf)
    }

    /// The first table of the process with `asid`.
    pub fn root(asid: u16) -> u64 {
        TABLES - 0x1000 * (u64::from(asid) + 1)
    }

    /// A 32-bit register.
    pub fn read32(&self, offset: u64) -> u32 {
        let mut data = [0; 4];
        self.smmu.read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    /// A 64-bit register.
    pub fn read64(&self, offset: u64) -> u64 {
        let mut data = [0; 8];
        self.smmu.read(offset, &mut data);
        u64::from_le_bytes(data)
    }

    /// Writes a 32-bit register.
    pub fn write32(&self, offset: u64, value: u32) {
        self.smmu.write(offset, &value.to_le_bytes());
    }

    /// Writes a 64-bit register.
    pub fn write64(&self, offset: u64, value: u64) {
        self.smmu.write(offset, &value.to_le_bytes());
    }

    /// What Linux does to bring the SMMU up (arm_smmu_device_reset), in its order.
    ///
    /// # Panics
    ///
    /// If an acknowledgement register does not show what was written.
    pub fn start(&self) {
        let enable = |control: u64, ack: u64, value: u32| {
            self.write32(control, value);
            assert_eq!(self.read32(ack), value, "acknowledged at {ack:#x}");
        };
        enable(0x20, 0x24, 0);
        self.write32(0x28, 0xd75);
        self.write32(0x2c, 0x6);
        self.write64(0x80, STREAM_TABLE | 1 << 62);
        self.write32(0x88, 16);
        self.write64(0x90, COMMAND_QUEUE | 1 << 62 | u64::from(COMMANDS_LOG2));
        self.write32(0x98, 0);
        self.write32(0x9c, 0);
        enable(0x20, 0x24, 0x8);
        self.command([0x04, 31]);
        self.sync();
        self.command([0x30, 0]);
        self.sync();
        self.write64(0xa0, EVENT_QUEUE | 1 << 62 | u64::from(EVENTS_LOG2));
        self.write32(0x1_00a8, 0);
        self.write32(0x1_00ac, 0);
        enable(0x20, 0x24, 0xc);
        enable(0x50, 0x54, 0);
        self.write64(0x68, 0);
        self.write64(0xb0, 0);
        enable(0x50, 0x54, 0x5);
        enable(0x20, 0x24, 0xd);
    }

    /// Queues a command and tells the SMMU.
    pub fn command(&self, words: [u64; 2]) {
        let prod = self.read32(0x98);
        let index = u64::from(prod) & ((1 << COMMANDS_LOG2) - 1);
        self.memory.store(COMMAND_QUEUE + 16 * index, &words);
        self.write32(0x98, (prod + 1) & ((2 << COMMANDS_LOG2) - 1));
    }

    /// CMD_SYNC without a signal, which must complete.
    ///
    /// # Panics
    ///
    /// If it does not, with no latency of commands set.
    pub fn sync(&self) {
        self.command([0x46, 0]);
        assert_eq!(
            self.read32(0x98),
            self.read32(0x9c),
            "the command queue has stopped"
        );
    }

    /// CMD_SYNC without a signal, which may have something to wait for.
    pub fn sync_without_waiting(&self) {
        self.command([0x46, 0]);
    }

    /// CMD_RESUME for [`SID`]: `response` 1 is a retry, 2 an abort.
    pub fn resume(&self, stag: u16, response: u64) {
        self.command([0x44 | response << 12 | u64::from(SID) << 32, stag.into()]);
        self.run();
    }

    /// Takes all records from the event queue.
    pub fn events(&self) -> Vec<[u64; 4]> {
        let mut events = Vec::new();
        while let Some(event) = self.event() {
            events.push(event);
        }
        events
    }

    /// Takes one record from the event queue.
    pub fn event(&self) -> Option<[u64; 4]> {
        let mask = (2 << EVENTS_LOG2) - 1;
        let (prod, cons) = (self.read32(0x1_00a8), self.read32(0x1_00ac));
        if prod & mask == cons & mask {
            return None;
        }
        let at = EVENT_QUEUE + 32 * u64::from(cons & (mask >> 1));
        let event = [0, 8, 16, 24].map(|word| self.memory.load(at + word));
        self.write32(0x1_00ac, cons & 1 << 31 | (cons + 1) & mask);
        Some(event)
    }

    /// Stores a stream table entry and invalidates the old one.
    pub fn set_ste(&self, sid: u32, words: [u64; 8]) {
        self.memory
            .store(STREAM_TABLE + 64 * u64::from(sid), &words);
        self.command([0x03 | u64::from(sid) << 32, 1]);
        self.sync();
    }

    /// Stores a context descriptor of [`SID`] and invalidates the old one.
    pub fn set_cd(&self, ssid: u32, words: [u64; 8]) {
        self.memory
            .store(CONTEXT_TABLE + 64 * u64::from(ssid), &words);
        self.command([0x05 | u64::from(ssid) << 12 | u64::from(SID) << 32, 1]);
        self.sync();
    }

    /// Stores a leaf at `level` for `address`, with the tables above it, below `root`: 4 KiB
    /// granule, 48 bits. Where the leaf is.
    pub fn map_at(&self, root: u64, level: u32, address: u64, leaf: u64) -> u64 {
        let mut table = root;
        for above in 0..level {
            let at = Driver::descriptor_at(table, above, address);
            if self.memory.load(at) & 3 != 3 {
                self.memory.store(at, &[self.next_table.get() | 3]);
                self.next_table.set(self.next_table.get() + 0x1000);
            }
            table = self.memory.load(at) & 0x0000_ffff_ffff_f000;
        }
        let at = Driver::descriptor_at(table, level, address);
        self.memory.store(at, &[leaf]);
        at
    }

    /// A page of the process with ASID 1.
    pub fn map(&self, address: u64, leaf: u64) -> u64 {
        self.map_at(Driver::root(1), 3, address, leaf)
    }

    fn descriptor_at(table: u64, level: u32, address: u64) -> u64 {
        table + 8 * ((address >> (39 - 9 * level)) & 0x1ff)
    }

    /// Begins a transaction.
    pub fn begin(&self, transaction: Transaction) -> Pending {
        let (smmu, timeline) = (self.smmu.clone(), self.timeline.clone());
        let pending = Pending(Rc::default());
        let outcome = pending.0.clone();
        self.timeline.spawn(async move {
            let result = smmu.translate(transaction).await;
            outcome.set(Some((timeline.now(), result)));
        });
        self.run();
        pending
    }

    /// Begins an access of the process: context 1 of [`SID`].
    pub fn access(&self, address: u64, access: Access) -> Pending {
        self.begin(process_transaction(address, access))
    }

    /// Runs what can run now.
    pub fn run(&self) {
        self.timeline.run_ready();
    }

    /// Lets time pass.
    pub fn wait_ns(&self, ns: u64) {
        self.timeline
            .advance_to(self.timeline.now() + Span::from_ns(ns));
    }
}

/// A transaction of the process: context 1 of [`SID`].
pub fn process_transaction(address: u64, access: Access) -> Transaction {
    Transaction {
        stream: StreamId(SID),
        substream: Some(SubstreamId(1)),
        address,
        access,
    }
}

/// The stream table entry that Linux writes for a device with SVA, with a linear table of
/// 2^`cd_max` contexts (arm_smmu_make_cdtable_ste): context 0 for traffic without SubstreamID.
pub fn ste_stage1(table: u64, cd_max: u64) -> [u64; 8] {
    // V, CFG = S1_TRANS, S1FMT = linear, S1CTXPTR, S1CDMAX; S1DSS = SSID0, S1CIR, S1COR = WBRA,
    // S1CSH = inner shareable.
    [0xb | table | cd_max << 59, 0xd6, 0, 0, 0, 0, 0, 0]
}

/// The stream table entry that Linux writes for a device of a virtual machine
/// (arm_smmu_make_s2_domain_ste): stage 2 only, 48-bit addresses, 4 KiB pages, S2PTW, S2R.
pub fn ste_stage2(vmid: u16, table: u64) -> [u64; 8] {
    // S2T0SZ = 16, S2SL0 = 2, S2IR0 = S2OR0 = WBWA, S2SH0 = inner shareable, S2TG = 4 KiB, S2PS =
    // 48 bits.
    let vtcr = 16 | 2 << 6 | 1 << 8 | 1 << 10 | 3 << 12 | 5 << 16;
    let word2 = u64::from(vmid) | vtcr << 32 | 1 << 51 | 1 << 54 | 1 << 58;
    [0xd, 1 << 44, word2, table, 0, 0, 0, 0]
}

/// Both stages: [`ste_stage1`], whose table is the virtual machine's, and [`ste_stage2`].
pub fn ste_nested(contexts: u64, cd_max: u64, vmid: u16, table: u64) -> [u64; 8] {
    let (mut ste, second) = (ste_stage1(contexts, cd_max), ste_stage2(vmid, table));
    ste[0] |= 0xf;
    ste[2] = second[2];
    ste[3] = second[3];
    ste
}

/// The context descriptor that Linux writes for an SVA process of a device that can stall
/// (arm_smmu_make_sva_cd): 48-bit addresses, 4 KiB pages, TTB0 only, S, R, A and ASET.
pub fn cd_sva(asid: u16, ttb0: u64) -> [u64; 8] {
    let word0 = 0xf205_c000_3510 | u64::from(asid) << 48;
    [word0, ttb0, 0, 0xff44_0c04_00ff, 0, 0, 0, 0]
}
