//! Texts without what differs from run to run.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// What differs, what comes first counts: a function with its offset; a task with its PID; numbers.
static VARYING: LazyLock<Regex> = LazyLock::new(|| {
    let function = r"(?P<function>[A-Za-z_][\w.]*)\+0x[0-9a-f]+(?:/0x[0-9a-f]+)?(?: \[[^\]]*\])?";
    let task = r"(?P<task>[^\s/]+(?:/[\w:+-]+)?/[0-9]+(?:/0x[0-9a-f]+)?)(?P<behind>\s|[:,)]|$)";
    let address = r"\b(?:0x[0-9a-fA-F]+|[0-9a-f]{8,})\b";
    let number = r"\b[0-9]+(?:\.[0-9]+)?(?P<unit> ?(?:s|ms|us|ns|seconds))?\b";
    Regex::new(&format!(
        "{function}|{task}|(?P<address>{address})|(?P<number>{number})"
    ))
    .expect("it is one")
});

/// Without addresses, offsets, sizes, PIDs, numbers of CPUs and times.
pub(super) fn settled(text: &str) -> String {
    let replaced = VARYING.replace_all(text, |found: &Captures| {
        if let Some(function) = found.name("function") {
            return bare(function.as_str()).to_owned();
        }
        if found.name("task").is_some() {
            return format!("TASK{}", &found["behind"]);
        }
        if found.name("address").is_some() {
            return "ADDR".to_owned();
        }
        // The unit, too, can be another one for another time.
        found.name("unit").map_or("NUM", |_| "TIME").to_owned()
    });
    printable(&replaced)
}

/// A function's name without what the compiler adds (`.isra.0`, `.constprop.0`, `.part.0`, `.cold`,
/// `.llvm.1`) and without the mark of arm64's code that runs at any address.
pub(super) fn bare(function: &str) -> &str {
    let name = function.split('.').next().unwrap_or(function);
    name.strip_prefix("__pi_").unwrap_or(name)
}

/// In one line, with single spaces and nothing that a terminal obeys.
pub(super) fn printable(text: &str) -> String {
    let clean = text.replace(|it: char| it.is_control(), " ");
    let words: Vec<&str> = clean.split_whitespace().collect();
    words.join(" ")
}

/// The first characters.
pub(super) fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_differs_from_run_to_run_is_gone() {
        for (text, left) in [
            (
                "scheduling while atomic: sh/30/0x00000002",
                "scheduling while atomic: TASK",
            ),
            (
                "holder/34 still has locks held!",
                "TASK still has locks held!",
            ),
            ("kworker/u8:3/45 is here", "TASK is here"),
            (
                "Attempted to kill init! exitcode=0x0000000b",
                "Attempted to kill init! exitcode=ADDR",
            ),
            ("on unknown-block(0,0)", "on unknown-block(NUM,NUM)"),
            ("CPU#1 stuck for 26s!", "CPU#NUM stuck for TIME!"),
            ("no answer for 955 ms", "no answer for TIME"),
            ("pfn:4123a at ffff800080d78488", "pfn:4123a at ADDR"),
            ("in el1h_64_irq+0x6c/0x70 [mod 0123abcd]", "in el1h_64_irq"),
            ("ct_kernel_exit.constprop.0+0xa0/0xb0", "ct_kernel_exit"),
            ("a\u{1b}[1m  b\tc\r", "a [1m b c"),
        ] {
            assert_eq!(settled(text), left, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_settled_stays(text in any::<String>()) {
            let once = settled(&text);
            prop_assert_eq!(settled(&once), once.clone());
            prop_assert!(!once.contains(char::is_control));
        }
    }
}
