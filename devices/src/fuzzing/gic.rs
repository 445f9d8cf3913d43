//! The interrupt controller: all of its registers, tables that the guest fills with nonsense, and
//! commands for the ITS.

use std::rc::Rc;

use arbitrary::{Result, Unstructured};
use stallbox_timeline::Timeline;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::{Reached, data, pattern, play, repeated};
use crate::GuestRam;
use crate::gic::{Gic, GicConfig};
use crate::mmio::MmioDevice;

const RAM_BYTES: usize = 1 << 20;
const CPUS: usize = 2;
// Where a driver puts what the ITS and the redistributors need.
const QUEUE: u64 = 0x1_0000;
const DEVICES: u64 = 0x2_0000;
const COLLECTIONS: u64 = 0x3_0000;
const PROPERTIES: u64 = 0x4_0000;
const ITT: u64 = 0x8_0000;
const PENDING: u64 = 0xa_0000;
const REDISTRIBUTOR_BYTES: u64 = 0x2_0000;

struct Rig {
    gic: Gic,
    ram: GuestRam,
    /// Distributor, redistributors, ITS.
    frames: [Rc<dyn MmioDevice>; 3],
}

pub(super) fn run(bytes: &mut Unstructured<'_>) -> Result<Reached> {
    let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), RAM_BYTES)]);
    let ram = GuestRam::new(ram.expect("a megabyte"));
    let gic = Gic::new(GicConfig {
        cpus: CPUS,
        spis: 64,
        lpi_id_bits: 14,
        ram: ram.clone(),
        timeline: Timeline::new(),
    });
    let frames = [gic.distributor(), gic.redistributors(), gic.its()];
    let rig = Rig { gic, ram, frames };
    if bytes.int_in_range(0..=3)? == 0 {
        let noise = pattern(bytes)?;
        rig.store(0, &repeated(&noise, RAM_BYTES));
    }
    if bytes.int_in_range(0..=7)? != 0 {
        rig.start();
    }
    let mut reached = Reached::default();

    play(bytes, |bytes| {
        rig.act(bytes, &mut reached)?;
        rig.signals_are_fresh();
        for cpu in 0..CPUS {
            reached.add("irq", rig.gic.irq(cpu).into());
        }
        Ok(())
    });
    Ok(reached)
}

impl Rig {
    fn store(&self, address: u64, data: &[u8]) {
        let written = self.ram.write_slice(data, GuestAddress(address));
        written.expect("inside RAM");
    }

    fn write32(&self, frame: usize, offset: u64, value: u32) {
        self.frames[frame].write(offset, &value.to_le_bytes());
    }

    fn write64(&self, frame: usize, offset: u64, value: u64) {
        self.frames[frame].write(offset, &value.to_le_bytes());
    }

