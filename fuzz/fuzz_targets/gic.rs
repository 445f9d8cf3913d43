//! The interrupt controller: registers, ITS tables and commands. See docs/fuzzing.md.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stallbox_devices::fuzzing::Target;

fuzz_target!(|data: &[u8]| {
    Target::Gic.run(data);
});
