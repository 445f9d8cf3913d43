//! An SMMU as the machine has it, on mapped memory as the machine has it, and just enough of a
//! driver.
//!
//! The driver of `stallbox_smmu::testing` keeps its memory word by word in a map, which would be
//! most of what is measured.

use std::cell::Cell;
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use stallbox_smmu::testing::{STAGE2_RW, USER_RW, cd_sva, ste_nested, ste_stage1};
use stallbox_smmu::{
    Access, Config, Endpoints, ExternalAbort, Interrupts, InvalidateCompletion, InvalidateRequest,
    Line, Memory, NoProbe, PageRequest, PageResponse, PageResponseCode, Smmu, StreamId,
    SubstreamId, Timeline, Transaction, TranslationRequest,
};
use stallbox_timeline::Notify;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

const SID: u32 = 8;
const ASID: u16 = 1;
const SSID: u32 = 1;

const STREAM_TABLE: u64 = 0x1_0000;
const CONTEXT_TABLE: u64 = 0x2_0000;
const COMMAND_QUEUE: u64 = 0x3_0000;
const EVENT_QUEUE: u64 = 0x4_0000;
const PAGE_REQUEST_QUEUE: u64 = 0x5_0000;
const QUEUE_LOG2: u32 = 7;
/// The tables of the address space: one each of levels 0 to 2, then those of level 3.
const TABLES: u64 = 0x10_0000;
const RAM_BYTES: usize = 64 << 20;
const PAGE: u64 = 0x1000;
/// Stage 2's tables: one each of levels 0 and 1, two of level 2.
const STAGE2: u64 = 0x200_0000;
const VMID: u16 = 1;
/// The context descriptors of many processes, as a power of two of them.
const CONTEXTS: u64 = 0x300_0000;
const CONTEXTS_LOG2: u64 = 14;
const BLOCK: u64 = 0x20_0000;
/// A page's descriptor says this frame and those that follow.
const FRAMES: u64 = 0x8000_0000;

/// The first address that has tables: of no special place in any of them.
pub(crate) const BASE: u64 = 0x5555_4000_0000;
/// How many pages from there on have tables.
pub(crate) const PAGES: u64 = 512 * 512;

/// The SMMU, its driver and their memory.
pub(crate) struct Rig {
    /// The SMMU.
    pub smmu: Smmu,
    /// Its timeline.
    pub timeline: Timeline,
    ram: Rc<Ram>,
    /// The driver's copies of CMDQ_PROD, EVENTQ_CONS and PRIQ_CONS.
    command_prod: Cell<u32>,
    event_cons: Cell<u32>,
    page_request_cons: Cell<u32>,
}

/// A device that asks for pages, one at a time.
#[derive(Default)]
pub(crate) struct Endpoint {
    answered: Cell<Option<PageResponseCode>>,
    changed: Notify,
}

impl Endpoint {
    /// The answer to the page request that was sent.
    pub(crate) async fn answer(&self) -> PageResponseCode {
        loop {
            if let Some(code) = self.answered.take() {
                return code;
            }
            self.changed.notified().await;
        }
    }
}

impl Endpoints for Endpoint {
    fn invalidate(&self, _: StreamId, _: InvalidateRequest, completion: InvalidateCompletion) {
        completion.done();
    }

    fn page_response(&self, _: StreamId, response: PageResponse) {
        self.answered.set(Some(response.code));
        self.changed.notify_all();
    }
}

/// What a device with ATS asks where [`transaction`] would be its access.
pub(crate) fn translation_request(address: u64) -> TranslationRequest {
    TranslationRequest {
        stream: StreamId(SID),
        substream: Some(SubstreamId(SSID)),
        address,
        write: true,
        execute: false,
        privileged: false,
    }
}

/// Its request for the page.
pub(crate) fn page_request(address: u64) -> PageRequest {
    PageRequest {
        stream: StreamId(SID),
        substream: Some(SubstreamId(SSID)),
        address,
        read: false,
        write: true,
        execute: false,
        privileged: false,
        last: true,
        index: 0,
    }
}

struct Ram(GuestMemoryMmap<()>);

impl Memory for Ram {
    fn read(&self, address: u64, data: &mut [u8]) -> Result<(), ExternalAbort> {
        // `read_slice` would do, but is made for reads across regions and costs twice as much.
        let slice = self.0.get_slice(GuestAddress(address), data.len());
        slice.map_err(|_| ExternalAbort)?.copy_to(data);
        Ok(())
    }

    fn write(&self, address: u64, data: &[u8]) -> Result<(), ExternalAbort> {
        let slice = self.0.get_slice(GuestAddress(address), data.len());
        slice.map_err(|_| ExternalAbort)?.copy_from(data);
        Ok(())
    }
}

struct Nobody;

impl Interrupts for Nobody {
    fn pulse(&self, _line: Line) {}
}

