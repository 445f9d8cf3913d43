//! What a fuzzer runs: the assembled machine with guests made of a fuzzer's bytes.
//!
//! [`run`] boots the same guest several times: left alone, interrupted at every point where a run can
//! be, and with checkers looking on. All of them must be the same run, and none may keep the host
//! waiting. The workspace in `fuzz/` has the libFuzzer binary; this crate's tests run the same
//! function on bytes of a seeded generator.

mod guest;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use arbitrary::{Result, Unstructured};
use stallbox_firmware::boot::EntryState;
use stallbox_machine::World;
use stallbox_machine::check::CheckConfig;
use stallbox_machine::config::{AcceleratorConfig, MachineConfig, Revision, TestEngineConfig};
use stallbox_machine::latency::{LatencyModel, Part};
use stallbox_machine::outcome::Outcome;
use stallbox_machine::vcpu::VcpuState;
use stallbox_timeline::Time;
use vm_memory::{Bytes, GuestAddress};

use crate::engine::{Engine, Watch, soft};
use guest::{Code, DOUBLE, Guest, MEMORY_BYTES, RAM, SHARED, WORD};

/// The host waits no longer than this for a look. It is promised 100 ms; the rest is for sanitizers
/// and for a host that has other things to do.
const GAP_MAX: Duration = Duration::from_millis(1500);
/// A run that takes longer, in host time, is left where it is: that is no mistake, but cannot be
/// compared.
const RUN_MAX: Duration = Duration::from_secs(2);

/// What came of a fuzzer's bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Instructions that the guest retired.
    pub instructions: u64,
    /// Commands that its SMMU executed.
    pub commands: u64,
    /// How often the host looked in, of the run that was interrupted wherever that can be.
    pub looks: u64,
    /// It came to its end in time, so that runs could be compared.
    pub compared: bool,
}

/// How a run is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looks {
    /// Now and then, as the host's clock has it.
    Sometimes,
    /// Wherever that is possible.
    Always,
    /// As [`Looks::Sometimes`], and by checkers.
    Checked,
}

/// What a run comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Course {
    outcome: Outcome,
    trace_hash: String,
    memory_hash: u64,
    vcpus: Vec<VcpuState>,
    instructions: Option<u64>,
    now: Time,
}

/// The host, in a hurry.
struct Host {
    always: bool,
    looks: u64,
    last: Instant,
    longest: Duration,
    end: Instant,
}

impl Watch for Host {
    fn look(&mut self, world: &World, _: &dyn Fn() -> Vec<VcpuState>) -> Option<Outcome> {
        let now = Instant::now();
        self.looks += 1;
        self.longest = self.longest.max(now - self.last);
        self.last = now;
        if self.always {
            world.timeline.yield_request().set();
        }
        if world.pause.is_paused() {
            return Some(Outcome::Quit);
        }
        (now >= self.end).then_some(Outcome::Timeout)
    }
}

/// A run, and how it was looked at.
struct Ran {
    course: Course,
    host: Host,
    commands: u64,
    reports: u32,
}

/// Runs `guest` until its machine is at `until`.
fn boot(machine: &MachineConfig, guest: &Guest, until: Time, looks: Looks) -> Ran {
    let mut machine = machine.clone();
    if looks == Looks::Checked {
        machine.check = CheckConfig::default();
        machine.check.add("tlb,stall=20").expect("checkers");
    }
    let engine = soft::Board::new(&machine).expect("a board");
    let world = engine.world(&machine, None, None).expect("a machine");
    world
        .ram
        .write_slice(guest.bytes(), GuestAddress(RAM))
        .expect("it fits");
    let entry = EntryState {
        pc: RAM,
        x: [0; 4],
        pstate: 0x3c5,
    };
    let mut vcpus = engine.vcpus(&world, &machine, &entry).expect("vCPUs");
    world.pause.run_until(until);
    let now = Instant::now();
    let mut host = Host {
        always: looks == Looks::Always,
        looks: 0,
        last: now,
        longest: Duration::ZERO,
        end: now + RUN_MAX,
    };
    let outcome = vcpus.run(&mut host).expect("the engine runs");
    let mut memory = vec![0; MEMORY_BYTES as usize];
    world
        .ram
        .read_slice(&mut memory, GuestAddress(RAM))
        .expect("RAM");
    let hash = |hash: u64, word: &[u8; 8]| {
        (hash ^ u64::from_le_bytes(*word)).wrapping_mul(0x0100_0000_01b3)
    };
    Ran {
        course: Course {
            outcome,
            trace_hash: world.tracer.summary().trace_hash,
            memory_hash: memory.as_chunks().0.iter().fold(0, hash),
            vcpus: vcpus.states(),
            instructions: vcpus.retired(),
            now: world.now(),
        },
        host,
        commands: world.smmu.counters().commands,
        reports: world.checkers.reports(),
    }
}

