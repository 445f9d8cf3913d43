//! What must come of a run, and what is told if something else came.

use std::collections::BTreeMap;

use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::bounds::Bounds;

/// Values that are shown of those that are not as they should be.
const SHOWN_MAX: usize = 4;
/// Characters that are shown of a line.
const LINE_MAX: usize = 160;

/// What must come of a run.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Stallbox's exit status [default: 0].
    status: Option<Bounds>,
    /// How it ends, as in a summary: command, power-off, panic, stop-at and so on.
    outcome: Option<String>,
    /// Regular expressions: each matches a line of the console.
    console: Option<Vec<Pattern>>,
    /// Regular expressions: none matches a line of the console.
    no_console: Option<Vec<Pattern>>,
    /// What the kernel reports of its own faults: none (the default), any (one at least), or exactly these kinds.
    reports: Option<Reports>,
    /// What checkers report: the same, with names of checkers.
    check_reports: Option<Reports>,
    /// Stalls that the device saw: `device_faults` of the summary.
    faults: Option<Bounds>,
    /// Values of the run's summary, by name or JSON pointer.
    counts: Option<BTreeMap<String, Bounds>>,
    /// How often rules of the fault plan match, by their names.
    matches: Option<BTreeMap<String, Bounds>>,
    /// What programs in the guest report with --result.
    result: Option<Vec<ResultLines>>,
}

/// Lines of results: all that have the values of `where`, and there must be one.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ResultLines {
    /// Values by JSON pointer that a line must have to be meant.
    #[serde(default, rename = "where")]
    conditions: BTreeMap<Pointer, Wanted>,
    /// Values by JSON pointer that it must have then.
    values: BTreeMap<Pointer, Wanted>,
}

/// A regular expression.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
struct Pattern(Regex);

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Pattern, String> {
        match Regex::new(&text) {
            Ok(regex) => Ok(Pattern(regex)),
            // Its last line says what is wrong; those before show where.
            Err(error) => {
                let told = error.to_string();
                let last = told.lines().last().unwrap_or_default();
                Err(format!(
                    "no regular expression: {}",
                    last.trim_start_matches("error: ")
                ))
            }
        }
    }
}

/// A place in a JSON value (RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
struct Pointer(String);

impl TryFrom<String> for Pointer {
    type Error = String;

    fn try_from(text: String) -> Result<Pointer, String> {
        match text.starts_with('/') {
            true => Ok(Pointer(text)),
            false => Err(format!("\"{text}\" is no JSON pointer: write \"/{text}\"")),
        }
    }
}

/// A value: bounds, or this very text or truth.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "WrittenValue")]
#[schemars(with = "WrittenValue")]
enum Wanted {
    Within(Bounds),
    Equal(Value),
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum WrittenValue {
    Truth(bool),
    Number(f64),
    Text(String),
}

impl TryFrom<WrittenValue> for Wanted {
    type Error = String;

    fn try_from(written: WrittenValue) -> Result<Wanted, String> {
        Ok(match written {
            WrittenValue::Truth(truth) => Wanted::Equal(truth.into()),
            WrittenValue::Number(number) => Wanted::Within(Bounds::exactly(number)),
            WrittenValue::Text(text) if text.contains("..") => {
                Wanted::Within(Bounds::parse(&text)?)
            }
            WrittenValue::Text(text) => Wanted::Equal(text.into()),
        })
    }
}

impl Wanted {
    fn is(&self, value: &Value) -> bool {
        match self {
            Wanted::Within(bounds) => value.as_f64().is_some_and(|it| bounds.contain(it)),
            Wanted::Equal(wanted) => value == wanted,
        }
    }

    fn told(&self) -> String {
        match self {
            Wanted::Within(bounds) => bounds.to_string(),
            Wanted::Equal(value) => value.to_string(),
        }
    }
}

/// Which reports.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "WrittenReports")]
#[schemars(with = "WrittenReports")]
enum Reports {
    Any,
    /// Each of them once or more, and no others.
    Kinds(Vec<String>),
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum WrittenReports {
    Word(String),
    Kinds(Vec<String>),
}

impl TryFrom<WrittenReports> for Reports {
    type Error = String;

