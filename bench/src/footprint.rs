//! Memory that an emulator has beyond its guest's.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::Lab;
use crate::emulator::{Emulator, End, MEMORY_BYTES};
use crate::report::Figure;
use crate::series::{Series, pairs};

/// Uses memory in the guest and, where there is one, the accelerator. The loop at the end keeps
/// the process there until it has been looked at.
const COMMAND: &str = "dd if=/dev/zero of=/tmp/file bs=1M count=100 2>/dev/null
if [ -e /dev/hisi_zip-0 ]; then faultbench --quiet || exit 1; fi
echo @bench up
/bench/loops integer 1000000000000";
const INTERVAL: Duration = Duration::from_millis(5);
const PATIENCE_MAX: Duration = Duration::from_secs(300);

/// Resident memory of a process in MiB.
#[derive(Clone, Copy, Debug)]
struct Resident {
    /// Beyond the guest's RAM, at most.
    beyond_max: f64,
    /// The guest's RAM, in the end.
    ram: f64,
}

/// Measures.
pub(crate) fn run(lab: &Lab, rounds: u32) -> Result<Vec<Figure>> {
    let Lab { programs, guest } = lab;
    let resident = |emulator| {
        programs.run(emulator, guest, COMMAND, None, |run| {
            let mut resident = Resident {
                beyond_max: 0.0,
                ram: 0.0,
            };
            for _ in 0..PATIENCE_MAX.as_millis() / INTERVAL.as_millis() {
                let mark = run.poll(INTERVAL)?;
                if let Some((all, ram)) = look(run.pid())? {
                    resident.beyond_max = resident.beyond_max.max(all - ram);
                    resident.ram = ram;
                }
                if mark.is_some() {
                    return Ok((resident, End::Now));
                }
            }
            anyhow::bail!("the guest is not done after {PATIENCE_MAX:?}")
        })
    };
    let (ours, theirs) = pairs(
        rounds,
        || resident(Emulator::Stallbox),
        || resident(Emulator::Qemu),
    )?;
    let series =
        |of: &[Resident], which: fn(&Resident) -> f64| -> Series { of.iter().map(which).collect() };
    let (beyond, of_peer) = (
        series(&ours, |it| it.beyond_max),
        series(&theirs, |it| it.beyond_max),
    );
    Ok(vec![
        Figure::new(
            "memory",
            "resident beyond guest RAM, at most",
            "MiB",
            &beyond,
        )
        .beside(&programs.qemu_version, &of_peer, &of_peer.over(&beyond))
        .aim("< 100 MiB"),
        Figure::new(
            "memory",
            "guest RAM touched, of 512",
            "MiB",
            &series(&ours, |it| it.ram),
        ),
    ])
}

/// What process `pid` has resident, and of that, what is its guest's RAM: in MiB. `None` before
/// the RAM has been mapped.
fn look(pid: u32) -> Result<Option<(f64, f64)>> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps")).context("cannot look at it")?;
    Ok(of_maps(&text))
}

fn of_maps(text: &str) -> Option<(f64, f64)> {
    let kib = |line: &str, name: &str| -> Option<u64> {
        line.strip_prefix(name)?
            .trim()
            .strip_suffix(" kB")?
            .parse()
            .ok()
    };
    let (mut size, mut all, mut ram) = (0, 0, None);
    for line in text.lines() {
        if let Some(of_this) = kib(line, "Size:") {
            size = of_this;
        } else if let Some(resident) = kib(line, "Rss:") {
            all += resident;
            // The kernel may have joined a neighbour to it.
            if size >= MEMORY_BYTES >> 10 {
                ram = Some(resident + ram.unwrap_or(0));
            }
        }
    }
    ram.map(|ram| (all as f64 / 1024.0, ram as f64 / 1024.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guests_ram_is_told_by_its_size() {
        let maps = "00400000-00500000 r-xp 00000000 08:01 1 /bin/stallbox
Size:               1024 kB
Rss:                 512 kB
7f00-7f01 rw-p 00000000 00:00 0
Size:             524288 kB
KernelPageSize:        4 kB
Rss:              102400 kB
";
        assert_eq!(of_maps(maps), Some((100.5, 100.0)));
        assert_eq!(of_maps("Size: 4 kB\nRss: 4 kB\n"), None);
    }
}
