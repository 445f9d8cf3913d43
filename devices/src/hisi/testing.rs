//! The driver's side.

use std::cell::RefCell;
use std::rc::Rc;

use stallbox_timeline::{Span, Timeline};
use vm_memory::{Bytes, GuestAddress};

use crate::function::{DeviceNote, DeviceProbe, DeviceStep};
use crate::hisi::{Revision, Zip, ZipConfig};
use crate::pcie::{PciFunction, RequesterId, Slot};
pub(crate) use crate::testing::{MSI_ADDRESS, Memory};
use crate::verdict::{DeviceVerdict, StepVerdict};

pub(crate) const RAM_BYTES: u64 = 64 << 20;
pub(crate) const MSI_DATA: u32 = 0x1230;

/// The kernel's structures.
pub(crate) const EQ: u64 = 0x1_0000;
pub(crate) const AEQ: u64 = 0x1_4000;
pub(crate) const XQC: u64 = 0x1_8000;
/// A queue's rings: 128 KiB of SQ, then CQ, as `hisi_qp_memory_init` has them.
const RINGS: u64 = 0x10_0000;
const RING_STRIDE: u64 = 0x4_0000;
/// Data of a process.
pub(crate) const SOURCE: u64 = 0x100_0000;
pub(crate) const DESTINATION: u64 = 0x200_0000;
pub(crate) const CONTEXT: u64 = 0x300_0000;
pub(crate) const LISTS: u64 = 0x310_0000;

/// Records notes; each step takes a while.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) notes: RefCell<Vec<DeviceNote>>,
    pub(crate) steps: RefCell<Vec<DeviceStep>>,
    /// At this step of this queue.
    pub(crate) verdict: RefCell<Option<(DeviceStep, u16, StepVerdict)>>,
    /// Interrupts that were about to be raised, with the queues that they tell of.
    pub(crate) interrupts: RefCell<Vec<(u16, Option<u16>)>>,
}

impl DeviceProbe for Recorder {
    fn spend(&self, step: DeviceStep) -> Span {
        self.steps.borrow_mut().push(step);
        match step {
            DeviceStep::Compute { bytes } => Span::from_ps(bytes * 100),
            _ => Span::from_ns(50),
        }
    }

    fn note(&self, note: &DeviceNote) {
        self.notes.borrow_mut().push(*note);
    }

    fn on_step(&self, step: DeviceStep, queue: u16) -> StepVerdict {
        match &*self.verdict.borrow() {
            Some((at, of, verdict)) if (*at, *of) == (step, queue) => verdict.clone(),
            _ => StepVerdict::default(),
        }
    }

    fn on_msi(&self, vector: u16, queue: Option<u16>) -> DeviceVerdict {
        self.interrupts.borrow_mut().push((vector, queue));
        DeviceVerdict::default()
    }
}

pub(crate) struct Guest {
    pub(crate) revision: Revision,
    pub(crate) timeline: Timeline,
    pub(crate) memory: Rc<Memory>,
    pub(crate) recorder: Rc<Recorder>,
    pub(crate) zip: Rc<Zip>,
}

/// `qm_mk_*` constants of a started queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queue {
    pub(crate) number: u16,
    pub(crate) depth: u32,
    pub(crate) sq: u64,
    pub(crate) cq: u64,
    /// Driver's view: next slot to fill, next completion to take.
    pub(crate) tail: u32,
    pub(crate) head: u32,
    pub(crate) phase: bool,
}

pub(crate) fn sq_address(number: u16) -> u64 {
    RINGS + u64::from(number) * RING_STRIDE
}

pub(crate) const COMPRESS: u16 = 0;
pub(crate) const DECOMPRESS: u16 = 1;
pub(crate) const PASID: u16 = 0x2bc;