/// A machine without latencies, or with those that are built in.
fn machine(cpus: u8, latencies: bool) -> MachineConfig {
    let mut latency = LatencyModel::built_in();
    if !latencies {
        for part in Part::ALL {
            let none = format!("{}=fixed:0", part.name());
            latency.apply(&none).expect("a latency");
        }
    }
    MachineConfig {
        memory_bytes: MEMORY_BYTES,
        cpus,
        accelerator: Some(AcceleratorConfig::new(Revision::V3)),
        test_engine: Some(TestEngineConfig::default()),
        smmu_msi: true,
        latency,
        ..MachineConfig::default()
    }
}

/// Makes a guest of `data`, runs it, and tells what it came to. Bytes that are too few do nothing.
///
/// # Panics
///
/// If a run that is looked at is another run, or if the host waits too long for a look.
pub fn run(data: &[u8]) -> Option<Reached> {
    let bytes = &mut Unstructured::new(data);
    let (machine, guest, until) = scene(bytes).ok()?;
    let alone = boot(&machine, &guest, until, Looks::Sometimes);
    let looked_at = boot(&machine, &guest, until, Looks::Always);
    let checked = boot(&machine, &guest, until, Looks::Checked);
    for ran in [&alone, &looked_at, &checked] {
        let longest = ran.host.longest;
        assert!(longest <= GAP_MAX, "the host waited for {longest:?}");
    }
    let mut reached = Reached {
        instructions: alone.course.instructions.unwrap_or_default(),
        commands: alone.commands,
        looks: looked_at.host.looks,
        compared: false,
    };
    let in_time = |ran: &Ran| ran.course.outcome != Outcome::Timeout;
    if in_time(&alone) && in_time(&looked_at) {
        assert_eq!(alone.course, looked_at.course, "looking changed the run");
        reached.compared = true;
    }
    // Reports are in the trace.
    if in_time(&alone) && in_time(&checked) && checked.reports == 0 {
        assert_eq!(alone.course, checked.course, "a checker changed the run");
    }
    Some(reached)
}

/// Most things that one vCPU does, not counting repetitions.
const ACTS_MAX: usize = 40;

/// A guest, the machine that it runs on, and how long.
fn scene(bytes: &mut Unstructured<'_>) -> Result<(MachineConfig, Guest, Time)> {
    let cpus = *bytes.choose(&[1, 1, 2, 2, 4, 8])?;
    let machine = machine(cpus, bytes.ratio(1, 4)?);
    let until = Time::from_ns(bytes.int_in_range(5_000..=60_000)?);
    let mut code = Code::default();
    if bytes.ratio(7, 8)? {
        code.start_smmu();
    }
    if bytes.ratio(1, 2)? {
        code.start_its();
    }
    code.place_device(guest::ENGINE_CONFIG, guest::ENGINE_BARS);
    code.place_device(guest::ZIP_CONFIG, guest::ZIP_BARS);
    // CPACR_EL1.FPEN
    code.set(8, 3 << 20).word(0xd518_1048);
    for cpu in 1..cpus {
        code.start_cpu(cpu.into());
    }
    act(bytes, 0, &mut code)?;
    let mut guest = Guest::new(&code);
    for cpu in 1..cpus {
        let mut code = Code::default();
        act(bytes, cpu.into(), &mut code)?;
        guest.code(cpu.into(), &code);
    }
    guest.streams();
    memory(bytes, &mut guest)?;
    Ok((machine, guest, until))
}

/// What one vCPU does: accesses, alone and in loops, then a loop for ever.
fn act(bytes: &mut Unstructured<'_>, cpu: u64, code: &mut Code) -> Result<()> {
    // Where it writes down what it has seen.
    code.set(20, SHARED + 0x1000 * (cpu + 1)).set(21, SHARED);
    for _ in 0..bytes.int_in_range(1..=ACTS_MAX)? {
        if bytes.is_empty() {
            break;
        }
        if bytes.ratio(1, 3)? {
            let times = bytes.int_in_range(1..=64)?;
            let mut body = Code::default();
            access(bytes, &mut body)?;
            access(bytes, &mut body)?;
            code.repeat(times, 22, |code| code.0.extend(&body.0));
        } else {
            access(bytes, code)?;
        }
    }
    let mut body = Code::default();
    access(bytes, &mut body)?;
    code.forever(|code| {
        code.0.extend(&body.0);
        see(code);
    });
    Ok(())
}

/// Counts in a word that all vCPUs share, and writes down what it was.
fn see(code: &mut Code) {
    code.load(DOUBLE, 1, 21, 0).add(1, 1, 1);
    code.store(DOUBLE, 1, 21, 0).store(DOUBLE, 1, 20, 0);
}

