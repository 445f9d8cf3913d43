//! What interrupts are in progress, for whoever looks at a machine that stands still. Looking changes
//! nothing: no configuration is read, no interrupt acknowledged.

use super::bank::Progress;
use super::spec::FIRST_SPI;
use super::{Gic, State};

/// LPIs of one CPU that are listed.
const LPIS_MAX: usize = 64;

/// An interrupt that is pending or active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterruptState {
    /// Its number.
    pub intid: u32,
    /// Pending.
    pub pending: bool,
    /// Active.
    pub active: bool,
    /// Enabled; unknown of an LPI whose configuration nobody has read.
    pub enabled: Option<bool>,
    /// Priority; lower is more urgent.
    pub priority: Option<u8>,
}

/// One CPU's interrupts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuInterrupts {
    /// `ICC_PMR_EL1`: an interrupt is signalled if its priority is below.
    pub priority_mask: u8,
    /// `ICC_RPR_EL1`: the priority of what is being handled, 0xff if nothing is.
    pub running_priority: u8,
    /// `ICC_IGRPEN1_EL1.Enable`: interrupts of group 1, which are all of Linux's, reach the CPU.
    pub group1_enabled: bool,
    /// IRQ is asserted to the CPU.
    pub irq: bool,
    /// SGIs, PPIs and LPIs of this CPU, and the SPIs that are routed to it.
    pub in_progress: Vec<InterruptState>,
    /// LPIs that are pending and not listed.
    pub more_lpis: usize,
}

impl Gic {
    /// What is in progress at a CPU; `None` if there is no such CPU.
    pub fn cpu_interrupts(&self, cpu: usize) -> Option<CpuInterrupts> {
        let irq = self.irq(cpu);
        self.0.state.borrow().cpu_interrupts(cpu, irq)
    }
}

impl State {
    fn cpu_interrupts(&self, cpu: usize, irq: bool) -> Option<CpuInterrupts> {
        let (redistributor, interface) = (self.redistributors.get(cpu)?, self.interfaces.get(cpu)?);
        let state = |intid, progress: Progress, priority| InterruptState {
            intid,
            pending: progress.pending,
            active: progress.active,
            enabled: Some(progress.enabled),
            priority: Some(priority),
        };
        let private = &redistributor.private;
        let own = private.in_progress();
        let mut in_progress: Vec<InterruptState> = own
            .map(|(intid, progress)| state(intid, progress, private.priority(intid)))
            .collect();
        let spis = &self.distributor.spis;
        let routed = spis.in_progress();
        let routed = routed.filter(|(index, _)| self.distributor.route(*index) == cpu as u64);
        in_progress.extend(
            routed
                .map(|(index, progress)| state(FIRST_SPI + index, progress, spis.priority(index))),
        );
        let lpis = redistributor.lpis.in_progress(LPIS_MAX);
        in_progress.extend(lpis.map(|(intid, config)| InterruptState {
            intid,
            pending: true,
            active: false,
            enabled: config.map(|config| config.enable()),
            priority: config.map(|config| config.priority()),
        }));
        Some(CpuInterrupts {
            priority_mask: interface.priority_mask(),
            running_priority: interface.running_priority(),
            group1_enabled: interface.enabled[1],
            irq,
            in_progress,
            more_lpis: redistributor.lpis.pending().saturating_sub(LPIS_MAX),
        })
    }
}
