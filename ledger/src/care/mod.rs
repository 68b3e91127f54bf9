//! Looking at a ledger, mending it, keeping it small.

pub(crate) mod backup;
pub(crate) mod check;
pub(crate) mod clock;
pub(crate) mod compaction;
pub(crate) mod progress;
pub(crate) mod record_handle;
pub(crate) mod records;
pub(crate) mod stats;
pub(crate) mod sweeper;
