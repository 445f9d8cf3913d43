//! The SVA test engine in this machine: its place, its latencies, its part of the trace and of fault
//! plans.

use std::rc::Rc;

use stallbox_devices::pcie::Slot;
use stallbox_devices::pcie::host::HostBridge;
use stallbox_devices::test_engine::{self, EngineNote, EngineProbe, EngineStep, TestEngine};
use stallbox_devices::verdict::{DeviceVerdict, DmaAccess, DoorbellWrite, StepVerdict};
use stallbox_faultplan::Point;
use stallbox_timeline::Span;
use stallbox_trace::{Event, Tracer};

use crate::check::Checkers;
use crate::config::{FaultMode, TestEngineConfig};
use crate::jobs::JobNote;
use crate::latency::{Latency, Part};
use crate::memory::Physical;
use crate::{AtcProbe, Faults, TEST_ENGINE, World};

impl World {
    pub(super) fn plug_test_engine(
        &self,
        config: TestEngineConfig,
        bridge: &HostBridge,
        memory: &Rc<Physical>,
        latency: &Rc<Latency>,
    ) -> Rc<TestEngine> {
        let slot = Slot {
            requester: TEST_ENGINE,
            dma: self.port(TEST_ENGINE, memory, latency),
        };
        let engine = test_engine::TestEngineConfig {
            fault: match config.fault {
                FaultMode::Stall => test_engine::FaultMode::Stall,
                FaultMode::Pri => test_engine::FaultMode::PageRequest {
                    prefill: config.prefill,
                },
            },
            queues: config.queues,
        };
        let probe = Rc::new(Probe {
            latency: latency.clone(),
            tracer: self.tracer.clone(),
            faults: self.faults.clone(),
            checkers: self.checkers.clone(),
        });
        let atc_probe = AtcProbe::new(TEST_ENGINE, latency.clone(), self.tracer.clone());
        let atc_probe = Rc::new(atc_probe.under(&self.faults));
        let function = TestEngine::new(engine, slot, self.timeline.clone(), probe, atc_probe);
        bridge.plug(TEST_ENGINE, function.clone());
        function
    }
}

struct Probe {
    latency: Rc<Latency>,
    tracer: Tracer,
    faults: Rc<Faults>,
    checkers: Rc<Checkers>,
}

impl Probe {
    const STREAM: u32 = TEST_ENGINE.0 as u32;
}

impl EngineProbe for Probe {
    fn spend(&self, step: EngineStep) -> Span {
        self.latency.draw(match step {
            EngineStep::Doorbell => Part::Doorbell,
            EngineStep::DescriptorFetch => Part::DescriptorFetch,
            EngineStep::CompletionWrite => Part::CompletionWrite,
        })
    }

    fn on_step(&self, step: EngineStep, queue: u16) -> StepVerdict {
        let point = match step {
            EngineStep::Doorbell => Point::Doorbell,
            EngineStep::DescriptorFetch => Point::DescriptorFetch,
            EngineStep::CompletionWrite => Point::CompletionWrite,
        };
        self.faults.on_device_step(Probe::STREAM, point, queue)
    }

    fn on_dma(&self, access: &DmaAccess) -> DeviceVerdict {
        self.faults.on_dma(Probe::STREAM, access)
    }

    fn dma_ended(&self, access: &DmaAccess) {
        self.faults.dma_ended(Probe::STREAM, access);
    }

    fn on_doorbell(&self, doorbell: &DoorbellWrite) -> DeviceVerdict {
        self.faults.on_doorbell(Probe::STREAM, doorbell)
    }

    fn on_msi(&self, vector: u16, queue: u16) -> DeviceVerdict {
        self.faults.on_msi(Probe::STREAM, vector, Some(queue))
    }

    fn on_register_write(&self, register: u32, value: u32) -> DeviceVerdict {
        self.faults
            .on_register_write(Probe::STREAM, register, value)
    }

    fn note(&self, note: &EngineNote) {
        let stream = Probe::STREAM;
        if let Some(job) = JobNote::of_test_engine(note) {
            self.faults.ledger().job(stream, &job);
            self.checkers.job(stream, &job);
        }
        self.tracer.emit(match *note {
            EngineNote::Doorbell { queue, tail } => Event::Doorbell {
                stream,
                queue,
                tail,
            },
            EngineNote::Started {
                queue,
                pasid,
                bytes,
                ..
            } => Event::JobStarted {
                stream,
                queue,
                pasid: pasid.map(|pasid| pasid.0),
                input_bytes: bytes,
            },
            EngineNote::Done {
                queue,
                status,
                read_bytes,
                written_bytes,
                ..
            } => Event::JobDone {
                stream,
                queue,
                status,
                consumed_bytes: read_bytes,
                produced_bytes: written_bytes,
            },
            ref other => Event::Device {
                stream,
                what: format!("{other:?}"),
            },
        });
    }
}
