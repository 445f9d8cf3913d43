//! What each kind of the kernel's reports comes to.

use std::sync::LazyLock;

use regex::Regex;

use super::Described;
use super::stack::{self, Taken};
use super::words::{bare, settled};
use crate::KernelReport;

/// A file and a line, which the kernel names where it does not name a function.
static LINE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\bat (\S+:[0-9]+)").expect("it is one"));
/// One of the two sides of a race that KCSAN reports.
static SIDE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"([A-Za-z_][\w.$]*)(?:\+0x[0-9a-f]+/0x[0-9a-f]+)?").expect("it is one")
});

/// Text behind a mark.
fn behind<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    text.split_once(mark).map(|(_, rest)| rest)
}

/// Text before the first of these.
fn before<'a>(text: &'a str, marks: &[&str]) -> &'a str {
    let ends = marks.iter().filter_map(|mark| text.find(mark));
    ends.min().map_or(text, |end| &text[..end])
}

pub(super) fn describe(report: &KernelReport) -> Described {
    let head = report.lines.first().map_or("", String::as_str).trim();
    let lines = &report.lines[..];
    match report.kind.as_str() {
        "panic" => panic(head, lines),
        "oops" => oops(head, lines),
        "bug" => bug(head, lines),
        "kasan" => kasan(head, lines),
        "kmsan" | "kfence" => sanitizer(head, lines),
        "kcsan" => kcsan(head),
        "ubsan" => ubsan(head, lines),
        "warn" => at(&format!("WARNING{}", about(head)), head, lines),
        "lockdep" => lockdep(head, lines),
        "rcu-stall" => {
            let tasks = head.contains("rcu_tasks");
            let title = if tasks {
                "RCU tasks stall"
            } else {
                "RCU stall"
            };
            in_function(title, stack::of_kernel(lines, None, Taken::Sampled))
        }
        "lockup" if head.contains("workqueue lockup") => {
            in_function("workqueue lockup", Vec::new())
        }
        "lockup" => {
            let soft = head.contains("soft lockup");
            let title = if soft { "soft lockup" } else { "hard lockup" };
            in_function(title, stack::of_kernel(lines, None, Taken::Sampled))
        }
        "hung-task" => hung_task(head, lines),
        "irq" => in_function("interrupt that nobody cared for", handlers(lines)),
        kind => in_function(
            &format!("{kind}: {}", settled(head)),
            stack::of_kernel(lines, None, Taken::Where),
        ),
    }
}

/// A title that says in which function.
fn in_function(title: &str, frames: Vec<String>) -> Described {
    let title = match frames.first() {
        Some(function) => format!("{title} in {function}"),
        None => title.to_owned(),
    };
    Described { title, frames }
}

/// A title that says in which function, or, if that is not known, in which line of the source. A line
/// moves with each change of the file, so it is the second choice.
fn at(title: &str, head: &str, lines: &[String]) -> Described {
    let named = stack::function(head);
    let frames = stack::of_kernel(lines, named.as_deref(), Taken::Where);
    if frames.is_empty()
        && let Some(line) = LINE.captures(head)
    {
        let title = format!("{title} at {}", &line[1]);
        return Described { title, frames };
    }
    in_function(title, frames)
}

/// The condition that `WARN_ON()` was about, which CONFIG_DEBUG_BUGVERBOSE_DETAILED adds: `WARNING:
/// [condition] file:line at function`.
fn about(head: &str) -> String {
    let rest = head.strip_prefix("WARNING: [");
    let condition = rest.and_then(|rest| rest.split_once("] "));
    condition.map_or_else(String::new, |(text, _)| format!(" ({})", settled(text)))
}

fn panic(head: &str, lines: &[String]) -> Described {
    let why = behind(head, "not syncing").unwrap_or(head);
    let why = settled(why.trim_start_matches([':', ' ']));
    Described {
        title: format!("kernel panic: {why}"),
        frames: stack::of_kernel(lines, None, Taken::Where),
    }
}

fn oops(head: &str, lines: &[String]) -> Described {
    let what = if let Some(rest) = behind(head, "Unable to handle kernel ") {
        // With KASAN the address is that of the shadow; what it stands for is on the next line.
        let kasan = lines.iter().find_map(|line| line.strip_prefix("KASAN: "));
        let kasan = kasan.map(|line| before(line, &[" in range", " at "]));
        let kasan = kasan.map_or_else(String::new, |kind| format!(" (KASAN: {kind})"));
        format!("kernel {}{kasan}", before(rest, &[" at virtual address"]))
    } else if let Some(rest) = behind(head, "Internal error: ") {
        before(rest, &[" [#"])
            .trim_end_matches(|it: char| it.is_ascii_hexdigit())
            .trim_end_matches([':', ' '])
            .trim_start_matches("Oops - ")
            .to_owned()
    } else if head.starts_with("Insufficient stack space") {
        "kernel stack overflow".to_owned()
    } else if head.starts_with("SError Interrupt") {
        "SError interrupt".to_owned()
    } else {
        settled(head)
    };
    in_function(
        &format!("Oops: {what}"),
        stack::of_kernel(lines, None, Taken::Where),
    )
}

