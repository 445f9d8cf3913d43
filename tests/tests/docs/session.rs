//! Runs a page's sessions, and holds what is printed against what is shown.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use regex::Regex;
use snapbox::Assert;
use stallbox_tests::{repository, slot, stallbox};
use tempfile::TempDir;

use crate::page::{Shown, blocks};

/// Begins the line that ends a command's output. No program prints it.
const MARK: char = '\u{1e}';

/// Names a variable of the environment: with it set, the pages are brought up to date instead.
const OVERWRITE: &str = "STALLBOX_DOCS_OVERWRITE";

/// A block that takes longer is ended: it waits for what never comes.
const SECONDS_MAX: &str = "300";

/// What a command did.
struct Printed {
    output: String,
    status: i32,
}

/// Runs all sessions of a page, one after the other in one folder.
///
/// # Panics
/// If a command prints something else, or ends with an error that the page does not tell of.
pub(crate) fn check(page: &str) {
    let path = repository(page);
    let folder = folder();
    let mut wrong = Vec::new();
    let mut commands = 0;
    for block in blocks(&path) {
        if !block.is_session() {
            continue;
        }
        let known = if block.is_example() {
            without_figures
        } else {
            without_host_time
        };
        let session = block.session();
        let printed = run(&session, folder.path());
        assert_eq!(
            printed.len(),
            session.len(),
            "{page}:{}: it does not end",
            block.line
        );
        commands += session.len();
        for (index, (shown, printed)) in session.into_iter().zip(printed).enumerate() {
            let asked = block_asks_for_status(&block.text, index);
            if printed.status != 0 && !asked {
                wrong.push(Wrong::status(page, &shown, &printed));
            } else if let Some(difference) =
                difference(&known(&shown.output), &known(&printed.output))
            {
                wrong.push(Wrong::output(page, shown, printed, &difference));
            }
        }
    }
    assert!(commands > 0, "{page} shows no session");
    if std::env::var_os(OVERWRITE).is_some() {
        overwrite(&path, &wrong);
    }
    let messages: Vec<&str> = wrong.iter().map(|wrong| wrong.message.as_str()).collect();
    assert!(wrong.is_empty(), "{}", messages.join("\n"));
}

/// Where a page's commands run: `docs` is there, and `stallbox` on the path.
fn folder() -> TempDir {
    let folder = TempDir::new().expect("a folder can be made");
    symlink(repository("docs"), folder.path().join("docs")).expect("a link can be made");
    let programs = folder.path().join(".bin");
    fs::create_dir(&programs).expect("a folder can be made");
    symlink(stallbox(), programs.join("stallbox")).expect("a link can be made");
    // Cargo's commands are about the checkout.
    let script = format!(
        "#!/bin/sh\ncd '{}' && exec '{}' \"$@\"\n",
        repository("").display(),
        std::env::var("CARGO").unwrap_or_else(|_| "cargo".into())
    );
    let cargo = programs.join("cargo");
    fs::write(&cargo, script).expect("a script can be written");
    fs::set_permissions(&cargo, Permissions::from_mode(0o755)).expect("a script is made a program");
    folder
}

/// Whether the command behind the one at `index` shows the exit status.
fn block_asks_for_status(text: &str, index: usize) -> bool {
    let mut commands = text.lines().filter_map(|line| line.strip_prefix("$ "));
    commands.nth(index + 1) == Some("echo $?")
}

fn run(session: &[Shown], folder: &Path) -> Vec<Printed> {
    let mut script = String::from("exec 2>&1\n");
    for shown in session {
        // The next command may want to know the status too.
        script.push_str(&format!(
            "{}\nstatus=$?; printf '\\036%d\\n' $status; (exit $status)\n",
            shown.command
        ));
    }
    fs::write(folder.join(".session"), script).expect("a script can be written");
    let programs = folder.join(".bin");
    let path = std::env::var("PATH").unwrap_or_default();
    let _slot = slot();
    let done = Command::new("timeout")
        .args([SECONDS_MAX, "sh", ".session"])
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", programs.display()))
        .env_remove("STALLBOX")
        .stdin(Stdio::null())
        .output()
        .expect("sh can be started");
    printed(&String::from_utf8_lossy(&done.stdout))
}

