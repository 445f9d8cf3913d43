//! `match`: which of what comes by is meant, and which of those are taken.

use toml::de::DeValue;

use super::{LONGEST_NS, Parser, VECTOR_MAX};
use crate::names::{COMMANDS, EVENTS, LINES, MAILBOX_COMMANDS, Name};
use crate::point::{Matches, Point};
use crate::read::{Table, Value, parse_number};
use crate::rule::{Access, After, Attempt, Filter, Ring, When};

pub(crate) const WHEN_KEYS: [&str; 11] = [
    "nth",
    "every",
    "probability",
    "times",
    "from_ns",
    "until_ns",
    "after_marker",
    "before_marker",
    "after_rule",
    "after_ns",
    "before_rule",
];

/// The keys that fill [`Filter::codes`]: no point has two of them.
const CODES: [(&str, &[Name], u64); 6] = [
    ("event", EVENTS, 0xff),
    ("command", COMMANDS, 0xff),
    ("line", LINES, 3),
    ("mailbox", MAILBOX_COMMANDS, 0xff),
    ("vector", &[], VECTOR_MAX),
    ("register", &[], u32::MAX as u64),
];

/// Of [`LINES`], this and the one before it tell of something that a stream did.
const LINE_PAGE_REQUEST_QUEUE: u32 = 1;

impl<'r, 's> Parser<'r, 's> {
    pub(super) fn filter(&self, table: &Table<'r, 's>, point: Point) -> Filter {
        let there = point.matches();
        let mut known: Vec<&str> = there.keys().collect();
        known.extend(WHEN_KEYS);
        if point == Point::Time {
            known.push("period_ns");
        }
        for (key, span) in table.keys() {
            let elsewhere = Matches::ALL.iter().any(|(name, _)| *name == key);
            if elsewhere && !known.contains(&key) {
                self.reader.mistake(
                    span,
                    format!("`{key}` cannot be matched at \"{}\"", point.name()),
                    Some(format!("there can be: {}", known.join(", "))),
                );
            }
        }
        if let Some((_, span)) = table.keys().find(|(key, _)| *key == "period_ns")
            && point != Point::Time
        {
            self.reader.mistake(
                span,
                format!("`period_ns` means nothing at \"{}\"", point.name()),
                Some("it is for rules at \"time\"; use `every` or `nth` here".to_owned()),
            );
        }
        // What is elsewhere was named already.
        let elsewhere = Matches::ALL.iter().map(|(name, _)| *name);
        table.only_but(&known, elsewhere.chain(["period_ns"]));

        let mut filter = self.default_filter(point);
        filter.stream = self.stream(table);
        filter.pasid = table.get("pasid").and_then(|value| self.pasid(value));
        filter.address = table.get("address").and_then(|value| self.addresses(value));
        filter.access = table
            .get("access")
            .and_then(|value| Access::named(self.reader.choice(value, "access", Access::NAMES)?));
        if let Some(value) = table.get("attempt") {
            filter.attempt = match self
                .reader
                .choice(value, "attempt", &["first", "retry", "any"])
            {
                Some("retry") => Attempt::Retry,
                Some("any") => Attempt::Any,
                _ => Attempt::First,
            };
        }
        filter.queue = table.integer("queue", 0..=4095).map(|it| it as u16);
        filter.ring = table
            .get("ring")
            .and_then(|value| Ring::named(self.reader.choice(value, "ring", Ring::NAMES)?));
        filter.stag = table.integer("stag", 0..=0xffff).map(|it| it as u16);
        filter.stalled = table
            .get("stalled")
            .and_then(|value| self.reader.boolean(value, "stalled"));
        filter.marker = table.name_of("marker");
        for (key, names, max) in CODES {
            if let Some(value) = table.get(key)
                && known.contains(&key)
            {
                filter.codes = self.codes(value, key, names, max);
            }
        }
        filter.value = table.get("value").and_then(|value| self.masked(value));
        self.can_come_by(table, point, &filter);
        filter
    }

    /// Two keys that nothing has together are a slip, not a rule that never fires.
    fn can_come_by(&self, table: &Table<'r, 's>, point: Point, filter: &Filter) {
        let together = |key: &str, message: &str, help: &str| {
            if let Some(value) = table.get(key) {
                self.reader
                    .mistake(value.span(), message, Some(help.to_owned()));
            }
        };
        if point == Point::Interrupt
            && filter.stream.is_some()
            && filter
                .codes
                .iter()
                .any(|line| *line > LINE_PAGE_REQUEST_QUEUE)
        {
            together(
                "stream",
                "\"command-sync\" and \"global-error\" are interrupts of no stream",
                "only those of \"event-queue\" and \"page-request-queue\" are about one",
            );
        }
        if filter.queue.is_some() && matches!(filter.ring, Some(Ring::Event | Ring::AsyncEvent)) {
            together(
                "queue",
                "the rings \"eq\" and \"aeq\" are of no queue: the function has one of each",
                "leave `queue` out",
            );
        }
    }