fn bug(head: &str, lines: &[String]) -> Described {
    if head.starts_with("kernel BUG at ") {
        return at("kernel BUG", head.trim_end_matches('!'), lines);
    }
    let what = behind(head, "BUG: ").unwrap_or(head);
    let atomic = what.starts_with("scheduling while atomic");
    let sleeping = what.starts_with("sleeping function called from invalid context");
    // Who and where it is comes behind; the words before it say what.
    let what = before(
        what,
        &[
            ": ",
            " at ",
            " in process ",
            " on CPU#",
            " in preemptible ",
            " mm:",
        ],
    );
    let title = format!("BUG: {}", settled(what));
    if atomic || sleeping {
        let frames = stack::of_kernel(lines, None, Taken::Waiting);
        if !frames.is_empty() {
            return in_function(&title, frames);
        }
    }
    at(&title, head, lines)
}

fn kasan(head: &str, lines: &[String]) -> Described {
    let what = behind(head, "KASAN: ").unwrap_or(head);
    let kind = before(what, &[" in ", " on "]);
    let access = lines.iter().find_map(|line| {
        ["Read", "Write"]
            .into_iter()
            .find(|access| line.starts_with(&format!("{access} of size ")))
    });
    let title = match access {
        Some(access) => format!("KASAN: {} {access}", settled(kind)),
        None => format!("KASAN: {}", settled(kind)),
    };
    let named = stack::function(head);
    in_function(
        &title,
        stack::of_kernel(lines, named.as_deref(), Taken::Where),
    )
}

/// KFENCE and KMSAN: the stack stands behind the second line, without a title of its own.
fn sanitizer(head: &str, lines: &[String]) -> Described {
    let what = behind(head, "BUG: ").unwrap_or(head);
    let title = settled(before(what, &[" in "]));
    let mut frames = stack::behind(lines.get(1..).unwrap_or_default(), |line| {
        line.trim_end().ends_with(':')
    });
    let named = stack::function(head);
    if let Some(named) = named {
        match frames.iter().position(|frame| *frame == named) {
            Some(at) => drop(frames.drain(..at)),
            None => frames.insert(0, named),
        }
    }
    in_function(&title, frames)
}

/// A race has two sides; which of them reports is chance.
fn kcsan(head: &str) -> Described {
    let what = behind(head, "KCSAN: ").unwrap_or(head);
    let (kind, sides) = what.split_once(" in ").unwrap_or((what, ""));
    let mut frames: Vec<String> = sides
        .split(" / ")
        .filter_map(|side| SIDE.captures(side))
        .map(|it| bare(&it[1]).to_owned())
        .collect();
    frames.sort();
    let title = match frames.is_empty() {
        true => format!("KCSAN: {}", settled(kind)),
        false => format!("KCSAN: {} in {}", settled(kind), frames.join(" / ")),
    };
    Described { title, frames }
}

fn ubsan(head: &str, lines: &[String]) -> Described {
    let what = behind(head, "UBSAN: ").unwrap_or(head);
    let (kind, place) = what.split_once(" in ").unwrap_or((what, ""));
    let title = format!("UBSAN: {}", settled(kind));
    let frames = stack::of_kernel(lines, None, Taken::Where);
    if frames.is_empty() && !place.is_empty() {
        // The column is left out, and the line stays.
        let line = place.rsplit_once(':').map_or(place, |(line, _)| line);
        let title = format!("{title} at {line}");
        return Described { title, frames };
    }
    in_function(&title, frames)
}

fn lockdep(head: &str, lines: &[String]) -> Described {
    let what = head
        .trim_start_matches("WARNING: ")
        .trim_matches(['[', ']', ' ']);
    let what = what.trim_start_matches("BUG: ");
    let what = settled(what);
    let what = what.trim_start_matches("TASK ").trim_end_matches('!');
    let usage = lines.iter().skip(1).find_map(|line| {
        let (place, what) = line.split_once(" suspicious ")?;
        Some((place, what.trim_end_matches([' ', '!'])))
    });
    if let Some((place, usage)) = usage {
        let title = format!("lockdep: suspicious {usage}");
        let frames = stack::of_kernel(lines, None, Taken::Waiting);
        return match frames.is_empty() {
            true => Described {
                title: format!("{title} at {place}"),
                frames,
            },
            false => in_function(&title, frames),
        };
    }
    // The lock that it is about comes first, with the function that takes or has it.
    let lock = |line: &String| line.contains(", at: ") || line.trim_start().starts_with("[<");
    let function = lines.iter().find(|line| lock(line));
    let function = function.and_then(|line| stack::functions(line).pop());
    in_function(&format!("lockdep: {what}"), function.into_iter().collect())
}

fn hung_task(head: &str, lines: &[String]) -> Described {
    let frames = stack::of_kernel(lines, None, Taken::Waiting);
    if !frames.is_empty() {
        return in_function("hung task", frames);
    }
    let task = behind(head, "task ").unwrap_or("");
    // `kworker/0:1:23` is process 23, which is `kworker/0:1`, which is a kworker.
    let name = before(task, &[":", "/", " "]);
    Described {
        title: format!("hung task {name}"),
        frames,
    }
}

/// The handlers of an interrupt that none of them cared for: `[<address>] handler [module]`.
fn handlers(lines: &[String]) -> Vec<String> {
    let listed = lines.iter().skip_while(|line| line.trim() != "handlers:");
    let names = listed.skip(1).map_while(|line| {
        let (_, rest) = line.trim_start().strip_prefix("[<")?.split_once(">] ")?;
        rest.split_whitespace().next()
    });
    names.map(|name| bare(name).to_owned()).collect()
}
