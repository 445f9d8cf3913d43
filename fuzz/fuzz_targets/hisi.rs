//! The accelerator: mailbox, doorbells, contexts, descriptors, registers. See docs/fuzzing.md.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stallbox_devices::fuzzing::Target;

fuzz_target!(|data: &[u8]| {
    Target::Hisi.run(data);
});
