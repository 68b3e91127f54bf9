//! How often callers met what.

/// What callers of a namespace met since its first use, as far as it was stored: the last ones
/// before a crash may be missing. Claims and completions are no events but records, and counted
/// exactly.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// for _ in 0..3 {
///     ledger.operation(PAYMENTS, &key, asked).run_bytes(|_| Ok::<_, Error>("ok"))?;
/// }
/// let _ = ledger.operation(PAYMENTS, &key, Fingerprint::of(["pay", "26"])).begin()?;
/// let met = ledger.stats()?.namespaces[0].events;
/// assert_eq!((met.replays, met.mismatches, met.refusals()), (2, 1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct EventCounts {
    /// Stored answers that were given again; for a dedup table, repeats.
    pub replays: u64,
    /// Requests that were refused because somebody was at it.
    pub in_progress: u64,
    /// Requests that were refused because the key belongs to another request.
    pub mismatches: u64,
    /// Requests that were refused because their key was too old, or of the future.
    pub stale: u64,
    /// Requests that were refused because the namespace was full.
    pub quota: u64,
    /// Requests that met an interrupted operation: they got a ticket, or took it over.
    pub interruptions: u64,
    /// Claims on keys whose answer had expired and was not swept yet: duplicates that ran again.
    /// Above zero, the retention is too short.
    pub late: u64,
    /// Records that sweeping removed.
    pub swept: u64,
}

impl EventCounts {
    /// Requests that were refused, for whatever reason.
    #[must_use]
    pub const fn refusals(&self) -> u64 {
        self.in_progress
            .saturating_add(self.mismatches)
            .saturating_add(self.stale)
            .saturating_add(self.quota)
    }

    pub(crate) fn add(&mut self, other: Self) {
        let Self {
            replays,
            in_progress,
            mismatches,
            stale,
            quota,
            interruptions,
            late,
            swept,
        } = other;
        for (mine, more) in [
            (&mut self.replays, replays),
            (&mut self.in_progress, in_progress),
            (&mut self.mismatches, mismatches),
            (&mut self.stale, stale),
            (&mut self.quota, quota),
            (&mut self.interruptions, interruptions),
            (&mut self.late, late),
            (&mut self.swept, swept),
        ] {
            *mine = mine.saturating_add(more);
        }
    }
}
