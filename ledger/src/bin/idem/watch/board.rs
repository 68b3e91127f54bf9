//! What is known of a ledger, and what changed since the look before.

use std::collections::VecDeque;
use std::fmt;

use idempotency_ledger::{
    EventCounts, Ledger, NamespaceStats, RecordFilter, RecordInfo, RecordState, Stats,
};
use serde::Serialize;

use crate::exit::Failure;

/// How many looks a curve goes back.
pub(crate) const LOOKS_KEPT: usize = 240;
/// How many unfinished operations are listed.
const UNFINISHED_MAX: usize = 100;
/// How many records one look reads, in search of them.
const RECORDS_READ_MAX: usize = 20_000;

/// The state of the last look, and the curves.
#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) place: String,
    pub(crate) stats: Option<Stats>,
    /// The namespaces of the look before.
    before: Vec<NamespaceStats>,
    fence_before: u64,
    /// Claims at each look, newest last. A fence is given out for each.
    pub(crate) claims: VecDeque<u64>,
    /// Replays at each look, newest last.
    pub(crate) replays: VecDeque<u64>,
    pub(crate) unfinished: Vec<RecordInfo>,
    /// Why the list of unfinished operations is not whole, if it is not.
    pub(crate) is_cut: bool,
}

impl Board {
    pub(crate) fn new(place: String) -> Self {
        Self {
            place,
            stats: None,
            before: Vec::new(),
            fence_before: 0,
            claims: VecDeque::new(),
            replays: VecDeque::new(),
            unfinished: Vec::new(),
            is_cut: false,
        }
    }

    /// Looks once more.
    pub(crate) fn look(&mut self, ledger: &Ledger) -> Result<(), Failure> {
        let stats = ledger.stats()?;
        let fence = stats.fence.get();
        match self.stats.take() {
            // The first look knows no change.
            None => self.before.clone_from(&stats.namespaces),
            Some(last) => {
                self.before = last.namespaces;
                push(&mut self.claims, fence.saturating_sub(self.fence_before));
                let replays = |all: &[NamespaceStats]| all.iter().map(|it| it.events.replays).sum();
                let (now, before): (u64, u64) = (replays(&stats.namespaces), replays(&self.before));
                push(&mut self.replays, now.saturating_sub(before));
            }
        }
        self.fence_before = fence;
        self.find_unfinished(ledger, &stats)?;
        self.stats = Some(stats);
        Ok(())
    }

    fn find_unfinished(&mut self, ledger: &Ledger, stats: &Stats) -> Result<(), Failure> {
        self.unfinished.clear();
        let claimed: u64 = stats.namespaces.iter().map(|names| names.claimed).sum();
        self.is_cut = false;
        if claimed == 0 {
            return Ok(());
        }
        for (read, info) in ledger.records(RecordFilter::all())?.enumerate() {
            if self.unfinished.len() == UNFINISHED_MAX || read == RECORDS_READ_MAX {
                self.is_cut = true;
                break;
            }
            // A damaged record is named by `idem ls` and `idem check`.
            if let Ok(info) = info
                && info.state() != RecordState::Completed
            {
                self.unfinished.push(info);
            }
        }
        Ok(())
    }

    /// What changed in a namespace since the look before.
    pub(crate) fn change(&self, now: &NamespaceStats) -> EventCounts {
        let before = self.before.iter().find(|before| before.name == now.name);
        let before = before.map(|names| names.events).unwrap_or_default();
        let now = now.events;
        EventCounts {
            replays: now.replays.saturating_sub(before.replays),
            in_progress: now.in_progress.saturating_sub(before.in_progress),
            mismatches: now.mismatches.saturating_sub(before.mismatches),
            stale: now.stale.saturating_sub(before.stale),
            quota: now.quota.saturating_sub(before.quota),
            interruptions: now.interruptions.saturating_sub(before.interruptions),
            late: now.late.saturating_sub(before.late),
            swept: now.swept.saturating_sub(before.swept),
        }
    }

    /// The look in one line.
    pub(crate) fn line(&self) -> Line {
        let mut line = Line {
            claims: self.claims.back().copied().unwrap_or_default(),
            ..Line::default()
        };
        if let Some(stats) = &self.stats {
            line.now = stats.now.to_string();
            line.fence = stats.fence.get();
            for names in &stats.namespaces {
                let change = self.change(names);
                line.records += names.records;
                line.claimed += names.claimed;
                line.replays += change.replays;
                line.refusals += change.refusals();
                line.interruptions += change.interruptions;
                line.swept += change.swept;
            }
        }
        line
    }
}

fn push(curve: &mut VecDeque<u64>, value: u64) {
    if curve.len() == LOOKS_KEPT {
        curve.pop_front();
    }
    curve.push_back(value);
}

/// One look: what there is, and what came since the look before.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Line {
    now: String,
    fence: u64,
    records: u64,
    claimed: u64,
    claims: u64,
    replays: u64,
    refusals: u64,
    interruptions: u64,
    swept: u64,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}  {} records, {} claimed  +{} claims  +{} replays  +{} refusals  \
             +{} interruptions  +{} swept",
            self.now,
            self.records,
            self.claimed,
            self.claims,
            self.replays,
            self.refusals,
            self.interruptions,
            self.swept
        )
    }
}
