//! Decoded FP and SIMD instructions: what to do, with every field extracted.
//!
//! Shared conventions: registers are indices into [`State::v`](crate::State::v), or into
//! [`State::x`](crate::State::x) with register 31 already resolved; `log2` is the binary logarithm of an
//! element's (or access's) bytes; `width` is that of the whole operand: 3 and 4 are the 64- and
//! 128-bit vectors, and in the scalar forms it equals `log2`. What lies above `width` in the
//! destination becomes zero.

use super::{Addressing, Condition, PairMode};

/// An instruction of the FP and SIMD groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "fields follow the conventions above; variants name the class"
)]
pub enum SimdInsn {
    Load {
        log2: u8,
        rt: u8,
        rn: u8,
        addressing: Addressing,
    },
    Store {
        log2: u8,
        rt: u8,
        rn: u8,
        addressing: Addressing,
    },
    LoadLiteral {
        log2: u8,
        rt: u8,
        offset: i32,
    },
    LoadPair {
        log2: u8,
        mode: PairMode,
        rt: u8,
        rt2: u8,
        rn: u8,
        offset: i16,
    },
    StorePair {
        log2: u8,
        mode: PairMode,
        rt: u8,
        rt2: u8,
        rn: u8,
        offset: i16,
    },
    LoadMultiple(Multiple),
    StoreMultiple(Multiple),
    LoadSingle(Single),
    StoreSingle(Single),
    LoadReplicate(Single),

    Logical {
        op: Logical,
        width: u8,
        rd: u8,
        rn: u8,
        rm: u8,
    },
    ThreeSame {
        op: ThreeSame,
        log2: u8,
        width: u8,
        rd: u8,
        rn: u8,
        rm: u8,
    },
    FpThreeSame {
        op: FpThreeSame,
        log2: u8,
        width: u8,
        rd: u8,
        rn: u8,
        rm: u8,
    },
    ThreeDifferent {
        op: ThreeDifferent,
        log2: u8,
        high: bool,
        rd: u8,
        rn: u8,
        rm: u8,
    },
    /// SQDMLAL, SQDMLSL and SQDMULL on one element; the second operand is a scalar, or the element
    /// that `index` chooses.
    ScalarLong {
        op: ThreeDifferent,
        log2: u8,
        index: Option<u8>,
        rd: u8,
        rn: u8,
        rm: u8,
    },
    TwoRegister {
        op: TwoRegister,
        log2: u8,
        width: u8,
        rd: u8,
        rn: u8,
    },
    /// Narrowing moves: `log2` is the narrow element's, `width` the narrow operand's as above, and
    /// `high` writes the upper half and keeps the lower.
    Narrow {
        op: Narrow,
        log2: u8,
        width: u8,
        high: bool,
        shift: u8,
        rd: u8,
        rn: u8,
    },
    /// SSHLL and USHLL (and SHLL): `log2` is the narrow element's.
    Widen {
        signed: bool,
        log2: u8,
        high: bool,
        shift: u8,
        rd: u8,
        rn: u8,
    },
    FpTwoRegister {
        op: FpTwoRegister,
        log2: u8,
        width: u8,
        rd: u8,
        rn: u8,
    },
    /// FCVTL: `log2` is the source element's.
    FpLengthen {
        log2: u8,
        high: bool,
        rd: u8,
        rn: u8,
    },
    /// FCVTN and FCVTXN: `log2` is the destination element's.
    FpNarrow {
        odd: bool,
        log2: u8,
        width: u8,
        high: bool,
        rd: u8,
        rn: u8,
    },
    /// Conversions between FP and integer or fixed point, vector and SIMD scalar.
    FpFixed {
        op: FixedOp,
        log2: u8,
        width: u8,
        fraction_bits: u8,
        rd: u8,
        rn: u8,
    },
    Across {
        op: Across,
        log2: u8,
        width: u8,
        rd: u8,
        rn: u8,
    },
    FpAcross {
        op: FpThreeSame,
        rd: u8,
        rn: u8,
    },
    FpScalarPairwise {
        op: FpThreeSame,
        log2: u8,
        rd: u8,
        rn: u8,
    },
    ScalarAddPair {
        rd: u8,
        rn: u8,
    },
    Shift {
        op: Shift,
        log2: u8,
        width: u8,
        shift: u8,
        rd: u8,
        rn: u8,
    },
    /// As `ThreeSame`, with one element of `rm` for all.
    ByElement {
        op: ThreeSame,
        log2: u8,
        width: u8,
        index: u8,
        rd: u8,
        rn: u8,
        rm: u8,
    },
    /// As `ThreeDifferent`, with one element of `rm` for all.
    LongByElement {
        op: ThreeDifferent,
        log2: u8,
        high: bool,
        index: u8,
        rd: u8,
        rn: u8,
        rm: u8,
    },
    /// As `FpThreeSame`, with one element of `rm` for all.
    FpByElement {
        op: FpThreeSame,
        log2: u8,
        width: u8,
        index: u8,
        rd: u8,
        rn: u8,
        rm: u8,
    },

