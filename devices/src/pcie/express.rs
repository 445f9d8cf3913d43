//! The capability that makes a function a PCI Express one (PCI Express Base Specification, *PCI
//! Express Capability Structure*), version 2.

use super::capability::{Capability, CapabilityId, Effects, replace};

/// Capability id.
pub const EXPRESS_ID: u8 = 0x10;

const CAPABILITIES: u16 = 0x00;
const DEVICE_CAPABILITIES: u16 = 0x04;
const DEVICE_CONTROL: u16 = 0x08;
const LINK_CAPABILITIES: u16 = 0x0c;
const LINK_CONTROL: u16 = 0x10;
const DEVICE_CAPABILITIES_2: u16 = 0x24;
const DEVICE_CONTROL_2: u16 = 0x28;
const LINK_CAPABILITIES_2: u16 = 0x2c;
const LINK_CONTROL_2: u16 = 0x30;
const LENGTH: u16 = 0x3c;

const VERSION: u32 = 2 << 16;
const TYPE_SHIFT: u32 = 20;

/// Max_Payload_Size Supported: 512 bytes.
const PAYLOAD_512: u32 = 2;
const EXTENDED_TAG_SUPPORTED: u32 = 1 << 5;
/// Role-Based Error Reporting: required since version 1.1.
const ROLE_BASED_ERRORS: u32 = 1 << 15;
const FLR_CAPABLE: u32 = 1 << 28;

const MAX_PAYLOAD_SIZE: u32 = 0b111 << 5;
const MAX_READ_REQUEST_512: u32 = 2 << 12;
const RELAXED_ORDERING: u32 = 1 << 4;
const NO_SNOOP: u32 = 1 << 11;
const INITIATE_FLR: u32 = 1 << 15;
/// Error reporting enables, Relaxed Ordering, payload size, Extended Tag, No Snoop and read request
/// size. Phantom functions and Aux power are not there.
const DEVICE_CONTROL_WRITABLE: u32 =
    0xf | RELAXED_ORDERING | MAX_PAYLOAD_SIZE | 1 << 8 | NO_SNOOP | 0b111 << 12;
/// Enable Relaxed Ordering and No Snoop are set at reset, and a read request may be 512 bytes.
const DEVICE_CONTROL_RESET: u32 = RELAXED_ORDERING | NO_SNOOP | MAX_READ_REQUEST_512;

/// 16 GT/s, and a Supported Link Speeds vector that ends with it.
const SPEED_16G: u32 = 4;
const SPEEDS_UP_TO_16G: u32 = 0b1111 << 1;
const WIDTH_16: u32 = 16 << 4;
/// ASPM, common clock, extended synch, hardware autonomous width disable.
const LINK_CONTROL_WRITABLE: u32 = 0b11 | 1 << 6 | 1 << 7 | 1 << 9;
/// Target speed, enter compliance, hardware autonomous speed disable.
const LINK_CONTROL_2_WRITABLE: u32 = 0xf | 1 << 4 | 1 << 5;

const TIMEOUT_DISABLE_SUPPORTED: u32 = 1 << 4;
const END_END_PREFIXES_SUPPORTED: u32 = 1 << 21;
const END_END_PREFIXES_SHIFT: u32 = 22;
/// Completion timeout disable.
const DEVICE_CONTROL_2_WRITABLE: u32 = 1 << 4;
/// AtomicOp Requester Enable, of a function that makes such requests.
const ATOMIC_REQUESTER_ENABLE: u32 = 1 << 6;

/// Device/Port Type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PortType {
    Endpoint,
    IntegratedEndpoint,
}

/// The PCI Express capability structure.
#[derive(Clone, Debug)]
pub struct Express {
    port: PortType,
    end_end_prefixes: u32,
    atomic_requester: bool,
    device_control: u32,
    device_control_2: u32,
    link_control: u32,
    link_control_2: u32,
}

impl Express {
    /// An endpoint on a link (below a root port, or drawn on the root bus).
    pub fn endpoint() -> Express {
        Express::new(PortType::Endpoint)
    }

    /// A Root Complex Integrated Endpoint: on the root bus, without a link.
    pub fn integrated_endpoint() -> Express {
        Express::new(PortType::IntegratedEndpoint)
    }

    fn new(port: PortType) -> Express {
        Express {
            port,
            end_end_prefixes: 1,
            atomic_requester: false,
            device_control: DEVICE_CONTROL_RESET,
            device_control_2: 0,
            link_control: 0,
            link_control_2: Express::link_control_2_reset(port),
        }
    }

