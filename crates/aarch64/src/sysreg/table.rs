//! The registers, one row each, in the order of their encodings.

use super::{MDSCR_TDCC, SysRegs, encoding, id, sctlr};
use crate::cpu::Cpu;
use crate::exception::{Exception, daif};

/// Who may use a register, and what happens to others. Whatever EL0 may not do is UNDEFINED unless
/// it says "trapped", which is an exception with class 0x18.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// EL1 only.
    El1,
    /// EL0 may read.
    El0Reads,
    /// EL0 may read and write.
    El0,
    /// EL0 is trapped unless SCTLR_EL1.UCT; it may read.
    Uct,
    /// EL0 is trapped unless SCTLR_EL1.UMA.
    Uma,
    /// EL0 is trapped if SCTLR_EL1.TSCXT.
    Tscxt,
    /// EL0 is trapped if MDSCR_EL1.TDCC.
    Tdcc,
    /// Floating point: any level is trapped as CPACR_EL1.FPEN has it, with class 0x07.
    Fp,
}

/// What must follow a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing.
    None,
    /// An input of the translation regime changed that a TLB may hold.
    Translation,
    /// A translation table base, and maybe the ASID.
    TableBase,
    /// What later instructions may do: the block of decoded code ends.
    Context,
    /// Interrupts may have become unmasked.
    Interrupts,
}

type Cell = fn(&mut SysRegs) -> &mut u64;
type Read = fn(&Cpu) -> Result<u64, Exception>;
type Write = fn(&mut Cpu, u64) -> Result<Effect, Exception>;

#[derive(Clone, Copy)]
pub(crate) enum Handler {
    /// A value that cannot be written.
    ReadOnly(Read),
    /// A value that cannot be read.
    WriteOnly(Write),
    /// A field of [`SysRegs`]. Bits of `reset` outside `writable` stay as they are.
    Cell {
        cell: Cell,
        writable: u64,
        reset: u64,
        effect: Effect,
    },
    /// A value kept elsewhere.
    Both(Read, Write),
    /// ISR_EL1: the state of the bus's interrupt inputs.
    InterruptStatus,
}

/// One register.
pub struct Row {
    /// Its name in the architecture.
    pub name: &'static str,
    /// Its encoding, see [`encoding`].
    pub encoding: u16,
    /// Who may use it.
    pub rule: Rule,
    pub(crate) handler: Handler,
}

impl Row {
    pub(super) fn reset(&self, regs: &mut SysRegs) {
        if let Handler::Cell { cell, reset, .. } = self.handler {
            *cell(regs) = reset;
        }
    }

    /// Whether it can be read, by someone.
    pub fn readable(&self) -> bool {
        !matches!(self.handler, Handler::WriteOnly(_))
    }

    /// Whether it can be written, by someone.
    pub fn writable(&self) -> bool {
        !matches!(
            self.handler,
            Handler::ReadOnly(_) | Handler::InterruptStatus
        )
    }
}

type Code = (u16, u16, u16, u16, u16);

const fn row(name: &'static str, code: Code, rule: Rule, handler: Handler) -> Row {
    let (op0, op1, crn, crm, op2) = code;
    Row {
        name,
        encoding: encoding(op0, op1, crn, crm, op2),
        rule,
        handler,
    }
}

/// A register that holds its writable bits, and nothing follows.
const fn cell(name: &'static str, code: Code, rule: Rule, cell: Cell, writable: u64) -> Row {
    control(name, code, rule, cell, writable, 0, Effect::None)
}

const fn control(
    name: &'static str,
    code: Code,
    rule: Rule,
    cell: Cell,
    writable: u64,
    reset: u64,
    effect: Effect,
) -> Row {
    row(
        name,
        code,
        rule,
        Handler::Cell {
            cell,
            writable,
            reset,
            effect,
        },
    )
}

const fn read_only(name: &'static str, code: Code, rule: Rule, read: Read) -> Row {
    row(name, code, rule, Handler::ReadOnly(read))
}

