//! The seam to the interrupt controller, which belongs to the engine.

use std::rc::Rc;

use stallbox_devices::irq::IrqLine;

/// An interrupt controller with an ITS, as the devices of a [`World`](crate::World) use it: the soft
/// engine's own model, or that of the host's kernel.
pub trait InterruptController {
    /// The wire of a shared interrupt, by its INTID. Level or edge is what the guest configures.
    fn spi(&self, intid: u32) -> Rc<dyn IrqLine>;

    /// A write of `event_id` to `GITS_TRANSLATER` by the device that the ITS knows as `device_id`.
    fn msi(&self, device_id: u32, event_id: u32);
}
