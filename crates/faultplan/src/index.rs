//! Which rules of a point can be about what comes by: found without looking at the others.
//!
//! A rule asks for some of StreamID, PASID, queue and code exactly. Those that ask for the same of
//! these fields have a shape, of which there are at most 16, and what comes by is in one group of
//! each shape: that of its own values. Within a group, rules that ask for addresses are in an
//! interval tree. What else a rule asks for it looks at itself, so an index can name too many rules, in
//! their order, but never too few.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::rule::{Filter, Subject};

const STREAM: usize = 1;
const PASID: usize = 2;
const QUEUE: usize = 4;
const CODE: usize = 8;
const SHAPES: usize = 16;

/// The values of a shape's fields, side by side.
type Key = u128;

#[derive(Clone, Copy, Default)]
struct Fields {
    stream: Option<u32>,
    pasid: Option<u64>,
    queue: Option<u16>,
    code: Option<u32>,
}

/// No PASID is a value like another.
fn pasid_value(pasid: Option<u32>) -> u64 {
    pasid.map_or(1 << 32, u64::from)
}

impl Fields {
    fn of_filter(filter: &Filter, code: Option<u32>) -> Fields {
        Fields {
            stream: filter.stream,
            pasid: filter.pasid.map(pasid_value),
            queue: filter.queue,
            code,
        }
    }

    fn of_subject(subject: &Subject<'_>) -> Fields {
        Fields {
            stream: subject.stream,
            pasid: Some(pasid_value(subject.pasid)),
            queue: subject.queue,
            code: subject.code,
        }
    }

    fn shape(self) -> usize {
        let bit = |there: bool, bit| if there { bit } else { 0 };
        bit(self.stream.is_some(), STREAM)
            | bit(self.pasid.is_some(), PASID)
            | bit(self.queue.is_some(), QUEUE)
            | bit(self.code.is_some(), CODE)
    }

    /// The values of the fields of `shape`, which are all there.
    fn key(self, shape: usize) -> Key {
        let value = |bit, value: Option<u64>| match value {
            Some(value) if shape & bit != 0 => Key::from(value),
            _ => 0,
        };
        value(STREAM, self.stream.map(u64::from))
            | value(PASID, self.pasid) << 32
            | value(QUEUE, self.queue.map(u64::from)) << 72
            | value(CODE, self.code.map(u64::from)) << 88
    }
}

/// The rules of one point, by their places in the order of the plan.
#[derive(Default)]
pub(crate) struct Index {
    shapes: Vec<(usize, BTreeMap<Key, Group>)>,
    /// Ranges that were hit, for one question.
    hits: RefCell<Vec<u32>>,
}

#[derive(Default)]
struct Group {
    /// Rules that ask for no address, in order.
    anywhere: Vec<u32>,
    ranges: Ranges,
}

