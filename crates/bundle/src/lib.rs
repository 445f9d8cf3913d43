//! Bundles: a run in one file. What decided it, what came from outside while it ran, and enough of its
//! trace's hashes to tell where a repetition goes another way.
//!
//! `docs/bundles.md` is the format's reference.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod chain;
mod file;
mod record;

pub use chain::{Chain, Link};
pub use file::{BundleError, FORMAT, read, write};
pub use record::{Bundle, Content, End, Input, Place, Turn};
