//! What accelerators have in common, whatever they compute.

mod probe;

pub use probe::{DeviceNote, DeviceProbe, DeviceStep, NoProbe};
