//! Stacks in reports: which functions, and which of them say something.

use std::sync::LazyLock;

use regex::Regex;

use super::words::bare;

/// A frame of a kernel's call trace: `f+0x10/0x20 [module buildid] (P)`, before 4.13 with `[<address>]`
/// in front.
static FRAME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"^\s*(?:\? +)?(?:\[<[0-9a-f]+>\] +)?([A-Za-z_][\w.$]*)\+0x([0-9a-f]+)/0x[0-9a-f]+(?: \[[^\]]*\])?(?: \(([A-Z]+)\))?\s*$",
    )
    .expect("it is one")
});
/// A frame whose address is in no function.
static NOWHERE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^\s+(?:\[<[0-9a-f]+>\] +)?0x[0-9a-f]+(?: \([A-Z]+\))?\s*$").expect("it is one")
});
/// A frame of a checker's backtrace: `#0 0xffff800080169784 f+0x6c4`.
static CHECKER_FRAME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^\s*#[0-9]+ 0x[0-9a-f]+ ([A-Za-z_][\w.$]*)\+0x[0-9a-f]+").expect("it is one")
});
/// A function anywhere.
static FUNCTION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"([A-Za-z_][\w.$]*)\+0x[0-9a-f]+/0x[0-9a-f]+").expect("it is one")
});

/// Those that report, and those that trap on their behalf.
const REPORTING: &[&str] = &[
    // kernel/panic.c, lib/dump_stack.c, arch/arm64/kernel/stacktrace.c and traps.c
    "dump_backtrace",
    "show_stack",
    "show_regs",
    "dump_stack",
    "dump_stack_lvl",
    "panic",
    "vpanic",
    "nmi_panic",
    "check_panic_on_warn",
    "__warn",
    "__warn_printk",
    "warn_slowpath_fmt",
    "report_bug",
    "bug_handler",
    "bug_brk_handler",
    "call_break_hook",
    "call_el1_break_hook",
    "brk_handler",
    "do_debug_exception",
    "do_el1_brk64",
    "el1_brk64",
    "el1_dbg",
    "die",
    "die_kernel_fault",
    "oops_exit",
    "make_task_dead",
    "__do_kernel_fault",
    "do_bad_area",
    "do_mem_abort",
    "do_translation_fault",
    "do_page_fault",
    "do_serror",
    "arm64_serror_panic",
    "panic_bad_stack",
    "handle_bad_stack",
    "__bad_stack",
    "el1_abort",
    "el1_undef",
    "do_el1_undef",
    "el1h_64_sync_handler",
    "el1h_64_sync",
    "el1h_64_error_handler",
    "el1h_64_error",
    // mm/kasan, mm/kfence, mm/kmsan, kernel/kcsan
    "print_report",
    "print_address_description",
    "end_report",
    "check_region_inline",
    // kernel/sched/core.c
    "__might_sleep",
    "__might_resched",
    "__might_fault",
    "might_fault",
    "__cant_sleep",
    "__schedule_bug",
    "schedule_debug",
    // kernel/locking
    "lock_acquire",
    "__lock_acquire",
    "lock_release",
    "__lock_release",
    "lock_acquired",
    "reacquire_held_locks",
    "check_noncircular",
    "check_prev_add",
    "check_deadlock",
    "validate_chain",
    "mark_lock",
    "mark_usage",
    "mark_lock_irq",
    "print_circular_bug",
    "print_deadlock_bug",
    "print_usage_bug",
    "print_unlock_imbalance_bug",
    "debug_check_no_locks_freed",
    "debug_check_no_locks_held",
    "spin_bug",
    "spin_dump",
    "do_raw_spin_lock",
    "do_raw_spin_unlock",
    "do_raw_spin_trylock",
    "queued_spin_lock_slowpath",
    "queued_read_lock_slowpath",
    "queued_write_lock_slowpath",
    // lib
    "__list_add_valid",
    "__list_add_valid_or_report",
    "__list_del_entry_valid",
    "__list_del_entry_valid_or_report",
    "refcount_warn_saturate",
    "debug_print_object",
    "__dynamic_pr_debug",
    // What was called to do it says less than who called it.
    "memcpy",
    "memmove",
    "memset",
    "memcmp",
    "__memcpy",
    "__memmove",
    "__memset",
    "strlen",
    "strnlen",
    "strcmp",
    "strncmp",
    "strcpy",
    "strscpy",
    "sized_strscpy",
    // Spinning.
    "__delay",
    "__udelay",
    "__const_udelay",
    "__ndelay",
    "ktime_get",
    "arch_counter_get_cntvct",
    "arch_timer_read_cntvct_el0",
];

