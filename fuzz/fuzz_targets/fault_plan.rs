//! Texts of fault plans. See docs/fuzzing.md.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    stallbox_faultplan::fuzzing::run(data);
});
