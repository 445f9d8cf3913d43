//! What fuzzers run: a guest that writes nonsense, made of a fuzzer's bytes.
//!
//! Each [`Target`] takes bytes and must come to an end: no panic, no hang, memory in proportion to
//! the bytes. Memory that nothing was written to is the fuzzer's too: it reads as the bytes, again
//! and again, so that every pointer that the guest makes up leads somewhere. The workspace in
//! `fuzz/` has the libFuzzer binaries; the crate's tests run the same functions on bytes of a seeded
//! generator.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use arbitrary::{Arbitrary, Result, Unstructured};
use stallbox_timeline::{Span, Timeline};

use crate::testing::{
    COMMAND_QUEUE, COMMANDS_LOG2, CONTEXT_TABLE, EVENT_QUEUE, EVENTS_LOG2, FixedProbe, Pulses, SID,
    STREAM_TABLE, TABLES, cd_sva, ste_nested, ste_stage1, ste_stage2,
};
use crate::{
    Access, AtsCompletion, Config, Counters, Endpoints, ExternalAbort, Granules, Httu,
    InvalidateCompletion, InvalidateRequest, Memory, PageRequest, PageResponse, Smmu, StallModel,
    Step, StreamId, SubstreamId, Transaction, TranslationRequest,
};

/// Where the page request queue is.
const PAGE_REQUEST_QUEUE: u64 = 0x6_0000_0000;

/// What is made of a fuzzer's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Commands, with accesses between them.
    Commands,
    /// A stream table entry and a context descriptor.
    Configuration,
    /// Translation tables of one or both stages, whose configuration is good.
    Tables,
    /// Writes to registers, in any order and of any width.
    Registers,
}

impl Target {
    /// All targets.
    pub const ALL: [Target; 4] = [
        Target::Commands,
        Target::Configuration,
        Target::Tables,
        Target::Registers,
    ];

    /// Runs the target on `data`, and tells what happened. Bytes that are too few, or describe no
    /// SMMU, do nothing.
    ///
    /// # Panics
    ///
    /// If the model does not keep its promises.
    pub fn run(self, data: &[u8]) -> Option<Counters> {
        self.attempt(&mut Unstructured::new(data)).ok()
    }

    fn attempt(self, bytes: &mut Unstructured<'_>) -> Result<Counters> {
        let config = config(bytes)?;
        if config.check().is_err() {
            return Err(arbitrary::Error::IncorrectFormat);
        }
        let mut guest = Guest::new(config, bytes)?;
        guest.start();
        // Bytes may come to their end before it does.
        match self {
            Target::Commands => commands(&guest, bytes),
            Target::Configuration => configuration(&guest, bytes),
            Target::Tables => tables(&guest, bytes),
            Target::Registers => registers(&mut guest, bytes),
        }
        .ok();
        guest.stop();
        Ok(guest.smmu.counters())
    }
}

/// An implementation: every choice that [`Config`] has.
fn config(bytes: &mut Unstructured<'_>) -> Result<Config> {
    let flags = <[bool; 16]>::arbitrary(bytes)?;
    let [
        stage1,
        stage2,
        hyp,
        vmid16,
        raz_wi,
        attr_perms_ovr,
        va_52,
        ds,
        stt,
        e0pd,
        ril,
        msi,
        k4,
        k64,
        ats,
        pri,
    ] = flags;
    let stall_model = *bytes.choose(&[
        StallModel::Both,
        StallModel::Both,
        StallModel::Terminate,
        StallModel::Stall,
    ])?;
    let httu = *bytes.choose(&[Httu::None, Httu::AccessFlag, Httu::Dirty, Httu::Dirty])?;
    // A small one has few features: seldom, or little gets as far as a translation.
    let (oas_bits, small) = *bytes.choose(&[
        (32, false),
        (40, true),
        (48, false),
        (48, false),
        (52, false),
    ])?;
    Ok(Config {
        stage1: stage1 || !stage2,
        stage2,
        hyp: hyp && stage1 && stage2,
        vmid16,
        asid16: !small,
        two_level_contexts: !small,
        two_level_streams: !small,
        sid_bits: if small { 6 } else { 16 },
        coherent: !small,
        sev: !small,
        httu,
        stall_model,
        stall_max: match stall_model {
            StallModel::Terminate => 0,
            _ => 2,
        },
        raz_wi,
        attr_perms_ovr,
        va_52,
        ds: ds && va_52,
        stt,
        e0pd,
        ril,
        msi,
        ats,
        pri: ats && pri,
        priq_log2: 2,
        pps: msi,
        oas_bits,
        granules: Granules { k4, k16: true, k64 },
        tlb_entries: 4,
        ste_cache_entries: 1,
        cd_cache_entries: 2,
        ..Config::default()
    })
}