/// A register of features that are not there: zero, and writes are ignored.
const fn zero(name: &'static str, code: Code, rule: Rule) -> Row {
    row(
        name,
        code,
        rule,
        Handler::Both(|_| Ok(0), |_, _| Ok(Effect::None)),
    )
}

const ALL: u64 = u64::MAX;
const LOW_32: u64 = 0xffff_ffff;

/// Bits that are one whatever is written: LSMAOE, nTLSMD, SPAN, EIS, EOS; and ITD and SED, as
/// there is no AArch32.
pub(super) const SCTLR_RES1: u64 = 1 << 29 | 1 << 28 | 1 << 23 | 1 << 22 | 1 << 11 | 3 << 7;
/// M, A, C, SA, SA0, UMA, I, DZE, UCT, nTWI, nTWE, WXN, TSCXT, UCI. Not EE and E0E: data are
/// always little-endian.
const SCTLR_WRITABLE: u64 = 0x1f
    | sctlr::UMA
    | 1 << 12
    | sctlr::DZE
    | sctlr::UCT
    | sctlr::NTWI
    | sctlr::NTWE
    | 1 << 19
    | sctlr::TSCXT
    | sctlr::UCI;
/// The fields of Armv8.0, and HA and HD, which have no effect where they are not implemented: no HPD
/// and what came later.
const TCR_WRITABLE: u64 = 0x1f7_ffff_ffbf;
/// NZCV, SS, IL, DAIF, M.
const SPSR_WRITABLE: u64 = 0xf030_03df;
/// TDCC, KDE, HDE, MDE. Not SS: there is no software step.
const MDSCR_WRITABLE: u64 = MDSCR_TDCC | 7 << 13;
/// AHP, DN, FZ, RMode. Exceptions are not trapped.
const FPCR_WRITABLE: u64 = 0x07c0_0000;
/// QC, IDC, IXC, UFC, OFC, DZC, IOC.
const FPSR_WRITABLE: u64 = 0x0800_009f;

/// SP_EL0 cannot be named while it is the current stack pointer.
const fn sp_el0_usable(cpu: &Cpu) -> Result<(), Exception> {
    if cpu.state.pstate.sp_sel {
        Ok(())
    } else {
        Err(Exception::undefined())
    }
}

/// The register of one breakpoint or watchpoint.
macro_rules! breakpoint {
    ($name:literal, $n:literal, $op2:literal, $field:ident, $mask:expr) => {
        cell(
            $name,
            (2, 0, 0, $n, $op2),
            Rule::El1,
            |r| &mut r.$field[$n],
            $mask,
        )
    };
}

/// Bits of DBGBVR and DBGWVR that are an address.
const DEBUG_VALUE: u64 = 0x00ff_ffff_ffff_fffc;
/// DBGBCR: E, PMC, BAS, HMC, SSC, LBN, BT.
const DEBUG_BREAK_CONTROL: u64 = 0x00ff_e1e7;
/// DBGWCR: E, PAC, LSC, BAS, HMC, SSC, LBN, WT, MASK.
const DEBUG_WATCH_CONTROL: u64 = 0x1f1f_ffff;

use Effect::{Context, Interrupts, TableBase, Translation};
use Rule::{El0, El0Reads, El1, Fp, Tdcc, Tscxt, Uct, Uma};