    /// One code or several.
    fn codes(&self, value: &Value<'s>, key: &str, names: &[Name], max: u64) -> Vec<u32> {
        let one = |value: &Value<'s>| -> Vec<u32> {
            // All invalidations of the TLB, whatever their scope.
            if key == "command" && value.get_ref().as_str() == Some("CMD_TLBI") {
                let invalidations = COMMANDS.iter().filter(|(_, op)| (0x10..=0x30).contains(op));
                return invalidations.map(|(_, op)| *op).collect();
            }
            self.reader
                .code(value, key, names, max)
                .into_iter()
                .collect()
        };
        match value.get_ref() {
            DeValue::Array(array) => {
                if array.is_empty() {
                    self.reader.mistake(
                        value.span(),
                        format!("`{key}` names none"),
                        Some("leave it out to match all".to_owned()),
                    );
                }
                array.iter().flat_map(one).collect()
            }
            _ => one(value),
        }
    }

    /// `0x1000`, `"0x1000..0x2000"` without the last, or `"0x1000+0x1000"`.
    fn addresses(&self, value: &Value<'s>) -> Option<(u64, u64)> {
        let help = || {
            Some(
                "write one address, \"FIRST..END\" (END is not included) or \"FIRST+BYTES\""
                    .to_owned(),
            )
        };
        let Some(text) = value.get_ref().as_str() else {
            let at = self.reader.integer(value, "address", 0..=u64::MAX)?;
            return Some((at, at));
        };
        let range = if let Some((first, end)) = text.split_once("..") {
            parse_number(first)
                .zip(parse_number(end))
                .and_then(|(first, end)| Some((first, end.checked_sub(1)?)))
        } else if let Some((first, bytes)) = text.split_once('+') {
            parse_number(first)
                .zip(parse_number(bytes))
                .and_then(|(first, bytes)| Some((first, first.checked_add(bytes.checked_sub(1)?)?)))
        } else {
            parse_number(text).map(|at| (at, at))
        };
        match range {
            Some((first, last)) if first <= last => Some((first, last)),
            _ => {
                self.reader.mistake(
                    value.span(),
                    format!("\"{text}\" is no range of addresses"),
                    help(),
                );
                None
            }
        }
    }

    /// A value, or `{ value, mask }`.
    fn masked(&self, value: &Value<'s>) -> Option<(u32, u32)> {
        const MAX: u64 = u32::MAX as u64;
        if !matches!(value.get_ref(), DeValue::Table(_)) {
            let value = self.reader.integer(value, "value", 0..=MAX)?;
            return Some((value as u32, u32::MAX));
        }
        let table = self.reader.table(value, "value")?;
        table.only(&["value", "mask"]);
        for key in ["value", "mask"] {
            if table.get(key).is_none() {
                self.reader.mistake(
                    value.span(),
                    format!("`{key}` is missing"),
                    Some("write a value alone, or { value = 0x1, mask = 0xf }".to_owned()),
                );
            }
        }
        let value = table.integer("value", 0..=MAX)?;
        let mask = table.integer("mask", 0..=MAX)?;
        Some((value as u32, mask as u32))
    }

    pub(super) fn when(&self, table: &Table<'r, 's>, point: Point) -> When {
        let when = When {
            nth: table.integer("nth", 1..=u64::MAX),
            every: table.integer("every", 1..=u64::MAX),
            probability: table
                .get("probability")
                .and_then(|value| self.reader.number(value, "probability", 0.0..=1.0)),
            times: table.integer("times", 1..=u64::MAX),
            from_ns: table.integer("from_ns", 0..=u64::MAX / 1000),
            until_ns: table.integer("until_ns", 0..=u64::MAX / 1000),
            after_marker: table.name_of("after_marker"),
            before_marker: table.name_of("before_marker"),
            period_ns: table.integer("period_ns", 1..=LONGEST_NS),
            // At no distance, rules that follow each other would hold up time.
            after_rule: self.after(table, u64::from(point == Point::Time)),
            before_rule: table.name_of("before_rule"),
        };
        if let (Some(from), Some(until), Some(value)) =
            (when.from_ns, when.until_ns, table.get("until_ns"))
            && until <= from
        {
            self.reader.mistake(
                value.span(),
                format!("`until_ns` = {until} is not after `from_ns` = {from}"),
                None,
            );
        }
        if point == Point::Time {
            if let (Some(_), Some(period)) = (&when.after_rule, table.get("period_ns")) {
                self.reader.mistake(
                    period.span(),
                    "`period_ns` and `after_rule` do not go together",
                    Some("the rule fires each time that the other one does".to_owned()),
                );
            }
            for key in ["nth", "every", "after_marker", "before_marker"] {
                if let Some((_, span)) = table.keys().find(|(name, _)| *name == key) {
                    self.reader.mistake(
                        span,
                        format!("`{key}` means nothing at \"time\""),
                        Some("use `from_ns`, `period_ns`, `until_ns` and `times`".to_owned()),
                    );
                }
            }
        }
        when
    }

    /// `after_rule` with `after_ns`, which is at least `min`.
    pub(super) fn after(&self, table: &Table<'r, 's>, min: u64) -> Option<After> {
        let ns = table.integer("after_ns", min..=LONGEST_NS);
        let Some(rule) = table.get("after_rule") else {
            if let Some(ns) = table.get("after_ns") {
                self.reader
                    .mistake(ns.span(), "`after_ns` needs `after_rule`: after what", None);
            }
            return None;
        };
        if min > 0 && table.get("after_ns").is_none() {
            self.reader.mistake(
                rule.span(),
                "`after_ns` is missing: how long after the rule",
                None,
            );
        }
        Some(After {
            rule: self.reader.name(rule, "after_rule")?,
            ns: ns.unwrap_or(min),
        })
    }

    pub(super) fn stream(&self, table: &Table<'r, 's>) -> Option<u32> {
        let stream = table.integer("stream", 0..=u64::from(u32::MAX));
        stream.map(|it| it as u32)
    }

    pub(super) fn pasid(&self, value: &Value<'s>) -> Option<Option<u32>> {
        if value.get_ref().as_str() == Some("none") {
            return Some(None);
        }
        let pasid = self.reader.integer(value, "pasid", 0..=0xf_ffff);
        pasid.map(|it| Some(it as u32))
    }
}