    /// Without End-End TLP Prefix Supported, like devices that carry a PASID in their own way.
    pub fn without_end_end_prefixes(mut self) -> Express {
        self.end_end_prefixes = 0;
        self
    }

    /// A function that makes AtomicOp requests, once software has enabled them (*Atomic Operations
    /// (AtomicOps)*).
    pub fn with_atomic_requester(mut self) -> Express {
        self.atomic_requester = true;
        self
    }

    /// AtomicOp Requester Enable.
    pub fn atomics_enabled(&self) -> bool {
        self.device_control_2 & ATOMIC_REQUESTER_ENABLE != 0
    }

    fn link_control_2_reset(port: PortType) -> u32 {
        match port {
            PortType::Endpoint => SPEED_16G,
            PortType::IntegratedEndpoint => 0,
        }
    }

    /// The value of a register that only a function on a link has; an integrated endpoint's are
    /// hardwired to zero.
    fn on_link(&self, value: u32) -> u32 {
        match self.port {
            PortType::Endpoint => value,
            PortType::IntegratedEndpoint => 0,
        }
    }
}

impl Capability for Express {
    fn id(&self) -> CapabilityId {
        CapabilityId::Standard(EXPRESS_ID)
    }

    fn length(&self) -> u16 {
        LENGTH
    }

    fn read(&self, register: u16) -> u32 {
        match register {
            CAPABILITIES => {
                let port = match self.port {
                    PortType::Endpoint => 0b0000,
                    PortType::IntegratedEndpoint => 0b1001,
                };
                port << TYPE_SHIFT | VERSION
            }
            DEVICE_CAPABILITIES => {
                FLR_CAPABLE | ROLE_BASED_ERRORS | EXTENDED_TAG_SUPPORTED | PAYLOAD_512
            }
            // Device Status, in the upper half, is zero: no errors are reported, and Transactions
            // Pending would only make software wait.
            DEVICE_CONTROL => self.device_control,
            LINK_CAPABILITIES => self.on_link(WIDTH_16 | SPEED_16G),
            LINK_CONTROL => self.on_link((WIDTH_16 | SPEED_16G) << 16 | self.link_control),
            DEVICE_CAPABILITIES_2 => {
                let prefixes = match self.end_end_prefixes {
                    0 => 0,
                    // 01b to 11b count one to three, 00b is four.
                    count => END_END_PREFIXES_SUPPORTED | (count & 3) << END_END_PREFIXES_SHIFT,
                };
                prefixes | TIMEOUT_DISABLE_SUPPORTED
            }
            DEVICE_CONTROL_2 => self.device_control_2,
            LINK_CAPABILITIES_2 => self.on_link(SPEEDS_UP_TO_16G),
            LINK_CONTROL_2 => self.on_link(self.link_control_2),
            _ => 0,
        }
    }

    fn write(&mut self, register: u16, value: u32, enables: u32) -> Effects {
        match register {
            DEVICE_CONTROL => {
                let writable = enables & DEVICE_CONTROL_WRITABLE;
                self.device_control = replace(self.device_control, value, writable);
                // The bit itself always reads zero.
                let flr = value & enables & INITIATE_FLR != 0;
                return Effects {
                    flr,
                    ..Effects::default()
                };
            }
            LINK_CONTROL => {
                let writable = enables & self.on_link(LINK_CONTROL_WRITABLE);
                self.link_control = replace(self.link_control, value, writable);
            }
            DEVICE_CONTROL_2 => {
                let atomics = if self.atomic_requester {
                    ATOMIC_REQUESTER_ENABLE
                } else {
                    0
                };
                let writable = enables & (DEVICE_CONTROL_2_WRITABLE | atomics);
                self.device_control_2 = replace(self.device_control_2, value, writable);
            }
            LINK_CONTROL_2 => {
                let writable = enables & self.on_link(LINK_CONTROL_2_WRITABLE);
                self.link_control_2 = replace(self.link_control_2, value, writable);
            }
            _ => {}
        }
        Effects::default()
    }

    fn reset(&mut self) {
        // A Function Level Reset keeps what belongs to the link and to the fabric: Max_Payload_Size
        // and the link's registers.
        self.device_control = replace(DEVICE_CONTROL_RESET, self.device_control, MAX_PAYLOAD_SIZE);
        self.device_control_2 = 0;
    }
}
