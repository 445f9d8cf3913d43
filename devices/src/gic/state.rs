//! All of the GIC's state in one place, and what changes it: wires, messages, registers.

use super::cpu_interface::{CpuInterface, Group, Pending};
use super::distributor::Distributor;
use super::its::{Its, Ran};
use super::redistributor::Redistributor;
use super::spec::{FIRST_LPI, FIRST_SPI, IccCtlr, IccSgir, REDISTRIBUTOR_BYTES, SPURIOUS, icc};
use super::{GicConfig, MAX_CPUS};

/// What a CPU sees of its interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Signals {
    /// Group 0.
    pub fiq: bool,
    /// Group 1.
    pub irq: bool,
}

/// The GIC.
pub(super) struct State {
    /// The distributor.
    pub distributor: Distributor,
    /// One for each CPU.
    pub redistributors: Vec<Redistributor>,
    /// One for each CPU.
    pub interfaces: Vec<CpuInterface>,
    /// The ITS.
    pub its: Its,
    /// CPUs whose most urgent interrupt must be found anew, a bit each.
    stale: u32,
}

impl State {
    /// A GIC after reset.
    pub(super) fn new(config: &GicConfig) -> State {
        let last = config.cpus - 1;
        let redistributor =
            |cpu| Redistributor::new(cpu, cpu == last, config.ram.clone(), config.lpi_id_bits);
        State {
            distributor: Distributor::new(config.spis),
            redistributors: (0..config.cpus).map(redistributor).collect(),
            interfaces: (0..config.cpus).map(|_| CpuInterface::new()).collect(),
            its: Its::new(config.ram.clone(), config.timeline.clone()),
            stale: 0,
        }
    }

    fn touch(&mut self, cpu: usize) {
        self.stale |= 1 << cpu;
    }

    fn touch_all(&mut self) {
        self.stale = (1 << self.interfaces.len()) - 1;
    }

    /// Brings every CPU's most urgent interrupt up to date and calls `visit` with what the CPUs
    /// that may have seen a change see now.
    pub(super) fn refresh(&mut self, mut visit: impl FnMut(usize, Signals)) {
        let stale = std::mem::take(&mut self.stale);
        for cpu in (0..self.interfaces.len()).filter(|cpu| stale >> cpu & 1 != 0) {
            self.interfaces[cpu].highest = self.highest_pending(cpu);
            let group = self.interfaces[cpu]
                .signalled()
                .map(|pending| pending.group);
            let signals = Signals {
                fiq: group == Some(Group::Zero),
                irq: group == Some(Group::One),
            };
            visit(cpu, signals);
        }
    }

    /// The most urgent interrupt that is forwarded to `cpu`, whatever the CPU masks or runs.
    fn highest_pending(&mut self, cpu: usize) -> Option<Pending> {
        let redistributor = &mut self.redistributors[cpu];
        if redistributor.asleep {
            return None;
        }
        let [enabled0, enabled1] = self.interfaces[cpu].enabled;
        let group0 = self.distributor.enable_grp0 && enabled0;
        let group1 = self.distributor.enable_grp1 && enabled1;
        let mut highest: Option<Pending> = None;
        let mut consider = |pending: Pending| {
            highest = Some(highest.map_or(pending, |other| other.min(pending)));
        };
        let group_of = |is_group1| if is_group1 { Group::One } else { Group::Zero };

        let private = &redistributor.private;
        private.for_each_candidate(group0, group1, |intid| {
            let group = group_of(private.is_group1(intid));
            consider(Pending {
                priority: private.priority(intid),
                intid,
                group,
            });
        });
        let spis = &self.distributor.spis;
        spis.for_each_candidate(group0, group1, |index| {
            // A route to a CPU that is not there keeps the interrupt pending for ever.
            if self.distributor.route(index) == cpu as u64 {
                let (intid, group) = (FIRST_SPI + index, group_of(spis.is_group1(index)));
                consider(Pending {
                    priority: spis.priority(index),
                    intid,
                    group,
                });
            }
        });
        // LPIs are always in group 1.
        if group1 && let Some((priority, intid)) = redistributor.lpis.highest() {
            consider(Pending {
                priority,
                intid,
                group: Group::One,
            });
        }
        highest
    }

