//! The driver's and the program's side, and a memory that answers translation requests.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::ops::{Deref, Range};
use std::pin::Pin;
use std::rc::{Rc, Weak};

use stallbox_timeline::{Span, Timeline};
use vm_memory::{Bytes, GuestAddress};

use crate::atc::NoAtcProbe;
use crate::dma::{
    AtsFunction, AtsPort, DmaAttrs, DmaFuture, DmaPort, Op, PageRequest, PageResponse,
    PageResponseCode, TranslatedRange, TranslationAnswer, TranslationFuture,
};
use crate::function::{DeviceNote, DeviceProbe, DeviceStep};
use crate::pcie::{PciFunction, RequesterId, Slot};
use crate::test_engine::{FaultMode, TestEngine, TestEngineConfig};
use crate::testing::{self, MSI_ADDRESS};
use crate::verdict::{DeviceVerdict, DmaAccess, StepVerdict};

const RAM_BYTES: u64 = 32 << 20;

/// Data of a process.
pub(crate) const SOURCE: u64 = 0x10_0000;
pub(crate) const DESTINATION: u64 = 0x80_0000;
pub(crate) const RINGS: u64 = 0x1_0000;
const RING_STRIDE: u64 = 0x1000;

pub(crate) const PASID: u32 = 0x2bc;

/// Memory that is reached by translations, too.
pub(crate) struct Memory {
    plain: Rc<testing::Memory>,
    timeline: Timeline,
    /// Pages that a translation request finds nothing for.
    pub(crate) absent: RefCell<Vec<Range<u64>>>,
    /// Page requests as they came, those that are answered included.
    pub(crate) page_requests: RefCell<Vec<PageRequest>>,
    pub(crate) translations: Cell<u32>,
    function: RefCell<Option<Weak<dyn AtsFunction>>>,
}

impl Deref for Memory {
    type Target = testing::Memory;

    fn deref(&self) -> &testing::Memory {
        &self.plain
    }
}

impl Memory {
    fn new(timeline: &Timeline) -> Rc<Memory> {
        Rc::new(Memory {
            plain: testing::Memory::new(timeline, RAM_BYTES),
            timeline: timeline.clone(),
            absent: RefCell::default(),
            page_requests: RefCell::default(),
            translations: Cell::new(0),
            function: RefCell::default(),
        })
    }

    /// The kernel has handled the `index`-th page request.
    pub(crate) fn answer(&self, index: usize, code: PageResponseCode) {
        let request = self.page_requests.borrow()[index];
        if code == PageResponseCode::Success {
            let page = request.address & !0xfff;
            let mut absent = self.absent.borrow_mut();
            absent.retain(|range| !range.contains(&page));
        }
        let function = self.function.borrow().as_ref().and_then(Weak::upgrade);
        function
            .expect("the function has connected")
            .page_response(PageResponse {
                pasid: request.pasid,
                index: request.index,
                code,
            });
    }
}

impl DmaPort for Memory {
    fn access<'a>(&'a self, attrs: DmaAttrs, address: u64, op: Op<'a>) -> DmaFuture<'a> {
        self.plain.access(attrs, address, op)
    }

    fn ats(&self) -> Option<&dyn AtsPort> {
        Some(self)
    }
}

/// Translations are the identity.
impl AtsPort for Memory {
    fn translate(&self, _attrs: DmaAttrs, address: u64, _write: bool) -> TranslationFuture<'_> {
        Box::pin(async move {
            self.timeline.sleep(self.latency.get()).await;
            self.translations.set(self.translations.get() + 1);
            let page = address & !0xfff;
            let present = !self.absent.borrow().iter().any(|it| it.contains(&page));
            TranslationAnswer::Translated(TranslatedRange {
                address: page,
                size_log2: 12,
                read: present,
                write: present,
                execute: false,
                untranslated_only: false,
            })
        })
    }

    fn issue(&self, _bytes: usize) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(async {})
    }

    fn access_translated<'a>(&'a self, attrs: DmaAttrs, address: u64, op: Op<'a>) -> DmaFuture<'a> {
        self.plain.access(attrs, address, op)
    }

    fn page_request(&self, request: PageRequest) {
        self.page_requests.borrow_mut().push(request);
    }

    fn connect(&self, function: Weak<dyn AtsFunction>) {
        self.function.replace(Some(function));
    }
}

