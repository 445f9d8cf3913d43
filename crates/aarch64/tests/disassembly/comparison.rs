//! The disassembler's text beside objdump's, word by word.

use std::collections::BTreeMap;

use stallbox_aarch64::decode::Insn;
use stallbox_aarch64::disassemble;

use crate::objdump;

/// Where the words are disassembled: high, so that addresses of branches are as a kernel's are, and
/// some wrap.
const BASE: u64 = 0xffff_ffc0_0000_0000;

/// What came of a comparison.
#[derive(Default)]
pub(crate) struct Comparison {
    /// Words that both take, by mnemonic.
    pub same: BTreeMap<String, u64>,
    /// Words that neither takes.
    undefined: u64,
    /// Words that only the CPU takes, see [`is_lenient`].
    lenient: u64,
    /// Words of which objdump has a name where there is a number here, see [`is_a_number`].
    numbers: u64,
    /// Words that only objdump takes, by its mnemonic: of extensions that the CPU has not.
    pub absent: BTreeMap<String, u64>,
    /// Differences, one for each pair of mnemonics, and how many there are.
    different: BTreeMap<(String, String), (u64, String)>,
}

fn mnemonic(text: &str) -> String {
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// Whether this is an LDAR whose unused fields are not all ones, as they should be: the CPU does not
/// look at them, as the architecture permits, objdump does.
fn is_lenient(word: u32) -> bool {
    word & 0x3fe0_8000 == 0x08c0_8000 && word & 0x001f_7c00 != 0x001f_7c00
}

/// Whether a hint, a system register or a prefetch has a number for a name. Binutils learn names of
/// later extensions with each version; those here are of 2.40.
fn is_a_number(text: &str) -> bool {
    let register = |word: &str| {
        let mut parts = word.trim_end_matches(',').split('_');
        parts.next().is_some_and(|it| it.starts_with('s')) && parts.count() == 4
    };
    match text.split_once(' ') {
        Some(("hint", _)) => true,
        Some(("mrs" | "msr", operands)) => operands.split(' ').any(register),
        Some(("prfm" | "prfum", operands)) => operands.starts_with('#'),
        _ => false,
    }
}

impl Comparison {
    /// Compares them all.
    pub(crate) fn of(words: &[u32]) -> Comparison {
        let mut result = Comparison::default();
        let theirs = objdump::disassemble(words, BASE);
        for ((pc, &word), theirs) in (BASE..).step_by(4).zip(words).zip(&theirs) {
            let disassembly = disassemble(word, pc);
            let ours = disassembly.to_string();
            let known = !theirs.starts_with(".inst") && !theirs.starts_with("udf");
            let taken = *disassembly.insn() != Insn::Undefined;
            if taken && ours == *theirs {
                *result.same.entry(mnemonic(&ours)).or_default() += 1;
            } else if !taken && known {
                *result.absent.entry(mnemonic(theirs)).or_default() += 1;
            } else if !taken && (ours == *theirs || theirs.ends_with("; NYI")) {
                // "Not yet implemented" in objdump.
                result.undefined += 1;
            } else if taken && !known && is_lenient(word) {
                result.lenient += 1;
            } else if taken && known && is_a_number(&ours) {
                result.numbers += 1;
            } else {
                let pair = (mnemonic(&ours), mnemonic(theirs));
                let example = format!("{word:08x} is {theirs:?}, here {ours:?}");
                result.different.entry(pair).or_insert((0, example)).0 += 1;
            }
        }
        result
    }

    /// Prints what is the same, and fails if anything is not.
    pub(crate) fn conclude(&self) {
        let words: u64 = self.same.values().sum();
        let absent: u64 = self.absent.values().sum();
        println!(
            "{words} words are the same, of {} mnemonics; {} have a number here and a name there; {} are \
             undefined; {} have other values in unused fields; {absent} are of extensions that are not there: {:?}",
            self.same.len(),
            self.numbers,
            self.undefined,
            self.lenient,
            self.absent
        );
        let examples: Vec<String> = self
            .different
            .values()
            .map(|(times, example)| format!("{times} times: {example}"))
            .collect();
        assert!(
            self.numbers * 1000 < words,
            "{} of {words} have a number here and a name there",
            self.numbers
        );
        assert!(
            examples.is_empty(),
            "{} kinds of difference:\n{}",
            examples.len(),
            examples[..examples.len().min(60)].join("\n")
        );
    }
}
