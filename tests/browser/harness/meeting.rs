//! Places where tabs meet: each waits until all are there, and then all go on at once.
//!
//! Timers of a page in the background fire late; an answer of the network does not.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, PoisonError};

/// Meetings by name; a name is `NUMBER/WHATEVER`, and so many have to come.
#[derive(Debug, Default)]
pub(crate) struct Meetings {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    arrived: HashMap<String, usize>,
    is_over: bool,
}

impl Meetings {
    /// Comes to a meeting, and returns when everybody is there.
    pub(crate) fn arrive(&self, name: &str) {
        let expected = name.split('/').next().and_then(|text| text.parse().ok());
        let expected: usize = expected.expect("a meeting starts with a number");
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state.arrived.entry(name.to_owned()).or_default() += 1;
        self.changed.notify_all();
        let is_early = |state: &mut State| !state.is_over && state.arrived[name] < expected;
        drop(self.changed.wait_while(state, is_early));
    }

    pub(crate) fn end(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_over = true;
        self.changed.notify_all();
    }
}