/// Records notes; each step takes 50 ns. What it decides is a test's.
#[derive(Default)]
pub(crate) struct Recorder(pub(crate) RefCell<Vec<DeviceNote>>, pub(crate) Verdicts);

type Decide<T> = RefCell<Option<Box<dyn Fn(T) -> DeviceVerdict>>>;

#[derive(Default)]
pub(crate) struct Verdicts {
    pub(crate) dma: Decide<DmaAccess>,
    /// Of a vector, and the queue of which it tells.
    pub(crate) msi: Decide<(u16, u16)>,
    pub(crate) register: Decide<(u32, u32)>,
    /// At this step of this queue.
    pub(crate) step: RefCell<Option<(DeviceStep, u16, StepVerdict)>>,
    /// Accesses that are under way.
    pub(crate) in_flight: RefCell<Vec<DmaAccess>>,
}

fn decide<T>(by: &Decide<T>, what: T) -> DeviceVerdict {
    by.borrow().as_ref().map(|it| it(what)).unwrap_or_default()
}

impl DeviceProbe for Recorder {
    fn spend(&self, _step: DeviceStep) -> Span {
        Span::from_ns(50)
    }

    fn note(&self, note: &DeviceNote) {
        self.0.borrow_mut().push(*note);
    }

    fn on_step(&self, step: DeviceStep, queue: u16) -> StepVerdict {
        match &*self.1.step.borrow() {
            Some((at, of, verdict)) if (*at, *of) == (step, queue) => verdict.clone(),
            _ => StepVerdict::default(),
        }
    }

    fn on_dma(&self, access: &DmaAccess) -> DeviceVerdict {
        self.1.in_flight.borrow_mut().push(*access);
        decide(&self.1.dma, *access)
    }

    fn dma_ended(&self, access: &DmaAccess) {
        let mut in_flight = self.1.in_flight.borrow_mut();
        let at = in_flight.iter().position(|it| it == access);
        in_flight.remove(at.expect("what ends has begun"));
    }

    fn on_msi(&self, vector: u16, queue: Option<u16>) -> DeviceVerdict {
        let queue = queue.expect("every vector tells of a queue");
        decide(&self.1.msi, (vector, queue))
    }

    fn on_register_write(&self, register: u32, value: u32) -> DeviceVerdict {
        decide(&self.1.register, (register, value))
    }
}

/// A descriptor in the making.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Descriptor {
    pub(crate) opcode: u8,
    pub(crate) flags: u8,
    pub(crate) reserved: u16,
    pub(crate) count: u32,
    pub(crate) tag: u64,
    pub(crate) source: u64,
    pub(crate) destination: u64,
    pub(crate) length: u64,
    pub(crate) operand: u64,
    pub(crate) source_stride: u64,
    pub(crate) destination_stride: u64,
}

impl Descriptor {
    pub(crate) fn bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[0] = self.opcode;
        bytes[1] = self.flags;
        bytes[2..4].copy_from_slice(&self.reserved.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.count.to_le_bytes());
        for (at, value) in [
            (0x08, self.tag),
            (0x10, self.source),
            (0x18, self.destination),
            (0x20, self.length),
            (0x28, self.operand),
            (0x30, self.source_stride),
            (0x38, self.destination_stride),
        ] {
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }
}

pub(crate) fn nop(tag: u64) -> Descriptor {
    Descriptor {
        opcode: 1,
        tag,
        ..Descriptor::default()
    }
}

pub(crate) fn copy(source: u64, destination: u64, length: u64) -> Descriptor {
    Descriptor {
        opcode: 2,
        source,
        destination,
        length,
        ..Descriptor::default()
    }
}

/// A completion as a program reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Completion {
    pub(crate) tag: u64,
    pub(crate) result: u64,
    pub(crate) detail: u64,
    pub(crate) latency_ns: u32,
    pub(crate) status: u8,
    pub(crate) opcode: u8,
    pub(crate) slot: u16,
}

/// A program's queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queue {
    pub(crate) number: u16,
    pub(crate) log2: u32,
    pub(crate) sq: u64,
    pub(crate) cq: u64,
    tail: u32,
    head: u32,
}

