//! What the guest's kernel says of its own faults: oopses, BUGs, warnings, reports of sanitizers, stalls
//! and lockups, found in the lines of its console.
//!
//! The words are the kernel's own (Linux 6.12 and 7.3); `HEADS` names file and function of each. A
//! line counts if the kernel printed it. It puts the time before each line (`printk.time`, `info_print_prefix`
//! in kernel/printk/printk.c); a terminal does not, so what a program prints does not count. Two things look like
//! the kernel's own and cannot be told apart: lines written to `/dev/kmsg`, and those of a program where
//! the kernel prints no times. A log that is shown again (`dmesg`) has the same times, and counts once.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Result, bail};
use serde::{Serialize, Serializer};
pub use stallbox_trace::KernelReportKind as Kind;

/// Reports of which the text is kept.
const REPORTS_MAX: usize = 32;
/// Lines kept of each, with its call trace; and so many lines of the kernel behind its head a report is over, if it
/// does not say so itself.
const SPAN: usize = 80;
/// Lines of each that a summary shows.
const LINES_SHOWN: usize = 16;
/// Heads that are remembered, to know them again.
const KNOWN_MAX: usize = 1024;

fn bit(kind: Kind) -> u32 {
    1 << kind as u32
}

/// How the first line of a report begins, and what else is in it.
struct Head(Kind, &'static str, &'static [&'static str]);

/// The first that fits counts: what is special stands before what is general.
const HEADS: &[Head] = &[
    // kernel/panic.c, panic() (vpanic() in 7.3).
    Head(Kind::Panic, "Kernel panic - not syncing", &[]),
    // mm/kasan/report.c, print_error_description() and kasan_report_async().
    Head(Kind::Kasan, "BUG: KASAN: ", &[]),
    // mm/kmsan/report.c, kmsan_report().
    Head(Kind::Kmsan, "BUG: KMSAN: ", &[]),
    // mm/kfence/report.c, kfence_report_error().
    Head(Kind::Kfence, "BUG: KFENCE: ", &[]),
    // kernel/kcsan/report.c, print_report().
    Head(Kind::Kcsan, "BUG: KCSAN: ", &[]),
    // lib/ubsan.c, ubsan_prologue().
    Head(Kind::Ubsan, "UBSAN: ", &[" in "]),
    // kernel/watchdog.c, watchdog_timer_fn() and watchdog_hardlockup_check().
    Head(Kind::Lockup, "watchdog: BUG: soft lockup - CPU#", &[]),
    Head(
        Kind::Lockup,
        "watchdog: ",
        &["detected hard LOCKUP on cpu "],
    ),
    // kernel/workqueue.c, wq_watchdog_timer_fn().
    Head(Kind::Lockup, "BUG: workqueue lockup - ", &[]),
    // kernel/rcu/tree_stall.h, print_other_cpu_stall() and print_cpu_stall(); kernel/rcu/tree_exp.h,
    // synchronize_rcu_expedited_stall(); kernel/rcu/tasks.h, check_all_holdout_tasks().
    Head(Kind::RcuStall, "rcu: INFO: ", &["detected", "stall"]),
    Head(Kind::RcuStall, "INFO: rcu", &["detected", "stall"]),
    // kernel/hung_task.c, hung_task_info() (check_hung_task() in 6.12).
    Head(
        Kind::HungTask,
        "INFO: task ",
        &[" blocked", " for more than "],
    ),
    // kernel/irq/spurious.c, __report_bad_irq().
    Head(Kind::Irq, "irq ", &[": nobody cared"]),
    // kernel/locking/lockdep.c: print_circular_bug_header(), print_bad_irq_dependency(),
    // print_deadlock_bug(), print_usage_bug(), print_irq_inversion_bug(), print_lock_nested_lock_not_held(),
    // print_unlock_imbalance_bug(), print_lock_contention_bug(), print_freed_lock_bug(),
    // print_held_locks_bug(), lockdep_sys_exit(), lockdep_rcu_suspicious(),
    // print_lock_invalid_wait_context(), print_lockdep_off().
    Head(
        Kind::Lockdep,
        "WARNING: possible circular locking dependency detected",
        &[],
    ),
    Head(Kind::Lockdep, "WARNING: ", &[" lock order detected"]),
    Head(
        Kind::Lockdep,
        "WARNING: possible recursive locking detected",
        &[],
    ),
    Head(Kind::Lockdep, "WARNING: inconsistent lock state", &[]),
    Head(
        Kind::Lockdep,
        "WARNING: possible irq lock inversion dependency detected",
        &[],
    ),
    Head(Kind::Lockdep, "WARNING: Nested lock was not taken", &[]),
    Head(Kind::Lockdep, "WARNING: bad unlock balance detected!", &[]),
    Head(Kind::Lockdep, "WARNING: bad contention detected!", &[]),
    Head(Kind::Lockdep, "WARNING: held lock freed!", &[]),
    Head(Kind::Lockdep, "WARNING: ", &[" still has locks held!"]),
    Head(
        Kind::Lockdep,
        "WARNING: lock held when returning to user space!",
        &[],
    ),
    Head(Kind::Lockdep, "WARNING: suspicious RCU usage", &[]),
    Head(Kind::Lockdep, "[ BUG: Invalid wait context ]", &[]),
    Head(Kind::Lockdep, "BUG: MAX_", &[" too low!"]),
    // kernel/panic.c, __warn(): "WARNING: CPU: 0 PID: 1 at file:line function", since 6.18
    // "WARNING: file:line at function, CPU#0: comm/pid".
    Head(Kind::Warn, "WARNING: CPU: ", &[" PID: "]),
    Head(Kind::Warn, "WARNING: ", &["at ", ", CPU#"]),
    // lib/bug.c, __report_bug().
    Head(Kind::Bug, "kernel BUG at ", &[]),
    // kernel/sched/core.c, __schedule_bug() and __might_resched(); mm/page_alloc.c, bad_page();
    // kernel/fork.c, check_mm(); kernel/locking/spinlock_debug.c, spin_dump(); and more.
    Head(Kind::Bug, "BUG: ", &[]),
    // arch/arm64/mm/fault.c, die_kernel_fault().
    Head(
        Kind::Oops,
        "Unable to handle kernel ",
        &[" at virtual address "],
    ),
    // arch/arm64/kernel/traps.c, __die(), handle_bad_stack() and arm64_serror_panic().
    Head(Kind::Oops, "Internal error: ", &[" [#"]),
    Head(
        Kind::Oops,
        "Insufficient stack space to handle exception!",
        &[],
    ),
    Head(Kind::Oops, "SError Interrupt on CPU", &[]),
    // kernel/exit.c, make_task_dead().
    Head(
        Kind::Oops,
        "Fixing recursive fault but reboot is needed!",
        &[],
    ),
];

/// What the second half of an oops begins with (arch/arm64/kernel/traps.c, `__die`).
const DIE: &str = "Internal error: ";
/// The end of a report (kernel/panic.c, `print_oops_end_marker` and `panic`).
const END: [&str; 2] = ["---[ end trace ", "---[ end Kernel panic "];

fn kind_of(text: &str) -> Option<Kind> {
    let fits = |head: &&Head| {
        text.strip_prefix(head.1)
            .is_some_and(|rest| head.2.iter().all(|part| rest.contains(part)))
    };
    HEADS.iter().find(fits).map(|head| head.0)
}

/// One report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KernelReport {
    /// What it is.
    pub kind: Kind,
    /// The devices' time at its first line.
    pub time_ns: u64,
    /// Its lines, 80 at most, without what the kernel puts before each. A summary shows the first 16.
    #[serde(serialize_with = "shown")]
    pub lines: Vec<String>,
}

fn shown<S: Serializer>(lines: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    lines[..lines.len().min(LINES_SHOWN)].serialize(serializer)
}

/// What was reported so far.
#[derive(Debug, Default)]
pub struct KernelReports {
    kept: Vec<KernelReport>,
    counts: [u64; Kind::ALL.len()],
    /// Heads with their times.
    known: BTreeSet<String>,
    /// The kernel puts the time before its lines.
    has_times: bool,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    /// Among those that are kept.
    index: Option<usize>,
    kind: Kind,
    /// Lines since its head.
    lines: usize,
}

impl KernelReports {
    /// Takes a line of the console. Gives what is reported, if the line begins a report.
    pub fn line(&mut self, line: &str, time_ns: u64) -> Option<(Kind, String)> {
        let line = line.trim_matches(['\r', '\n']);
        let stamped: Vec<(&str, &str)> = stamps(line).collect();
        self.has_times |= !stamped.is_empty();
        // The kernel's line may follow what a program left on the terminal.
        let head = stamped
            .iter()
            .find_map(|(stamp, text)| Some((kind_of(text)?, *stamp, *text)));
        let found = match (head, stamped.first()) {
            (Some(found), _) => Some(found),
            (None, Some(_)) => None,
            (None, None) if self.has_times => return None,
            (None, None) => {
                let text = without_marks(line);
                kind_of(text).map(|kind| (kind, "", text))
            }
        };
        let Some((kind, stamp, text)) = found else {
            let text = stamped
                .first()
                .map_or(without_marks(line), |(_, text)| *text);
            self.goes_on(text);
            return None;
        };
        if !stamp.is_empty() && !self.is_new(format!("{stamp} {text}")) {
            self.open = None;
            return None;
        }
        // An oops after a panic is another one.
        let dies = self.open.as_ref().is_some_and(|it| it.kind != Kind::Panic);
        if text.starts_with(DIE) && dies {
            self.goes_on(text);
            return None;
        }
        self.counts[kind as usize] += 1;
        let index = (self.kept.len() < REPORTS_MAX).then(|| {
            self.kept.push(KernelReport {
                kind,
                time_ns,
                lines: vec![text.to_owned()],
            });
            self.kept.len() - 1
        });
        self.open = Some(Open {
            index,
            kind,
            lines: 0,
        });
        Some((kind, text.to_owned()))
    }

    /// Another line of the report that is open.
    fn goes_on(&mut self, text: &str) {
        let Some(open) = &mut self.open else { return };
        open.lines += 1;
        let over = END.iter().any(|end| text.starts_with(end)) || open.lines >= SPAN;
        if let Some(index) = open.index
            && let lines = &mut self.kept[index].lines
            && lines.len() < SPAN
            && !text.trim().is_empty()
        {
            lines.push(text.to_owned());
        }
        if over {
            self.open = None;
        }
    }

    fn is_new(&mut self, head: String) -> bool {
        if self.known.len() >= KNOWN_MAX && !self.known.contains(&head) {
            self.known.pop_first();
        }
        self.known.insert(head)
    }

    /// The first of them.
    pub fn kept(&self) -> &[KernelReport] {
        &self.kept
    }

    /// How many there were of each kind that there was.
    pub fn counts(&self) -> impl Iterator<Item = (Kind, u64)> {
        let counts = Kind::ALL.into_iter().zip(self.counts);
        counts.filter(|(_, count)| *count > 0)
    }

    /// How many there were.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// Each place in a line where the kernel's time stands, with what is behind it.
fn stamps(line: &str) -> impl Iterator<Item = (&str, &str)> {
    line.match_indices('[').filter_map(|(at, _)| {
        let stamp = bracketed(&line[at..])?;
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
        let (seconds, micros) = stamp.trim_start().split_once('.')?;
        if !digits(seconds) || !digits(micros) || micros.len() != 6 {
            return None;
        }
        let rest = without_caller(&line[at + stamp.len() + 2..]);
        Some((stamp, rest.strip_prefix(' ').unwrap_or(rest)))
    })
}

/// What is between the brackets that a text begins with.
fn bracketed(text: &str) -> Option<&str> {
    let inside = text.strip_prefix('[')?;
    inside.split_once(']').map(|(inside, _)| inside)
}

/// Without the thread or CPU that CONFIG_PRINTK_CALLER adds (`print_caller`): `[    T1]`, `[    C0]`.
fn without_caller(text: &str) -> &str {
    let Some(caller) = bracketed(text) else {
        return text;
    };
    let id = caller.trim_start().strip_prefix(['T', 'C']);
    let is_id = id.is_some_and(|id| !id.is_empty() && id.bytes().all(|it| it.is_ascii_digit()));
    if is_id {
        &text[caller.len() + 2..]
    } else {
        text
    }
}

/// A line without a time: without its level (`print_syslog`) and caller.
fn without_marks(line: &str) -> &str {
    let level = line.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    let text = match level {
        Some((level, text)) if level.bytes().all(|it| it.is_ascii_digit()) => text,
        _ => line,
    };
    let rest = without_caller(text);
    if rest.len() == text.len() {
        text
    } else {
        rest.strip_prefix(' ').unwrap_or(rest)
    }
}

/// Of which reports a run fails: `--fail-on`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailOn(u32);

impl FailOn {
    /// Of none.
    pub const NONE: FailOn = FailOn(0);

    /// Of all.
    pub fn all() -> FailOn {
        Kind::ALL
            .into_iter()
            .fold(FailOn::NONE, |set, kind| FailOn(set.0 | bit(kind)))
    }

    /// Names, separated by commas; one with `-` before it is taken out again.
    pub fn parse(text: &str) -> Result<FailOn> {
        let mut set = FailOn::NONE;
        for word in text.split(',') {
            let (out, name) = match word.strip_prefix('-') {
                Some(name) => (true, name),
                None => (false, word),
            };
            let named = match name {
                "none" if text == "none" => FailOn::NONE,
                "none" => bail!("none goes with nothing else"),
                "all" => FailOn::all(),
                name => match Kind::ALL.into_iter().find(|kind| kind.name() == name) {
                    Some(kind) => FailOn(bit(kind)),
                    None => bail!(
                        "\"{name}\" is nothing that a kernel reports; there are {}, all and none",
                        Kind::ALL.map(Kind::name).join(", ")
                    ),
                },
            };
            set.0 = if out {
                set.0 & !named.0
            } else {
                set.0 | named.0
            };
        }
        Ok(set)
    }

    /// Whether a run fails of this.
    pub fn has(self, kind: Kind) -> bool {
        self.0 & bit(kind) != 0
    }

    /// Whether a run fails of one of these.
    pub fn is_failed_by(self, reports: &KernelReports) -> bool {
        reports.counts().any(|(kind, _)| self.0 & bit(kind) != 0)
    }
}

impl fmt::Display for KernelReports {
    /// `1 oops, 2 warn`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (kind, count)) in self.counts().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{count} {}", kind.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
