//! Exceptions, hints, barriers, system instructions and system registers.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::operands::x;
use crate::decode::system::SystemInsn;
use crate::sysreg::encoding;

pub(super) fn text(insn: SystemInsn) -> String {
    match insn {
        SystemInsn::Svc(immediate) => format!("svc #{immediate:#x}"),
        SystemInsn::Hvc(immediate) => format!("hvc #{immediate:#x}"),
        SystemInsn::Smc(immediate) => format!("smc #{immediate:#x}"),
        SystemInsn::Brk(immediate) => format!("brk #{immediate:#x}"),
        SystemInsn::Eret => "eret".to_owned(),
        SystemInsn::Hint(number) => {
            hint(number).map_or_else(|| format!("hint #{number:#x}"), str::to_owned)
        }
        SystemInsn::Clrex(15) => "clrex".to_owned(),
        SystemInsn::Clrex(option) => format!("clrex #{option:#x}"),
        SystemInsn::Dsb(0) => "ssbb".to_owned(),
        SystemInsn::Dsb(4) => "pssbb".to_owned(),
        SystemInsn::Dsb(option) => format!("dsb {}", barrier(option)),
        SystemInsn::Dmb(option) => format!("dmb {}", barrier(option)),
        SystemInsn::Isb(15) => "isb".to_owned(),
        SystemInsn::Isb(option) => format!("isb #{option:#x}"),
        SystemInsn::DaifSet(mask) => format!("msr daifset, #{mask:#x}"),
        SystemInsn::DaifClear(mask) => format!("msr daifclr, #{mask:#x}"),
        SystemInsn::SpSel(immediate @ 0..=1) => format!("msr spsel, #{immediate:#x}"),
        // Bits that mean nothing.
        SystemInsn::SpSel(immediate) => format!("msr s0_0_c4_c{immediate}_5, xzr"),
        SystemInsn::Sys { encoding, rt, .. } => sys(encoding, rt),
        SystemInsn::Mrs { rt, register } => format!("mrs {}, {}", x(rt), name(register, true)),
        SystemInsn::Msr { rt, register } => format!("msr {}, {}", name(register, false), x(rt)),
    }
}

/// The hints that have a name, those of extensions that do nothing here included.
const fn hint(number: u8) -> Option<&'static str> {
    Some(match number {
        SystemInsn::NOP => "nop",
        SystemInsn::YIELD => "yield",
        SystemInsn::WFE => "wfe",
        SystemInsn::WFI => "wfi",
        SystemInsn::SEV => "sev",
        SystemInsn::SEVL => "sevl",
        7 => "xpaclri",
        8 => "pacia1716",
        10 => "pacib1716",
        12 => "autia1716",
        14 => "autib1716",
        16 => "esb",
        17 => "psb csync",
        18 => "tsb csync",
        20 => "csdb",
        22 => "clearbhb",
        24 => "paciaz",
        25 => "paciasp",
        26 => "pacibz",
        27 => "pacibsp",
        28 => "autiaz",
        29 => "autiasp",
        30 => "autibz",
        31 => "autibsp",
        32 => "bti",
        34 => "bti c",
        36 => "bti j",
        38 => "bti jc",
        _ => return None,
    })
}

fn barrier(option: u8) -> String {
    let domain = ["osh", "nsh", "ish", ""][usize::from(option >> 2 & 3)];
    match option & 3 {
        0 => format!("#{option:#04x}"),
        1 => format!("{domain}ld"),
        2 => format!("{domain}st"),
        _ if domain.is_empty() => "sy".to_owned(),
        _ => domain.to_owned(),
    }
}

