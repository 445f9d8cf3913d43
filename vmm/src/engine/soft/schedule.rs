//! Who runs next, and for how long.
//!
//! Whatever the order, the vCPU that is furthest behind has its turn, and the clocks stay together:
//! an order other than round-robin is made of time that is *stolen*. A vCPU that is not to run has its
//! clock moved on without retiring anything, as if it were a guest of a hypervisor that gave its CPU
//! to somebody else. So nothing happens before its time, and events and timers are no later than they
//! are for such a guest.
//!
//! `pct` is the scheduler of Burckhardt, Kothari, Musuvathi and Nagarakatte, "A Randomized Scheduler
//! with Probabilistic Guarantees of Finding Bugs" (ASPLOS 2010), with rounds.

use rand_core::Rng as _;
use stallbox_machine::schedule::{self, Order};
use stallbox_timeline::{Rng, Span, Time, seeded};

/// The generator's stream: its draws shift no others.
const STREAM: &str = "schedule";

/// `random`: a vCPU's time is taken away once in so many turns, on average.
const STEAL_ONE_IN: u64 = 16;
/// `random`: for so long at most.
const STOLEN_MAX: Span = Span::from_us(10);

/// `points`: a vCPU's time is taken away after one in so many of the places where races live, on average.
const POINTS_ONE_IN: u64 = 8;
/// `points`: not later than after so many instructions, for what lies before the next such place.
const LATER_MAX: u64 = 64;
/// `points`: for so long at most. It is as long as it takes a kernel to handle a few IO page faults.
const STOLEN_AT_POINT_MAX: Span = Span::from_us(100);

/// `pct`: how long a vCPU that has nothing to do but wait for others lets them run.
const GIVES_WAY: Span = Span::from_us(2);
/// `pct`: who had no turn for so long has one, whatever its priority: a vCPU of a higher one may spin
/// without saying so, and wait for this one.
const STARVED_MAX: Span = Span::from_us(200);

/// What the vCPU that is furthest behind does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It runs, for so many instructions at most.
    Run(u64),
    /// Its clock moves on without it.
    Stolen(Span),
}

/// How it stands when a turn begins.
pub(super) struct Standing<'a> {
    /// The vCPU that is furthest behind.
    pub(super) behind: usize,
    /// The clock of each vCPU that runs.
    pub(super) clocks: &'a dyn Fn(usize) -> Option<Time>,
    /// Instructions retired by all.
    pub(super) retired: &'a dyn Fn() -> u64,
    /// The longest slice, in instructions: at least 1.
    pub(super) slice: u64,
}

/// The order in which vCPUs advance.
pub(super) struct Schedule {
    mode: Mode,
    /// Another seed than the run's.
    own_seed: Option<u64>,
    preemptions: Preemptions,
}

/// How often a vCPU was kept from running, since the draws began.
struct Preemptions {
    made: u64,
    max: u64,
}

impl Preemptions {
    fn are_over(&self) -> bool {
        self.made >= self.max
    }
}

enum Mode {
    RoundRobin,
    Random(Random),
    Points(Points),
    Pct(Pct),
}

struct Random {
    rng: Rng,
    /// Whether the turn before was one in which time was stolen: then one follows that runs.
    stole: bool,
}

struct Points {
    rng: Rng,
    /// For each vCPU, after how many more instructions its time is taken away.
    stolen_in: Vec<Option<u64>>,
}

struct Pct {
    rng: Rng,
    depth: u32,
    steps: u64,
    /// Of each vCPU; no two are equal.
    priorities: Vec<u32>,
    /// Where the rest of this round's changes are, in instructions retired by all, the next one last.
    changes: Vec<u64>,
    /// Where the next round begins.
    round_end: u64,
    /// Until when each vCPU lets others run.
    gives_way: Vec<Time>,
    /// The time stolen from each vCPU since it last ran.
    starved: Vec<Span>,
    /// Who ran last.
    running: usize,
}

