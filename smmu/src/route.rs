//! Which stages a transaction goes through, and by which context. Hits, walks and views of tables in
//! memory all ask here.
//!
//! IHI 0070, *Substreams*, *Translation procedure*, *Validity of CD*.

use std::rc::Rc;

use crate::attempt::Refusal;
use crate::config::{Context, Contexts, Second, Stages, Stream, Unmarked};
use crate::spec::event::{self, EventType};
use crate::transaction::Transaction;

/// What there is to be done with a transaction.
pub(crate) enum Route<'a> {
    /// Nothing translates it.
    Bypass,
    /// Stage 2 alone does.
    Stage2(&'a Stages, Second<'a>),
    /// Stage 1 does, and then stage 2 if there is one.
    Stage1(FirstStage<'a>),
}

/// Stage 1 of a stream, and which of its contexts is used.
pub(crate) struct FirstStage<'a> {
    pub(crate) stages: &'a Stages,
    pub(crate) contexts: &'a Contexts,
    pub(crate) index: u32,
}

impl FirstStage<'_> {
    /// `context`, if it is legal in this stream: S1STALLD forbids one that stalls.
    #[inline(always)]
    pub(crate) fn admit<'c>(&self, context: &'c Option<Rc<Context>>) -> Option<&'c Context> {
        let context = context.as_deref()?;
        let forbidden = context.stalls && self.contexts.stall_forbidden;
        (!forbidden).then_some(context)
    }
}

/// Why a transaction gets nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRoute {
    BadStream,
    Aborted,
    BadSubstream,
    StreamDisabled,
}

impl NoRoute {
    pub(crate) fn refusal(self, transaction: &Transaction) -> Refusal {
        match self {
            NoRoute::BadStream => Refusal::identity(EventType::BadSte, transaction),
            NoRoute::Aborted => Refusal::Silent(None),
            NoRoute::BadSubstream => Refusal::bad_substream(transaction),
            NoRoute::StreamDisabled => {
                let words = event::stream_disabled(transaction);
                Refusal::Recorded(EventType::StreamDisabled, words)
            }
        }
    }
}

impl Stream {
    /// The way of a transaction of this stream.
    #[inline]
    pub(crate) fn route(&self, transaction: &Transaction) -> Result<Route<'_>, NoRoute> {
        match self {
            Stream::Bad => Err(NoRoute::BadStream),
            Stream::Abort => Err(NoRoute::Aborted),
            Stream::Bypass(_) if transaction.substream.is_some() => Err(NoRoute::BadSubstream),
            Stream::Bypass(_) => Ok(Route::Bypass),
            Stream::Translate(stages) => stages.route(transaction),
        }
    }
}

impl Stages {
    /// The way of a transaction: *Substreams*.
    #[inline(always)]
    pub(crate) fn route(&self, transaction: &Transaction) -> Result<Route<'_>, NoRoute> {
        let without_stage1 = match self.second() {
            None => Route::Bypass,
            Some(second) => Route::Stage2(self, second),
        };
        let Some(contexts) = &self.contexts else {
            return match transaction.substream {
                None => Ok(without_stage1),
                Some(_) => Err(NoRoute::BadSubstream),
            };
        };
        let index = match transaction.substream {
            None if contexts.count_log2 == 0 => 0,
            None => match contexts.unmarked {
                Unmarked::Context0 => 0,
                Unmarked::Bypass => return Ok(without_stage1),
                Unmarked::Terminate => return Err(NoRoute::StreamDisabled),
            },
            Some(substream) => {
                let in_range = u64::from(substream.0) >> contexts.count_log2 == 0;
                if contexts.count_log2 == 0 || !in_range {
                    return Err(NoRoute::BadSubstream);
                }
                if substream.0 == 0 && contexts.unmarked == Unmarked::Context0 {
                    return Err(NoRoute::StreamDisabled);
                }
                substream.0
            }
        };
        Ok(Route::Stage1(FirstStage {
            stages: self,
            contexts,
            index,
        }))
    }
}