/// The system instructions that the decoder takes, op0 being 1.
#[rustfmt::skip] // One a line.
const SYS: &[(u16, &str)] = &[
    (encoding(1, 0, 7, 1, 0), "ic ialluis"),
    (encoding(1, 0, 7, 5, 0), "ic iallu"),
    (encoding(1, 3, 7, 5, 1), "ic ivau"),
    (encoding(1, 0, 7, 6, 1), "dc ivac"),
    (encoding(1, 0, 7, 6, 2), "dc isw"),
    (encoding(1, 0, 7, 10, 2), "dc csw"),
    (encoding(1, 0, 7, 14, 2), "dc cisw"),
    (encoding(1, 3, 7, 4, 1), "dc zva"),
    (encoding(1, 3, 7, 10, 1), "dc cvac"),
    (encoding(1, 3, 7, 11, 1), "dc cvau"),
    (encoding(1, 3, 7, 14, 1), "dc civac"),
    (encoding(1, 0, 7, 8, 0), "at s1e1r"),
    (encoding(1, 0, 7, 8, 1), "at s1e1w"),
    (encoding(1, 0, 7, 8, 2), "at s1e0r"),
    (encoding(1, 0, 7, 8, 3), "at s1e0w"),
    (encoding(1, 0, 8, 3, 0), "tlbi vmalle1is"),
    (encoding(1, 0, 8, 3, 1), "tlbi vae1is"),
    (encoding(1, 0, 8, 3, 2), "tlbi aside1is"),
    (encoding(1, 0, 8, 3, 3), "tlbi vaae1is"),
    (encoding(1, 0, 8, 3, 5), "tlbi vale1is"),
    (encoding(1, 0, 8, 3, 7), "tlbi vaale1is"),
    (encoding(1, 0, 8, 7, 0), "tlbi vmalle1"),
    (encoding(1, 0, 8, 7, 1), "tlbi vae1"),
    (encoding(1, 0, 8, 7, 2), "tlbi aside1"),
    (encoding(1, 0, 8, 7, 3), "tlbi vaae1"),
    (encoding(1, 0, 8, 7, 5), "tlbi vale1"),
    (encoding(1, 0, 8, 7, 7), "tlbi vaale1"),
];

fn sys(code: u16, rt: u8) -> String {
    let name = SYS
        .iter()
        .find(|(known, _)| *known == code)
        .map_or("sys", |(_, name)| name);
    // These work on everything: a register says nothing.
    if name.starts_with("ic iallu") || name.starts_with("tlbi vmall") {
        name.to_owned()
    } else {
        format!("{name}, {}", x(rt))
    }
}

/// What [`text`] calls the register that is read, or written.
fn name(register: u16, read: bool) -> String {
    static NAMES: LazyLock<HashMap<u16, &str>> = LazyLock::new(|| {
        let lines = include_str!("system_registers.txt").lines();
        lines.filter_map(row).collect()
    });
    /// Two registers share it.
    const DBGDTRRX_EL0: u16 = encoding(2, 3, 0, 5, 0);
    if register == DBGDTRRX_EL0 && !read {
        return "dbgdtrtx_el0".to_owned();
    }
    NAMES.get(&register).map_or_else(
        || {
            let (op0, op1, op2) = (register >> 14, register >> 11 & 7, register & 7);
            let (crn, crm) = (register >> 7 & 15, register >> 3 & 15);
            format!("s{op0}_{op1}_c{crn}_c{crm}_{op2}")
        },
        |name| (*name).to_owned(),
    )
}

/// A row of the table; `None` for its head.
fn row(line: &'static str) -> Option<(u16, &'static str)> {
    let mut words = line.split(' ');
    let mut number = || words.next()?.parse().ok();
    let code = encoding(number()?, number()?, number()?, number()?, number()?);
    Some((code, words.next()?))
}

#[cfg(test)]
mod tests {
    use super::{name, row};
    use crate::sysreg::TABLE;

    #[test]
    fn every_row_is_read() {
        let lines = include_str!("system_registers.txt").lines();
        let (head, rows): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with('#'));
        assert!(head.len() < 4 && rows.len() > 1000);
        assert!(rows.into_iter().all(|line| row(line).is_some()));
    }

    #[test]
    fn registers_of_the_core_are_called_as_they_are_there() {
        for known in TABLE {
            assert_eq!(name(known.encoding, true), known.name.to_lowercase());
        }
    }
}
