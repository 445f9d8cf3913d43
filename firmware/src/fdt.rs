//! The device tree (Devicetree Specification 0.4, and the bindings in Linux's
//! `Documentation/devicetree/bindings`, named at each node).

use std::ops::Range;

use vm_fdt::FdtWriter;

use crate::layout::{self, Region};

#[cfg(test)]
mod tests;

/// What cannot be written as a device tree.
#[derive(Debug, thiserror::Error)]
pub enum FdtError {
    /// A string that is not one: the kernel command line is the only text that users give.
    #[error("the kernel command line contains a NUL byte; remove it")]
    Bootargs,
    /// Anything else is a board that was put together wrongly.
    #[error("the device tree cannot be built: {0}")]
    Writer(vm_fdt::Error),
}

impl From<vm_fdt::Error> for FdtError {
    fn from(error: vm_fdt::Error) -> FdtError {
        FdtError::Writer(error)
    }
}

type Result<T> = std::result::Result<T, FdtError>;

/// How the guest calls the firmware (`arm/psci.yaml`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PsciMethod {
    /// The HVC instruction.
    Hvc,
    /// The SMC instruction.
    Smc,
}

/// A CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// The affinity fields of its `MPIDR_EL1`.
    pub mpidr: u32,
    /// The NUMA node that it belongs to.
    pub node: u32,
}

/// A block of RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Where it is.
    pub region: Region,
    /// The NUMA node that it belongs to.
    pub node: u32,
}

/// The interrupt controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gic {
    /// Distributor.
    pub distributor: Region,
    /// All redistributors.
    pub redistributors: Region,
    /// Interrupt translation service; without it there are no MSIs.
    pub its: Option<Region>,
}

/// A device with one block of registers and one interrupt, level-sensitive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peripheral {
    /// Its registers.
    pub region: Region,
    /// Its SPI.
    pub spi: u32,
}

/// The SMMU. Its wired interrupts are edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Smmu {
    /// Its registers.
    pub region: Region,
    /// SPI of the event queue.
    pub eventq_spi: u32,
    /// SPI of global errors.
    pub gerror_spi: u32,
    /// SPI of the page request queue, if it has one.
    pub priq_spi: Option<u32>,
    /// SPI of CMD_SYNC completion.
    pub cmdq_sync_spi: u32,
    /// The ITS DeviceID of the SMMU's own MSIs, if it is to use them (`SMMU_IDR0.MSI`).
    pub msi_device_id: Option<u32>,
    /// Whether its accesses to memory are coherent with the CPUs' caches (`SMMU_IDR0.COHACC`).
    pub coherent: bool,
}

/// The PCI Express host bridge. Addresses on the bus are the CPU's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pcie {
    /// Configuration space.
    pub ecam: Region,
    /// The last bus that has some; the first is 0.
    pub last_bus: u8,
    /// The window for 32-bit BARs.
    pub memory_32: Region,
    /// The window for 64-bit BARs.
    pub memory_64: Region,
    /// Whether its devices may use Address Translation Services.
    pub ats: bool,
    /// The NUMA node that its devices are near to.
    pub node: u32,
}

/// A PCI function that needs words of its own: others are found and described by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciFunction {
    /// Device number on bus 0; the function is 0.
    pub device: u8,
    /// Vendor ID.
    pub vendor_id: u16,
    /// Device ID.
    pub device_id: u16,
    /// Whether its transactions can wait in the SMMU for a page (`dma-can-stall`). PCI Express has
    /// no such thing, so Linux believes it of nobody but HiSilicon's functions unless told.
    pub can_stall: bool,
}

