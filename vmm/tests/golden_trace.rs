//! The trace of a small machine, byte for byte. What differs in it is a change that the changelog tells of.
//!
//! `SNAPSHOTS=overwrite cargo test -p stallbox --test golden_trace` writes it anew.

#![forbid(unsafe_code)]

mod driver;

use driver::{COMMAND_QUEUE, DATA, Do, Driver, ENGINE_PAGES, RINGS, TABLES, Trace, ZIP_BAR};
use snapbox::assert_data_eq;
use snapbox::data::{Data, DataFormat};
use stallbox_faultplan::Plan;
use stallbox_firmware::layout::{SERIAL0, SERIAL1, SMMU};
use stallbox_machine::World;
use stallbox_machine::config::{
    AcceleratorConfig, FaultMode, MachineConfig, Revision, TestEngineConfig,
};
use stallbox_machine::outcome::Outcome;
use stallbox_machine::vcpu::VcpuState;
use stallbox_smmu::testing::USER_RW;
use stallbox_vmm::engine::{Engine, Watch, soft};

const PLAN: &str = r#"
seed = 3

[[rule]]
name = "late"
at = "record"
match = { nth = 1 }
do = { delay = { dist = "uniform", min_ns = 1000, max_ns = 2000 }, evict_tlb = "all" }

[[rule]]
name = "nobody"
at = "marker"
match = { marker = "go" }
do = { raise_msi = 0 }
"#;

/// Looks on.
struct Idle;

impl Watch for Idle {
    fn look(&mut self, _world: &World, _: &dyn Fn() -> Vec<VcpuState>) -> Option<Outcome> {
        None
    }
}

/// Bytes for a serial port.
fn say(port: u64, text: &str) -> impl Iterator<Item = Do> {
    text.bytes().map(move |byte| Do::Store(port, byte.into()))
}

/// Two words of RAM.
fn put(address: u64, words: [u64; 2]) -> impl Iterator<Item = Do> {
    let halves = words
        .into_iter()
        .flat_map(|word| [word as u32, (word >> 32) as u32]);
    let at = (address..).step_by(4);
    at.zip(halves).map(|(at, half)| Do::Store(at, half))
}

/// The engine copies a page: its source is not there until it has faulted, its target never. Both faults
/// are answered, by a CMD_RESUME each.
fn program() -> Vec<Do> {
    const CMDQ_PROD: u64 = SMMU.base + 0x98;
    // CMDQ_0_OP of CMD_RESUME, CMDQ_RESUME_0_SID; CMDQ_RESUME_0_RESP: retry, abort.
    let resume = |response: u64| 0x44 | 16 << 32 | response << 12;
    let table = TABLES + 0x3000 + 8 * (DATA >> 12);
    let mut things: Vec<Do> = say(SERIAL1.base, "ready\n").collect();
    things.extend(say(SERIAL0.base, "Hello, \"world\"\n"));
    things.push(Do::Store(ENGINE_PAGES, 1));
    things.push(Do::Spin(50_000));
    things.extend(put(table, [(RINGS + 0x2000) | USER_RW, 0]));
    things.extend(put(COMMAND_QUEUE, [resume(1), 0]));
    things.push(Do::Store(CMDQ_PROD, 1));
    things.push(Do::Spin(50_000));
    things.extend(put(COMMAND_QUEUE + 16, [resume(2), 1]));
    // CMD_TLBI_NSNH_ALL; CMD_CFGI_STE_RANGE of all; a command that is none.
    things.extend(put(COMMAND_QUEUE + 32, [0x30, 0]));
    things.extend(put(COMMAND_QUEUE + 48, [0x04, 31]));
    things.extend(put(COMMAND_QUEUE + 64, [0xff, 0]));
    things.push(Do::Store(CMDQ_PROD, 5));
    things.extend(say(SERIAL1.base, "marker go\n"));
    things.push(Do::Spin(50_000));
    // A mailbox command whose context is not there, a register of the SMMU that is none.
    for (offset, value) in [(0, 1 << 13), (4, DATA as u32), (8, 0), (12, 0)] {
        things.push(Do::Store(ZIP_BAR + 0x300 + offset, value));
    }
    things.push(Do::Store(SMMU.base + 0x100, 7));
    things.push(Do::Spin(50_000));
    things.extend(say(SERIAL1.base, "exit 3\n"));
    things.push(Do::PowerOff);
    things
}

fn trace() -> String {
    let machine = MachineConfig {
        memory_bytes: 64 << 20,
        cpus: 1,
        accelerator: Some(AcceleratorConfig::new(Revision::V3)),
        test_engine: Some(TestEngineConfig::default()),
        plan: Plan::parse(PLAN).unwrap(),
        ..MachineConfig::default()
    };
    let trace = Trace::default();
    let engine = soft::Board::new(&machine).unwrap();
    let world = engine
        .world(&machine, None, Some(Box::new(trace.clone())))
        .unwrap();
    let driver = Driver(&world);
    driver.start_smmu(FaultMode::Stall);
    driver.start_functions();
    let entry = driver.start_program(&program());
    let mut vcpus = engine.vcpus(&world, &machine, &entry).unwrap();
    assert_eq!(vcpus.run(&mut Idle).unwrap(), Outcome::PowerOff);
    world.tracer.finish().unwrap();
    String::from_utf8(trace.0.take()).unwrap()
}

#[test]
fn a_small_machine_has_the_trace_that_it_had() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden_trace.jsonl");
    let golden = Data::read_from(path.as_ref(), Some(DataFormat::Text)).raw();
    assert_data_eq!(trace(), golden);
}