    fn read32(&self, frame: usize, offset: u64) -> u32 {
        let mut data = [0; 4];
        self.frames[frame].read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    /// A driver's way to LPIs: device 8 has 32 events, of which the first 4 are mapped.
    fn start(&self) {
        // ARE_NS, EnableGrp1A, EnableGrp1.
        self.write32(0, 0, 1 << 4 | 1 << 1 | 1);
        for cpu in 0..CPUS {
            let redistributor = cpu as u64 * REDISTRIBUTOR_BYTES;
            self.write32(1, redistributor + 0x14, 0);
            self.write64(1, redistributor + 0x70, PROPERTIES | 13);
            self.write64(1, redistributor + 0x78, PENDING + 0x1_0000 * cpu as u64);
            self.write32(1, redistributor, 1);
            // ICC_SRE_EL1, ICC_PMR_EL1, ICC_IGRPEN1_EL1.
            for (register, value) in [(0xc665, 7), (0xc230, 0xf0), (0xc667, 1)] {
                let written = self.gic.sysreg_write(cpu, register, value);
                written.expect("a register of the CPU interface");
            }
        }
        // Every LPI is enabled, with priority 0xa0.
        self.store(PROPERTIES, &[0xa1; 0x4000]);
        self.write64(2, 0x100, DEVICES | 1 << 63 | 1 << 56 | 7 << 48);
        self.write64(2, 0x108, COLLECTIONS | 1 << 63 | 4 << 56 | 7 << 48);
        self.write64(2, 0x80, QUEUE | 1 << 63);
        self.write64(2, 0x88, 0);
        self.write32(2, 0, 1);
        let mut commands = vec![
            // MAPD, MAPC.
            [8 << 32 | 0x08, 4, 1 << 63 | ITT, 0],
            [0x09, 0, 1 << 63, 0],
            [0x09, 0, 1 << 63 | 1 << 16 | 1, 0],
        ];
        // MAPTI.
        commands.extend((0..4).map(|event| [8 << 32 | 0x0a, (8192 + event) << 32 | event, 0, 0]));
        for (slot, command) in commands.iter().enumerate() {
            self.command(slot as u64, *command);
        }
    }

    /// Into its slot of the queue; then all that lies before it is executed.
    fn command(&self, slot: u64, words: [u64; 4]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.store(QUEUE + slot * 32, &bytes);
        self.write32(2, 0x88, ((slot + 1) * 32) as u32);
    }

    fn act(&self, bytes: &mut Unstructured<'_>, reached: &mut Reached) -> Result<()> {
        match bytes.int_in_range(0..=13)? {
            0..=2 => {
                let frame = bytes.choose_index(self.frames.len())?;
                let data = data(bytes)?;
                let offset = offset(bytes)?;
                let offset = match bytes.int_in_range(0..=3)? {
                    0 => offset,
                    _ => offset & !(data.len() as u64 - 1),
                };
                self.frames[frame].write(offset, &data);
            }
            3 => {
                let frame = bytes.choose_index(self.frames.len())?;
                let width = *bytes.choose(&[4_usize, 8, 2, 1, 16])?;
                self.frames[frame].read(offset(bytes)?, &mut [0; 16][..width]);
            }
            4 => {
                // ICC_*_EL1 are S3_0_C12_C8_0 to S3_0_C12_C12_7; now and then any other.
                let register = match bytes.int_in_range(0..=7)? {
                    0 => bytes.arbitrary()?,
                    1 => 0xc230,
                    _ => 0xc640 + bytes.int_in_range(0..=0x27)?,
                };
                let cpu = bytes.int_in_range(0..=CPUS)?;
                self.gic.sysreg_write(cpu, register, bytes.arbitrary()?);
                self.gic.sysreg_read(cpu, register);
            }
            5 => {
                let intid = bytes.int_in_range(16..=95)?;
                let asserted = bytes.arbitrary()?;
                match intid {
                    ..32 => self.gic.ppi(1, intid).set(asserted),
                    _ => self.gic.spi(intid).set(asserted),
                }
            }
            6..=8 => {
                let (device, event) = match bytes.int_in_range(0..=3)? {
                    0 => (bytes.arbitrary()?, bytes.arbitrary()?),
                    _ => (8, bytes.int_in_range(0..=31)?),
                };
                self.gic.msi(device, event);
            }
            9 => {
                let at = bytes.int_in_range(0..=RAM_BYTES as u64 / 8 - 1)? * 8;
                self.store(at, &bytes.arbitrary::<u64>()?.to_le_bytes());
            }
            _ => {
                let before = self.read32(2, 0x90);
                self.command(bytes.int_in_range(0..=7)?, command(bytes)?);
                reached.add("command", (self.read32(2, 0x90) != before).into());
            }
        }
        for cpu in 0..CPUS {
            // ICC_IAR1_EL1, and the end of it.
            if bytes.arbitrary()?
                && let Some(intid) = self.gic.sysreg_read(cpu, 0xc660)
            {
                reached.add("lpi", (intid >= 8192).into());
                self.gic.sysreg_write(cpu, 0xc661, intid);
            }
        }
        Ok(())
    }

    /// What the CPUs are told is what a look at everything from scratch gives.
    fn signals_are_fresh(&self) {
        let signals = || [0, 1].map(|cpu| (self.gic.irq(cpu), self.gic.fiq(cpu)));
        let told = signals();
        // A write to GICD_STATUSR, which is not implemented, changes nothing but makes it look.
        self.write32(0, 0x10, 0);
        assert_eq!(signals(), told);
    }
}

/// Offsets in the populated parts of a frame, and anywhere.
fn offset(bytes: &mut Unstructured<'_>) -> Result<u64> {
    let any = u64::from(bytes.arbitrary::<u32>()?);
    Ok(match bytes.int_in_range(0..=7)? {
        0..=2 => any % 0x200,
        3 | 4 => any % 0x1000,
        5 => 0x6000 + any % 0x1000,
        6 => 0x1_0000 + any % 0x1000,
        _ => any % 0x10_0000,
    })
}

/// A command that may well be one.
fn command(bytes: &mut Unstructured<'_>) -> Result<[u64; 4]> {
    const OPCODES: [u64; 12] = [
        0x01, 0x03, 0x04, 0x05, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f,
    ];
    let opcode = match bytes.int_in_range(0..=15)? {
        0 => bytes.arbitrary::<u8>()?.into(),
        _ => *bytes.choose(&OPCODES)?,
    };
    let device = match bytes.int_in_range(0..=3)? {
        0 => bytes.arbitrary::<u32>()?.into(),
        _ => bytes.int_in_range(7..=9)?,
    };
    let event = u64::from(bytes.arbitrary::<u8>()? & 0x3f);
    let word1 = match bytes.int_in_range(0..=3)? {
        0 => bytes.arbitrary()?,
        _ => (8192 + event) << 32 | event,
    };
    let collection = u64::from(bytes.arbitrary::<u8>()? & 3);
    let word2 = match bytes.int_in_range(0..=4)? {
        0 => bytes.arbitrary()?,
        1 => 1 << 63 | ITT | collection << 8,
        2 => 1 << 63 | collection << 16 | collection,
        3 => collection << 16,
        _ => collection,
    };
    let word3 = match bytes.int_in_range(0..=3)? {
        0 => bytes.arbitrary()?,
        _ => collection << 16,
    };
    Ok([device << 32 | opcode, word1, word2, word3])
}