/// What a queue is enabled with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) log2: u32,
    pub(crate) depth: u32,
    pub(crate) access_log2: u32,
    pub(crate) interval_ns: u32,
    pub(crate) rate: u32,
    pub(crate) pasid: u32,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            log2: 4,
            depth: 4,
            access_log2: 12,
            interval_ns: 0,
            rate: 0,
            pasid: 1 << 31 | PASID,
        }
    }
}

pub(crate) struct Guest {
    pub(crate) timeline: Timeline,
    pub(crate) memory: Rc<Memory>,
    pub(crate) recorder: Rc<Recorder>,
    pub(crate) function: Rc<TestEngine>,
}

pub(crate) fn block(queue: u16) -> u64 {
    0x1000 + u64::from(queue) * 0x80
}

pub(crate) fn window(queue: u16) -> u64 {
    u64::from(queue) * 0x1_0000
}

impl Guest {
    /// Power-on, with 4 queues.
    pub(crate) fn bare() -> Guest {
        Guest::powered_on(FaultMode::Stall)
    }

    pub(crate) fn powered_on(fault: FaultMode) -> Guest {
        let timeline = Timeline::new();
        let memory = Memory::new(&timeline);
        let recorder = Rc::new(Recorder::default());
        let slot = Slot {
            requester: RequesterId(0x0010),
            dma: memory.clone(),
        };
        let config = TestEngineConfig { queues: 4, fault };
        let function = TestEngine::new(
            config,
            slot,
            timeline.clone(),
            recorder.clone(),
            Rc::new(NoAtcProbe),
        );
        Guest {
            timeline,
            memory,
            recorder,
            function,
        }
    }

    /// Probed: bus master, MSI-X, PASID, atomics.
    pub(crate) fn new() -> Guest {
        Guest::with(FaultMode::Stall)
    }

    /// The same, with ATS and PRI if the device has them.
    pub(crate) fn with(fault: FaultMode) -> Guest {
        let guest = Guest::powered_on(fault);
        guest.config16(0x04, 0x0006);
        let msix = guest.capability(0x11);
        guest.config16(msix + 2, 0x8000);
        for vector in 0..5u64 {
            let entry = 0xa000 + vector * 16;
            guest.write(0, entry, MSI_ADDRESS as u32);
            guest.write(0, entry + 4, (MSI_ADDRESS >> 32) as u32);
            guest.write(0, entry + 8, vector as u32);
            guest.write(0, entry + 12, 0);
        }
        let express = guest.capability(0x10);
        guest.config16(express + 0x28, 1 << 6);
        guest.config16(guest.extended(0x1b) + 6, 1);
        if fault != FaultMode::Stall {
            // ATS: Enable. PRI: an allocation of 32 requests, Enable.
            guest.config16(guest.extended(0x0f) + 6, 0x8000);
            let pri = guest.extended(0x13);
            guest.function.config_write(pri + 12, &32u32.to_le_bytes());
            guest.config16(pri + 4, 1);
        }
        guest
    }

