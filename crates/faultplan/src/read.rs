//! Reading TOML values, with a mistake for each that is not what it should be.

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::Mistake;
use crate::names::{self, Name};

pub(crate) type Value<'s> = Spanned<DeValue<'s>>;

/// As many mistakes as are worth reading.
const MISTAKES_MAX: usize = 50;

/// A text being read, and the mistakes found so far.
pub(crate) struct Reader<'s> {
    source: &'s str,
    mistakes: RefCell<Vec<Mistake>>,
}

impl<'s> Reader<'s> {
    pub(crate) fn new(source: &'s str) -> Reader<'s> {
        Reader {
            source,
            mistakes: RefCell::default(),
        }
    }

    pub(crate) fn mistake(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        let mut mistakes = self.mistakes.borrow_mut();
        if mistakes.len() < MISTAKES_MAX {
            mistakes.push(Mistake::new(self.source, span, message, help));
        }
    }

    /// The mistakes in the order of the text.
    pub(crate) fn into_mistakes(self) -> Vec<Mistake> {
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
        mistakes
    }

    pub(crate) fn line(&self, at: usize) -> usize {
        let before = self.source.as_bytes().iter().take(at);
        before.filter(|&&byte| byte == b'\n').count() + 1
    }

    fn wrong(&self, value: &Value<'_>, key: &str, expected: &str) {
        let found = match value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        let help = cure(key, expected);
        self.mistake(
            value.span(),
            format!("`{key}` is {found}, not {expected}"),
            help.map(str::to_owned),
        );
    }

    /// An integer: one of TOML's in any base, or the same as a string.
    pub(crate) fn integer(
        &self,
        value: &Value<'_>,
        key: &str,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let number = match value.get_ref() {
            DeValue::Integer(integer) => {
                u64::from_str_radix(integer.as_str().trim_start_matches('+'), integer.radix()).ok()
            }
            DeValue::String(text) if parse_number(text).is_some() => parse_number(text),
            _ => {
                self.wrong(value, key, "an integer");
                return None;
            }
        };
        match number {
            Some(number) if range.contains(&number) => Some(number),
            _ => {
                let (low, high) = (range.start(), range.end());
                let bounds = if *high == u64::MAX {
                    format!("of at least {low}, with 64 bits")
                } else {
                    format!("from {low} to {high}")
                };
                self.mistake(
                    value.span(),
                    format!("`{key}` must be an integer {bounds}"),
                    None,
                );
                None
            }
        }
    }

    pub(crate) fn number(
        &self,
        value: &Value<'_>,
        key: &str,
        range: RangeInclusive<f64>,
    ) -> Option<f64> {
        let number = match value.get_ref() {
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str().parse().ok(),
            DeValue::Float(float) => float.as_str().parse().ok(),
            _ => {
                self.wrong(value, key, "a number");
                return None;
            }
        };
        match number {
            Some(number) if range.contains(&number) => Some(number),
            _ => {
                let (low, high) = (range.start(), range.end());
                self.mistake(
                    value.span(),
                    format!("`{key}` must be a number from {low} to {high}"),
                    None,
                );
                None
            }
        }
    }

    pub(crate) fn boolean(&self, value: &Value<'_>, key: &str) -> Option<bool> {
        let boolean = value.get_ref().as_bool();
        if boolean.is_none() {
            self.wrong(value, key, "true or false");
        }
        boolean
    }

    pub(crate) fn string<'v>(&self, value: &'v Value<'_>, key: &str) -> Option<&'v str> {
        let string = value.get_ref().as_str();
        if string.is_none() {
            self.wrong(value, key, "a string");
        }
        string
    }

    /// A name: not empty, not long, and printable, since it stands in traces and in answers.
    pub(crate) fn name(&self, value: &Value<'_>, key: &str) -> Option<String> {
        let name = self.string(value, key)?;
        let good = (1..=64).contains(&name.chars().count()) && !name.chars().any(char::is_control);
        if !good {
            self.mistake(
                value.span(),
                format!("`{key}` must have 1 to 64 printable characters"),
                None,
            );
            return None;
        }
        Some(name.to_owned())
    }

    /// One of a few words.
    pub(crate) fn choice<'w>(
        &self,
        value: &Value<'_>,
        key: &str,
        words: &[&'w str],
    ) -> Option<&'w str> {
        let word = self.string(value, key)?;
        let found = words.iter().find(|known| **known == word);
        if found.is_none() {
            self.unknown(value.span(), key, word, words.iter().copied());
        }
        found.copied()
    }

