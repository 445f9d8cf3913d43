//! How a vCPU stands when its machine does not run.

use serde::Serialize;
use stallbox_devices::gic::CpuInterrupts;

use crate::ledger::hex;

/// What a vCPU is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    /// Never switched on, or off again.
    Off,
    /// Executing instructions.
    Running,
    /// In WFI.
    Waiting,
    /// The engine does not tell.
    Unknown,
}

/// Registers of a vCPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Core {
    /// Next instruction.
    #[serde(serialize_with = "hex")]
    pub pc: u64,
    /// The current stack pointer.
    #[serde(serialize_with = "hex")]
    pub sp: u64,
    /// PSTATE as in SPSR_EL1.
    #[serde(serialize_with = "hex")]
    pub pstate: u64,
    /// X0 to X30.
    #[serde(serialize_with = "hexes")]
    pub x: [u64; 31],
    /// TTBR0_EL1.
    #[serde(serialize_with = "hex")]
    pub ttbr0: u64,
    /// TTBR1_EL1.
    #[serde(serialize_with = "hex")]
    pub ttbr1: u64,
    /// TCR_EL1.
    #[serde(serialize_with = "hex")]
    pub tcr: u64,
}

fn hexes<S: serde::Serializer>(values: &[u64; 31], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(|value| format!("{value:#x}")))
}

impl Core {
    /// The Exception level (`SPSR_EL1.M[3:2]`).
    pub fn el(&self) -> u8 {
        (self.pstate >> 2 & 3) as u8
    }

    /// Which of the masks D, A, I and F are set (SPSR_EL1 bits 9 to 6), as `DAIF` or `--I-`.
    pub fn masks(&self) -> String {
        let mask = |(bit, letter): (u32, char)| {
            if self.pstate >> bit & 1 != 0 {
                letter
            } else {
                '-'
            }
        };
        [(9, 'D'), (8, 'A'), (7, 'I'), (6, 'F')]
            .map(mask)
            .iter()
            .collect()
    }
}

/// A vCPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VcpuState {
    /// Which.
    pub index: usize,
    /// What it is doing.
    pub power: Power,
    /// Its registers, if the engine can read them now.
    pub core: Option<Core>,
    /// Its interrupts, if their controller is ours to read.
    pub interrupts: Option<CpuInterrupts>,
}
