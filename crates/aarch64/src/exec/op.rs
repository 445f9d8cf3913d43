//! The interpreter's form of an instruction: fast to execute, and small.
//!
//! Registers are indices into [`State::x`](crate::State::x), with SINK for a destination that is
//! XZR. A variant whose name ends in `X` works on 64 bits, in `W` on 32 bits with the result
//! zero-extended; one without either is the same for both, or has the field `wide`. What is frequent
//! has a variant of its own, immediates are expanded, and a condition is the set of the NZCV that
//! satisfy it. [`lower`](super::lower) is the one place that makes them.

use crate::bus::Size;
use crate::decode::simd::{ImmediateOp, SimdInsn};
use crate::decode::system::SystemInsn;
use crate::decode::{AtomicOp, ExtendKind, LoadKind, LogicalOp, ShiftKind};

/// When a load or store moves its base register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IndexMode {
    /// Never.
    Offset,
    /// Before the access.
    Pre,
    /// After the access.
    Post,
}

/// Registers and addressing of LDP and STP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub mode: IndexMode,
    pub rt: u8,
    pub rt2: u8,
    pub rn: u8,
    pub offset: i16,
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq)]
#[rustfmt::skip] // One instruction a line.
pub(crate) enum Op {
    /// Unallocated, reserved, or of an extension that this CPU does not have.
    Undefined,
    /// Hints without effect here, such as PRFM.
    Nop,
    /// Floating point and Advanced SIMD, as decoded.
    Simd(SimdInsn),
    /// MOVI, MVNI, FMOV (immediate), ORR and BIC: each 64 bits are combined with `high:low`.
    SimdImmediate { op: ImmediateOp, width: u8, rd: u8, low: u32, high: u32 },
    /// Exception generation, hints, barriers, system registers, ERET, as decoded.
    System(SystemInsn),

    // Data processing -- immediate.
    Adr { rd: u8, offset: i64 },
    Adrp { rd: u8, offset: i64 },
    /// ADD and SUB (the immediate is negated), immediate.
    AddImmX { rd: u8, rn: u8, imm: u64 },
    AddImmW { rd: u8, rn: u8, imm: u64 },
    AddsImmX { rd: u8, rn: u8, imm: u64 },
    AddsImmW { rd: u8, rn: u8, imm: u64 },
    SubsImmX { rd: u8, rn: u8, imm: u64 },
    SubsImmW { rd: u8, rn: u8, imm: u64 },
    /// AND, UXTB, UXTH.
    AndImm { rd: u8, rn: u8, imm: u64 },
    OrrImmX { rd: u8, rn: u8, imm: u64 },
    OrrImmW { rd: u8, rn: u8, imm: u64 },
    EorImmX { rd: u8, rn: u8, imm: u64 },
    EorImmW { rd: u8, rn: u8, imm: u64 },
    AndsImmX { rd: u8, rn: u8, imm: u64 },
    AndsImmW { rd: u8, rn: u8, imm: u64 },
    /// MOVZ, MOVN, and ORR (immediate) with XZR.
    MovImm { rd: u8, imm: u64 },
    /// `rd = rd & keep | imm << shift`
    Movk { rd: u8, shift: u8, imm: u16, keep: u64 },
    /// UBFX and LSR: `rn >> shift & mask`
    Ubfx { rd: u8, rn: u8, shift: u8, mask: u64 },
    /// UBFIZ and LSL: `(rn & mask) << shift`
    Ubfiz { rd: u8, rn: u8, shift: u8, mask: u64 },
    /// SBFX, SBFIZ, ASR, SXTB, SXTH, SXTW: 64 bits shifted left, then arithmetically right.
    SbfmX { rd: u8, rn: u8, left: u8, right: u8 },
    SbfmW { rd: u8, rn: u8, left: u8, right: u8 },
    /// BFI and BFXIL: 64 bits rotated right, inserted where `mask` is set.
    BfmX { rd: u8, rn: u8, rotate: u8, mask: u64 },
    BfmW { rd: u8, rn: u8, rotate: u8, mask: u64 },
    ExtrX { rd: u8, rn: u8, rm: u8, lsb: u8 },
    ExtrW { rd: u8, rn: u8, rm: u8, lsb: u8 },

