//! What a fault plan costs where none of its rules matches.

use std::fmt::Write as _;
use std::hint::black_box;

use anyhow::{Result, anyhow, ensure};
use stallbox_faultplan::{Access, Plan, Player, Point, Subject};
use stallbox_timeline::Time;

use crate::report::Figure;
use crate::series::time;

const QUESTIONS: u64 = 100_000;

/// The rules' first page, and how far the next one's is.
const FIRST: u64 = 0x1000_0000;
const STRIDE: u64 = 0x2000;

/// Where the rules of a plan are that do not match.
#[derive(Clone, Copy)]
pub(crate) enum Rules {
    /// At the point that asks, each for another address and one of 16 PASIDs.
    Here,
    /// At other points.
    Elsewhere,
}

/// So many rules.
fn plan(count: u64, rules: Rules) -> Result<Plan> {
    const POINTS: [&str; 4] = ["tlb_hit", "walk_step", "record", "dma"];
    let mut text = String::new();
    for rule in 0..count {
        let first = FIRST + rule * STRIDE;
        let at = match rules {
            Rules::Here => "translation",
            Rules::Elsewhere => POINTS[(rule % 4) as usize],
        };
        writeln!(
            text,
            "[[rule]]\nat = \"{at}\"\nmatch = {{ pasid = {}, address = \"{first:#x}+0x1000\" }}\n\
             do = {{ delay = 1 }}",
            rule % 16
        )?;
    }
    Plan::parse(&text).map_err(|error| anyhow!("{error}"))
}

/// One question of the SMMU, about a translation, to a plan of so many rules.
pub(crate) fn question(name: &str, count: u64, rules: Rules, rounds: u32) -> Result<Figure> {
    let player = Player::new(&plan(count, rules)?, 1);
    let mut taken = Vec::new();
    for _ in 0..rounds {
        let (took, met) = time(|| {
            (0..QUESTIONS)
                .filter(|turn| {
                    // Between two rules' pages: nothing is decided by a look at the ends.
                    let address = FIRST + 0x1000 + turn % 1000 * STRIDE;
                    let subject = Subject {
                        stream: Some(8),
                        pasid: Some(1),
                        address: Some((address, address)),
                        access: Some(Access::Read),
                        ..Subject::at(Point::Translation)
                    };
                    player.ask(Time::ZERO, black_box(&subject)).is_some()
                })
                .count()
        });
        ensure!(met == 0, "{met} matched");
        taken.push(took.as_secs_f64() * 1e9 / QUESTIONS as f64);
    }
    Ok(Figure::new(
        "smmu",
        name,
        "ns",
        &taken.into_iter().collect(),
    ))
}
