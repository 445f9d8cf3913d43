//! From text to a plan.

use std::ops::Range;

use stallbox_timeline::Dist;
use toml::de::{DeTable, DeValue};

use crate::error::{Mistake, PlanError};
use crate::names::{COMMANDS, EVENTS, LINES, MAILBOX_COMMANDS, Name};
use crate::point::{Actions, Matches, Point};
use crate::read::{Reader, Table, Value, parse_number};
use crate::rule::{
    Access, Act, Attempt, DeviceEvent, Effect, FaultKind, Filter, GateRef, PageAnswer, Ring, Rule,
    Stag, Touch, When,
};

/// Most rules of a plan.
pub const RULES_MAX: usize = 10_000;
/// Longest text of a plan.
const TEXT_BYTES_MAX: usize = 4 << 20;
/// Longest time a plan can name: an hour. More is a slip of units.
pub(crate) const LONGEST_NS: u64 = 3_600_000_000_000;

/// Which tag a stall gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StallTags {
    /// The one after the last given.
    InTurn,
    /// The lowest that is free.
    LowestFree,
}

/// Properties of the SMMU that decide which races can happen. What is not given stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SmmuSettings {
    /// Stalls that can be open at a time (SMMU_IDR5.STALL_MAX).
    pub stall_max: Option<u16>,
    /// Which tag a stall gets.
    pub stall_tags: Option<StallTags>,
    /// Greatest event queue, as a power of two of entries (SMMU_IDR1.EVENTQS).
    pub event_queue_log2: Option<u8>,
    /// Greatest command queue (SMMU_IDR1.CMDQS).
    pub command_queue_log2: Option<u8>,
    /// Entries of the TLB.
    pub tlb_entries: Option<u32>,
}

/// A fault plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The seed of its draws; the run's, if not given.
    pub seed: Option<u64>,
    /// After so many stalls of one transaction in a row, it is named a loop.
    pub fault_loop: Option<u64>,
    /// The SMMU's properties.
    pub smmu: SmmuSettings,
    /// The rules, in order.
    pub rules: Vec<Rule>,
}

impl Plan {
    /// Reads a plan. A text that is none gives all its mistakes.
    pub fn parse(text: &str) -> Result<Plan, PlanError> {
        let error = |mistakes| PlanError {
            name: "plan".to_owned(),
            mistakes,
        };
        if text.len() > TEXT_BYTES_MAX {
            let message = format!("a plan has at most {} MiB", TEXT_BYTES_MAX >> 20);
            return Err(error(vec![Mistake::new("", 0..0, message, None)]));
        }
        let (root, syntax) = DeTable::parse_recoverable(text);
        if !syntax.is_empty() {
            let mut mistakes: Vec<Mistake> = syntax
                .iter()
                .take(50)
                .map(|error| {
                    let span = error.span().unwrap_or(0..0);
                    Mistake::new(text, span, error.message().trim_end(), None)
                })
                .collect();
            // After the first on a line the parser guesses.
            mistakes.dedup_by_key(|mistake| mistake.line);
            return Err(error(mistakes));
        }
        let reader = Reader::new(text);
        let plan =
            Parser { reader: &reader }.plan(&Table::root(&reader, root.get_ref(), root.span()));
        let mistakes = reader.into_mistakes();
        if mistakes.is_empty() {
            Ok(plan)
        } else {
            Err(error(mistakes))
        }
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.smmu == SmmuSettings::default() && self.fault_loop.is_none()
    }
}

struct Parser<'r, 's> {
    reader: &'r Reader<'s>,
}

impl<'r, 's> Parser<'r, 's> {
    fn plan(&self, root: &Table<'r, 's>) -> Plan {
        root.only(&["seed", "fault_loop", "smmu", "rule"]);
        let mut plan = Plan {
            seed: root.integer("seed", 0..=u64::MAX),
            fault_loop: root.integer("fault_loop", 2..=1_000_000),
            ..Plan::default()
        };
        if let Some(smmu) = root
            .get("smmu")
            .and_then(|it| self.reader.table(it, "smmu"))
        {
            plan.smmu = self.smmu(&smmu);
        }
        if let Some(value) = root.get("rule")
            && let Some(rules) = self.reader.array(value, "rule")
        {
            if rules.len() > RULES_MAX {
                self.reader.mistake(
                    rules[RULES_MAX].span(),
                    format!("a plan has at most {RULES_MAX} rules"),
                    None,
                );
                return plan;
            }
            for (index, value) in rules.iter().enumerate() {
                let Some(table) = self.reader.table(value, "a rule") else {
                    continue;
                };
                let Some(rule) = self.rule(&table, index) else {
                    continue;
                };
                plan.rules.push(rule);
            }
        }
        self.opened_gates_exist(root, &plan);
        plan
    }

