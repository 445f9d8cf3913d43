//! Races of two vCPUs without Linux: round-robin has none of them, the other orders have.

#![forbid(unsafe_code)]

mod driver;

use driver::Trace;
use stallbox_firmware::boot::EntryState;
use stallbox_firmware::layout::{RAM_BASE, RTC};
use stallbox_machine::World;
use stallbox_machine::config::MachineConfig;
use stallbox_machine::outcome::Outcome;
use stallbox_machine::schedule::{Order, Schedule};
use stallbox_machine::vcpu::VcpuState;
use stallbox_vmm::engine::{Engine, Watch, soft};
use vm_memory::{Bytes, GuestAddress};

const FIRST: u64 = RAM_BASE + 0x1000;
const SECOND: u64 = RAM_BASE + 0x2000;
/// What they race for, whether the second has done, and what the first has seen.
const SHARED: u64 = RAM_BASE + 0x3000;
const LOCK: u64 = RAM_BASE + 0x3020;
const DONE: u64 = RAM_BASE + 0x3040;
const SEEN: u64 = RAM_BASE + 0x3080;

/// Half of the instructions between two accesses to what is shared.
const HALF: usize = 10;

/// Looks on; or asks for a look after each block of instructions.
struct Eager(bool);

impl Watch for Eager {
    fn look(&mut self, world: &World, _: &dyn Fn() -> Vec<VcpuState>) -> Option<Outcome> {
        if self.0 {
            world.timeline.yield_request().set();
        }
        None
    }
}

/// Instructions; x8 is the address of what is shared, x11 that of its lock, x12 a device's.
#[derive(Default)]
struct Code(Vec<u32>);

impl Code {
    fn words(mut self, words: &[u32]) -> Code {
        self.0.extend(words);
        self
    }

    /// MOVZ, MOVK, MOVK.
    fn set(self, register: u32, value: u64) -> Code {
        let half = |shift: u32| (value >> shift & 0xffff) as u32;
        self.words(&[
            0xd280_0000 | half(0) << 5 | register,
            0xf2a0_0000 | half(16) << 5 | register,
            0xf2c0_0000 | half(32) << 5 | register,
        ])
    }

    fn load(self, register: u32) -> Code {
        self.words(&[0xf940_0100 | register])
    }

    fn store(self, register: u32) -> Code {
        self.words(&[0xf900_0100 | register])
    }

    fn work(self) -> Code {
        self.words(&[0xd503_201f; HALF])
    }

    /// Other work, with a read of a device's register: ldr w5, [x12].
    fn window(self) -> Code {
        self.work().words(&[0xb940_0185]).work()
    }

    /// swpal w6, w7, [x11]; cbnz w7, back
    fn lock(self) -> Code {
        self.words(&[0xb8e6_8167, 0x35ff_ffe7])
    }

    /// stlr wzr, [x11]
    fn unlock(self) -> Code {
        self.words(&[0x889f_fd7f])
    }

    fn addresses(self) -> Code {
        let code = self.set(6, 1).set(8, SHARED).set(11, LOCK);
        code.set(12, RTC.base)
    }

    /// Starts the other vCPU and lets it come as far.
    fn first() -> Code {
        let start = Code::default()
            .set(0, 0xc400_0003)
            .set(1, 1)
            .set(2, SECOND)
            .words(&[0xd400_0002]);
        start.addresses().work()
    }

    fn second() -> Code {
        Code::default().addresses().work()
    }

    /// Waits for the other, keeps x1 and x2, and ends.
    fn end_first(self) -> Code {
        self.set(9, DONE)
            // yield; ldr x10, [x9]; cbz x10, back
            .words(&[0xd503_203f, 0xf940_012a, 0xb4ff_ffca])
            // ldr x3, [x8]
            .words(&[0xf940_0103])
            .set(9, SEEN)
            // stp x1, x2, [x9]; str x3, [x9, #16]
            .words(&[0xa900_0921, 0xf900_0923])
            .set(0, 0x8400_0008)
            .words(&[0xd400_0002])
    }

    fn end_second(self) -> Code {
        self.set(9, DONE)
            .set(10, 1)
            // str x10, [x9]; wfi; b back
            .words(&[0xf900_012a, 0xd503_207f, 0x17ff_ffff])
    }
}

/// Two vCPUs, and what tells from x1, x2 and the shared word that the race was lost.
struct Race {
    first: fn() -> Code,
    second: fn() -> Code,
    is_lost: fn([u64; 3]) -> bool,
}

