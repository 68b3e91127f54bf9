//! The guard of a claim: the right to run an operation now.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::clock::{Signal, Woken, locked};
use crate::decision::{
    self, Checkpoint, Completion, EndingRefusal, Fence, Fingerprint, Key, Policy, Record, Response,
    State, Timestamp,
};
use crate::error::Error;
use crate::events::Event;
use crate::holder::live_claims::LiveClaim;
use crate::holder::side_file::RunLock;
use crate::operation::asked::{Placed, check_kind};
use crate::operation::beginning::Started;
use crate::operation::noted::{Met, note, note_ending};
use crate::operation::refusal::{CompleteError, EndingError, ReleaseError};
use crate::operation::replay::Replay;
use crate::operation::write_txn::WriteTxn;
use crate::store::engine::Engine;
use crate::store::group_commit::Patience;
use crate::store::write_store::WriteStore;

/// The right, held by this caller alone, to run the operation of a key now. It is on disk before
/// the caller gets it.
///
/// It ends in one of three ways: [`Claim::complete`] when the effect happened, whatever its
/// outcome; [`Claim::release`] when it certainly did not happen; dropped, also by a panic or the
/// end of the process, when nobody knows: the key is then interrupted. Dropping writes nothing.
///
/// ```
/// use idempotency_ledger::{Begin, Fingerprint, Key, Ledger, Namespace};
///
/// const PAYMENTS: Namespace = Namespace::new("payments");
/// let ledger = Ledger::in_memory()?;
/// let key = Key::new("order-17")?;
/// let asked = Fingerprint::of(["pay", "25"]);
/// let Begin::Fresh(claim) = ledger.operation(PAYMENTS, &key, asked).begin()? else {
///     panic!("the key is new");
/// };
/// // ... the effect ...
/// let stored = claim.complete("charged")?;
/// assert_eq!(stored.response().bytes(), b"charged");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a claim that is dropped leaves its key interrupted"]
pub struct Claim(Box<Held>);

/// What a claim consists of; apart, so that errors which carry one stay small.
struct Held {
    engine: Arc<Engine>,
    placed: Placed,
    fence: Fence,
    attempt: u32,
    fingerprint: Fingerprint,
    lease: Duration,
    /// Shared with the thread of a keep-alive.
    standing: Arc<Mutex<Standing>>,
    live: LiveClaim,
}

/// A claim as a batch sees it that ends it.
pub(crate) struct EndedClaim {
    pub(crate) placed: Placed,
    pub(crate) fence: Fence,
}

impl EndedClaim {
    pub(crate) fn batch_bytes(&self) -> usize {
        self.placed.asked.batch_bytes()
    }
}

/// Whether a claim still stands in a write transaction.
pub(crate) fn holds_in(store: &mut WriteStore<'_>, claim: &EndedClaim) -> Result<bool, Error> {
    let stored = store.get(&claim.placed.record_key)?;
    Ok(decision::renew(stored.as_ref(), claim.fence, store.now).is_ok())
}

/// What changes while a claim is held.
#[derive(Clone, Debug)]
struct Standing {
    lease_until: Timestamp,
    checkpoint: Option<Checkpoint>,
}

impl Claim {
    pub(crate) fn new(engine: Arc<Engine>, started: Started) -> Self {
        let Started {
            placed,
            record,
            live,
            late_since: _,
        } = started;
        let (lease_until, checkpoint) = match record.state {
            State::Claimed(claimed) => (claimed.lease_until, claimed.checkpoint),
            State::Completed(completed) => (completed.completed_at, None),
        };
        Self(Box::new(Held {
            engine,
            placed,
            fence: record.fence,
            attempt: record.attempts,
            fingerprint: record.fingerprint,
            lease: record.policy.lease,
            standing: Arc::new(Mutex::new(Standing {
                lease_until,
                checkpoint,
            })),
            live,
        }))
    }

    /// The fencing token: hand it to the resource that the operation changes.
    pub const fn fence(&self) -> Fence {
        self.0.fence
    }

    /// The key of the operation.
    pub fn key(&self) -> &Key {
        &self.0.placed.asked.key
    }

    /// Which attempt this is, counted from 1.
    pub const fn attempt(&self) -> u32 {
        self.0.attempt
    }

    /// How long the claim may run from its begin or last renewal.
    pub const fn lease(&self) -> Duration {
        self.0.lease
    }

