//! Seeded distributions of latencies.
//!
//! The logarithms and exponentials are the `libm` crate's, not the host's, whose last bit differs
//! from one C library to the next; a run must not.

use std::cell::RefCell;
use std::sync::Arc;

use rand_core::{Rng as _, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

use crate::Span;

/// The generator behind every draw.
pub type Rng = Xoshiro256PlusPlus;

/// A generator for `seed` and one named use of it. Each use has a stream of its own, so that a draw
/// more in one place does not shift the draws of all others.
pub fn seeded(seed: u64, stream: &str) -> Rng {
    // FNV-1a: fixed for ever, which the standard library's hashers do not promise.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in stream.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    Rng::seed_from_u64(seed ^ hash)
}

/// How long something takes, in nanoseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "dist", rename_all = "lowercase", deny_unknown_fields)]
pub enum Dist {
    /// Always the same.
    Fixed {
        /// The length.
        ns: f64,
    },
    /// Equally likely from `min_ns` to `max_ns`.
    Uniform {
        /// Shortest.
        min_ns: f64,
        /// Longest.
        max_ns: f64,
    },
    /// Normal, cut off at zero.
    Normal {
        /// Mean.
        mean_ns: f64,
        /// Standard deviation.
        stddev_ns: f64,
    },
    /// Log-normal, given by what one can read off a plot.
    Lognormal {
        /// Median: e to the mean of the logarithm.
        median_ns: f64,
        /// Standard deviation of the natural logarithm.
        sigma: f64,
    },
    /// Pareto: a heavy tail.
    Pareto {
        /// Shortest.
        min_ns: f64,
        /// Tail index; smaller is heavier.
        alpha: f64,
        /// Draws beyond this are cut to it, so that one draw cannot outlast the run.
        max_ns: f64,
    },
    /// Drawn from measured samples, one number in nanoseconds a line.
    File {
        /// Where the samples are. Read by whoever loads the configuration.
        path: String,
        /// The samples, sorted; filled in by [`Dist::load`].
        #[serde(skip)]
        samples_ns: Arc<[f64]>,
    },
}

/// Why a distribution cannot be drawn from.
#[derive(Debug, thiserror::Error)]
pub enum DistError {
    /// A parameter is negative, not finite or in the wrong order.
    #[error("{0}")]
    Parameter(String),
    /// A samples file could not be read.
    #[error("cannot read the samples in {path}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A line of a samples file is not a number of nanoseconds.
    #[error("{path}, line {line}: \"{text}\" is not a number of nanoseconds")]
    Sample {
        /// The file.
        path: String,
        /// Counted from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
}

/// Longest latency one draw may give: an hour. More is a slip of units.
const LONGEST_NS: f64 = 3.6e12;

impl Dist {
    /// A fixed length.
    pub const fn fixed(ns: f64) -> Dist {
        Dist::Fixed { ns }
    }

    /// Reads the samples of [`Dist::File`] (paths are taken relative to `base`) and checks all
    /// parameters.
    pub fn load(&mut self, base: &std::path::Path) -> Result<(), DistError> {
        if let Dist::File { path, samples_ns } = self {
            let text =
                std::fs::read_to_string(base.join(&*path)).map_err(|source| DistError::Read {
                    path: path.clone(),
                    source,
                })?;
            let mut samples = Vec::new();
            for (index, line) in text.lines().enumerate() {
                let line_text = line.trim();
                if line_text.is_empty() || line_text.starts_with('#') {
                    continue;
                }
                match line_text.parse::<f64>() {
                    Ok(ns) if (0.0..=LONGEST_NS).contains(&ns) => samples.push(ns),
                    _ => {
                        return Err(DistError::Sample {
                            path: path.clone(),
                            line: index + 1,
                            text: line_text.to_owned(),
                        });
                    }
                }
            }
            samples.sort_by(f64::total_cmp);
            *samples_ns = samples.into();
        }
        self.check()
    }

    /// Whether the parameters describe a distribution.
    pub fn check(&self) -> Result<(), DistError> {
        let in_range = |name: &str, ns: f64| {
            if (0.0..=LONGEST_NS).contains(&ns) {
                Ok(())
            } else {
                Err(DistError::Parameter(format!(
                    "{name} = {ns} is not between 0 and {LONGEST_NS} (an hour)"
                )))
            }
        };
        let ordered = |min: f64, max: f64| {
            if min <= max {
                Ok(())
            } else {
                Err(DistError::Parameter(format!(
                    "min_ns = {min} is above max_ns = {max}"
                )))
            }
        };
        let positive = |name: &str, value: f64| {
            if value.is_finite() && value > 0.0 {
                Ok(())
            } else {
                Err(DistError::Parameter(format!(
                    "{name} = {value} is not above 0"
                )))
            }
        };
        match self {
            Dist::Fixed { ns } => in_range("ns", *ns),
            Dist::Uniform { min_ns, max_ns } => {
                in_range("min_ns", *min_ns)?;
                in_range("max_ns", *max_ns)?;
                ordered(*min_ns, *max_ns)
            }
            Dist::Normal { mean_ns, stddev_ns } => {
                in_range("mean_ns", *mean_ns)?;
                in_range("stddev_ns", *stddev_ns)
            }
            Dist::Lognormal { median_ns, sigma } => {
                in_range("median_ns", *median_ns)?;
                positive("sigma", *sigma)
            }
            Dist::Pareto {
                min_ns,
                alpha,
                max_ns,
            } => {
                in_range("min_ns", *min_ns)?;
                in_range("max_ns", *max_ns)?;
                positive("alpha", *alpha)?;
                ordered(*min_ns, *max_ns)
            }
            Dist::File { path, samples_ns } if samples_ns.is_empty() => {
                Err(DistError::Parameter(format!("{path} holds no samples")))
            }
            Dist::File { .. } => Ok(()),
        }
    }

    /// One draw.
    pub fn sample(&self, rng: &mut Rng) -> Span {
        let ns = match self {
            Dist::Fixed { ns } => *ns,
            Dist::Uniform { min_ns, max_ns } => min_ns + (max_ns - min_ns) * unit(rng),
            Dist::Normal { mean_ns, stddev_ns } => mean_ns + stddev_ns * standard_normal(rng),
            Dist::Lognormal { median_ns, sigma } => {
                median_ns * libm::exp(sigma * standard_normal(rng))
            }
            Dist::Pareto {
                min_ns,
                alpha,
                max_ns,
            } => (min_ns / libm::pow(1.0 - unit(rng), 1.0 / alpha)).min(*max_ns),
            Dist::File { samples_ns, .. } => {
                let index = (unit(rng) * samples_ns.len() as f64) as usize;
                samples_ns.get(index).copied().unwrap_or(0.0)
            }
        };
        Span::from_ps((ns.clamp(0.0, LONGEST_NS) * 1000.0) as u64)
    }
}

/// A distribution with a generator of its own.
#[derive(Clone, Debug)]
pub struct Sampler {
    dist: Dist,
    rng: RefCell<Rng>,
}

impl Sampler {
    /// Draws of `dist`, as `seed` has them for the use called `stream`.
    pub fn new(dist: Dist, seed: u64, stream: &str) -> Sampler {
        Sampler {
            dist,
            rng: RefCell::new(seeded(seed, stream)),
        }
    }

    /// From now on draws as if it had been made for `seed` and `stream`.
    pub fn reseed(&self, seed: u64, stream: &str) {
        *self.rng.borrow_mut() = seeded(seed, stream);
    }

    /// The next draw.
    pub fn draw(&self) -> Span {
        self.dist.sample(&mut self.rng.borrow_mut())
    }
}

/// Uniform in [0, 1), 53 bits.
fn unit(rng: &mut Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
}

/// Box and Muller's first value; the second is thrown away so that a draw has no memory.
fn standard_normal(rng: &mut Rng) -> f64 {
    let radius = libm::sqrt(-2.0 * libm::log(1.0 - unit(rng)));
    radius * libm::cos(2.0 * std::f64::consts::PI * unit(rng))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_ns(dist: &Dist) -> f64 {
        let mut rng = seeded(1, "test");
        let draws = 200_000;
        (0..draws)
            .map(|_| dist.sample(&mut rng).as_ps() as f64 / 1000.0)
            .sum::<f64>()
            / f64::from(draws)
    }

    #[test]
    fn means_are_the_closed_forms() {
        // Means by the textbook: lognormal median*exp(sigma^2/2), Pareto alpha*min/(alpha-1).
        for (dist, mean) in [
            (Dist::fixed(12.5), 12.5),
            (
                Dist::Uniform {
                    min_ns: 10.0,
                    max_ns: 30.0,
                },
                20.0,
            ),
            (
                Dist::Normal {
                    mean_ns: 500.0,
                    stddev_ns: 20.0,
                },
                500.0,
            ),
            (
                Dist::Lognormal {
                    median_ns: 100.0,
                    sigma: 0.5,
                },
                100.0 * (0.125_f64).exp(),
            ),
            (
                Dist::Pareto {
                    min_ns: 100.0,
                    alpha: 5.0,
                    max_ns: 1e9,
                },
                125.0,
            ),
        ] {
            let seen = mean_ns(&dist);
            assert!(
                (seen / mean - 1.0).abs() < 0.01,
                "{dist:?}: {seen} against {mean}"
            );
        }
    }

    #[test]
    fn a_stream_repeats_and_streams_differ() {
        let dist = Dist::Lognormal {
            median_ns: 100.0,
            sigma: 1.0,
        };
        let draws = |stream| {
            let sampler = Sampler::new(dist.clone(), 7, stream);
            (0..8).map(|_| sampler.draw().as_ps()).collect::<Vec<_>>()
        };
        assert_eq!(draws("walk_step"), draws("walk_step"));
        assert_ne!(draws("walk_step"), draws("tlb_hit"));
    }

    #[test]
    fn nonsense_is_refused_with_the_parameter_named() {
        let error = Dist::Pareto {
            min_ns: 1.0,
            alpha: 0.0,
            max_ns: 2.0,
        }
        .check()
        .unwrap_err();
        assert_eq!(error.to_string(), "alpha = 0 is not above 0");
        assert!(Dist::fixed(f64::NAN).check().is_err());
        assert!(
            Dist::Uniform {
                min_ns: 2.0,
                max_ns: 1.0
            }
            .check()
            .is_err()
        );
    }
}
