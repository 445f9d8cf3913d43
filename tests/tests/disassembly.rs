//! The disassembler against GNU objdump, on all of a kernel's text: see
//! `crates/aarch64/tests/disassembly`, which does the same with the whole encoding space.

#![forbid(unsafe_code)]

#[path = "../../crates/aarch64/tests/disassembly/comparison.rs"]
mod comparison;
#[path = "../../crates/aarch64/tests/disassembly/objdump.rs"]
mod objdump;

use std::collections::BTreeSet;
use std::fs;

use comparison::Comparison;
use object::{Object, ObjectSection, SectionKind};
use stallbox_tests::image;

/// Every word of the kernel's executable sections, once.
#[test]
fn kernel_text_is_as_objdump_has_it() {
    let path = &image().vmlinux;
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let elf = object::File::parse(&*bytes).expect("an ELF file");
    let mut words = BTreeSet::new();
    for section in elf.sections().filter(|it| it.kind() == SectionKind::Text) {
        let data = section.data().expect("a section with its bytes");
        words.extend(
            data.as_chunks()
                .0
                .iter()
                .map(|&word| u32::from_le_bytes(word)),
        );
    }
    let words: Vec<u32> = words.into_iter().collect();
    assert!(words.len() > 100_000, "{} words", words.len());
    let comparison = Comparison::of(&words);
    comparison.conclude();
    // The rest is code for CPUs that have more, which the kernel does not run here, and data.
    let taken: u64 = comparison.same.values().sum();
    let all = words.len() as u64;
    assert!((all - taken) * 1000 < all, "{taken} of {all}");
}
