//! The decision core: what a key's record means, and what may happen to it next.
//!
//! Everything in this folder is pure. It does no I/O, reads no clock, draws no random number and
//! stores nothing; the caller passes the record, the evidence and the time, and gets a decision.
//! The same code therefore runs under redb, in the browser and on the command line, and one set
//! of vectors (`tests/vectors/`) checks all of them.
//!
//! What it does not do: encode records (the store's affair), look for locks (the holder's
//! affair), wait (the caller's affair).

mod child_key;
mod decide;
mod ending;
mod fingerprint;
mod intent;
mod key;
mod namespace;
mod policy;
mod presets;
mod record;
mod response;
mod staleness;
mod timekeeper;
mod timestamp;
mod version;

pub use child_key::child_key;
pub use decide::{Decision, Liveness, Room, Work, decide, may_take_over, retry_after};
pub use ending::{
    Completion, EndingRefusal, NewClaim, SeenClaim, checkpoint, claim, complete, complete_seen,
    forget, may_resolve, release, release_seen, renew, shorten_lease, take_over,
};
pub use ending::{Demanded, Evidence, ResolveRefusal};
pub use fingerprint::{Fingerprint, FingerprintAlgorithm, FingerprintHasher};
pub use intent::{
    Call, Ending, IfBusy, Intent, IntentDecision, OnChanged, Receipt, Settlement, Slot, SlotLock,
    StaleKeyDecision, StaleRefusal, Stored, decide_intent, decide_stale_key,
};
pub use key::{KEY_BYTES_MAX, Key, KeyError, SCOPE_BYTES_MAX, Scope};
pub use namespace::Namespace;
pub use policy::{OnInterrupted, Policy, PolicyError};
pub use record::{Checkpoint, ClaimLock, Claimed, Completed, Fence, PolicyStamp, Record, State};
pub use response::{Response, ResponseKind};
pub use staleness::{KEY_AHEAD_MAX, KeyAge, key_age};
pub use timekeeper::{
    BootId, BootTime, ClockMark, ClockReading, ClockState, LEAP_BELIEVED_AFTER, LEAP_MIN, Leap,
    TimeReading, Timekeeper,
};
pub use timestamp::{TimeTextError, Timestamp};
pub use version::{Expected, Version};
