//! What a caller met, for the counts: taken from the answer it gets, once.

use std::time::Duration;

use crate::decision::{Key, Record, Timestamp};
use crate::events::Event;
use crate::operation::asked::Asked;
use crate::operation::beginning::{Begun, Started};
use crate::operation::refusal::{EndingError, Refusal};
use crate::store::engine::Engine;

/// Takes note of an answer to a request that came at `asked_at`, or now.
pub(crate) fn note_begun(
    engine: &Engine,
    asked: &Asked,
    begun: &Begun,
    asked_at: Option<Timestamp>,
) {
    note(engine, asked, event_of_begun(engine, begun, asked_at));
}

/// What an answer is to a request that came at `asked_at`, or now.
pub(crate) fn event_of_begun(engine: &Engine, begun: &Begun, asked_at: Option<Timestamp>) -> Event {
    let since = |first: Timestamp| {
        let asked_at = asked_at.unwrap_or_else(|| engine.holder.now());
        asked_at.saturating_since(first)
    };
    event_of(begun, since)
}

/// What was met inside a transaction: it counts once that is committed.
#[derive(Debug)]
pub(crate) struct Met {
    namespace: String,
    key: Key,
    event: Event,
}

impl Met {
    pub(crate) fn of(asked: &Asked, event: Event) -> Self {
        Self::in_namespace(asked.namespace.name(), &asked.key, event)
    }

    pub(crate) fn in_namespace(namespace: &str, key: &Key, event: Event) -> Self {
        Self {
            namespace: namespace.to_owned(),
            key: key.clone(),
            event,
        }
    }

    pub(crate) fn note(&self, engine: &Engine) {
        let events = &engine.holder.events;
        events.note(&self.namespace, self.key.as_str(), self.event);
    }
}

/// Takes note of a claim.
pub(crate) fn note_started(engine: &Engine, started: &Started) {
    let since = |first| engine.holder.now().saturating_since(first);
    note(engine, &started.placed.asked, claimed(started, since));
}

/// Takes note of how an ending went.
pub(crate) fn note_ending<T>(
    engine: &Engine,
    asked: &Asked,
    ended: Event,
    result: &Result<T, EndingError>,
) {
    match result {
        Ok(_) => note(engine, asked, ended),
        Err(EndingError::Superseded | EndingError::DifferentResponse) => {
            note(engine, asked, Event::Superseded);
        }
        Err(EndingError::HasCheckpoint | EndingError::StillRunning | EndingError::Ledger(_)) => {}
    }
}

pub(crate) fn note(engine: &Engine, asked: &Asked, event: Event) {
    let events = &engine.holder.events;
    events.note(asked.namespace.name(), asked.key.as_str(), event);
}

fn event_of(begun: &Begun, since: impl Fn(Timestamp) -> Duration) -> Event {
    match begun {
        Begun::Claimed(started) => claimed(started, since),
        Begun::Replay(replay) => Event::Replayed {
            delay: since(replay.first_claimed_at()),
        },
        Begun::InProgress {
            first_claimed_at, ..
        } => Event::InProgress {
            delay: since(*first_claimed_at),
        },
        Begun::Interrupted { record, .. } => Event::Interrupted {
            delay: since(record.first_claimed_at),
        },
        Begun::Refused(refusal) => match refusal {
            Refusal::Mismatch => Event::Mismatch,
            Refusal::Stale { .. } => Event::Stale,
            Refusal::Quota { .. } => Event::Quota,
            Refusal::InProgress { .. } => unreachable!("that is an answer of its own here"),
        },
    }
}

fn claimed(started: &Started, since: impl Fn(Timestamp) -> Duration) -> Event {
    match started.late_since {
        Some(first) => Event::ClaimedLate {
            delay: since(first),
        },
        None if started.record.attempts > 1 => Event::TakenOver {
            delay: since(started.record.first_claimed_at),
        },
        None => Event::Claimed,
    }
}

/// When the operation of an expired answer was first claimed, if the request is a duplicate of it.
pub(crate) fn late_since(asked: &Asked, expired: Option<&Record>) -> Option<Timestamp> {
    expired
        .filter(|record| asked.fingerprints.contains(&record.fingerprint))
        .map(|record| record.first_claimed_at)
}
