//! The bridge: ECAM as `pci_ecam_map_bus` computes it, and the memory windows.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;
use crate::mmio::MmioDevice;
use crate::pcie::host::{HostBridge, HostConfig};
use crate::pcie::{PciFunction, RequesterId};

const WINDOW_32: RangeInclusive<u64> = 0x1000_0000..=0x3efe_ffff;
const WINDOW_64: RangeInclusive<u64> = 0x80_0000_0000..=0xff_ffff_ffff;

/// Configuration space, and behind the BARs a record of what arrived.
struct Function {
    config: RefCell<ConfigSpace>,
    arrived: RefCell<Vec<(u8, u64, Vec<u8>)>>,
}

impl PciFunction for Function {
    fn config_read(&self, offset: u16, data: &mut [u8]) -> Option<u64> {
        assert!(offset < 4096 && data.len() <= 4);
        self.config.borrow().read(offset, data)
    }

    fn config_write(&self, offset: u16, data: &[u8]) -> Option<u64> {
        assert!(offset < 4096 && data.len() <= 4);
        let effects = self.config.borrow_mut().write(offset, data);
        if effects.flr {
            self.config.borrow_mut().reset();
        }
        effects.absent
    }

    fn decoded_bars(&self) -> Vec<(u8, u64, u64)> {
        self.config.borrow().decoded_bars()
    }

    fn bar_read(&self, bar: u8, offset: u64, data: &mut [u8]) -> Option<u64> {
        data.fill(0);
        data[0] = bar;
        data[1] = offset as u8;
        None
    }

    fn bar_write(&self, bar: u8, offset: u64, data: &[u8]) -> Option<u64> {
        self.arrived.borrow_mut().push((bar, offset, data.to_vec()));
        None
    }
}

struct Machine {
    bridge: Rc<HostBridge>,
    ecam: Rc<dyn MmioDevice>,
    windows: Vec<(RangeInclusive<u64>, Rc<dyn MmioDevice>)>,
    functions: Vec<Rc<Function>>,
}

/// Functions at 00:01.0 and 00:02.0.
fn machine() -> Machine {
    let bridge = HostBridge::new(HostConfig {
        last_bus: 1,
        windows: vec![WINDOW_32, WINDOW_64],
    });
    let plug = |device: u16| {
        let function = Rc::new(Function {
            config: RefCell::new(function()),
            arrived: RefCell::default(),
        });
        bridge.plug(RequesterId(device << 3), function.clone());
        function
    };
    let functions = vec![plug(1), plug(2)];
    Machine {
        ecam: bridge.ecam(),
        windows: bridge.windows(),
        functions,
        bridge,
    }
}

fn ecam(bus: u64, device: u64, register: u64) -> u64 {
    bus << 20 | device << 15 | register
}