/// The transaction of the rig's process at `address`.
pub(crate) fn transaction(address: u64) -> Transaction {
    Transaction {
        stream: StreamId(SID),
        substream: Some(SubstreamId(SSID)),
        address,
        access: Access::WRITE,
    }
}

/// The transaction of process `number` at `address`; process 0 has SubstreamID 1.
pub(crate) fn transaction_of(number: u32, address: u64) -> Transaction {
    Transaction {
        substream: Some(SubstreamId(SSID + number)),
        ..transaction(address)
    }
}

/// The address of page `index`, counted from [`BASE`].
pub(crate) fn page(index: u64) -> u64 {
    BASE + index * PAGE
}

/// Where [`page`]`(index)` is mapped to.
pub(crate) fn frame(index: u64) -> u64 {
    FRAMES + index * PAGE
}

impl Rig {
    /// Enabled, with one process that has tables but no pages.
    pub(crate) fn new() -> Result<Rig> {
        Rig::of(Config::default())
    }

    /// [`Rig::new`], for a device with ATS and PRI.
    pub(crate) fn with_page_requests() -> Result<(Rig, Rc<Endpoint>)> {
        let rig = Rig::of(Config {
            ats: true,
            pri: true,
            ..Config::default()
        })?;
        // STE.EATS, and no CD.S: such a device does not stall.
        let mut ste = ste_stage1(CONTEXT_TABLE, 3);
        ste[1] |= 1 << 28;
        rig.store(STREAM_TABLE + 64 * u64::from(SID), &ste);
        let mut cd = cd_sva(ASID, TABLES);
        cd[0] &= !(1 << 44);
        rig.store(CONTEXT_TABLE + 64 * u64::from(SSID), &cd);
        rig.write64(0xc0, PAGE_REQUEST_QUEUE | 1 << 62 | u64::from(QUEUE_LOG2));
        rig.write32(0x50, 0x7);
        rig.write32(0x20, 0x1f);
        let endpoint = Rc::new(Endpoint::default());
        rig.smmu.connect(endpoint.clone());
        Ok((rig, endpoint))
    }