    /// When the claim counts as interrupted, in the ledger's time.
    pub fn lease_until(&self) -> Timestamp {
        locked(&self.0.standing).lease_until
    }

    /// The last checkpoint, of this attempt or of one before it.
    pub fn last_checkpoint(&self) -> Option<Checkpoint> {
        locked(&self.0.standing).checkpoint.clone()
    }

    /// The key for a downstream call. The same for every attempt of the operation, so that the
    /// other side deduplicates; different for every label.
    pub fn child_key(&self, label: &str) -> Key {
        self.0.placed.asked.child_key(&self.0.fingerprint, label)
    }

    /// Gives the claim its whole lease again, counted from now, and returns when that is over.
    /// Works after the lease is over, as long as nobody took over.
    ///
    /// # Errors
    ///
    /// [`EndingError::Superseded`] when somebody took over; [`EndingError::Ledger`].
    ///
    /// # Blocking
    ///
    /// Until the commit is on disk.
    pub fn renew(&self) -> Result<Timestamp, EndingError> {
        let fence = self.0.fence;
        let record = self.change(0, move |stored, now| decision::renew(stored, fence, now))?;
        Ok(extend(&self.0.standing, &record))
    }

    /// Stores a named recovery point, which is handed to whoever takes the operation over. From
    /// then on the claim cannot be released.
    ///
    /// # Errors
    ///
    /// [`EndingError::Superseded`] when somebody took over; [`EndingError::Ledger`], also for
    /// bytes above the response limit.
    ///
    /// # Blocking
    ///
    /// Until the commit is on disk.
    pub fn checkpoint(&self, name: &str, bytes: &[u8]) -> Result<(), EndingError> {
        let reached = Checkpoint {
            name: name.to_owned(),
            bytes: bytes.to_vec(),
        };
        self.check_checkpoint(&reached)?;
        let fence = self.0.fence;
        let record = self.change(bytes.len(), move |stored, _| {
            decision::checkpoint(stored, fence, reached)
        })?;
        self.stands_at(&record);
        Ok(())
    }

    /// It happened: stores the response, which every retry gets for the length of the retention.
    /// A definite failure (a declined card) is something that happened, too.
    ///
    /// Works after the lease is over, as long as nobody took over. When this returns, the
    /// response is on disk.
    ///
    /// # Errors
    ///
    /// [`CompleteError`] with the claim and the response.
    ///
    /// # Blocking
    ///
    /// Until the commit is on disk. An ending is never refused for lack of room.
    pub fn complete(self, response: impl Into<Response>) -> Result<Replay, CompleteError> {
        let response = response.into();
        self.0.live.touch();
        if let Err(error) = self.check_completion(&self.0.engine, &response) {
            return Err(CompleteError {
                claim: self,
                response,
                error: error.into(),
            });
        }
        let (engine, placed) = (&self.0.engine, &self.0.placed);
        let (response, result) = submit_completion(engine, placed, self.0.fence, response);
        note_ending(engine, &placed.asked, Event::Completed, &result);
        result.map_err(|error| CompleteError {
            claim: self,
            response,
            error,
        })
    }

    /// Stores the response with the commit of a transaction of the caller's own: what the
    /// application writes about the effect and the answer are one commit. If that is rolled back,
    /// the key is interrupted.
    ///
    /// ```
    /// # use idempotency_ledger::*;
    /// # const PAYMENTS: Namespace = Namespace::new("payments");
    /// # let ledger = Ledger::in_memory()?;
    /// # let key = Key::new("order-17")?;
    /// # let asked = Fingerprint::of(["pay", "25"]);
    /// use idempotency_ledger::redb::TableDefinition;
    ///
    /// const ORDERS: TableDefinition<u64, &str> = TableDefinition::new("orders");
    /// let Begin::Fresh(claim) = ledger.operation(PAYMENTS, &key, asked).begin()? else {
    ///     panic!("the key is new");
    /// };
    /// // ... the charge, elsewhere ...
    /// let txn = ledger.write()?;
    /// txn.open_table(ORDERS)?.insert(17, "paid")?;
    /// claim.complete_in(&txn, "charged")?;
    /// let _ = txn.commit()?;
    /// assert!(ledger.read()?.open_table(ORDERS)?.get(17)?.is_some());
    /// assert!(matches!(ledger.operation(PAYMENTS, &key, asked).begin()?, Begin::Replay(_)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`CompleteError`] with the claim and the response. Where that is found out before anything
    /// is written (a response above the limit, another ledger's transaction), the transaction goes
    /// on; else it can no longer commit.
    pub fn complete_in(
        self,
        txn: &WriteTxn<'_>,
        response: impl Into<Response>,
    ) -> Result<Replay, CompleteError> {
        let response = response.into();
        self.0.live.touch();
        let checked = self.check_completion(txn.engine(), &response);
        let result = checked.map_err(EndingError::from).and_then(|()| {
            let (placed, fence) = (&self.0.placed, self.0.fence);
            txn.end(|store| complete_in(store, placed, fence, &response))
        });
        match result {
            Ok(replay) => {
                txn.note_behind_commit(Met::of(&self.0.placed.asked, Event::Completed));
                txn.wake_behind_commit(self.0.live);
                Ok(replay)
            }
            Err(error) => Err(CompleteError {
                claim: self,
                response,
                error,
            }),
        }
    }

