//! An Armv8.0-A AArch64 CPU at EL0 and EL1, with LSE atomics and CRC32, that runs the same way
//! every time.
//!
//! The crate knows no devices: a [`Bus`] gives it memory, the system registers of what is outside
//! the core (interrupt controller, timers) and the state of its interrupt inputs. [`Cpu::run`]
//! executes until its budget is spent or the outside must act.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod block;
mod bus;
mod cpu;
pub mod decode;
mod disassemble;
mod emulate;
mod exception;
mod exec;
pub mod fp;
mod leave;
pub mod mmu;
mod monitor;
pub mod registers;
mod state;
pub mod sysreg;

pub use bus::{Bus, BusError, Size};
pub use cpu::{Cpu, CpuConfig, Exit, Hafdbs};
pub use disassemble::{Disassembly, disassemble};
pub use exception::Exception;
pub use state::{Pstate, State};
