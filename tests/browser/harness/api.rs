//! The payment API: scripted, and it remembers everything.
//!
//! It keeps the contract of an idempotent server: the first request of a key that it means to
//! charge moves the money, later ones get the same receipt. So a second charge for one intent
//! shows as a second key.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::http::{Reply, Request};
use super::plan::{Answer, Arrives, Effect, Plan, Wait};

/// Longer than anything a test waits for, shorter than a person's patience.
const PATIENCE: Duration = Duration::from_secs(40);

/// A request with what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) request: Request,
    /// The key without the quotes of the header.
    pub(crate) key: String,
}

impl Seen {
    /// Which page life sent it, as the test pages say.
    pub(crate) fn page(&self) -> &str {
        self.request.header("x-page").unwrap_or("")
    }
}

/// Decides by the request and its number, counted from 0.
type Otherwise = Box<dyn FnMut(&Request, usize) -> Plan + Send>;

struct State {
    script: VecDeque<Plan>,
    otherwise: Otherwise,
    requests: Vec<Seen>,
    /// By key: which receipt.
    charged: BTreeMap<String, usize>,
    open_gates: HashSet<&'static str>,
    is_over: bool,
}

/// The API of one test.
pub(crate) struct Api {
    state: Mutex<State>,
    changed: Condvar,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

impl Api {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                script: VecDeque::new(),
                otherwise: Box::new(|_, _| Plan::pay()),
                requests: Vec::new(),
                charged: BTreeMap::new(),
                open_gates: HashSet::new(),
                is_over: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// A test that failed while holding the lock has said why already.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What becomes of the next requests; behind them, of all others, what [`Api::otherwise`]
    /// says, and an answer where nothing was said.
    pub(crate) fn next(&self, plans: impl IntoIterator<Item = Plan>) {
        self.state().script.extend(plans);
    }

    /// Drops what is left of the script.
    pub(crate) fn forget_script(&self) {
        self.state().script.clear();
    }

    pub(crate) fn otherwise(&self, plan: Plan) {
        self.otherwise_by(move |_, _| plan.clone());
    }

    pub(crate) fn otherwise_by(&self, by: impl FnMut(&Request, usize) -> Plan + Send + 'static) {
        self.state().otherwise = Box::new(by);
    }

    /// Lets the requests behind this gate go on, now and later.
    pub(crate) fn open(&self, gate: &'static str) {
        self.state().open_gates.insert(gate);
        self.changed.notify_all();
    }

    /// Waits until so many requests have come in since the start.
    #[track_caller]
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Seen> {
        let state = self.state();
        let too_few = |state: &mut State| state.requests.len() < count;
        let (state, result) = self
            .changed
            .wait_timeout_while(state, PATIENCE, too_few)
            .unwrap_or_else(PoisonError::into_inner);
        let got = state.requests.len();
        assert!(!result.timed_out(), "{got} requests came, not {count}");
        state.requests.clone()
    }

    pub(crate) fn requests(&self) -> Vec<Seen> {
        self.state().requests.clone()
    }

    /// The keys that came, each once, in their order.
    pub(crate) fn keys(&self) -> Vec<String> {
        let mut known = BTreeSet::new();
        let requests = self.requests();
        let keys = requests.into_iter().map(|seen| seen.key);
        keys.filter(|key| known.insert(key.clone())).collect()
    }

    /// How many times money moved.
    pub(crate) fn charges(&self) -> usize {
        self.state().charged.len()
    }

    /// Ends every wait, so that the connections end.
    pub(crate) fn end(&self) {
        self.state().is_over = true;
        self.changed.notify_all();
    }

    /// Answers a request; `None` is the end of its connection.
    pub(crate) fn answer(&self, request: &Request) -> (Reply, Arrives) {
        let key = request.header("idempotency-key").unwrap_or("");
        let key = key.trim_matches('"').to_owned();
        let mut state = self.state();
        let number = state.requests.len();
        let scripted = state.script.pop_front();
        let plan = scripted.unwrap_or_else(|| (state.otherwise)(request, number));
        state.requests.push(Seen {
            request: request.clone(),
            key: key.clone(),
        });
        self.changed.notify_all();
        let mut state = self.hold(state, &plan.wait);
        let next = state.charged.len() + 1;
        let is_known = state.charged.contains_key(&key);
        if plan.effect == Effect::Charge {
            state.charged.entry(key.clone()).or_insert(next);
        }
        let receipt = state.charged.get(&key).copied().unwrap_or(0);
        if plan.arrives == Arrives::Never {
            drop(self.changed.wait_while(state, |state| !state.is_over));
        }
        (reply(&plan.answer, &key, receipt, is_known), plan.arrives)
    }

    fn hold<'s>(&'s self, state: MutexGuard<'s, State>, wait: &Wait) -> MutexGuard<'s, State> {
        let (is_until_told, gate, longest) = match wait {
            Wait::No => return state,
            Wait::Milliseconds(count) => (false, "", Duration::from_millis(*count)),
            Wait::Gate(gate) => (true, *gate, PATIENCE * 10),
        };
        let held = |state: &mut State| {
            !(state.is_over || is_until_told && state.open_gates.contains(gate))
        };
        let waited = self.changed.wait_timeout_while(state, longest, held);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

fn reply(answer: &Answer, key: &str, receipt: usize, is_known: bool) -> Reply {
    match answer {
        Answer::Other(reply) => reply.clone(),
        Answer::Receipt => {
            let body = format!("{{\"receipt\":{receipt},\"key\":\"{key}\"}}");
            let reply = Reply::new(200, "application/json", body);
            if is_known {
                reply.with("Idempotency-Replayed", "true")
            } else {
                reply
            }
        }
    }
}