/// All that the guest is told about its machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// The CPUs; the first boots.
    pub cpus: Vec<Cpu>,
    /// RAM.
    pub memory: Vec<Memory>,
    /// The kernel command line.
    pub bootargs: String,
    /// Where the initial RAM disk is.
    pub initrd: Option<Range<u64>>,
    /// Randomness for the kernel's generator. Fixed, so that runs repeat.
    pub rng_seed: Option<[u8; 32]>,
    /// Randomness for the kernel's own placement. Without it the kernel is not moved.
    pub kaslr_seed: Option<u64>,
    /// How to call PSCI.
    pub psci: PsciMethod,
    /// Interrupt controller.
    pub gic: Gic,
    /// Serial ports; the first is the console.
    pub serials: Vec<Peripheral>,
    /// Real-time clock.
    pub rtc: Option<Peripheral>,
    /// SMMU.
    pub smmu: Option<Smmu>,
    /// PCI Express.
    pub pcie: Option<Pcie>,
    /// Functions behind it that need words of their own.
    pub pci_functions: Vec<PciFunction>,
}

const GIC_PHANDLE: u32 = 1;
const ITS_PHANDLE: u32 = 2;
const SMMU_PHANDLE: u32 = 3;
const CLOCK_PHANDLE: u32 = 4;

/// First cell of an interrupt specifier (`interrupt-controller/arm,gic-v3.yaml`).
const SPI: u32 = 0;
const PPI: u32 = 1;
/// Third cell.
const EDGE_RISING: u32 = 1;
const LEVEL_HIGH: u32 = 4;

/// The bus clock of the PrimeCell devices; nothing depends on its rate.
const APB_CLOCK_HZ: u32 = 24_000_000;
/// The crystal of every PC serial port: 16 times 115200 baud.
const SERIAL_CLOCK_HZ: u32 = 1_843_200;

/// First cell of a PCI address (`pci/pci.txt`): 32-bit and 64-bit memory, not prefetchable. A
/// prefetchable window would take no other BARs.
const PCI_SPACE_MEMORY_32: u32 = 0x0200_0000;
const PCI_SPACE_MEMORY_64: u32 = 0x0300_0000;

/// NUMA distances (`numa.txt`): what ACPI calls local, and twice that.
const DISTANCE_LOCAL: u32 = 10;
const DISTANCE_REMOTE: u32 = 20;

/// Memory of different nodes meets at multiples of this, a section of Linux's sparse memory.
const NODE_ALIGN_BYTES: u64 = 128 << 20;

impl Board {
    /// A board as [`layout`] has it: `cpus` CPUs and `memory_bytes` of RAM, spread over `nodes`
    /// NUMA nodes; PCI is near node 0.
    ///
    /// # Panics
    /// If there is no CPU, no node, or more RAM than [`layout::RAM_BYTES_MAX`].
    pub fn new(cpus: u32, memory_bytes: u64, nodes: u32) -> Board {
        assert!(cpus > 0 && nodes > 0, "a machine has a CPU and a node");
        assert!(
            memory_bytes <= layout::RAM_BYTES_MAX,
            "{memory_bytes:#x} bytes of RAM"
        );
        let redistributors = Region {
            base: layout::GIC_REDISTRIBUTORS_BASE,
            bytes: u64::from(cpus) * layout::GIC_REDISTRIBUTOR_BYTES,
        };
        let serial = |region, spi| Peripheral { region, spi };
        Board {
            cpus: (0..cpus)
                .map(|index| Cpu {
                    mpidr: layout::mpidr(index),
                    node: index * nodes / cpus,
                })
                .collect(),
            memory: spread(memory_bytes, nodes),
            bootargs: String::new(),
            initrd: None,
            rng_seed: None,
            kaslr_seed: None,
            psci: PsciMethod::Hvc,
            gic: Gic {
                distributor: layout::GIC_DISTRIBUTOR,
                redistributors,
                its: Some(layout::GIC_ITS),
            },
            serials: vec![
                serial(layout::SERIAL0, layout::spi::SERIAL0),
                serial(layout::SERIAL1, layout::spi::SERIAL1),
            ],
            rtc: Some(Peripheral {
                region: layout::RTC,
                spi: layout::spi::RTC,
            }),
            smmu: Some(Smmu {
                region: layout::SMMU,
                eventq_spi: layout::spi::SMMU_EVENTQ,
                gerror_spi: layout::spi::SMMU_GERROR,
                priq_spi: None,
                cmdq_sync_spi: layout::spi::SMMU_CMDQ_SYNC,
                msi_device_id: None,
                coherent: true,
            }),
            pcie: Some(Pcie {
                ecam: layout::PCI_ECAM,
                last_bus: layout::PCI_LAST_BUS,
                memory_32: layout::PCI_MEMORY_32,
                memory_64: layout::PCI_MEMORY_64,
                ats: false,
                node: 0,
            }),
            pci_functions: Vec::new(),
        }
    }

