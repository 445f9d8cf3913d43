//! `do`: what is decided about what a rule takes.

use stallbox_timeline::Dist;
use toml::de::DeValue;

use super::effects::EFFECT_KEYS;
use super::{LONGEST_NS, Parser};
use crate::names::Name;
use crate::point::{Actions, Point};
use crate::read::{Table, Value, parse_number};
use crate::rule::{
    Act, FaultKind, GateRef, PAGE_ANSWERS, Rule, Stag, fault_named, page_answer_named,
};

const DISTS: &[&str] = &["fixed", "uniform", "normal", "lognormal", "pareto"];

impl<'r, 's> Parser<'r, 's> {
    pub(super) fn actions(&self, table: &Table<'r, 's>, rule: &mut Rule) {
        let point = rule.at;
        let there = point.actions();
        let known: Vec<&str> = there.keys().chain(EFFECT_KEYS).collect();
        for (key, span) in table.keys() {
            let elsewhere = Actions::ALL.iter().any(|(name, _)| *name == key);
            if elsewhere && !known.contains(&key) {
                self.reader.mistake(
                    span,
                    format!("`{key}` cannot be done at \"{}\"", point.name()),
                    Some(format!("there can be: {}", known.join(", "))),
                );
            }
        }
        // What is elsewhere was named already.
        table.only_but(&known, Actions::ALL.iter().map(|(name, _)| *name));
        if table.keys().next().is_none() {
            self.reader.mistake(
                table.span.clone(),
                "`do` asks for nothing",
                Some(format!("there can be: {}", known.join(", "))),
            );
        }
        rule.delay = table.get("delay").and_then(|value| self.delay(value));
        rule.gate = table.get("gate").and_then(|value| self.gate(value));
        self.act(table, rule);
        self.effects(table, rule);
    }

    fn delay(&self, value: &Value<'s>) -> Option<Dist> {
        let DeValue::Table(_) = value.get_ref() else {
            let ns = self
                .reader
                .number(value, "delay", 0.0..=LONGEST_NS as f64)?;
            return Some(Dist::fixed(ns));
        };
        let table = self.reader.table(value, "delay")?;
        let number = |key: &str| -> Option<f64> {
            match table.get(key) {
                Some(value) => self.reader.number(value, key, 0.0..=f64::MAX),
                None => {
                    self.reader.mistake(
                        value.span(),
                        format!("`{key}` is missing"),
                        Some("times are nanoseconds".to_owned()),
                    );
                    None
                }
            }
        };
        let Some(kind) = table.get("dist") else {
            self.reader.mistake(
                value.span(),
                "a delay is a number of nanoseconds, or a table with `dist`",
                Some(format!("there are: {}", DISTS.join(", "))),
            );
            return None;
        };
        let only = |keys: &[&str]| {
            let mut known = vec!["dist"];
            known.extend(keys);
            table.only(&known);
        };
        let dist = match self.reader.choice(kind, "dist", DISTS)? {
            "fixed" => {
                only(&["ns"]);
                Dist::fixed(number("ns")?)
            }
            "uniform" => {
                only(&["min_ns", "max_ns"]);
                Dist::Uniform {
                    min_ns: number("min_ns")?,
                    max_ns: number("max_ns")?,
                }
            }
            "normal" => {
                only(&["mean_ns", "stddev_ns"]);
                Dist::Normal {
                    mean_ns: number("mean_ns")?,
                    stddev_ns: number("stddev_ns")?,
                }
            }
            "lognormal" => {
                only(&["median_ns", "sigma"]);
                Dist::Lognormal {
                    median_ns: number("median_ns")?,
                    sigma: number("sigma")?,
                }
            }
            _ => {
                only(&["min_ns", "alpha", "max_ns"]);
                Dist::Pareto {
                    min_ns: number("min_ns")?,
                    alpha: number("alpha")?,
                    max_ns: number("max_ns")?,
                }
            }
        };
        if let Err(error) = dist.check() {
            self.reader.mistake(value.span(), error.to_string(), None);
            return None;
        }
        Some(dist)
    }

    fn gate(&self, value: &Value<'s>) -> Option<GateRef> {
        if value.get_ref().as_str().is_some() {
            return Some(GateRef {
                name: self.reader.name(value, "gate")?,
                open_at: None,
                timeout_ns: None,
                after_rule: None,
            });
        }
        let table = self.reader.table(value, "gate")?;
        table.only(&["name", "open_at", "timeout_ns", "after_rule", "after_ns"]);
        if table.get("name").is_none() {
            self.reader.mistake(
                value.span(),
                "a gate needs a `name`",
                Some("write gate = \"NAME\", or { name = \"NAME\" }".to_owned()),
            );
        }
        Some(GateRef {
            name: table.name_of("name")?,
            open_at: table.integer("open_at", 1..=1_000_000).map(|it| it as u32),
            timeout_ns: table.integer("timeout_ns", 0..=LONGEST_NS),
            after_rule: self.after(&table, 0),
        })
    }

