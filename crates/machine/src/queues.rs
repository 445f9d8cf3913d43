//! The SMMU's queues: how they stand.

use serde::Serialize;
use stallbox_devices::GuestRam;
use stallbox_smmu::Smmu;
use stallbox_smmu::spec::command;
use stallbox_smmu::spec::regs::gerror;
use stallbox_smmu::view::{Queue, QueueName, View};

use crate::stage1::reader;

/// Their names, as a user writes them.
pub const QUEUES: [(&str, QueueName); 3] = [
    ("command", QueueName::Command),
    ("event", QueueName::Event),
    ("page-request", QueueName::PageRequest),
];

/// An index, and the flag if it is set.
fn show_index((index, wrap): (u32, bool)) -> String {
    format!("{index:#x}{}", if wrap { " wrap" } else { "" })
}

/// A queue of the SMMU.
#[derive(Clone, Debug, Serialize)]
pub struct QueueState {
    /// Its name.
    pub queue: &'static str,
    /// In SMMU_CR0.
    pub enabled: bool,
    /// Where it is.
    pub base: String,
    /// How many entries it has.
    pub entries: u32,
    /// How many have not been consumed.
    pub queued: u32,
    /// Index, and wrap flag.
    pub prod: String,
    /// Index, and wrap flag.
    pub cons: String,
    /// An overflow is not acknowledged.
    pub overflow: bool,
}

/// The queues of the SMMU, and its errors.
#[derive(Clone, Debug, Serialize)]
pub struct QueueStates {
    /// Those there are.
    pub queues: Vec<QueueState>,
    /// SMMU_CR0.SMMUEN.
    pub smmu_enabled: bool,
    /// SMMU_CMDQ_CONS.ERR.
    pub command_error: String,
    /// Bits of SMMU_GERROR that are not acknowledged.
    pub gerror: Vec<&'static str>,
}

fn state(name: &'static str, queue: &Queue) -> QueueState {
    QueueState {
        queue: name,
        enabled: queue.enabled,
        base: format!("{:#x}", queue.memory().start),
        entries: queue.entries(),
        queued: queue.queued(),
        prod: show_index(queue.prod()),
        cons: show_index(queue.cons()),
        overflow: queue.overflow,
    }
}

impl QueueStates {
    fn of(view: &View<'_>) -> QueueStates {
        let queues = QUEUES
            .iter()
            .filter_map(|(name, it)| Some(state(name, &view.queue(*it)?)));
        let error = match view.command_error() {
            0 => "CERROR_NONE".to_owned(),
            1 => "CERROR_ILL".to_owned(),
            2 => "CERROR_ABT".to_owned(),
            3 => "CERROR_ATC_INV_SYNC".to_owned(),
            other => format!("{other:#x}"),
        };
        let active = view.active_errors();
        let errors = gerror::NAMES.iter().filter(|(_, bit)| active & bit != 0);
        QueueStates {
            queues: queues.collect(),
            smmu_enabled: view.enabled(),
            command_error: error,
            gerror: errors.map(|(name, _)| *name).collect(),
        }
    }
}

/// What is next in the command queue, by name, if anything is.
fn next_command(view: &View<'_>) -> Option<String> {
    let queue = view.queue(QueueName::Command)?;
    if queue.queued() == 0 {
        return None;
    }
    let (_, at) = queue.entry(0);
    let raw = command::Raw(view.words(at).ok()?);
    Some(command::name(raw.opcode()))
}

/// The SMMU's queues and errors; what is next in the command queue.
pub fn smmu_queues(smmu: &Smmu, ram: &GuestRam) -> (QueueStates, Option<String>) {
    let memory = reader(ram);
    let view = View::new(smmu, &memory);
    (QueueStates::of(&view), next_command(&view))
}