    /// The device tree blob.
    pub fn flatten(&self) -> Result<Vec<u8>> {
        let mut fdt = FdtWriter::new()?;
        let root = fdt.begin_node("")?;
        fdt.property_string("model", "Stallbox")?;
        fdt.property_string("compatible", "stallbox,board")?;
        fdt.property_u32("#address-cells", 2)?;
        fdt.property_u32("#size-cells", 2)?;
        fdt.property_u32("interrupt-parent", GIC_PHANDLE)?;
        self.aliases(&mut fdt)?;
        self.chosen(&mut fdt)?;
        self.cpus(&mut fdt)?;
        for memory in &self.memory {
            memory.node(&mut fdt)?;
        }
        self.distances(&mut fdt)?;
        self.psci(&mut fdt)?;
        timer(&mut fdt)?;
        self.gic.node(&mut fdt)?;
        clock(&mut fdt)?;
        for port in &self.serials {
            serial(&mut fdt, port)?;
        }
        if let Some(device) = &self.rtc {
            rtc(&mut fdt, device)?;
        }
        if let Some(smmu) = &self.smmu {
            smmu.node(&mut fdt)?;
        }
        if let Some(pcie) = &self.pcie {
            let (iommu, msi) = (self.smmu.is_some(), self.gic.its.is_some());
            pcie.node(&mut fdt, iommu, msi, &self.pci_functions)?;
        }
        fdt.end_node(root)?;
        Ok(fdt.finish()?)
    }

    fn aliases(&self, fdt: &mut FdtWriter) -> Result<()> {
        let node = fdt.begin_node("aliases")?;
        for (index, port) in self.serials.iter().enumerate() {
            fdt.property_string(&format!("serial{index}"), &serial_path(port))?;
        }
        Ok(fdt.end_node(node)?)
    }

    /// `schemas/chosen.yaml` of dt-schema.
    fn chosen(&self, fdt: &mut FdtWriter) -> Result<()> {
        let node = fdt.begin_node("chosen")?;
        fdt.property_string("bootargs", &self.bootargs)
            .map_err(|error| match error {
                vm_fdt::Error::InvalidString => FdtError::Bootargs,
                error => FdtError::Writer(error),
            })?;
        if let Some(console) = self.serials.first() {
            fdt.property_string("stdout-path", &format!("{}:115200n8", serial_path(console)))?;
        }
        if let Some(initrd) = &self.initrd {
            fdt.property_u64("linux,initrd-start", initrd.start)?;
            fdt.property_u64("linux,initrd-end", initrd.end)?;
        }
        if let Some(seed) = &self.rng_seed {
            fdt.property("rng-seed", seed)?;
        }
        if let Some(seed) = self.kaslr_seed {
            fdt.property_u64("kaslr-seed", seed)?;
        }
        Ok(fdt.end_node(node)?)
    }

