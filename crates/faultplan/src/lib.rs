//! Fault plans: what goes wrong, where and when, as data.
//!
//! A plan is a TOML file of rules. A rule names a [`Point`] of a model, says which of the things that
//! come by there it means (a [`Filter`]) and which of those it takes (a [`When`]), and what becomes
//! of them: an [`Act`], and [`Effect`]s elsewhere. `docs/fault-plans.md` is the reference.
//!
//! This crate knows no SMMU and no device. Whoever wires a model up describes to a [`Player`] what
//! comes by, as a [`Subject`], and does what it says. The player draws from generators seeded by the
//! plan, the rule and nothing else, so the same plan on the same guest is the same run.
//!
//! ```
//! use stallbox_faultplan::{Access, Act, Plan, Player, Point, Subject};
//! use stallbox_timeline::Time;
//!
//! let plan = Plan::parse(
//!     r#"
//!     [[rule]]
//!     at = "translation"
//!     match = { pasid = 1, access = "write", nth = 2 }
//!     do = { fault = "permission" }
//!     "#,
//! )
//! .unwrap();
//! let player = Player::new(&plan, 1);
//! let write = Subject {
//!     pasid: Some(1),
//!     access: Some(Access::Write),
//!     ..Subject::at(Point::Translation)
//! };
//! assert!(player.ask(Time::ZERO, &write).is_none());
//! let rule = player.ask(Time::ZERO, &write).unwrap().rule;
//! assert!(matches!(rule.act, Act::Fault(_)));
//! ```

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod error;
#[cfg(any(test, feature = "test-utils"))]
pub mod fuzzing;
mod gates;
mod index;
mod names;
mod parse;
mod player;
mod point;
mod read;
mod rule;
mod schema;
mod smmu;

pub use error::{Mistake, PlanError};
pub use gates::{GateState, Gates};
pub use names::{COMMANDS, EVENTS, LINES, MAILBOX_COMMANDS};
pub use parse::{Beside, Plan, RULES_MAX};
pub use player::{Fired, Player, RuleCount};
pub use point::{Actions, Matches, Point};
pub use rule::{
    Access, Act, After, Attempt, DeviceError, DeviceEvent, Effect, FaultKind, Filter, GateRef,
    PageAnswer, Ring, Rule, Stag, Subject, Touch, When,
};
pub use schema::schema;
pub use smmu::{
    Granules, Httu, SmmuSettings, Stages, StallModel, StallTags, StreamTables, TermModel,
};
