//! The SMMU's registers. See docs/fuzzing.md.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stallbox_smmu::fuzzing::Target;

fuzz_target!(|data: &[u8]| {
    Target::Registers.run(data);
});
