//! One request for an operation, and how it begins.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::decision::{Checkpoint, Fingerprint, Key, KeyError, Namespace, Scope};
use crate::error::{Error, Invalid};
use crate::holder::live_claims::Waiting;
use crate::operation::asked::Asked;
use crate::operation::beginning::{Begun, begin, look};
use crate::operation::claim::Claim;
use crate::operation::noted::note_begun;
use crate::operation::refusal::Refusal;
use crate::operation::replay::Replay;
use crate::operation::ticket::{Seen, Ticket};
use crate::store::engine::Engine;
use crate::store::group_commit::Patience;
use crate::traced;

/// How often a duplicate looks whether another process has ended.
const POLL_FIRST: Duration = Duration::from_millis(10);
const POLL_MAX: Duration = Duration::from_millis(250);

/// What a request for a key got.
///
/// Every outcome that a caller can meet is an arm; the compiler shows the one that was forgotten.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// match ledger.operation(PAYMENTS, &key, asked).begin()? {
///     Begin::Fresh(claim) => {
///         claim.complete("charged")?;
///     }
///     Begin::Replay(replay) => println!("{:?}", replay.response()),
///     Begin::Interrupted(ticket) => println!("ask the bank about {}", ticket.child_key("bank")),
///     Begin::Refused(refusal) => println!("{refusal}"),
/// }
/// assert!(matches!(ledger.operation(PAYMENTS, &key, asked).begin()?, Begin::Replay(_)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a claim in it is interrupted when it is dropped"]
pub enum Begin {
    /// The caller runs the operation.
    Fresh(Claim),
    /// It ran before; this is its answer.
    Replay(Replay),
    /// Nobody knows whether it ran.
    Interrupted(Ticket),
    /// It must not run now.
    Refused(Refusal),
}

impl Begin {
    /// Whether somebody is at it.
    pub(crate) const fn is_in_progress(&self) -> bool {
        match self {
            Self::Refused(Refusal::InProgress { .. }) => true,
            Self::Refused(Refusal::Mismatch | Refusal::Stale { .. } | Refusal::Quota { .. })
            | Self::Fresh(_)
            | Self::Replay(_)
            | Self::Interrupted(_) => false,
        }
    }
}

/// One request for an operation: settings first, then one ending, `begin`, `run`, `run_bytes`,
/// `transact` or `begin_in`.
///
/// # Concurrent calls on the same key
///
/// Exactly one gets a claim. The others are refused with [`Refusal::InProgress`], or, with
/// [`Request::wait`], wait for the winner and get its answer.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// use std::time::Duration;
///
/// let request = ledger
///     .operation(PAYMENTS, &key, asked)
///     .scope("customer-4")
///     .wait(Duration::from_secs(5));
/// assert!(matches!(request.begin()?, Begin::Fresh(_)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is begun"]
pub struct Request {
    pub(crate) engine: Arc<Engine>,
    pub(crate) asked: Asked,
    pub(crate) wait: Option<Duration>,
    bad_scope: Option<KeyError>,
}

impl Request {
    pub(crate) fn new(
        engine: Arc<Engine>,
        namespace: Namespace,
        key: Key,
        fingerprint: Fingerprint,
    ) -> Self {
        let key = namespace.current_policy().stored_key(key);
        let asked = Asked {
            namespace,
            key,
            scope: Scope::NONE,
            fingerprints: vec![fingerprint],
            program: String::new(),
            starts_at: None,
        };
        Self {
            engine,
            asked,
            wait: None,
            bad_scope: None,
        }
    }

    /// Makes the key's owner (a principal, a route) part of its identity. Default: none. More
    /// than 255 bytes are refused when the operation begins.
    pub fn scope(mut self, scope: impl AsRef<[u8]>) -> Self {
        match Scope::new(scope.as_ref()) {
            Ok(scope) => self.asked.scope = scope,
            Err(error) => self.bad_scope = Some(error),
        }
        self
    }

    /// How long to wait for another caller that is at it. Default: not at all.
    pub fn wait(mut self, span: Duration) -> Self {
        self.wait = Some(span);
        self
    }

    /// Stores a name with the claim that says who made it, at most 255 bytes. Default: none.
    pub fn program(mut self, name: impl Into<String>) -> Self {
        self.asked.program = name.into();
        self
    }

    /// Gives a new claim a recovery point from its first commit on.
    pub(crate) fn starting_at(mut self, reached: Checkpoint) -> Self {
        self.asked.starts_at = Some(reached);
        self
    }

    /// Accepts a record made with an older fingerprint of the same request, after the
    /// application has changed how it makes them.
    pub fn also_accept(mut self, older: Fingerprint) -> Self {
        self.asked.fingerprints.push(older);
        self
    }

    /// The key.
    pub fn key(&self) -> &Key {
        &self.asked.key
    }

