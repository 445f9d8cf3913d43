//! From text to a plan: the whole and its rules here, the two halves of a rule in `matches`,
//! and in `decisions` and `effects`.

mod decisions;
mod effects;
mod matches;

use std::ops::Range;

use toml::de::DeTable;

use crate::error::{Mistake, PlanError};
use crate::point::Point;
use crate::read::{Reader, Table, Value};
use crate::rule::{Act, Attempt, Filter, Rule, When};
use crate::smmu::{self, SmmuSettings};

pub(crate) use effects::EFFECT_KEYS;
pub(crate) use matches::WHEN_KEYS;

/// Most rules of a plan.
pub const RULES_MAX: usize = 10_000;
/// Longest text of a plan.
const TEXT_BYTES_MAX: usize = 4 << 20;
/// Longest time a plan can name: an hour. More is a slip of units.
pub(crate) const LONGEST_NS: u64 = 3_600_000_000_000;
/// MSI-X has at most 2048 vectors.
pub(crate) const VECTOR_MAX: u64 = 2047;

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
        Plan::parse_beside(text, &Beside::default())
    }

    /// Reads a plan whose rules are to be added to others.
    pub fn parse_beside(text: &str, beside: &Beside) -> Result<Plan, PlanError> {
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
                    let help =
                        "a plan is TOML: see docs/fault-plans.md, or https://toml.io".to_owned();
                    Mistake::new(text, span, error.message().trim_end(), Some(help))
                })
                .collect();
            // After the first on a line the parser guesses.
            mistakes.dedup_by_key(|mistake| mistake.line);
            return Err(error(mistakes));
        }
        Plan::parse_table(text, root.get_ref(), root.span(), beside).map_err(error)
    }

    /// Reads a plan that is a table, at `span`, of a longer text. A table that is none gives its mistakes, with
    /// their places in that text.
    pub fn parse_table(
        text: &str,
        table: &DeTable<'_>,
        span: Range<usize>,
        beside: &Beside,
    ) -> Result<Plan, Vec<Mistake>> {
        let reader = Reader::new(text);
        let plan = Parser::new(&reader, beside).plan(&Table::root(&reader, table, span));
        let mistakes = reader.into_mistakes();
        if mistakes.is_empty() {
            Ok(plan)
        } else {
            Err(mistakes)
        }
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.smmu == SmmuSettings::default() && self.fault_loop.is_none()
    }
}

/// What is there already, which rules may name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// Names of rules.
    pub rules: Vec<String>,
    /// Names of gates.
    pub gates: Vec<String>,
}

struct Parser<'r, 's> {
    reader: &'r Reader<'s>,
    beside: &'r Beside,
}

impl<'r, 's> Parser<'r, 's> {
    fn new(reader: &'r Reader<'s>, beside: &'r Beside) -> Parser<'r, 's> {
        Parser { reader, beside }
    }

    fn plan(&self, root: &Table<'r, 's>) -> Plan {
        root.only(&["seed", "fault_loop", "smmu", "rule"]);
        let mut plan = Plan {
            seed: root.integer("seed", 0..=u64::MAX),
            fault_loop: root.integer("fault_loop", 2..=1_000_000),
            ..Plan::default()
        };
        if let Some(table) = root
            .get("smmu")
            .and_then(|it| self.reader.table(it, "smmu"))
        {
            plan.smmu = smmu::read(self.reader, &table);
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
        self.named_gates_exist(root, &plan);
        self.named_rules_exist(root, &plan);
        plan
    }

    /// A rule that opens or closes a gate at which no rule waits has a slip in the name.
    fn named_gates_exist(&self, root: &Table<'r, 's>, plan: &Plan) {
        let gates = plan.rules.iter().filter_map(|rule| rule.gate.as_ref());
        let gates = gates.map(|gate| gate.name.as_str());
        let there = self.beside.gates.iter().map(String::as_str);
        let held: Vec<&str> = gates.chain(there).collect();
        let rules = root.get("rule").and_then(|it| it.get_ref().as_array());
        let named = rules.into_iter().flat_map(|rules| rules.iter());
        let named = named.flat_map(|rule| {
            let there = rule.get_ref().get("do");
            ["open", "close"].map(|key| Some((key, there?.get_ref().get(key)?)))
        });
        for (key, value) in named.flatten() {
            if let Some(name) = value.get_ref().as_str()
                && !held.contains(&name)
            {
                self.reader
                    .unknown(value.span(), key, name, held.iter().copied());
            }
        }
    }

    /// A rule that waits for, or switches, one that is not there has a slip in the name.
    fn named_rules_exist(&self, root: &Table<'r, 's>, plan: &Plan) {
        let names = plan.rules.iter().map(|rule| rule.name.as_str());
        let there = self.beside.rules.iter().map(String::as_str);
        let names: Vec<&str> = names.chain(there).collect();
        let rules = root.get("rule").and_then(|it| it.get_ref().as_array());
        let of = |rule: &'r Value<'s>, path: &[&str], key: &'static str| {
            let table = path
                .iter()
                .try_fold(rule, |at, step| at.get_ref().get(*step));
            Some((key, table?.get_ref().get(key)?))
        };
        let awaited = rules.into_iter().flat_map(|rules| rules.iter());
        let awaited = awaited.flat_map(|rule| {
            [
                of(rule, &["match"], "after_rule"),
                of(rule, &["match"], "before_rule"),
                of(rule, &["do", "gate"], "after_rule"),
                of(rule, &["do"], "enable"),
                of(rule, &["do"], "disable"),
            ]
        });
        for (key, value) in awaited.flatten() {
            if let Some(name) = value.get_ref().as_str()
                && !names.contains(&name)
            {
                self.reader
                    .unknown(value.span(), key, name, names.iter().copied());
            }
        }
    }

    fn rule(&self, table: &Table<'r, 's>, index: usize) -> Option<Rule> {
        table.only(&["name", "enabled", "at", "match", "do"]);
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
        if point == Point::Time && when.from_ns.is_none() && when.after_rule.is_none() {
            self.reader.mistake(
                self.head(&table.span),
                "a rule at \"time\" needs `match.from_ns`: when; or `match.after_rule`",
                None,
            );
        }
        let enabled = table
            .get("enabled")
            .and_then(|value| self.reader.boolean(value, "enabled"));
        let mut rule = Rule {
            name,
            enabled: enabled.unwrap_or(true),
            line: self.reader.line(table.span.start),
            at: point,
            filter,
            when,
            delay: None,
            gate: None,
            act: Act::Go,
            effects: Vec::new(),
            effects_after_ns: 0,
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
}

fn point_names() -> Vec<&'static str> {
    Point::ALL.iter().map(|point| point.name()).collect()
}

fn action_names(point: Point) -> String {
    let keys: Vec<&str> = point.actions().keys().chain(EFFECT_KEYS).collect();
    keys.join(", ")
}
