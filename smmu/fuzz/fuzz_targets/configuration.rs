//! A stream table entry and a context descriptor. Run it with `cargo +nightly fuzz run configuration` in `smmu`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stallbox_smmu::fuzzing::Target;

fuzz_target!(|data: &[u8]| {
    Target::Configuration.run(data);
});
