//! The GIC as its driver sees it: offsets and bits are those of Linux 6.12's
//! `include/linux/irqchip/arm-gic-v3.h` and the sequences those of `drivers/irqchip/irq-gic-v3.c`
//! and `irq-gic-v3-its.c`, written out as numbers so that a slip in our own names shows.

mod hostile;
mod its;
mod wired;

use std::rc::Rc;

use stallbox_timeline::Timeline;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::{Gic, GicConfig};
use crate::GuestRam;
use crate::mmio::MmioDevice;

// System registers, as `arch/arm64/include/asm/sysreg.h` encodes them: op0, op1, CRn, CRm, op2.
const fn reg(op0: u16, op1: u16, crn: u16, crm: u16, op2: u16) -> u16 {
    (op0 << 14) | (op1 << 11) | (crn << 7) | (crm << 3) | op2
}
const PMR: u16 = reg(3, 0, 4, 6, 0);
const IAR0: u16 = reg(3, 0, 12, 8, 0);
const EOIR0: u16 = reg(3, 0, 12, 8, 1);
const HPPIR0: u16 = reg(3, 0, 12, 8, 2);
const BPR0: u16 = reg(3, 0, 12, 8, 3);
const AP0R0: u16 = reg(3, 0, 12, 8, 4);
const AP1R0: u16 = reg(3, 0, 12, 9, 0);
const AP1R1: u16 = reg(3, 0, 12, 9, 1);
const DIR: u16 = reg(3, 0, 12, 11, 1);
const RPR: u16 = reg(3, 0, 12, 11, 3);
const SGI1R: u16 = reg(3, 0, 12, 11, 5);
const SGI0R: u16 = reg(3, 0, 12, 11, 7);
const IAR1: u16 = reg(3, 0, 12, 12, 0);
const EOIR1: u16 = reg(3, 0, 12, 12, 1);
const HPPIR1: u16 = reg(3, 0, 12, 12, 2);
const BPR1: u16 = reg(3, 0, 12, 12, 3);
const CTLR: u16 = reg(3, 0, 12, 12, 4);
const SRE: u16 = reg(3, 0, 12, 12, 5);
const IGRPEN0: u16 = reg(3, 0, 12, 12, 6);
const IGRPEN1: u16 = reg(3, 0, 12, 12, 7);

const GICD_CTLR: u64 = 0x0000;
const GICD_TYPER: u64 = 0x0004;
const GICD_IGROUPR: u64 = 0x0080;
const GICD_ISENABLER: u64 = 0x0100;
const GICD_ICENABLER: u64 = 0x0180;
const GICD_ISPENDR: u64 = 0x0200;
const GICD_ICPENDR: u64 = 0x0280;
const GICD_ISACTIVER: u64 = 0x0300;
const GICD_ICACTIVER: u64 = 0x0380;
const GICD_IPRIORITYR: u64 = 0x0400;
const GICD_ICFGR: u64 = 0x0c00;
const GICD_IROUTER: u64 = 0x6000;
const PIDR2: u64 = 0xffe8;

const GICR_CTLR: u64 = 0x0000;
const GICR_TYPER: u64 = 0x0008;
const GICR_WAKER: u64 = 0x0014;
const GICR_PROPBASER: u64 = 0x0070;
const GICR_PENDBASER: u64 = 0x0078;
const GIC_V3_REDIST_SIZE: u64 = 0x2_0000;
const SGI_BASE: u64 = 0x1_0000;

const SPURIOUS: u64 = 1023;
/// `GICD_INT_DEF_PRI`, and the driver's `DEFAULT_PMR_VALUE`.
const DEF_PRI: u8 = 0xa0;
const DEFAULT_PMR: u64 = 0xf0;

const RAM_BYTES: usize = 4 << 20;

/// A GIC and what a driver needs to reach it.
struct Rig {
    gic: Gic,
    timeline: Timeline,
    ram: GuestRam,
    dist: Rc<dyn MmioDevice>,
    redist: Rc<dyn MmioDevice>,
    its: Rc<dyn MmioDevice>,
}

fn read32(device: &Rc<dyn MmioDevice>, offset: u64) -> u32 {
    let mut data = [0xee; 4];
    device.read(offset, &mut data);
    u32::from_le_bytes(data)
}

fn read64(device: &Rc<dyn MmioDevice>, offset: u64) -> u64 {
    let mut data = [0xee; 8];
    device.read(offset, &mut data);
    u64::from_le_bytes(data)
}

fn write32(device: &Rc<dyn MmioDevice>, offset: u64, value: u32) {
    device.write(offset, &value.to_le_bytes());
}

fn write64(device: &Rc<dyn MmioDevice>, offset: u64, value: u64) {
    device.write(offset, &value.to_le_bytes());
}

