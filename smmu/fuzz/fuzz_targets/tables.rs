//! Translation tables of one or both stages. Run it with `cargo +nightly fuzz run tables` in `smmu`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stallbox_smmu::fuzzing::Target;

fuzz_target!(|data: &[u8]| {
    Target::Tables.run(data);
});
