//! A world that is dropped leaves nothing behind.

mod driver;

use std::rc::Rc;

use driver::{DATA, Do, Driver, ENGINE_BAR, ENGINE_PAGES, Trace, ZIP_BAR};
use stallbox_faultplan::Plan;
use stallbox_firmware::layout::SMMU;
use stallbox_machine::World;
use stallbox_machine::check::CheckConfig;
use stallbox_machine::config::{
    AcceleratorConfig, FaultMode, MachineConfig, Revision, TestEngineConfig,
};
use stallbox_machine::outcome::Outcome;
use stallbox_machine::vcpu::VcpuState;
use stallbox_vmm::engine::{Engine, Watch, soft};

/// Accesses beside the devices' own, again and again, a translation that waits at a gate, and a
/// record that is delayed for longer than the test takes.
const PLAN: &str = r#"
[[rule]]
name = "touch"
at = "time"
match = { from_ns = 1000, period_ns = 1000 }
do = { touch = { stream = 8, pasid = 1, address = 0x6000 } }

[[rule]]
name = "aside"
at = "time"
match = { from_ns = 1500 }
do = { touch = { stream = 8, pasid = 1, address = 0x7000 } }

[[rule]]
name = "hold"
at = "translation"
match = { address = 0x7000 }
do = { gate = "never" }

[[rule]]
name = "late"
at = "record"
match = { nth = 1 }
do = { delay = 1_000_000_000 }
"#;

/// Ends the run at its second look.
#[derive(Default)]
struct Twice(u32);

impl Watch for Twice {
    fn look(&mut self, _world: &World, _: &dyn Fn() -> Vec<VcpuState>) -> Option<Outcome> {
        self.0 += 1;
        (self.0 > 2).then_some(Outcome::Quit)
    }
}

fn config(fault: FaultMode) -> MachineConfig {
    let mut check = CheckConfig::default();
    check.add("tlb,stall,dma").unwrap();
    MachineConfig {
        memory_bytes: 64 << 20,
        cpus: 2,
        accelerator: Some(AcceleratorConfig::new(Revision::V3)),
        test_engine: Some(TestEngineConfig {
            fault,
            ..TestEngineConfig::default()
        }),
        smmu_msi: true,
        plan: Plan::parse(PLAN).unwrap(),
        check,
        ..MachineConfig::default()
    }
}

/// Both devices wait for the kernel, which never answers, a plan and all checkers are at work.
fn dropped_with_everything_under_way(fault: FaultMode) {
    let machine = config(fault);
    let trace = Trace::default();
    let engine = soft::Board::new(&machine).unwrap();
    let world = engine
        .world(&machine, None, Some(Box::new(trace.clone())))
        .unwrap();
    let driver = Driver(&world);
    driver.start_smmu(fault);
    driver.start_functions();
    let entry = driver.start_program(&[
        // The engine's doorbell; then a mailbox command of the ZIP, whose context is not there.
        Do::Store(ENGINE_PAGES, 1),
        Do::Store(ZIP_BAR + 0x300, 1 << 13),
        Do::Store(ZIP_BAR + 0x304, DATA as u32),
        Do::Store(ZIP_BAR + 0x308, 0),
        Do::Store(ZIP_BAR + 0x30c, 0),
    ]);
    let mut vcpus = engine.vcpus(&world, &machine, &entry).unwrap();
    assert_eq!(vcpus.run(&mut Twice::default()).unwrap(), Outcome::Quit);
    world.tracer.finish().unwrap();

    let busy = driver.read32(ENGINE_BAR + 0x1004) & 2;
    assert_ne!(busy, 0, "the engine has nothing to do");
    assert_ne!(driver.read32(ZIP_BAR + 0x300) & 1 << 13, 0, "mailbox");
    let waiting = world.smmu.outstanding_stalls();
    assert!(waiting.iter().any(|it| it.transaction.stream.0 == 8));
    if fault == FaultMode::Pri {
        assert_ne!(driver.read32(SMMU.base + 0x1_00c8), 0, "page requests");
    } else {
        assert!(waiting.iter().any(|it| it.transaction.stream.0 == 16));
    }
    let gates = world.faults.gates().list();
    assert!(gates.iter().any(|gate| gate.waiting > 0));
    assert!(world.timeline.live_tasks() > 3);
    assert!(world.timeline.next_event().is_some());

    let ram = Rc::downgrade(&world.ram);
    let devices = Rc::downgrade(&world.devices);
    let faults = Rc::downgrade(&world.faults);
    let checkers = Rc::downgrade(&world.checkers);
    let timeline = world.timeline.clone();
    let traced = trace.0.borrow().len();
    drop(vcpus);
    drop(world);
    assert_eq!((timeline.live_tasks(), timeline.next_event()), (0, None));
    assert!(devices.upgrade().is_none(), "devices");
    assert!(faults.upgrade().is_none(), "the fault plan");
    assert!(checkers.upgrade().is_none(), "checkers");
    drop(engine);
    assert_eq!(ram.strong_count(), 0, "RAM has an owner");
    assert_eq!(trace.0.borrow().len(), traced, "the end is in the trace");
}

#[test]
fn a_dropped_world_frees_its_ram() {
    dropped_with_everything_under_way(FaultMode::Stall);
}

#[test]
fn a_dropped_world_with_page_requests_frees_its_ram() {
    dropped_with_everything_under_way(FaultMode::Pri);
}
