//! Compares outcomes, and finds the first instruction that went wrong.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Command;
use std::sync::mpsc::sync_channel;

use crate::case::{Case, Outcome, Signal};
use crate::generate::{Focus, Generator};
use crate::ours::{Ended, Ours};
use crate::runner::{BATCH, Oracle};

/// Mismatches followed up before the rest is only counted.
const FOLLOWED_MAX: usize = 1000;
/// Mismatches shown.
const SHOWN_MAX: usize = 60;

/// Every difference between what should be and what is.
pub(crate) fn differences(expected: &Outcome, ended: &Ended) -> Vec<String> {
    let got = &ended.outcome;
    let mut found = Vec::new();
    let mut check = |name: String, expected: u128, got: u128| {
        if expected != got {
            found.push(format!("{name}: expected {expected:#x}, got {got:#x}"));
        }
    };
    check("pc".into(), expected.pc.into(), got.pc.into());
    // An address that is no address on the oracle's host either comes to it as 0.
    if expected.address != 0 {
        check(
            "fault address".into(),
            expected.address.into(),
            got.address.into(),
        );
    }
    let (e, g) = (&expected.state, &got.state);
    for i in 0..31 {
        check(format!("x{i}"), e.x[i].into(), g.x[i].into());
    }
    check("sp".into(), e.x[31].into(), g.x[31].into());
    for i in 0..32 {
        check(format!("v{i}"), e.v[i], g.v[i]);
    }
    check("nzcv".into(), e.nzcv.into(), g.nzcv.into());
    check("fpcr".into(), e.fpcr.into(), g.fpcr.into());
    check("fpsr".into(), e.fpsr.into(), g.fpsr.into());
    check("tpidr_el0".into(), e.tpidr.into(), g.tpidr.into());
    for (name, e, g) in [
        ("cross", &e.cross[..], &g.cross[..]),
        ("end", &e.end, &g.end),
    ] {
        for (i, (e, g)) in e.chunks(8).zip(g.chunks(8)).enumerate() {
            if e != g {
                found.push(format!(
                    "memory {name}+{:#x}: expected {e:02x?}, got {g:02x?}",
                    8 * i
                ));
            }
        }
    }
    if expected.signal != got.signal {
        found.insert(
            0,
            format!("expected {:?}, got {:?}", expected.signal, got.signal),
        );
    }
    if let Some(address) = ended.stray {
        found.push(format!(
            "stored to {address:#x}, where no instruction should"
        ));
    }
    found
}

/// What was run and how it came out.
pub(crate) struct Report {
    pub cases: u64,
    pub instructions: u64,
    pub mismatches: u64,
    /// How sequences ended, by the oracle.
    pub signals: BTreeMap<&'static str, u64>,
    shown: Vec<String>,
}

impl Report {
    /// Prints the numbers, and panics with the mismatches if there are any.
    pub(crate) fn conclude(&self, what: &str, seed: u64) {
        // Past the capture of the test harness: the seed belongs into every log.
        let _ = writeln!(
            std::io::stderr(),
            "oracle {what}: seed {seed:#x}, {} cases, {} instructions, ended by {:?}",
            self.cases,
            self.instructions,
            self.signals,
        );
        assert_eq!(
            self.mismatches,
            0,
            "{} of {} cases differ (ORACLE_SEED={seed:#x}); the first wrong instructions:\n\n{}",
            self.mismatches,
            self.cases,
            self.shown.join("\n")
        );
    }
}

/// Runs cases on both sides. The oracle works ahead in its own process.
pub(crate) fn campaign(focus: Focus, cpu: &str, seed: u64, cases: u64) -> Report {
    let generator = Generator::new(seed);
    let (to_us, from_generator) = sync_channel::<Vec<Case>>(2);
    std::thread::scope(|scope| {
        let mut oracle = Oracle::start(cpu);
        let mut input = oracle.take_input();
        let from_generator = from_generator;
        scope.spawn(move || {
            let mut next = 0;
            while next < cases {
                let count = (cases - next).min(BATCH as u64);
                let batch: Vec<Case> = (0..count)
                    .map(|i| generator.case(focus, next + i, i as u32))
                    .collect();
                // Either fails when the other side has given up, and says why itself.
                if to_us.send(batch.clone()).is_err() || input.send(&batch).is_err() {
                    return;
                }
                next += count;
            }
        });
        let mut checker = Checker::new(cpu);
        for batch in from_generator {
            for (case, expected) in batch.iter().zip(oracle.receive(batch.len())) {
                checker.check(case, &expected);
            }
        }
        checker.report()
    })
}

