//! What a fault plan costs where none of its rules match.

use std::fmt::Write as _;
use std::hint::black_box;

use anyhow::{Result, anyhow, ensure};
use stallbox_faultplan::{Access, Plan, Player, Point, Subject};
use stallbox_timeline::Time;

use crate::report::Figure;
use crate::series::time;

const QUESTIONS: u64 = 100_000;

/// One question of the SMMU to a plan of so many rules at that point, by address and PASID.
pub fn question(name: &str, rules: u64, rounds: u32) -> Result<Figure> {
    let mut text = String::new();
    for rule in 0..rules {
        let first = 0x1000_0000 + rule * 0x1000;
        writeln!(
            text,
            "[[rule]]\nat = \"translation\"\nmatch = {{ pasid = {}, address = \"{first:#x}+0x1000\" \
             }}\ndo = {{ abort = true }}",
            rule % 16
        )?;
    }
    let plan = Plan::parse(&text).map_err(|error| anyhow!("{error}"))?;
    let player = Player::new(&plan, 1);
    let mut taken = Vec::new();
    for _ in 0..rounds {
        let (took, met) = time(|| {
            (0..QUESTIONS)
                .filter(|turn| {
                    let address = 0xffff_0000_0000 + turn * 0x1000;
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
