//! What happens, for the `tracing` crate. A subscriber that panics stops nobody.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tracing::Level;
use tracing::span::EnteredSpan;

use crate::events::Event;
use crate::events::drift::PolicyDrift;

/// The crate's own name, whatever module it is told from.
const TARGET: &str = "idempotency_ledger";

/// A key as traces show it: whole where the application asked for that, else its length alone. A
/// hash would not do, since keys are often guessable.
#[derive(Clone, Copy)]
pub(crate) enum Shown<'k> {
    Whole(&'k str),
    Redacted { bytes: usize },
}

impl<'k> Shown<'k> {
    pub(crate) fn of(key: &'k str, shows_keys: bool) -> Self {
        if shows_keys {
            Self::Whole(key)
        } else {
            Self::Redacted { bytes: key.len() }
        }
    }
}

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(key) => f.write_str(key),
            Self::Redacted { bytes } => write!(f, "<{bytes} bytes>"),
        }
    }
}

/// A span that is entered until this is dropped.
pub(crate) struct Entered(Option<EnteredSpan>);

impl Drop for Entered {
    fn drop(&mut self) {
        let span = self.0.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(span)));
    }
}

/// Enters the span of a call.
pub(crate) fn span(call: &'static str, operations: usize) -> Entered {
    let made = || tracing::debug_span!(target: TARGET, "idempotency", call, operations).entered();
    Entered(catch_unwind(AssertUnwindSafe(made)).ok())
}

/// Tells what a caller met.
pub(crate) fn event(namespace: &str, key: Shown<'_>, event: Event) {
    let what = event.name();
    let delay_ms = event.delay().map(|delay| delay.as_millis());
    quietly(|| match event {
        Event::Interrupted { .. } | Event::TakenOver { .. } | Event::Superseded => {
            tracing::event!(target: TARGET, Level::WARN, namespace, %key, delay_ms, "{what}");
        }
        Event::ClaimedLate { .. } | Event::Mismatch | Event::Stale | Event::Quota => {
            tracing::event!(target: TARGET, Level::INFO, namespace, %key, delay_ms, "{what}");
        }
        Event::Claimed
        | Event::Replayed { .. }
        | Event::InProgress { .. }
        | Event::Completed
        | Event::Released => {
            tracing::event!(target: TARGET, Level::DEBUG, namespace, %key, delay_ms, "{what}");
        }
    });
}

/// Tells that a namespace was used under another policy.
pub(crate) fn drift(drift: &PolicyDrift) {
    quietly(|| {
        tracing::warn!(
            target: TARGET,
            namespace = drift.namespace,
            version = drift.version,
            "{drift}"
        );
    });
}

/// Tells that a file was not closed cleanly, as after any crash.
pub(crate) fn repaired() {
    quietly(|| {
        tracing::warn!(target: TARGET, "the file was not closed cleanly and was repaired");
    });
}

/// Tells of what went wrong with the file.
pub(crate) fn trouble(what: &str, error: &dyn std::fmt::Display) {
    quietly(|| tracing::error!(target: TARGET, "{what}: {error}"));
}

/// Tells how many expired records a sweep removed.
pub(crate) fn swept(namespace: &str, records: u64) {
    quietly(|| tracing::debug!(target: TARGET, namespace, records, "swept"));
}

fn quietly(tell: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(tell));
}
