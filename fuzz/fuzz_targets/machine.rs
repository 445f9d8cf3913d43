//! The assembled machine: guests that make devices work, looked at from outside. See docs/fuzzing.md.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stallbox_vmm::fuzzing;

fuzz_target!(|data: &[u8]| {
    fuzzing::run(data);
});