    fn try_from(written: WrittenReports) -> Result<Reports, String> {
        match written {
            WrittenReports::Kinds(kinds) => Ok(Reports::Kinds(kinds)),
            WrittenReports::Word(word) if word == "none" => Ok(Reports::Kinds(Vec::new())),
            WrittenReports::Word(word) if word == "any" => Ok(Reports::Any),
            WrittenReports::Word(word) => Err(format!(
                "\"{word}\" is neither \"none\" nor \"any\"; kinds stand in brackets: [\"{word}\"]"
            )),
        }
    }
}

impl Reports {
    fn are(&self, came: &[(String, String)]) -> bool {
        match self {
            Reports::Any => !came.is_empty(),
            Reports::Kinds(kinds) => {
                kinds.iter().all(|kind| came.iter().any(|it| it.0 == *kind))
                    && came.iter().all(|it| kinds.contains(&it.0))
            }
        }
    }

    fn told(&self) -> String {
        match self {
            Reports::Any => "any".to_owned(),
            Reports::Kinds(kinds) if kinds.is_empty() => "none".to_owned(),
            Reports::Kinds(kinds) => kinds.join(", "),
        }
    }
}

/// A run that is over.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// How it ended, by its name in the summary.
    pub outcome: String,
    /// Stallbox's exit status.
    pub status: u8,
    /// Why that is not 0.
    pub message: Option<String>,
    /// All of the console, or its last part.
    pub console: String,
    /// There was more before that.
    pub console_cut: bool,
    /// Kind and first line of what the kernel reported.
    pub reports: Vec<(String, String)>,
    /// Checker and title of what checkers reported.
    pub check_reports: Vec<(String, String)>,
    /// The summary.
    pub summary: Value,
    /// How often each rule of the fault plan matched.
    pub matches: Vec<(String, u64)>,
    /// Lines of results.
    pub results: Vec<String>,
}

impl Expect {
    /// What is said here goes before what is said in `below`.
    pub(crate) fn over(&self, below: &Expect) -> Expect {
        let Expect {
            status,
            outcome,
            console,
            no_console,
            reports,
            check_reports,
            faults,
            counts,
            matches,
            result,
        } = self.clone();
        let below = below.clone();
        Expect {
            status: status.or(below.status),
            outcome: outcome.or(below.outcome),
            console: console.or(below.console),
            no_console: no_console.or(below.no_console),
            reports: reports.or(below.reports),
            check_reports: check_reports.or(below.check_reports),
            faults: faults.or(below.faults),
            counts: counts.or(below.counts),
            matches: matches.or(below.matches),
            result: result.or(below.result),
        }
    }

    /// Kinds of reports of the kernel that it names, and checkers, each as `(true for a checker, name)`.
    pub fn named_reports(&self) -> impl Iterator<Item = (bool, &str)> {
        let kernel = match &self.reports {
            Some(Reports::Kinds(kinds)) => kinds.as_slice(),
            _ => &[],
        };
        let checkers = match &self.check_reports {
            Some(Reports::Kinds(kinds)) => kinds.as_slice(),
            _ => &[],
        };
        let kernel = kernel.iter().map(|kind| (false, kind.as_str()));
        kernel.chain(checkers.iter().map(|kind| (true, kind.as_str())))
    }

    /// What of a run is not as it must be, a line or more for each thing.
    pub fn misses(&self, observed: &Observed) -> Vec<String> {
        let mut misses = Vec::new();
        self.end(observed, &mut misses);
        self.console(observed, &mut misses);
        for (what, wanted, came) in [
            ("reports", &self.reports, &observed.reports),
            (
                "check_reports",
                &self.check_reports,
                &observed.check_reports,
            ),
        ] {
            let none = Reports::Kinds(Vec::new());
            let wanted = wanted.as_ref().unwrap_or(&none);
            if !wanted.are(came) {
                misses.push(format!(
                    "{what}: {} expected, {}",
                    wanted.told(),
                    told(came)
                ));
            }
        }
        self.numbers(observed, &mut misses);
        for lines in self.result.iter().flatten() {
            lines.misses(&observed.results, &mut misses);
        }
        misses
    }

    fn end(&self, observed: &Observed, misses: &mut Vec<String>) {
        let success = Bounds::exactly(0.0);
        let status = self.status.as_ref().unwrap_or(&success);
        if !status.contain(observed.status.into()) {
            let why = observed.message.as_ref().map(|it| format!(": {it}"));
            let came = format!("{}{}", observed.status, why.unwrap_or_default());
            misses.push(format!("status: {status} expected, {came}"));
        }
        if let Some(outcome) = &self.outcome
            && *outcome != observed.outcome
        {
            misses.push(format!("outcome: {outcome} expected, {}", observed.outcome));
        }
    }

