//! PCI configuration space, and BARs that move. See docs/fuzzing.md.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stallbox_devices::fuzzing::Target;

fuzz_target!(|data: &[u8]| {
    Target::Pci.run(data);
});