impl Machine {
    fn config_read(&self, offset: u64) -> u32 {
        let mut data = [0; 4];
        self.ecam.read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    fn config_write(&self, offset: u64, value: u32) {
        self.ecam.write(offset, &value.to_le_bytes());
    }

    /// Puts BAR2 of a device somewhere and enables it.
    fn place(&self, device: u64, address: u64) {
        self.config_write(ecam(0, device, 0x18), address as u32);
        self.config_write(ecam(0, device, 0x1c), (address >> 32) as u32);
        self.config_write(ecam(0, device, 0x04), 0x2);
    }

    fn routes_to(&self, address: u64) -> Option<(u8, u64)> {
        self.bridge
            .route(address)
            .map(|route| (route.bar, route.offset))
    }

    fn window(&self, address: u64) -> (Rc<dyn MmioDevice>, u64) {
        let found = self
            .windows
            .iter()
            .find(|(range, _)| range.contains(&address));
        let (range, device) = found.unwrap();
        (device.clone(), address - range.start())
    }
}

#[test]
fn functions_answer_in_ecam_and_what_is_absent_reads_all_ones() {
    let machine = machine();
    assert_eq!(machine.bridge.ecam_bytes(), 2 << 20);
    assert_eq!(machine.config_read(ecam(0, 1, 0)), 0xa250_19e5);
    assert_eq!(machine.config_read(ecam(0, 2, 0)), 0xa250_19e5);
    for absent in [
        ecam(0, 0, 0),
        ecam(0, 3, 0),
        ecam(1, 1, 0),
        0x1000 + ecam(0, 1, 0),
        !3,
    ] {
        machine.config_write(absent, 0);
        assert_eq!(machine.config_read(absent), 0xffff_ffff, "{absent:#x}");
    }
    let mut byte = [0];
    machine.ecam.read(ecam(0, 1, 0x03), &mut byte);
    assert_eq!(byte, [0xa2]);
    machine.ecam.write(ecam(0, 1, 0x3c), &[0x55]);
    machine.ecam.read(ecam(0, 1, 0x3c), &mut byte);
    assert_eq!(byte, [0x55]);
}

#[test]
fn a_wide_access_to_ecam_is_taken_apart() {
    let machine = machine();
    machine.ecam.write(ecam(0, 1, 0x10), &[0x11; 16]);
    let mut data = [0; 16];
    machine.ecam.read(ecam(0, 1, 0x10), &mut data);
    assert_eq!(data[..8], [0x00, 0x10, 0x11, 0x11, 0x08, 0x00, 0x11, 0x11]);
    let mut beyond = [0; 8];
    machine.ecam.read(ecam(0, 1, 0xffc), &mut beyond);
    assert_eq!(beyond, [0xff; 8]);
}

#[test]
fn a_window_leads_to_the_bar_that_decodes() {
    let machine = machine();
    let (device, at) = machine.window(0x80_0040_0300);
    let mut data = [0; 16];
    device.read(at, &mut data);
    assert_eq!(data, [0xff; 16], "nothing decodes");
    machine.place(1, 0x80_0040_0000);
    machine.place(2, 0x80_0080_0000);
    device.read(at, &mut data);
    assert_eq!(data[..2], [2, 0x00]);
    // A pair store arrives as one.
    device.write(at, &[7; 16]);
    assert_eq!(
        *machine.functions[0].arrived.borrow(),
        [(2, 0x300, vec![7; 16])]
    );
    assert!(machine.functions[1].arrived.borrow().is_empty());
    assert_eq!(machine.routes_to(0x80_007f_ffff), Some((2, 0x3f_ffff)));
    assert_eq!(machine.routes_to(0x80_0080_0000), Some((2, 0)));
    assert_eq!(machine.routes_to(0x80_00c0_0000), None);
    assert_eq!(machine.routes_to(0x80_003f_ffff), None);
}

#[test]
fn a_misaligned_pair_does_not_run_over_the_end_of_a_bar() {
    let machine = machine();
    machine.place(1, 0x80_0040_0000);
    let (device, at) = machine.window(0x80_007f_fff8);
    device.write(at, &[7; 16]);
    assert_eq!(
        *machine.functions[0].arrived.borrow(),
        [(2, 0x3f_fff8, vec![7; 8])]
    );
    let mut data = [0; 16];
    device.read(at, &mut data);
    assert_eq!(
        data,
        [
            2, 0xf8, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255
        ]
    );
}

#[test]
fn the_map_follows_moves_disabling_and_reset() {
    let machine = machine();
    machine.place(1, 0x80_0040_0000);
    assert!(machine.routes_to(0x80_0040_0000).is_some());
    machine.place(1, 0x90_0000_0000);
    assert_eq!(machine.routes_to(0x80_0040_0000), None);
    assert!(machine.routes_to(0x90_0000_0000).is_some());
    machine.config_write(ecam(0, 1, 0x04), 0);
    assert_eq!(machine.routes_to(0x90_0000_0000), None);
    machine.place(1, 0x90_0000_0000);
    // Initiate FLR, in Device Control of the capability at 0x40.
    machine.config_write(ecam(0, 1, 0x48), 0x8000);
    assert_eq!(machine.routes_to(0x90_0000_0000), None);
    assert_eq!(machine.config_read(ecam(0, 1, 0x18)), 0x4);
}

#[test]
fn a_bar_outside_the_windows_or_on_top_of_another_does_not_decode() {
    let machine = machine();
    // RAM, partly in a window, beyond all, wrapping around.
    for address in [
        0x4000_0000,
        0x3ec0_0000,
        0x100_0000_0000,
        0xffff_ffff_ffc0_0000,
    ] {
        machine.place(1, address);
        assert_eq!(machine.routes_to(address), None, "{address:#x}");
        assert_eq!(machine.routes_to(address + 0x3f_ffff), None, "{address:#x}");
    }
    machine.place(2, 0x80_0000_0000);
    machine.place(1, 0x80_0000_0000);
    let route = machine.bridge.route(0x80_0000_0000).unwrap();
    route.function.bar_write(route.bar, route.offset, &[1]);
    assert_eq!(machine.functions[0].arrived.borrow().len(), 1);
    assert!(machine.functions[1].arrived.borrow().is_empty());
}

#[test]
#[should_panic(expected = "is taken")]
fn two_functions_do_not_fit_one_place() {
    let machine = machine();
    machine
        .bridge
        .plug(RequesterId(8), machine.functions[1].clone());
}

proptest! {
    #[test]
    fn no_configuration_write_lets_bars_overlap_or_leave_the_windows(
        writes in prop::collection::vec(
            (1u64..3, prop::sample::select(vec![
                0x04u64, 0x10, 0x14, 0x18, 0x1c, 0x20, 0x24, 0x48, 0x05, 0x19, 0x22,
            ]), prop_oneof![
                any::<u32>(), Just(!0), Just(0x80), Just(0), Just(2), Just(6), Just(0x1000_0000),
            ], 0usize..3),
            0..60,
        ),
        probes in prop::collection::vec(prop_oneof![
            any::<u64>(), WINDOW_32, WINDOW_64, 0x80_0000_0000u64..0x80_1000_0000,
            0x1000_0000u64..0x1010_0000,
        ], 0..60),
    ) {
        let machine = machine();
        for (device, register, value, width) in writes {
            machine.ecam.write(ecam(0, device, register), &value.to_le_bytes()[..1 << width]);
        }
        for address in probes {
            let Some(route) = machine.bridge.route(address) else { continue };
            prop_assert!(WINDOW_32.contains(&address) || WINDOW_64.contains(&address));
            let base = address - route.offset;
            let bars = route.function.decoded_bars();
            let claims = |&(bar, at, size): &(u8, u64, u64)| {
                bar == route.bar && at == base && route.offset < size
            };
            prop_assert!(bars.iter().any(claims));
        }
    }
}