    fn console(&self, observed: &Observed, misses: &mut Vec<String>) {
        let line_of = |pattern: &Pattern| {
            let mut lines = observed.console.lines();
            lines.find(|line| pattern.0.is_match(line.trim_end_matches('\r')))
        };
        for pattern in self.console.iter().flatten() {
            if line_of(pattern).is_none() {
                let cut = match observed.console_cut {
                    true => " that was kept: it was long, and its beginning is lost",
                    false => "",
                };
                misses.push(format!("console: no line{cut} matches /{}/", pattern.0));
            }
        }
        for pattern in self.no_console.iter().flatten() {
            if let Some(line) = line_of(pattern) {
                let line: String = line.chars().take(LINE_MAX).collect();
                misses.push(format!(
                    "no_console: a line matches /{}/: {line}",
                    pattern.0
                ));
            }
        }
    }

    fn numbers(&self, observed: &Observed, misses: &mut Vec<String>) {
        let faults = self.faults.as_ref().map(|it| ("device_faults", it));
        let counts = self.counts.iter().flatten();
        let counts = counts.map(|(name, bounds)| (name.as_str(), bounds));
        for (name, bounds) in faults.into_iter().chain(counts) {
            let found = match name.starts_with('/') {
                true => observed.summary.pointer(name),
                false => observed.summary.get(name),
            };
            match found.map(|it| (it, it.as_f64())) {
                Some((_, Some(number))) if bounds.contain(number) => {}
                Some((value, _)) => misses.push(format!("{name}: {bounds} expected, {value}")),
                None => {
                    let names = observed.summary.as_object();
                    let names = names.into_iter().flatten().map(|(name, _)| name.as_str());
                    let names: Vec<&str> = names.collect();
                    misses.push(format!(
                        "{name}: {bounds} expected, and the summary has none: it has {}",
                        names.join(", ")
                    ));
                }
            }
        }
        for (rule, bounds) in self.matches.iter().flatten() {
            match observed.matches.iter().find(|it| it.0 == *rule) {
                Some((_, count)) if bounds.contain(*count as f64) => {}
                Some((_, count)) => {
                    misses.push(format!("matches of \"{rule}\": {bounds} expected, {count}"));
                }
                None => misses.push(format!("matches of \"{rule}\": the plan has no such rule")),
            }
        }
    }
}

fn told(came: &[(String, String)]) -> String {
    if came.is_empty() {
        return "none came".to_owned();
    }
    let shown = came.iter().take(SHOWN_MAX);
    let mut told: Vec<String> = shown
        .map(|(kind, title)| match title.is_empty() {
            true => kind.clone(),
            false => format!("{kind} ({title})"),
        })
        .collect();
    if came.len() > SHOWN_MAX {
        told.push(format!("{} more", came.len() - SHOWN_MAX));
    }
    told.join(", ")
}

impl ResultLines {
    fn misses(&self, lines: &[String], misses: &mut Vec<String>) {
        let values = lines
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let has = |value: &Value, (pointer, wanted): (&Pointer, &Wanted)| {
            value.pointer(&pointer.0).is_some_and(|it| wanted.is(it))
        };
        let meant = |value: &Value| self.conditions.iter().all(|it| has(value, it));
        let meant: Vec<Value> = values.filter(meant).collect();
        let which = match self.conditions.is_empty() {
            true => String::new(),
            false => {
                let conditions = self.conditions.iter();
                let conditions = conditions.map(|(at, it)| format!("{} {}", at.0, it.told()));
                format!(" with {}", conditions.collect::<Vec<_>>().join(", "))
            }
        };
        if meant.is_empty() {
            misses.push(format!("result: there is none{which}, of {}", lines.len()));
            return;
        }
        for (pointer, wanted) in &self.values {
            let came = meant.iter().map(|value| value.pointer(&pointer.0));
            let wrong = came.filter(|it| !it.is_some_and(|it| wanted.is(it)));
            let wrong: Vec<String> = wrong
                .map(|it| it.map_or_else(|| "nothing there".to_owned(), Value::to_string))
                .collect();
            if !wrong.is_empty() {
                let shown = wrong[..wrong.len().min(SHOWN_MAX)].join(", ");
                misses.push(format!(
                    "result{which}: {} {} expected, {shown} in {} of {}",
                    pointer.0,
                    wanted.told(),
                    wrong.len(),
                    meant.len()
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn misses(expect: &str, observed: &Observed) -> Vec<String> {
        toml::from_str::<Expect>(expect).unwrap().misses(observed)
    }

    fn observed() -> Observed {
        Observed {
            outcome: "command".to_owned(),
            console: "Linux 6.12\r\nall is well\r\n".to_owned(),
            summary: json!({ "device_faults": 5, "device_fault_latency_ns": { "p99": 21000 } }),
            matches: vec![("lost".to_owned(), 2)],
            results: vec![
                r#"{"memory":"touched","ops":100,"ok":true}"#.to_owned(),
                r#"{"memory":"untouched","ops":7,"ok":true}"#.to_owned(),
            ],
            ..Observed::default()
        }
    }

    fn reported() -> Observed {
        Observed {
            status: 120,
            message: Some("the guest's kernel reported 1 warn".to_owned()),
            reports: vec![("warn".to_owned(), "WARNING: at f".to_owned())],
            ..observed()
        }
    }

    #[test]
    fn what_is_as_it_must_be_is_no_miss() {
        let expect = "console = ['^all is well$', 'Linux 6']
             no_console = ['^panic']
             outcome = 'command'
             faults = '1..10'
             counts = { '/device_fault_latency_ns/p99' = '..1e5', device_faults = 5 }
             matches = { lost = 2 }
             [[result]]
             values = { '/ok' = true, '/ops' = '1..' }
             [[result]]
             where = { '/memory' = 'untouched' }
             values = { '/ops' = 7 }";
        assert_eq!(misses(expect, &observed()), [""; 0]);
        assert_eq!(misses("", &observed()), [""; 0]);
        assert_eq!(
            misses("status = 120\nreports = ['warn']", &reported()),
            [""; 0]
        );
        assert_eq!(
            misses("status = '1..'\nreports = 'any'", &reported()),
            [""; 0]
        );
    }

    #[test]
    fn what_is_not_is_told_with_both_sides() {
        for (expect, told) in [
            ("status = 1", "status: 1 expected, 0"),
            ("outcome = 'panic'", "outcome: panic expected, command"),
            ("console = ['wel$']", "console: no line matches /wel$/"),
            (
                "no_console = ['ell']",
                "no_console: a line matches /ell/: all is well",
            ),
            ("reports = 'any'", "reports: any expected, none came"),
            (
                "check_reports = ['tlb']",
                "check_reports: tlb expected, none came",
            ),
            ("faults = '6..'", "device_faults: 6 or more expected, 5"),
            (
                "counts = { jobs = 1 }",
                "jobs: 1 expected, and the summary has none: it has device_fault_latency_ns, device_faults",
            ),
            (
                "matches = { lost = 0 }",
                "matches of \"lost\": 0 expected, 2",
            ),
            (
                "matches = { x = 0 }",
                "matches of \"x\": the plan has no such rule",
            ),
            (
                "[[result]]\nvalues = { '/ops' = '50..' }",
                "result: /ops 50 or more expected, 7 in 1 of 2",
            ),
            (
                "[[result]]\nvalues = { '/x' = 1 }",
                "result: /x 1 expected, nothing there, nothing there in 2 of 2",
            ),
            (
                "[[result]]\nwhere = { '/memory' = 'x' }\nvalues = {}",
                "result: there is none with /memory \"x\", of 2",
            ),
        ] {
            assert_eq!(misses(expect, &observed()), [told], "{expect}");
        }
        assert_eq!(
            misses("", &reported()),
            [
                "status: 0 expected, 120: the guest's kernel reported 1 warn",
                "reports: none expected, warn (WARNING: at f)"
            ]
        );
        assert_eq!(
            misses("status = 120\nreports = ['oops', 'warn']", &reported()),
            ["reports: oops, warn expected, warn (WARNING: at f)"]
        );
    }

    #[test]
    fn slips_are_refused() {
        for bad in [
            "reports = 'warn'",
            "console = 'x'",
            "[[result]]\nvalues = { ops = 1 }",
            "[[result]]\nwhere = {}",
            "faults = 'many'",
            "fault = 1",
        ] {
            assert!(toml::from_str::<Expect>(bad).is_err(), "{bad}");
        }
    }
}