/// Memory that is the fuzzer's bytes wherever nothing was written.
struct Noise {
    bytes: Vec<u8>,
    written: RefCell<BTreeMap<u64, u8>>,
}

impl Noise {
    fn store(&self, address: u64, words: &[u64]) {
        for (word, at) in words.iter().zip((address..).step_by(8)) {
            self.write(at, &word.to_le_bytes()).ok();
        }
    }

    fn at(&self, address: u64) -> u8 {
        let written = self.written.borrow().get(&address).copied();
        written.unwrap_or_else(|| match self.bytes.len() as u64 {
            0 => 0,
            // Pages differ, since the length is seldom a divisor of theirs.
            length => self.bytes[(address % length) as usize],
        })
    }
}

impl Memory for Noise {
    fn read(&self, address: u64, data: &mut [u8]) -> std::result::Result<(), ExternalAbort> {
        // A corner of it aborts.
        if address >> 20 == 0xdead {
            return Err(ExternalAbort);
        }
        for (byte, at) in data.iter_mut().zip(address..) {
            *byte = self.at(at);
        }
        Ok(())
    }

    fn write(&self, address: u64, data: &[u8]) -> std::result::Result<(), ExternalAbort> {
        if address >> 20 == 0xdead {
            return Err(ExternalAbort);
        }
        for (byte, at) in data.iter().zip(address..) {
            self.written.borrow_mut().insert(at, *byte);
        }
        Ok(())
    }
}

/// Endpoints of which some never complete an invalidation.
struct Careless;

impl Endpoints for Careless {
    fn invalidate(
        &self,
        _stream: StreamId,
        request: InvalidateRequest,
        completion: InvalidateCompletion,
    ) {
        if request.address & 0xf000 != 0x5000 {
            completion.done();
        }
    }

    fn page_response(&self, _stream: StreamId, response: PageResponse) {
        assert!(response.index < 512);
    }
}

struct Guest {
    smmu: Smmu,
    timeline: Timeline,
    memory: Rc<Noise>,
    /// Bytes that were handed out as memory are no limit to what is written.
    written_max: usize,
}

impl Guest {
    fn new(config: Config, bytes: &mut Unstructured<'_>) -> Result<Guest> {
        let length = bytes.int_in_range(0..=257_usize)?.min(bytes.len() / 2);
        let memory = Rc::new(Noise {
            bytes: bytes.bytes(length)?.to_vec(),
            written: RefCell::default(),
        });
        let probe = Rc::new(FixedProbe::default());
        if bool::arbitrary(bytes)? {
            for step in Step::ALL {
                probe.set(step, Span::from_ns(10));
            }
        }
        let timeline = Timeline::new();
        let smmu = Smmu::new(
            config,
            timeline.clone(),
            memory.clone(),
            Rc::new(Pulses::default()),
            probe,
        );
        smmu.connect(Rc::new(Careless));
        Ok(Guest {
            smmu,
            timeline,
            memory,
            written_max: 0,
        })
    }

    fn write32(&self, offset: u64, value: u32) {
        self.smmu.write(offset, &value.to_le_bytes());
    }

    fn write64(&self, offset: u64, value: u64) {
        self.smmu.write(offset, &value.to_le_bytes());
    }