    pub(crate) fn config32(&self, offset: u16) -> u32 {
        let mut bytes = [0; 4];
        self.function.config_read(offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    pub(crate) fn config16(&self, offset: u16, value: u16) {
        self.function.config_write(offset, &value.to_le_bytes());
    }

    pub(crate) fn capability(&self, id: u8) -> u16 {
        let mut at = self.config32(0x34) as u8;
        while at != 0 {
            let header = self.config32(at.into());
            if header as u8 == id {
                return at.into();
            }
            at = (header >> 8) as u8;
        }
        panic!("no capability {id:#x}")
    }

    pub(crate) fn extended(&self, id: u16) -> u16 {
        let mut at = 0x100;
        while at != 0 {
            let header = self.config32(at);
            if header as u16 == id {
                return at;
            }
            at = (header >> 20) as u16;
        }
        panic!("no extended capability {id:#x}")
    }

    pub(crate) fn read(&self, bar: u8, offset: u64) -> u32 {
        let mut bytes = [0; 4];
        self.function.bar_read(bar, offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    pub(crate) fn read64(&self, bar: u8, offset: u64) -> u64 {
        let mut bytes = [0; 8];
        self.function.bar_read(bar, offset, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    pub(crate) fn write(&self, bar: u8, offset: u64, value: u32) {
        self.function.bar_write(bar, offset, &value.to_le_bytes());
    }

    pub(crate) fn write64(&self, bar: u8, offset: u64, value: u64) {
        self.function.bar_write(bar, offset, &value.to_le_bytes());
    }

    pub(crate) fn advance(&self, span: Span) {
        self.timeline.advance_to(self.timeline.now() + span);
    }

    /// Programs and enables a queue.
    pub(crate) fn start(&self, number: u16, setup: Setup) -> Queue {
        let sq = RINGS + u64::from(number) * 2 * RING_STRIDE;
        let cq = sq + RING_STRIDE;
        let at = block(number);
        self.write(0, at + 0x08, setup.pasid);
        let geometry = setup.log2 | setup.depth << 8 | setup.access_log2 << 16;
        self.write(0, at + 0x0c, geometry);
        self.write64(0, at + 0x10, sq);
        self.write64(0, at + 0x18, cq);
        self.write(0, at + 0x20, setup.interval_ns);
        self.write(0, at + 0x24, setup.rate);
        self.write(0, at, 1);
        Queue {
            number,
            log2: setup.log2,
            sq,
            cq,
            tail: 0,
            head: 0,
        }
    }

    pub(crate) fn status(&self, queue: u16) -> u32 {
        self.read(0, block(queue) + 4)
    }

    /// Writes a descriptor into its slot without telling the device.
    pub(crate) fn put(&self, queue: &mut Queue, descriptor: &Descriptor) {
        let slot = u64::from(queue.tail % (1 << queue.log2));
        let address = GuestAddress(queue.sq + slot * 64);
        let bytes = descriptor.bytes();
        self.memory.ram.write_slice(&bytes, address).expect("RAM");
        queue.tail += 1;
    }

    pub(crate) fn ring(&self, queue: &Queue) {
        self.write(2, window(queue.number), queue.tail);
    }

    pub(crate) fn submit(&self, queue: &mut Queue, descriptors: &[Descriptor]) {
        for descriptor in descriptors {
            self.put(queue, descriptor);
        }
        self.ring(queue);
    }

    pub(crate) fn bytes(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.memory
            .ram
            .read_slice(&mut bytes, GuestAddress(address))
            .expect("RAM");
        bytes
    }

    pub(crate) fn place(&self, address: u64, bytes: &[u8]) {
        self.memory
            .ram
            .write_slice(bytes, GuestAddress(address))
            .expect("RAM");
    }

    /// The next completion, if it is in memory.
    pub(crate) fn poll(&self, queue: &mut Queue) -> Option<Completion> {
        let slot = u64::from(queue.head % (1 << queue.log2));
        let bytes = self.bytes(queue.cq + slot * 32, 32);
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let word = (long(0x18) >> 32) as u32;
        let phase = queue.head >> queue.log2 & 1 == 0;
        if (word >> 31 != 0) != phase {
            return None;
        }
        queue.head += 1;
        Some(Completion {
            tag: long(0x00),
            result: long(0x08),
            detail: long(0x10),
            latency_ns: long(0x18) as u32,
            status: word as u8,
            opcode: (word >> 8) as u8,
            slot: (word >> 16 & 0x7fff) as u16,
        })
    }

    /// Tells the device what was taken.
    pub(crate) fn release(&self, queue: &Queue) {
        self.write(2, window(queue.number) + 4, queue.head);
    }

    /// Runs descriptors to their end; their completions, as they came.
    #[track_caller]
    pub(crate) fn run(&self, queue: &mut Queue, descriptors: &[Descriptor]) -> Vec<Completion> {
        self.submit(queue, descriptors);
        self.advance(Span::from_ms(100));
        let completions: Vec<_> = std::iter::from_fn(|| self.poll(queue)).collect();
        assert_eq!(completions.len(), descriptors.len(), "{completions:?}");
        self.release(queue);
        completions
    }

    /// Runs one on a fresh queue.
    #[track_caller]
    pub(crate) fn run_one(&self, descriptor: Descriptor) -> Completion {
        self.write(0, block(0), 0);
        self.place(RINGS, &[0; 2 * RING_STRIDE as usize]);
        let mut queue = self.start(0, Setup::default());
        self.run(&mut queue, &[descriptor])[0]
    }
}

/// Bytes without a pattern that a mistake would preserve.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect()
}