    /// It certainly did not happen: removes the record, and the next begin is fresh.
    ///
    /// # Errors
    ///
    /// [`ReleaseError`] with the claim, also once a checkpoint is stored.
    ///
    /// # Blocking
    ///
    /// Until the commit is on disk.
    pub fn release(self) -> Result<(), ReleaseError> {
        self.0.live.touch();
        let (engine, placed) = (&self.0.engine, &self.0.placed);
        let released = submit_release(engine, placed, self.0.fence);
        note_ending(engine, &placed.asked, Event::Released, &released);
        match released {
            Ok(()) => Ok(()),
            Err(error) => Err(ReleaseError { claim: self, error }),
        }
    }

    /// Renews the lease every third of it, on a thread that ends when the guard is dropped.
    ///
    /// # Panics
    ///
    /// When the system has no thread left.
    pub fn keep_alive(&self) -> KeepAlive {
        let stop = Signal::default();
        let (engine, placed) = (Arc::clone(&self.0.engine), self.0.placed.clone());
        let (fence, pause) = (self.0.fence, self.0.lease / 3);
        let standing = Arc::clone(&self.0.standing);
        let stopped = stop.clone();
        let renewing = move || {
            loop {
                let until = engine.holder.clock.elapsed().saturating_add(pause);
                match stopped.wait(&*engine.holder.clock, Some(until)) {
                    Woken::Fired => return,
                    Woken::TimedOut => {}
                }
                let renewed = submit_change(&engine, &placed, 0, move |stored, now| {
                    decision::renew(stored, fence, now)
                });
                match renewed {
                    Ok(record) => {
                        let _ = extend(&standing, &record);
                    }
                    Err(EndingError::Superseded) => return,
                    // Tried again in a third of the lease.
                    Err(_) => {}
                }
            }
        };
        let thread = thread::Builder::new()
            .name("idempotency-lease".into())
            .spawn(renewing);
        KeepAlive {
            engine: Arc::clone(&self.0.engine),
            stop,
            thread: Some(thread.expect("the system has a thread left")),
        }
    }

    /// Takes a lock that says "work of this claim still runs", on a file handle that a child
    /// process may inherit. While any copy of it is open, the key is interrupted at most: nobody
    /// runs it again, also after the death of this process.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] where the ledger was not opened by the name of its file.
    pub fn run_lock(&self) -> Result<RunLock, Error> {
        let side = self
            .0
            .engine
            .holder
            .claims
            .side_file()
            .ok_or(Error::Unsupported {
                reason: "a run lock lies in the side file, which this ledger does not have; open \
                         it by the name of its file",
            })?;
        side.run_lock(self.0.fence).map_err(Error::io)
    }

    /// Refuses a completion that could not be stored, before anything is written.
    pub(crate) fn check_completion(
        &self,
        engine: &Arc<Engine>,
        response: &Response,
    ) -> Result<(), Error> {
        if !Arc::ptr_eq(engine, &self.0.engine) {
            let reason = "the claim belongs to another ledger";
            return Err(Error::Unsupported { reason });
        }
        let asked = &self.0.placed.asked;
        asked.check_response(response.bytes().len())?;
        check_kind(&self.0.fingerprint, response)
    }

    /// What a batch has to know to end the claim.
    pub(crate) fn ended(&self) -> EndedClaim {
        EndedClaim {
            placed: self.0.placed.clone(),
            fence: self.0.fence,
        }
    }