    /// A driver's way to an SMMU that is enabled.
    fn start(&self) {
        self.write32(0x2c, 2);
        self.write64(0x80, STREAM_TABLE);
        self.write32(0x88, 16);
        self.write64(0x90, COMMAND_QUEUE | u64::from(COMMANDS_LOG2));
        self.write64(0xa0, EVENT_QUEUE | u64::from(EVENTS_LOG2));
        self.write64(0xc0, PAGE_REQUEST_QUEUE | 2);
        self.write32(0x50, 7);
        self.write32(0x20, 0x1f);
        self.run();
    }

    /// `address`, where the SMMU can reach it.
    fn reachable(&self, address: u64) -> u64 {
        address & ((1 << self.smmu.config().oas_bits) - 1)
    }

    /// Lets what is going on go on for a while.
    fn run(&self) {
        let until = self.timeline.now() + Span::from_us(2);
        self.timeline.advance_to(until);
    }

    fn command(&self, words: [u64; 2]) {
        let mut prod = [0; 4];
        self.smmu.read(0x98, &mut prod);
        let prod = u32::from_le_bytes(prod);
        let index = u64::from(prod) & ((1 << COMMANDS_LOG2) - 1);
        self.memory.store(COMMAND_QUEUE + 16 * index, &words);
        self.write32(0x98, prod.wrapping_add(1) & ((2 << COMMANDS_LOG2) - 1));
        self.run();
        // An error is acknowledged, and the command given up.
        let mut errors = [0; 8];
        self.smmu.read(0x60, &mut errors);
        let [gerror, _] = [0, 4].map(|at| {
            let mut word = [0; 4];
            word.copy_from_slice(&errors[at..at + 4]);
            u32::from_le_bytes(word)
        });
        self.memory.store(COMMAND_QUEUE + 16 * index, &[0x46, 0]);
        self.write32(0x64, gerror);
        // What was reported is read, and what was requested.
        for (prod, cons) in [(0x1_00a8, 0x1_00ac), (0x1_00c8, 0x1_00cc)] {
            let mut position = [0; 4];
            self.smmu.read(prod, &mut position);
            self.smmu.write(cons, &position);
        }
        self.run();
    }

    fn access(&self, transaction: Transaction) {
        let smmu = self.smmu.clone();
        let oas = self.smmu.config().oas_bits;
        smmu.try_translate(&transaction);
        self.timeline.spawn(async move {
            // The second time, it may be in the TLB.
            for _ in 0..2 {
                let Ok(translation) = smmu.translate(transaction).await else {
                    return;
                };
                assert!(translation.remaining > 0);
                assert!(translation.address >> oas == 0, "{translation:x?}");
            }
        });
        self.run();
    }

    /// The same by a function that translates addresses itself.
    fn access_translated(&self, transaction: Transaction) {
        let smmu = self.smmu.clone();
        let oas = self.smmu.config().oas_bits;
        let access = transaction.access;
        self.timeline.spawn(async move {
            let request = TranslationRequest {
                stream: transaction.stream,
                substream: transaction.substream,
                address: transaction.address,
                write: access.write,
                execute: access.instruction,
                privileged: access.privileged,
            };
            let completion = smmu.translation_request(request).await;
            let AtsCompletion::Success(range) = completion else {
                return;
            };
            assert!(range.address >> oas == 0, "{range:x?}");
            assert!((12..=64).contains(&range.size_log2), "{range:x?}");
            assert!(range.read || !range.execute, "{range:x?}");
            assert!(!range.write || access.write, "{range:x?}");
            if range.read || range.write {
                let address = range.address;
                let found = smmu.translated(Transaction {
                    address,
                    ..transaction
                });
                match found.await {
                    Ok(found) => assert_eq!(found.address, address),
                    // The PASID is not on it any more, and S1DSS may end what has none.
                    Err(_) => assert!(transaction.substream.is_some(), "{transaction:x?}"),
                }
            }
            smmu.page_request(PageRequest {
                stream: transaction.stream,
                substream: transaction.substream,
                address: transaction.address,
                read: !access.write,
                write: access.write,
                execute: access.instruction,
                privileged: access.privileged,
                last: transaction.address & 0x4000 == 0,
                index: transaction.address as u16,
            });
        });
        self.run();
    }

