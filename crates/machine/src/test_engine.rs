//! The SVA test engine in this machine: its place and its configuration.

use std::rc::Rc;

use stallbox_devices::pcie::Slot;
use stallbox_devices::pcie::host::HostBridge;
use stallbox_devices::test_engine::{self, TestEngine};

use crate::accelerator_probe::AcceleratorProbe;
use crate::config::{FaultMode, TestEngineConfig};
use crate::latency::Latency;
use crate::memory::Physical;
use crate::{AtcProbe, TEST_ENGINE, World};

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
        let probe = Rc::new(AcceleratorProbe::new(
            TEST_ENGINE,
            latency.clone(),
            self.tracer.clone(),
            self.faults.clone(),
            self.checkers.clone(),
        ));
        let atc_probe = AtcProbe::new(TEST_ENGINE, latency.clone(), self.tracer.clone());
        let atc_probe = Rc::new(atc_probe.under(&self.faults));
        let function = TestEngine::new(engine, slot, self.timeline.clone(), probe, atc_probe);
        bridge.plug(TEST_ENGINE, function.clone());
        function
    }
}