    /// Stores a recovery point and gives the claim its whole lease again, in one commit.
    pub(crate) fn advance(&self, reached: Checkpoint) -> Result<(), EndingError> {
        self.check_checkpoint(&reached)?;
        let bytes = reached.bytes.len();
        let record = self.change(bytes, advanced(self.0.fence, reached))?;
        self.stands_at(&record);
        Ok(())
    }

    /// The same with the commit of a transaction; without it, the transaction is rolled back.
    pub(crate) fn advance_in(
        &self,
        txn: WriteTxn<'_>,
        reached: Checkpoint,
    ) -> Result<(), EndingError> {
        self.check_checkpoint(&reached)?;
        let change = advanced(self.0.fence, reached);
        let record_key = &self.0.placed.record_key;
        txn.check_nothing_kept()?;
        let record = txn.step(|store| change_in(store, record_key, change))??;
        let _ = txn.commit()?;
        self.stands_at(&record);
        Ok(())
    }

    pub(crate) fn check_checkpoint(&self, reached: &Checkpoint) -> Result<(), Error> {
        let bytes = reached.bytes.len() + reached.name.len();
        self.0.placed.asked.check_response(bytes)
    }

    /// Takes a renewed lease over, and returns its end.
    pub(crate) fn lease_is(&self, record: &Record) -> Timestamp {
        extend(&self.0.standing, record)
    }

    pub(crate) fn stands_at(&self, record: &Record) {
        let _ = extend(&self.0.standing, record);
        if let State::Claimed(claimed) = &record.state {
            let reached = claimed.checkpoint.clone();
            locked(&self.0.standing).checkpoint = reached;
        }
    }

    /// Its entry among the claims that live.
    pub(crate) fn live(&self) -> &LiveClaim {
        &self.0.live
    }

    pub(crate) fn note(&self, event: Event) {
        note(&self.0.engine, &self.0.placed.asked, event);
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.0.engine
    }

    fn change(&self, bytes: usize, make: impl Change) -> Result<Record, EndingError> {
        self.0.live.touch();
        submit_change(&self.0.engine, &self.0.placed, bytes, make)
    }
}

/// Takes a renewed lease over. Two threads may renew at once; the later end counts.
fn extend(standing: &Mutex<Standing>, record: &Record) -> Timestamp {
    let mut standing = locked(standing);
    if let State::Claimed(claimed) = &record.state {
        standing.lease_until = standing.lease_until.max(claimed.lease_until);
    }
    standing.lease_until
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim")
            .field("namespace", &self.0.placed.asked.namespace.name())
            .field("fence", &self.0.fence)
            .field("attempt", &self.0.attempt)
            .finish_non_exhaustive()
    }
}