    DupElement {
        log2: u8,
        width: u8,
        index: u8,
        rd: u8,
        rn: u8,
    },
    DupGeneral {
        log2: u8,
        width: u8,
        rd: u8,
        rn: u8,
    },
    InsertElement {
        log2: u8,
        to: u8,
        from: u8,
        rd: u8,
        rn: u8,
    },
    InsertGeneral {
        log2: u8,
        index: u8,
        rd: u8,
        rn: u8,
    },
    /// UMOV.
    MoveUnsigned {
        log2: u8,
        index: u8,
        rd: u8,
        rn: u8,
    },
    /// SMOV, to a W register unless `wide`.
    MoveSigned {
        log2: u8,
        wide: bool,
        index: u8,
        rd: u8,
        rn: u8,
    },
    /// MOVI, MVNI, FMOV, ORR and BIC: see [`Immediate`].
    Immediate {
        immediate: Immediate,
        width: u8,
        rd: u8,
    },
    Permute {
        op: Permute,
        log2: u8,
        width: u8,
        rd: u8,
        rn: u8,
        rm: u8,
    },
    Extract {
        width: u8,
        position: u8,
        rd: u8,
        rn: u8,
        rm: u8,
    },
    /// TBL and TBX (`keep`) with a table of `registers` registers.
    Table {
        keep: bool,
        registers: u8,
        width: u8,
        rd: u8,
        rn: u8,
        rm: u8,
    },

    FpOneSource {
        op: FpTwoRegister,
        log2: u8,
        rd: u8,
        rn: u8,
    },
    FpConvert {
        from: u8,
        to: u8,
        rd: u8,
        rn: u8,
    },
    FpTwoSource {
        op: FpThreeSame,
        log2: u8,
        rd: u8,
        rn: u8,
        rm: u8,
    },
    /// `negate_product` and `negate_addend` tell the four of the FMADD family apart.
    FpThreeSource {
        negate_product: bool,
        negate_addend: bool,
        log2: u8,
        rd: u8,
        rn: u8,
        rm: u8,
        ra: u8,
    },
    FpCompare {
        log2: u8,
        signal: bool,
        with_zero: bool,
        rn: u8,
        rm: u8,
    },
    FpConditionalCompare {
        log2: u8,
        signal: bool,
        condition: Condition,
        nzcv: u8,
        rn: u8,
        rm: u8,
    },
    FpSelect {
        log2: u8,
        condition: Condition,
        rd: u8,
        rn: u8,
        rm: u8,
    },
    /// FMOV of an immediate, which [`float_immediate`] expands.
    FpImmediate {
        log2: u8,
        rd: u8,
        imm8: u8,
    },
    /// To a general register of 32 bits, or 64 if `wide`.
    FpToGeneral {
        op: FixedOp,
        log2: u8,
        wide: bool,
        fraction_bits: u8,
        rd: u8,
        rn: u8,
    },
    FpFromGeneral {
        signed: bool,
        log2: u8,
        wide: bool,
        fraction_bits: u8,
        rd: u8,
        rn: u8,
    },
    /// FMOV to a general register; `log2` 4 is the upper half of the vector.
    FpMoveToGeneral {
        log2: u8,
        rd: u8,
        rn: u8,
    },
    /// FMOV from a general register; `log2` 4 is the upper half of the vector.
    FpMoveFromGeneral {
        log2: u8,
        rd: u8,
        rn: u8,
    },
}

/// What a structure access adds to its base register afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteBack {
    /// Nothing: the base register stays.
    None,
    /// The number of bytes transferred.
    Bytes,
    /// A general register.
    Register(u8),
}

