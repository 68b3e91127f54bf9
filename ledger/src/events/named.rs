//! What events are called in traces and metrics.

use crate::events::Event;

impl Event {
    /// Its name in traces and metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::ClaimedLate { .. } => "claimed_late",
            Self::TakenOver { .. } => "taken_over",
            Self::Replayed { .. } => "replayed",
            Self::InProgress { .. } => "in_progress",
            Self::Interrupted { .. } => "interrupted",
            Self::Mismatch => "mismatch",
            Self::Stale => "stale_key",
            Self::Quota => "quota",
            Self::Completed => "completed",
            Self::Released => "released",
            Self::Superseded => "superseded",
        }
    }
}
