//! Configuration space as a guest reaches it: two functions that have all capabilities between them
//! (MSI, MSI-X, PASID, ATS, PRI), behind a host bridge, with BARs that move.

use std::ops::RangeInclusive;
use std::rc::Rc;

use arbitrary::{Result, Unstructured};
use stallbox_timeline::Span;

use super::{Reached, data, play};
use crate::hisi::{Revision, ZipConfig, testing as hisi};
use crate::mmio::MmioDevice;
use crate::pcie::host::{HostBridge, HostConfig};
use crate::pcie::{PciFunction, RequesterId};
use crate::test_engine::{FaultMode, testing as engine};

/// A window below 4 GiB and one above, as the machine has.
const WINDOWS: [RangeInclusive<u64>; 2] =
    [0x1000_0000..=0x1fff_ffff, 0x80_0000_0000..=0x80_ffff_ffff];
/// The functions' slots.
const SLOTS: [u64; 2] = [0x0008, 0x0010];

struct Machine {
    bridge: Rc<HostBridge>,
    ecam: Rc<dyn MmioDevice>,
    windows: Vec<(RangeInclusive<u64>, Rc<dyn MmioDevice>)>,
    accelerator: hisi::Guest,
    engine: engine::Guest,
    /// What of configuration space no write changes: before anything was written.
    fixed: Vec<Fixed>,
}

/// A function's identity and the places of its capabilities.
#[derive(Debug, PartialEq, Eq)]
struct Fixed {
    identity: [u32; 5],
    capabilities: Vec<(u16, u16)>,
}

pub(super) fn run(bytes: &mut Unstructured<'_>) -> Result<Reached> {
    let revision = *bytes.choose(&[Revision::V2, Revision::V3])?;
    let machine = Machine::new(revision);
    let mut reached = Reached::default();

    play(bytes, |bytes| machine.act(bytes, &mut reached));

    for (slot, fixed) in SLOTS.iter().zip(&machine.fixed) {
        assert_eq!(machine.fixed(*slot), *fixed, "{slot:#x}");
    }
    machine.advance(Span::from_ms(1000));
    // A driver finds its device where it puts it.
    machine.place(0x80_f000_0000);
    let messages =
        machine.accelerator.memory.msis.borrow().len() + machine.engine.memory.msis.borrow().len();
    reached.add("interrupt", messages as u64);
    Ok(reached)
}

impl Machine {
    fn new(revision: Revision) -> Machine {
        let bridge = HostBridge::new(HostConfig {
            last_bus: 0,
            windows: WINDOWS.to_vec(),
        });
        let accelerator = hisi::Guest::bare(ZipConfig {
            queues: 8,
            ..ZipConfig::new(revision)
        });
        let engine = engine::Guest::powered_on(FaultMode::PageRequest { prefill: false });
        bridge.plug(RequesterId(SLOTS[0] as u16), accelerator.zip.clone());
        bridge.plug(RequesterId(SLOTS[1] as u16), engine.function.clone());
        let mut machine = Machine {
            ecam: bridge.ecam(),
            windows: bridge.windows(),
            bridge,
            accelerator,
            engine,
            fixed: Vec::new(),
        };
        machine.fixed = SLOTS.map(|slot| machine.fixed(slot)).into();
        machine
    }

    fn config32(&self, slot: u64, offset: u16) -> u32 {
        let mut data = [0; 4];
        self.ecam.read(slot << 12 | u64::from(offset), &mut data);
        u32::from_le_bytes(data)
    }

    fn fixed(&self, slot: u64) -> Fixed {
        let identity = [0x00, 0x08, 0x0c, 0x2c, 0x34].map(|at| self.config32(slot, at));
        // The class and the header type, not the cache line size.
        let identity = std::array::from_fn(|at| match at {
            2 => identity[at] & !0xff,
            _ => identity[at],
        });
        let mut capabilities = Vec::new();
        let mut at = self.config32(slot, 0x34) as u8;
        while at != 0 {
            let header = self.config32(slot, at.into());
            capabilities.push((at.into(), (header & 0xff) as u16));
            assert!(capabilities.len() < 48, "the list has no end");
            at = (header >> 8) as u8;
        }
        let mut at = 0x100;
        while at != 0 {
            let header = self.config32(slot, at);
            capabilities.push((at, header as u16));
            assert!(capabilities.len() < 512, "the list has no end");
            at = (header >> 20) as u16;
        }
        Fixed {
            identity,
            capabilities,
        }
    }

    fn advance(&self, span: Span) {
        self.accelerator.advance(span);
        self.engine.advance(span);
    }

    /// Puts the test engine's BAR 0 at `address`, as a driver does, and looks whether it answers
    /// there.
    fn place(&self, address: u64) {
        // Where another BAR is already, it may claim the address.
        for slot in SLOTS {
            self.ecam.write(slot << 12 | 0x04, &[0, 0]);
        }
        let config = SLOTS[1] << 12;
        self.ecam.write(config | 0x10, &address.to_le_bytes());
        self.ecam.write(config | 0x04, &[0x02, 0]);
        let route = self.bridge.route(address).expect("it decodes");
        assert_eq!((route.bar, route.offset), (0, 0));
        self.bars_are_sane();
    }

