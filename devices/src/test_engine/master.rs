//! The way of queues and operations to memory: it cuts accesses to the queue's size, paces and
//! measures them. The function's bus master makes them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use stallbox_timeline::{Span, Time};

use super::spec::HISTOGRAM_BUCKETS;
use super::translation::Translator;
use crate::atc::AtcEntry;
use crate::dma::{DmaAbort, DmaAttrs, Op, Pasid};
use crate::function::{self, BusMaster, DeviceStep, DmaError};
use crate::lease::{Lease, Revoked};
use crate::verdict::Purpose;

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

    /// As the bus master knows it.
    fn on_the_bus(&self, purpose: Purpose) -> function::Requester {
        function::Requester::function(&self.lease, Some(self.queue), purpose).with(self.attrs())
    }

    /// How much of `left` bytes at `address` one access may carry: to the next boundary of the
    /// access size.
    fn piece(&self, address: u64, left: usize) -> usize {
        let size = 1u64 << self.access_log2;
        left.min((size - address % size) as usize)
    }
}

pub(super) struct Master {
    pub(super) bus: Rc<BusMaster>,
    /// What the bus master's accesses go through, if the device translates addresses itself.
    translator: Option<Translator>,
}

impl Master {
    pub(super) fn new(bus: Rc<BusMaster>, translator: Option<Translator>) -> Master {
        Master { bus, translator }
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
        requester.lease.check()?;
        if !self.bus.allows(requester.pasid) {
            let on_the_bus = requester.on_the_bus(Purpose::Data);
            return Err(self.aborted(requester, &on_the_bus, write, DmaAbort { address }));
        }
        let attrs = requester.attrs();
        let found = translator.prefill(attrs, address, bytes, write).await;
        {
            let mut counters = requester.counters.borrow_mut();
            counters.prefill_requested += found.requested;
            counters.prefill_present += found.present;
        }
        Ok(requester.lease.check()?)
    }

    pub(super) async fn spend(
        &self,
        step: DeviceStep,
        requester: &Requester,
    ) -> Result<(), Revoked> {
        self.bus
            .spend(step, requester.queue, &requester.lease)
            .await
    }

    /// Sleeps until `until`, which may have passed.
    pub(super) async fn wait_until(&self, until: Time, lease: &Lease) -> Result<(), Revoked> {
        let span = until.since(self.bus.timeline.now());
        self.bus.timeline.sleep(span).await;
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
        let on_the_bus = requester.on_the_bus(purpose);
        let write = op.is_write();
        let refused = |abort| self.aborted(requester, &on_the_bus, write, abort);
        let _in_flight = self.bus.issue(&on_the_bus, address, &op, refused).await?;
        let asked = self.bus.timeline.now();
        let result = self.bus.perform(&on_the_bus, address, op).await;
        let latency = self.bus.timeline.now().since(asked);
        requester.counters.borrow_mut().access(latency);
        result.map_err(refused)?;
        Ok(requester.lease.check()?)
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
        let until = requester.pace.take(self.bus.timeline.now(), bytes);
        self.wait_until(until, &requester.lease).await
    }

    fn aborted(
        &self,
        requester: &Requester,
        on_the_bus: &function::Requester,
        write: bool,
        abort: DmaAbort,
    ) -> DmaError {
        requester.counters.borrow_mut().aborts += 1;
        self.bus.aborted(on_the_bus, write, abort)
    }
}