    // Branches.
    B { offset: i64 },
    Bl { offset: i64 },
    BCond { conditions: u16, offset: i64 },
    CbzX { rt: u8, offset: i64 },
    CbzW { rt: u8, offset: i64 },
    CbnzX { rt: u8, offset: i64 },
    CbnzW { rt: u8, offset: i64 },
    Tbz { rt: u8, bit: u8, offset: i64 },
    Tbnz { rt: u8, bit: u8, offset: i64 },
    /// BR and RET.
    Br { rn: u8 },
    Blr { rn: u8 },

    // Data processing -- register.
    MovX { rd: u8, rm: u8 },
    MovW { rd: u8, rm: u8 },
    AndX { rd: u8, rn: u8, rm: u8 },
    AndW { rd: u8, rn: u8, rm: u8 },
    OrrX { rd: u8, rn: u8, rm: u8 },
    OrrW { rd: u8, rn: u8, rm: u8 },
    EorX { rd: u8, rn: u8, rm: u8 },
    EorW { rd: u8, rn: u8, rm: u8 },
    AndsX { rd: u8, rn: u8, rm: u8 },
    AndsW { rd: u8, rn: u8, rm: u8 },
    BicX { rd: u8, rn: u8, rm: u8 },
    /// ORR with the second operand shifted left.
    OrrLslX { rd: u8, rn: u8, rm: u8, shift: u8 },
    /// The other logical operations; `invert` makes BIC, ORN, EON, BICS.
    Logical {
        op: LogicalOp, invert: bool, wide: bool, rd: u8, rn: u8, rm: u8, kind: ShiftKind,
        shift: u8,
    },
    AddX { rd: u8, rn: u8, rm: u8 },
    AddW { rd: u8, rn: u8, rm: u8 },
    SubX { rd: u8, rn: u8, rm: u8 },
    SubW { rd: u8, rn: u8, rm: u8 },
    AddsX { rd: u8, rn: u8, rm: u8 },
    AddsW { rd: u8, rn: u8, rm: u8 },
    SubsX { rd: u8, rn: u8, rm: u8 },
    SubsW { rd: u8, rn: u8, rm: u8 },
    /// ADD and SUB with the second operand shifted left.
    AddLslX { rd: u8, rn: u8, rm: u8, shift: u8 },
    SubLslX { rd: u8, rn: u8, rm: u8, shift: u8 },
    /// The other additions and subtractions of a shifted register.
    AddSubShifted {
        sub: bool, set_flags: bool, wide: bool, rd: u8, rn: u8, rm: u8, kind: ShiftKind,
        shift: u8,
    },
    AddSubExtended {
        sub: bool, set_flags: bool, wide: bool, rd: u8, rn: u8, rm: u8, kind: ExtendKind,
        shift: u8,
    },
    /// ADC, ADCS, SBC, SBCS.
    AddSubCarry { sub: bool, set_flags: bool, wide: bool, rd: u8, rn: u8, rm: u8 },
    /// CCMP and, with `sub` false, CCMN.
    CcmpReg { sub: bool, wide: bool, nzcv: u8, rn: u8, rm: u8, conditions: u16 },
    CcmpImm { sub: bool, wide: bool, nzcv: u8, rn: u8, imm: u8, conditions: u16 },
    CselX { rd: u8, rn: u8, rm: u8, conditions: u16 },
    CselW { rd: u8, rn: u8, rm: u8, conditions: u16 },
    CsincX { rd: u8, rn: u8, rm: u8, conditions: u16 },
    CsincW { rd: u8, rn: u8, rm: u8, conditions: u16 },
    CsinvX { rd: u8, rn: u8, rm: u8, conditions: u16 },
    CsinvW { rd: u8, rn: u8, rm: u8, conditions: u16 },
    CsnegX { rd: u8, rn: u8, rm: u8, conditions: u16 },
    CsnegW { rd: u8, rn: u8, rm: u8, conditions: u16 },
    UdivX { rd: u8, rn: u8, rm: u8 },
    UdivW { rd: u8, rn: u8, rm: u8 },
    SdivX { rd: u8, rn: u8, rm: u8 },
    SdivW { rd: u8, rn: u8, rm: u8 },
    /// LSLV, LSRV, ASRV, RORV.
    ShiftX { kind: ShiftKind, rd: u8, rn: u8, rm: u8 },
    ShiftW { kind: ShiftKind, rd: u8, rn: u8, rm: u8 },
    /// CRC32 and, with `castagnoli`, CRC32C.
    Crc32 { castagnoli: bool, size: Size, rd: u8, rn: u8, rm: u8 },
    RbitX { rd: u8, rn: u8 },
    RbitW { rd: u8, rn: u8 },
    Rev16X { rd: u8, rn: u8 },
    Rev16W { rd: u8, rn: u8 },
    /// REV32: both words of 64 bits.
    Rev32X { rd: u8, rn: u8 },
    RevW { rd: u8, rn: u8 },
    RevX { rd: u8, rn: u8 },
    ClzX { rd: u8, rn: u8 },
    ClzW { rd: u8, rn: u8 },
    ClsX { rd: u8, rn: u8 },
    ClsW { rd: u8, rn: u8 },
    MaddX { rd: u8, rn: u8, rm: u8, ra: u8 },
    MaddW { rd: u8, rn: u8, rm: u8, ra: u8 },
    MsubX { rd: u8, rn: u8, rm: u8, ra: u8 },
    MsubW { rd: u8, rn: u8, rm: u8, ra: u8 },
    Smaddl { rd: u8, rn: u8, rm: u8, ra: u8 },
    Smsubl { rd: u8, rn: u8, rm: u8, ra: u8 },
    Umaddl { rd: u8, rn: u8, rm: u8, ra: u8 },
    Umsubl { rd: u8, rn: u8, rm: u8, ra: u8 },
    Smulh { rd: u8, rn: u8, rm: u8 },
    Umulh { rd: u8, rn: u8, rm: u8 },