impl Guest {
    /// Power-on.
    pub(crate) fn bare(config: ZipConfig) -> Guest {
        let timeline = Timeline::new();
        let memory = Memory::new(&timeline, RAM_BYTES);
        let recorder = Rc::new(Recorder::default());
        let slot = Slot {
            requester: RequesterId(0x0008),
            dma: memory.clone(),
        };
        let revision = config.revision;
        let zip = Zip::new(config, slot, timeline.clone(), recorder.clone());
        Guest {
            revision,
            timeline,
            memory,
            recorder,
            zip,
        }
    }

    /// Probed: bus master, MSI, PASID, queues, event rings.
    pub(crate) fn new(revision: Revision) -> Guest {
        Guest::with(ZipConfig::new(revision))
    }

    pub(crate) fn with(config: ZipConfig) -> Guest {
        let queues = config.queues;
        let guest = Guest::bare(config);
        guest.enable_pci();
        guest.write32(0x10_0040, 1);
        guest.start(queues);
        guest
    }

    pub(crate) fn find_capability(&self, id: u8) -> u16 {
        let mut at = self.config8(0x34);
        while at != 0 && self.config8(at.into()) != id {
            at = self.config8(u16::from(at) + 1);
        }
        at.into()
    }

    fn config8(&self, offset: u16) -> u8 {
        let mut byte = [0];
        self.zip.config_read(offset, &mut byte);
        byte[0]
    }

