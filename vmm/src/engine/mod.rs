//! Engines: what runs guest instructions against a [`World`](crate::machine::World).

mod psci;
pub mod soft;
