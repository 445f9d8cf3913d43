//! The architectural state of a processing element: what instructions read and write.
//!
//! It is all that two executors of the same CPU share, and what a debugger shows. Its layout is
//! fixed (`repr(C)`), so that compiled code can reach a register by its offset.

use crate::exception::Exception;
use crate::monitor::Monitor;
use crate::registers::{REGISTER_SLOTS, SP};
use crate::sysreg::SysRegs;

/// PSTATE without the condition flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Pstate {
    /// Exception level: 0 or 1.
    pub el: u8,
    /// SPSel: at EL1, whether SP is SP_EL1.
    pub sp_sel: bool,
    /// D, A, I, F as bits 3 to 0.
    pub daif: u8,
    /// Illegal Execution state.
    pub il: bool,
    /// Software step.
    pub ss: bool,
}

/// Registers, PSTATE, and the local exclusives monitor.
///
/// The order of the fields is part of the layout. The general-purpose registers come first: they
/// then have the address of the whole, which saves the interpreter an instruction here and there.
#[derive(Clone)]
#[repr(C)]
pub struct State {
    /// X0 to X30, and at the indices of [`registers`](crate::registers) the zero register, the
    /// current stack pointer, and where writes to the zero register go.
    pub x: [u64; REGISTER_SLOTS],
    /// Program counter.
    pub pc: u64,
    /// Condition flags N, Z, C, V as bits 31 to 28 (the rest is zero), as in SPSR_EL1.
    pub nzcv: u32,
    /// FPCR.
    pub fpcr: u32,
    /// FPSR.
    pub fpsr: u32,
    /// The rest of PSTATE.
    pub pstate: Pstate,
    /// The stack pointers that are not current: `[SP_EL0, SP_EL1]`; the current one's slot is stale.
    pub sp_banked: [u64; 2],
    /// V0 to V31.
    pub v: [u128; 32],
    /// System registers of the core.
    pub sys: SysRegs,
    /// The local exclusives monitor.
    pub(crate) monitor: Monitor,
}

impl State {
    /// As reset leaves it: at EL1 with SP_EL1, interrupts masked, MMU off, everything else zero.
    pub(crate) fn new(sys: SysRegs) -> Self {
        Self {
            pc: 0,
            nzcv: 0,
            fpcr: 0,
            fpsr: 0,
            pstate: Pstate {
                el: 1,
                sp_sel: true,
                daif: 0b1111,
                il: false,
                ss: false,
            },
            sp_banked: [0; 2],
            x: [0; REGISTER_SLOTS],
            v: [0; 32],
            sys,
            monitor: Monitor::default(),
        }
    }

    /// The current stack pointer.
    pub const fn sp(&self) -> u64 {
        self.x[SP as usize]
    }

    /// A register by index.
    #[inline(always)]
    pub(crate) fn r(&self, register: u8) -> u64 {
        self.x[usize::from(register)]
    }

    /// The low half of a register.
    #[inline(always)]
    pub(crate) fn w(&self, register: u8) -> u32 {
        self.r(register) as u32
    }

    #[inline(always)]
    pub(crate) fn set(&mut self, register: u8, value: u64) {
        self.x[usize::from(register)] = value;
    }

    /// Writes a W register: the upper half becomes zero.
    #[inline(always)]
    pub(crate) fn set_w(&mut self, register: u8, value: u32) {
        self.set(register, u64::from(value));
    }

    /// Changes exception level and SPSel, and with them which stack pointer is current.
    pub(crate) fn set_el(&mut self, el: u8, sp_sel: bool) {
        let bank = |p: &Pstate| usize::from(p.el != 0 && p.sp_sel);
        let old = bank(&self.pstate);
        self.pstate.el = el;
        self.pstate.sp_sel = sp_sel;
        let new = bank(&self.pstate);
        if old != new {
            self.sp_banked[old] = self.x[usize::from(SP)];
            self.x[usize::from(SP)] = self.sp_banked[new];
        }
    }

    /// Whether Advanced SIMD and floating point may be used here (CPACR_EL1.FPEN).
    #[inline]
    pub fn check_fp_access(&self) -> Result<(), Exception> {
        let allowed = match self.sys.cpacr >> 20 & 3 {
            3 => true,
            1 => self.pstate.el != 0,
            _ => false,
        };
        if allowed {
            Ok(())
        } else {
            Err(Exception::fp_access())
        }
    }

    /// SP alignment check for a memory access based on SP (SCTLR_EL1.SA, SCTLR_EL1.SA0).
    #[inline(always)]
    pub fn check_sp_alignment(&self) -> Result<(), Exception> {
        if self.x[usize::from(SP)] & 15 != 0 && self.sys.sp_alignment_checked(self.pstate.el) {
            Err(Exception::sp_alignment())
        } else {
            Ok(())
        }
    }
}
