//! Writes to registers. Run it with `cargo +nightly fuzz run registers` in `smmu`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stallbox_smmu::fuzzing::Target;

fuzz_target!(|data: &[u8]| {
    Target::Registers.run(data);
});
