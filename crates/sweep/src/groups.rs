//! Failures by their signatures.

use std::collections::BTreeMap;

use crate::{Seeds, Signature, Sweep};

/// The runs that failed in one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// In which.
    pub signature: Signature,
    /// Their numbers.
    pub numbers: Seeds,
    /// What the one with the lowest number said of itself.
    pub message: Option<String>,
    /// The bundle of the one with the lowest number that has one.
    pub bundle: Option<String>,
}

impl Group {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.numbers.len()
    }

    /// The lowest of their numbers.
    pub fn lowest(&self) -> u64 {
        self.numbers.first().unwrap_or_default()
    }
}

impl Sweep {
    /// The ways in which runs failed, the most frequent first, and of those that are equally frequent the
    /// one with the lowest number.
    pub fn groups(&self) -> Vec<Group> {
        let mut by_signature: BTreeMap<&Signature, Vec<usize>> = BTreeMap::new();
        for (index, run) in self.runs.iter().enumerate() {
            if let Some(signature) = &run.signature {
                by_signature.entry(signature).or_default().push(index);
            }
        }
        let mut groups: Vec<Group> = by_signature
            .into_iter()
            .map(|(signature, indices)| {
                let runs = || indices.iter().map(|&index| &self.runs[index]);
                Group {
                    signature: signature.clone(),
                    numbers: runs().map(|run| run.number).collect(),
                    message: runs().next().and_then(|run| run.message.clone()),
                    bundle: runs().find_map(|run| run.bundle.clone()),
                }
            })
            .collect();
        groups.sort_by_key(|group| (u64::MAX - group.count(), group.lowest()));
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::{header, hung, passed, warned};

    #[test]
    fn one_bug_is_one_group() {
        let runs = vec![
            hung(0),
            warned(1, "f"),
            passed(2),
            warned(4, "g"),
            warned(5, "f"),
            warned(6, "f"),
        ];
        let groups = Sweep::new(header("0..7"), runs).groups();
        let told: Vec<_> = groups
            .iter()
            .map(|it| {
                (
                    it.signature.title(),
                    it.numbers.to_string(),
                    it.bundle.as_deref(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("WARNING in f", "1,5..7".into(), Some("f-1.sbx")),
                ("check stall: no answer to a stall", "0".into(), None),
                ("WARNING in g", "4".into(), Some("g-4.sbx")),
            ]
        );
        assert_eq!((groups[0].count(), groups[0].lowest()), (3, 1));
    }
}