    pub(crate) fn config32(&self, offset: u16) -> u32 {
        let mut bytes = [0; 4];
        self.zip.config_read(offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    pub(crate) fn enable_pci(&self) {
        self.zip.config_write(0x04, &0x0006u16.to_le_bytes());
        let msi = self.find_capability(0x05);
        self.zip
            .config_write(msi + 4, &(MSI_ADDRESS as u32).to_le_bytes());
        self.zip
            .config_write(msi + 8, &((MSI_ADDRESS >> 32) as u32).to_le_bytes());
        self.zip
            .config_write(msi + 12, &(MSI_DATA as u16).to_le_bytes());
        // Multiple Message Enable 4, MSI Enable.
        self.zip.config_write(msi + 2, &0x0021u16.to_le_bytes());
        // PASID is the only extended capability: Enable.
        assert_eq!(self.config32(0x100) & 0xffff, 0x1b);
        self.zip.config_write(0x106, &0x0001u16.to_le_bytes());
    }

    /// `__hisi_qm_start`
    pub(crate) fn start(&self, queues: u16) {
        if self.revision == Revision::V2 {
            // hisi_zip_set_user_domain_and_cache with SVA: AXUSER_BASE | AXUSER_SSV
            for register in [0x30_1128, 0x30_1134, 0x30_111c] {
                self.write32(register, 0x4000_1071);
            }
        }
        self.set_vft(0, 0, 1 << 44 | u64::from(queues - 1) << 45);
        self.set_vft(1, 0, 1 << 28);
        assert_eq!(self.start_event_ring(2, EQ, 2048), 0);
        assert_eq!(self.start_event_ring(3, AEQ, 1024), 0);
        assert_eq!(self.mailbox(4, 0, 0x8000, false), 0);
        assert_eq!(self.mailbox(5, 0, 0xc000, false), 0);
        self.event_doorbell(3, 0);
        self.event_doorbell(2, 0);
        self.write32(0xc, 0);
        self.write32(0x4, 0);
    }

    /// `qm_set_vft_common`
    pub(crate) fn set_vft(&self, kind: u32, function: u32, data: u64) {
        assert_eq!(self.read32(0x10_006c) & 1, 1);
        self.write32(0x10_0058, 0);
        self.write32(0x10_005c, kind);
        self.write32(0x10_0060, function);
        self.write32(0x10_0064, data as u32);
        self.write32(0x10_0068, (data >> 32) as u32);
        self.write32(0x10_006c, 0);
        self.write32(0x10_0054, 1);
        assert_eq!(self.read32(0x10_006c) & 1, 1);
    }

    /// `qm_eq_ctx_cfg`, `qm_aeq_ctx_cfg`
    pub(crate) fn start_event_ring(&self, command: u8, base: u64, depth: u32) -> u32 {
        let mut context = [0; 8];
        context[1] = base as u32;
        context[2] = (base >> 32) as u32;
        context[6] = (depth - 1) | 1 << 16;
        self.write_words(XQC, &context);
        self.mailbox(command, 0, XQC, false)
    }

    pub(crate) fn read32(&self, offset: u64) -> u32 {
        let mut bytes = [0; 4];
        self.zip.bar_read(2, offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    pub(crate) fn write32(&self, offset: u64, value: u32) {
        self.zip.bar_write(2, offset, &value.to_le_bytes());
    }

    pub(crate) fn advance(&self, span: Span) {
        self.timeline.advance_to(self.timeline.now() + span);
    }

    /// Polls like the driver: until `done` or for `limit`.
    pub(crate) fn poll(&self, period: Span, limit: Span, done: impl Fn() -> bool) -> bool {
        let end = self.timeline.now() + limit;
        loop {
            if done() {
                return true;
            }
            if self.timeline.now() >= end {
                return false;
            }
            self.advance(period);
        }
    }

    pub(crate) fn mailbox_words(command: u8, queue: u16, base: u64, read: bool) -> [u8; 16] {
        let w0 = u16::from(command) | u16::from(read) << 14 | 1 << 13;
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&w0.to_le_bytes());
        bytes[2..4].copy_from_slice(&queue.to_le_bytes());
        bytes[4..12].copy_from_slice(&base.to_le_bytes());
        bytes
    }

    /// `hisi_qm_wait_mb_ready`: 10 us, 1 ms.
    pub(crate) fn mailbox_ready(&self) -> bool {
        let ready = || self.read32(0x300) & 1 << 13 == 0;
        self.poll(Span::from_us(10), Span::from_ms(1), ready)
    }

    /// `qm_mb_nolock`; answers the status.
    pub(crate) fn mailbox(&self, command: u8, queue: u16, base: u64, read: bool) -> u32 {
        assert!(self.mailbox_ready(), "busy to start");
        self.zip
            .bar_write(2, 0x300, &Guest::mailbox_words(command, queue, base, read));
        assert!(self.mailbox_ready(), "operation timeout");
        self.read32(0x300) >> 9 & 0xf
    }

    pub(crate) fn dump(&self, command: u8, queue: u16) -> [u32; 8] {
        self.memory
            .ram
            .write_slice(&[0xee; 32], GuestAddress(XQC))
            .expect("RAM");
        assert_eq!(self.mailbox(command, queue, XQC, true), 0);
        let mut bytes = [0; 32];
        self.read(XQC, &mut bytes);
        let mut words = [0; 8];
        for (word, raw) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u32::from_le_bytes(*raw);
        }
        words
    }

    pub(crate) fn read(&self, address: u64, data: &mut [u8]) {
        self.memory
            .ram
            .read_slice(data, GuestAddress(address))
            .expect("RAM");
    }

    pub(crate) fn bytes(&self, address: u64, length: usize) -> Vec<u8> {
        let mut data = vec![0; length];
        self.read(address, &mut data);
        data
    }

    pub(crate) fn write(&self, address: u64, data: &[u8]) {
        self.memory
            .ram
            .write_slice(data, GuestAddress(address))
            .expect("RAM");
    }

    pub(crate) fn word(&self, address: u64) -> u32 {
        self.memory
            .ram
            .read_obj(GuestAddress(address))
            .expect("RAM")
    }

    pub(crate) fn write_words(&self, address: u64, words: &[u32]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.write(address, &bytes);
    }

    /// `qm_sq_ctx_cfg` and `qm_cq_ctx_cfg` of a user queue.
    pub(crate) fn start_queue(&self, number: u16, algorithm: u16) -> Queue {
        let sq = sq_address(number);
        self.start_queue_at(number, algorithm, 1024, sq, sq + 0x2_0000)
    }

    pub(crate) fn start_queue_at(
        &self,
        number: u16,
        algorithm: u16,
        depth: u32,
        sq: u64,
        cq: u64,
    ) -> Queue {
        self.write(cq, &vec![0; depth as usize * 16]);
        let v3 = self.revision == Revision::V3;
        let pasid_enable = if v3 { 1u32 << 7 } else { 0 };
        let mut context = [0u32; 8];
        context[1] = sq as u32;
        context[2] = (sq >> 32) as u32;
        context[3] = (depth - 1) | 7 << 12;
        context[5] = u32::from(PASID) | pasid_enable << 16;
        context[6] = u32::from(number) | u32::from(1 << 4 | algorithm << 8) << 16;
        self.write_words(XQC, &context);
        assert_eq!(self.mailbox(0, number, XQC, false), 0);

        let mut context = [0u32; 8];
        context[1] = cq as u32;
        context[2] = (cq >> 32) as u32;
        context[3] = (depth - 1) | 4 << 12;
        context[5] = u32::from(PASID) | u32::from(v3) << 16;
        context[6] = 3;
        self.write_words(XQC, &context);
        assert_eq!(self.mailbox(1, number, XQC, false), 0);
        Queue {
            number,
            depth,
            sq,
            cq,
            tail: 0,
            head: 0,
            phase: true,
        }
    }

    /// `qm_db_v2`
    pub(crate) fn doorbell(&self, queue: u16, command: u8, index: u32, priority: u16) {
        let value = u64::from(queue)
            | u64::from(command) << 12
            | u64::from(index) << 32
            | u64::from(priority) << 48;
        let (bar, window) = match self.revision {
            Revision::V2 => (2, 0),
            Revision::V3 => (4, u64::from(queue) * 0x1_0000),
        };
        self.zip
            .bar_write(bar, window + 0x1000, &value.to_le_bytes());
    }

    pub(crate) fn event_doorbell(&self, command: u8, index: u32) {
        let value = u64::from(command) << 12 | u64::from(index) << 32;
        self.zip.bar_write(2, 0x2000, &value.to_le_bytes());
    }

    /// `hisi_qm_send`
    pub(crate) fn send(&self, queue: &mut Queue, entry: &[u32; 32]) {
        self.write_words(queue.sq + u64::from(queue.tail) * 128, entry);
        queue.tail = (queue.tail + 1) % queue.depth;
        self.doorbell(queue.number, 0, queue.tail, 0);
    }

    pub(crate) fn has_completion(&self, queue: &Queue) -> bool {
        let cqe = queue.cq + u64::from(queue.head) * 16;
        (self.word(cqe + 12) >> 16 & 1 != 0) == queue.phase
    }

    /// `hisi_qm_recv`: the entry that the next completion names, if there is one by now.
    pub(crate) fn receive(&self, queue: &mut Queue) -> Option<[u32; 32]> {
        if !self.has_completion(queue) {
            return None;
        }
        let cqe = queue.cq + u64::from(queue.head) * 16;
        let slot = self.word(cqe + 8) & 0xffff;
        assert_eq!(self.word(cqe + 8) >> 16, u32::from(queue.number), "sq_num");
        queue.head += 1;
        if queue.head == queue.depth {
            queue.head = 0;
            queue.phase = !queue.phase;
        }
        self.doorbell(queue.number, 1, queue.head, 0);
        let bytes = self.bytes(queue.sq + u64::from(slot) * 128, 128);
        let mut entry = [0; 32];
        for (word, raw) in entry.iter_mut().zip(bytes.as_chunks().0) {
            *word = u32::from_le_bytes(*raw);
        }
        Some(entry)
    }

    /// Sends and waits.
    pub(crate) fn run(&self, queue: &mut Queue, entry: &[u32; 32]) -> [u32; 32] {
        self.send(queue, entry);
        let done = self.poll(Span::from_us(1), Span::from_ms(50), || {
            self.has_completion(queue)
        });
        assert!(
            done,
            "no completion; notes: {:?}",
            self.recorder.notes.borrow()
        );
        self.receive(queue).expect("a completion")
    }

    /// `qm_wait_qp_empty`, one look.
    pub(crate) fn is_drained(&self, queue: u16) -> bool {
        let (sqc, cqc) = (self.dump(0, queue), self.dump(1, queue));
        sqc[0] >> 16 == cqc[0] >> 16 && (sqc[5] >> 22 & 1) == (cqc[5] >> 22 & 1)
    }

    pub(crate) fn msis(&self) -> Vec<u32> {
        self.advance(Span::from_us(5));
        self.memory.msis.take()
    }

    /// Nothing is left to do: all tasks ended.
    pub(crate) fn settle(&self) {
        self.memory.release();
        self.advance(Span::from_ms(200));
        assert_eq!(self.timeline.live_tasks(), 0, "tasks that never end");
    }
}

/// A job, for filling an entry as `fill_zip_comp_sqe` does.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) kind: u32,
    pub(crate) input: u32,
    pub(crate) room: u32,
    pub(crate) source: u64,
    pub(crate) destination: u64,
    pub(crate) list: bool,
    pub(crate) source_skip: u32,
    pub(crate) destination_skip: u32,
    pub(crate) context: u64,
    pub(crate) new: bool,
    pub(crate) finish: bool,
    pub(crate) total: u32,
    pub(crate) checksum: u32,
}

pub(crate) const DEFLATE: u32 = 1;
pub(crate) const ZLIB: u32 = 2;
pub(crate) const GZIP: u32 = 3;

impl Job {
    /// A stateless request with flat buffers.
    pub(crate) fn new(kind: u32, input: usize, room: usize) -> Job {
        Job {
            kind,
            input: input as u32,
            room: room as u32,
            source: SOURCE,
            destination: DESTINATION,
            list: false,
            source_skip: 0,
            destination_skip: 0,
            context: 0,
            new: true,
            finish: true,
            total: 0,
            checksum: 0,
        }
    }

