//! The feature `tracing` is off: the same calls as in `traced.rs`, and nothing happens.

use crate::events::Event;
use crate::events::drift::PolicyDrift;

/// A key that nobody is shown.
#[derive(Clone, Copy)]
pub(crate) struct Shown;

impl Shown {
    pub(crate) const fn of(_key: &str, _shows_keys: bool) -> Self {
        Self
    }
}

/// A span of nothing.
pub(crate) struct Entered;

pub(crate) const fn span(_call: &'static str, _operations: usize) -> Entered {
    Entered
}

pub(crate) const fn event(_namespace: &str, _key: Shown, _event: Event) {}

pub(crate) const fn drift(_drift: &PolicyDrift) {}

pub(crate) const fn repaired() {}

pub(crate) const fn trouble(_what: &str, _error: &dyn std::fmt::Display) {}

pub(crate) const fn swept(_namespace: &str, _records: u64) {}
