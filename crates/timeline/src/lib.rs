//! Virtual time, and everything that waits for it.
//!
//! A [`Timeline`] is one thread's clock and agenda: callbacks at a time, and tasks (`async` blocks)
//! that sleep until one. Whoever drives it (an engine) moves the clock with
//! [`Timeline::advance_to`]; nothing here reads the host's clock, and what is due at the same
//! picosecond runs in the order in which it was asked for. The same calls give the same run.
//!
//! ```
//! use stallbox_timeline::{Span, Time, Timeline};
//!
//! let timeline = Timeline::new();
//! let task = timeline.clone();
//! timeline.spawn(async move {
//!     task.sleep(Span::from_ns(20_000)).await;
//!     assert_eq!(task.now(), Time::from_ns(20_000));
//! });
//! timeline.advance_to(Time::from_ns(30_000));
//! assert_eq!(timeline.now(), Time::from_ns(30_000));
//! ```

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod dist;
mod executor;
mod sync;
mod time;

pub use dist::{Dist, DistError, Rng, Sampler, seeded};
pub use executor::{EventId, Progress, Sleep, Timeline, YieldRequest};
pub use sync::{Gate, Notify};
pub use time::{Span, Time};
