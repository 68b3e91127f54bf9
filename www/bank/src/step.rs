//! What the worker does next for a request: the parts of the work that only a browser can do.

use serde::Serialize;

use crate::answer::Answer;

/// One step. The last one of a request is an answer, silence or death.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(
    tag = "does",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum Step {
    /// Write the image: that write is the commit. Then go on.
    Save,
    /// Tell the card network, which deduplicates nothing. Then go on.
    Charge {
        /// Who is charged.
        principal: String,
        /// The client's key.
        key: String,
        /// In cents.
        amount: u64,
    },
    /// Let time pass without the lock, so that others are served. Then go on.
    Pause {
        /// How long.
        milliseconds: u32,
    },
    /// Let time pass with the lock, since memory is ahead of the image. Then go on.
    Hold {
        /// How long.
        milliseconds: u32,
    },
    /// Give this answer.
    Answer {
        /// What is sent.
        answer: Answer,
        /// Whether it was stored by an earlier request.
        replayed: bool,
    },
    /// Give no answer.
    Silence,
    /// Drop the memory and give no answer.
    Die,
}

/// A request that is under way, and its next step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Turn {
    /// What to go on with.
    pub number: u32,
    /// What to do now.
    pub step: Step,
}

impl Step {
    /// An answer that was made now.
    #[must_use]
    pub const fn answer(answer: Answer) -> Self {
        Self::Answer {
            answer,
            replayed: false,
        }
    }
}
