//! Branches, exception generating and system instructions (DDI 0487, *A64 instruction set
//! encoding*). What is not a branch is decoded by [`system`].

use super::{
    BranchRegisterOp, Condition, Insn, Pattern, bit, field, pattern, register, signed, system,
};

pub(super) static PATTERNS: &[Pattern] = &[
    pattern(
        "0101010 0 iiiiiiiiiiiiiiiiiii 0 cccc",
        "B.cond",
        branch_conditional,
    ),
    pattern(
        "11010100 ooo iiiiiiiiiiiiiiii ppp ll",
        "exception generation",
        system_space,
    ),
    pattern(
        "1101010100 l oo ppp nnnn mmmm qqq ttttt",
        "system",
        system_space,
    ),
    pattern(
        "1101011 0000 11111 000000 nnnnn 00000",
        "BR",
        branch_register,
    ),
    pattern(
        "1101011 0001 11111 000000 nnnnn 00000",
        "BLR",
        branch_register,
    ),
    pattern(
        "1101011 0010 11111 000000 nnnnn 00000",
        "RET",
        branch_register,
    ),
    pattern(
        "1101011 0100 ooooo pppppp nnnnn qqqqq",
        "ERET",
        system_space,
    ),
    pattern(
        "1101011 0101 ooooo pppppp nnnnn qqqqq",
        "DRPS",
        system_space,
    ),
    pattern("0 00101 iiiiiiiiiiiiiiiiiiiiiiiiii", "B", branch),
    pattern("1 00101 iiiiiiiiiiiiiiiiiiiiiiiiii", "BL", branch),
    pattern(
        "f 011010 0 iiiiiiiiiiiiiiiiiii ttttt",
        "CBZ",
        compare_branch,
    ),
    pattern(
        "f 011010 1 iiiiiiiiiiiiiiiiiii ttttt",
        "CBNZ",
        compare_branch,
    ),
    pattern("b 011011 0 bbbbb iiiiiiiiiiiiii ttttt", "TBZ", test_branch),
    pattern("b 011011 1 bbbbb iiiiiiiiiiiiii ttttt", "TBNZ", test_branch),
];

fn system_space(word: u32) -> Option<Insn> {
    system::decode(word).map(Insn::System)
}

fn branch_conditional(word: u32) -> Option<Insn> {
    Some(Insn::BranchCond {
        condition: Condition::new(word),
        offset: signed(word, 23, 5) * 4,
    })
}

fn branch_register(word: u32) -> Option<Insn> {
    let op = match field(word, 24, 21) {
        0b0000 => BranchRegisterOp::Br,
        0b0001 => BranchRegisterOp::Blr,
        _ => BranchRegisterOp::Ret,
    };
    Some(Insn::BranchRegister {
        op,
        rn: register(word, 5),
    })
}

fn branch(word: u32) -> Option<Insn> {
    Some(Insn::Branch {
        link: bit(word, 31),
        offset: signed(word, 25, 0) * 4,
    })
}

fn compare_branch(word: u32) -> Option<Insn> {
    Some(Insn::CompareBranch {
        nonzero: bit(word, 24),
        wide: bit(word, 31),
        rt: register(word, 0),
        offset: signed(word, 23, 5) * 4,
    })
}

fn test_branch(word: u32) -> Option<Insn> {
    Some(Insn::TestBranch {
        nonzero: bit(word, 24),
        rt: register(word, 0),
        bit: (field(word, 31, 31) << 5 | field(word, 23, 19)) as u8,
        offset: signed(word, 18, 5) * 4,
    })
}