    // Loads and stores.
    LdrX { rt: u8, rn: u8, offset: i64 },
    LdrW { rt: u8, rn: u8, offset: i64 },
    Ldrh { rt: u8, rn: u8, offset: i64 },
    Ldrb { rt: u8, rn: u8, offset: i64 },
    StrX { rt: u8, rn: u8, offset: i64 },
    StrW { rt: u8, rn: u8, offset: i64 },
    Strh { rt: u8, rn: u8, offset: i64 },
    Strb { rt: u8, rn: u8, offset: i64 },
    /// The other loads from a base and an immediate.
    Load { kind: LoadKind, rt: u8, rn: u8, offset: i64 },
    /// Pre-indexed, and with `post` post-indexed.
    LoadIndexed { kind: LoadKind, post: bool, rt: u8, rn: u8, offset: i16 },
    StoreIndexed { size: Size, post: bool, rt: u8, rn: u8, offset: i16 },
    /// LDR and STR from a base and a 64-bit register shifted left.
    LdrLslX { rt: u8, rn: u8, rm: u8, shift: u8 },
    StrLslX { rt: u8, rn: u8, rm: u8, shift: u8 },
    LoadRegister { kind: LoadKind, rt: u8, rn: u8, rm: u8, extend: ExtendKind, shift: u8 },
    StoreRegister { size: Size, rt: u8, rn: u8, rm: u8, extend: ExtendKind, shift: u8 },
    LoadUnprivileged { kind: LoadKind, rt: u8, rn: u8, offset: i16 },
    StoreUnprivileged { size: Size, rt: u8, rn: u8, offset: i16 },
    LoadLiteral { kind: LoadKind, rt: u8, offset: i64 },
    LdpX(Pair),
    LdpW(Pair),
    Ldpsw(Pair),
    StpX(Pair),
    StpW(Pair),
    /// LDXR and LDAXR.
    Ldxr { size: Size, rt: u8, rn: u8 },
    /// STXR and STLXR.
    Stxr { size: Size, rs: u8, rt: u8, rn: u8 },
    Ldxp { wide: bool, rt: u8, rt2: u8, rn: u8 },
    Stxp { wide: bool, rs: u8, rt: u8, rt2: u8, rn: u8 },
    Ldar { size: Size, rt: u8, rn: u8 },
    Stlr { size: Size, rt: u8, rn: u8 },
    /// CAS, with any ordering.
    Cas { size: Size, rs: u8, rt: u8, rn: u8 },
    /// CASP: `rs` and `rt` are the even registers of their pairs.
    Casp { wide: bool, rs: u8, rt: u8, rn: u8 },
    /// LDADD and its kin, and SWP, with any ordering.
    Atomic { op: AtomicOp, size: Size, rs: u8, rt: u8, rn: u8 },
}

const _: () = assert!(size_of::<Op>() <= 16);
