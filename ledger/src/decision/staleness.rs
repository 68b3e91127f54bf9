//! Keys that are too old, or from the future: the guard behind `refuse_stale_keys`.

use core::time::Duration;

use super::{Key, Policy, Timestamp};

/// How far ahead of the ledger's time and of the wall clock a key's own time may lie.
pub const KEY_AHEAD_MAX: Duration = Duration::from_secs(600);

/// What a key's own time says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAge {
    /// The key carries no time, or the namespace does not ask for it, or it is recent.
    Accepted,
    /// The key is so old that its record may have been removed.
    Stale,
    /// The key's time lies further ahead than clocks may differ.
    Ahead,
}

/// Judges a key by its own time.
///
/// A record expires no earlier than its key's time plus the retention, so every removed record
/// has a key whose time is at most `now` minus the retention, or at most `newest_removed`: the
/// newest key time ever removed by sweeping, which holds when a clock or a policy changed. Both
/// bounds are inclusive, since the removed key itself lies on them.
///
/// Whether a key lies too far ahead is judged by `latest`, the later one of the ledger's time and
/// the wall clock: a client may mint keys by either, and while a leap is held back they differ.
#[must_use]
pub fn key_age(
    policy: &Policy,
    key: &Key,
    newest_removed: Option<Timestamp>,
    now: Timestamp,
    latest: Timestamp,
) -> KeyAge {
    if !policy.refuses_stale_keys() {
        return KeyAge::Accepted;
    }
    let Some(time) = key.time() else {
        return KeyAge::Accepted;
    };
    if time > latest.saturating_add(KEY_AHEAD_MAX) {
        return KeyAge::Ahead;
    }
    let oldest = now.saturating_sub(policy.retention_span());
    if time <= oldest || newest_removed.is_some_and(|removed| time <= removed) {
        return KeyAge::Stale;
    }
    KeyAge::Accepted
}