    /// Begins the operation. A claim in the answer is on disk.
    ///
    /// # Errors
    ///
    /// [`Error`]; expected refusals are [`Begin::Refused`].
    ///
    /// # Blocking
    ///
    /// Until the commit is on disk, and with [`Request::wait`] for another caller. Waiting in
    /// the same process polls nothing; for another process it looks several times a second.
    ///
    /// # Deadlocks
    ///
    /// Beginning while the thread holds a write transaction, or waiting for a claim that it
    /// holds itself, is [`Error::WouldDeadlock`].
    pub fn begin(self) -> Result<Begin, Error> {
        self.check()?;
        let engine = Arc::clone(&self.engine);
        engine.check_writable()?;
        let _span = traced::span("begin", 1);
        let until = self.until();
        let asked_at = self.wait.map(|_| engine.holder.now());
        let asked = Arc::new(self.asked);
        let begun = wait_for_answer(
            &engine,
            &asked,
            until,
            || begin_once(&engine, &asked),
            Begun::lease_left,
        )?;
        note_begun(&engine, &asked, &begun, asked_at);
        Ok(finish(&engine, begun))
    }

    /// Refuses what cannot work, before anything is looked at.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.check_input()?;
        if self.engine.commits.is_held_here() {
            return Err(Error::WouldDeadlock {
                held: "an open write transaction",
            });
        }
        Ok(())
    }

    pub(crate) fn check_input(&self) -> Result<(), Error> {
        if let Some(error) = self.bad_scope {
            return Err(Error::Invalid(Invalid::Scope(error)));
        }
        self.asked.check()
    }

    /// When the caller's patience ends, as elapsed time; `None` for a caller that does not wait.
    pub(crate) fn until(&self) -> Option<Duration> {
        self.wait
            .map(|span| self.engine.holder.clock.elapsed().saturating_add(span))
    }
}

/// One look, and one claim if the look allows it.
fn begin_once(engine: &Engine, asked: &Arc<Asked>) -> Result<Begun, Error> {
    if let Some(begun) = look(engine, asked)? {
        return Ok(begun);
    }
    let bytes = asked.batch_bytes();
    let (asked, caller) = (Arc::clone(asked), thread::current().id());
    engine.submit(Patience::Bounded, bytes, move |store| {
        begin(store, &asked, caller)
    })
}

/// Tries until the operation is not in progress, or the caller's patience ends. `lease_left`
/// tells from an answer how long its lease still runs, if it is in progress.
pub(crate) fn wait_for_answer<T>(
    engine: &Engine,
    asked: &Asked,
    until: Option<Duration>,
    mut attempt: impl FnMut() -> Result<T, Error>,
    lease_left: impl Fn(&T) -> Option<Duration>,
) -> Result<T, Error> {
    let Some(until) = until else {
        return attempt();
    };
    let identity = asked.identity();
    let mut poll = Pause::first_poll();
    loop {
        // Entered before looking: a claim that ends in between is not missed.
        let waiting = engine.holder.claims.enter(&identity);
        let answer = attempt()?;
        let Some(lease_left) = lease_left(&answer) else {
            return Ok(answer);
        };
        if engine.holder.claims.is_own(&identity) {
            return Err(Error::WouldDeadlock {
                held: "the claim on this key",
            });
        }
        match pause_for(engine, &identity, until, lease_left, &mut poll) {
            Pause::Over => return Ok(answer),
            Pause::Until(at) => {
                let _ = waiting.signal.wait(&*engine.holder.clock, Some(at));
            }
            Pause::Poll(pause) => poll_pause(&waiting, pause),
        }
    }
}

/// How long a duplicate waits before it decides anew.
pub(crate) enum Pause {
    /// Its patience has ended.
    Over,
    /// Until the claim of this process ends, or the ledger's clock has shown this.
    Until(Duration),
    /// A pause of real time, after which another process is looked at again.
    Poll(Duration),
}

impl Pause {
    pub(crate) const fn first_poll() -> Duration {
        POLL_FIRST
    }
}

pub(crate) fn pause_for(
    engine: &Engine,
    identity: &[u8],
    until: Duration,
    lease_left: Duration,
    poll: &mut Duration,
) -> Pause {
    let now = engine.holder.clock.elapsed();
    if now >= until {
        return Pause::Over;
    }
    if engine.holder.claims.holds(identity) {
        return Pause::Until(until.min(now.saturating_add(lease_left)));
    }
    let pause = *poll;
    *poll = (pause * 2).min(POLL_MAX);
    Pause::Poll(pause)
}

/// Another process tells nobody when it ends, so it is looked at again after a real pause.
fn poll_pause(waiting: &Waiting, pause: Duration) {
    let clock = SystemClock::new();
    let _ = waiting
        .signal
        .wait(&clock, Some(clock.elapsed().saturating_add(pause)));
}

pub(crate) fn finish(engine: &Arc<Engine>, begun: Begun) -> Begin {
    match begun {
        Begun::Claimed(started) => Begin::Fresh(Claim::new(Arc::clone(engine), started)),
        Begun::Replay(replay) => Begin::Replay(replay),
        Begun::Interrupted {
            placed,
            record,
            overdue,
            work,
        } => Begin::Interrupted(Ticket::new(
            Arc::clone(engine),
            placed,
            Seen::of(record, overdue, work),
        )),
        Begun::InProgress { retry_after, .. } => {
            Begin::Refused(Refusal::InProgress { retry_after })
        }
        Begun::Refused(refusal) => Begin::Refused(refusal),
    }
}
