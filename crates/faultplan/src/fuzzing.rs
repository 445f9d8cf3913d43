//! What the fuzzer of fault plans runs: any text is a plan, or is refused with the place of each
//! mistake; and a plan can be played.

use stallbox_timeline::Time;

use crate::{Plan, PlanError, Player, Point, Subject};

/// Texts are at most this long: what is longer shows nothing more.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// Runs on `data`, and tells what the text was. Bytes that are no text do nothing, as the command
/// line says of such a file before anybody reads it.
///
/// # Panics
///
/// If a refusal has no place in the text.
pub fn run(data: &[u8]) -> Option<Result<Plan, PlanError>> {
    let text = std::str::from_utf8(data).ok()?;
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let read = Plan::parse(text);
    match &read {
        Ok(plan) => play(plan),
        Err(error) => check(text, error),
    }
    Some(read)
}

fn check(text: &str, error: &PlanError) {
    assert!(!error.mistakes.is_empty(), "refused without a reason");
    let lines: Vec<&str> = text.split('\n').collect();
    for mistake in &error.mistakes {
        assert!(!mistake.message.is_empty());
        let line = lines.get(mistake.line - 1).expect("a line of the text");
        assert_eq!(mistake.text, line.trim_end_matches('\r'), "{mistake:?}");
        assert!(mistake.column >= 1 && mistake.width >= 1, "{mistake:?}");
        assert!(
            mistake.column <= line.chars().count() + 1,
            "{mistake:?} is beyond its line"
        );
    }
    // What a person is shown grows with the mistakes, not with their lines.
    let shown = error.to_string();
    let most = 4096 * error.mistakes.len() + text.len();
    assert!(shown.len() <= most, "{} bytes", shown.len());
}

fn play(plan: &Plan) {
    assert!(plan.rules.len() <= crate::RULES_MAX);
    let player = Player::new(plan, 1);
    for point in Point::ALL {
        for turn in 0..3 {
            player.ask(Time::from_ns(5 * turn), &Subject::at(point));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rand_core::Rng;
    use stallbox_timeline::seeded;

    use super::*;

    const EXECUTIONS: u64 = 3000;
    const SIGNS: &[u8] = b"\"'[]{}=.,#\n\\_-09e+\t\xff";

    /// Plans, and texts that are nearly some.
    fn examples() -> Vec<Vec<u8>> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folders = ["../../docs/fault-plans", "tests/refused"];
        let mut files: Vec<_> = folders
            .iter()
            .flat_map(|folder| std::fs::read_dir(here.join(folder)).expect("a folder"))
            .map(|entry| entry.expect("an entry").path())
            .collect();
        files.sort();
        let read = |file| std::fs::read(file).expect("a file");
        files.iter().map(read).collect()
    }

    /// An example, with a few of its pieces changed, moved, or replaced by those of others.
    fn text(seed: u64, examples: &[Vec<u8>]) -> Vec<u8> {
        let mut rng = seeded(seed, "fuzz");
        let mut below = |limit: usize| (rng.next_u64() % limit.max(1) as u64) as usize;
        let mut text = examples[below(examples.len())].clone();
        for _ in 0..below(6) {
            let at = below(text.len());
            let length = below(40).min(text.len() - at);
            match below(5) {
                0 => text[at] = below(128) as u8,
                1 => drop(text.drain(at..at + length)),
                2 => text.extend_from_within(at..at + length),
                3 => {
                    let other = &examples[below(examples.len())];
                    let from = below(other.len());
                    let piece = &other[from..(from + 40).min(other.len())];
                    text.splice(at..at, piece.iter().copied());
                }
                _ => text.insert(at, SIGNS[below(SIGNS.len())]),
            }
            if text.is_empty() {
                break;
            }
        }
        text
    }

    #[test]
    fn any_text_is_a_plan_or_says_where_it_is_none() {
        let examples = examples();
        let (mut plans, mut rules, mut refused, mut mistakes) = (0, 0, 0, 0);
        for seed in 0..EXECUTIONS {
            match run(&text(seed, &examples)) {
                Some(Ok(plan)) => {
                    plans += 1;
                    rules += plan.rules.len();
                }
                Some(Err(error)) => {
                    refused += 1;
                    mistakes += error.mistakes.len();
                }
                None => {}
            }
        }
        // Nonsense that is all refused at once, or not at all, shows nothing.
        assert!(plans > 300 && rules > 500, "{plans} plans, {rules} rules");
        assert!(refused > 300, "{refused} refused");
        assert!(mistakes > refused + 100, "{mistakes} mistakes");
    }

    #[test]
    fn texts_that_nest_or_repeat_are_read_in_time() {
        for piece in [
            "[",
            "{a=",
            "a.",
            "[[",
            "'",
            "\"\"\"",
            "[a]\n",
            "a=1\n",
            "[[rule]]\n",
            "\u{1f980}",
        ] {
            let text = piece.repeat(TEXT_BYTES_MAX / piece.len());
            for text in [
                text.clone(),
                format!("rule = {text}"),
                format!("[[rule]]\nat = {text}"),
            ] {
                let kept = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
                assert!(run(kept.as_bytes()).is_some());
            }
        }
    }
}
