//! What events are called in traces and metrics.

use crate::events::Event;

impl Event {
    /// Its name in traces and metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::ClaimedLate { .. } => "claimed late",
            Self::TakenOver { .. } => "taken over",
            Self::Replayed { .. } => "replayed",
            Self::InProgress { .. } => "in progress",
            Self::Interrupted { .. } => "interrupted",
            Self::Mismatch => "mismatch",
            Self::Stale => "stale key",
            Self::Quota => "quota",
            Self::Completed => "completed",
            Self::Released => "released",
            Self::Superseded => "superseded",
        }
    }
}
