//! What accelerators have in common, whatever they compute.

mod accelerator;
mod probe;

pub use accelerator::{Accelerator, FirmwareNode, Injection, InjectionError};
pub use probe::{DeviceNote, DeviceProbe, DeviceStep, NoProbe};