    /// A rule that opens a gate at which no rule waits has a slip in the name.
    fn opened_gates_exist(&self, root: &Table<'r, 's>, plan: &Plan) {
        let gates = plan.rules.iter().filter_map(|rule| rule.gate.as_ref());
        let held: Vec<&str> = gates.map(|gate| gate.name.as_str()).collect();
        let rules = root.get("rule").and_then(|it| it.get_ref().as_array());
        let opens = rules
            .into_iter()
            .flat_map(|rules| rules.iter())
            .filter_map(|rule| rule.get_ref().get("do")?.get_ref().get("open"));
        for open in opens {
            if let Some(name) = open.get_ref().as_str()
                && !held.contains(&name)
            {
                self.reader
                    .unknown(open.span(), "open", name, held.iter().copied());
            }
        }
    }

    fn smmu(&self, table: &Table<'r, 's>) -> SmmuSettings {
        table.only(&[
            "stall_max",
            "stall_tags",
            "event_queue_log2",
            "command_queue_log2",
            "tlb_entries",
        ]);
        let tags = table.get("stall_tags").and_then(|value| {
            self.reader
                .choice(value, "stall_tags", &["in-turn", "lowest-free"])
        });
        let tlb_entries = table.integer("tlb_entries", 4..=65536);
        if let (Some(entries), Some(value)) = (tlb_entries, table.get("tlb_entries"))
            && !entries.is_power_of_two()
        {
            self.reader
                .mistake(value.span(), "`tlb_entries` must be a power of two", None);
        }
        SmmuSettings {
            stall_max: table.integer("stall_max", 1..=65535).map(|it| it as u16),
            stall_tags: tags.map(|word| match word {
                "lowest-free" => StallTags::LowestFree,
                _ => StallTags::InTurn,
            }),
            event_queue_log2: table.integer("event_queue_log2", 1..=19).map(|it| it as u8),
            command_queue_log2: table
                .integer("command_queue_log2", 1..=19)
                .map(|it| it as u8),
            tlb_entries: tlb_entries.map(|it| it as u32),
        }
    }

    fn rule(&self, table: &Table<'r, 's>, index: usize) -> Option<Rule> {
        table.only(&["name", "at", "match", "do"]);
        let name = match table.get("name") {
            Some(value) => self.reader.name(value, "name")?,
            None => format!("rule {}", index + 1),
        };
        let Some(at) = table.get("at") else {
            self.reader.mistake(
                self.head(&table.span),
                "a rule needs `at`: the point at which it acts",
                Some(format!("there are: {}", point_names().join(", "))),
            );
            return None;
        };
        let word = self.reader.choice(at, "at", &point_names())?;
        let point = Point::named(word)?;
        let (filter, when) = match table.get("match") {
            Some(value) => {
                let matches = self.reader.table(value, "match")?;
                (self.filter(&matches, point), self.when(&matches, point))
            }
            None => (self.default_filter(point), When::default()),
        };
        if point == Point::Time && when.from_ns.is_none() {
            self.reader.mistake(
                self.head(&table.span),
                "a rule at \"time\" needs `match.from_ns`: when",
                None,
            );
        }
        let mut rule = Rule {
            name,
            line: self.reader.line(table.span.start),
            at: point,
            filter,
            when,
            delay: None,
            gate: None,
            act: Act::Go,
            effects: Vec::new(),
        };
        match table.get("do") {
            Some(value) => {
                let actions = self.reader.table(value, "do")?;
                self.actions(&actions, &mut rule);
            }
            None => self.reader.mistake(
                self.head(&table.span),
                "a rule needs `do`: what becomes of what it matches",
                Some(format!("at \"{word}\": {}", action_names(point))),
            ),
        }
        Some(rule)
    }

    /// The beginning of a span: a rule's whole text is too much to mark.
    fn head(&self, span: &Range<usize>) -> Range<usize> {
        span.start..span.start + 1
    }

