//! What accelerators have in common, whatever they compute.

mod accelerator;
mod master;
mod probe;
mod wires;

pub use accelerator::{Accelerator, FirmwareNode, Injection, InjectionError};
pub(crate) use master::{BusMaster, DmaError, Requester};
pub use probe::{DeviceNote, DeviceProbe, DeviceStep, NoProbe};
pub(crate) use wires::Wires;