/// LD1 to LD4 and ST1 to ST4, multiple structures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multiple {
    /// Element size.
    pub log2: u8,
    /// Register width: 3 or 4.
    pub width: u8,
    /// How many registers are transferred.
    pub registers: u8,
    /// Whether their elements alternate in memory (LD2 to LD4).
    pub interleaved: bool,
    /// The first register.
    pub rt: u8,
    /// The base.
    pub rn: u8,
    /// What happens to the base.
    pub write_back: WriteBack,
}

/// LD1 to LD4 and ST1 to ST4 of one element of each register; LD1R to LD4R.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Single {
    /// Element size.
    pub log2: u8,
    /// Register width, for LD1R to LD4R.
    pub width: u8,
    /// How many registers are transferred.
    pub registers: u8,
    /// The element.
    pub index: u8,
    /// The first register.
    pub rt: u8,
    /// The base.
    pub rn: u8,
    /// What happens to the base.
    pub write_back: WriteBack,
}

/// Bitwise operations on whole registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the manual's mnemonics")]
pub enum Logical {
    And,
    Bic,
    Orr,
    Orn,
    Eor,
    Bsl,
    Bit,
    Bif,
}

/// Integer operations on elements of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the manual's mnemonics")]
pub enum ThreeSame {
    Shadd,
    Uhadd,
    Sqadd,
    Uqadd,
    Srhadd,
    Urhadd,
    Shsub,
    Uhsub,
    Sqsub,
    Uqsub,
    Cmgt,
    Cmhi,
    Cmge,
    Cmhs,
    Sshl,
    Ushl,
    Sqshl,
    Uqshl,
    Srshl,
    Urshl,
    Sqrshl,
    Uqrshl,
    Smax,
    Umax,
    Smin,
    Umin,
    Sabd,
    Uabd,
    Saba,
    Uaba,
    Add,
    Sub,
    Cmtst,
    Cmeq,
    Mla,
    Mls,
    Mul,
    Pmul,
    Smaxp,
    Umaxp,
    Sminp,
    Uminp,
    Sqdmulh,
    Sqrdmulh,
    Addp,
}

/// Floating-point operations on two (or, accumulating, three) values of one format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the manual's mnemonics")]
pub enum FpThreeSame {
    Fmaxnm,
    Fminnm,
    Fmla,
    Fmls,
    Fadd,
    Fsub,
    Fmulx,
    Fcmeq,
    Fmax,
    Fmin,
    Frecps,
    Frsqrts,
    Fmaxnmp,
    Fminnmp,
    Faddp,
    Fabd,
    Fmul,
    Fnmul,
    Fcmge,
    Fcmgt,
    Facge,
    Facgt,
    Fmaxp,
    Fminp,
    Fdiv,
}

/// Integer operations that widen or narrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the manual's mnemonics")]
pub enum ThreeDifferent {
    Saddl,
    Uaddl,
    Saddw,
    Uaddw,
    Ssubl,
    Usubl,
    Ssubw,
    Usubw,
    Addhn,
    Raddhn,
    Sabal,
    Uabal,
    Subhn,
    Rsubhn,
    Sabdl,
    Uabdl,
    Smlal,
    Umlal,
    Sqdmlal,
    Smlsl,
    Umlsl,
    Sqdmlsl,
    Smull,
    Umull,
    Sqdmull,
    Pmull,
}

/// Integer operations on one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "the manual's mnemonics; a trailing 0 compares with zero"
)]
pub enum TwoRegister {
    Rev64,
    Rev32,
    Rev16,
    Saddlp,
    Uaddlp,
    Suqadd,
    Usqadd,
    Cls,
    Clz,
    Cnt,
    Not,
    Rbit,
    Sadalp,
    Uadalp,
    Sqabs,
    Sqneg,
    Cmgt0,
    Cmge0,
    Cmeq0,
    Cmle0,
    Cmlt0,
    Abs,
    Neg,
    Urecpe,
    Ursqrte,
}

/// How a shifted double-width element becomes a narrow one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Narrow {
    /// Cut: XTN, SHRN.
    Cut,
    /// Rounded, then cut: RSHRN.
    RoundCut,
    /// Signed to signed, saturated: SQXTN, SQSHRN.
    Signed,
    /// Rounded first: SQRSHRN.
    RoundSigned,
    /// Unsigned to unsigned, saturated: UQXTN, UQSHRN.
    Unsigned,
    /// Rounded first: UQRSHRN.
    RoundUnsigned,
    /// Signed to unsigned, saturated: SQXTUN, SQSHRUN.
    SignedToUnsigned,
    /// Rounded first: SQRSHRUN.
    RoundSignedToUnsigned,
}

