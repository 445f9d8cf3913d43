//! What has happened so far, in numbers.

use std::cell::Cell;
use std::collections::BTreeMap;

/// Defines [`Counters`] and [`Counts`] by one list.
macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What has happened so far.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            /// Event records written, by event number.
            pub events_written: BTreeMap<u8, u64>,
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        /// The counters as they are kept. One for each event number, since those are a byte.
        pub(crate) struct Counts {
            pub(crate) events_written: [Cell<u64>; 256],
            $(pub(crate) $name: Cell<u64>,)+
        }

        impl Default for Counts {
            fn default() -> Counts {
                Counts {
                    events_written: [const { Cell::new(0) }; 256],
                    $($name: Cell::default(),)+
                }
            }
        }

        impl Counts {
            pub(crate) fn read(&self) -> Counters {
                let by_type = self.events_written.iter().zip(0_u8..=255);
                Counters {
                    events_written: by_type
                        .filter(|(count, _)| count.get() != 0)
                        .map(|(count, number)| (number, count.get()))
                        .collect(),
                    $($name: self.$name.get(),)+
                }
            }
        }
    };
}

counters! {
    /// Event records lost.
    events_dropped,
    /// Times that the event queue's overflow flag was raised.
    overflows,
    /// Stalls that were given a tag and reported.
    stalls,
    /// Times that a stall's report had to wait.
    stalls_held,
    /// RESUMEs that asked for a retry.
    resumes_retry,
    /// RESUMEs that asked for a termination.
    resumes_abort,
    /// RESUMEs of either kind for which no stall was waiting.
    resumes_unmatched,
    /// Stalls ended by STALL_TERM or by the SMMU being disabled.
    stalls_terminated,
    /// Transactions aborted, for whatever reason.
    aborts,
    /// Translations found in the TLB.
    tlb_hits,
    /// Translations that were not.
    tlb_misses,
    /// Translation table descriptors read.
    walk_steps,
    /// Stream table entries and context descriptors fetched.
    config_fetches,
    /// Commands executed.
    commands,
    /// ATS translation requests.
    ats_requests,
    /// Of those, the ones that were not answered with Success.
    ats_refused,
    /// Page requests that arrived, stop markers included.
    page_requests,
    /// Of those, the ones that did not get into the queue.
    page_requests_dropped,
    /// Times that the page request queue's overflow flag was raised.
    pri_overflows,
    /// Page responses sent, by software or automatically.
    page_responses,
    /// Of those, the automatic ones.
    page_responses_automatic,
    /// Invalidations sent to address translation caches.
    atc_invalidations,
    /// Of those, the ones of which no completion came in time.
    atc_timeouts,
}

pub(crate) fn bump(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}
