//! Looking at records, and ending interrupted ones by hand.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::decision::{
    self, Checkpoint, Claimed, Completed, Decision, Demanded, Fence, Fingerprint, Key, KeyAge,
    Liveness, Namespace, Record, ResolveRefusal, Response, Room, Scope, SeenClaim, State,
    Timestamp, Work, decide,
};
use crate::error::{Error, Invalid};
use crate::operation::asked::{Asked, Placed, check_response, check_supplied, identity};
use crate::operation::beginning::is_unchanged;
use crate::operation::ticket::{self, Ticket};
use crate::store::engine::Engine;
use crate::store::group_commit::Patience;
use crate::store::tables::record_key;
use crate::store::write_store::WriteStore;

/// One key's record, to look at or to end by hand; see [`Ledger::record`](crate::Ledger::record).
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// drop(ledger.operation(PAYMENTS, &key, asked).begin()?); // interrupted
/// let record = ledger.record(PAYMENTS, &key);
/// let seen = record.peek()?.expect("a claim was stored");
/// assert_eq!(seen.state(), RecordState::Interrupted);
/// let resolved = record.resolve_at(seen.fence(), Resolution::Completed("charged".into()))?;
/// assert_eq!(resolved, Resolved::Done);
/// assert_eq!(record.resolve(Resolution::Released)?, Resolved::AlreadyCompleted);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a handle does nothing until it is asked"]
pub struct RecordHandle {
    engine: Arc<Engine>,
    namespace: Namespace,
    key: Key,
    scope: Result<Scope, decision::KeyError>,
}

/// How an interrupted operation is ended by hand.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// let happened = Resolution::Completed(Response::raw("charged 25 EUR"));
/// assert_ne!(happened, Resolution::Released);
/// assert_eq!(ledger.record(PAYMENTS, &key).resolve(happened)?, Resolved::NothingThere);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// It happened, and this is its answer.
    Completed(Response),
    /// It did not happen; the next begin is fresh. Unlike a release by its holder, this is also
    /// allowed when a checkpoint is stored: whoever resolves has looked.
    Released,
}

/// What resolving or forgetting came to. Only `Done` has changed anything.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// assert_eq!(ledger.record(PAYMENTS, &key).forget()?, Resolved::NothingThere);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "anything but done has changed nothing"]
pub enum Resolved {
    /// It is done and on disk.
    Done,
    /// Nothing is stored under the key.
    NothingThere,
    /// The claim is alive: its holder ends it.
    StillAlive,
    /// The holder is gone, but a process that it started still runs.
    StillRunning,
    /// The record is not the one demanded: it has another fence, or has changed since it was seen.
    Superseded,
    /// It is completed already.
    AlreadyCompleted,
}

impl From<ResolveRefusal> for Resolved {
    fn from(refusal: ResolveRefusal) -> Self {
        match refusal {
            ResolveRefusal::NothingThere => Self::NothingThere,
            ResolveRefusal::StillAlive => Self::StillAlive,
            ResolveRefusal::StillRunning => Self::StillRunning,
            ResolveRefusal::Superseded => Self::Superseded,
            ResolveRefusal::AlreadyCompleted => Self::AlreadyCompleted,
        }
    }
}

impl RecordHandle {
    pub(crate) fn new(engine: Arc<Engine>, namespace: Namespace, key: Key) -> Self {
        let key = namespace.current_policy().stored_key(key);
        Self {
            engine,
            namespace,
            key,
            scope: Ok(Scope::NONE),
        }
    }

    /// The scope of the key. Default: none. More than 255 bytes are refused by the call.
    pub fn scope(mut self, scope: impl AsRef<[u8]>) -> Self {
        self.scope = Scope::new(scope.as_ref());
        self
    }

    fn checked_scope(&self) -> Result<Scope, Error> {
        self.scope
            .clone()
            .map_err(|error| Error::Invalid(Invalid::Scope(error)))
    }

    /// Looks at the record without changing anything. What has expired is not there.
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub fn peek(&self) -> Result<Option<RecordInfo>, Error> {
        let scope = self.checked_scope()?;
        let (engine, name) = (&*self.engine, self.namespace.name());
        let found = engine.read(|snapshot| {
            let Some(id) = engine.namespace_id(snapshot, name)? else {
                return Ok(None);
            };
            let record_key = record_key(id, &self.key, &scope);
            let record = snapshot.get(&record_key)?;
            Ok(record.map(|record| (record_key, record)))
        })?;
        let Some((record_key, record)) = found else {
            return Ok(None);
        };
        let whose = Whose {
            namespace: self.namespace.clone(),
            key: self.key.clone(),
            scope,
        };
        RecordInfo::settled(engine, whose, &record_key, record)
    }

