//! What of a run can be made smaller, and a run with less of it.

use anyhow::{Context, Result};
use stallbox_bundle::Bundle;
use stallbox_sweep::{Candidate, Dimension};

use crate::run::bundle::Line;

/// RAM that is worth a try, in MiB.
const MEMORY_MIB: &[u64] = &[96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096];

/// The run as it was recorded, and what it has.
pub(super) struct Whole {
    pub bundle: Bundle,
    /// In the order of [`Place`].
    pub dimensions: Vec<Dimension>,
    /// The plan.
    plan: Option<toml::Table>,
    /// Numbers of its rules that are switched on.
    rules: Vec<usize>,
    /// Parts of the command: words, or pieces of a script.
    parts: Vec<String>,
    is_script: bool,
    preemptions: u64,
}

/// Where each dimension is: what says most comes first.
enum Place {
    Rules,
    Command,
    Preemptions,
    Cpus,
    Memory,
}

impl Whole {
    /// A run that made so many preemptions.
    pub(super) fn of(bundle: Bundle, preemptions: u64) -> Result<Whole> {
        let line = Line::of(&bundle)?;
        let machine = &line.run.machine;
        // One that no child can become is refused here, and not candidate by candidate.
        line.requests(&bundle)?;
        let plan = bundle.plan.as_deref().map(toml::from_str::<toml::Table>);
        let plan = plan.transpose().context("the plan in it")?;
        let rules = plan.as_ref().map(rules).unwrap_or_default();
        let is_script = machine.command.len() == 1;
        let parts = match machine.command.as_slice() {
            [script] => pieces(script),
            words => words.to_vec(),
        };
        let mib = machine.guest.memory >> 20;
        let smaller = MEMORY_MIB.iter().copied().filter(|it| *it < mib);
        let dimensions = vec![
            Dimension::List {
                name: "rules".to_owned(),
                items: rules.iter().map(|(_, name)| name.clone()).collect(),
            },
            Dimension::List {
                name: "command".to_owned(),
                items: parts.iter().map(|part| part.trim().to_owned()).collect(),
            },
            Dimension::Number {
                name: "preemptions".to_owned(),
                values: fewer(preemptions),
            },
            Dimension::Number {
                name: "vCPUs".to_owned(),
                values: (1..=u64::from(machine.cpus)).collect(),
            },
            Dimension::Number {
                name: "MiB of RAM".to_owned(),
                values: smaller.chain([mib]).collect(),
            },
        ];
        Ok(Whole {
            bundle,
            dimensions,
            plan,
            rules: rules.into_iter().map(|(number, _)| number).collect(),
            parts,
            is_script,
            preemptions,
        })
    }

    /// The bundle of a run with less: its journal and end are those of the whole.
    pub(super) fn make(&self, candidate: &Candidate) -> Result<Bundle> {
        let mut bundle = self.bundle.clone();
        if let Some(plan) = &self.plan {
            let kept = candidate.kept(Place::Rules as usize);
            let kept: Vec<usize> = kept.iter().map(|&index| self.rules[index]).collect();
            let plan = without(plan, |number| {
                self.rules.contains(&number) && !kept.contains(&number)
            });
            bundle.plan = Some(toml::to_string(&plan)?);
        }
        let kept = candidate.kept(Place::Command as usize);
        let kept = kept.iter().map(|&index| self.parts[index].as_str());
        let command = if self.is_script {
            vec![script(&kept.collect::<String>())]
        } else {
            kept.map(str::to_owned).collect()
        };
        let arguments = &mut bundle.arguments;
        let preemptions = candidate.value(Place::Preemptions as usize);
        if preemptions < self.preemptions {
            set(arguments, "--preemptions", &preemptions.to_string());
        }
        let cpus = candidate.value(Place::Cpus as usize);
        set(arguments, "--cpus", &cpus.to_string());
        let mib = candidate.value(Place::Memory as usize);
        set(arguments, "--memory", &format!("{mib}M"));
        let behind = arguments.iter().position(|it| it == "--");
        if let Some(behind) = behind {
            arguments.truncate(behind + 1);
            arguments.extend(command);
        }
        Ok(bundle)
    }
}

/// So many preemptions, and what is worth a try below: the number itself is of no interest.
fn fewer(preemptions: u64) -> Vec<u64> {
    let powers = (0..u64::BITS).map(|bit| 1 << bit);
    let fewer = [0].into_iter().chain(powers);
    fewer
        .take_while(|it| *it < preemptions)
        .chain([preemptions])
        .collect()
}

/// The numbers and names of a plan's rules that are switched on.
fn rules(plan: &toml::Table) -> Vec<(usize, String)> {
    let rules = plan.get("rule").and_then(toml::Value::as_array);
    let named = |(index, rule): (usize, &toml::Value)| {
        let name = rule.get("name").and_then(toml::Value::as_str);
        let name = name.map_or_else(|| format!("rule {}", index + 1), str::to_owned);
        (index, name)
    };
    let rules = rules.into_iter().flatten().enumerate();
    rules.filter(|(_, rule)| is_on(rule)).map(named).collect()
}

