//! Stallbox: an arm64 machine for device page faults.

fn main() {}