impl Schedule {
    /// The schedule of a machine with so many vCPUs, in a run with this seed.
    pub(super) fn new(config: schedule::Schedule, cpus: usize, seed: u64) -> Schedule {
        let rng = seeded(config.seed.unwrap_or(seed), STREAM);
        let mode = match config.order {
            // Nobody is there to take turns with.
            _ if cpus < 2 => Mode::RoundRobin,
            Order::RoundRobin => Mode::RoundRobin,
            Order::Random => Mode::Random(Random { rng, stole: false }),
            Order::Points => Mode::Points(Points {
                rng,
                stolen_in: vec![None; cpus],
            }),
            Order::Pct { depth, steps } => Mode::Pct(Pct {
                rng,
                depth,
                steps,
                priorities: vec![0; cpus],
                changes: Vec::new(),
                round_end: 0,
                gives_way: vec![Time::ZERO; cpus],
                starved: vec![Span::ZERO; cpus],
                running: 0,
            }),
        };
        Schedule {
            mode,
            own_seed: config.seed,
            preemptions: Preemptions {
                made: 0,
                max: config.preemptions_max.unwrap_or(u64::MAX),
            },
        }
    }

    /// From here on draws as from the beginning with `seed`, unless it has a seed of its own.
    pub(super) fn reseed(&mut self, seed: u64) {
        let rng = seeded(self.own_seed.unwrap_or(seed), STREAM);
        self.preemptions.made = 0;
        match &mut self.mode {
            Mode::RoundRobin => {}
            Mode::Random(random) => *random = Random { rng, stole: false },
            Mode::Points(points) => {
                points.rng = rng;
                points.stolen_in.fill(None);
            }
            Mode::Pct(pct) => {
                pct.rng = rng;
                pct.round_end = 0;
                // Who waits, who has had no turn, and who ran is the guest's state, and not drawn.
            }
        }
    }

    /// What the vCPU does that is furthest behind.
    #[inline]
    pub(super) fn turn(&mut self, standing: &Standing) -> Turn {
        match &mut self.mode {
            Mode::RoundRobin => Turn::Run(standing.slice),
            Mode::Random(random) => random.turn(standing, &mut self.preemptions),
            Mode::Points(points) => points.turn(standing, &mut self.preemptions),
            Mode::Pct(pct) => pct.turn(standing, &mut self.preemptions),
        }
    }

    /// Preemptions made since the draws began.
    pub(super) fn preemptions(&self) -> u64 {
        self.preemptions.made
    }

    /// A vCPU has accessed a device, the interrupt controller or a word by which vCPUs agree, or
    /// invalidated translations. Whether its turn ends.
    #[inline(always)]
    pub(super) fn came_to_point(&mut self, cpu: usize) -> bool {
        match &mut self.mode {
            Mode::Points(points) if !self.preemptions.are_over() => points.came_to_point(cpu),
            _ => false,
        }
    }

    /// A vCPU said, at that time, that it has nothing to do but wait for another (WFE, YIELD).
    #[inline]
    pub(super) fn yielded(&mut self, cpu: usize, now: Time) {
        if let Mode::Pct(pct) = &mut self.mode {
            pct.gives_way[cpu] = now + GIVES_WAY;
        }
    }
}

impl Random {
    fn turn(&mut self, standing: &Standing, preemptions: &mut Preemptions) -> Turn {
        if preemptions.are_over() {
            return Turn::Run(standing.slice);
        }
        if !self.stole && below(&mut self.rng, STEAL_ONE_IN) == 0 {
            self.stole = true;
            preemptions.made += 1;
            let span = any_magnitude(&mut self.rng, STOLEN_MAX.as_ns());
            return Turn::Stolen(Span::from_ns(span));
        }
        self.stole = false;
        Turn::Run(any_magnitude(&mut self.rng, standing.slice))
    }
}

