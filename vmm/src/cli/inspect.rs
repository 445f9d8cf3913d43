//! Options of `stallbox inspect`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::run::parse_seconds;
use crate::control::parse_number;

/// Options of `stallbox inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The socket of a run with --control.
    #[arg(value_name = "SOCKET")]
    pub socket: PathBuf,
    /// Prints the answer as it came: one line of JSON.
    #[arg(long)]
    pub json: bool,
    /// Gives up on an answer after so many seconds.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds, allow_negative_numbers = true)]
    pub timeout: Duration,
    /// What to ask for.
    #[command(subcommand)]
    pub what: What,
}

/// What can be asked for. Numbers are decimal, or hexadecimal with 0x.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Whether it is paused, and how many stalls and rules there are.
    Status,
    /// Stops virtual time.
    Pause,
    /// Lets it go on.
    Resume {
        /// Only for so many nanoseconds of virtual time.
        #[arg(value_parser = number, allow_negative_numbers = true)]
        for_ns: Option<String>,
    },
    /// The transactions that wait for software, with their tags.
    Stalls,
    /// All that is under way: stalls, requests, jobs, queues, what rules keep, interrupts, and how the
    /// vCPUs stand (docs/hangs.md).
    Outstanding,
    /// A stream table entry, or all that are valid and let something through.
    Ste {
        /// StreamID.
        #[arg(value_parser = number, allow_negative_numbers = true)]
        stream: Option<String>,
    },
    /// A context descriptor, or all of a stream that are valid.
    Cd {
        /// StreamID.
        #[arg(value_parser = number, allow_negative_numbers = true)]
        stream: String,
        /// PASID.
        #[arg(value_parser = number, allow_negative_numbers = true)]
        pasid: Option<String>,
    },
    /// The walk of an address through the page tables of a PASID.
    Pt {
        /// StreamID.
        #[arg(value_parser = number, allow_negative_numbers = true)]
        stream: String,
        /// PASID.
        #[arg(value_parser = number, allow_negative_numbers = true)]
        pasid: String,
        /// Input address.
        #[arg(value_parser = number, allow_negative_numbers = true)]
        address: String,
    },
    /// What the TLB holds.
    Tlb,
    /// What the translation cache of a device holds.
    Atc {
        /// StreamID.
        #[arg(value_parser = number, allow_negative_numbers = true)]
        stream: String,
    },
    /// The state of the SMMU's queues, and its errors.
    Queues,
    /// What is in a queue that has not been consumed.
    Queue {
        /// Which.
        #[arg(value_parser = ["command", "event", "page-request"])]
        queue: String,
    },
    /// The rules of the fault plan, and how often they matched and fired.
    Rules,
    /// The gates, and how many wait at them.
    Gates,
    /// Opens a gate.
    Open {
        /// Its name.
        gate: String,
    },
    /// Closes a gate.
    Close {
        /// Its name.
        gate: String,
    },
    /// Tells a marker, as the guest can.
    Marker {
        /// Its name.
        name: String,
    },
    /// Switches a rule on.
    Enable {
        /// Its name.
        rule: String,
    },
    /// Switches a rule off.
    Disable {
        /// Its name.
        rule: String,
    },
    /// Goes on with the draws of this seed: latencies, the fault plan, the schedule.
    Seed {
        /// The seed.
        #[arg(value_parser = number)]
        seed: String,
    },
    /// Has a rule take one match, counted from now on, and no other.
    Only {
        /// Its name.
        rule: String,
        /// Which match: 1 is the next; 0 is none.
        #[arg(value_parser = number)]
        nth: String,
    },
    /// Adds the rules of a fault plan.
    Inject {
        /// The plan: a file, or its text.
        plan: String,
    },
    /// Does something now: what could stand in a rule's `do`, such as 'evict_tlb = "all"'.
    Now {
        /// Effects, in TOML.
        effects: String,
    },
}

/// The machine takes it as it is; that it is a number is told before anybody is asked.
fn number(text: &str) -> Result<String, &'static str> {
    match parse_number(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err("this is no number: decimal, or hexadecimal with 0x, of 64 bits"),
    }
}