    /// Ends an interrupted operation by hand.
    ///
    /// # Errors
    ///
    /// [`Error`]; a record that cannot be resolved is a [`Resolved`] that says why.
    ///
    /// # Blocking
    ///
    /// Until the commit is on disk.
    pub fn resolve(&self, resolution: Resolution) -> Result<Resolved, Error> {
        self.end(Demanded::Any, resolution)
    }

    /// Like [`RecordHandle::resolve`], but only if the record still has the fence that was seen.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn resolve_at(&self, seen: Fence, resolution: Resolution) -> Result<Resolved, Error> {
        self.end(Demanded::Fence(seen), resolution)
    }

    /// Like [`RecordHandle::resolve`], but only if the record is still what the look found: the
    /// fence, the end of its lease and the checkpoint.
    ///
    /// ```
    /// # use idempotency_ledger::*;
    /// # const PAYMENTS: Namespace = Namespace::new("payments");
    /// # let ledger = Ledger::in_memory()?;
    /// # let key = Key::new("order-17")?;
    /// # let asked = Fingerprint::of(["pay", "25"]);
    /// drop(ledger.operation(PAYMENTS, &key, asked).begin()?); // interrupted
    /// let record = ledger.record(PAYMENTS, &key);
    /// let seen = record.peek()?.expect("a claim was stored");
    /// assert_eq!(record.resolve_seen(&seen, Resolution::Released)?, Resolved::Done);
    /// assert_eq!(record.resolve_seen(&seen, Resolution::Released)?, Resolved::NothingThere);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As there.
    pub fn resolve_seen(
        &self,
        seen: &RecordInfo,
        resolution: Resolution,
    ) -> Result<Resolved, Error> {
        let demanded = match SeenClaim::of(&seen.record) {
            Some(claim) => Demanded::Claim(claim),
            None => Demanded::Fence(seen.fence()),
        };
        self.end(demanded, resolution)
    }

    fn end(&self, demanded: Demanded, resolution: Resolution) -> Result<Resolved, Error> {
        let policy = *self.namespace.current_policy();
        let bytes = match &resolution {
            Resolution::Completed(response) => response.bytes().len(),
            Resolution::Released => 0,
        };
        check_response(&policy, bytes)?;
        let key = self.key.clone();
        self.change(bytes, move |store, record_key| {
            let stored = store.get(record_key)?;
            let evidence = store.evidence(stored.as_ref());
            let record = match decision::may_resolve(stored.as_ref(), &demanded, evidence) {
                Ok(record) => record,
                Err(refusal) => return Ok(refusal.into()),
            };
            match resolution {
                Resolution::Released => store.remove(record_key, Some(record))?,
                Resolution::Completed(response) => {
                    // Nothing is written yet, so it fails for this call alone.
                    check_supplied(&record.fingerprint, &response)?;
                    let fence = record.fence;
                    let done = decision::complete(
                        Some(record),
                        fence,
                        &key,
                        &policy,
                        &response,
                        store.now,
                    );
                    match done {
                        Ok(decision::Completion::Store(completed)) => {
                            store.put(record_key, Some(record), &completed)?;
                        }
                        Ok(decision::Completion::AlreadyStored) => {}
                        Err(_) => return Ok(Resolved::AlreadyCompleted),
                    }
                }
            }
            Ok(Resolved::Done)
        })
    }

    /// The ticket of an interrupted operation, without asking for it as its callers do; `None`
    /// where it is not interrupted. For recovery by key;
    /// [`Ledger::ticket`](crate::Ledger::ticket) has the example.
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub fn ticket(&self) -> Result<Option<Ticket>, Error> {
        match self.peek()? {
            Some(seen) => ticket_of(&self.engine, &seen),
            None => Ok(None),
        }
    }

    /// Removes a completed or an interrupted record, also a damaged one: the next begin is fresh,
    /// and so the operation may run again.
    ///
    /// # Errors
    ///
    /// [`Error`]; a record that cannot be forgotten is a [`Resolved`] that says why.
    ///
    /// # Blocking
    ///
    /// Until the commit is on disk.
    pub fn forget(&self) -> Result<Resolved, Error> {
        self.change(0, |store, record_key| {
            let stored = match store.get(record_key) {
                Err(Error::Damaged { .. }) => {
                    store.remove_unreadable(record_key)?;
                    return Ok(Resolved::Done);
                }
                stored => stored?,
            };
            let evidence = store.evidence(stored.as_ref());
            match decision::forget(stored.as_ref(), evidence) {
                Ok(record) => {
                    store.remove(record_key, Some(record))?;
                    Ok(Resolved::Done)
                }
                Err(refusal) => Ok(refusal.into()),
            }
        })
    }

    fn change(
        &self,
        bytes: usize,
        work: impl FnOnce(&mut WriteStore<'_>, &[u8]) -> Result<Resolved, Error> + Send + 'static,
    ) -> Result<Resolved, Error> {
        let scope = self.checked_scope()?;
        let waits = identity(self.namespace.name(), &self.key, &scope);
        let (name, key) = (self.namespace.name().to_owned(), self.key.clone());
        let bytes = bytes.saturating_add(1_024);
        let result = self.engine.submit(Patience::Bounded, bytes, move |store| {
            let Some(id) = store.namespace_id(&name)? else {
                return Ok(Resolved::NothingThere);
            };
            work(store, &record_key(id, &key, &scope))
        });
        self.engine.holder.claims.wake(&waits);
        result
    }
}