/// Beginnings of names of the same.
const REPORTING_PREFIXES: &[&str] = &[
    "kasan_",
    "__kasan_",
    "__asan_",
    "__hwasan_",
    "kfence_",
    "__kfence_",
    "kcsan_",
    "__kcsan_",
    "__tsan_",
    "kmsan_",
    "__kmsan_",
    "__msan_",
    "ubsan_",
    "__ubsan_",
    "lockdep_",
    "_raw_spin_",
    "_raw_read_",
    "_raw_write_",
];

/// Where a stack is entered: what is behind them is the same for everything.
const ENTRIES: &[&str] = &[
    "invoke_syscall",
    "el0_svc_common",
    "do_el0_svc",
    "el0_svc",
    "el0_da",
    "el0_ia",
    "el0_interrupt",
    "el0t_64_sync_handler",
    "el0t_64_sync",
    "el0t_64_irq_handler",
    "el0t_64_irq",
    "__el0_irq_handler_common",
    "ret_from_fork",
    "kthread",
    "worker_thread",
    "process_one_work",
    "process_scheduled_works",
    "irq_thread",
    "call_on_irq_stack",
    "do_interrupt_handler",
    "el1_interrupt",
    "el1h_64_irq_handler",
    "el1h_64_irq",
    "el1h_64_fiq_handler",
    "el1h_64_fiq",
];

/// An interrupt: what is behind it was running then, and did nothing for it.
const INTERRUPTS: &[&str] = &["el1h_64_irq", "el1h_64_fiq"];

/// Parts of the names of functions in which a task waits.
const WAITING: &[&str] = &[
    "__switch_to",
    "schedule",
    "wait",
    "msleep",
    "usleep_",
    "_lock",
    "mutex_",
    "completion",
    "synchronize_",
    "rwsem_",
    "flush_work",
    "kthread_stop",
];

fn is_waiting(function: &str) -> bool {
    let name = function.trim_start_matches('_');
    WAITING.iter().any(|part| function.contains(part))
        || name.starts_with("down")
        || name.starts_with("lock_")
}

fn is_reporting(function: &str) -> bool {
    REPORTING.contains(&function)
        || REPORTING_PREFIXES
            .iter()
            .any(|prefix| function.starts_with(prefix))
}

/// What the stack of a report is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// By what happened there.
    Where,
    /// Of a CPU that an interrupt looked at: where in a loop is chance.
    Sampled,
    /// Of a task that waits.
    Waiting,
}