impl Index {
    pub(crate) fn of<'f>(filters: impl Iterator<Item = &'f Filter>) -> Index {
        let mut shapes: [BTreeMap<Key, Group>; SHAPES] = Default::default();
        for (place, filter) in (0..).zip(filters) {
            let mut codes: Vec<Option<u32>> = filter.codes.iter().copied().map(Some).collect();
            codes.sort_unstable();
            codes.dedup();
            if codes.is_empty() {
                codes.push(None);
            }
            for code in codes {
                let fields = Fields::of_filter(filter, code);
                let shape = fields.shape();
                let group = shapes[shape].entry(fields.key(shape)).or_default();
                match filter.address {
                    None => group.anywhere.push(place),
                    Some((first, last)) => group.ranges.entries.push(Entry { first, last, place }),
                }
            }
        }
        for group in shapes.iter_mut().flat_map(BTreeMap::values_mut) {
            group.ranges.build();
        }
        let used = shapes.into_iter().enumerate();
        Index {
            shapes: used.filter(|(_, groups)| !groups.is_empty()).collect(),
            hits: RefCell::default(),
        }
    }

    /// Asks those that can be about `subject`, in order, until one answers.
    pub(crate) fn find<T>(
        &self,
        subject: &Subject<'_>,
        mut ask: impl FnMut(usize) -> Option<T>,
    ) -> Option<T> {
        let fields = Fields::of_subject(subject);
        let there = fields.shape();
        let mut hits = self.hits.borrow_mut();
        hits.clear();
        // A list of each shape, and one of ranges.
        let mut lists: [&[u32]; SHAPES + 1] = [&[]; SHAPES + 1];
        let mut count = 0;
        for (shape, groups) in &self.shapes {
            if shape & !there != 0 {
                continue;
            }
            let Some(group) = groups.get(&fields.key(*shape)) else {
                continue;
            };
            if !group.anywhere.is_empty() {
                lists[count] = &group.anywhere;
                count += 1;
            }
            if let Some((first, last)) = subject.address {
                group.ranges.overlapping(first, last, &mut hits);
            }
        }
        hits.sort_unstable();
        lists[count] = &hits;
        let lists = &mut lists[..=count];
        loop {
            // There are few lists: looking at all of them is the quickest.
            let next = lists.iter_mut().filter(|list| !list.is_empty());
            let list = next.min_by_key(|list| list[0])?;
            let place = list[0];
            *list = &list[1..];
            if let Some(answer) = ask(place as usize) {
                return Some(answer);
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Entry {
    first: u64,
    last: u64,
    place: u32,
}

/// Ranges of addresses: sorted by their first, and read as a balanced tree whose root is in the middle.
#[derive(Default)]
struct Ranges {
    entries: Vec<Entry>,
    /// For each entry, how far the ranges of the tree below it reach.
    reach: Vec<u64>,
}

impl Ranges {
    fn build(&mut self) {
        self.entries.sort_by_key(|entry| entry.first);
        self.reach = vec![0; self.entries.len()];
        self.measure(0, self.entries.len());
    }

    /// Of the tree of these entries.
    fn measure(&mut self, from: usize, to: usize) -> u64 {
        if from == to {
            return 0;
        }
        let root = from.midpoint(to);
        let below = self.measure(from, root).max(self.measure(root + 1, to));
        self.reach[root] = below.max(self.entries[root].last);
        self.reach[root]
    }

    fn overlapping(&self, first: u64, last: u64, hits: &mut Vec<u32>) {
        self.search(0, self.entries.len(), first, last, hits);
    }

    fn search(&self, from: usize, to: usize, first: u64, last: u64, hits: &mut Vec<u32>) {
        if from == to {
            return;
        }
        let root = from.midpoint(to);
        if self.reach[root] < first {
            return;
        }
        self.search(from, root, first, last, hits);
        let entry = self.entries[root];
        if entry.first <= last {
            if entry.last >= first {
                hits.push(entry.place);
            }
            self.search(root + 1, to, first, last, hits);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::option::of;
    use proptest::prelude::*;

    use super::*;
    use crate::Point;

    prop_compose! {
        fn filter()(
            stream in of(0..3_u32), pasid in of(of(0..3_u32)), queue in of(0..2_u16),
            codes in prop::collection::vec(0..4_u32, 0..3),
            address in of((0..64_u64, 0..16_u64)),
        ) -> Filter {
            Filter {
                stream, pasid, queue, codes,
                address: address.map(|(first, more)| (first, first + more)),
                ..Filter::EVERYTHING
            }
        }
    }

    prop_compose! {
        fn subject()(
            stream in of(0..3_u32), pasid in of(0..3_u32), queue in of(0..2_u16),
            code in of(0..4_u32), address in of((0..80_u64, 0..8_u64)),
        ) -> Subject<'static> {
            Subject {
                stream, pasid, queue, code,
                address: address.map(|(first, more)| (first, first + more)),
                ..Subject::at(Point::Translation)
            }
        }
    }

    proptest! {
        /// Of what is indexed, exactly the rules that match are asked, once each and in order.
        #[test]
        fn those_that_match_are_asked_in_order(
            filters in prop::collection::vec(filter(), 0..60),
            subjects in prop::collection::vec(subject(), 1..20),
        ) {
            let index = Index::of(filters.iter());
            for subject in &subjects {
                let mut asked = Vec::new();
                let answer = index.find(subject, |place| -> Option<()> {
                    asked.push(place);
                    None
                });
                prop_assert_eq!(answer, None);
                let matching: Vec<usize> = (0..filters.len())
                    .filter(|place| filters[*place].takes(subject))
                    .collect();
                prop_assert_eq!(asked, matching);
            }
        }
    }

    #[test]
    fn nobody_is_asked_after_the_one_that_answers() {
        let everything = vec![Filter::EVERYTHING; 30];
        let index = Index::of(everything.iter());
        let mut asked = 0;
        let answer = index.find(&Subject::at(Point::Record), |place| {
            asked += 1;
            (place == 2).then_some("this one")
        });
        assert_eq!((answer, asked), (Some("this one"), 3));
    }
}
