//! In which order vCPUs advance. What is said here, an engine does.

use std::fmt;
use std::str::FromStr;

/// The steps that one round of [`Order::Pct`] takes unless told otherwise.
const PCT_STEPS: u64 = 1_000_000;
/// More change points than that in one round are no longer few.
const PCT_DEPTH_MAX: u32 = 32;

/// The order in which vCPUs advance, and what it is drawn from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// Who runs next.
    pub order: Order,
    /// The seed of its draws, if that is not the run's.
    pub seed: Option<u64>,
    /// After so many preemptions there are no more, since the draws began.
    pub preemptions_max: Option<u64>,
}

/// Who runs next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The vCPU that is furthest behind.
    #[default]
    RoundRobin,
    /// That one, for turns whose lengths are drawn, and now and then its time is taken away.
    Random,
    /// The vCPU that is furthest behind, whose time is now and then taken away where races live: after an
    /// access to a device, to the interrupt controller or to a lock word, and after TLB maintenance.
    Points,
    /// The one with the highest priority, as PCT has it.
    Pct {
        /// How many orders between two steps a bug needs: one more than there are change points.
        depth: u32,
        /// Instructions over which the change points are spread; then a new round begins.
        steps: u64,
    },
}

impl FromStr for Order {
    type Err = String;

    fn from_str(text: &str) -> Result<Order, String> {
        match text {
            "round-robin" => return Ok(Order::RoundRobin),
            "random" => return Ok(Order::Random),
            "points" => return Ok(Order::Points),
            _ => {}
        }
        let Some(rest) = text.strip_prefix("pct:") else {
            return Err(format!(
                "`{text}` is no schedule; write round-robin, random, points or pct:DEPTH[,steps=N]"
            ));
        };
        let (depth, option) = match rest.split_once(',') {
            Some((depth, option)) => (depth, Some(option)),
            None => (rest, None),
        };
        let depth = depth.parse().ok();
        let depth = depth.filter(|depth| (1..=PCT_DEPTH_MAX).contains(depth));
        let depth = depth.ok_or_else(|| {
            format!("`{text}`: write a depth from 1 to {PCT_DEPTH_MAX}, as in pct:3")
        })?;
        let steps = match option {
            None => PCT_STEPS,
            Some(option) => {
                let steps = option.strip_prefix("steps=").and_then(|n| n.parse().ok());
                let steps = steps.filter(|steps| (1..=1 << 48).contains(steps));
                steps.ok_or_else(|| {
                    format!("`{option}`: write steps=N, a number of instructions from 1 to 2^48")
                })?
            }
        };
        Ok(Order::Pct { depth, steps })
    }
}

/// As the command line has it.
impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Order::RoundRobin => write!(f, "round-robin"),
            Order::Random => write!(f, "random"),
            Order::Points => write!(f, "points"),
            Order::Pct { depth, steps } => write!(f, "pct:{depth},steps={steps}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_written() {
        for text in [
            "round-robin",
            "random",
            "points",
            "pct:3",
            "pct:1,steps=2000",
        ] {
            let order: Order = text.parse().unwrap();
            assert_eq!(order.to_string().parse(), Ok(order), "{text}");
        }
        assert_eq!(
            "pct:3".parse::<Order>().unwrap().to_string(),
            "pct:3,steps=1000000"
        );
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_the_cure() {
        for (text, cure) in [
            ("fair", "write round-robin, random, points or pct:DEPTH"),
            ("pct", "write round-robin, random, points or pct:DEPTH"),
            ("pct:0", "a depth from 1 to 32"),
            ("pct:33", "a depth from 1 to 32"),
            ("pct:2,n=3", "write steps=N"),
            ("pct:2,steps=0", "from 1 to 2^48"),
        ] {
            let error = text.parse::<Order>().unwrap_err();
            assert!(error.contains(cure), "{text}: {error}");
        }
    }
}