/// Depth 2: each adds one, without a lock.
const LOST_UPDATE: Race = Race {
    first: || add(Code::first()).end_first(),
    second: || add(Code::second()).end_second(),
    is_lost: |[_, _, shared]| shared == 1,
};

fn add(code: Code) -> Code {
    // add x1, x1, #1
    code.load(1).window().words(&[0x9100_0421]).store(1)
}

/// Depth 2: each adds one, and lets go of the lock between reading and writing. The window has no access
/// to a device.
const LOCK_DROPPED: Race = Race {
    first: || add_with_lock(Code::first()).end_first(),
    second: || add_with_lock(Code::second()).end_second(),
    is_lost: |[_, _, shared]| shared == 1,
};

fn add_with_lock(code: Code) -> Code {
    let read = code.lock().load(1).unlock().work();
    read.words(&[0x9100_0421]).lock().store(1).unlock()
}

/// Depth 3: the second changes the word to 1 between two reads, and from 1 to 2 after both.
const TORN_READ: Race = Race {
    first: || Code::first().load(1).window().load(2).end_first(),
    second: || {
        let one = Code::second().set(1, 1).set(2, 2).store(1);
        one.window().store(2).end_second()
    },
    is_lost: |[before, after, _]| (before, after) == (0, 1),
};

struct Ran {
    lost: bool,
    trace: Vec<u8>,
    virtual_ps: u64,
    retired: Option<u64>,
}

fn run(race: &Race, order: Order, seed: u64, watch: &mut dyn Watch) -> Ran {
    let machine = MachineConfig {
        memory_bytes: 16 << 20,
        cpus: 2,
        schedule: Schedule {
            order,
            ..Schedule::default()
        },
        seed,
        ..MachineConfig::default()
    };
    let trace = Trace::default();
    let engine = soft::Board::new(&machine).unwrap();
    let sink = Box::new(trace.clone());
    let world = engine.world(&machine, None, Some(sink)).unwrap();
    for (at, code) in [(FIRST, (race.first)()), (SECOND, (race.second)())] {
        for (at, word) in (at..).step_by(4).zip(code.0) {
            world.ram.write_obj(word, GuestAddress(at)).unwrap();
        }
    }
    let entry = EntryState {
        pc: FIRST,
        x: [0; 4],
        pstate: 0x3c5,
    };
    let mut vcpus = engine.vcpus(&world, &machine, &entry).unwrap();
    assert_eq!(vcpus.run(watch).unwrap(), Outcome::PowerOff);
    world.tracer.finish().unwrap();
    let seen = [0, 8, 16].map(|at| world.ram.read_obj(GuestAddress(SEEN + at)).unwrap());
    Ran {
        lost: (race.is_lost)(seen),
        trace: trace.0.take(),
        virtual_ps: world.now().as_ps(),
        retired: vcpus.retired(),
    }
}

/// In how many of the runs it is lost.
fn lost(race: &Race, schedule: Order, seeds: u64) -> usize {
    (0..seeds)
        .filter(|&seed| run(race, schedule, seed, &mut Eager(false)).lost)
        .count()
}

const PCT_2: Order = Order::Pct {
    depth: 2,
    steps: 200,
};
const PCT_3: Order = Order::Pct {
    depth: 3,
    steps: 200,
};

#[test]
fn round_robin_loses_no_race() {
    for race in [&LOST_UPDATE, &LOCK_DROPPED, &TORN_READ] {
        assert_eq!(lost(race, Order::RoundRobin, 100), 0);
    }
}

#[test]
fn one_preemption_is_found() {
    for race in [&LOST_UPDATE, &LOCK_DROPPED] {
        for schedule in [Order::Random, Order::Points, PCT_2] {
            let lost = lost(race, schedule, 100);
            println!("{schedule}: {lost} of 100");
            assert!(lost > 1, "{schedule}: {lost} of 100");
        }
    }
}

#[test]
fn two_preemptions_are_found() {
    for schedule in [Order::Random, Order::Points, PCT_3] {
        let lost = lost(&TORN_READ, schedule, 1000);
        println!("{schedule}: {lost} of 1000");
        assert!(lost > 1, "{schedule}: {lost} of 1000");
    }
}

#[test]
fn looks_change_no_order() {
    for schedule in [Order::Random, Order::Points, PCT_3] {
        for seed in 0..20 {
            let [once, eager] =
                [false, true].map(|eager| run(&TORN_READ, schedule, seed, &mut Eager(eager)));
            assert_eq!(once.lost, eager.lost);
            assert_eq!(once.virtual_ps, eager.virtual_ps);
            assert_eq!(once.retired, eager.retired);
            assert!(once.trace == eager.trace);
        }
    }
}