    /// `arm/cpus.yaml`.
    fn cpus(&self, fdt: &mut FdtWriter) -> Result<()> {
        let node = fdt.begin_node("cpus")?;
        fdt.property_u32("#address-cells", 1)?;
        fdt.property_u32("#size-cells", 0)?;
        for cpu in &self.cpus {
            let node = fdt.begin_node(&format!("cpu@{:x}", cpu.mpidr))?;
            fdt.property_string("device_type", "cpu")?;
            fdt.property_string("compatible", "arm,armv8")?;
            fdt.property_u32("reg", cpu.mpidr)?;
            fdt.property_string("enable-method", "psci")?;
            fdt.property_u32("numa-node-id", cpu.node)?;
            fdt.end_node(node)?;
        }
        Ok(fdt.end_node(node)?)
    }

    /// `numa.txt`. One node needs no map.
    fn distances(&self, fdt: &mut FdtWriter) -> Result<()> {
        let mut nodes: Vec<u32> = self.memory.iter().map(|memory| memory.node).collect();
        nodes.extend(self.cpus.iter().map(|cpu| cpu.node));
        nodes.sort_unstable();
        nodes.dedup();
        if nodes.len() < 2 {
            return Ok(());
        }
        let mut matrix = Vec::new();
        for &from in &nodes {
            for &to in &nodes {
                let distance = if from == to {
                    DISTANCE_LOCAL
                } else {
                    DISTANCE_REMOTE
                };
                matrix.extend([from, to, distance]);
            }
        }
        let node = fdt.begin_node("distance-map")?;
        fdt.property_string("compatible", "numa-distance-map-v1")?;
        fdt.property_array_u32("distance-matrix", &matrix)?;
        Ok(fdt.end_node(node)?)
    }

    /// `arm/psci.yaml`.
    fn psci(&self, fdt: &mut FdtWriter) -> Result<()> {
        let node = fdt.begin_node("psci")?;
        strings(fdt, "compatible", &["arm,psci-1.0", "arm,psci-0.2"])?;
        let method = match self.psci {
            PsciMethod::Hvc => "hvc",
            PsciMethod::Smc => "smc",
        };
        fdt.property_string("method", method)?;
        Ok(fdt.end_node(node)?)
    }
}

/// RAM in equal parts, one for each node; the last has what is left over.
fn spread(bytes: u64, nodes: u32) -> Vec<Memory> {
    let part = bytes / u64::from(nodes);
    // Too little RAM for nodes that size: then by pages.
    let align = if part >= NODE_ALIGN_BYTES {
        NODE_ALIGN_BYTES
    } else {
        2 << 20
    };
    let part = part / align * align;
    let mut base = layout::RAM_BASE;
    let mut left = bytes;
    let mut memory = Vec::new();
    for node in 0..nodes {
        let bytes = if node + 1 == nodes { left } else { part };
        if bytes > 0 {
            memory.push(Memory {
                region: Region { base, bytes },
                node,
            });
        }
        base += bytes;
        left -= bytes;
    }
    memory
}

impl Memory {
    /// Devicetree Specification, */memory node*.
    fn node(&self, fdt: &mut FdtWriter) -> Result<()> {
        let node = begin(fdt, "memory", &self.region)?;
        fdt.property_string("device_type", "memory")?;
        fdt.property_u32("numa-node-id", self.node)?;
        Ok(fdt.end_node(node)?)
    }
}

impl Gic {
    /// `interrupt-controller/arm,gic-v3.yaml`.
    fn node(&self, fdt: &mut FdtWriter) -> Result<()> {
        let node = fdt.begin_node(&format!("interrupt-controller@{:x}", self.distributor.base))?;
        fdt.property_string("compatible", "arm,gic-v3")?;
        let (distributor, redistributors) = (self.distributor, self.redistributors);
        fdt.property_array_u64(
            "reg",
            &[
                distributor.base,
                distributor.bytes,
                redistributors.base,
                redistributors.bytes,
            ],
        )?;
        fdt.property_null("interrupt-controller")?;
        fdt.property_u32("#interrupt-cells", 3)?;
        fdt.property_u32("#address-cells", 2)?;
        fdt.property_u32("#size-cells", 2)?;
        fdt.property_null("ranges")?;
        fdt.property_phandle(GIC_PHANDLE)?;
        if let Some(its) = &self.its {
            let node = begin(fdt, "msi-controller", its)?;
            fdt.property_string("compatible", "arm,gic-v3-its")?;
            fdt.property_null("msi-controller")?;
            fdt.property_u32("#msi-cells", 1)?;
            fdt.property_phandle(ITS_PHANDLE)?;
            fdt.end_node(node)?;
        }
        Ok(fdt.end_node(node)?)
    }
}

