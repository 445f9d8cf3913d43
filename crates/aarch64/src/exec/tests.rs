//! Instructions against QEMU, one or a few a line, and what such lines cannot express.

use crate::mmu::testing::{Machine, RAM, USER_RW, USER_RX};
use crate::{Bus, Exit, Size, State};

const CODE_VA: u64 = 0x40_0000;
const DATA_VA: u64 = 0x60_0000;
const CODE: u64 = RAM.start + 0x10_0000;
const DATA: u64 = RAM.start + 0x20_0000;
const DATA_BYTES: u64 = 128;
const SP: usize = crate::registers::SP as usize;

/// A user process with a page of code and one of data.
fn process() -> Machine {
    let mut machine = Machine::new();
    machine.map(CODE_VA, 3, CODE | USER_RX);
    machine.map(DATA_VA, 3, DATA | USER_RW);
    machine.at_el0()
}

fn write_code(machine: &mut Machine, words: &[u32]) {
    for (address, &word) in (CODE..).step_by(4).zip(words) {
        machine
            .bus
            .write(0, address, Size::Word, word.into())
            .expect("it is RAM");
    }
    machine.cpu.invalidate_code(None);
    machine.cpu.state.pc = CODE_VA;
}

/// Executes words at the start of the code page until the PC is past them.
fn execute(machine: &mut Machine, words: &[u32]) {
    write_code(machine, words);
    let end = CODE_VA + 4 * words.len() as u64;
    for _ in 0..words.len() {
        if machine.cpu.state.pc == end {
            break;
        }
        assert_eq!(machine.cpu.run(&mut machine.bus, 1), Exit::Budget);
    }
    assert_eq!(
        machine.cpu.state.pc, end,
        "ESR_EL1 is {:#x}",
        machine.cpu.state.sys.esr
    );
}

/// `m+16` or a hexadecimal number.
fn number(text: &str) -> u64 {
    match text.strip_prefix("m+") {
        Some(offset) => DATA_VA + offset.parse::<u64>().expect("an offset"),
        None => u64::from_str_radix(text, 16).expect("a hexadecimal number"),
    }
}

fn set(machine: &mut Machine, name: &str, value: u64) {
    let cpu = &mut machine.cpu;
    match name.split_at(1) {
        ("x", index) => cpu.state.x[index.parse::<usize>().expect("a register")] = value,
        ("m", offset) => {
            machine
                .bus
                .set_word(DATA + offset.parse::<u64>().expect("an offset"), value);
        }
        _ if name == "sp" => cpu.state.x[SP] = value,
        _ if name == "nzcv" => cpu.state.nzcv = (value as u32) << 28,
        _ => panic!("no register {name}"),
    }
}

fn assign(machine: &mut Machine, text: &str) {
    for (name, value) in text
        .split_whitespace()
        .filter_map(|item| item.split_once('='))
    {
        set(machine, name, number(value));
    }
}

/// Everything that a line can name.
fn state(machine: &Machine) -> (Vec<u64>, u64, u32, Vec<u64>) {
    let State { x, nzcv, .. } = &machine.cpu.state;
    let memory = (0..DATA_BYTES)
        .step_by(8)
        .map(|offset| machine.bus.word(DATA + offset));
    (x[..29].to_vec(), x[SP], *nzcv, memory.collect())
}

fn reset(machine: &mut Machine) {
    machine.cpu.state.x = [0; crate::registers::REGISTER_SLOTS];
    machine.cpu.state.x[SP] = DATA_VA + 64;
    machine.cpu.state.nzcv = 0;
    machine.cpu.clear_exclusive();
    for offset in 0..DATA_BYTES {
        let byte = (37 * offset + 0x91) % 256;
        machine
            .bus
            .write(0, DATA + offset, Size::Byte, byte)
            .expect("it is RAM");
    }
}

fn check(lines: &str) {
    let mut machine = process();
    for line in lines.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<_> = line.split(" | ").collect();
        let [_, words, before, after] = fields[..] else {
            panic!("four fields: {line}")
        };
        let words: Vec<_> = words.split(' ').map(|word| number(word) as u32).collect();

        reset(&mut machine);
        assign(&mut machine, before);
        assign(&mut machine, after);
        let expected = state(&machine);

        reset(&mut machine);
        assign(&mut machine, before);
        execute(&mut machine, &words);
        assert_eq!(state(&machine), expected, "{line}");
        assert_eq!(machine.cpu.state.x[31], 0, "XZR was written: {line}");
    }
}

#[test]
fn data_processing_does_what_qemu_does() {
    check(include_str!("tests/data_processing.txt"));
}

#[test]
fn loads_and_stores_do_what_qemu_does() {
    check(include_str!("tests/loads_stores.txt"));
}

