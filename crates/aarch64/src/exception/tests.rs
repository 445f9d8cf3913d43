//! Tests of exception entry and return, with SPSR_EL1, vectors and syndromes as numbers from the
//! manual.

use crate::decode::system::decode;
use crate::exec::Flow;
use crate::exec::system::execute;
use crate::leave::Leave;
use crate::mmu::testing::Machine;
use crate::{Exception, Exit};

use super::Interrupt;

const VBAR: u64 = 0xffff_8000_0808_0800;
const SP: usize = crate::registers::SP as usize;

/// At EL0 with flags and stack pointers that can be told apart.
fn user() -> Machine {
    let mut m = Machine::new();
    m.cpu.state.sys.vbar = VBAR;
    m.cpu.state.x[SP] = 0x1110;
    m.cpu.state.set_el(0, false);
    m.cpu.state.x[SP] = 0x2220;
    m.cpu.state.pstate.daif = 0;
    m.cpu.state.nzcv = 0x6000_0000;
    m.cpu.state.pc = 0x40_0000;
    m
}

fn step(m: &mut Machine, word: u32) -> Result<Flow, Exception> {
    let insn = decode(word).expect("allocated");
    execute(&mut m.cpu, &mut m.bus, insn)
}

/// Why an instruction leaves the block.
fn left(m: &mut Machine, word: u32) -> Leave {
    assert_eq!(step(m, word), Ok(Flow::Leave));
    std::mem::take(&mut m.cpu.leave)
}

#[test]
fn system_call_enters_el1_and_returns_behind_it() {
    let mut m = user();
    let exception = step(&mut m, 0xd400_0541).unwrap_err();

    m.cpu.take_synchronous(exception);

    assert_eq!(m.cpu.state.sys.esr, 0x5600_002a);
    assert_eq!(m.cpu.state.sys.elr, 0x40_0004);
    assert_eq!(m.cpu.state.sys.spsr, 0x6000_0000);
    assert_eq!(m.cpu.state.pc, VBAR + 0x400);
    let p = m.cpu.state.pstate;
    assert_eq!((p.el, p.sp_sel, p.daif), (1, true, 15));
    assert_eq!(
        (m.cpu.state.x[SP], m.cpu.state.sp_banked[0]),
        (0x1110, 0x2220)
    );

    m.cpu.state.nzcv = 0;
    m.cpu.state.x[SP] = 0x3330;
    assert_eq!(step(&mut m, 0xd69f_03e0), Ok(Flow::Jump));

    assert_eq!((m.cpu.state.pc, m.cpu.state.nzcv), (0x40_0004, 0x6000_0000));
    let p = m.cpu.state.pstate;
    assert_eq!((p.el, p.sp_sel, p.daif, p.il), (0, false, 0, false));
    assert_eq!(
        (m.cpu.state.x[SP], m.cpu.state.sp_banked[1]),
        (0x2220, 0x3330)
    );
}

#[test]
fn vector_depends_on_where_the_exception_comes_from() {
    type Take = fn(&mut Machine);
    let kinds: [(Take, u64); 3] = [
        (|m| m.cpu.take_synchronous(Exception::undefined()), 0),
        (|m| m.cpu.take_interrupt(Interrupt::Irq), 0x80),
        (|m| m.cpu.take_interrupt(Interrupt::Fiq), 0x100),
    ];
    for (take, offset) in kinds {
        for (el, sp_sel, base, mode) in
            [(0, false, 0x400, 0), (1, false, 0, 4), (1, true, 0x200, 5)]
        {
            let mut m = user();
            m.cpu.state.set_el(el, sp_sel);
            m.cpu.state.pstate.daif = 0b1010;

            take(&mut m);

            assert_eq!(m.cpu.state.pc, VBAR + base + offset);
            assert_eq!(m.cpu.state.sys.spsr, 0x6000_0280 | mode);
            assert_eq!(m.cpu.state.sys.elr, 0x40_0000);
        }
    }
}

#[test]
fn interrupt_leaves_the_syndrome_alone() {
    let mut m = user();
    m.cpu.state.sys.esr = 1;
    m.cpu.state.sys.far = 2;
    m.cpu.take_irq();

    assert_eq!((m.cpu.state.sys.esr, m.cpu.state.sys.far), (1, 2));
}

#[test]
fn interrupts_are_pending_unless_masked_and_fiq_goes_first() {
    let mut m = user();
    assert_eq!(m.cpu.interrupt_pending(&m.bus), None);
    m.bus.irq = true;
    assert_eq!(m.cpu.interrupt_pending(&m.bus), Some(Interrupt::Irq));
    m.bus.fiq = true;
    assert_eq!(m.cpu.interrupt_pending(&m.bus), Some(Interrupt::Fiq));
    m.cpu.state.pstate.daif = 1;
    assert_eq!(m.cpu.interrupt_pending(&m.bus), Some(Interrupt::Irq));
    m.cpu.state.pstate.daif = 3;
    assert_eq!(m.cpu.interrupt_pending(&m.bus), None);
}