/// Floating-point operations on one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "the manual's mnemonics; a trailing 0 compares with zero"
)]
pub enum FpTwoRegister {
    Fmov,
    Fabs,
    Fneg,
    Fsqrt,
    Frintn,
    Frintp,
    Frintm,
    Frintz,
    Frinta,
    Frintx,
    Frinti,
    Fcmgt0,
    Fcmge0,
    Fcmeq0,
    Fcmle0,
    Fcmlt0,
    Frecpe,
    Frsqrte,
    Frecpx,
}

/// Conversions between floating point and integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the manual's mnemonics")]
pub enum FixedOp {
    Scvtf,
    Ucvtf,
    Fcvtns,
    Fcvtnu,
    Fcvtps,
    Fcvtpu,
    Fcvtms,
    Fcvtmu,
    Fcvtzs,
    Fcvtzu,
    Fcvtas,
    Fcvtau,
}

/// Reductions of a vector to one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the manual's mnemonics")]
pub enum Across {
    Saddlv,
    Uaddlv,
    Smaxv,
    Umaxv,
    Sminv,
    Uminv,
    Addv,
}

/// Shifts by an immediate, element size unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the manual's mnemonics")]
pub enum Shift {
    Sshr,
    Ushr,
    Ssra,
    Usra,
    Srshr,
    Urshr,
    Srsra,
    Ursra,
    Sri,
    Shl,
    Sli,
    Sqshlu,
    Sqshl,
    Uqshl,
}

/// A modified immediate, as it is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Immediate {
    /// How `imm8` is expanded, and whether the result moves or combines.
    pub cmode: u8,
    /// Bit 29: inverts, or (`cmode` 14 and 15) expands otherwise.
    pub op: bool,
    /// The eight bits.
    pub imm8: u8,
}

/// What is done with a vector immediate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the manual's mnemonics")]
pub enum ImmediateOp {
    Mov,
    Orr,
    Bic,
}

impl Immediate {
    /// What is done, and with which 64 bits (DDI 0487, `AdvSIMDExpandImm`).
    pub fn expand(self) -> (ImmediateOp, u64) {
        let (cmode, op) = (self.cmode, self.op);
        let byte = u64::from(self.imm8);
        let words = |value: u64| value << 32 | value;
        let halves = |value: u64| words(value << 16 | value);
        // Before MVNI and BIC invert.
        let value = match (cmode, op) {
            (0..=7, _) => words(byte << (8 * (cmode >> 1))),
            (8..=11, _) => halves(byte << (8 * (cmode >> 1 & 1))),
            (12, _) => words(byte << 8 | 0xff),
            (13, _) => words(byte << 16 | 0xffff),
            (14, false) => byte * 0x0101_0101_0101_0101,
            // Each bit of the immediate becomes a byte.
            (14, true) => (0..8).map(|i| ((byte >> i & 1) * 0xff) << (8 * i)).sum(),
            (_, false) => words(float_immediate(self.imm8, 2)),
            (_, true) => float_immediate(self.imm8, 3),
        };
        let combines = cmode < 12 && cmode & 1 != 0;
        match (combines, op) {
            (true, false) => (ImmediateOp::Orr, value),
            (true, true) => (ImmediateOp::Bic, value),
            (false, true) if cmode < 14 => (ImmediateOp::Mov, !value),
            (false, _) => (ImmediateOp::Mov, value),
        }
    }
}

/// The single or double (`log2` 2 or 3) that eight bits stand for (DDI 0487, `VFPExpandImm`).
pub fn float_immediate(imm8: u8, log2: u8) -> u64 {
    let sign = u32::from(imm8 >> 7) << 31;
    let low = u32::from(imm8 & 0x3f);
    // The exponent is NOT(b) followed by copies of b; then two of its bits and the fraction.
    let high = match (log2, imm8 & 0x40 != 0) {
        (2, false) => sign | 1 << 30 | low << 19,
        (2, true) => sign | 0x1f << 25 | low << 19,
        (_, false) => sign | 1 << 30 | low << 16,
        (_, true) => sign | 0xff << 22 | low << 16,
    };
    if log2 == 2 {
        high.into()
    } else {
        u64::from(high) << 32
    }
}

/// Permutations of two vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the manual's mnemonics")]
pub enum Permute {
    Uzp1,
    Trn1,
    Zip1,
    Uzp2,
    Trn2,
    Zip2,
}

const _: () = assert!(size_of::<SimdInsn>() <= 12);