    /// A name of the architecture, or its number.
    pub(crate) fn code(
        &self,
        value: &Value<'_>,
        key: &str,
        known: &[Name],
        max: u64,
    ) -> Option<u32> {
        match value.get_ref() {
            DeValue::String(text) if parse_number(text).is_none() && !known.is_empty() => {
                let found = names::number(known, text);
                if found.is_none() {
                    self.unknown(value.span(), key, text, known.iter().map(|(name, _)| *name));
                }
                found
            }
            // A limit is at most u32::MAX.
            _ => self
                .integer(value, key, 0..=max)
                .map(|number| number as u32),
        }
    }

    pub(crate) fn unknown<'w>(
        &self,
        span: Range<usize>,
        key: &str,
        word: &str,
        known: impl Iterator<Item = &'w str> + Clone,
    ) {
        let help = match names::nearest(word, known.clone()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("there are: {}", known.collect::<Vec<_>>().join(", ")),
        };
        self.mistake(
            span,
            format!("\"{word}\" is no value of `{key}`"),
            Some(help),
        );
    }

    pub(crate) fn array<'v>(&self, value: &'v Value<'s>, key: &str) -> Option<&'v [Value<'s>]> {
        match value.get_ref() {
            DeValue::Array(array) => Some(array),
            _ => {
                self.wrong(value, key, "an array");
                None
            }
        }
    }

    /// Exactly `N` integers.
    pub(crate) fn words<const N: usize>(&self, value: &Value<'s>, key: &str) -> Option<[u64; N]> {
        let array = self.array(value, key)?;
        if array.len() != N {
            self.mistake(
                value.span(),
                format!("`{key}` must have {N} integers, of 64 bits each"),
                None,
            );
            return None;
        }
        let mut words = [0; N];
        for (word, element) in words.iter_mut().zip(array) {
            *word = self.integer(element, key, 0..=u64::MAX)?;
        }
        Some(words)
    }

    pub(crate) fn table<'v>(&'v self, value: &'v Value<'s>, key: &'v str) -> Option<Table<'v, 's>> {
        match value.get_ref() {
            DeValue::Table(table) => Some(Table {
                reader: self,
                name: key,
                span: value.span(),
                table,
            }),
            _ => {
                self.wrong(value, key, "a table");
                None
            }
        }
    }
}

/// What to write instead, where the kind of a value alone does not say it.
fn cure(key: &str, expected: &str) -> Option<&'static str> {
    Some(match (key, expected) {
        ("rule", _) => "write [[rule]]: there can be several",
        ("pasid", _) => "or \"none\", for accesses without one",
        ("write_records", "an array") => "a record is an array too: [[w0, w1, w2, w3]]",
        ("run_commands", "an array") => "a command is an array too: [[w0, w1]]",
        ("device_events", "an array") => "write [{ ring = \"aeq\", queue = 0 }]",
        (_, "a number") => "times are nanoseconds, without a unit",
        (_, "a table") => "write { KEY = VALUE }",
        _ => return None,
    })
}

/// Decimal, or hexadecimal with `0x`; underscores between digits as in TOML.
pub(crate) fn parse_number(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.replace('_', "");
    match digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"))
    {
        Some(hex) if !hex.starts_with('+') => u64::from_str_radix(hex, 16).ok(),
        Some(_) => None,
        None if digits.starts_with('+') => None,
        None => digits.parse().ok(),
    }
}

/// A table being read.
pub(crate) struct Table<'v, 's> {
    reader: &'v Reader<'s>,
    name: &'v str,
    pub(crate) span: Range<usize>,
    table: &'v DeTable<'s>,
}

impl<'v, 's> Table<'v, 's> {
    pub(crate) fn root(reader: &'v Reader<'s>, table: &'v DeTable<'s>, span: Range<usize>) -> Self {
        Table {
            reader,
            name: "the plan",
            span,
            table,
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'v Value<'s>> {
        self.table.get(key)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = (&'v str, Range<usize>)> + use<'v, 's> {
        self.table
            .keys()
            .map(|key| (key.get_ref().as_ref(), key.span()))
    }

    /// Complains about keys that are not among `known`.
    pub(crate) fn only(&self, known: &[&str]) {
        self.only_but(known, std::iter::empty());
    }

    /// The same, but not about those for which somebody else complains.
    pub(crate) fn only_but<'k>(
        &self,
        known: &[&str],
        others: impl Iterator<Item = &'k str> + Clone,
    ) {
        for (key, span) in self.keys() {
            if known.contains(&key) || others.clone().any(|other| other == key) {
                continue;
            }
            let help = match names::nearest(key, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are: {}", known.join(", ")),
            };
            self.reader.mistake(
                span,
                format!("{} has no key `{key}`", self.name),
                Some(help),
            );
        }
    }

    pub(crate) fn integer(&self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        self.reader.integer(self.get(key)?, key, range)
    }

    pub(crate) fn name_of(&self, key: &str) -> Option<String> {
        self.reader.name(self.get(key)?, key)
    }
}
