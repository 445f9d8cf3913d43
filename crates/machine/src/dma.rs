//! A function's port to memory: through the SMMU, a piece of a page at a time.

use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};

use stallbox_devices::dma::{
    AtsFunction, AtsPort, DmaAbort, DmaAttrs, DmaFuture, DmaPort, Op, PageRequest,
    TranslationFuture,
};
use stallbox_devices::pcie::RequesterId;
use stallbox_smmu::{
    Access, ExternalAbort, Smmu, StreamId, SubstreamId, Transaction, Translation,
    TranslationRequest,
};
use stallbox_timeline::{Span, Timeline};
use stallbox_trace::{Event, Hex, Tracer};

use crate::ats::{self, Functions};
use crate::latency::{Latency, Part};
use crate::memory::Physical;

/// One transaction carries at most this much (a common Max_Payload_Size).
const TRANSACTION_BYTES: usize = 256;

/// 256 bytes at 16 GB/s.
const LINK_SLOT: Span = Span::from_ns(16);

/// The StreamID is the requester ID, as `iommu-map` says; the SubstreamID is the PASID.
pub(crate) struct SmmuPort {
    requester: RequesterId,
    smmu: Smmu,
    memory: Rc<Physical>,
    timeline: Timeline,
    latency: Rc<Latency>,
    tracer: Tracer,
    /// Where functions that keep translations are found, if the machine offers ATS.
    functions: Option<Rc<Functions>>,
}

impl SmmuPort {
    pub(super) fn new(
        requester: RequesterId,
        smmu: Smmu,
        memory: Rc<Physical>,
        timeline: Timeline,
        latency: Rc<Latency>,
        tracer: Tracer,
        functions: Option<Rc<Functions>>,
    ) -> SmmuPort {
        SmmuPort {
            requester,
            smmu,
            memory,
            timeline,
            latency,
            tracer,
            functions,
        }
    }

    fn stream(&self) -> StreamId {
        StreamId(self.requester.0.into())
    }

    fn transaction(&self, attrs: DmaAttrs, address: u64, write: bool) -> Transaction {
        Transaction {
            stream: self.stream(),
            substream: attrs.pasid.map(|pasid| SubstreamId(pasid.0)),
            address,
            access: Access {
                write,
                privileged: attrs.privileged,
                instruction: attrs.execute && !write,
            },
        }
    }

    /// Translates the first byte at `address`, waiting as long as software takes. A wait for
    /// software is one device fault in the trace.
    async fn translate(
        &self,
        attrs: DmaAttrs,
        address: u64,
        write: bool,
    ) -> Result<Translation, DmaAbort> {
        let transaction = self.transaction(attrs, address, write);
        let asked = self.timeline.now();
        let outcome = self.smmu.translate(transaction).await;
        let stalls = match &outcome {
            Ok(translation) => translation.stalls,
            Err(aborted) => aborted.stalls,
        };
        if stalls > 0 {
            self.tracer.emit(Event::DeviceFault {
                stream: transaction.stream.0,
                pasid: attrs.pasid.map(|pasid| pasid.0),
                address: Hex(address),
                write,
                stalls,
                page_request_groups: 0,
                latency_ns: self.timeline.now().since(asked).as_ns(),
                aborted: outcome.is_err(),
            });
        }
        outcome.map_err(|_| DmaAbort { address })
    }

    /// Virtual time of moving `bytes`. Transactions of one access are pipelined: the first costs
    /// its latency, the others a slot on the link each.
    async fn spend(&self, bytes: usize) {
        let first = self.latency.draw(Part::Transaction);
        let others = (bytes.saturating_sub(1) / TRANSACTION_BYTES) as u64;
        self.timeline.sleep(first + LINK_SLOT * others).await;
    }

    /// Carries out what is translated. FetchAdd is atomic against every CPU.
    fn perform(&self, address: u64, op: Op<'_>) -> Result<(), ExternalAbort> {
        match op {
            Op::Read(buffer) => self.memory.read(address, buffer),
            Op::Write(buffer) => {
                let device_id = self.requester.0.into();
                self.memory.write_for(device_id, address, buffer)
            }
            Op::FetchAdd { operand, before } => self.memory.fetch_add(address, operand, before),
        }
    }

    /// The longest piece from `address` that one translation covers.
    fn piece(translation: &Translation, left: usize) -> usize {
        usize::try_from(translation.remaining)
            .unwrap_or(usize::MAX)
            .min(left)
    }
}

impl DmaPort for SmmuPort {
    fn access<'a>(&'a self, attrs: DmaAttrs, address: u64, mut op: Op<'a>) -> DmaFuture<'a> {
        Box::pin(async move {
            let bytes = op.bytes();
            self.spend(bytes).await;
            let mut done = 0;
            while done < bytes {
                let at = address.wrapping_add(done as u64);
                let aborted = DmaAbort { address: at };
                let translation = self.translate(attrs, at, op.is_write()).await?;
                let length = SmmuPort::piece(&translation, bytes - done);
                let part = op.part(done..done + length).ok_or(aborted)?;
                self.perform(translation.address, part)
                    .map_err(|_| aborted)?;
                done += length;
            }
            Ok(())
        })
    }

    fn ats(&self) -> Option<&dyn AtsPort> {
        self.functions.as_ref().map(|_| self as &dyn AtsPort)
    }
}

impl AtsPort for SmmuPort {
    fn translate(&self, attrs: DmaAttrs, address: u64, write: bool) -> TranslationFuture<'_> {
        Box::pin(async move {
            self.timeline
                .sleep(self.latency.draw(Part::AtsRequest))
                .await;
            let request = TranslationRequest {
                stream: self.stream(),
                substream: attrs.pasid.map(|pasid| SubstreamId(pasid.0)),
                address,
                write,
                execute: attrs.execute && !write,
                privileged: attrs.privileged,
            };
            ats::answer(self.smmu.translation_request(request).await)
        })
    }

    fn issue(&self, bytes: usize) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(self.spend(bytes))
    }

    fn access_translated<'a>(&'a self, attrs: DmaAttrs, address: u64, op: Op<'a>) -> DmaFuture<'a> {
        Box::pin(async move {
            let aborted = DmaAbort { address };
            let transaction = self.transaction(attrs, address, op.is_write());
            let checked = self.smmu.translated(transaction).await;
            let translation = checked.map_err(|_| aborted)?;
            self.perform(translation.address, op).map_err(|_| aborted)
        })
    }

    fn page_request(&self, request: PageRequest) {
        self.smmu
            .page_request(ats::page_request(self.stream(), request));
    }

    fn connect(&self, function: Weak<dyn AtsFunction>) {
        if let Some(functions) = &self.functions {
            functions.connect(self.stream(), function);
        }
    }
}