/// One access to a register of a device or to memory that devices use, or an instruction that vCPUs
/// tell each other of.
fn access(bytes: &mut Unstructured<'_>, code: &mut Code) -> Result<()> {
    let address = address(bytes)?;
    let value = match bytes.int_in_range(0..=4)? {
        0 => bytes.int_in_range(0..=0xff)?,
        1 => 1 << bytes.int_in_range(0..=63)?,
        2 => 0x1000 | bytes.int_in_range(0..=0x1fff_u64)?,
        3 => RAM + bytes.int_in_range(0..=MEMORY_BYTES - 1)?,
        _ => bytes.arbitrary()?,
    };
    match bytes.int_in_range(0..=13)? {
        0..=5 => code.store_to(WORD, address & !3, value),
        6 => code.store_to(DOUBLE, address & !7, value),
        7 => code.load_from(WORD, address & !3),
        // STP, ST1 of four registers: one instruction, many accesses.
        8 => {
            code.set(9, address & !15).set(8, value);
            code.word(0xa900_0000 | 8 << 10 | 9 << 5 | 8)
        }
        9 => {
            code.set(9, address & !15);
            code.word(0x4c00_2800 | 9 << 5)
        }
        // TLBI VMALLE1IS, IC IALLUIS.
        10 => code.word(0xd508_831f),
        11 => code.word(0xd508_711f),
        // WFE.
        12 => code.word(0xd503_205f),
        _ => {
            see(code);
            code
        }
    };
    Ok(())
}

fn address(bytes: &mut Unstructured<'_>) -> Result<u64> {
    const SMMU_REGISTERS: [u64; 12] = [
        0x20, 0x50, 0x64, 0x80, 0x88, 0x90, 0x98, 0x98, 0x98, 0x9c, 0x1_00a8, 0x1_00ac,
    ];
    Ok(match bytes.int_in_range(0..=11)? {
        0..=3 => guest::SMMU + bytes.choose(&SMMU_REGISTERS)?,
        4 => guest::SMMU + bytes.int_in_range(0..=0xff)?,
        5 | 6 => guest::ITS + bytes.choose(&[0_u64, 0x80, 0x88, 0x88, 0x88, 0x90, 0x100])?,
        7 => guest::REDISTRIBUTORS + bytes.int_in_range(0..=0x1_ffff)?,
        8 => {
            let bar = *bytes.choose(&guest::ENGINE_BARS)?;
            bar + bytes.choose(&[0_u64, 0x1000])? + bytes.int_in_range(0..=0x3f)?
        }
        9 => {
            let bar = *bytes.choose(&guest::ZIP_BARS)?;
            bar + bytes.choose(&[0_u64, 0x300, 0x340, 0x1000])? + bytes.int_in_range(0..=0xff)?
        }
        10 => guest::COMMANDS + bytes.int_in_range(0..=0xffff)?,
        _ => {
            let config = *bytes.choose(&[guest::ENGINE_CONFIG, guest::ZIP_CONFIG])?;
            config + bytes.int_in_range(0..=0xff)?
        }
    })
}

/// What devices find in memory.
fn memory(bytes: &mut Unstructured<'_>, guest: &mut Guest) -> Result<()> {
    let mut commands = Vec::new();
    for _ in 0..bytes.int_in_range(1..=16)? {
        let opcode = *bytes.choose(&[
            0x01_u64, 0x02, 0x02, 0x03, 0x04, 0x05, 0x10, 0x11, 0x12, 0x30, 0x44, 0x45, 0x46, 0x46,
        ])?;
        let operand = u64::from(bytes.arbitrary::<u32>()?) << 32;
        // Streams of the table more often than not.
        let operand = if bytes.ratio(3, 4)? {
            operand & 0x1f_0000_0000
        } else {
            operand
        };
        let signal = if opcode == 0x46 { 1 << 12 } else { 0 };
        commands.extend([opcode | operand | signal, bytes.arbitrary()?]);
    }
    let times = (2 << guest::COMMANDS_LOG2) / commands.len();
    guest.words(guest::COMMANDS, &commands.repeat(times));

    let mut its = vec![0x09, 0, 1 << 63, 0];
    for _ in 0..bytes.int_in_range(1..=8)? {
        let opcode = *bytes.choose(&[1_u64, 3, 3, 4, 5, 8, 9, 0xa, 0xc, 0xd, 0xe, 0xf])?;
        let events = bytes.int_in_range(0..=15)?;
        let target = 1 << 63 | guest::ITS_TRANSLATIONS;
        its.extend([opcode | 8 << 32, 8192 << 32 | events, target, 0]);
    }
    let times = (guest::ITS_COMMANDS_BYTES as usize / 8) / its.len();
    guest.words(guest::ITS_COMMANDS, &its.repeat(times));
    if bytes.ratio(1, 2)? {
        guest.put(guest::LPI_CONFIG, &[0xa3; 0xe000]);
        guest.put(guest::LPI_PENDING, &[bytes.arbitrary()?; 0x2000]);
    }

    let mut ring = Vec::new();
    for _ in 0..bytes.int_in_range(1..=4)? {
        let opcode = bytes.int_in_range(1..=8_u64)?;
        let count = bytes.int_in_range(1..=3000_u64)?;
        let node = guest::ENGINE_NODE;
        ring.extend([opcode | count << 32, 0, node, node + 0x1000, 8, 0, 8, 8]);
    }
    guest.words(guest::ENGINE_RING, &ring.repeat(4));
    guest.words(guest::ENGINE_NODE, &[guest::ENGINE_NODE]);
    Ok(())
}