    pub(crate) fn entry(&self, revision: Revision, tag: u32) -> [u32; 32] {
        let mut dw = [0; 32];
        dw[4] = self.input;
        dw[7] = self.source_skip;
        dw[7] |= u32::from(self.finish) << 25;
        dw[7] |= u32::from(self.context != 0) << 26;
        dw[7] |= u32::from(self.new) << 27;
        dw[8] = self.destination_skip;
        dw[9] = self.kind | u32::from(self.list) << 8 | 4 << 12;
        match revision {
            Revision::V2 => dw[13] = tag,
            Revision::V3 => {
                dw[7] |= 3 << 28;
                dw[26] = tag;
                dw[27] = 0xffff_8000;
            }
        }
        dw[14] = self.room;
        (dw[18], dw[19]) = (self.source as u32, (self.source >> 32) as u32);
        (dw[20], dw[21]) = (self.destination as u32, (self.destination >> 32) as u32);
        (dw[22], dw[23]) = (self.context as u32, (self.context >> 32) as u32);
        dw[30] = self.total;
        dw[31] = self.checksum;
        dw
    }
}

/// Text that compresses, but not to nothing.
pub(crate) fn text(length: usize, seed: u64) -> Vec<u8> {
    let words: [&[u8]; 8] = [
        b"page ", b"fault ", b"stall ", b"resume ", b"queue ", b"the ", b"of a ", b"0x1f8b ",
    ];
    let mut state = seed | 1;
    let mut data = Vec::with_capacity(length + 8);
    while data.len() < length {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        data.extend_from_slice(words[(state >> 61) as usize]);
        if state >> 33 & 7 == 0 {
            data.push((state >> 40) as u8);
        }
    }
    data.truncate(length);
    data
}

/// Bytes that do not compress.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}
