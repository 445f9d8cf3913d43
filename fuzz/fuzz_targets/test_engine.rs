//! The test engine: registers, rings, descriptors, page requests. See docs/fuzzing.md.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stallbox_devices::fuzzing::Target;

fuzz_target!(|data: &[u8]| {
    Target::TestEngine.run(data);
});
