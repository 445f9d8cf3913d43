//! The host bridge: configuration requests through ECAM (*PCI Express Enhanced Configuration Access
//! Mechanism*) and memory requests through the windows that the firmware describes. A generic ECAM
//! host has no registers of its own, and no function at 00:00.0.
//!
//! Addresses on the bus are the CPU's (the device tree's `ranges` map one to one).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::rc::Rc;

use super::config::CONFIG_BYTES;
use super::{PciFunction, RequesterId};
use crate::mmio::{MmioDevice, Part, Unmodelled};

/// Bytes of ECAM that a bus takes.
pub const ECAM_BYTES_PER_BUS: u64 = 1 << 20;

/// Where the bridge sits in the machine's memory map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostConfig {
    /// The highest bus number that ECAM reaches; the first is 0.
    pub last_bus: u8,
    /// The memory windows. A BAR decodes if it lies within one of them.
    pub windows: Vec<RangeInclusive<u64>>,
}

/// A PCI Express host bridge with its functions.
pub struct HostBridge {
    config: HostConfig,
    functions: RefCell<BTreeMap<RequesterId, Rc<dyn PciFunction>>>,
    decode: RefCell<Vec<Decoded>>,
    /// The entry of `decode` that was hit last. Doorbells come in runs.
    last_hit: Cell<usize>,
}

/// A BAR that decodes.
#[derive(Clone)]
struct Decoded {
    first: u64,
    last: u64,
    bar: u8,
    requester: RequesterId,
    function: Rc<dyn PciFunction>,
}

/// What an address in a window leads to.
#[derive(Clone)]
pub struct Route {
    /// The function whose BAR it hits.
    pub function: Rc<dyn PciFunction>,
    /// Where it sits.
    pub requester: RequesterId,
    /// That BAR's number.
    pub bar: u8,
    /// Offset into the BAR.
    pub offset: u64,
}

impl HostBridge {
    /// A bridge with nothing behind it.
    pub fn new(config: HostConfig) -> Rc<HostBridge> {
        Rc::new(HostBridge {
            config,
            functions: RefCell::default(),
            decode: RefCell::default(),
            last_hit: Cell::new(0),
        })
    }

    /// Puts a function at `requester`.
    ///
    /// # Panics
    /// If there is one already, or its bus is beyond ECAM.
    pub fn plug(&self, requester: RequesterId, function: Rc<dyn PciFunction>) {
        assert!(
            requester.0 >> 8 <= self.config.last_bus.into(),
            "{requester:?} is not in ECAM"
        );
        let before = self.functions.borrow_mut().insert(requester, function);
        assert!(before.is_none(), "{requester:?} is taken");
        self.redecode();
    }

    /// Bytes that the ECAM window takes.
    pub fn ecam_bytes(&self) -> u64 {
        (u64::from(self.config.last_bus) + 1) * ECAM_BYTES_PER_BUS
    }

    /// The ECAM window, for the bus of the CPUs.
    pub fn ecam(self: &Rc<Self>) -> Rc<dyn MmioDevice> {
        Rc::new(Ecam(self.clone()))
    }

    /// The memory windows with the first address of each, for the bus of the CPUs.
    pub fn windows(self: &Rc<Self>) -> Vec<(RangeInclusive<u64>, Rc<dyn MmioDevice>)> {
        let window = |range: &RangeInclusive<u64>| {
            let device: Rc<dyn MmioDevice> = Rc::new(Window {
                bridge: self.clone(),
                base: *range.start(),
            });
            (range.clone(), device)
        };
        self.config.windows.iter().map(window).collect()
    }

    /// The function and register behind an address of a window, if a BAR decodes it.
    pub fn route(&self, address: u64) -> Option<Route> {
        let decode = self.decode.borrow();
        let hit = |at: usize| {
            let entry = decode.get(at)?;
            (entry.first <= address && address <= entry.last).then(|| Route {
                function: entry.function.clone(),
                requester: entry.requester,
                bar: entry.bar,
                offset: address - entry.first,
            })
        };
        hit(self.last_hit.get()).or_else(|| {
            let at = decode.partition_point(|entry| entry.last < address);
            self.last_hit.set(at);
            hit(at)
        })
    }

    /// Learns again which addresses the functions decode. The bridge does so after each
    /// configuration write; a function that changes its BARs at another time has to ask for it.
    pub fn redecode(&self) {
        let functions = self.functions.borrow().clone();
        let mut decode: Vec<Decoded> = Vec::new();
        for (requester, function) in functions {
            for (bar, first, size) in function.decoded_bars() {
                let Some(last) = size.checked_sub(1).and_then(|size| first.checked_add(size))
                else {
                    continue;
                };
                let in_window = self
                    .config
                    .windows
                    .iter()
                    .any(|w| w.contains(&first) && w.contains(&last));
                // Two BARs at one address are the guest's mistake. Real requests would be claimed
                // by either; here by the one with the lower requester id, then BAR number.
                let free = decode
                    .iter()
                    .all(|other| last < other.first || other.last < first);
                if in_window && free {
                    decode.push(Decoded {
                        first,
                        last,
                        bar,
                        requester,
                        function: function.clone(),
                    });
                }
            }
        }
        decode.sort_by_key(|entry| entry.first);
        self.decode.replace(decode);
    }

