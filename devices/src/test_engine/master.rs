//! The function's bus master: the one way of queues and operations to memory. It cuts accesses to
//! the queue's size, paces and measures them, and knows whether the function may issue requests.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use stallbox_timeline::{Span, Time, Timeline};

use super::spec::HISTOGRAM_BUCKETS;
use super::translation::Translator;
use crate::atc::AtcEntry;
use crate::dma::{DmaAbort, DmaAttrs, DmaPort, Op, Pasid};
use crate::function::{DeviceNote, DeviceProbe, DeviceStep};
use crate::lease::{Lease, Revoked};
use crate::verdict::{DeviceAct, DmaAccess, Purpose};

/// Why an access did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DmaError {
    /// Refused by the memory system.
    Aborted(DmaAbort),
    /// Its task was called off.
    Revoked,
}

impl From<Revoked> for DmaError {
    fn from(_: Revoked) -> DmaError {
        DmaError::Revoked
    }
}

/// Latencies: how many, their sum and their extremes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Latency {
    pub(super) sum_ns: u64,
    /// 0 as long as there is none.
    pub(super) min_ns: u64,
    pub(super) max_ns: u64,
    any: bool,
}

impl Latency {
    fn record(&mut self, ns: u64) {
        self.sum_ns = self.sum_ns.wrapping_add(ns);
        self.min_ns = if self.any { self.min_ns.min(ns) } else { ns };
        self.max_ns = self.max_ns.max(ns);
        self.any = true;
    }
}

/// What a queue counts since it was enabled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) descriptors: u64,
    pub(super) errors: u64,
    pub(super) bytes_read: u64,
    pub(super) bytes_written: u64,
    pub(super) accesses: u64,
    pub(super) aborts: u64,
    pub(super) bad_doorbells: u64,
    pub(super) prefill_requested: u64,
    pub(super) prefill_present: u64,
    pub(super) access: Latency,
    pub(super) descriptor: Latency,
    pub(super) histogram: [u64; HISTOGRAM_BUCKETS],
}

impl Counters {
    /// In the order of the counters in a queue's page. Page requests are counted elsewhere.
    pub(super) fn words(&self, page_requests: u64) -> [u64; 16] {
        [
            self.descriptors,
            self.errors,
            self.bytes_read,
            self.bytes_written,
            self.accesses,
            self.aborts,
            page_requests,
            self.bad_doorbells,
            self.access.sum_ns,
            self.access.min_ns,
            self.access.max_ns,
            self.descriptor.sum_ns,
            self.descriptor.min_ns,
            self.descriptor.max_ns,
            self.prefill_requested,
            self.prefill_present,
        ]
    }

    fn access(&mut self, latency: Span) {
        let ns = latency.as_ns();
        self.accesses += 1;
        self.access.record(ns);
        let bucket = ns.checked_ilog2().unwrap_or(0) as usize;
        self.histogram[bucket.min(HISTOGRAM_BUCKETS - 1)] += 1;
    }

    pub(super) fn descriptor(&mut self, latency: Span, error: bool) {
        self.descriptors += 1;
        self.errors += u64::from(error);
        self.descriptor.record(latency.as_ns());
    }
}

/// The RATE register at work: data of one queue leaves and arrives no faster.
pub(super) struct Pace {
    /// 10^6 bytes a second, which is bytes a microsecond; 0 is no limit.
    rate: u32,
    free: Cell<Time>,
}

impl Pace {
    pub(super) fn new(rate: u32) -> Pace {
        Pace {
            rate,
            free: Cell::new(Time::ZERO),
        }
    }

    /// Takes the time of `bytes` behind all that was taken before; until when.
    fn take(&self, now: Time, bytes: usize) -> Time {
        if self.rate == 0 {
            return now;
        }
        let span = Span::from_ps(bytes as u64 * 1_000_000 / u64::from(self.rate));
        let from = self.free.get().max(now);
        self.free.set(from + span);
        from
    }
}

/// On whose behalf, and how.
#[derive(Clone)]
pub(super) struct Requester {
    pub(super) lease: Lease,
    pub(super) queue: u16,
    pub(super) pasid: Option<Pasid>,
    pub(super) access_log2: u32,
    pub(super) counters: Rc<RefCell<Counters>>,
    pub(super) pace: Rc<Pace>,
}

impl Requester {
    fn attrs(&self) -> DmaAttrs {
        self.pasid.map_or(DmaAttrs::REQUESTER, DmaAttrs::of)
    }

    /// How much of `left` bytes at `address` one access may carry: to the next boundary of the
    /// access size.
    fn piece(&self, address: u64, left: usize) -> usize {
        let size = 1u64 << self.access_log2;
        left.min((size - address % size) as usize)
    }
}