    /// Everything that is going on ends when the SMMU is disabled.
    fn stop(&self) {
        self.write32(0x20, 0);
        self.timeline
            .advance_to(self.timeline.now() + Span::from_ms(100));
        assert_eq!(self.smmu.outstanding_stalls(), []);
        assert_eq!(self.timeline.live_tasks(), 0);
        assert_eq!(self.timeline.next_event(), None);
        let written = self.memory.written.borrow().len();
        assert!(written <= 0x1_0000 + self.written_max, "{written} bytes");
    }
}

fn transaction(bytes: &mut Unstructured<'_>) -> Result<Transaction> {
    let [write, privileged, instruction] = <[bool; 3]>::arbitrary(bytes)?;
    let near = u64::from(u16::arbitrary(bytes)?);
    let address = match bytes.int_in_range(0..=9)? {
        0 => u64::arbitrary(bytes)?,
        1 => near | 0xffff << 48,
        _ => near,
    };
    Ok(Transaction {
        stream: match u8::arbitrary(bytes)? {
            0..8 => StreamId(u32::arbitrary(bytes)?),
            _ => StreamId(SID),
        },
        substream: match bytes.int_in_range(0..=15)? {
            ssid @ 0..=9 => Some(SubstreamId(ssid)),
            _ => None,
        },
        address,
        access: Access {
            write,
            privileged,
            instruction,
        },
    })
}

/// A stream table entry that may well be good, and the context descriptor of context 1.
fn good(guest: &Guest, bytes: &mut Unstructured<'_>) -> Result<()> {
    let config = guest.smmu.config();
    let (root, contexts) = (guest.reachable(TABLES), guest.reachable(CONTEXT_TABLE));
    let mut ste = match (config.stage1, config.stage2, bytes.int_in_range(0..=3)?) {
        (true, true, 0..=1) => ste_nested(contexts, 3, 7, root),
        (_, false, _) | (true, _, 2) => ste_stage1(contexts, 3),
        _ => ste_stage2(7, root),
    };
    let mut cd = cd_sva(1, root + 0x1000);
    // Sizes and granules, and whatever else is there, as they fall.
    let bits = u64::arbitrary(bytes)?;
    ste[1] |= bits & 1 << 28;
    if config.httu == Httu::Dirty {
        ste[2] |= bits << 55 & 3 << 55;
        cd[0] |= bits << 40 & 3 << 42;
    }
    if bits & 0x100 != 0 {
        let shape = u64::arbitrary(bytes)?;
        ste[2] = ste[2] & !(0xff << 32 | 3 << 46) | shape & (0x3f << 32 | 3 << 38 | 3 << 46);
        ste[3] |= shape & 0xc;
        cd[0] = cd[0] & !0xff | shape & 0xff;
        cd[2] |= shape & 1 << 58;
    }
    guest.memory.store(STREAM_TABLE + 64 * u64::from(SID), &ste);
    for context in 0..8 {
        guest.memory.store(contexts + 64 * context, &cd);
    }
    guest.command([0x04, 31]);
    Ok(())
}

fn commands(guest: &Guest, bytes: &mut Unstructured<'_>) -> Result<()> {
    good(guest, bytes)?;
    const OPCODES: [u64; 24] = [
        0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x10, 0x11, 0x12, 0x13, 0x20, 0x21, 0x22, 0x23, 0x28,
        0x2a, 0x30, 0x40, 0x41, 0x44, 0x45, 0x46, 0x46, 0x44,
    ];
    for _ in 0..64 {
        if bytes.is_empty() {
            break;
        }
        let made = transaction(bytes)?;
        guest.access(made);
        guest.access_translated(made);
        let [mut word0, word1] = <[u64; 2]>::arbitrary(bytes)?;
        if word0 & 0x80 == 0 {
            word0 = word0 & !0xff | *bytes.choose(&OPCODES)?;
        }
        if word1 & 1 << 63 == 0 {
            word0 = word0 & 0xffff_ffff | u64::from(SID) << 32;
        }
        guest.command([word0, word1]);
    }
    Ok(())
}