impl Smmu {
    /// `iommu/arm,smmu-v3.yaml`.
    fn node(&self, fdt: &mut FdtWriter) -> Result<()> {
        let node = begin(fdt, "iommu", &self.region)?;
        fdt.property_string("compatible", "arm,smmu-v3")?;
        let mut lines = vec![("eventq", self.eventq_spi), ("gerror", self.gerror_spi)];
        lines.extend(self.priq_spi.map(|spi| ("priq", spi)));
        lines.push(("cmdq-sync", self.cmdq_sync_spi));
        let cells: Vec<u32> = lines
            .iter()
            .flat_map(|&(_, spi)| [SPI, spi, EDGE_RISING])
            .collect();
        let names: Vec<&str> = lines.iter().map(|&(name, _)| name).collect();
        fdt.property_array_u32("interrupts", &cells)?;
        strings(fdt, "interrupt-names", &names)?;
        fdt.property_u32("#iommu-cells", 1)?;
        if self.coherent {
            fdt.property_null("dma-coherent")?;
        }
        if let Some(device_id) = self.msi_device_id {
            fdt.property_array_u32("msi-parent", &[ITS_PHANDLE, device_id])?;
        }
        fdt.property_phandle(SMMU_PHANDLE)?;
        Ok(fdt.end_node(node)?)
    }
}

impl Pcie {
    /// `pci/host-generic-pci.yaml`, `pci/pci-iommu.txt`, `pci/pci-msi.txt`. A requester id is its
    /// StreamID and its DeviceID.
    fn node(
        &self,
        fdt: &mut FdtWriter,
        iommu: bool,
        msi: bool,
        functions: &[PciFunction],
    ) -> Result<()> {
        let node = begin(fdt, "pcie", &self.ecam)?;
        fdt.property_string("compatible", "pci-host-ecam-generic")?;
        fdt.property_string("device_type", "pci")?;
        fdt.property_u32("#address-cells", 3)?;
        fdt.property_u32("#size-cells", 2)?;
        fdt.property_array_u32("bus-range", &[0, self.last_bus.into()])?;
        fdt.property_u32("linux,pci-domain", 0)?;
        let mut ranges = Vec::new();
        for (space, window) in [
            (PCI_SPACE_MEMORY_32, self.memory_32),
            (PCI_SPACE_MEMORY_64, self.memory_64),
        ] {
            let [base, bytes] = [window.base, window.bytes].map(|v| [(v >> 32) as u32, v as u32]);
            ranges.push(space);
            ranges.extend([base, base, bytes].concat());
        }
        fdt.property_array_u32("ranges", &ranges)?;
        if iommu {
            fdt.property_array_u32("iommu-map", &[0, SMMU_PHANDLE, 0, 0x1_0000])?;
            if self.ats {
                fdt.property_null("ats-supported")?;
            }
        }
        if msi {
            fdt.property_array_u32("msi-map", &[0, ITS_PHANDLE, 0, 0x1_0000])?;
        }
        fdt.property_null("dma-coherent")?;
        fdt.property_u32("numa-node-id", self.node)?;
        for function in functions {
            function.node(fdt)?;
        }
        Ok(fdt.end_node(node)?)
    }
}

