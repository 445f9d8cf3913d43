//! What the architecture says, one behaviour a test. Words are golden: put together from the Linux
//! driver's field positions, or written out.

mod anything;
mod ats;
mod attributes;
mod commands;
mod config_cache;
mod conformance;
mod events;
mod first_light;
mod fuzzed;
mod invalidation;
mod left_out;
mod prefetches;
mod pri;
mod queues;
mod registers;
mod resolved;
mod sizes;
mod stage2;
mod stage2_maps;
mod stalls;
mod terminations;
mod tlb_model;
mod updates;
mod verdicts;
mod view;
mod vmids;
mod walks;
mod worlds;