    /// Wakes the redistributor of `cpu`, if there is one.
    pub(super) fn wake(&mut self, cpu: usize) {
        if let Some(redistributor) = self.redistributors.get_mut(cpu)
            && redistributor.asleep
        {
            redistributor.asleep = false;
            self.touch(cpu);
        }
    }

    /// Drives the wire of an SPI.
    pub(super) fn set_spi(&mut self, intid: u32, asserted: bool) {
        let index = intid - FIRST_SPI;
        if self.distributor.spis.set_line(index, asserted) {
            let cpu = self.distributor.route(index);
            if cpu < self.interfaces.len() as u64 {
                self.touch(cpu as usize);
            }
        }
    }

    /// Drives the wire of a PPI.
    pub(super) fn set_ppi(&mut self, cpu: usize, intid: u32, asserted: bool) {
        if self.redistributors[cpu].private.set_line(intid, asserted) {
            self.touch(cpu);
        }
    }

    /// A message of the device `device_id` reaches the ITS.
    pub(super) fn message(&mut self, device_id: u32, event_id: u32) {
        if let Some(cpu) = self
            .its
            .translate(device_id, event_id, &mut self.redistributors)
        {
            self.touch(cpu);
        }
    }

    /// Writes the bytes under `mask` of a distributor word.
    pub(super) fn write_distributor(&mut self, offset: u64, value: u32, mask: u32) {
        self.distributor.write(offset, value, mask);
        self.touch_all();
    }

    /// Writes the bytes under `mask` of a word of the redistributor region. Whether there is a register.
    pub(super) fn write_redistributor(&mut self, offset: u64, value: u32, mask: u32) -> bool {
        let cpu = (offset / REDISTRIBUTOR_BYTES) as usize;
        let Some(redistributor) = self.redistributors.get_mut(cpu) else {
            return false;
        };
        let offset = offset % REDISTRIBUTOR_BYTES;
        redistributor.write(offset, value, mask);
        let modelled = redistributor.read(offset).is_some();
        self.touch(cpu);
        modelled
    }

    /// Does the ITS's commands; what they do to interrupts shows when all are done.
    pub(super) fn run_its(&mut self) -> Ran {
        let ran = self.its.run_queue(&mut self.redistributors);
        if ran == Ran::All {
            self.touch_all();
        }
        ran
    }

    /// Reads a system register of the CPU interface; `None` if it cannot be read or is not there.
    pub(super) fn sysreg_read(&mut self, cpu: usize, register: u16) -> Option<u64> {
        let interface = self.interfaces.get(cpu)?;
        Some(match register {
            icc::PMR_EL1 => interface.priority_mask().into(),
            icc::IAR0_EL1 => self.acknowledge(cpu, Group::Zero).into(),
            icc::IAR1_EL1 => self.acknowledge(cpu, Group::One).into(),
            icc::HPPIR0_EL1 => highest_of(interface, Group::Zero).into(),
            icc::HPPIR1_EL1 => highest_of(interface, Group::One).into(),
            icc::BPR0_EL1 => interface.binary_point(Group::Zero).into(),
            icc::BPR1_EL1 => interface.binary_point(Group::One).into(),
            icc::AP0R0_EL1 => interface.active_priorities[0].into(),
            icc::AP1R0_EL1 => interface.active_priorities[1].into(),
            icc::RPR_EL1 => interface.running_priority().into(),
            icc::CTLR_EL1 => u32::from(interface.ctlr()).into(),
            // SRE, DFB and DIB are RAO/WI: no memory-mapped interface, nothing to bypass to.
            icc::SRE_EL1 => 7,
            icc::IGRPEN0_EL1 => interface.enabled[0].into(),
            icc::IGRPEN1_EL1 => interface.enabled[1].into(),
            _ => return None,
        })
    }