impl Points {
    fn turn(&mut self, standing: &Standing, preemptions: &mut Preemptions) -> Turn {
        let stolen_in = &mut self.stolen_in[standing.behind];
        match stolen_in.take() {
            None => Turn::Run(standing.slice),
            Some(_) if preemptions.are_over() => Turn::Run(standing.slice),
            Some(0) => {
                preemptions.made += 1;
                let span = any_magnitude(&mut self.rng, STOLEN_AT_POINT_MAX.as_ns());
                Turn::Stolen(Span::from_ns(span))
            }
            Some(instructions) => {
                *stolen_in = Some(0);
                Turn::Run(standing.slice.min(instructions))
            }
        }
    }

    #[inline(never)]
    fn came_to_point(&mut self, cpu: usize) -> bool {
        if below(&mut self.rng, POINTS_ONE_IN) != 0 {
            return false;
        }
        let later = any_magnitude(&mut self.rng, LATER_MAX) - 1;
        self.stolen_in[cpu] = Some(later);
        true
    }
}

impl Pct {
    fn turn(&mut self, standing: &Standing, preemptions: &mut Preemptions) -> Turn {
        let Standing { behind, clocks, .. } = *standing;
        let retired = (standing.retired)();
        if retired >= self.round_end {
            self.begin_round(retired);
        }
        while self.changes.last().is_some_and(|&at| at <= retired) {
            self.changes.pop();
            if preemptions.are_over() {
                continue;
            }
            preemptions.made += 1;
            // Below all that a round begins with, and below who was changed before.
            self.priorities[self.running] = self.changes.len() as u32;
        }
        let now = clocks(behind).unwrap_or(Time::ZERO);
        let rank = |cpu: usize| (now >= self.gives_way[cpu], self.priorities[cpu]);
        let running = (0..self.priorities.len()).filter_map(|cpu| Some((cpu, clocks(cpu)?)));
        let first = running.max_by_key(|&(cpu, _)| rank(cpu));
        let (first, ahead) = first.unwrap_or((behind, now));
        if first != behind && self.starved[behind] < STARVED_MAX {
            // Just past the one that is to run.
            let span = ahead.since(now) + Span::from_ps(1);
            self.starved[behind] += span;
            return Turn::Stolen(span);
        }
        self.starved[behind] = Span::ZERO;
        self.running = behind;
        let next = self.changes.last().copied().unwrap_or(self.round_end);
        Turn::Run(standing.slice.min(next - retired))
    }

    /// Draws priorities and change points. The latter are places of the guest's, so that a turn
    /// ends there.
    fn begin_round(&mut self, retired: u64) {
        let cpus = self.priorities.len();
        for (rank, priority) in (self.depth..).zip(&mut self.priorities) {
            *priority = rank;
        }
        for last in (1..cpus).rev() {
            let other = below(&mut self.rng, last as u64 + 1) as usize;
            self.priorities.swap(last, other);
        }
        self.changes.clear();
        for _ in 1..self.depth {
            let at = retired.saturating_add(1 + below(&mut self.rng, self.steps));
            self.changes.push(at);
        }
        self.changes.sort_unstable_by(|a, b| b.cmp(a));
        self.round_end = retired.saturating_add(self.steps).saturating_add(1);
    }
}

/// Any of `0..bound`.
fn below(rng: &mut Rng, bound: u64) -> u64 {
    ((u128::from(rng.next_u64()) * u128::from(bound)) >> 64) as u64
}