impl PciFunction {
    /// `schemas/pci/pci-device.yaml` of dt-schema, and `iommu/iommu.txt` for `dma-can-stall`.
    fn node(&self, fdt: &mut FdtWriter) -> Result<()> {
        let node = fdt.begin_node(&format!("accelerator@{:x},0", self.device))?;
        let compatible = format!("pci{:x},{:x}", self.vendor_id, self.device_id);
        fdt.property_string("compatible", &compatible)?;
        // The address of its configuration space.
        let device_number = u32::from(self.device) << 11;
        fdt.property_array_u32("reg", &[device_number, 0, 0, 0, 0])?;
        if self.can_stall {
            fdt.property_null("dma-can-stall")?;
        }
        Ok(fdt.end_node(node)?)
    }
}

/// `timer/arm,arch_timer.yaml`: the order is fixed.
fn timer(fdt: &mut FdtWriter) -> Result<()> {
    let node = fdt.begin_node("timer")?;
    fdt.property_string("compatible", "arm,armv8-timer")?;
    let intids = [
        layout::timer_intid::SECURE_PHYSICAL,
        layout::timer_intid::PHYSICAL,
        layout::timer_intid::VIRTUAL,
        layout::timer_intid::HYPERVISOR,
    ];
    let cells: Vec<u32> = intids
        .iter()
        .flat_map(|intid| [PPI, intid - 16, LEVEL_HIGH])
        .collect();
    fdt.property_array_u32("interrupts", &cells)?;
    // It counts while the CPU sleeps.
    fdt.property_null("always-on")?;
    Ok(fdt.end_node(node)?)
}

/// `clock/fixed-clock.yaml`.
fn clock(fdt: &mut FdtWriter) -> Result<()> {
    let node = fdt.begin_node("apb-pclk")?;
    fdt.property_string("compatible", "fixed-clock")?;
    fdt.property_u32("#clock-cells", 0)?;
    fdt.property_u32("clock-frequency", APB_CLOCK_HZ)?;
    fdt.property_string("clock-output-names", "apb_pclk")?;
    fdt.property_phandle(CLOCK_PHANDLE)?;
    Ok(fdt.end_node(node)?)
}

fn serial_path(port: &Peripheral) -> String {
    format!("/serial@{:x}", port.region.base)
}

/// `serial/8250.yaml`.
fn serial(fdt: &mut FdtWriter, port: &Peripheral) -> Result<()> {
    let node = begin(fdt, "serial", &port.region)?;
    fdt.property_string("compatible", "ns16550a")?;
    fdt.property_array_u32("interrupts", &[SPI, port.spi, LEVEL_HIGH])?;
    fdt.property_u32("clock-frequency", SERIAL_CLOCK_HZ)?;
    fdt.property_u32("reg-shift", 0)?;
    fdt.property_u32("reg-io-width", 1)?;
    Ok(fdt.end_node(node)?)
}

/// `rtc/arm,pl031.yaml`.
fn rtc(fdt: &mut FdtWriter, device: &Peripheral) -> Result<()> {
    let node = begin(fdt, "rtc", &device.region)?;
    strings(fdt, "compatible", &["arm,pl031", "arm,primecell"])?;
    fdt.property_array_u32("interrupts", &[SPI, device.spi, LEVEL_HIGH])?;
    fdt.property_u32("clocks", CLOCK_PHANDLE)?;
    fdt.property_string("clock-names", "apb_pclk")?;
    Ok(fdt.end_node(node)?)
}

/// A node with one block of registers.
fn begin(fdt: &mut FdtWriter, name: &str, region: &Region) -> Result<vm_fdt::FdtWriterNode> {
    let node = fdt.begin_node(&format!("{name}@{:x}", region.base))?;
    fdt.property_array_u64("reg", &[region.base, region.bytes])?;
    Ok(node)
}

fn strings(fdt: &mut FdtWriter, name: &str, values: &[&str]) -> Result<()> {
    let values = values.iter().map(|value| value.to_string()).collect();
    Ok(fdt.property_string_list(name, values)?)
}
