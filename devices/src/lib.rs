//! The machine's devices. None of them knows which engine runs the guest: a device sees the
//! [timeline](stallbox_timeline), guest memory or a [DMA port](dma), and interrupt lines.
//!
//! Everything here stays on one thread and is shared by `Rc`: a device's methods take `&self` and
//! keep their state in cells. No borrow of a cell outlives an `await`.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod atc;
pub mod dma;
pub mod function;
#[cfg(any(test, feature = "test-utils"))]
pub mod fuzzing;
pub mod gic;
pub mod hisi;
pub mod irq;
mod lease;
pub mod mmio;
pub mod pcie;
pub mod rtc;
pub mod serial;
pub mod state;
pub mod test_engine;
#[cfg(any(test, feature = "test-utils"))]
#[cfg_attr(not(test), allow(dead_code))]
mod testing;
pub mod timer;
pub mod verdict;

/// The guest's RAM.
pub type GuestRam = std::rc::Rc<vm_memory::GuestMemoryMmap<()>>;