    fn default_filter(&self, point: Point) -> Filter {
        let attempt = if point == Point::Translation {
            Attempt::First
        } else {
            Attempt::Any
        };
        Filter {
            attempt,
            ..Filter::EVERYTHING
        }
    }

    fn filter(&self, table: &Table<'r, 's>, point: Point) -> Filter {
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
        let mut all: Vec<&str> = Matches::ALL.iter().map(|(name, _)| *name).collect();
        all.extend(&known);
        table.only(&all);

        let mut filter = self.default_filter(point);
        filter.stream = table
            .integer("stream", 0..=u64::from(u32::MAX))
            .map(|it| it as u32);
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
        filter
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
                    self.reader
                        .mistake(value.span(), format!("`{key}` names none"), None);
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
                self.reader
                    .mistake(value.span(), format!("`{key}` is missing"), None);
            }
        }
        let value = table.integer("value", 0..=MAX)?;
        let mask = table.integer("mask", 0..=MAX)?;
        Some((value as u32, mask as u32))
    }

    fn when(&self, table: &Table<'r, 's>, point: Point) -> When {
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

    fn actions(&self, table: &Table<'r, 's>, rule: &mut Rule) {
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
        let mut all: Vec<&str> = Actions::ALL.iter().map(|(name, _)| *name).collect();
        all.extend(&known);
        table.only(&all);
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
            });
        }
        let table = self.reader.table(value, "gate")?;
        table.only(&["name", "open_at", "timeout_ns"]);
        if table.get("name").is_none() {
            self.reader
                .mistake(value.span(), "a gate needs a `name`", None);
        }
        Some(GateRef {
            name: table.name_of("name")?,
            open_at: table.integer("open_at", 1..=1_000_000).map(|it| it as u32),
            timeout_ns: table.integer("timeout_ns", 0..=LONGEST_NS),
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
                let word = reader.choice(value, key, FaultKind::NAMES)?;
                FaultKind::named(word).map(Act::Fault)
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
                let word = reader.choice(value, key, PageAnswer::NAMES)?;
                PageAnswer::named(word).map(Act::Answer)
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

    fn effects(&self, table: &Table<'r, 's>, rule: &mut Rule) {
        let reader = self.reader;
        let mut effects = Vec::new();
        if let Some(value) = table.get("write_records")
            && let Some(records) = reader.array(value, "write_records")
        {
            for record in records.iter() {
                let words = reader.words::<4>(record, "write_records");
                effects.extend(words.map(Effect::WriteRecord));
            }
        }
        if let Some(value) = table.get("run_commands")
            && let Some(commands) = reader.array(value, "run_commands")
        {
            for command in commands.iter() {
                let words = reader.words::<2>(command, "run_commands");
                effects.extend(words.map(Effect::RunCommand));
            }
        }
        if let Some(value) = table.get("evict_tlb") {
            if value.get_ref().as_str() == Some("all") {
                effects.push(Effect::EvictTlb(None));
            } else if let Some(address) = reader.integer(value, "evict_tlb", 0..=u64::MAX) {
                effects.push(Effect::EvictTlb(Some(address)));
            }
        }
        if let Some(value) = table.get("device_events")
            && let Some(events) = reader.array(value, "device_events")
        {
            let parsed = events.iter().filter_map(|event| self.device_event(event));
            effects.extend(parsed.map(Effect::DeviceEvent));
        }
        if let Some(value) = table.get("touch")
            && let Some(touch) = self.touch(value, rule.at)
        {
            effects.push(Effect::Touch(touch));
        }
        if let Some(vector) = table.integer("raise_msi", 0..=31) {
            effects.push(Effect::RaiseMsi(vector as u8));
        }
        if let Some(value) = table.get("device_error")
            && let Some(error) = reader.table(value, "device_error")
        {
            error.only(&["qm", "zip"]);
            let bits = |key| error.integer(key, 0..=u64::from(u32::MAX)).unwrap_or(0) as u32;
            let (qm, zip) = (bits("qm"), bits("zip"));
            if qm == 0 && zip == 0 {
                reader.mistake(
                    value.span(),
                    "`device_error` sets no bit",
                    Some("give `qm`, `zip` or both: bits of the status registers".to_owned()),
                );
            }
            effects.push(Effect::DeviceError { qm, zip });
        }
        for (key, effect) in [
            ("device_reset", Effect::DeviceReset),
            ("pause", Effect::Pause),
        ] {
            if let Some(value) = table.get(key)
                && reader.boolean(value, key) == Some(true)
            {
                effects.push(effect);
            }
        }
        effects.extend(table.name_of("open").map(Effect::Open));
        effects.extend(table.name_of("marker").map(Effect::Marker));
        rule.effects = effects;
    }

    /// `{ count = 2000, stride = 4096, access = "write" }`.
    fn touch(&self, value: &Value<'s>, at: Point) -> Option<Touch> {
        let table = self.reader.table(value, "touch")?;
        table.only(&["stream", "pasid", "address", "stride", "count", "access"]);
        for (key, flag) in [("stream", Matches::STREAM), ("address", Matches::ADDRESS)] {
            if table.get(key).is_none() && !at.matches().has(flag) {
                self.reader.mistake(
                    value.span(),
                    format!("`{key}` is missing"),
                    Some(format!(
                        "what is at \"{}\" has none to take over",
                        at.name()
                    )),
                );
            }
        }
        let access = match table.get("access") {
            Some(value) => self.reader.choice(value, "access", &["read", "write"])?,
            None => "read",
        };
        Some(Touch {
            stream: table
                .integer("stream", 0..=u64::from(u32::MAX))
                .map(|it| it as u32),
            pasid: table.get("pasid").and_then(|value| self.pasid(value)),
            address: table.integer("address", 0..=u64::MAX),
            stride: match table.get("stride") {
                Some(value) => self.reader.integer(value, "stride", 0..=1 << 48)?,
                None => 4096,
            },
            count: match table.get("count") {
                Some(value) => self.reader.integer(value, "count", 1..=65536)? as u32,
                None => 1,
            },
            write: access == "write",
        })
    }

    fn pasid(&self, value: &Value<'s>) -> Option<Option<u32>> {
        if value.get_ref().as_str() == Some("none") {
            return Some(None);
        }
        let pasid = self.reader.integer(value, "pasid", 0..=0xf_ffff);
        pasid.map(|it| Some(it as u32))
    }

    /// `{ ring = "aeq", queue = 3, kind = 1 }`.
    fn device_event(&self, value: &Value<'s>) -> Option<DeviceEvent> {
        let table = self.reader.table(value, "device_events")?;
        table.only(&["ring", "queue", "kind"]);
        for key in ["ring", "queue"] {
            if table.get(key).is_none() {
                self.reader
                    .mistake(value.span(), format!("`{key}` is missing"), None);
            }
        }
        let ring = self
            .reader
            .choice(table.get("ring")?, "ring", &["eq", "aeq"])?;
        let failure = ring == "aeq";
        if let (false, Some(kind)) = (failure, table.get("kind")) {
            self.reader.mistake(
                kind.span(),
                "an entry of the ring of completions has no `kind`",
                None,
            );
        }
        Some(DeviceEvent {
            failure,
            queue: table.integer("queue", 0..=4095)? as u16,
            kind: table.integer("kind", 0..=15).unwrap_or(0) as u8,
        })
    }
}

pub(crate) const WHEN_KEYS: [&str; 8] = [
    "nth",
    "every",
    "probability",
    "times",
    "from_ns",
    "until_ns",
    "after_marker",
    "before_marker",
];

pub(crate) const EFFECT_KEYS: [&str; 11] = [
    "write_records",
    "run_commands",
    "evict_tlb",
    "device_events",
    "touch",
    "raise_msi",
    "device_error",
    "device_reset",
    "open",
    "marker",
    "pause",
];

const DISTS: &[&str] = &["fixed", "uniform", "normal", "lognormal", "pareto"];

/// The keys that fill [`Filter::codes`]: no point has two of them.
const CODES: [(&str, &[Name], u64); 6] = [
    ("event", EVENTS, 0xff),
    ("command", COMMANDS, 0xff),
    ("line", LINES, 3),
    ("mailbox", MAILBOX_COMMANDS, 0xff),
    ("vector", &[], 31),
    ("register", &[], u32::MAX as u64),
];

fn point_names() -> Vec<&'static str> {
    Point::ALL.iter().map(|point| point.name()).collect()
}

fn action_names(point: Point) -> String {
    let keys: Vec<&str> = point.actions().keys().chain(EFFECT_KEYS).collect();
    keys.join(", ")
}