/// Runs our side and follows mismatches up.
struct Checker {
    cpu: String,
    ours: Ours,
    /// For shrinking; the other one is ahead with its work.
    second: Option<Oracle>,
    /// By mnemonic: how often, and the first in full.
    wrong: BTreeMap<String, (u64, String)>,
    followed: usize,
    report: Report,
}

impl Checker {
    fn new(cpu: &str) -> Checker {
        let report = Report {
            cases: 0,
            instructions: 0,
            mismatches: 0,
            signals: BTreeMap::new(),
            shown: Vec::new(),
        };
        Checker {
            cpu: cpu.to_string(),
            ours: Ours::new(),
            second: None,
            wrong: BTreeMap::new(),
            followed: 0,
            report,
        }
    }

    fn check(&mut self, case: &Case, expected: &Outcome) {
        let ended = self.ours.run(case);
        self.report.cases += 1;
        self.report.instructions += ended.executed;
        let signal = match expected.signal {
            Signal::Breakpoint => "the end",
            Signal::Undefined => "undefined",
            Signal::Alignment => "alignment fault",
            Signal::Memory => "memory fault",
            Signal::Other(_) => "something else",
        };
        *self.report.signals.entry(signal).or_default() += 1;
        if differences(expected, &ended).is_empty() {
            return;
        }
        self.report.mismatches += 1;
        self.followed += 1;
        if self.followed <= FOLLOWED_MAX {
            let (mnemonic, text) = self.follow(case);
            let entry = self.wrong.entry(mnemonic).or_insert((0, text));
            entry.0 += 1;
        }
    }

    /// Runs prefixes until one differs.
    fn follow(&mut self, case: &Case) -> (String, String) {
        let second = self.second.get_or_insert_with(|| Oracle::start(&self.cpu));
        let mut before = case.state.clone();
        for count in 1..=case.words.len() {
            let prefix = case.prefix(count);
            let expected = &second.run(std::slice::from_ref(&prefix))[0];
            let ended = self.ours.run(&prefix);
            let differences = differences(expected, &ended);
            if differences.is_empty() {
                before = expected.state.clone();
                continue;
            }
            let word = case.words[count - 1];
            let disassembly = disassemble(word);
            let mnemonic = disassembly
                .split_whitespace()
                .next()
                .unwrap_or("?")
                .to_string();
            let mut text = format!("{word:08x}  {disassembly}  (after {} others)\n", count - 1);
            let _ = writeln!(
                text,
                "  in: nzcv {:#x} fpcr {:#x} fpsr {:#x} pc {:#x}",
                before.nzcv,
                before.fpcr,
                before.fpsr,
                case.code_address() + 4 * (count as u64 - 1)
            );
            let mut shown = Vec::new();
            for low in [0, 5, 16, 10] {
                let register = (word >> low & 31) as usize;
                if !shown.contains(&register) {
                    shown.push(register);
                    let _ = writeln!(
                        text,
                        "  in: x{register} {:#x}  v{register} {:#034x}",
                        before.x[register], before.v[register]
                    );
                }
            }
            let base = before.x[(word >> 5 & 31) as usize] & 0x00ff_ffff_ffff_ffff;
            if let Some(memory) = before.memory(base, 16) {
                let _ = writeln!(text, "  in: memory at base {memory:02x?}");
            }
            for difference in differences.iter().take(8) {
                let _ = writeln!(text, "  {difference}");
            }
            return (mnemonic, text);
        }
        (
            "?".into(),
            "differs as a whole, but no prefix does\n".into(),
        )
    }

    fn report(self) -> Report {
        let mut report = self.report;
        report.shown = self
            .wrong
            .into_values()
            .take(SHOWN_MAX)
            .map(|(times, text)| format!("{times} times: {text}"))
            .collect();
        report
    }
}

/// One instruction as `objdump` of the cross binutils has it.
pub(crate) fn disassemble(word: u32) -> String {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
        "oracle-disassemble-{}-{word:08x}",
        std::process::id()
    ));
    std::fs::write(&path, word.to_le_bytes()).expect("the target folder can be written");
    let output = Command::new("aarch64-linux-gnu-objdump")
        .args(["-D", "-z", "-b", "binary", "-m", "aarch64"])
        .arg(&path)
        .output();
    let _ = std::fs::remove_file(&path);
    let text = output
        .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
        .unwrap_or_default();
    let line = text.lines().last().unwrap_or_default();
    line.split('\t').skip(2).collect::<Vec<_>>().join(" ")
}
