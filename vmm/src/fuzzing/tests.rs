//! The fuzz target on bytes of a seeded generator, and guests that leave the host no time.

use rand_core::Rng;
use stallbox_faultplan::Plan;
use stallbox_timeline::seeded;

use super::guest::Hostile;
use super::*;

const EXECUTIONS: u64 = 40;

#[test]
fn any_guest_is_the_same_run_however_it_is_looked_at() {
    let mut all = Reached::default();
    let mut compared = 0;
    for seed in 0..EXECUTIONS {
        let mut bytes = vec![0; 200 + (seed as usize * 37) % 900];
        seeded(seed, "fuzz").fill_bytes(&mut bytes);
        let Some(reached) = run(&bytes) else { continue };
        all.instructions += reached.instructions;
        all.commands += reached.commands;
        all.looks += reached.looks;
        compared += u64::from(reached.compared);
    }
    // Nonsense that reaches nothing shows nothing.
    assert!(compared >= EXECUTIONS * 3 / 4, "{compared} {all:?}");
    assert!(all.instructions > 1_000_000, "{all:?}");
    assert!(all.commands > 10_000, "{all:?}");
    assert!(all.looks > 100_000, "{all:?}");
}

/// The longest that the host waits for a look while `guest` runs, of half a second.
fn longest_wait(machine: &MachineConfig, guest: &Guest) -> Duration {
    let engine = soft::Board::new(machine).unwrap();
    let world = engine.world(machine, None, None).unwrap();
    let ram = GuestAddress(RAM);
    world.ram.write_slice(guest.bytes(), ram).unwrap();
    let entry = EntryState {
        pc: RAM,
        x: [0; 4],
        pstate: 0x3c5,
    };
    let mut vcpus = engine.vcpus(&world, machine, &entry).unwrap();
    let now = Instant::now();
    let mut host = Host {
        always: false,
        looks: 0,
        last: now,
        longest: Duration::ZERO,
        end: now + Duration::from_millis(500),
    };
    assert_eq!(vcpus.run(&mut host).unwrap(), Outcome::Timeout);
    assert!(host.looks > 3, "{} looks", host.looks);
    host.longest
}

#[test]
fn no_guest_keeps_the_host_waiting() {
    for hostile in Hostile::ALL {
        let mut machine = machine(1, false);
        if hostile == Hostile::Spin {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("latency.toml");
            std::fs::write(&file, "instruction_ps = 1\n").unwrap();
            let option = file.to_str().unwrap().to_owned();
            machine.latency = LatencyModel::with(&[option]).unwrap();
        }
        let longest = longest_wait(&machine, &hostile.guest());
        assert!(longest <= GAP_MAX, "{hostile:?}: {longest:?}");
    }
}

#[test]
fn no_plan_keeps_the_host_waiting() {
    let mut machine = machine(1, false);
    machine.plan = Plan::parse(
        "[[rule]]\nat = 'time'\nmatch = { from_ns = 0, period_ns = 1 }\n\
         do = { touch = { stream = 8, address = 0, count = 65536 } }\n",
    )
    .unwrap_or_else(|error| panic!("{}", error.named("plan")));
    let longest = longest_wait(&machine, &Hostile::Spin.guest());
    assert!(longest <= GAP_MAX, "{longest:?}");
}

#[test]
fn a_hostile_guest_is_the_same_run_however_it_is_looked_at() {
    // Not until its end: what takes the host minutes is looked at as long as it takes.
    for (hostile, until) in [
        (Hostile::TlbInvalidations, 8_000),
        (Hostile::ConfigInvalidations, 8_000),
        (Hostile::ItsCommands, 15_000),
        (Hostile::Spin, 20_000),
    ] {
        let machine = machine(2, false);
        let (guest, until) = (hostile.guest(), Time::from_ns(until));
        let alone = boot(&machine, &guest, until, Looks::Sometimes);
        let looked_at = boot(&machine, &guest, until, Looks::Always);
        if alone.course.outcome == Outcome::Quit && looked_at.course.outcome == Outcome::Quit {
            assert_eq!(alone.course, looked_at.course, "{hostile:?}");
            assert!(looked_at.host.looks > 1000, "{hostile:?}");
        }
    }
}

/// A guest that touches no device has a present all the same, and can be stopped at any point of it.
#[test]
fn all_vcpus_run_up_to_the_time_that_was_asked_for() {
    for cpus in [1, 2, 4] {
        let mut code = Code::default();
        for cpu in 1..cpus {
            code.start_cpu(cpu);
        }
        code.forever(|_| ());
        let mut guest = Guest::new(&code);
        for cpu in 1..cpus {
            guest.code(cpu, Code::default().forever(|_| ()));
        }
        let until = Time::from_ns(123_457);
        let ran = boot(&machine(cpus as u8, true), &guest, until, Looks::Sometimes);
        assert_eq!(ran.course.outcome, Outcome::Quit);
        // 400 ps for an instruction; others are at most a slice ahead.
        let past = ran.course.now.since(until).as_ps();
        assert!(until <= ran.course.now && past < 400, "{past}");
        let instructions = ran.course.instructions.unwrap();
        let least = until.as_ps() / 400 * cpus;
        let most = least + 2_000_000 / 400 * cpus;
        assert!(
            (least - 200..most).contains(&instructions),
            "{instructions}"
        );
    }
}