#[test]
fn illegal_return_sets_il_and_keeps_the_level() {
    // AArch32 user; EL0 with SP1; reserved; EL2; EL3.
    for mode in [0x10, 1, 2, 3, 6, 7, 8, 9, 0xd, 0x1f] {
        let mut m = user();
        m.cpu.state.set_el(1, true);
        m.cpu.state.sys.elr = 0x1236;
        m.cpu.state.sys.spsr = 0x9000_0140 | mode;

        step(&mut m, 0xd69f_03e0).unwrap();

        let p = m.cpu.state.pstate;
        assert_eq!(
            (p.el, p.sp_sel, p.il, p.daif),
            (1, true, true, 5),
            "mode {mode:#x}"
        );
        assert_eq!((m.cpu.state.nzcv, m.cpu.state.pc), (0x9000_0000, 0x1236));
        m.cpu.take_synchronous(Exception::illegal_state());
        assert_eq!(m.cpu.state.sys.esr, 0x3a00_0000);
        // The handler runs, and returns to the same state.
        assert_eq!(m.cpu.state.sys.spsr >> 20 & 1, 1);
        assert!(!m.cpu.state.pstate.il);
    }
}

#[test]
fn return_restores_il_and_drops_a_tag_from_the_address() {
    let mut m = user();
    m.cpu.state.set_el(1, true);
    m.cpu.state.sys.elr = 0xff00_0000_0040_0000;
    m.cpu.state.sys.spsr = 1 << 20;

    step(&mut m, 0xd69f_03e0).unwrap();

    assert!(m.cpu.state.pstate.il);
    assert_eq!(m.cpu.state.pc, 0x40_0000);
    assert!(m.cpu.state.sys.event_register);
}

#[test]
fn breakpoint_instruction_returns_to_itself() {
    let mut m = user();
    let exception = step(&mut m, 0xd420_0060).unwrap_err();
    m.cpu.take_synchronous(exception);

    assert_eq!(
        (m.cpu.state.sys.esr, m.cpu.state.sys.elr),
        (0xf200_0003, 0x40_0000)
    );
}

#[test]
fn what_el0_may_never_do_is_undefined() {
    // ERET; HVC #0; SMC #0; MSR SPSel, #1; TLBI VMALLE1; IC IALLU; DC ISW, X0; AT S1E1R, X0.
    for word in [
        0xd69f_03e0,
        0xd400_0002,
        0xd400_0003,
        0xd500_41bf,
        0xd508_871f,
        0xd508_751f,
        0xd508_7640,
        0xd508_7800,
    ] {
        let mut m = user();
        assert_eq!(step(&mut m, word), Err(Exception::undefined()), "{word:#x}");
        let mut m = user();
        m.cpu.state.set_el(1, true);
        m.cpu.state.sys.elr = 0x5000;
        assert!(step(&mut m, word).is_ok(), "{word:#x}");
    }
}

#[test]
fn cache_maintenance_at_el0_follows_sctlr() {
    // DC CVAU, CVAC, CIVAC and IC IVAU of X1 (UCI); DC ZVA, X1 (DZE).
    for (word, bit, syndrome) in [
        (0xd50b_7b21, 26, 0x6212_dc36),
        (0xd50b_7a21, 26, 0x6212_dc34),
        (0xd50b_7e21, 26, 0x6212_dc3c),
        (0xd50b_7521, 26, 0x6212_dc2a),
        (0xd50b_7421, 14, 0x6212_dc28),
    ] {
        let mut m = user();
        assert_eq!(
            step(&mut m, word).unwrap_err().syndrome,
            syndrome,
            "{word:#x}"
        );
        m.cpu.state.sys.sctlr |= 1 << bit;
        // Now it gets as far as the translation of an address that has none.
        assert_eq!(step(&mut m, word).unwrap_err().class(), 0x24, "{word:#x}");
    }
}

#[test]
fn waiting_at_el0_follows_sctlr() {
    for (word, bit, syndrome) in [
        (0xd503_207f, 16, 0x07e0_0000),
        (0xd503_205f, 18, 0x07e0_0001),
    ] {
        let mut m = user();
        m.cpu.state.sys.event_register = false;
        assert_eq!(step(&mut m, word).unwrap_err().syndrome, syndrome);
        m.cpu.state.sys.sctlr |= 1 << bit;
        let exit = if bit == 16 { Exit::Wfi } else { Exit::Yield };
        assert_eq!(left(&mut m, word), Leave::Exit(exit));
    }
}