fn access(
    requester: &Requester,
    purpose: Purpose,
    address: u64,
    bytes: usize,
    write: bool,
) -> DmaAccess {
    DmaAccess {
        purpose,
        queue: Some(requester.queue),
        pasid: requester.pasid,
        address,
        bytes: bytes as u64,
        write,
    }
}

/// Tells the probe when an access is over.
struct InFlight<'a> {
    master: &'a Master,
    access: DmaAccess,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.master.probe.dma_ended(&self.access);
    }
}

pub(super) struct Master {
    pub(super) timeline: Timeline,
    pub(super) probe: Rc<dyn DeviceProbe>,
    dma: Rc<dyn DmaPort>,
    /// The same as `dma`, if the device translates addresses itself.
    translator: Option<Translator>,
    /// Bus Master Enable.
    enabled: Cell<bool>,
    /// PASID Enable.
    pasid_enabled: Cell<bool>,
    /// AtomicOp Requester Enable.
    atomics_enabled: Cell<bool>,
}

impl Master {
    pub(super) fn new(
        timeline: Timeline,
        probe: Rc<dyn DeviceProbe>,
        dma: Rc<dyn DmaPort>,
        translator: Option<Translator>,
    ) -> Master {
        let dma = match &translator {
            Some(translator) => translator.atc.clone(),
            None => dma,
        };
        Master {
            timeline,
            probe,
            dma,
            translator,
            enabled: Cell::new(false),
            pasid_enabled: Cell::new(false),
            atomics_enabled: Cell::new(false),
        }
    }

    pub(super) fn configure(&self, enabled: bool, pasid_enabled: bool, atomics_enabled: bool) {
        self.enabled.set(enabled);
        self.pasid_enabled.set(pasid_enabled);
        self.atomics_enabled.set(atomics_enabled);
    }

    pub(super) fn atomics_enabled(&self) -> bool {
        self.atomics_enabled.get()
    }

    /// The device asks for pages itself, and may.
    pub(super) fn may_request_pages(&self) -> bool {
        self.translator
            .as_ref()
            .is_some_and(Translator::may_request)
    }

    /// Page requests of an address space since power-on.
    pub(super) fn page_requests(&self, pasid: Option<Pasid>) -> u64 {
        let translator = self.translator.as_ref();
        translator.map_or(0, |translator| translator.page_requests(pasid))
    }

    pub(super) fn cached_translations(&self) -> Option<Vec<AtcEntry>> {
        let translator = self.translator.as_ref();
        translator.map(|translator| translator.atc.entries())
    }

    /// No queue uses `pasid` any more.
    pub(super) fn stop_pasid(&self, pasid: Pasid) {
        if let Some(translator) = &self.translator {
            translator.stop(pasid);
        }
    }

    /// Asks for translations ahead of use, if the device is to do so.
    pub(super) async fn prefill(
        &self,
        requester: &Requester,
        address: u64,
        bytes: u64,
        write: bool,
    ) -> Result<(), DmaError> {
        let Some(translator) = &self.translator else {
            return Ok(());
        };
        self.check(requester, address, write)?;
        let attrs = requester.attrs();
        let found = translator.prefill(attrs, address, bytes, write).await;
        {
            let mut counters = requester.counters.borrow_mut();
            counters.prefill_requested += found.requested;
            counters.prefill_present += found.present;
        }
        Ok(requester.lease.check()?)
    }

    pub(super) fn note(&self, note: DeviceNote) {
        self.probe.note(&note);
    }

    pub(super) async fn spend(
        &self,
        step: DeviceStep,
        requester: &Requester,
    ) -> Result<(), Revoked> {
        let span = self.probe.spend(step);
        let verdict = self.probe.on_step(step, requester.queue);
        verdict.spend(span, &self.timeline, &requester.lease).await
    }

    /// Sleeps until `until`, which may have passed.
    pub(super) async fn wait_until(&self, until: Time, lease: &Lease) -> Result<(), Revoked> {
        let span = until.since(self.timeline.now());
        self.timeline.sleep(span).await;
        lease.check()
    }

    /// Reads an entry of the submission ring.
    pub(super) async fn read_ring(
        &self,
        requester: &Requester,
        address: u64,
        buffer: &mut [u8],
    ) -> Result<(), DmaError> {
        self.access(requester, Purpose::Submission, address, Op::Read(buffer))
            .await
    }

    /// Writes an entry of the completion ring.
    pub(super) async fn write_ring(
        &self,
        requester: &Requester,
        address: u64,
        buffer: &[u8],
    ) -> Result<(), DmaError> {
        self.access(requester, Purpose::Completion, address, Op::Write(buffer))
            .await
    }

