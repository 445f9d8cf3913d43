//! `stallbox measure`, but for the guests: the matrix of what each way of preparing memory is worth,
//! under each thing that the kernel does with pages meanwhile; which guests it takes; what they report;
//! and the claims, tables and pages made of it.
//!
//! Who runs the guests is a [`Guests`]. The faults of a cell are those in the trace between its first
//! and its last operation ([`Sink`]): guest and trace share one clock.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod claims;
pub mod csv;
mod faults;
mod gathered;
pub mod html;
pub mod matrix;
mod parts;
mod ran;
pub mod report;
mod said;
pub mod table;

pub use faults::{Fault, FaultKind, Faults, Record, Sink};
pub use gathered::{Collected, Gathered, Guests, gather};
pub use parts::{Script, guests};
pub use ran::{End, Ran};
pub use said::{Said, Status};