impl Rig {
    /// A GIC after reset.
    fn reset(cpus: usize) -> Rig {
        let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), RAM_BYTES)]);
        let ram = GuestRam::new(memory.expect("a few MiB"));
        let timeline = Timeline::new();
        let gic = Gic::new(GicConfig {
            cpus,
            spis: 256,
            lpi_id_bits: 16,
            ram: ram.clone(),
            timeline: timeline.clone(),
        });
        let (dist, redist, its) = (gic.distributor(), gic.redistributors(), gic.its());
        Rig {
            gic,
            timeline,
            ram,
            dist,
            redist,
            its,
        }
    }

    /// As the driver leaves it: `gic_dist_init`, then `gic_cpu_init` on each CPU.
    fn booted(cpus: usize) -> Rig {
        let rig = Rig::reset(cpus);
        let lines = ((read32(&rig.dist, GICD_TYPER) & 0x1f) + 1) * 32;
        write32(&rig.dist, GICD_CTLR, 0);
        for i in (32..u64::from(lines)).step_by(32) {
            write32(&rig.dist, GICD_IGROUPR + i / 8, !0);
        }
        for i in (32..u64::from(lines)).step_by(16) {
            write32(&rig.dist, GICD_ICFGR + i / 4, 0);
        }
        for i in (32..u64::from(lines)).step_by(4) {
            write32(&rig.dist, GICD_IPRIORITYR + i, 0xa0a0_a0a0);
        }
        for i in (32..u64::from(lines)).step_by(32) {
            write32(&rig.dist, GICD_ICACTIVER + i / 8, !0);
            write32(&rig.dist, GICD_ICENABLER + i / 8, !0);
        }
        // ARE_NS, ENABLE_G1A, ENABLE_G1.
        write32(&rig.dist, GICD_CTLR, 1 << 4 | 1 << 1 | 1);
        assert_eq!(read32(&rig.dist, GICD_CTLR) >> 31, 0, "RWP");
        for i in 32..u64::from(lines) {
            write64(&rig.dist, GICD_IROUTER + i * 8, 0);
        }
        (0..cpus).for_each(|cpu| rig.cpu_init(cpu));
        rig
    }

    /// `gic_cpu_init` and `gic_cpu_sys_reg_init`.
    fn cpu_init(&self, cpu: usize) {
        let rd = self.rd(cpu);
        let waker = read32(&self.redist, rd + GICR_WAKER);
        assert_eq!(waker, 0, "firmware woke it");
        write32(&self.redist, rd + GICR_WAKER, waker & !0b10);
        assert_eq!(
            read32(&self.redist, rd + GICR_WAKER) & 0b100,
            0,
            "ChildrenAsleep"
        );
        let sgi = rd + SGI_BASE;
        write32(&self.redist, sgi + GICD_IGROUPR, !0);
        write32(&self.redist, sgi + GICD_ICACTIVER, !0);
        write32(&self.redist, sgi + GICD_ICENABLER, 0xffff_0000);
        write32(&self.redist, sgi + GICD_ISENABLER, 0x0000_ffff);
        for i in (0..32).step_by(4) {
            write32(&self.redist, sgi + GICD_IPRIORITYR + i, 0xa0a0_a0a0);
        }
        self.set(cpu, SRE, self.get(cpu, SRE) | 1);
        self.set(cpu, PMR, DEFAULT_PMR);
        self.set(cpu, BPR1, 0);
        self.set(cpu, CTLR, 0);
        self.set(cpu, AP0R0, 0);
        self.set(cpu, AP1R0, 0);
        self.set(cpu, IGRPEN1, 1);
    }

    /// Offset of a CPU's `RD_base`.
    fn rd(&self, cpu: usize) -> u64 {
        cpu as u64 * GIC_V3_REDIST_SIZE
    }

    fn get(&self, cpu: usize, register: u16) -> u64 {
        self.gic
            .sysreg_read(cpu, register)
            .expect("a readable register")
    }

    fn set(&self, cpu: usize, register: u16, value: u64) {
        self.gic
            .sysreg_write(cpu, register, value)
            .expect("a writable register");
    }

    /// Unmasks an SPI or a private interrupt of CPU 0.
    fn enable(&self, intid: u32) {
        let (device, offset) = if intid < 32 {
            (&self.redist, SGI_BASE + GICD_ISENABLER)
        } else {
            (&self.dist, GICD_ISENABLER + u64::from(intid / 32 * 4))
        };
        write32(device, offset, 1 << (intid % 32));
    }

    /// Makes an SPI edge-triggered.
    fn set_edge(&self, intid: u32) {
        let offset = GICD_ICFGR + u64::from(intid / 16 * 4);
        let config = read32(&self.dist, offset) | 0b10 << (intid % 16 * 2);
        write32(&self.dist, offset, config);
    }

    /// Sets an SPI's priority by a byte access.
    fn set_priority(&self, intid: u32, priority: u8) {
        self.dist
            .write(GICD_IPRIORITYR + u64::from(intid), &[priority]);
    }

    fn load<T: vm_memory::ByteValued>(&self, address: u64) -> T {
        self.ram.read_obj(GuestAddress(address)).expect("RAM")
    }

    fn store<T: vm_memory::ByteValued>(&self, address: u64, value: T) {
        self.ram
            .write_obj(value, GuestAddress(address))
            .expect("RAM");
    }
}
