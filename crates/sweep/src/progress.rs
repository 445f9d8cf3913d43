//! How far a sweep has come.

use std::fmt;
use std::time::Duration;

/// How far a sweep has come. The caller has the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Runs that have ended.
    pub done: u64,
    /// Runs that there will be.
    pub total: u64,
    /// Runs that did not pass.
    pub failures: u64,
    /// Different signatures among them.
    pub signatures: u64,
    /// Time since the first run began.
    pub elapsed: Duration,
}

impl Progress {
    /// Runs in a second; none before there is something to tell it by.
    pub fn rate(&self) -> Option<f64> {
        let seconds = self.elapsed.as_secs_f64();
        (self.done > 0 && seconds > 0.0).then(|| self.done as f64 / seconds)
    }

    /// How long the rest will take, at the rate so far.
    pub fn left(&self) -> Option<Duration> {
        let seconds = self.total.saturating_sub(self.done) as f64 / self.rate()?;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

/// `1234/10000, 87/s, 3 failures (2 signatures), 1m41s left`.
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.done, self.total)?;
        match self.rate() {
            None => {}
            Some(rate) if rate >= 9.95 => write!(f, ", {rate:.0}/s")?,
            Some(rate) if rate >= 0.95 => write!(f, ", {rate:.1}/s")?,
            Some(rate) if rate * 60.0 >= 0.95 => write!(f, ", {:.1}/min", rate * 60.0)?,
            Some(rate) => write!(f, ", {:.1}/h", rate * 3600.0)?,
        }
        match self.failures {
            0 => write!(f, ", no failures")?,
            1 => write!(f, ", 1 failure")?,
            count => write!(
                f,
                ", {count} failures ({})",
                counted(self.signatures, "signature")
            )?,
        }
        if self.done < self.total
            && let Some(left) = self.left()
        {
            write!(f, ", {} left", span(left))?;
        }
        Ok(())
    }
}

/// A number of things.
pub(crate) fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// With its two largest units, rounded up.
fn span(span: Duration) -> String {
    let [minute, hour, day] = [60, 3600, 86_400];
    let seconds = span.as_secs() + u64::from(span.subsec_nanos() > 0);
    let unit = match seconds {
        _ if seconds <= hour => 1,
        _ if seconds <= day => minute,
        _ => hour,
    };
    let seconds = seconds.div_ceil(unit).saturating_mul(unit);
    match seconds {
        _ if seconds < minute => format!("{seconds}s"),
        _ if seconds < hour => format!("{}m{:02}s", seconds / minute, seconds % minute),
        _ if seconds < day => format!("{}h{:02}m", seconds / hour, seconds % hour / minute),
        _ => format!("{}d{:02}h", seconds / day, seconds % day / hour),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(done: u64, total: u64, failures: u64, signatures: u64, ms: u64) -> String {
        let progress = Progress {
            done,
            total,
            failures,
            signatures,
            elapsed: Duration::from_millis(ms),
        };
        progress.to_string()
    }

    #[test]
    fn rate_failures_and_what_is_left_are_told() {
        assert_eq!(told(0, 10_000, 0, 0, 0), "0/10000, no failures");
        assert_eq!(told(0, 10_000, 0, 0, 5000), "0/10000, no failures");
        assert_eq!(
            told(1234, 10_000, 3, 2, 14_184),
            "1234/10000, 87/s, 3 failures (2 signatures), 1m41s left"
        );
        assert_eq!(
            told(10, 100, 1, 1, 2000),
            "10/100, 5.0/s, 1 failure, 18s left"
        );
        assert_eq!(
            told(2, 100, 2, 1, 60_000),
            "2/100, 2.0/min, 2 failures (1 signature), 49m00s left"
        );
        assert_eq!(
            told(1, 25, 0, 0, 7_200_000),
            "1/25, 0.5/h, no failures, 2d00h left"
        );
        assert_eq!(
            told(1, 3, 0, 0, 3_599_500),
            "1/3, 1.0/h, no failures, 2h00m left"
        );
        assert_eq!(told(100, 100, 0, 0, 1000), "100/100, 100/s, no failures");
    }

    #[test]
    fn absurd_numbers_are_told_without_a_panic() {
        let progress = Progress {
            done: u64::MAX,
            total: 1,
            failures: u64::MAX,
            signatures: 0,
            elapsed: Duration::MAX,
        };
        let _ = progress.to_string();
        let progress = Progress {
            done: 1,
            total: u64::MAX,
            ..progress
        };
        assert!(!progress.to_string().contains("left"));
    }
}