#[test]
fn calls_link_and_return() {
    let mut machine = process();
    write_code(
        &mut machine,
        &[
            0x9400_0003, // bl +12
            0x5280_0020, // mov w0, #1
            0xd63f_03c0, // blr x30
            0x5280_0041, // mov w1, #2
            0xd65f_03c0, // ret
        ],
    );

    machine.cpu.run(&mut machine.bus, 3);
    assert_eq!(
        (machine.cpu.state.pc, machine.cpu.state.x[30]),
        (CODE_VA + 4, CODE_VA + 4)
    );
    machine.cpu.run(&mut machine.bus, 1);
    machine.cpu.state.x[30] = CODE_VA + 12;
    machine.cpu.run(&mut machine.bus, 1);

    assert_eq!(
        (machine.cpu.state.pc, machine.cpu.state.x[30]),
        (CODE_VA + 12, CODE_VA + 12)
    );
}

#[test]
fn addresses_are_relative_to_the_instruction() {
    let mut machine = process();

    execute(
        &mut machine,
        &[0xd503_201f, 0x10ff_ffe0, 0xf000_0001, 0x9000_0022],
    );

    // nop; adr x0, .-4; adrp x1, .+0x3000; adrp x2, .+0x4000
    assert_eq!(
        machine.cpu.state.x[..3],
        [CODE_VA, CODE_VA + 0x3000, CODE_VA + 0x4000]
    );
}

/// Runs one instruction that must fault; gives ESR_EL1 and FAR_EL1.
fn fault(machine: &mut Machine, word: u32) -> (u64, u64) {
    write_code(machine, &[word]);
    machine.cpu.run(&mut machine.bus, 1);
    assert_eq!(
        (machine.cpu.state.pstate.el, machine.cpu.state.sys.elr),
        (1, CODE_VA),
        "{word:08x} is taken"
    );
    (machine.cpu.state.sys.esr, machine.cpu.state.sys.far)
}

#[test]
fn unaligned_exclusives_and_atomics_fault() {
    for (word, base, wnr) in [
        (0xc85f_7c80, 4, 0), // ldxr x0, [x4]
        (0xc801_7c80, 4, 1), // stxr w1, x0, [x4]
        (0xc87f_0480, 8, 0), // ldxp x0, x1, [x4]
        (0xc822_0480, 8, 1), // stxp w2, x0, x1, [x4]
        (0x88df_fc80, 2, 0), // ldar w0, [x4]
        (0x889f_fc80, 2, 1), // stlr w0, [x4]
        (0x7820_0080, 1, 0), // ldaddh w0, w0, [x4]
        (0x4820_7c82, 8, 0), // casp x0, x1, x2, x3, [x4]
        (0xf820_8080, 4, 0), // swp x0, x0, [x4]
    ] {
        let mut machine = process();
        machine.cpu.state.x[4] = DATA_VA + base;

        let (esr, far) = fault(&mut machine, word);

        assert_eq!(
            (esr, far),
            (0x9200_0021 | wnr << 6, DATA_VA + base),
            "{word:08x}"
        );
    }
}

#[test]
fn faulting_access_leaves_registers_alone() {
    for word in [
        0xf840_8c80, // ldr x0, [x4, #8]!
        0xf800_8480, // str x0, [x4], #8
        0xa8c1_0480, // ldp x0, x1, [x4], #16
        0xa980_8480, // stp x0, x1, [x4, #8]!
        0xf820_0080, // ldadd x0, x0, [x4]
    ] {
        let mut machine = process();
        machine.cpu.state.x[..5].copy_from_slice(&[1, 2, 3, 4, DATA_VA + 0x1000]);

        let (esr, _) = fault(&mut machine, word);

        assert_eq!(esr & !0x40, 0x9200_0007, "{word:08x}");
        assert_eq!(
            machine.cpu.state.x[..5],
            [1, 2, 3, 4, DATA_VA + 0x1000],
            "{word:08x}"
        );
    }
}

#[test]
fn misaligned_stack_pointer_faults_as_a_base_only() {
    let mut machine = process();
    machine.cpu.state.sys.sctlr |= 1 << 4; // SA0
    machine.cpu.state.x[SP] = DATA_VA + 8;

    execute(&mut machine, &[0x9100_23ff]); // add sp, sp, #8
    machine.cpu.state.x[SP] = DATA_VA + 8;
    let (esr, _) = fault(&mut machine, 0xf940_03e0); // ldr x0, [sp]

    assert_eq!(esr, 0x9a00_0000);
}

#[test]
fn exception_makes_store_exclusive_fail() {
    let mut machine = process();
    machine.cpu.state.x[4] = DATA_VA;

    execute(&mut machine, &[0xc85f_7c80]); // ldxr x0, [x4]
    fault(&mut machine, 0); // udf
    machine.cpu.state.set_el(0, false);
    execute(&mut machine, &[0xc801_7c82]); // stxr w1, x2, [x4]

    assert_eq!(machine.cpu.state.x[1], 1);
}

#[test]
fn compare_and_swap_that_fails_still_needs_write_permission() {
    let mut machine = process();
    machine.cpu.state.x[4] = CODE_VA + 8;
    machine.cpu.state.x[0] = u64::MAX;

    let (esr, _) = fault(&mut machine, 0xc8a0_7c81); // cas x0, x1, [x4]

    assert_eq!(esr, 0x9200_004f, "a permission fault of a write");
}
