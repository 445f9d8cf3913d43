//! Any text is a plan or is refused, and every refusal has its place in the text.

use proptest::prelude::*;
use stallbox_faultplan::{Plan, Player, Point, Subject};
use stallbox_timeline::Time;

/// Parts of plans, in any order: more of them get through than of random text.
fn pieces() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "[[rule]]\n",
        "at = 'translation'\n",
        "at = \"record\"\n",
        "at = 'command'\n",
        "at = 'time'\n",
        "match = { pasid = 1 }\n",
        "match = { command = 'CMD_RESUME', nth = 2 }\n",
        "match = { command = ['CMD_TLBI', 0x46, 'x'] }\n",
        "match = { address = '0x1..0x2' }\n",
        "match = { address = '5+' }\n",
        "match = { from_ns = 5, until_ns = 4 }\n",
        "do = { fault = 'access' }\n",
        "do = { stag = 'stale', response = 'abort' }\n",
        "do = { drop = true, duplicate = 3 }\n",
        "do = { delay = { dist = 'pareto', min_ns = 1, alpha = 0, max_ns = 1 } }\n",
        "do = { gate = { name = 'g', open_at = 2 } }\n",
        "do = { open = 'g' }\n",
        "do = { replace = [1, 2, 3, 0xffff_ffff_ffff_ffff] }\n",
        "seed = 18446744073709551615\n",
        "fault_loop = 1\n",
        "[smmu]\n",
        "stall_max = 70000\n",
        "name = \"\u{1f980}\"\n",
        "\t",
        "\u{fe0f}",
        "}",
        "= ",
        "'",
    ];
    prop::collection::vec(prop::sample::select(PIECES), 0..24).prop_map(|parts| parts.concat())
}

fn check(text: &str) {
    match Plan::parse(text) {
        Ok(plan) => {
            let player = Player::new(&plan, 1);
            for point in Point::ALL {
                for _ in 0..3 {
                    let _ = player.ask(Time::from_ns(5), &Subject::at(point));
                }
            }
        }
        Err(error) => {
            assert!(!error.mistakes.is_empty());
            let lines = text.lines().count().max(1);
            for mistake in &error.mistakes {
                assert!((1..=lines + 1).contains(&mistake.line), "{error}");
                assert!(mistake.column >= 1 && mistake.width >= 1, "{error}");
            }
            assert!(!error.to_string().is_empty());
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,400}") {
        check(&text);
    }

    #[test]
    fn any_pieces_are_read_or_refused(text in pieces()) {
        check(&text);
    }

    #[test]
    fn a_plan_with_a_byte_changed_is_read_or_refused(
        at in 0..EXAMPLE.len(), byte in prop::char::range('\u{1}', '\u{7f}')
    ) {
        let mut text = EXAMPLE.to_owned();
        text.replace_range(at..=at, &byte.to_string());
        check(&text);
    }
}

const EXAMPLE: &str = include_str!("../../../docs/fault-plans/late-answers.toml");
