//! What is printed: a line for each figure.

use serde::Serialize;
use stallbox_output::{OutputError, print};

use crate::series::Series;

/// A figure, its peer's if it has one, and how they compare.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    benchmark: &'static str,
    name: String,
    unit: &'static str,
    stallbox: Spread,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<Peer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aim: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Peer {
    name: String,
    figure: Spread,
    /// By how much Stallbox is better, as a factor; worse if below 1.
    better_by: Spread,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl From<&Series> for Spread {
    fn from(series: &Series) -> Spread {
        Spread {
            median: series.median(),
            min: series.min(),
            max: series.max(),
        }
    }
}

impl Figure {
    /// A figure that stands alone.
    pub(crate) fn new(
        benchmark: &'static str,
        name: impl Into<String>,
        unit: &'static str,
        series: &Series,
    ) -> Figure {
        Figure {
            benchmark,
            name: name.into(),
            unit,
            stallbox: series.into(),
            peer: None,
            aim: None,
        }
    }

    /// Beside a peer. `better_by` is a factor taken pair by pair: above 1, Stallbox is ahead.
    pub(crate) fn beside(
        mut self,
        name: impl Into<String>,
        figure: &Series,
        better_by: &Series,
    ) -> Figure {
        self.peer = Some(Peer {
            name: name.into(),
            figure: figure.into(),
            better_by: better_by.into(),
        });
        self
    }

    /// What the project wants it to be. Told, never checked: the machine decides too.
    pub(crate) fn aim(mut self, aim: &'static str) -> Figure {
        self.aim = Some(aim);
        self
    }

    /// Prints it as a line of a table.
    pub(crate) fn print(&self) -> Result<(), OutputError> {
        let (peer, ratio) = match &self.peer {
            Some(peer) => (
                format!("{} ({})", spread(peer.figure), peer.name),
                format!("{}x", spread(peer.better_by)),
            ),
            None => ("-".to_owned(), "-".to_owned()),
        };
        print(format_args!(
            "| {} | {} | {} | {} | {} | {} |\n",
            self.name,
            self.unit,
            spread(self.stallbox),
            peer,
            ratio,
            self.aim.unwrap_or("-"),
        ))
    }
}

/// The table's head.
pub(crate) fn print_head(title: &str) -> Result<(), OutputError> {
    print(format_args!(
        "\n{title}\n\n| what | unit | Stallbox | peer | better than the peer by | aim |\n\
         |---|---|---|---|---|---|\n"
    ))
}

fn spread(spread: Spread) -> String {
    let [median, min, max] = [spread.median, spread.min, spread.max].map(number);
    if min == max {
        median
    } else {
        format!("{median} ({min}..{max})")
    }
}

/// Three digits that count, and no exponent.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        let texts = [1234.5, 99.96, 12.34, 1.0, 0.98765].map(number);
        assert_eq!(texts, ["1234", "100", "12.3", "1.00", "0.988"]);
    }
}
