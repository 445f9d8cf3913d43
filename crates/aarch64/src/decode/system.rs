//! Exception generation, system instructions and system registers, ERET.
//!
//! DDI 0487, *C4.1 A64 instruction set encoding*: *Exception generation*, *Hints*, *Barriers*,
//! *PSTATE*, *System instructions*, *System register move*, and of *Unconditional branch
//! (register)* the exception returns.

use crate::registers::XZR;
use crate::sysreg;

/// One instruction of these groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemInsn {
    /// SVC.
    Svc(u16),
    /// HVC.
    Hvc(u16),
    /// SMC.
    Smc(u16),
    /// BRK.
    Brk(u16),
    /// ERET.
    Eret,
    /// A hint by its number: [`SystemInsn::NOP`] and the like; what is not known has no effect.
    Hint(u8),
    /// CLREX, with CRm.
    Clrex(u8),
    /// DSB, with its option: which accesses, in which shareability domain.
    Dsb(u8),
    /// DMB, with its option.
    Dmb(u8),
    /// ISB, with its option.
    Isb(u8),
    /// MSR DAIFSet, with the mask as in PSTATE.
    DaifSet(u8),
    /// MSR DAIFClr.
    DaifClear(u8),
    /// MSR SPSel; the lowest bit counts.
    SpSel(u8),
    /// SYS.
    Sys {
        /// What to do.
        op: SysOp,
        /// The encoding in full, as [`sysreg::encoding`] packs it.
        encoding: u16,
        /// Operand register.
        rt: u8,
    },
    /// MRS.
    Mrs {
        /// Destination.
        rt: u8,
        /// The encoding of the system register.
        register: u16,
    },
    /// MSR (register).
    Msr {
        /// Source.
        rt: u8,
        /// The encoding of the system register.
        register: u16,
    },
}

impl SystemInsn {
    /// The hint NOP.
    pub const NOP: u8 = 0;
    /// The hint YIELD.
    pub const YIELD: u8 = 1;
    /// The hint WFE.
    pub const WFE: u8 = 2;
    /// The hint WFI.
    pub const WFI: u8 = 3;
    /// The hint SEV.
    pub const SEV: u8 = 4;
    /// The hint SEVL.
    pub const SEVL: u8 = 5;
}

/// Which addresses a TLBI is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlbiOp {
    /// VMALLE1.
    All,
    /// VAE1 and VALE1: address and ASID.
    Va,
    /// ASIDE1.
    Asid,
    /// VAAE1 and VAALE1: address, all ASIDs.
    VaAllAsids,
}

/// SYS instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SysOp {
    /// IC IALLU and IALLUIS.
    IcAll {
        /// Inner Shareable.
        shared: bool,
    },
    /// IC IVAU.
    IcVa,
    /// DC IVAC.
    DcInvalidateVa,
    /// DC ISW, CSW and CISW.
    DcSetWay,
    /// DC CVAC, CVAU and CIVAC.
    DcVa,
    /// DC ZVA.
    DcZva,
    /// TLBI.
    Tlbi {
        /// What to drop.
        op: TlbiOp,
        /// Inner Shareable.
        shared: bool,
    },
    /// AT S1E1R, S1E1W, S1E0R and S1E0W.
    At {
        /// Exception level whose access is tried.
        el: u8,
        /// A store, not a load.
        write: bool,
    },
}

const ERET: u32 = 0xd69f_03e0;
/// Rt where no register is meant.
const RT_NONE: u8 = XZR;

/// Decodes an instruction of these groups; `None` if it is unallocated or another group's.
pub fn decode(word: u32) -> Option<SystemInsn> {
    if word >> 24 == 0xd4 {
        decode_exception(word)
    } else if word >> 22 == 0b11_0101_0100 {
        decode_system(word)
    } else if word == ERET {
        Some(SystemInsn::Eret)
    } else {
        // DRPS too: it is UNDEFINED outside Debug state.
        None
    }
}

fn decode_exception(word: u32) -> Option<SystemInsn> {
    let immediate = (word >> 5) as u16;
    match (word >> 21 & 7, word & 0x1f) {
        (0, 1) => Some(SystemInsn::Svc(immediate)),
        (0, 2) => Some(SystemInsn::Hvc(immediate)),
        (0, 3) => Some(SystemInsn::Smc(immediate)),
        (1, 0) => Some(SystemInsn::Brk(immediate)),
        // HLT and DCPS need a debugger from outside, and there is none.
        _ => None,
    }
}

fn decode_system(word: u32) -> Option<SystemInsn> {
    let reads = word >> 21 & 1 != 0;
    let field = |shift: u32, mask: u32| (word >> shift & mask) as u8;
    let (op0, op1, crn, crm, op2) = (
        field(19, 3),
        field(16, 7),
        field(12, 15),
        field(8, 15),
        field(5, 7),
    );
    let rt = field(0, 31);
    let packed = sysreg::encoding(op0.into(), op1.into(), crn.into(), crm.into(), op2.into());
    match op0 {
        0 if !reads && rt == RT_NONE => decode_without_register(op1, crn, crm, op2),
        0 => None,
        1 if reads => None,
        1 => Some(SystemInsn::Sys {
            op: decode_sys(op1, crn, crm, op2)?,
            encoding: packed,
            rt,
        }),
        _ if reads => Some(SystemInsn::Mrs {
            rt,
            register: packed,
        }),
        _ => Some(SystemInsn::Msr {
            rt,
            register: packed,
        }),
    }
}

/// Hints, barriers, and MSR (immediate).
fn decode_without_register(op1: u8, crn: u8, crm: u8, op2: u8) -> Option<SystemInsn> {
    Some(match (op1, crn, op2) {
        (3, 2, _) => SystemInsn::Hint(crm << 3 | op2),
        (3, 3, 2) => SystemInsn::Clrex(crm),
        (3, 3, 4) => SystemInsn::Dsb(crm),
        (3, 3, 5) => SystemInsn::Dmb(crm),
        (3, 3, 6) => SystemInsn::Isb(crm),
        (0, 4, 5) => SystemInsn::SpSel(crm),
        (3, 4, 6) => SystemInsn::DaifSet(crm),
        (3, 4, 7) => SystemInsn::DaifClear(crm),
        _ => return None,
    })
}

fn decode_sys(op1: u8, crn: u8, crm: u8, op2: u8) -> Option<SysOp> {
    Some(match (op1, crn, crm, op2) {
        (0, 7, 1, 0) => SysOp::IcAll { shared: true },
        (0, 7, 5, 0) => SysOp::IcAll { shared: false },
        (3, 7, 5, 1) => SysOp::IcVa,
        (0, 7, 6, 1) => SysOp::DcInvalidateVa,
        (0, 7, 6 | 10 | 14, 2) => SysOp::DcSetWay,
        (3, 7, 10 | 11 | 14, 1) => SysOp::DcVa,
        (3, 7, 4, 1) => SysOp::DcZva,
        (0, 7, 8, 0..=3) => SysOp::At {
            el: u8::from(op2 < 2),
            write: op2 & 1 != 0,
        },
        (0, 8, 3 | 7, _) => {
            let op = match op2 {
                0 => TlbiOp::All,
                1 | 5 => TlbiOp::Va,
                2 => TlbiOp::Asid,
                3 | 7 => TlbiOp::VaAllAsids,
                _ => return None,
            };
            SysOp::Tlbi {
                op,
                shared: crm == 3,
            }
        }
        _ => return None,
    })
}