/// One that is switched off may be there for its number alone, or be switched on by another.
fn is_on(rule: &toml::Value) -> bool {
    rule.get("enabled").and_then(toml::Value::as_bool) != Some(false)
}

/// A plan without some of its rules. What one draws is a matter of its number and its name: those that
/// are left out are switched off instead, where others come behind them.
fn without(plan: &toml::Table, is_out: impl Fn(usize) -> bool) -> toml::Table {
    let mut plan = plan.clone();
    if let Some(rules) = plan.get_mut("rule").and_then(toml::Value::as_array_mut) {
        let is_left = |(number, rule): (usize, &toml::Value)| !is_out(number) && is_on(rule);
        let left = rules.iter().enumerate().filter(|it| is_left(*it));
        let last = left.map(|(number, _)| number + 1).next_back();
        rules.truncate(last.unwrap_or(0));
        let out = rules
            .iter_mut()
            .enumerate()
            .filter(|(number, _)| is_out(*number));
        for rule in out.filter_map(|(_, rule)| rule.as_table_mut()) {
            rule.insert("enabled".to_owned(), false.into());
        }
    }
    plan
}

/// A script in pieces, each with what ends it. One that is left out may leave no script; then it is no
/// script that fails in the same way.
fn pieces(script: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut left = script;
    while !left.is_empty() {
        let end = ["&&", "||", ";", "\n"]
            .into_iter()
            .find(|it| left.starts_with(it));
        let bytes = end.map_or_else(|| left.chars().next().map_or(1, char::len_utf8), str::len);
        let (taken, rest) = left.split_at(bytes);
        pieces.last_mut().expect("there is one").push_str(taken);
        if end.is_some() {
            pieces.push(String::new());
        }
        left = rest;
    }
    pieces.retain(|piece| !piece.trim().is_empty());
    pieces
}

/// A script of pieces, the last of which may have been tied to one that is left out.
fn script(pieces: &str) -> String {
    let mut script = pieces.trim();
    for tie in ["&&", "||"] {
        script = script.strip_suffix(tie).unwrap_or(script).trim_end();
    }
    script.to_owned()
}

/// Gives an option another value, before the command.
fn set(arguments: &mut Vec<String>, option: &str, value: &str) {
    let end = arguments.iter().position(|it| it == "--");
    let end = end.unwrap_or(arguments.len());
    let with_value = format!("{option}=");
    let found = arguments[..end]
        .iter()
        .position(|it| it == option || it.starts_with(&with_value));
    match found {
        Some(at) if arguments[at] == option => arguments[at + 1] = value.to_owned(),
        Some(at) => arguments[at] = format!("{with_value}{value}"),
        None => {
            arguments.insert(end, value.to_owned());
            arguments.insert(end, option.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn options_get_other_values_wherever_they_stand() {
        for (before, after) in [
            ("run --cpus 4 -- x", "run --cpus 2 -- x"),
            ("run --cpus=4 -- x", "run --cpus=2 -- x"),
            ("run -- --cpus 4", "run --cpus 2 -- --cpus 4"),
            ("run", "run --cpus 2"),
        ] {
            let mut arguments = words(before);
            set(&mut arguments, "--cpus", "2");
            assert_eq!(arguments, words(after));
        }
    }

    #[test]
    fn few_preemptions_are_tried() {
        assert_eq!(fewer(0), [0]);
        assert_eq!(fewer(1), [0, 1]);
        assert_eq!(fewer(11), [0, 1, 2, 4, 8, 11]);
        assert_eq!(fewer(u64::MAX).len(), 66);
    }

    #[test]
    fn a_script_is_the_sum_of_its_pieces() {
        let script = "a b; c && d\n\nwhile x; do y; done || z";
        let pieces = pieces(script);
        assert_eq!(pieces[..3], ["a b;", " c &&", " d\n"]);
        assert_eq!(pieces.concat(), script.replace("\n\n", "\n"));
    }

    #[test]
    fn nothing_is_tied_to_a_piece_that_is_not_there() {
        assert_eq!(script(" a b; c && "), "a b; c");
        assert_eq!(script("a;"), "a;");
        assert_eq!(script(""), "");
    }

    #[test]
    fn rules_that_are_left_out_do_not_change_the_draws_of_others() {
        let plan: toml::Table = toml::from_str(
            "seed = 1\n[[rule]]\nname = 'a'\n[[rule]]\n[[rule]]\nname = 'c'\n[[rule]]\nname = 'd'\n",
        )
        .unwrap();
        let names = |plan: &toml::Table| -> Vec<String> {
            rules(plan).into_iter().map(|(_, name)| name).collect()
        };
        assert_eq!(names(&plan), ["a", "rule 2", "c", "d"]);
        let some = without(&plan, |number| [1, 3].contains(&number));
        assert_eq!(names(&some), ["a", "c"]);
        assert_eq!(some["rule"].as_array().unwrap().len(), 3);
        // What is switched off stays where others come behind it, and is no part that could be left out.
        let more = without(&some, |number| number == 0);
        assert_eq!(names(&more), ["c"]);
        let none = without(&some, |number| [0, 2].contains(&number));
        assert!(none["rule"].as_array().unwrap().is_empty());
    }
}
