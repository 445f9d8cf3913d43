//! What a decoded instruction looks like: what the architecture says, in as few forms as it has.
//!
//! Shared conventions: `rd`, `rt`, `rn`, `rm`, `ra` are numbers of
//! [`registers`](crate::registers); 31 of an encoding is already XZR or SP, whichever it means.
//! `wide` is sf: 64 bits, otherwise 32. Immediates are expanded where their encoding has one
//! meaning only. PC-relative offsets count from the address of the instruction itself.
//!
//! Executors make of it what they like: the interpreter's forms are in `exec/lower.rs`.
#![allow(
    missing_docs,
    reason = "fields are named as in the manual; variants by their mnemonics"
)]

use super::simd::SimdInsn;
use super::system::SystemInsn;
use crate::bus::Size;

/// How a register operand is shifted (DDI 0487, `ShiftType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShiftKind {
    Lsl,
    Lsr,
    Asr,
    Ror,
}

/// How a register operand is extended (DDI 0487, `ExtendType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtendKind {
    Uxtb,
    Uxth,
    Uxtw,
    Uxtx,
    Sxtb,
    Sxth,
    Sxtw,
    Sxtx,
}

/// A condition, by its encoding (DDI 0487, `ConditionHolds`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition(u8);

impl Condition {
    /// The condition with the low four bits of `code`.
    pub const fn new(code: u32) -> Self {
        Self(code as u8 & 15)
    }

    /// The encoding, 0 to 15.
    pub const fn code(self) -> u8 {
        self.0
    }

    /// The opposite condition. AL and NV, which are the same, have each other.
    pub const fn inverted(self) -> Self {
        Self(self.0 ^ 1)
    }

    /// Whether it always holds.
    pub const fn is_always(self) -> bool {
        self.0 >= 14
    }

    /// For which values of NZCV it holds: bit n is set if it does when NZCV is n.
    #[inline(always)]
    pub const fn holding(self) -> u16 {
        HOLDING[self.0 as usize & 15]
    }
}

static HOLDING: [u16; 16] = {
    let mut sets = [0; 16];
    let mut code = 0;
    while code < 16 {
        sets[code] = holding(code);
        code += 1;
    }
    sets
};

const fn holding(code: usize) -> u16 {
    let mut set = 0;
    let mut nzcv = 0;
    while nzcv < 16 {
        let (n, z, c, v) = (nzcv & 8 != 0, nzcv & 4 != 0, nzcv & 2 != 0, nzcv & 1 != 0);
        let holds = match code >> 1 {
            0b000 => z,
            0b001 => c,
            0b010 => n,
            0b011 => v,
            0b100 => c && !z,
            0b101 => n == v,
            0b110 => n == v && !z,
            _ => true,
        };
        // AL and NV are the same condition.
        let inverted = code & 1 != 0 && code != 0b1111;
        if holds != inverted {
            set |= 1 << nzcv;
        }
        nzcv += 1;
    }
    set
}

/// What a single-register load reads, and how it fills the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadKind {
    /// Zero-extended.
    Unsigned(Size),
    /// Sign-extended to 64 bits.
    SignedX(Size),
    /// Sign-extended to 32 bits, then zero-extended.
    SignedW(Size),
}

/// How a load or store of one register makes its address of the base register, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// Base plus an unsigned multiple of the size (LDR).
    Unsigned(u16),
    /// Base plus a signed offset (LDUR).
    Unscaled(i16),
    /// The same, with the permissions of EL0 (LDTR).
    Unprivileged(i16),
    /// The base moves before the access.
    PreIndexed(i16),
    /// The base moves after the access.
    PostIndexed(i16),
    /// Base plus a register, extended and, if `scaled`, multiplied by the size.
    Register {
        rm: u8,
        extend: ExtendKind,
        scaled: bool,
    },
}

/// How a load or store of two registers makes its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairMode {
    /// The base stays.
    Offset,
    /// The base stays, and the data is not needed again soon (LDNP, STNP).
    NonTemporal,
    /// The base moves before the access.
    PreIndexed,
    /// The base moves after the access.
    PostIndexed,
}

/// Logical operation of two operands. `Ands` also sets the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogicalOp {
    And,
    Orr,
    Eor,
    Ands,
}

/// Moves of a 16-bit immediate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveWideOp {
    Movn,
    Movz,
    Movk,
}

/// Bitfield moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitfieldOp {
    Sbfm,
    Bfm,
    Ubfm,
}

/// Branches to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BranchRegisterOp {
    Br,
    Blr,
    Ret,
}

/// What conditional select makes of its second operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CondSelOp {
    Csel,
    Csinc,
    Csinv,
    Csneg,
}

/// Data processing of one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OneSourceOp {
    Rbit,
    Rev16,
    /// REV of 32 bits, REV32 of 64.
    Rev32,
    /// REV of 64 bits.
    Rev64,
    Clz,
    Cls,
}

/// Read-modify-write operation of the LSE atomics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtomicOp {
    Add,
    Clr,
    Eor,
    Set,
    Smax,
    Smin,
    Umax,
    Umin,
    Swp,
}

/// A decoded instruction.
#[derive(Clone, Copy, Debug, PartialEq)]
#[rustfmt::skip] // One instruction a line.
pub enum Insn {
    /// Unallocated, reserved, or of an extension that this CPU does not have.
    Undefined,
    /// Floating point and Advanced SIMD.
    Simd(SimdInsn),
    /// Exception generation, hints, barriers, system registers, ERET.
    System(SystemInsn),