    /// What decodes is aligned and inside of a window's reach.
    fn bars_are_sane(&self) {
        for function in self.functions() {
            for (bar, address, size) in function.decoded_bars() {
                assert!(bar < 6 && size.is_power_of_two(), "BAR {bar}: {size:#x}");
                assert!(address.is_multiple_of(size), "BAR {bar} at {address:#x}");
            }
        }
    }

    fn act(&self, bytes: &mut Unstructured<'_>, reached: &mut Reached) -> Result<()> {
        match bytes.int_in_range(0..=11)? {
            0..=4 => {
                let slot = *bytes.choose(&SLOTS)?;
                let at = self.register(slot, bytes)?;
                let data = data(bytes)?;
                self.ecam.write(at & !(data.len() as u64 - 1), &data);
                self.bars_are_sane();
            }
            5 => {
                // Memory Space and Bus Master Enable, or not.
                let slot = *bytes.choose(&SLOTS)?;
                let command = [bytes.arbitrary::<u8>()? | 2, bytes.arbitrary()?];
                self.ecam.write(slot << 12 | 0x04, &command);
            }
            6 | 7 => {
                let slot = *bytes.choose(&SLOTS)?;
                let bar = bytes.int_in_range(0..=5_u64)?;
                let window = bytes.choose_index(WINDOWS.len())?;
                let inside = bytes.arbitrary::<u32>()? & 0xff0_0000;
                let address = WINDOWS[window].start() + u64::from(inside);
                let at = slot << 12 | (0x10 + 4 * bar);
                match bytes.arbitrary()? {
                    true => self.ecam.write(at & !7, &address.to_le_bytes()),
                    false => self.ecam.write(at, &(address as u32).to_le_bytes()),
                };
                self.bars_are_sane();
            }
            8 => {
                let at = bytes.arbitrary::<u32>()? & 0xf_ffff;
                self.ecam.read(at.into(), &mut [0; 16]);
            }
            _ => {
                let at = bytes.choose_index(WINDOWS.len())?;
                let (range, window) = &self.windows[at];
                let data = data(bytes)?;
                let address = match bytes.int_in_range(0..=7)? {
                    0 => range.start() + u64::from(bytes.arbitrary::<u32>()?),
                    _ => self.behind_a_bar(bytes)?,
                };
                let offset = address.wrapping_sub(*range.start()) & !(data.len() as u64 - 1);
                if offset > range.end() - range.start() {
                    // The bus of the CPUs does not lead here.
                    return Ok(());
                }
                let routed = self.bridge.route(range.start() + offset).is_some();
                reached.add("behind_a_bar", routed.into());
                window.read(offset, &mut vec![0; data.len()]);
                window.write(offset, &data);
            }
        }
        self.advance(Span::from_ns(bytes.arbitrary::<u8>()?.into()));
        for slot in SLOTS {
            let command = self.config32(slot, 0x04);
            reached.add("bus_master", u64::from(command >> 2 & 1));
        }
        for (at, id) in &self.fixed[1].capabilities {
            let control = self.config32(SLOTS[1], at + 4);
            match id {
                0x0f => reached.add("ats_enabled", u64::from(control >> 31)),
                0x13 => reached.add("pri_enabled", u64::from(control & 1)),
                0x1b => reached.add("pasid_enabled", u64::from(control >> 16 & 1)),
                _ => {}
            }
        }
        Ok(())
    }

    fn functions(&self) -> [Rc<dyn PciFunction>; 2] {
        [self.accelerator.zip.clone(), self.engine.function.clone()]
    }

    /// An address that decodes, if there is one.
    fn behind_a_bar(&self, bytes: &mut Unstructured<'_>) -> Result<u64> {
        let bars: Vec<_> = self
            .functions()
            .iter()
            .flat_map(|function| function.decoded_bars())
            .collect();
        let offset = u64::from(bytes.arbitrary::<u16>()?);
        if bars.is_empty() {
            return Ok(offset);
        }
        let (_, address, size) = bytes.choose(&bars)?;
        Ok(address + offset % size)
    }

    /// An offset in ECAM: mostly a capability's.
    fn register(&self, slot: u64, bytes: &mut Unstructured<'_>) -> Result<u64> {
        let fixed = &self.fixed[usize::from(slot == SLOTS[1])];
        let offset = match bytes.int_in_range(0..=3)? {
            0 => bytes.int_in_range(0..=0x3f)?,
            1 => bytes.int_in_range(0..=0xfff)?,
            _ => bytes.choose(&fixed.capabilities)?.0 + bytes.int_in_range(0..=0x2f)?,
        };
        Ok(slot << 12 | u64::from(offset & 0xfff))
    }
}