#[test]
fn pending_interrupt_ends_wfi_even_when_masked() {
    let mut m = user();
    m.cpu.state.set_el(1, true);
    m.cpu.state.pstate.daif = 15;
    m.bus.irq = true;

    assert_eq!(step(&mut m, 0xd503_207f), Ok(Flow::Next));
}

#[test]
fn event_lets_one_wfe_pass() {
    let mut m = user();
    m.cpu.state.set_el(1, true);
    // SEVL, WFE, WFE.
    assert_eq!(step(&mut m, 0xd503_20bf), Ok(Flow::Next));
    assert_eq!(step(&mut m, 0xd503_205f), Ok(Flow::Next));
    assert_eq!(left(&mut m, 0xd503_205f), Leave::Exit(Exit::Yield));
    assert_eq!(m.cpu.take_broadcasts(), []);
    // SEV is for the others too.
    assert_eq!(step(&mut m, 0xd503_209f), Ok(Flow::Next));
    assert_eq!(m.cpu.take_broadcasts(), [crate::mmu::Broadcast::Event]);
}

#[test]
fn calls_to_firmware_leave_the_run() {
    for word in [0xd400_0002, 0xd400_0003] {
        let mut m = user();
        m.cpu.state.set_el(1, true);

        assert_eq!(left(&mut m, word), Leave::Exit(Exit::Call));
    }
}

#[test]
fn unmasking_ends_the_block_only_if_an_interrupt_waits() {
    let mut m = user();
    m.cpu.state.set_el(1, true);
    m.cpu.state.pstate.daif = 15;
    // MSR DAIFClr, #2; MSR DAIFSet, #2.
    assert_eq!(step(&mut m, 0xd503_42ff), Ok(Flow::Next));
    assert_eq!(m.cpu.state.pstate.daif, 13);
    assert_eq!(step(&mut m, 0xd503_42df), Ok(Flow::Next));
    assert_eq!(m.cpu.state.pstate.daif, 15);
    m.bus.irq = true;
    assert_eq!(left(&mut m, 0xd503_42ff), Leave::Look);
}

#[test]
fn invalidations_reach_the_queue_with_their_scope() {
    use crate::mmu::{Broadcast, TlbScope};
    let mut m = user();
    m.cpu.state.set_el(1, true);
    m.cpu.state.sys.tcr |= 1 << 36;
    m.cpu.state.x[0] = 0x1234 << 48 | 0x5678;
    let va = 0x567_8000;
    // The Inner Shareable forms: VMALLE1IS; VAE1IS, ASIDE1IS, VAAE1IS, VALE1IS, VAALE1IS of X0.
    for (word, scope) in [
        (0xd508_831f, TlbScope::All),
        (
            0xd508_8320,
            TlbScope::Va {
                va,
                asid: Some(0x1234),
            },
        ),
        (0xd508_8340, TlbScope::Asid(0x1234)),
        (0xd508_8360, TlbScope::Va { va, asid: None }),
        (
            0xd508_83a0,
            TlbScope::Va {
                va,
                asid: Some(0x1234),
            },
        ),
        (0xd508_83e0, TlbScope::Va { va, asid: None }),
    ] {
        assert_eq!(left(&mut m, word), Leave::Look);
        assert_eq!(
            m.cpu.take_broadcasts(),
            [Broadcast::Tlb(scope)],
            "{word:#x}"
        );
        // And the same for this CPU only: CRm is 7 instead of 3.
        assert_eq!(left(&mut m, word | 0x400), Leave::Look);
        assert_eq!(m.cpu.take_broadcasts(), []);
    }
}

#[test]
fn unallocated_words_of_the_system_space_are_refused() {
    for word in [
        0xd400_0000,           // SVC without LL
        0xd440_0000,           // HLT
        0xd4a0_0001,           // DCPS1
        0xd6bf_03e0,           // DRPS
        0xd503_30ff,           // SB
        0xd500_409f,           // MSR PAN, #0
        0xd500_407f,           // MSR UAO, #0
        0xd503_403f,           // MSR SSBS, #0
        0xd503_405f,           // MSR DIT, #0
        0xd500_401f,           // CFINV
        0xd508_8320 | 1 << 21, // SYSL
        0xd50b_7c20,           // DC CVAP, X0
        0xd508_8100,           // TLBI VMALLE1OS
        0xd50c_8320,           // TLBI VAE2IS, X0
        0xd503_201e,           // a hint with Rt = 30
    ] {
        assert_eq!(decode(word), None, "{word:#x}");
    }
}

#[test]
fn hints_of_extensions_do_nothing() {
    // PACIAZ, CSDB, BTI C.
    for word in [0xd503_231f, 0xd503_229f, 0xd503_245f] {
        assert_eq!(step(&mut user(), word), Ok(Flow::Next));
    }
}