    /// Writes a system register of the CPU interface; `None` if it cannot be written or is not
    /// there.
    pub(super) fn sysreg_write(&mut self, cpu: usize, register: u16, value: u64) -> Option<()> {
        let interface = self.interfaces.get_mut(cpu)?;
        match register {
            icc::PMR_EL1 => interface.set_priority_mask(value),
            icc::BPR0_EL1 => interface.set_binary_point(Group::Zero, value),
            icc::BPR1_EL1 => interface.set_binary_point(Group::One, value),
            icc::AP0R0_EL1 => interface.active_priorities[0] = value as u32,
            icc::AP1R0_EL1 => interface.active_priorities[1] = value as u32,
            icc::CTLR_EL1 => interface.set_ctlr(IccCtlr::from(value as u32)),
            icc::SRE_EL1 => {}
            icc::IGRPEN0_EL1 => interface.enabled[0] = value & 1 != 0,
            icc::IGRPEN1_EL1 => interface.enabled[1] = value & 1 != 0,
            icc::EOIR0_EL1 => self.end_of_interrupt(cpu, Group::Zero, value),
            icc::EOIR1_EL1 => self.end_of_interrupt(cpu, Group::One, value),
            icc::DIR_EL1 => {
                // With EOImode 0 the write is UNPREDICTABLE: ignored.
                if interface.eoi_mode {
                    self.deactivate(cpu, value as u32 & 0xff_ffff);
                }
            }
            icc::SGI1R_EL1 => self.generate_sgi(cpu, value.into(), true),
            icc::ASGI1R_EL1 | icc::SGI0R_EL1 => self.generate_sgi(cpu, value.into(), false),
            _ => return None,
        }
        self.touch(cpu);
        Some(())
    }

    /// Reading `ICC_IAR<n>_EL1`.
    fn acknowledge(&mut self, cpu: usize, group: Group) -> u32 {
        let Some(Pending { intid, .. }) = self.interfaces[cpu].acknowledge(group) else {
            return SPURIOUS;
        };
        let redistributor = &mut self.redistributors[cpu];
        match intid {
            ..FIRST_SPI => redistributor.private.activate(intid),
            // LPIs have no active state.
            FIRST_LPI.. => _ = redistributor.lpis.clear_pending(intid),
            _ => self.distributor.spis.activate(intid - FIRST_SPI),
        }
        self.touch(cpu);
        intid
    }

    /// Writing `ICC_EOIR<n>_EL1`. One that does not match what runs is UNPREDICTABLE: ignored.
    fn end_of_interrupt(&mut self, cpu: usize, group: Group, value: u64) {
        let intid = value as u32 & 0xff_ffff;
        if !(self.is_wired(intid) || intid >= FIRST_LPI) {
            return;
        }
        let interface = &mut self.interfaces[cpu];
        if interface.drop_priority(group) && !interface.eoi_mode {
            self.deactivate(cpu, intid);
        }
    }

    fn is_wired(&self, intid: u32) -> bool {
        intid < FIRST_SPI + self.distributor.spis.len()
    }

    fn deactivate(&mut self, cpu: usize, intid: u32) {
        if intid < FIRST_SPI {
            self.redistributors[cpu].private.deactivate(intid);
        } else if self.is_wired(intid) {
            let index = intid - FIRST_SPI;
            self.distributor.spis.deactivate(index);
            // It may have been re-routed while it was handled.
            let target = self.distributor.route(index);
            if target < self.interfaces.len() as u64 {
                self.touch(target as usize);
            }
        }
    }

    /// Writing `ICC_SGI1R_EL1` and its siblings. Group 1's register reaches SGIs of either group, the
    /// other two only those of group 0 (*Use of control registers for SGI forwarding*).
    fn generate_sgi(&mut self, sender: usize, request: IccSgir, group1_too: bool) {
        let here = (request.aff3(), request.aff2(), request.aff1()) == (0, 0, 0);
        for cpu in 0..self.redistributors.len().min(MAX_CPUS) {
            let addressed = if request.irm() {
                cpu != sender
            } else {
                here && request.rs() == 0 && request.target_list() >> cpu & 1 != 0
            };
            let private = &mut self.redistributors[cpu].private;
            let intid = u32::from(request.intid());
            if addressed && (group1_too || !private.is_group1(intid)) {
                private.latch(intid);
                self.touch(cpu);
            }
        }
    }
}

/// `ICC_HPPIR<n>_EL1`.
fn highest_of(interface: &CpuInterface, group: Group) -> u32 {
    let highest = interface.highest.filter(|pending| pending.group == group);
    highest.map_or(SPURIOUS, |pending| pending.intid)
}