    /// One access.
    async fn access(
        &self,
        requester: &Requester,
        purpose: Purpose,
        address: u64,
        op: Op<'_>,
    ) -> Result<(), DmaError> {
        let write = op.is_write();
        let access = access(requester, purpose, address, op.bytes(), write);
        let _in_flight = self.issue(requester, access).await?;
        let asked = self.timeline.now();
        let result = self.dma.access(requester.attrs(), address, op).await;
        self.finish(requester, asked, write, result)
    }

    /// Reads data, an access at a time, no faster than the queue may.
    pub(super) async fn read(
        &self,
        requester: &Requester,
        address: u64,
        buffer: &mut [u8],
    ) -> Result<(), DmaError> {
        let mut done = 0;
        while done < buffer.len() {
            let at = address.wrapping_add(done as u64);
            let length = requester.piece(at, buffer.len() - done);
            self.pace(requester, length).await?;
            let piece = Op::Read(&mut buffer[done..done + length]);
            self.access(requester, Purpose::Data, at, piece).await?;
            requester.counters.borrow_mut().bytes_read += length as u64;
            done += length;
        }
        Ok(())
    }

    /// Writes data, likewise.
    pub(super) async fn write(
        &self,
        requester: &Requester,
        address: u64,
        buffer: &[u8],
    ) -> Result<(), DmaError> {
        let mut done = 0;
        while done < buffer.len() {
            let at = address.wrapping_add(done as u64);
            let length = requester.piece(at, buffer.len() - done);
            self.pace(requester, length).await?;
            let piece = Op::Write(&buffer[done..done + length]);
            self.access(requester, Purpose::Data, at, piece).await?;
            requester.counters.borrow_mut().bytes_written += length as u64;
            done += length;
        }
        Ok(())
    }

    /// FetchAdd of 4 or 8 bytes.
    pub(super) async fn fetch_add(
        &self,
        requester: &Requester,
        address: u64,
        operand: &[u8],
        before: &mut [u8],
    ) -> Result<(), DmaError> {
        self.pace(requester, operand.len()).await?;
        let op = Op::FetchAdd { operand, before };
        self.access(requester, Purpose::Data, address, op).await?;
        let mut counters = requester.counters.borrow_mut();
        counters.bytes_read += operand.len() as u64;
        counters.bytes_written += operand.len() as u64;
        Ok(())
    }

    async fn pace(&self, requester: &Requester, bytes: usize) -> Result<(), Revoked> {
        requester.lease.check()?;
        let until = requester.pace.take(self.timeline.now(), bytes);
        self.wait_until(until, &requester.lease).await
    }

    /// Without Bus Master Enable no request leaves the function, and without PASID Enable none with
    /// a prefix; sending it without one would let it reach the kernel's address space.
    fn check(&self, requester: &Requester, address: u64, write: bool) -> Result<(), DmaError> {
        requester.lease.check()?;
        if self.enabled.get() && (requester.pasid.is_none() || self.pasid_enabled.get()) {
            return Ok(());
        }
        Err(self.aborted(requester, write, DmaAbort { address }))
    }

    /// Asks the probe, and waits if it is told to.
    async fn issue(
        &self,
        requester: &Requester,
        access: DmaAccess,
    ) -> Result<InFlight<'_>, DmaError> {
        let DmaAccess { address, write, .. } = access;
        self.check(requester, address, write)?;
        let verdict = self.probe.on_dma(&access);
        let in_flight = InFlight {
            master: self,
            access,
        };
        if verdict.waited(&requester.lease).await? != DeviceAct::Go {
            return Err(self.aborted(requester, write, DmaAbort { address }));
        }
        Ok(in_flight)
    }

    fn finish(
        &self,
        requester: &Requester,
        asked: Time,
        write: bool,
        result: Result<(), DmaAbort>,
    ) -> Result<(), DmaError> {
        let latency = self.timeline.now().since(asked);
        requester.counters.borrow_mut().access(latency);
        result.map_err(|abort| self.aborted(requester, write, abort))?;
        Ok(requester.lease.check()?)
    }

    /// What an abort means for the task: nothing any more, if it was called off.
    fn aborted(&self, requester: &Requester, write: bool, abort: DmaAbort) -> DmaError {
        requester.counters.borrow_mut().aborts += 1;
        self.note(DeviceNote::DmaAborted {
            queue: Some(requester.queue),
            pasid: requester.pasid,
            address: abort.address,
            write,
        });
        match requester.lease.check() {
            Ok(()) => DmaError::Aborted(abort),
            Err(Revoked) => DmaError::Revoked,
        }
    }
}