    // Data processing -- immediate.
    /// ADR and, with `page`, ADRP, whose offset counts from the start of the 4 KiB page.
    Adr { page: bool, rd: u8, offset: i64 },
    /// ADD, ADDS, SUB and SUBS: `imm` is shifted by 12 if `shifted`.
    AddSubImm { sub: bool, set_flags: bool, wide: bool, rd: u8, rn: u8, imm: u16, shifted: bool },
    LogicalImm { op: LogicalOp, wide: bool, rd: u8, rn: u8, imm: u64 },
    MoveWide { op: MoveWideOp, wide: bool, rd: u8, imm: u16, shift: u8 },
    Bitfield { op: BitfieldOp, wide: bool, rd: u8, rn: u8, immr: u8, imms: u8 },
    Extract { wide: bool, rd: u8, rn: u8, rm: u8, lsb: u8 },

    // Branches.
    /// B and, with `link`, BL.
    Branch { link: bool, offset: i64 },
    BranchCond { condition: Condition, offset: i64 },
    /// CBZ and CBNZ.
    CompareBranch { nonzero: bool, wide: bool, rt: u8, offset: i64 },
    /// TBZ and TBNZ.
    TestBranch { nonzero: bool, rt: u8, bit: u8, offset: i64 },
    BranchRegister { op: BranchRegisterOp, rn: u8 },

    // Data processing -- register.
    /// `invert` makes BIC, ORN, EON, BICS.
    LogicalShifted {
        op: LogicalOp, invert: bool, wide: bool, rd: u8, rn: u8, rm: u8, kind: ShiftKind, shift: u8,
    },
    AddSubShifted {
        sub: bool, set_flags: bool, wide: bool, rd: u8, rn: u8, rm: u8, kind: ShiftKind, shift: u8,
    },
    AddSubExtended {
        sub: bool, set_flags: bool, wide: bool, rd: u8, rn: u8, rm: u8, kind: ExtendKind, shift: u8,
    },
    /// ADC, ADCS, SBC, SBCS.
    AddSubCarry { sub: bool, set_flags: bool, wide: bool, rd: u8, rn: u8, rm: u8 },
    /// CCMP and, with `sub` false, CCMN.
    CondCompareReg { sub: bool, wide: bool, rn: u8, rm: u8, nzcv: u8, condition: Condition },
    CondCompareImm { sub: bool, wide: bool, rn: u8, imm: u8, nzcv: u8, condition: Condition },
    CondSel { op: CondSelOp, wide: bool, rd: u8, rn: u8, rm: u8, condition: Condition },
    Divide { signed: bool, wide: bool, rd: u8, rn: u8, rm: u8 },
    /// LSLV, LSRV, ASRV, RORV.
    ShiftVariable { kind: ShiftKind, wide: bool, rd: u8, rn: u8, rm: u8 },
    /// CRC32 and, with `castagnoli`, CRC32C.
    Crc32 { castagnoli: bool, size: Size, rd: u8, rn: u8, rm: u8 },
    OneSource { op: OneSourceOp, wide: bool, rd: u8, rn: u8 },
    /// MADD and MSUB.
    MultiplyAdd { sub: bool, wide: bool, rd: u8, rn: u8, rm: u8, ra: u8 },
    /// SMADDL, SMSUBL, UMADDL, UMSUBL.
    MultiplyAddLong { sub: bool, signed: bool, rd: u8, rn: u8, rm: u8, ra: u8 },
    /// SMULH and UMULH.
    MultiplyHigh { signed: bool, rd: u8, rn: u8, rm: u8 },

    // Loads and stores.
    Load { kind: LoadKind, rt: u8, rn: u8, addressing: Addressing },
    Store { size: Size, rt: u8, rn: u8, addressing: Addressing },
    LoadLiteral { kind: LoadKind, rt: u8, offset: i64 },
    /// PRFM and PRFUM: `operation` is its five bits.
    Prefetch { operation: u8, rn: u8, addressing: Addressing },
    PrefetchLiteral { operation: u8, offset: i64 },
    /// LDP, LDNP and LDPSW.
    LoadPair { kind: LoadKind, mode: PairMode, rt: u8, rt2: u8, rn: u8, offset: i16 },
    StorePair { size: Size, mode: PairMode, rt: u8, rt2: u8, rn: u8, offset: i16 },
    /// LDXR and, with `acquire`, LDAXR.
    LoadExclusive { size: Size, acquire: bool, rt: u8, rn: u8 },
    /// STXR and, with `release`, STLXR.
    StoreExclusive { size: Size, release: bool, rs: u8, rt: u8, rn: u8 },
    LoadExclusivePair { wide: bool, acquire: bool, rt: u8, rt2: u8, rn: u8 },
    StoreExclusivePair { wide: bool, release: bool, rs: u8, rt: u8, rt2: u8, rn: u8 },
    /// LDAR.
    LoadAcquire { size: Size, rt: u8, rn: u8 },
    /// STLR.
    StoreRelease { size: Size, rt: u8, rn: u8 },
    /// CAS.
    CompareSwap { size: Size, acquire: bool, release: bool, rs: u8, rt: u8, rn: u8 },
    /// CASP: `rs` and `rt` are the even registers of their pairs.
    CompareSwapPair { wide: bool, acquire: bool, release: bool, rs: u8, rt: u8, rn: u8 },
    /// LDADD and its kin, and SWP.
    Atomic { op: AtomicOp, size: Size, acquire: bool, release: bool, rs: u8, rt: u8, rn: u8 },
}