    fn of(config: Config) -> Result<Rig> {
        let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM_BYTES)])
            .context("cannot map the SMMU's memory")?;
        let (ram, timeline) = (Rc::new(Ram(ram)), Timeline::new());
        let smmu = Smmu::new(
            config,
            timeline.clone(),
            ram.clone(),
            Rc::new(Nobody),
            Rc::new(NoProbe),
        );
        let rig = Rig {
            smmu,
            timeline,
            ram,
            command_prod: Cell::new(0),
            event_cons: Cell::new(0),
            page_request_cons: Cell::new(0),
        };
        rig.store(
            STREAM_TABLE + 64 * u64::from(SID),
            &ste_stage1(CONTEXT_TABLE, 3),
        );
        rig.store(CONTEXT_TABLE + 64 * u64::from(SSID), &cd_sva(ASID, TABLES));
        rig.make_tables();
        rig.enable();
        Ok(rig)
    }

    /// [`Rig::new`], with stage 2 behind stage 1: everything is where it was, in blocks of 2 MiB.
    pub(crate) fn nested() -> Result<Rig> {
        let rig = Rig::new()?;
        rig.store(STAGE2, &[(STAGE2 + PAGE) | 3]);
        let tables = [(0, STAGE2 + 2 * PAGE), (FRAMES, STAGE2 + 3 * PAGE)];
        for (first, table) in tables {
            rig.store(STAGE2 + PAGE + 8 * (first >> 30), &[table | 3]);
            for block in 0..512 {
                let leaf = (first + block * BLOCK) | STAGE2_RW & !2;
                rig.store(table + 8 * block, &[leaf]);
            }
        }
        rig.store(
            STREAM_TABLE + 64 * u64::from(SID),
            &ste_nested(CONTEXT_TABLE, 3, VMID, STAGE2),
        );
        Ok(rig)
    }

    /// [`Rig::new`], with `count` processes that have an ASID each and share their tables.
    pub(crate) fn with_processes(count: u32) -> Result<Rig> {
        let rig = Rig::new()?;
        let ssids = SSID..SSID + count;
        ensure!(
            u64::from(ssids.end) <= 1 << CONTEXTS_LOG2,
            "more processes than there are contexts"
        );
        for ssid in ssids {
            let asid = u16::try_from(ssid).context("more processes than there are ASIDs")?;
            rig.store(CONTEXTS + 64 * u64::from(ssid), &cd_sva(asid, TABLES));
        }
        rig.store(
            STREAM_TABLE + 64 * u64::from(SID),
            &ste_stage1(CONTEXTS, CONTEXTS_LOG2),
        );
        Ok(rig)
    }

    fn store(&self, address: u64, words: &[u64]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.ram
            .0
            .write_slice(&bytes, GuestAddress(address))
            .expect("inside the rig's memory");
    }

    fn make_tables(&self) {
        let index = |level: u64| (BASE >> (39 - 9 * level)) & 0x1ff;
        for level in 0..2 {
            let table = TABLES + level * PAGE;
            self.store(table + 8 * index(level), &[(table + PAGE) | 3]);
        }
        for leaf in 0..PAGES / 512 {
            self.store(
                TABLES + 2 * PAGE + 8 * leaf,
                &[(TABLES + (3 + leaf) * PAGE) | 3],
            );
        }
    }

    /// What the Linux driver does, without what a fresh SMMU does not need.
    fn enable(&self) {
        self.write64(0x80, STREAM_TABLE | 1 << 62);
        self.write32(0x88, 8);
        self.write64(0x90, COMMAND_QUEUE | 1 << 62 | u64::from(QUEUE_LOG2));
        self.write64(0xa0, EVENT_QUEUE | 1 << 62 | u64::from(QUEUE_LOG2));
        self.write32(0x50, 0x5);
        self.write32(0x20, 0xd);
    }

    fn write32(&self, offset: u64, value: u32) {
        self.smmu.write(offset, &value.to_le_bytes());
    }

    fn write64(&self, offset: u64, value: u64) {
        self.smmu.write(offset, &value.to_le_bytes());
    }

    /// Maps page `index`.
    pub(crate) fn map(&self, index: u64) {
        self.descriptor(index, frame(index) | USER_RW);
    }

    /// Unmaps page `index`, without telling the SMMU.
    pub(crate) fn unmap(&self, index: u64) {
        self.descriptor(index, 0);
    }

    fn descriptor(&self, index: u64, value: u64) {
        let at = TABLES + 3 * PAGE + 8 * index;
        self.ram
            .0
            .write_obj(value, GuestAddress(at))
            .expect("inside the rig's memory");
    }

    /// CMD_TLBI_NH_ASID for the process.
    pub(crate) fn invalidate(&self) {
        self.command([0x11 | u64::from(ASID) << 48, 0]);
    }

    /// CMD_RESUME with a retry.
    pub(crate) fn resume(&self, stag: u16) {
        self.command([0x44 | 1 << 12 | u64::from(SID) << 32, stag.into()]);
    }

    fn command(&self, words: [u64; 2]) {
        let prod = self.command_prod.get();
        let at = COMMAND_QUEUE + 16 * u64::from(prod & ((1 << QUEUE_LOG2) - 1));
        self.ram
            .0
            .write_obj(words, GuestAddress(at))
            .expect("inside the rig's memory");
        self.command_prod.set((prod + 1) & ((2 << QUEUE_LOG2) - 1));
        self.write32(0x98, self.command_prod.get());
        self.timeline.run_ready();
    }

    /// Takes a record of a stall from the event queue: its tag, and where.
    pub(crate) fn stall(&self) -> Option<(u16, u64)> {
        let mut prod = [0; 4];
        self.smmu.read(0x1_00a8, &mut prod);
        let mask = (2 << QUEUE_LOG2) - 1;
        let cons = self.event_cons.get();
        if u32::from_le_bytes(prod) & mask == cons {
            return None;
        }
        let at = EVENT_QUEUE + 32 * u64::from(cons & (mask >> 1));
        let words: [u64; 4] = self
            .ram
            .0
            .read_obj(GuestAddress(at))
            .expect("inside the rig's memory");
        self.event_cons.set((cons + 1) & mask);
        self.write32(0x1_00ac, self.event_cons.get());
        let (stalled, stag) = (words[1] >> 31 & 1 == 1, words[1] as u16);
        stalled.then_some((stag, words[2]))
    }
    /// Takes a page request from its queue: its index, and where.
    pub(crate) fn page_request(&self) -> Option<(u16, u64)> {
        let mut prod = [0; 4];
        self.smmu.read(0x1_00c8, &mut prod);
        let mask = (2 << QUEUE_LOG2) - 1;
        let cons = self.page_request_cons.get();
        if u32::from_le_bytes(prod) & mask == cons {
            return None;
        }
        let at = PAGE_REQUEST_QUEUE + 16 * u64::from(cons & (mask >> 1));
        let words: [u64; 2] = self
            .ram
            .0
            .read_obj(GuestAddress(at))
            .expect("inside the rig's memory");
        self.page_request_cons.set((cons + 1) & mask);
        self.write32(0x1_00cc, self.page_request_cons.get());
        Some((words[1] as u16 & 0x1ff, words[1] & !0xfff))
    }

    /// CMD_PRI_RESP with Success and the process's PASID.
    pub(crate) fn respond(&self, index: u16) {
        let who = 1 << 11 | u64::from(SSID) << 12 | u64::from(SID) << 32;
        self.command([0x41 | who, u64::from(index) | 2 << 12]);
    }
}