    /// The function that a configuration request reaches, with the register's offset in it.
    fn target(&self, offset: u64, bytes: usize) -> Option<(Rc<dyn PciFunction>, u16)> {
        let requester = RequesterId(u16::try_from(offset >> 12).ok()?);
        let register = (offset & 0xfff) as u16;
        // A request does not cross into the next function; it could only be a misaligned one.
        if usize::from(register) + bytes > usize::from(CONFIG_BYTES) {
            return None;
        }
        Some((self.functions.borrow().get(&requester)?.clone(), register))
    }
}

struct Ecam(Rc<HostBridge>);

/// Configuration requests are at most 4 bytes; wider accesses are taken apart.
const CONFIG_REQUEST_BYTES: usize = 4;

/// Where in ECAM's configuration spaces an access is.
fn config_place(offset: u64) -> Unmodelled {
    Unmodelled {
        part: Part::Config(RequesterId((offset >> 12) as u16)),
        offset: offset & 0xffc,
    }
}

impl MmioDevice for Ecam {
    fn read(&self, offset: u64, data: &mut [u8]) -> Option<Unmodelled> {
        let place = config_place(offset);
        let Some((function, register)) = self.0.target(offset, data.len()) else {
            // *Unsupported Request*: the root complex completes the read with all ones. Software looks for
            // functions by their Vendor ID, and is to find none here.
            data.fill(0xff);
            return (place.offset != 0).then_some(place);
        };
        let mut absent = None;
        for (part, at) in data
            .chunks_mut(CONFIG_REQUEST_BYTES)
            .zip((register..).step_by(4))
        {
            absent = absent.or(function.config_read(at, part));
        }
        absent.map(|offset| Unmodelled { offset, ..place })
    }

    fn write(&self, offset: u64, data: &[u8]) -> Option<Unmodelled> {
        let place = config_place(offset);
        let Some((function, register)) = self.0.target(offset, data.len()) else {
            return Some(place);
        };
        let mut absent = None;
        for (part, at) in data
            .chunks(CONFIG_REQUEST_BYTES)
            .zip((register..).step_by(4))
        {
            absent = absent.or(function.config_write(at, part));
        }
        self.0.redecode();
        absent.map(|offset| Unmodelled { offset, ..place })
    }
}

struct Window {
    bridge: Rc<HostBridge>,
    base: u64,
}

/// A pair of 8 bytes is one request only if it is aligned to 16; any other could run over a BAR's
/// end, and is two.
fn request_bytes(address: u64, bytes: usize) -> usize {
    if bytes == 16 && !address.is_multiple_of(16) {
        8
    } else {
        bytes.max(1)
    }
}

impl Window {
    /// What an access that no BAR decodes met, or a register of one.
    fn place(
        &self,
        address: u64,
        route: Option<&Route>,
        absent: Option<u64>,
    ) -> Option<Unmodelled> {
        match route {
            Some(route) => absent.map(|offset| Unmodelled {
                part: Part::Bar(route.requester, route.bar),
                offset,
            }),
            None => Some(Unmodelled::in_block(address - self.base)),
        }
    }
}

impl MmioDevice for Window {
    fn read(&self, offset: u64, data: &mut [u8]) -> Option<Unmodelled> {
        let mut first = None;
        let mut address = self.base + offset;
        let bytes = request_bytes(address, data.len());
        for part in data.chunks_mut(bytes) {
            let route = self.bridge.route(address);
            let absent = match &route {
                Some(route) => route.function.bar_read(route.bar, route.offset, part),
                None => {
                    part.fill(0xff);
                    None
                }
            };
            first = first.or(self.place(address, route.as_ref(), absent));
            address += bytes as u64;
        }
        first
    }

    fn write(&self, offset: u64, data: &[u8]) -> Option<Unmodelled> {
        let mut first = None;
        let mut address = self.base + offset;
        let bytes = request_bytes(address, data.len());
        for part in data.chunks(bytes) {
            let route = self.bridge.route(address);
            let absent = route
                .as_ref()
                .and_then(|route| route.function.bar_write(route.bar, route.offset, part));
            first = first.or(self.place(address, route.as_ref(), absent));
            address += bytes as u64;
        }
        first
    }
}