/// The frames that say something, innermost first.
/// `head` is the function that the report itself names.
pub(super) fn of_kernel(lines: &[String], head: Option<&str>, taken: Taken) -> Vec<String> {
    let mut stack = whole(lines);
    if let Some(head) = head {
        match stack.iter().position(|function| function == head) {
            Some(at) => drop(stack.drain(..at)),
            None => {
                // What reports is above the one that is named, if that is not in the stack at all.
                let machinery = stack.iter().take_while(|it| is_reporting(it)).count();
                stack.splice(..machinery, [head.to_owned()]);
            }
        }
    }
    // Where there are no registers, the stack begins in the interrupt that looked.
    if taken == Taken::Sampled
        && register(lines, "pc : ").is_none()
        && let Some(at) = stack
            .iter()
            .position(|it| INTERRUPTS.contains(&it.as_str()))
    {
        stack.drain(..=at);
    }
    let end = stack.iter().position(|it| ENTRIES.contains(&it.as_str()));
    if let Some(end) = end.filter(|end| *end > 0) {
        stack.truncate(end);
    }
    let skipped = |function: &String| {
        is_reporting(function) || taken == Taken::Waiting && is_waiting(function)
    };
    // If nothing else is known, what reports is better than nothing if the report named it.
    let kept: Vec<String> = stack.iter().skip_while(|it| skipped(it)).cloned().collect();
    let mut frames = match (kept.is_empty(), head) {
        (true, Some(head)) => vec![head.to_owned()],
        _ => kept,
    };
    if taken == Taken::Sampled {
        frames.truncate(1);
    }
    frames
}

/// All functions of the first call trace; of registers alone, if there is none.
fn whole(lines: &[String]) -> Vec<String> {
    let mut from = lines.iter();
    let is_trace = |line: &&String| line.to_ascii_lowercase().contains("call trace:");
    let _ = from.by_ref().find(is_trace);
    let mut stack = frames(from);
    if let Some(pc) = register(lines, "pc : ") {
        if stack.first() != Some(&pc) {
            stack.insert(0, pc);
        }
        // A function that calls none has no frame record, and its caller is in the link register alone.
        // In one that has called others, that leads back into itself.
        if let Some(caller) = register(lines, "lr : ")
            && !stack.contains(&caller)
        {
            stack.insert(1, caller);
        }
    } else if stack.is_empty() {
        stack.extend(register(lines, "lr : "));
    }
    // How deep a recursion was is chance.
    stack.dedup();
    stack
}

/// The function that a register points into.
fn register(lines: &[String], name: &str) -> Option<String> {
    let mut found = lines
        .iter()
        .filter_map(|line| line.trim_start().strip_prefix(name));
    function(found.next()?)
}

/// The frames that stand on the next lines.
fn frames<'a>(lines: impl Iterator<Item = &'a String>) -> Vec<String> {
    let marks = |line: &&String| {
        let line = line.trim();
        line.starts_with('<') && line.ends_with('>')
    };
    lines
        .skip_while(marks)
        .filter(|line| !NOWHERE.is_match(line))
        .map_while(|line| FRAME.captures(line))
        // Behind a call that does not come back another function may begin, and the kernel names that
        // one. What called is not known then. Only where an exception was taken the beginning of a
        // function is meant.
        .filter(|it| &it[2] != "0" || it.get(3).is_some_and(|mark| mark.as_str().contains('P')))
        .map(|it| bare(&it[1]).to_owned())
        .collect()
}

/// The frames behind the first line that `is_before` them, without what reports.
pub(super) fn behind(lines: &[String], is_before: impl Fn(&str) -> bool) -> Vec<String> {
    let mut from = lines.iter();
    let _ = from.by_ref().find(|line| is_before(line));
    let found = frames(from);
    found
        .into_iter()
        .skip_while(|it| is_reporting(it))
        .collect()
}

/// The first function in a text.
pub(super) fn function(text: &str) -> Option<String> {
    let found = FUNCTION.captures(text)?;
    Some(bare(&found[1]).to_owned())
}

/// All functions in a text.
pub(super) fn functions(text: &str) -> Vec<String> {
    let found = FUNCTION.captures_iter(text);
    found.map(|it| bare(&it[1]).to_owned()).collect()
}

/// The frames of the first backtrace in a checker's report.
pub(super) fn of_checker(lines: &[String]) -> Vec<String> {
    lines
        .iter()
        .map(|line| CHECKER_FRAME.captures(line))
        .skip_while(Option::is_none)
        .map_while(|found| Some(bare(&found?[1]).to_owned()))
        .take_while(|function| !ENTRIES.contains(&function.as_str()))
        .collect()
}