/// Takes apart what a script printed.
fn printed(text: &str) -> Vec<Printed> {
    let mut all = Vec::new();
    let mut output = String::new();
    for line in text.split_inclusive('\n') {
        // A command's last line may have no end.
        let (rest, status) = match line.split_once(MARK) {
            Some((rest, status)) => (rest, Some(status)),
            None => (line, None),
        };
        output.push_str(&rest.replace('\r', ""));
        if let Some(status) = status {
            all.push(Printed {
                output: std::mem::take(&mut output),
                status: status.trim().parse().expect("a status is a number"),
            });
        }
    }
    all
}

/// What a page cannot know: how long something took on the reader's machine.
fn without_host_time(text: &str) -> String {
    static TIME: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"[0-9.]+ (ms|s) on this host").expect("a pattern"));
    TIME.replace_all(text, "[TIME] on this host").into_owned()
}

/// What an example leaves open: figures, and with them the spaces that align columns.
fn without_figures(text: &str) -> String {
    static FIGURE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new("0x[0-9a-f]+|\\b[0-9a-f]{8,}\\b|[0-9][0-9,.]*( ?[nµm]?s\\b)?")
            .expect("a pattern")
    });
    static SPACES: LazyLock<Regex> = LazyLock::new(|| Regex::new("  +").expect("a pattern"));
    let text = FIGURE.replace_all(text, "[FIGURE]");
    SPACES.replace_all(&text, " ").into_owned()
}

/// How what was printed differs from what is shown, where `...` stands for any lines and `[..]` for
/// anything within a line.
fn difference(shown: &str, printed: &str) -> Option<String> {
    Assert::new()
        .action_env("STALLBOX_DOCS_SNAPBOX")
        .try_eq(
            Some(&"printed"),
            printed.to_owned().into(),
            shown.to_owned().into(),
        )
        .err()
        .map(|error| error.to_string())
}

struct Wrong {
    message: String,
    /// Line of the page, counted from 0, how many lines are shown, and what should be there.
    mend: Option<(usize, usize, String)>,
}

impl Wrong {
    fn status(page: &str, shown: &Shown, printed: &Printed) -> Wrong {
        Wrong {
            message: format!(
                "{page}:{}: `{}` ended with status {}:\n{}",
                shown.line, shown.command, printed.status, printed.output
            ),
            mend: None,
        }
    }

    fn output(page: &str, shown: Shown, printed: Printed, difference: &str) -> Wrong {
        Wrong {
            message: format!(
                "{page}:{}: `{}` prints something else ({OVERWRITE}=1 mends the page):\n{difference}",
                shown.line, shown.command
            ),
            mend: Some((shown.line, shown.output.lines().count(), printed.output)),
        }
    }
}

fn overwrite(page: &Path, wrong: &[Wrong]) {
    let text = fs::read_to_string(page).expect("a page can be read");
    let mut lines: Vec<&str> = text.lines().collect();
    for (line, count, output) in wrong.iter().rev().filter_map(|wrong| wrong.mend.as_ref()) {
        lines.splice(*line..line + count, output.lines());
    }
    fs::write(page, lines.join("\n") + "\n").expect("a page can be written");
}

#[test]
fn a_difference_is_seen_and_what_is_left_out_is_not() {
    assert_eq!(difference("a [..] c\n...\nz\n", "a b c\nd\ne\nz\n"), None);
    let [three, four] = ["3 s on this host", "4.5 ms on this host"].map(without_host_time);
    assert_eq!(three, four);
    assert!(difference("a\n", "b\n").is_some());
    assert!(difference("", "b\n").is_some());
    assert!(difference("a\n", "").is_some());
}

#[test]
fn an_example_leaves_figures_open_and_nothing_else() {
    let [one, other] = ["took  36.5 µs, 0x1f", "took 1,204 ns, 0x2"].map(without_figures);
    assert_eq!(one, other);
    assert_ne!(one, without_figures("takes 36.5 µs, 0x1f"));
}

#[test]
fn outputs_are_taken_apart_by_command() {
    let printed = printed("a\nb\u{1e}0\n\u{1e}3\n");
    let all: Vec<(&str, i32)> = printed
        .iter()
        .map(|printed| (printed.output.as_str(), printed.status))
        .collect();
    assert_eq!(all, [("a\nb", 0), ("", 3)]);
}