fn configuration(guest: &Guest, bytes: &mut Unstructured<'_>) -> Result<()> {
    for _ in 0..16 {
        if bytes.is_empty() {
            break;
        }
        good(guest, bytes)?;
        // A few words of either, whole or in part.
        for _ in 0..bytes.int_in_range(0..=4)? {
            let place = bytes.int_in_range(0..=15_u64)?;
            let word = match bool::arbitrary(bytes)? {
                true => u64::arbitrary(bytes)?,
                false => 1 << bytes.int_in_range(0..=63)?,
            };
            let base = if place < 8 {
                STREAM_TABLE + 64 * u64::from(SID)
            } else {
                guest.reachable(CONTEXT_TABLE) + 64
            };
            let at = base + 8 * (place & 7);
            let mut old = [0; 8];
            guest.memory.read(at, &mut old).ok();
            guest.memory.store(at, &[u64::from_le_bytes(old) ^ word]);
        }
        guest.command([0x04, 31]);
        for _ in 0..3 {
            let made = transaction(bytes)?;
            guest.access(made);
            guest.access_translated(made);
        }
    }
    Ok(())
}

fn tables(guest: &Guest, bytes: &mut Unstructured<'_>) -> Result<()> {
    good(guest, bytes)?;
    for _ in 0..64 {
        if bytes.is_empty() {
            break;
        }
        // Somewhere in the first tables, most often where the walk goes by.
        let index = match u8::arbitrary(bytes)? {
            index @ 0..64 => u64::from(index),
            other => u64::from(other & 1),
        };
        let page = u64::from(bytes.int_in_range(0..=7_u8)?) << 12;
        let at = guest.reachable(TABLES) + page + 8 * index;
        let next = guest.reachable(TABLES) + (u64::from(u8::arbitrary(bytes)? & 7) << 12);
        let kind = *bytes.choose(&[0, 1, 3, 3, 3, 3, 3])?;
        let descriptor = match u8::arbitrary(bytes)? {
            0..48 => u64::arbitrary(bytes)? & !3 | kind,
            bits => next | 0x440 | u64::from(bits & 3) << 6 | kind,
        };
        guest.memory.store(at, &[descriptor]);
        let made = transaction(bytes)?;
        guest.access(made);
        guest.access_translated(made);
        if u8::arbitrary(bytes)? & 3 == 0 {
            guest.command([0x30, 0]);
        }
    }
    Ok(())
}

fn registers(guest: &mut Guest, bytes: &mut Unstructured<'_>) -> Result<()> {
    good(guest, bytes)?;
    const OFFSETS: [u64; 20] = [
        0x20, 0x28, 0x2c, 0x44, 0x50, 0x64, 0x68, 0x80, 0x88, 0x90, 0x98, 0x9c, 0xa0, 0xb0, 0xc0,
        0xd0, 0x1_00a8, 0x1_00ac, 0x1_00c8, 0x1_00cc,
    ];
    for _ in 0..64 {
        if bytes.is_empty() {
            break;
        }
        let offset = match bool::arbitrary(bytes)? {
            true => *bytes.choose(&OFFSETS)?,
            false => u64::from(u32::arbitrary(bytes)? & 0x3_ffff),
        };
        let value = match bool::arbitrary(bytes)? {
            true => u64::arbitrary(bytes)?,
            false => u64::from(u8::arbitrary(bytes)?),
        };
        let width = *bytes.choose(&[4, 4, 8, 1, 3])?;
        guest.smmu.write(offset, &value.to_le_bytes()[..width]);
        guest.smmu.read(offset, &mut [0; 8][..width]);
        // A queue that is made large holds as much as it is made to.
        guest.written_max += 0x1_0000;
        let made = transaction(bytes)?;
        guest.access(made);
        guest.access_translated(made);
    }
    Ok(())
}
