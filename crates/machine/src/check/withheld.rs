//! Commands that software has sent and that the SMMU has not executed, or not as they were sent: those
//! that wait in the queue, and those that a fault plan holds back or loses.

use std::cell::RefCell;
use std::collections::VecDeque;

use stallbox_devices::GuestRam;
use stallbox_smmu::spec::command::{self, Raw};
use stallbox_smmu::view::{QueueName, View};
use stallbox_smmu::{OnCommand, Smmu, Verdict};
use stallbox_timeline::Time;

use crate::stage1::reader;

/// Commands that are remembered as lost.
const LOST_MAX: usize = 256;
/// Commands of the queue that are looked at: as many as Linux gives it at most
/// (`CMDQ_MAX_SZ_SHIFT`), and no more than a report is worth.
const LOOKED_AT_MAX: u32 = 1 << 12;

type Words = [u64; 2];

#[derive(Default)]
pub(super) struct Withheld {
    /// The command at SMMU_CMDQ_CONS, if a rule holds it, and which.
    held: RefCell<Option<(Words, String)>>,
    lost: RefCell<VecDeque<Lost>>,
}

struct Lost {
    time: Time,
    words: Words,
    /// By what.
    how: String,
}

/// The command's name in the architecture.
fn name(words: &Words) -> String {
    command::name(Raw(*words).opcode())
}

impl Withheld {
    /// A command was fetched, and a fault plan has decided about it: which rule, if one did.
    pub(super) fn fetched(
        &self,
        now: Time,
        words: &Words,
        rule: Option<&str>,
        verdict: &Verdict<OnCommand>,
    ) {
        let waits = verdict.wait.is_some();
        *self.held.borrow_mut() = rule.filter(|_| waits).map(|it| (*words, it.to_owned()));
        let Some(rule) = rule else { return };
        let how = match &verdict.act {
            OnCommand::Go => return,
            OnCommand::Skip => "dropped",
            OnCommand::Instead(_) => "replaced",
            OnCommand::Error(_) => "refused",
        };
        let mut lost = self.lost.borrow_mut();
        if lost.len() == LOST_MAX {
            lost.pop_front();
        }
        lost.push_back(Lost {
            time: now,
            words: *words,
            how: format!("{how} by rule {rule}"),
        });
    }

    /// A command is executed.
    pub(super) fn executed(&self, words: &Words) {
        let mut held = self.held.borrow_mut();
        if held.as_ref().is_some_and(|(it, _)| it == words) {
            *held = None;
        }
    }

    /// What became of a command like `wanted` that was sent since and not executed, in words; `None` if
    /// there is none.
    pub(super) fn tell(
        &self,
        smmu: &Smmu,
        ram: &GuestRam,
        since: Time,
        wanted: impl Fn(&Words) -> bool,
    ) -> Option<String> {
        self.queued(smmu, ram, &wanted)
            .or_else(|| self.lost(since, wanted))
    }

    fn lost(&self, since: Time, wanted: impl Fn(&Words) -> bool) -> Option<String> {
        let lost = self.lost.borrow();
        let mut since = lost.iter().rev().take_while(|lost| lost.time >= since);
        let found = since.find(|lost| wanted(&lost.words))?;
        let (name, at) = (name(&found.words), found.time.as_ns());
        Some(format!("{name} at {at} ns: sent, {}", found.how))
    }

    fn queued(
        &self,
        smmu: &Smmu,
        ram: &GuestRam,
        wanted: impl Fn(&Words) -> bool,
    ) -> Option<String> {
        let memory = reader(ram);
        let view = View::new(smmu, &memory);
        let queue = view.queue(QueueName::Command)?;
        let command = |index: u32| view.words::<2>(queue.entry(index).1).ok();
        let found = (0..queue.queued().min(LOOKED_AT_MAX)).find_map(|index| {
            let words = command(index)?;
            wanted(&words).then_some((index, words))
        });
        let (index, words) = found?;
        let held = self.held.borrow();
        let rule = match held.as_ref() {
            Some((first, rule)) if command(0) == Some(*first) => match index {
                0 => format!(" (rule {rule})"),
                _ => format!(" (behind {}, which rule {rule} holds)", name(first)),
            },
            _ => String::new(),
        };
        Some(format!("{}: sent, not yet executed{rule}", name(&words)))
    }
}

#[cfg(test)]
mod tests {
    use stallbox_timeline::Gate;

    use super::*;

    const TLBI: Words = [0x12, 0xffff_b01c_8000];

    fn verdict(wait: bool, act: OnCommand) -> Verdict<OnCommand> {
        Verdict {
            wait: wait.then(Gate::new),
            act,
        }
    }

    #[test]
    fn what_is_lost_is_told_with_the_rule_and_since_when_it_matters() {
        let withheld = Withheld::default();
        let at = Time::from_ns;
        let lost = |since| withheld.lost(at(since), |words| *words == TLBI);
        withheld.fetched(at(5), &TLBI, Some("slow"), &verdict(true, OnCommand::Go));
        assert_eq!(lost(0), None, "only late");
        withheld.fetched(at(7), &TLBI, Some("gone"), &verdict(false, OnCommand::Skip));
        let told = "CMD_TLBI_NH_VA at 7 ns: sent, dropped by rule gone";
        assert_eq!(lost(7).as_deref(), Some(told));
        assert_eq!(lost(8), None, "before it mattered");
        assert!(withheld.lost(at(0), |words| words[0] == 0x46).is_none());
    }

    #[test]
    fn a_command_is_held_until_it_is_executed_or_the_next_is_fetched() {
        let withheld = Withheld::default();
        let held = || withheld.held.borrow().clone().map(|(_, rule)| rule);
        let wait = verdict(true, OnCommand::Go);
        withheld.fetched(Time::ZERO, &TLBI, Some("slow"), &wait);
        withheld.executed(&[0x46, 0]);
        assert_eq!(held().as_deref(), Some("slow"), "another was");
        withheld.executed(&TLBI);
        assert_eq!(held(), None);
        withheld.fetched(Time::ZERO, &TLBI, Some("slow"), &wait);
        withheld.fetched(Time::ZERO, &[0x46, 0], None, &Verdict::default());
        assert_eq!(held(), None);
    }
}