    /// The one decision of a rule, beside what it waits for.
    fn act(&self, table: &Table<'r, 's>, rule: &mut Rule) {
        let there = rule.at.actions();
        let mut decided: Option<&str> = None;
        let acts = Actions::ALL.iter().filter(|(key, flag)| {
            there.has(*flag) && !["delay", "gate"].contains(key) && table.get(key).is_some()
        });
        for (key, flag) in acts {
            let Some(value) = table.get(key) else {
                continue;
            };
            // A tag and a response are two halves of one decision.
            let halves = decided == Some("stag") && *key == "response";
            if let Some(first) = decided
                && !halves
            {
                self.reader.mistake(
                    value.span(),
                    format!("`{key}` and `{first}` cannot both be done"),
                    Some("use two rules, with `nth` or `every`".to_owned()),
                );
                return;
            }
            decided = Some(key);
            if let Some(act) = self.one_act(*flag, key, value, rule) {
                rule.act = act;
            }
        }
    }

    fn one_act(&self, flag: Actions, key: &str, value: &Value<'s>, rule: &Rule) -> Option<Act> {
        let reader = self.reader;
        let asked = |act| match reader.boolean(value, key)? {
            true => Some(act),
            false => {
                reader.mistake(value.span(), format!("`{key}` can only be true"), None);
                None
            }
        };
        match flag {
            Actions::FAULT => {
                let word = reader.choice(value, key, &FaultKind::ALL.map(FaultKind::name))?;
                fault_named(word).map(Act::Fault)
            }
            Actions::ABORT => asked(Act::Abort),
            Actions::EVICT => asked(Act::Evict),
            Actions::DROP => asked(Act::Drop),
            Actions::OVERFLOW => asked(Act::Overflow),
            Actions::DUPLICATE => {
                let times = reader.integer(value, key, 1..=65536)?;
                Some(Act::Duplicate(times as u32))
            }
            Actions::OVERTAKEN_BY => {
                let others = reader.integer(value, key, 1..=65536)?;
                Some(Act::OvertakenBy(others as u32))
            }
            Actions::REPLACE if rule.at == Point::Record => {
                let words = reader.words::<4>(value, key)?;
                Some(Act::Replace(words.to_vec()))
            }
            Actions::REPLACE => Some(Act::Replace(reader.words::<2>(value, key)?.to_vec())),
            Actions::STAG => {
                self.only_resume(value, key, rule);
                let stag = match value.get_ref().as_str() {
                    Some("next") => Stag::Next,
                    Some("stale") => Stag::Stale,
                    Some(word) if parse_number(word).is_none() => {
                        reader.unknown(value.span(), key, word, ["next", "stale"].into_iter());
                        return None;
                    }
                    _ => Stag::Fixed(reader.integer(value, key, 0..=0xffff)? as u16),
                };
                Some(Act::Resume {
                    stag: Some(stag),
                    retry: None,
                })
            }
            Actions::RESPONSE => {
                self.only_resume(value, key, rule);
                let retry = reader.choice(value, key, &["retry", "abort"])? == "retry";
                let stag = match rule.act {
                    Act::Resume { stag, .. } => stag,
                    _ => None,
                };
                Some(Act::Resume {
                    stag,
                    retry: Some(retry),
                })
            }
            Actions::ERROR => {
                const CODES: &[Name] = &[
                    ("CERROR_ILL", 1),
                    ("CERROR_ABT", 2),
                    ("CERROR_ATC_INV_SYNC", 3),
                ];
                let code = reader.code(value, key, CODES, 0x7f)?;
                Some(Act::Error(code as u8))
            }
            Actions::ANSWER => {
                let word = reader.choice(value, key, &PAGE_ANSWERS.map(|(name, _)| name))?;
                page_answer_named(word).map(Act::Answer)
            }
            Actions::FAIL => Some(Act::Fail(reader.integer(value, key, 1..=15)? as u8)),
            _ => None,
        }
    }

    fn only_resume(&self, value: &Value<'s>, key: &str, rule: &Rule) {
        if rule.filter.codes != [0x44] {
            self.reader.mistake(
                value.span(),
                format!("`{key}` is a field of CMD_RESUME alone"),
                Some("add `match.command = \"CMD_RESUME\"`".to_owned()),
            );
        }
    }
}
