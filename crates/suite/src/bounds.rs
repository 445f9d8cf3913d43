//! Numbers within bounds.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

/// A number, or a range of them as Rust writes it: `5`, `"1.."`, `"..10"` (not 10), `"1..=10"`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(try_from = "Written")]
#[schemars(with = "Written")]
pub struct Bounds {
    min: Option<f64>,
    max: Option<f64>,
    is_max_within: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Written {
    Number(f64),
    Range(String),
}

impl Bounds {
    /// One number.
    pub const fn exactly(number: f64) -> Bounds {
        Bounds {
            min: Some(number),
            max: Some(number),
            is_max_within: true,
        }
    }

    /// Whether a number is within.
    pub fn contain(&self, number: f64) -> bool {
        let above = self.min.is_none_or(|min| number >= min);
        let below = self.max.is_none_or(|max| match self.is_max_within {
            true => number <= max,
            false => number < max,
        });
        above && below
    }

    /// Of a text with two dots.
    pub(crate) fn parse(text: &str) -> Result<Bounds, String> {
        let wrong = || {
            format!("\"{text}\" is no range: write 5, \"1..\", \"..10\" (without 10) or \"1..=10\"")
        };
        let (min, max) = text.split_once("..").ok_or_else(wrong)?;
        let (max, is_max_within) = match max.strip_prefix('=') {
            Some(max) => (max, true),
            None => (max, false),
        };
        let number = |text: &str| match text.trim().replace('_', "") {
            text if text.is_empty() => Ok(None),
            text => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Some(number)),
                _ => Err(wrong()),
            },
        };
        let bounds = Bounds {
            min: number(min)?,
            max: number(max)?,
            is_max_within,
        };
        match (bounds.min, bounds.max) {
            (None, None) => Err(wrong()),
            (_, None) if is_max_within => Err(wrong()),
            (Some(min), Some(max)) if !bounds.contain(min) => Err(format!(
                "\"{text}\" contains no number: {min} is not below {max}"
            )),
            _ => Ok(bounds),
        }
    }
}

impl TryFrom<Written> for Bounds {
    type Error = String;

    fn try_from(written: Written) -> Result<Bounds, String> {
        match written {
            Written::Number(number) if number.is_finite() => Ok(Bounds::exactly(number)),
            Written::Number(number) => Err(format!("{number} is no bound")),
            Written::Range(text) => Bounds::parse(&text),
        }
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max) {
            (Some(min), Some(max)) if min == max => write!(f, "{min}"),
            (Some(min), Some(max)) if self.is_max_within => write!(f, "{min} to {max}"),
            (Some(min), Some(max)) => write!(f, "{min} or more, below {max}"),
            (Some(min), None) => write!(f, "{min} or more"),
            (None, Some(max)) if self.is_max_within => write!(f, "at most {max}"),
            (None, Some(max)) => write!(f, "below {max}"),
            (None, None) => write!(f, "any number"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_seeds() {
        for (text, inside, outside) in [
            ("1..10", &[1.0, 9.5][..], &[0.0, 10.0][..]),
            ("1..=10", &[1.0, 10.0], &[0.9, 10.1]),
            ("0.5..", &[0.5, 1e9], &[0.4]),
            ("..1_000", &[-5.0, 999.0], &[1000.0]),
        ] {
            let bounds = Bounds::parse(text).unwrap();
            assert!(inside.iter().all(|it| bounds.contain(*it)), "{text}");
            assert!(!outside.iter().any(|it| bounds.contain(*it)), "{text}");
        }
        for bad in ["..", "1..=", "x..y", "5", "3..3", "9..1", "1..inf", ""] {
            assert!(Bounds::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn they_are_told_in_words() {
        for (text, told) in [
            ("1..10", "1 or more, below 10"),
            ("1..=10", "1 to 10"),
            ("1..", "1 or more"),
            ("..=2", "at most 2"),
        ] {
            assert_eq!(Bounds::parse(text).unwrap().to_string(), told);
        }
        assert_eq!(Bounds::exactly(0.0).to_string(), "0");
    }
}