/// The ticket of what a look found, if that is interrupted. It ends that and nothing newer.
pub(crate) fn ticket_of(engine: &Arc<Engine>, info: &RecordInfo) -> Result<Option<Ticket>, Error> {
    if info.state() != RecordState::Interrupted {
        return Ok(None);
    }
    let asked = info.asked();
    let name = asked.namespace.name();
    let Some(id) = engine.read(|snapshot| engine.namespace_id(snapshot, name))? else {
        return Ok(None);
    };
    let placed = Placed {
        record_key: asked.record_key(id).into(),
        asked: Arc::new(asked),
    };
    let seen = ticket::Seen::of(info.record.clone(), info.seen.overdue, info.seen.work);
    Ok(Some(Ticket::new(Arc::clone(engine), placed, seen)))
}

/// Where an operation stands, as a look finds it.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// assert_eq!(RecordState::Interrupted.to_string(), "interrupted");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordState {
    /// Somebody is at it.
    Claimed,
    /// Nobody knows whether it happened.
    Interrupted,
    /// It happened; its answer is stored.
    Completed,
}

impl RecordState {
    /// The word for it, as in messages and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Interrupted => "interrupted",
            Self::Completed => "completed",
        }
    }
}

impl fmt::Display for RecordState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The identity of a record, in the words of the caller.
#[derive(Clone, Debug)]
pub(crate) struct Whose {
    /// With the policy that was given, or the stored one.
    pub(crate) namespace: Namespace,
    pub(crate) key: Key,
    pub(crate) scope: Scope,
}

/// The policy is no part of the identity.
impl PartialEq for Whose {
    fn eq(&self, other: &Self) -> bool {
        let named = |whose: &Self| whose.namespace.name() == self.namespace.name();
        named(other) && self.key == other.key && self.scope == other.scope
    }
}

impl Eq for Whose {}

/// A record as a look found it.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// ledger.operation(PAYMENTS, &key, asked).program("shop").run_bytes(|_| Ok::<_, Error>("ok"))?;
/// let info = ledger.record(PAYMENTS, &key).peek()?.expect("it was stored");
/// assert_eq!((info.state(), info.attempts()), (RecordState::Completed, 1));
/// assert_eq!(info.program(), "shop");
/// assert_eq!(info.response().map(|response| response.bytes()), Some(&b"ok"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordInfo {
    whose: Whose,
    record: Record,
    seen: Seen,
}

/// What a record means together with what is known of its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    state: RecordState,
    overdue: bool,
    work: Work,
}

impl Seen {
    /// `None` for a record that has expired: it is not there.
    fn of(engine: &Engine, record: &Record, now: Timestamp) -> Option<Self> {
        let (liveness, work) = if record.is_claimed() {
            let evidence = engine.holder.evidence(Some(record), now);
            (evidence.liveness, evidence.work)
        } else {
            (Liveness::Unknown, Work::Ended)
        };
        let asked = [record.fingerprint];
        let hint = Duration::ZERO;
        let (state, overdue) = match decide(
            Some(record),
            &asked,
            KeyAge::Accepted,
            Room::Free,
            hint,
            liveness,
            now,
        ) {
            Decision::Replay => (RecordState::Completed, false),
            Decision::InProgress { .. } => (RecordState::Claimed, false),
            Decision::Interrupted { overdue } => (RecordState::Interrupted, overdue),
            Decision::Expired
            | Decision::Fresh
            | Decision::Mismatch
            | Decision::Stale
            | Decision::Ahead
            | Decision::Quota => return None,
        };
        Some(Self {
            state,
            overdue,
            work,
        })
    }
}

