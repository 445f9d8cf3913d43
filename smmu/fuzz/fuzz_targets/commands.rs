//! Commands, with accesses between them. Run it with `cargo +nightly fuzz run commands` in `smmu`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stallbox_smmu::fuzzing::Target;

fuzz_target!(|data: &[u8]| {
    Target::Commands.run(data);
});
