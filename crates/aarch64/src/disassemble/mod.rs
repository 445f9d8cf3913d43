//! Instructions as text, as GNU objdump 2.40 prints them.
//!
//! The text is made of the decoded [`Insn`](crate::decode::Insn), so that it says what this CPU
//! executes. Where the manual has an alias, the alias is printed that objdump prefers. objdump's
//! comments (`// #-1`) and symbols are left out, and a space stands for its tab.

mod integer;
mod memory;
mod operands;
mod simd;
mod system;

use std::fmt;

use crate::decode::{Insn, decode};

/// An instruction and where it is; [`disassemble`] makes one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Disassembly {
    word: u32,
    insn: Insn,
    pc: u64,
}

/// The instruction `word` at the address `pc`, from which branches and literals count.
///
/// What the CPU does not know, be it unallocated or of an extension that it has not, is printed as
/// `.inst 0x........ ; undefined`, or as UDF if it is that.
///
/// ```
/// # use stallbox_aarch64::disassemble;
/// assert_eq!(disassemble(0xf100_0400, 0).to_string(), "subs x0, x0, #0x1");
/// assert_eq!(disassemble(0x54ff_ff21, 0x1000).to_string(), "b.ne 0xfe4");
/// assert_eq!(disassemble(0xffff_ffff, 0).to_string(), ".inst 0xffffffff ; undefined");
/// ```
pub fn disassemble(word: u32, pc: u64) -> Disassembly {
    Disassembly {
        word,
        insn: decode(word),
        pc,
    }
}

impl Disassembly {
    /// The decoded instruction.
    pub const fn insn(&self) -> &Insn {
        &self.insn
    }
}

impl fmt::Display for Disassembly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.insn {
            Insn::Undefined if self.word >> 16 == 0 => write!(f, "udf #{}", self.word),
            Insn::Undefined => write!(f, ".inst {:#010x} ; undefined", self.word),
            Insn::Simd(insn) => f.write_str(&simd::text(insn, self.pc)),
            Insn::System(insn) => f.write_str(&system::text(insn)),
            insn => {
                let text = integer::text(insn, self.pc).or_else(|| memory::text(insn, self.pc));
                f.write_str(&text.unwrap_or_default())
            }
        }
    }
}