/// All registers of the core.
pub static TABLE: &[Row] = &[
    // Debug.
    zero("OSDTRRX_EL1", (2, 0, 0, 0, 2), El1),
    breakpoint!("DBGBVR0_EL1", 0, 4, dbgbvr, DEBUG_VALUE),
    breakpoint!("DBGBCR0_EL1", 0, 5, dbgbcr, DEBUG_BREAK_CONTROL),
    breakpoint!("DBGWVR0_EL1", 0, 6, dbgwvr, DEBUG_VALUE),
    breakpoint!("DBGWCR0_EL1", 0, 7, dbgwcr, DEBUG_WATCH_CONTROL),
    breakpoint!("DBGBVR1_EL1", 1, 4, dbgbvr, DEBUG_VALUE),
    breakpoint!("DBGBCR1_EL1", 1, 5, dbgbcr, DEBUG_BREAK_CONTROL),
    breakpoint!("DBGWVR1_EL1", 1, 6, dbgwvr, DEBUG_VALUE),
    breakpoint!("DBGWCR1_EL1", 1, 7, dbgwcr, DEBUG_WATCH_CONTROL),
    cell(
        "MDCCINT_EL1",
        (2, 0, 0, 2, 0),
        El1,
        |r| &mut r.mdccint,
        3 << 29,
    ),
    control(
        "MDSCR_EL1",
        (2, 0, 0, 2, 2),
        El1,
        |r| &mut r.mdscr,
        MDSCR_WRITABLE,
        0,
        Context,
    ),
    zero("OSDTRTX_EL1", (2, 0, 0, 3, 2), El1),
    cell(
        "OSECCR_EL1",
        (2, 0, 0, 6, 2),
        El1,
        |r| &mut r.oseccr,
        LOW_32,
    ),
    read_only("MDRAR_EL1", (2, 0, 1, 0, 0), El1, |_| Ok(0)),
    row(
        "OSLAR_EL1",
        (2, 0, 1, 0, 4),
        El1,
        Handler::WriteOnly(|c, v| {
            c.state.sys.os_lock = v & 1;
            Ok(Context)
        }),
    ),
    // OSLM says that the lock is implemented.
    read_only("OSLSR_EL1", (2, 0, 1, 1, 4), El1, |c| {
        Ok(8 | c.state.sys.os_lock << 1)
    }),
    cell("OSDLR_EL1", (2, 0, 1, 3, 4), El1, |r| &mut r.osdlr, 1),
    zero("DBGPRCR_EL1", (2, 0, 1, 4, 4), El1),
    row(
        "DBGCLAIMSET_EL1",
        (2, 0, 7, 8, 6),
        El1,
        Handler::Both(
            |_| Ok(0xff),
            |c, v| {
                c.state.sys.dbgclaim |= v & 0xff;
                Ok(Effect::None)
            },
        ),
    ),
    row(
        "DBGCLAIMCLR_EL1",
        (2, 0, 7, 9, 6),
        El1,
        Handler::Both(
            |c| Ok(c.state.sys.dbgclaim),
            |c, v| {
                c.state.sys.dbgclaim &= !v;
                Ok(Effect::None)
            },
        ),
    ),
    // No authentication interface: no debugger from outside.
    read_only("DBGAUTHSTATUS_EL1", (2, 0, 7, 14, 6), El1, |_| Ok(0)),
    // The debug communication channel is always empty.
    read_only("MDCCSR_EL0", (2, 3, 0, 1, 0), Tdcc, |_| Ok(0)),
    zero("DBGDTR_EL0", (2, 3, 0, 4, 0), Tdcc),
    zero("DBGDTRRX_EL0", (2, 3, 0, 5, 0), Tdcc),
    // Identification. What is not named here reads as zero.
    read_only("MIDR_EL1", (3, 0, 0, 0, 0), El1, |_| Ok(id::MIDR)),
    read_only("MPIDR_EL1", (3, 0, 0, 0, 5), El1, |c| Ok(c.state.sys.mpidr)),
    read_only("REVIDR_EL1", (3, 0, 0, 0, 6), El1, |_| Ok(0)),
    read_only("ID_AA64PFR0_EL1", (3, 0, 0, 4, 0), El1, |_| Ok(id::PFR0)),
    read_only("ID_AA64PFR1_EL1", (3, 0, 0, 4, 1), El1, |_| Ok(0)),
    read_only("ID_AA64DFR0_EL1", (3, 0, 0, 5, 0), El1, |_| Ok(id::DFR0)),
    read_only("ID_AA64DFR1_EL1", (3, 0, 0, 5, 1), El1, |_| Ok(0)),
    read_only("ID_AA64AFR0_EL1", (3, 0, 0, 5, 4), El1, |_| Ok(0)),
    read_only("ID_AA64AFR1_EL1", (3, 0, 0, 5, 5), El1, |_| Ok(0)),
    read_only("ID_AA64ISAR0_EL1", (3, 0, 0, 6, 0), El1, |_| Ok(id::ISAR0)),
    read_only("ID_AA64ISAR1_EL1", (3, 0, 0, 6, 1), El1, |_| Ok(0)),
    read_only("ID_AA64MMFR0_EL1", (3, 0, 0, 7, 0), El1, |_| Ok(id::MMFR0)),
    read_only("ID_AA64MMFR1_EL1", (3, 0, 0, 7, 1), El1, |c| {
        Ok(c.state.sys.mmfr1)
    }),
    read_only("ID_AA64MMFR2_EL1", (3, 0, 0, 7, 2), El1, |_| Ok(0)),
    // Control.
    control(
        "SCTLR_EL1",
        (3, 0, 1, 0, 0),
        El1,
        |r| &mut r.sctlr,
        SCTLR_WRITABLE,
        SCTLR_RES1 | sctlr::TSCXT,
        Translation,
    ),
    zero("ACTLR_EL1", (3, 0, 1, 0, 1), El1),
    control(
        "CPACR_EL1",
        (3, 0, 1, 0, 2),
        El1,
        |r| &mut r.cpacr,
        3 << 20,
        0,
        Context,
    ),
    // Translation. Bit 0 of a table base is CnP, which came later.
    control(
        "TTBR0_EL1",
        (3, 0, 2, 0, 0),
        El1,
        |r| &mut r.ttbr0,
        !1,
        0,
        TableBase,
    ),
    control(
        "TTBR1_EL1",
        (3, 0, 2, 0, 1),
        El1,
        |r| &mut r.ttbr1,
        !1,
        0,
        TableBase,
    ),
    control(
        "TCR_EL1",
        (3, 0, 2, 0, 2),
        El1,
        |r| &mut r.tcr,
        TCR_WRITABLE,
        0,
        Translation,
    ),
    // Exceptions and PSTATE.
    cell(
        "SPSR_EL1",
        (3, 0, 4, 0, 0),
        El1,
        |r| &mut r.spsr,
        SPSR_WRITABLE,
    ),
    cell("ELR_EL1", (3, 0, 4, 0, 1), El1, |r| &mut r.elr, ALL),
    row(
        "SP_EL0",
        (3, 0, 4, 1, 0),
        El1,
        Handler::Both(
            |c| sp_el0_usable(c).map(|()| c.state.sp_banked[0]),
            |c, v| {
                sp_el0_usable(c)?;
                c.state.sp_banked[0] = v;
                Ok(Effect::None)
            },
        ),
    ),
    row(
        "SPSel",
        (3, 0, 4, 2, 0),
        El1,
        Handler::Both(
            |c| Ok(c.state.pstate.sp_sel.into()),
            |c, v| {
                c.state.set_el(1, v & 1 != 0);
                Ok(Context)
            },
        ),
    ),
    read_only("CurrentEL", (3, 0, 4, 2, 2), El1, |c| {
        Ok(u64::from(c.state.pstate.el) << 2)
    }),
    zero("AFSR0_EL1", (3, 0, 5, 1, 0), El1),
    zero("AFSR1_EL1", (3, 0, 5, 1, 1), El1),
    cell("ESR_EL1", (3, 0, 5, 2, 0), El1, |r| &mut r.esr, LOW_32),
    cell("FAR_EL1", (3, 0, 6, 0, 0), El1, |r| &mut r.far, ALL),
    cell("PAR_EL1", (3, 0, 7, 4, 0), El1, |r| &mut r.par, ALL),
    control(
        "MAIR_EL1",
        (3, 0, 10, 2, 0),
        El1,
        |r| &mut r.mair,
        ALL,
        0,
        Translation,
    ),
    zero("AMAIR_EL1", (3, 0, 10, 3, 0), El1),
    cell("VBAR_EL1", (3, 0, 12, 0, 0), El1, |r| &mut r.vbar, !0x7ff),
    read_only("RVBAR_EL1", (3, 0, 12, 0, 1), El1, |_| Ok(0)),
    row("ISR_EL1", (3, 0, 12, 1, 0), El1, Handler::InterruptStatus),
    cell(
        "CONTEXTIDR_EL1",
        (3, 0, 13, 0, 1),
        El1,
        |r| &mut r.contextidr,
        LOW_32,
    ),
    cell("TPIDR_EL1", (3, 0, 13, 0, 4), El1, |r| &mut r.tpidr, ALL),
    cell(
        "SCXTNUM_EL1",
        (3, 0, 13, 0, 7),
        El1,
        |r| &mut r.scxtnum,
        ALL,
    ),
    cell(
        "CNTKCTL_EL1",
        (3, 0, 14, 1, 0),
        El1,
        |r| &mut r.cntkctl,
        0x3ff,
    ),
    // Caches.
    // Of a cache that is not there, whichever is selected.
    read_only("CCSIDR_EL1", (3, 1, 0, 0, 0), El1, |_| Ok(0)),
    read_only("CLIDR_EL1", (3, 1, 0, 0, 1), El1, |_| Ok(id::CLIDR)),
    read_only("AIDR_EL1", (3, 1, 0, 0, 7), El1, |_| Ok(0)),
    cell("CSSELR_EL1", (3, 2, 0, 0, 0), El1, |r| &mut r.csselr, 0xf),
    read_only("CTR_EL0", (3, 3, 0, 0, 1), Uct, |_| Ok(id::CTR)),
    read_only("DCZID_EL0", (3, 3, 0, 0, 7), El0Reads, |c| {
        let prohibited = c.state.pstate.el == 0 && c.state.sys.sctlr & sctlr::DZE == 0;
        Ok(id::DCZID | if prohibited { id::DCZID_DZP } else { 0 })
    }),
    // EL0's.
    row(
        "NZCV",
        (3, 3, 4, 2, 0),
        El0,
        Handler::Both(
            |c| Ok(c.state.nzcv.into()),
            |c, v| {
                c.state.nzcv = v as u32 & 0xf000_0000;
                Ok(Effect::None)
            },
        ),
    ),
    row(
        "DAIF",
        (3, 3, 4, 2, 1),
        Uma,
        Handler::Both(
            |c| Ok(u64::from(c.state.pstate.daif) << 6),
            |c, v| {
                c.state.pstate.daif = (v >> 6) as u8 & daif::ALL;
                Ok(Interrupts)
            },
        ),
    ),
    row(
        "FPCR",
        (3, 3, 4, 4, 0),
        Fp,
        Handler::Both(
            |c| Ok(c.state.fpcr.into()),
            |c, v| {
                c.state.fpcr = (v & FPCR_WRITABLE) as u32;
                Ok(Effect::None)
            },
        ),
    ),
    row(
        "FPSR",
        (3, 3, 4, 4, 1),
        Fp,
        Handler::Both(
            |c| Ok(c.state.fpsr.into()),
            |c, v| {
                c.state.fpsr = (v & FPSR_WRITABLE) as u32;
                Ok(Effect::None)
            },
        ),
    ),
    cell(
        "TPIDR_EL0",
        (3, 3, 13, 0, 2),
        El0,
        |r| &mut r.tpidr_el0,
        ALL,
    ),
    cell(
        "TPIDRRO_EL0",
        (3, 3, 13, 0, 3),
        El0Reads,
        |r| &mut r.tpidrro_el0,
        ALL,
    ),
    cell(
        "SCXTNUM_EL0",
        (3, 3, 13, 0, 7),
        Tscxt,
        |r| &mut r.scxtnum_el0,
        ALL,
    ),
];

/// The row number of a register without a row.
pub const NO_ROW: u8 = u8::MAX;

/// Row numbers by encoding. op0 is 2 or 3, so that the top bit is always set.
static ROWS: [u8; 1 << 15] = {
    let mut rows = [NO_ROW; 1 << 15];
    let mut i = 0;
    while i < TABLE.len() {
        rows[(TABLE[i].encoding & 0x7fff) as usize] = i as u8;
        i += 1;
    }
    rows
};

/// The row of a register, or [`NO_ROW`].
pub fn row_of(register: u16) -> u8 {
    if register >> 15 == 0 {
        NO_ROW
    } else {
        ROWS[usize::from(register & 0x7fff)]
    }
}
