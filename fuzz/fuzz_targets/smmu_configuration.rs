//! Stream table entries and context descriptors. See docs/fuzzing.md.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stallbox_smmu::fuzzing::Target;

fuzz_target!(|data: &[u8]| {
    Target::Configuration.run(data);
});
