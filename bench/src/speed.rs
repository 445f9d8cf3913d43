//! How fast the guest runs, and how soon it is up.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;
use stallbox_output::print;

use crate::Lab;
use crate::emulator::{Emulator, End, Interval, Programs};
use crate::guest::Guest;
use crate::report::Figure;
use crate::series::{Series, pairs};

/// A loop of `guest/loops.c`, and its iterations: to count its instructions, and for about a
/// second of an emulator that runs 100 million of them in it.
struct Loop {
    name: &'static str,
    counted: u64,
    timed: u64,
}

const LOOPS: [Loop; 4] = [
    Loop {
        name: "integer",
        counted: 1_000_000,
        timed: 10_000_000,
    },
    Loop {
        name: "memory",
        counted: 1_000_000,
        timed: 8_000_000,
    },
    Loop {
        name: "syscall",
        counted: 50_000,
        timed: 400_000,
    },
    Loop {
        name: "scatter",
        counted: 1_000_000,
        timed: 4_000_000,
    },
];

/// Rows of the table: a name, and which loops.
const ROWS: [(&str, &[usize]); 5] = [
    ("integer loop", &[0]),
    ("memory loop, 256 KiB", &[1]),
    ("system-call loop", &[2]),
    ("these three together", &[0, 1, 2]),
    ("memory loop, 4 MiB", &[3]),
];

type Clock = fn(&Interval) -> Duration;
const CLOCKS: [(&str, Clock); 2] = [("by the clock", |it| it.wall), ("by CPU time", |it| it.cpu)];

impl Loop {
    /// QEMU gets more to do: what the console takes must be as small a part of its time.
    fn iterations(&self, emulator: Emulator) -> u64 {
        match emulator {
            Emulator::Stallbox => self.timed,
            Emulator::Qemu => 8 * self.timed,
        }
    }
}

/// What is needed of `--summary`.
#[derive(Deserialize)]
struct Summary {
    instructions: u64,
}

/// The loops.
pub(crate) fn loops(lab: &Lab, rounds: u32) -> Result<Vec<Figure>> {
    let Lab { programs, guest } = lab;
    let each = instructions_each(programs, guest)?;
    let run = |emulator| -> Result<Vec<Interval>> {
        let arguments = LOOPS
            .iter()
            .map(|it| format!(" {} {}", it.name, it.iterations(emulator)));
        let command = format!("/bench/loops{}", arguments.collect::<String>());
        programs.run(emulator, guest, &command, None, |run| {
            let intervals = LOOPS.iter().map(|it| run.interval(it.name));
            Ok((intervals.collect::<Result<_>>()?, End::ByItself))
        })
    };
    let (ours, theirs) = pairs(rounds, || run(Emulator::Stallbox), || run(Emulator::Qemu))?;

    let mips = |emulator, runs: &[Vec<Interval>], which: &[usize], clock: Clock| -> Series {
        let count = |&at: &usize| each[at] * LOOPS[at].iterations(emulator) as f64;
        let millions: f64 = which.iter().map(count).sum::<f64>() / 1e6;
        let seconds = |intervals: &Vec<Interval>| {
            which
                .iter()
                .map(|&at| clock(&intervals[at]))
                .sum::<Duration>()
                .as_secs_f64()
        };
        runs.iter()
            .map(|intervals| millions / seconds(intervals))
            .collect()
    };
    let mut figures = Vec::new();
    for (row, which) in ROWS {
        for (name, clock) in CLOCKS {
            let ours = mips(Emulator::Stallbox, &ours, which, clock);
            let theirs = mips(Emulator::Qemu, &theirs, which, clock);
            let figure = Figure::new("speed", format!("{row}, {name}"), "guest MIPS", &ours);
            let figure = figure.beside(&programs.qemu_version, &theirs, &ours.over(&theirs));
            figures.push(if which.len() > 1 {
                figure.aim("> 100")
            } else {
                figure
            });
        }
    }
    Ok(figures)
}

/// Instructions of one iteration of each loop, ticks of the guest's kernel included: what a run
/// with it retires more than one without.
fn instructions_each(programs: &Programs, guest: &Guest) -> Result<Vec<f64>> {
    let count = |arguments: &str| {
        let summary = guest.path("summary.json");
        let command = format!("/bench/loops{arguments}");
        programs.run(Emulator::Stallbox, guest, &command, Some(&summary), |_| {
            Ok(((), End::ByItself))
        })?;
        instructions(&summary)
    };
    let nothing = count("")?;
    let each = LOOPS.iter().map(|it| {
        let all = count(&format!(" {} {}", it.name, it.counted))?;
        Ok(all.saturating_sub(nothing) as f64 / it.counted as f64)
    });
    let each: Vec<f64> = each.collect::<Result<_>>()?;
    for (of_loop, count) in LOOPS.iter().zip(&each) {
        print(format_args!(
            "{}: {count:.1} instructions an iteration\n",
            of_loop.name
        ))?;
    }
    Ok(each)
}

fn instructions(path: &Path) -> Result<u64> {
    let text = std::fs::read_to_string(path).context("the run left no summary")?;
    let summary: Summary = serde_json::from_str(&text).context("the run's summary")?;
    Ok(summary.instructions)
}

/// From the start of the process to the first line of the guest's command.
pub(crate) fn boot(lab: &Lab, rounds: u32) -> Result<Vec<Figure>> {
    let Lab { programs, guest } = lab;
    let boot = |emulator| {
        programs.run(emulator, guest, "echo @bench up", None, |run| {
            let up = run.expect("up")?;
            Ok((
                Interval {
                    wall: up.wall,
                    cpu: up.cpu,
                },
                End::ByItself,
            ))
        })
    };
    let (ours, theirs) = pairs(rounds, || boot(Emulator::Stallbox), || boot(Emulator::Qemu))?;
    let figure = |(name, clock): (&str, Clock)| {
        let series = |of: &[Interval]| of.iter().map(|it| clock(it).as_secs_f64()).collect();
        let (ours, theirs): (Series, Series) = (series(&ours), series(&theirs));
        Figure::new(
            "boot",
            format!("Linux {}, {name}", guest.kernel_version),
            "s",
            &ours,
        )
        .beside(&programs.qemu_version, &theirs, &theirs.over(&ours))
        .aim("< 3 s")
    };
    Ok(CLOCKS.into_iter().map(figure).collect())
}