/// Keeps the lease of a claim running until it is dropped.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// let Begin::Fresh(claim) = ledger.operation(PAYMENTS, &key, asked).begin()? else {
///     panic!("the key is new");
/// };
/// let kept = claim.keep_alive();
/// // ... work that takes longer than a lease ...
/// drop(kept);
/// assert!(claim.complete("done").is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "the lease is kept only while this lives"]
pub struct KeepAlive {
    engine: Arc<Engine>,
    stop: Signal,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for KeepAlive {
    fn drop(&mut self) {
        // A fork has no such thread, and would wait for it for ever.
        if self.engine.holder.check_process().is_err() {
            return;
        }
        self.stop.fire();
        // It may be about to renew, and would wait for the transaction that this thread holds. Then
        // it renews once more, or is superseded, and ends by itself.
        if let Some(thread) = self.thread.take()
            && !self.engine.commits.is_held_here()
        {
            // A panic there has been reported; the lease then ends by itself.
            let _ = thread.join();
        }
    }
}

/// What an ending makes of the stored record at a time.
pub(crate) trait Change:
    FnOnce(Option<&Record>, Timestamp) -> Result<Record, EndingRefusal> + Send + 'static
{
}

impl<F> Change for F where
    F: FnOnce(Option<&Record>, Timestamp) -> Result<Record, EndingRefusal> + Send + 'static
{
}

/// Changes the record of a claim; the answer is the record as stored.
fn submit_change(
    engine: &Engine,
    placed: &Placed,
    bytes: usize,
    make: impl Change,
) -> Result<Record, EndingError> {
    let record_key = Arc::clone(&placed.record_key);
    let bytes = bytes + placed.asked.batch_bytes();
    let result = engine.submit(Patience::Reserved, bytes, move |store| {
        change_in(store, &record_key, make)
    });
    flat(result)
}

pub(crate) fn change_in(
    store: &mut WriteStore<'_>,
    record_key: &[u8],
    make: impl Change,
) -> Result<Result<Record, EndingRefusal>, Error> {
    let stored = store.get(record_key)?;
    match make(stored.as_ref(), store.now) {
        Ok(record) => {
            store.put(record_key, stored.as_ref(), &record)?;
            Ok(Ok(record))
        }
        Err(refusal) => Ok(Err(refusal)),
    }
}

/// A recovery point, and the whole lease from there on.
fn advanced(fence: Fence, reached: Checkpoint) -> impl Change {
    move |stored: Option<&Record>, now| {
        let record = decision::checkpoint(stored, fence, reached)?;
        decision::renew(Some(&record), fence, now)
    }
}

/// Completes the claim of a fence; the response comes back.
pub(crate) fn submit_completion(
    engine: &Engine,
    placed: &Placed,
    fence: Fence,
    response: Response,
) -> (Response, Result<Replay, EndingError>) {
    let bytes = response.bytes().len() + placed.asked.batch_bytes();
    let placed = placed.clone();
    let (response, result) = engine.submit_with(
        Patience::Reserved,
        bytes,
        response,
        move |store, response| complete_in(store, &placed, fence, response),
    );
    (response, flat(result))
}

/// The refusal of an ending and the failure of the ledger as one error.
fn flat<T>(result: Result<Result<T, EndingRefusal>, Error>) -> Result<T, EndingError> {
    Ok(result??)
}

pub(crate) fn complete_in(
    store: &mut WriteStore<'_>,
    placed: &Placed,
    fence: Fence,
    response: &Response,
) -> Result<Result<Replay, EndingRefusal>, Error> {
    store_completion(store, placed, |stored, key, policy, now| {
        decision::complete(stored, fence, key, policy, response, now)
    })
}

type Decided = Result<Completion, EndingRefusal>;

/// Decides about a completion over what is stored, and stores what that comes to.
pub(crate) fn store_completion(
    store: &mut WriteStore<'_>,
    placed: &Placed,
    decide: impl FnOnce(Option<&Record>, &Key, &Policy, Timestamp) -> Decided,
) -> Result<Result<Replay, EndingRefusal>, Error> {
    let stored = store.get(&placed.record_key)?;
    let policy = placed.asked.namespace.current_policy();
    match decide(stored.as_ref(), &placed.asked.key, policy, store.now) {
        Ok(Completion::Store(record)) => {
            store.put(&placed.record_key, stored.as_ref(), &record)?;
            Ok(replay_of(*record))
        }
        Ok(Completion::AlreadyStored) => {
            Ok(stored.ok_or(EndingRefusal::Superseded).and_then(replay_of))
        }
        Err(refusal) => Ok(Err(refusal)),
    }
}

pub(crate) fn replay_of(record: Record) -> Result<Replay, EndingRefusal> {
    match record.state {
        State::Completed(completed) => Ok(Replay::new(
            record.fence,
            record.attempts,
            record.first_claimed_at,
            completed,
        )),
        State::Claimed(_) => Err(EndingRefusal::Superseded),
    }
}

/// Releases the claim of a fence.
pub(crate) fn submit_release(
    engine: &Engine,
    placed: &Placed,
    fence: Fence,
) -> Result<(), EndingError> {
    let bytes = placed.asked.batch_bytes();
    let placed = placed.clone();
    let result = engine.submit(Patience::Reserved, bytes, move |store| {
        release_in(store, &placed, fence)
    });
    flat(result)
}

pub(crate) fn release_in(
    store: &mut WriteStore<'_>,
    placed: &Placed,
    fence: Fence,
) -> Result<Result<(), EndingRefusal>, Error> {
    remove_if(store, placed, |stored| decision::release(stored, fence))
}

/// Removes what is stored if the decision allows it.
pub(crate) fn remove_if(
    store: &mut WriteStore<'_>,
    placed: &Placed,
    decide: impl FnOnce(Option<&Record>) -> Result<(), EndingRefusal>,
) -> Result<Result<(), EndingRefusal>, Error> {
    let stored = store.get(&placed.record_key)?;
    match decide(stored.as_ref()) {
        Ok(()) => {
            store.remove(&placed.record_key, stored.as_ref())?;
            Ok(Ok(()))
        }
        Err(refusal) => Ok(Err(refusal)),
    }
}