/// From 1 to `max`, each power of two as likely as another.
fn any_magnitude(rng: &mut Rng, max: u64) -> u64 {
    let bits = u64::from(max.max(1).ilog2()) + 1;
    let least = 1 << below(rng, bits);
    (least + below(rng, least)).min(max.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `schedule` does with two vCPUs that always run, an instruction a nanosecond: who ran for how long.
    fn course(schedule: &mut Schedule, turns: usize) -> Vec<(usize, u64)> {
        let mut clocks = [Time::ZERO; 2];
        let mut retired = 0;
        let mut course = Vec::new();
        while course.len() < turns {
            let behind = usize::from(clocks[1] < clocks[0]);
            let turn = schedule.turn(&Standing {
                behind,
                clocks: &|cpu| clocks.get(cpu).copied(),
                retired: &|| retired,
                slice: 2000,
            });
            match turn {
                Turn::Run(instructions) => {
                    assert!((1..=2000).contains(&instructions));
                    clocks[behind] += Span::from_ns(instructions);
                    retired += instructions;
                    course.push((behind, instructions));
                }
                Turn::Stolen(span) => {
                    assert!(span > Span::ZERO);
                    clocks[behind] += span;
                }
            }
            let skew = clocks[0].since(clocks[1]).max(clocks[1].since(clocks[0]));
            assert!(skew <= STOLEN_MAX + Span::from_us(2), "{skew:?}");
        }
        course
    }

    fn pct(depth: u32, steps: u64, seed: u64) -> Schedule {
        made(Order::Pct { depth, steps }, 2, seed, None)
    }

    fn made(order: Order, cpus: usize, seed: u64, own_seed: Option<u64>) -> Schedule {
        let config = schedule::Schedule {
            order,
            seed: own_seed,
            preemptions_max: None,
        };
        Schedule::new(config, cpus, seed)
    }

    #[test]
    fn a_seed_gives_its_order_again_and_another_seed_another() {
        for order in [
            Order::Random,
            Order::Pct {
                depth: 3,
                steps: 20_000,
            },
        ] {
            let of = |seed| course(&mut made(order, 2, seed, None), 500);
            assert_eq!(of(1), of(1));
            assert_ne!(of(1), of(2));
            let own = course(&mut made(order, 2, 1, Some(2)), 500);
            assert_eq!(own, of(2));
        }
    }

    #[test]
    fn reseeded_it_draws_as_from_the_beginning() {
        let draws = |schedule: &mut Schedule| {
            let mut retired = 0;
            let mut draw = || {
                schedule.came_to_point(0);
                let turn = schedule.turn(&Standing {
                    behind: 0,
                    clocks: &|cpu| Some(Time::from_ns(cpu as u64)),
                    retired: &|| retired,
                    slice: 2000,
                });
                retired += 1;
                turn
            };
            (0..300).map(|_| draw()).collect::<Vec<_>>()
        };
        let pct = Order::Pct {
            depth: 3,
            steps: 20,
        };
        for order in [Order::Random, Order::Points, pct] {
            let fresh = |seed| draws(&mut made(order, 2, seed, None));
            let mut schedule = made(order, 2, 1, None);
            draws(&mut schedule);
            schedule.reseed(7);
            assert_eq!(draws(&mut schedule), fresh(7), "{order}");
            assert_ne!(fresh(1), fresh(7), "{order}");
            let mut own = made(order, 2, 1, Some(3));
            draws(&mut own);
            own.reseed(7);
            assert_eq!(draws(&mut own), fresh(3), "{order}");
        }
    }

    #[test]
    fn one_vcpu_has_whole_slices_in_any_order() {
        for order in [
            Order::Random,
            Order::Points,
            Order::Pct {
                depth: 3,
                steps: 10,
            },
        ] {
            let turn = made(order, 1, 1, None).turn(&Standing {
                behind: 0,
                clocks: &|_| Some(Time::ZERO),
                retired: &|| 0,
                slice: 2000,
            });
            assert_eq!(turn, Turn::Run(2000));
        }
    }

    #[test]
    fn the_lower_priority_has_only_what_keeps_it_from_starving() {
        // No change point: one vCPU has 100 turns of 2 us for each of the other's.
        let course = course(&mut pct(1, 1 << 40, 1), 1010);
        let of = |cpu| course.iter().filter(|turn| turn.0 == cpu).count();
        let low = of(0).min(of(1));
        assert!((5..=20).contains(&low), "{low}");
    }

    #[test]
    fn a_change_point_is_met_to_the_instruction() {
        let mut schedule = pct(2, 5000, 1);
        let ends = course(&mut schedule, 6)
            .iter()
            .scan(0, |sum, turn| {
                *sum += turn.1;
                Some((turn.0, *sum))
            })
            .collect::<Vec<_>>();
        let change = ends.windows(2).find(|pair| pair[0].0 != pair[1].0).unwrap()[0].1;
        assert!(change <= 5000 && change % 2000 != 0, "{ends:?}");
    }

    #[test]
    fn who_waits_for_others_lets_them_run() {
        let mut schedule = pct(1, 1 << 40, 1);
        let clock = Time::from_ns(10_000);
        let turn = |behind, schedule: &mut Schedule| {
            schedule.turn(&Standing {
                behind,
                clocks: &|_| Some(clock),
                retired: &|| 5,
                slice: 100,
            })
        };
        let high = usize::from(turn(0, &mut schedule) != Turn::Run(100));
        assert_eq!(turn(high, &mut schedule), Turn::Run(100));
        schedule.yielded(high, clock);
        assert_ne!(turn(high, &mut schedule), Turn::Run(100));
        assert_eq!(turn(1 - high, &mut schedule), Turn::Run(100));
    }

    #[test]
    fn time_is_stolen_soon_after_some_of_the_points_and_nowhere_else() {
        let mut schedule = made(Order::Points, 2, 1, None);
        let turn = |schedule: &mut Schedule| {
            schedule.turn(&Standing {
                behind: 1,
                clocks: &|_| Some(Time::ZERO),
                retired: &|| 0,
                slice: 2000,
            })
        };
        for _ in 0..1000 {
            assert_eq!(turn(&mut schedule), Turn::Run(2000));
        }
        let mut thefts = 0;
        for _ in 0..1600 {
            schedule.came_to_point(0);
            assert_eq!(turn(&mut schedule), Turn::Run(2000), "the other's point");
            let ends = schedule.came_to_point(1);
            let turns = [turn(&mut schedule), turn(&mut schedule)];
            match turns {
                [Turn::Run(2000), Turn::Run(2000)] => assert!(!ends),
                [Turn::Stolen(span), Turn::Run(2000)] => {
                    assert!(span <= STOLEN_AT_POINT_MAX);
                    thefts += 1;
                }
                [Turn::Run(later), Turn::Stolen(_)] => {
                    assert!(later < LATER_MAX);
                    thefts += 1;
                }
                turns => panic!("{turns:?}"),
            }
        }
        assert!((150..250).contains(&thefts), "{thefts}");
    }

    #[test]
    fn after_the_last_preemption_it_is_round_robin() {
        let bounded = |order, max| {
            let config = schedule::Schedule {
                order,
                seed: None,
                preemptions_max: Some(max),
            };
            Schedule::new(config, 2, 1)
        };
        let standing = Standing {
            behind: 0,
            clocks: &|_| Some(Time::ZERO),
            retired: &|| 0,
            slice: 2000,
        };
        for order in [Order::Random, Order::Points] {
            for max in [0, 1, 5] {
                let mut schedule = bounded(order, max);
                for seed in [1, 2] {
                    let mut stolen = 0;
                    for _ in 0..1000 {
                        schedule.came_to_point(0);
                        let turn = schedule.turn(&standing);
                        stolen += u64::from(matches!(turn, Turn::Stolen(_)));
                    }
                    assert_eq!((stolen, schedule.preemptions()), (max, max), "{order}");
                    assert_eq!(schedule.turn(&standing), Turn::Run(2000));
                    schedule.reseed(seed);
                }
            }
        }
        let order = Order::Pct {
            depth: 3,
            steps: 20_000,
        };
        let mut schedule = bounded(order, 1);
        course(&mut schedule, 200);
        assert_eq!(schedule.preemptions(), 1);
        let mut unbounded = bounded(order, u64::MAX);
        course(&mut unbounded, 200);
        assert!(unbounded.preemptions() > 10);
    }

    #[test]
    fn lengths_are_of_all_magnitudes() {
        let mut rng = seeded(1, STREAM);
        let drawn: Vec<u64> = (0..2000).map(|_| any_magnitude(&mut rng, 5000)).collect();
        assert!(drawn.iter().all(|length| (1..=5000).contains(length)));
        assert!(drawn.iter().filter(|&&length| length < 70).count() > 700);
        assert!(drawn.iter().filter(|&&length| length > 1000).count() > 200);
    }
}
