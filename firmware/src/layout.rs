//! The machine's memory map and interrupt numbers.
//!
//! Modelled on boards that guests know: devices below 1 GiB, RAM from there up, and what needs much
//! room above 256 GiB. Reaching all of it takes 40 bits of physical address, in the CPUs
//! (`ID_AA64MMFR0_EL1.PARange`) and in the SMMU (`IDR5.OAS`).

/// A block of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First address.
    pub base: u64,
    /// Length in bytes.
    pub bytes: u64,
}

impl Region {
    const fn new(base: u64, bytes: u64) -> Region {
        Region { base, bytes }
    }

    /// The address after the last.
    pub const fn end(&self) -> u64 {
        self.base + self.bytes
    }
}

/// GIC distributor.
pub const GIC_DISTRIBUTOR: Region = Region::new(0x0800_0000, 0x1_0000);
/// GIC interrupt translation service; the frame with `GITS_TRANSLATER` is the second 64 KiB.
pub const GIC_ITS: Region = Region::new(0x0808_0000, 0x2_0000);
/// The first CPU's GIC redistributor; the others follow.
pub const GIC_REDISTRIBUTORS_BASE: u64 = 0x080a_0000;
/// Bytes that one redistributor takes: the RD and the SGI frame.
pub const GIC_REDISTRIBUTOR_BYTES: u64 = 0x2_0000;
/// The console.
pub const SERIAL0: Region = Region::new(0x0900_0000, 0x1000);
/// A second serial port, for machine-to-machine talk.
pub const SERIAL1: Region = Region::new(0x0904_0000, 0x1000);
/// Real-time clock.
pub const RTC: Region = Region::new(0x0901_0000, 0x1000);
/// SMMU: pages 0 and 1.
pub const SMMU: Region = Region::new(0x0905_0000, 0x2_0000);
/// PCI memory below 4 GiB.
pub const PCI_MEMORY_32: Region = Region::new(0x1000_0000, 0x2eff_0000);
/// RAM starts here.
pub const RAM_BASE: u64 = 0x4000_0000;
/// As much RAM as fits below ECAM.
pub const RAM_BYTES_MAX: u64 = 255 << 30;
/// PCI configuration space of buses 0 to [`PCI_LAST_BUS`].
pub const PCI_ECAM: Region = Region::new(0x40_1000_0000, (PCI_LAST_BUS as u64 + 1) << 20);
/// The last bus that has configuration space.
pub const PCI_LAST_BUS: u8 = 255;
/// PCI memory for 64-bit BARs. Below 4 GiB long: Linux warns of longer windows that are not
/// prefetchable (drivers/pci/of.c, `pci_parse_request_of_pci_ranges`).
pub const PCI_MEMORY_64: Region = Region::new(0x80_0000_0000, 2 << 30);

/// Numbers of shared peripheral interrupts, as the device tree counts them: INTID minus 32. All
/// below 32, so that a distributor with 64 INTIDs has them.
pub mod spi {
    /// First serial port; level.
    pub const SERIAL0: u32 = 1;
    /// Real-time clock; level.
    pub const RTC: u32 = 2;
    /// Second serial port; level.
    pub const SERIAL1: u32 = 3;
    /// SMMU event queue; edge, like all of its lines.
    pub const SMMU_EVENTQ: u32 = 16;
    /// SMMU page request queue.
    pub const SMMU_PRIQ: u32 = 17;
    /// SMMU completion of CMD_SYNC.
    pub const SMMU_CMDQ_SYNC: u32 = 18;
    /// SMMU global errors.
    pub const SMMU_GERROR: u32 = 19;

    /// The interrupt controller's number for an SPI.
    pub const fn intid(spi: u32) -> u32 {
        spi + 32
    }
}

/// INTIDs of the generic timer's private interrupts (BSA, *Timers*); all level.
pub mod timer_intid {
    /// Secure EL1 physical timer.
    pub const SECURE_PHYSICAL: u32 = 29;
    /// Non-secure EL1 physical timer.
    pub const PHYSICAL: u32 = 30;
    /// Virtual timer.
    pub const VIRTUAL: u32 = 27;
    /// Non-secure EL2 physical timer.
    pub const HYPERVISOR: u32 = 26;
}

/// `MPIDR_EL1`'s affinity fields of the `index`-th CPU: 16 CPUs to a cluster, as many as one
/// `ICC_SGI1R_EL1` write can address.
pub const fn mpidr(index: u32) -> u32 {
    ((index / 16) << 8) | (index % 16)
}
