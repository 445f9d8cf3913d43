//! Commands for the SMMU, with accesses between them. See docs/fuzzing.md.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stallbox_smmu::fuzzing::Target;

fuzz_target!(|data: &[u8]| {
    Target::Commands.run(data);
});
