//! MSI, doorbell and fault: the project's Linux guest runs `faultbench`, and the host's clock is read at each
//! event of the trace and around each MSI.
//!
//! faultbench waits in a loop, one operation at a time, so events of a kind do not overlap. What an
//! interval contains beside its step is the making of the trace's lines in it, a part of every run
//! and the same with both engines.

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use stallbox_devices::irq::IrqLine;
use stallbox_guest_images as guest_images;
use stallbox_machine::{InterruptController, World};
use stallbox_vmm::boot;
use stallbox_vmm::config::{EngineKind, GuestConfig};
use stallbox_vmm::engine;

use super::{Outside, machine, median};

/// One page in and at most one out in each operation: a fault for each that is absent.
const COMMAND: &str = "faultbench --ops 100 --bytes 4096 --no-count --quiet";
/// A guest that hangs. An emulated host needs some seconds for a run.
const LIMIT: Duration = Duration::from_secs(300);

/// A line of the trace, and when it was written.
type Line = (Instant, Vec<u8>);

/// The lines of a trace.
#[derive(Clone, Default)]
struct Stamped(Rc<RefCell<Vec<Line>>>);

impl Write for Stamped {
    /// The tracer writes a line at a time.
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().push((Instant::now(), line.to_vec()));
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An engine's interrupt controller, and nanoseconds of each of its MSIs.
struct Timed {
    inner: Rc<dyn InterruptController>,
    msis: RefCell<Vec<f64>>,
}

impl InterruptController for Timed {
    fn spi(&self, intid: u32) -> Rc<dyn IrqLine> {
        self.inner.spi(intid)
    }

    fn msi(&self, device_id: u32, event_id: u32) {
        let start = Instant::now();
        self.inner.msi(device_id, event_id);
        self.msis
            .borrow_mut()
            .push(nanoseconds(start, Instant::now()));
    }
}

fn nanoseconds(from: Instant, to: Instant) -> f64 {
    to.duration_since(from).as_nanos() as f64
}

/// One run: the median of each step.
pub(crate) fn measure(kind: EngineKind) -> Result<Vec<(&'static str, f64)>> {
    let image = guest_images::cached(&guest_images::source_root()?)
        .context("the guest image has not been built; `cargo xtask image` builds it")?;
    let mut initrd = vec![image.initrd];
    initrd.extend(image.overlays);
    let guest = GuestConfig {
        kernel: image.kernel,
        initrd,
        added: Vec::new(),
        bootargs: None,
        append: "quiet".to_owned(),
        command: Some(COMMAND.to_owned()),
    };
    let machine = machine(512 << 20)?;
    let engine = engine::open(kind, &machine)?;
    let mut platform = engine.platform();
    let interrupts = Rc::new(Timed {
        inner: platform.interrupts,
        msis: RefCell::default(),
    });
    platform.interrupts = interrupts.clone();
    let trace = Stamped::default();
    let mut world = World::new(&machine, platform, None, Some(Box::new(trace.clone())))?;
    engine.plug(&mut world);
    let entry = boot::load(&world, &machine, &guest)?;
    let mut vcpus = engine.vcpus(&world, &machine, &entry)?;
    let outcome = vcpus.run(&mut Outside::patient_for(LIMIT))?;
    ensure!(
        world.control.exit() == Some(0),
        "{COMMAND}: {outcome:?}, the guest's last lines: {:?}",
        world.console.last_lines()
    );
    let mut steps = vec![("MSI injection", interrupts.msis.take())];
    steps.extend(intervals(&trace.0.take())?);
    steps
        .into_iter()
        .map(|(step, ns)| {
            ensure!(!ns.is_empty(), "{step}: the run had none");
            Ok((step, median(ns)))
        })
        .collect()
}

/// From event to event.
fn intervals(trace: &[Line]) -> Result<Vec<(&'static str, Vec<f64>)>> {
    let [mut first_dma, mut fault, mut software] = [const { Vec::new() }; 3];
    let [mut doorbell, mut stall, mut record] = [None; 3];
    let end = |of: &mut Vec<f64>, start: &mut Option<Instant>, now| {
        of.extend(start.take().map(|start| nanoseconds(start, now)));
    };
    for (now, line) in trace {
        let now = *now;
        let event: Value = serde_json::from_slice(line).context("the trace")?;
        match event["event"].as_str() {
            Some("doorbell") => doorbell = Some(now),
            // The submission entry has been read.
            Some("job_started") => end(&mut first_dma, &mut doorbell, now),
            // The first of a transaction that faults again.
            Some("smmu_fault") if event["stalls"] == true => _ = stall.get_or_insert(now),
            Some("event_record") => record = Some(now),
            Some("resume") if event["retry"] == true => end(&mut software, &mut record, now),
            Some("device_fault") => end(&mut fault, &mut stall, now),
            _ => {}
        }
    }
    Ok(vec![
        ("doorbell to first DMA", first_dma),
        ("fault round trip", fault),
        ("... of it, event record to CMD_RESUME", software),
    ])
}