impl RecordInfo {
    /// What a record says, looked for its holder; `None` for one that has expired. A record that
    /// changed while its holder was looked for is read again.
    pub(crate) fn settled(
        engine: &Engine,
        whose: Whose,
        record_key: &[u8],
        mut record: Record,
    ) -> Result<Option<Self>, Error> {
        loop {
            let Some(seen) = Seen::of(engine, &record, engine.holder.now()) else {
                return Ok(None);
            };
            let is_settled = seen.state != RecordState::Interrupted
                || is_unchanged(engine, record_key, &record)?;
            if is_settled {
                return Ok(Some(Self {
                    whose,
                    record,
                    seen,
                }));
            }
            match engine.read(|snapshot| snapshot.get(record_key))? {
                Some(newer) => record = newer,
                None => return Ok(None),
            }
        }
    }

    /// The namespace's name.
    pub fn namespace(&self) -> &str {
        self.whose.namespace.name()
    }

    /// The key.
    pub const fn key(&self) -> &Key {
        &self.whose.key
    }

    /// The scope.
    pub const fn scope(&self) -> &Scope {
        &self.whose.scope
    }

    /// Where the operation stands.
    pub const fn state(&self) -> RecordState {
        self.seen.state
    }

    /// The fence of the newest claim.
    pub const fn fence(&self) -> Fence {
        self.record.fence
    }

    /// How many claims the operation has had.
    pub const fn attempts(&self) -> u32 {
        self.record.attempts
    }

    /// What the request asked for.
    pub const fn fingerprint(&self) -> &Fingerprint {
        &self.record.fingerprint
    }

    /// The name of the program that claimed it; may be empty.
    pub fn program(&self) -> &str {
        &self.record.program
    }

    /// The version of the policy it was claimed under.
    pub const fn policy_version(&self) -> u32 {
        self.record.policy.version
    }

    /// When the operation was first claimed.
    pub const fn first_claimed_at(&self) -> Timestamp {
        self.record.first_claimed_at
    }

    /// When it was last claimed.
    pub const fn claimed_at(&self) -> Timestamp {
        self.record.claimed_at
    }

    fn claimed(&self) -> Option<&Claimed> {
        match &self.record.state {
            State::Claimed(claimed) => Some(claimed),
            State::Completed(_) => None,
        }
    }

    const fn completed(&self) -> Option<&Completed> {
        self.record.completed()
    }

    /// When the lease of a claim ends or has ended; `None` once it is completed.
    pub fn lease_until(&self) -> Option<Timestamp> {
        self.claimed().map(|claimed| claimed.lease_until)
    }

    /// The last recovery point of a claim.
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        self.claimed()
            .and_then(|claimed| claimed.checkpoint.as_ref())
    }

    /// When the answer was stored.
    pub fn completed_at(&self) -> Option<Timestamp> {
        self.completed().map(|completed| completed.completed_at)
    }

    /// When the answer no longer counts.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.completed().map(|completed| completed.expires_at)
    }

    /// The stored answer.
    pub fn response(&self) -> Option<&Response> {
        self.completed().map(|completed| &completed.response)
    }

    /// The key that the operation used for a downstream call: what to ask the other side about.
    pub fn child_key(&self, label: &str) -> Key {
        self.asked().child_key(&self.record.fingerprint, label)
    }

    /// The request that the record answers, as far as it is stored.
    fn asked(&self) -> Asked {
        let Whose {
            namespace,
            key,
            scope,
        } = self.whose.clone();
        Asked {
            namespace,
            key,
            scope,
            fingerprints: vec![self.record.fingerprint],
            program: String::new(),
            starts_at: None,
        }
    }

    /// Whether the holder still lives although its lease is over.
    pub const fn is_overdue(&self) -> bool {
        self.seen.overdue
    }

    /// Whether a process that the holder started still runs although the holder is gone.
    pub fn is_running(&self) -> bool {
        self.seen.state == RecordState::Interrupted && self.seen.work == Work::Running
    }
}
