//! A write transaction of the caller's own, in which claims are begun and ended together with
//! the application's data.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;

use redb::WriteTransaction;

use crate::decision::{
    Checkpoint, EndingRefusal, Fence, Key, Record, Response, SeenClaim, State, Work,
};
use crate::error::Error;
use crate::events::Event;
use crate::holder::Written;
use crate::holder::live_claims::LiveClaim;
use crate::operation::asked::{Placed, check_kind, check_supplied};
use crate::operation::beginning::{Begun, Started, begin, take};
use crate::operation::claim::{Claim, complete_in, release_in};
use crate::operation::noted::{Met, event_of_begun};
use crate::operation::refusal::{EndingError, Refusal};
use crate::operation::replay::Replay;
use crate::operation::request::Request;
use crate::operation::ticket::{Seen, Ticket, complete_seen_in, release_seen_in};
use crate::store::engine::{BaseGuard, Engine};
use crate::store::group_commit::{Lead, Patience};
use crate::store::write_store::WriteStore;
use crate::store::writer::finish_with_sweep;

/// A write transaction on the ledger's file, made by [`Ledger::write`](crate::Ledger::write).
///
/// It derefs to [`redb::WriteTransaction`], so the application opens its own tables in it. The
/// ledger owns commit and abort, and so durability: an `Ok` of [`WriteTxn::commit`] is on disk.
/// Dropping it rolls everything back. It stays on its thread, since the thread holds the writer.
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
/// let txn = ledger.write()?;
/// match ledger.operation(PAYMENTS, &key, asked).begin_in(&txn)? {
///     BeginIn::Fresh(claim) => {
///         txn.open_table(ORDERS)?.insert(17, "paid")?;
///         claim.complete("paid").map_err(|refused| refused.error)?;
///     }
///     other => panic!("the key is new: {other:?}"),
/// }
/// let _ = txn.commit()?; // the order and the record, or neither
/// assert_eq!(ledger.stats()?.records(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct WriteTxn<'l> {
    engine: &'l Arc<Engine>,
    transaction: Option<WriteTransaction>,
    _base: BaseGuard<'l>,
    _lead: Lead<'l>,
    operations: Cell<usize>,
    written: Cell<Written>,
    unfinished: Cell<bool>,
    kept: RefCell<Vec<Started>>,
    /// Claims that ended inside: whoever waits for them is woken behind the commit.
    ended: RefCell<Vec<LiveClaim>>,
    /// What counts once it is committed.
    noted: RefCell<Vec<Met>>,
    stays_on_its_thread: PhantomData<*const ()>,
}

/// What a commit made of the claims that were kept.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// let txn = ledger.write()?;
/// match ledger.operation(PAYMENTS, &key, asked).begin_in(&txn)? {
///     BeginIn::Fresh(claim) => claim.keep(),
///     other => panic!("the key is new: {other:?}"),
/// }
/// let Committed { mut claims } = txn.commit()?;
/// let claim = claims.pop().expect("one was kept");
/// assert!(claim.complete("done").is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "claims in it are interrupted when they are dropped"]
pub struct Committed {
    /// The kept claims, in the order in which they were kept: ordinary claims from here on.
    pub claims: Vec<Claim>,
}

impl<'l> WriteTxn<'l> {
    pub(crate) fn begin(engine: &'l Arc<Engine>) -> Result<Self, Error> {
        engine.check_writable()?;
        let lead = engine.lead_alone()?;
        engine.reopen_as_leader()?;
        engine.check_usable()?;
        engine.check_place()?;
        let base = engine.base()?;
        let transaction = engine.begin_write(&base, Patience::Bounded)?;
        Ok(Self {
            engine,
            transaction: Some(transaction),
            _base: base,
            _lead: lead,
            operations: Cell::new(0),
            written: Cell::default(),
            unfinished: Cell::new(false),
            kept: RefCell::default(),
            ended: RefCell::default(),
            noted: RefCell::default(),
            stays_on_its_thread: PhantomData,
        })
    }

    fn transaction(&self) -> &WriteTransaction {
        self.transaction
            .as_ref()
            .expect("only commit and abort take the transaction, by value")
    }

    /// Commits everything, the application's writes and the ledger's. When this returns, both
    /// are on disk.
    ///
    /// # Errors
    ///
    /// [`Error::UnfinishedClaim`] when a claim begun inside was dropped without an ending, or an
    /// ending inside failed: everything is then rolled back. [`Error::CommitUnknown`] when the
    /// commit itself failed.
    ///
    /// # Blocking
    ///
    /// Until the commit is on disk.
    pub fn commit(mut self) -> Result<Committed, Error> {
        let Some(transaction) = self.transaction.take() else {
            return Err(Error::Closed);
        };
        if self.unfinished.get() {
            self.engine.roll_back(transaction);
            return Err(Error::UnfinishedClaim);
        }
        let operations = self.operations.get();
        // The application's writes alone are worth a commit, and a sweep, too.
        let swept = WriteStore::within(&self.engine.holder, &transaction, |store| {
            finish_with_sweep(store, operations)
        });
        let applied = swept.map(|last| Some(self.written.get().and(last)));
        self.engine
            .conclude(transaction, applied, operations.max(1))?;
        for met in self.noted.take() {
            met.note(self.engine);
        }
        let kept = self.kept.take();
        let claims = kept
            .into_iter()
            .map(|started| Claim::new(Arc::clone(self.engine), started))
            .collect();
        Ok(Committed { claims })
    }

    /// Rolls everything back. Dropping the transaction does the same.
    pub fn abort(self) {
        drop(self);
    }

    /// Runs the caller's own code with the transaction. A panic is passed on behind the rollback:
    /// redb does not take back a transaction that is dropped by a panic, it leaks its pages until
    /// the next opening.
    pub(crate) fn run_own_code<R>(self, code: impl FnOnce(&Self) -> R) -> (Self, R) {
        match catch_unwind(AssertUnwindSafe(|| code(&self))) {
            Ok(result) => (self, result),
            Err(panic) => {
                drop(self);
                resume_unwind(panic)
            }
        }
    }

    /// Refuses a commit that would have nobody to return kept claims to.
    pub(crate) fn check_nothing_kept(&self) -> Result<(), Error> {
        if self.kept.borrow().is_empty() {
            return Ok(());
        }
        Err(Error::Unsupported {
            reason: "a claim was kept in a transaction that returns none; end it inside, or begin \
                     it outside",
        })
    }

    /// Refuses what belongs to another ledger.
    pub(crate) fn check_engine(&self, engine: &Arc<Engine>) -> Result<(), Error> {
        if Arc::ptr_eq(engine, self.engine) {
            return Ok(());
        }
        Err(Error::Unsupported {
            reason: "the request and the transaction belong to different ledgers",
        })
    }

    /// Runs one step of the ledger in the transaction.
    pub(crate) fn step<T>(
        &self,
        work: impl FnOnce(&mut WriteStore<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let holder = &self.engine.holder;
        let result = WriteStore::within(holder, self.transaction(), |store| {
            let answer = work(store)?;
            if let Some(error) = store.failure() {
                return Err(error.clone());
            }
            let written = store.finish()?;
            self.written.set(self.written.get().and(written));
            Ok(answer)
        });
        match &result {
            Ok(_) => self.operations.set(self.operations.get() + 1),
            // Part of the step may be in the transaction: it can no longer be committed.
            Err(_) => self.unfinished.set(true),
        }
        result
    }

    fn begin_operation(&self, request: Request) -> Result<BeginIn<'_, 'l>, Error> {
        request.check_input()?;
        self.check_engine(&request.engine)?;
        let asked = Arc::new(request.asked);
        let begun = self.step(|store| begin(store, &asked, thread::current().id()))?;
        let event = event_of_begun(self.engine, &begun, None);
        self.note_behind_commit(Met::of(&asked, event));
        Ok(match begun {
            Begun::Claimed(started) => BeginIn::Fresh(ClaimIn::new(self, started)),
            Begun::Replay(replay) => BeginIn::Replay(replay),
            Begun::Interrupted {
                placed,
                record,
                overdue,
                work,
            } => {
                let seen = Seen::of(record, overdue, work);
                BeginIn::Interrupted(TicketIn::new(self, placed, seen))
            }
            Begun::InProgress { retry_after, .. } => {
                BeginIn::Refused(Refusal::InProgress { retry_after })
            }
            Begun::Refused(refusal) => BeginIn::Refused(refusal),
        })
    }
}

impl Deref for WriteTxn<'_> {
    type Target = WriteTransaction;

    fn deref(&self) -> &WriteTransaction {
        self.transaction()
    }
}

impl Drop for WriteTxn<'_> {
    fn drop(&mut self) {
        if let Some(transaction) = self.transaction.take() {
            self.engine.roll_back(transaction);
        }
    }
}

impl fmt::Debug for WriteTxn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteTxn")
            .field("operations", &self.operations)
            .finish_non_exhaustive()
    }
}

/// What a request got inside a transaction of the caller's own.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// let txn = ledger.write()?;
/// match ledger.operation(PAYMENTS, &key, asked).begin_in(&txn)? {
///     BeginIn::Fresh(claim) => claim.release()?,
///     BeginIn::Replay(_) | BeginIn::Interrupted(_) | BeginIn::Refused(_) => {}
/// }
/// let _ = txn.commit()?;
/// assert_eq!(ledger.stats()?.records(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a claim in it has to be ended before the commit"]
pub enum BeginIn<'t, 'l> {
    /// The caller runs the operation.
    Fresh(ClaimIn<'t, 'l>),
    /// It ran before, or in this transaction; this is its answer.
    Replay(Replay),
    /// Nobody knows whether it ran.
    Interrupted(TicketIn<'t, 'l>),
    /// It must not run now.
    Refused(Refusal),
}

impl Request {
    /// Begins the operation inside a transaction of the caller's own: the claim, its end and the
    /// application's writes are one commit, or none of it.
    ///
    /// # Errors
    ///
    /// [`Error`]; expected refusals are [`BeginIn::Refused`]. [`Request::wait`] does not apply:
    /// waiting with the writer held would stop everybody.
    pub fn begin_in<'t, 'l>(self, txn: &'t WriteTxn<'l>) -> Result<BeginIn<'t, 'l>, Error> {
        txn.begin_operation(self)
    }
}

/// A claim inside a transaction of the caller's own. It is ended by [`ClaimIn::complete`],
/// [`ClaimIn::release`] or [`ClaimIn::keep`]; dropped without one, the transaction cannot commit.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// let txn = ledger.write()?;
/// drop(ledger.operation(PAYMENTS, &key, asked).begin_in(&txn)?); // no ending
/// assert!(matches!(txn.commit(), Err(Error::UnfinishedClaim)));
/// assert!(ledger.record(PAYMENTS, &key).peek()?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a claim that is dropped keeps its transaction from committing"]
pub struct ClaimIn<'t, 'l> {
    txn: &'t WriteTxn<'l>,
    started: Option<Box<Started>>,
}

impl<'t, 'l> ClaimIn<'t, 'l> {
    fn new(txn: &'t WriteTxn<'l>, started: Started) -> Self {
        Self {
            txn,
            started: Some(Box::new(started)),
        }
    }

    fn started(&self) -> &Started {
        self.started
            .as_ref()
            .expect("only an ending takes it, by value")
    }

    fn record(&self) -> &Record {
        &self.started().record
    }

    /// The fencing token. It is burned if the transaction is rolled back.
    pub fn fence(&self) -> Fence {
        self.record().fence
    }

    /// Which attempt this is, counted from 1.
    pub fn attempt(&self) -> u32 {
        self.record().attempts
    }

    /// The key of the operation.
    pub fn key(&self) -> &Key {
        &self.started().placed.asked.key
    }

    /// The key for a downstream call; see [`Claim::child_key`].
    pub fn child_key(&self, label: &str) -> Key {
        self.started()
            .placed
            .asked
            .child_key(&self.record().fingerprint, label)
    }

    /// The last checkpoint, of an attempt before this one.
    pub fn last_checkpoint(&self) -> Option<&Checkpoint> {
        match &self.record().state {
            State::Claimed(claimed) => claimed.checkpoint.as_ref(),
            State::Completed(_) => None,
        }
    }

    /// Completes the operation with the commit of the transaction.
    ///
    /// # Errors
    ///
    /// [`CompleteInError`] with the response, and with the claim where the transaction can go
    /// on: a response above the limit is found out before anything is written.
    pub fn complete(
        mut self,
        response: impl Into<Response>,
    ) -> Result<Replay, CompleteInError<'t, 'l>> {
        let response = response.into();
        let bytes = response.bytes().len();
        let started = self.started();
        let checked = started.placed.asked.check_response(bytes);
        let checked = checked.and_then(|()| check_kind(&started.record.fingerprint, &response));
        if let Err(error) = checked {
            return Err(CompleteInError {
                claim: Some(self),
                response,
                error: error.into(),
            });
        }
        let txn = self.txn;
        let Some(started) = self.started.take() else {
            unreachable!("only an ending takes it, by value");
        };
        let fence = started.record.fence;
        let stored = txn.step(|store| complete_in(store, &started.placed, fence, &response));
        txn.note_behind_commit(Met::of(&started.placed.asked, Event::Completed));
        txn.settle(*started, stored)
            .map_err(|error| CompleteInError {
                claim: None,
                response,
                error,
            })
    }

    /// Removes the claim again: it certainly did not happen.
    ///
    /// # Errors
    ///
    /// [`EndingError::HasCheckpoint`] when an attempt before this one got that far, and
    /// [`EndingError::Ledger`]; the transaction then cannot commit.
    pub fn release(mut self) -> Result<(), EndingError> {
        let Some(started) = self.started.take() else {
            unreachable!("only an ending takes it, by value");
        };
        let fence = started.record.fence;
        let released = self
            .txn
            .step(|store| release_in(store, &started.placed, fence));
        let met = Met::of(&started.placed.asked, Event::Released);
        self.txn.note_behind_commit(met);
        self.txn.settle(*started, released)
    }

    /// Keeps the claim beyond the transaction: the commit returns it as an ordinary [`Claim`].
    pub fn keep(mut self) {
        if let Some(started) = self.started.take() {
            self.txn.kept.borrow_mut().push(*started);
        }
    }
}

impl WriteTxn<'_> {
    fn settle<T>(
        &self,
        started: Started,
        result: Result<Result<T, EndingRefusal>, Error>,
    ) -> Result<T, EndingError> {
        self.wake_behind_commit(started.live);
        self.flat(result)
    }

    /// Ends a claim of outside. If that is refused, the transaction cannot commit any more.
    pub(crate) fn end<T>(
        &self,
        work: impl FnOnce(&mut WriteStore<'_>) -> Result<Result<T, EndingRefusal>, Error>,
    ) -> Result<T, EndingError> {
        let result = self.step(work);
        self.flat(result)
    }

    fn flat<T>(&self, result: Result<Result<T, EndingRefusal>, Error>) -> Result<T, EndingError> {
        let flat: Result<T, EndingError> = result
            .map_err(EndingError::from)
            .and_then(|done| done.map_err(EndingError::from));
        if flat.is_err() {
            self.unfinished.set(true);
        }
        flat
    }

    /// Takes note of an event once the transaction is committed.
    pub(crate) fn note_behind_commit(&self, met: Met) {
        self.noted.borrow_mut().push(met);
    }

    /// The last event inside, for a caller who returns that answer without a commit.
    pub(crate) fn last_met(&self) -> Option<Met> {
        self.noted.borrow_mut().pop()
    }

    /// A claim that ended inside lives until the transaction has ended, too.
    pub(crate) fn wake_behind_commit(&self, live: LiveClaim) {
        self.ended.borrow_mut().push(live);
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        self.engine
    }
}

impl Drop for ClaimIn<'_, '_> {
    fn drop(&mut self) {
        if self.started.is_some() {
            self.txn.unfinished.set(true);
        }
    }
}

impl fmt::Debug for ClaimIn<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClaimIn(fence {})", self.fence())
    }
}

/// A completion inside a transaction that did not take place. The response comes back.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// let small = PAYMENTS.policy(Policy::DEFAULT.response_bytes_max(3));
/// let txn = ledger.write()?;
/// match ledger.operation(small, &key, asked).begin_in(&txn)? {
///     BeginIn::Fresh(claim) => {
///         let refused = claim.complete("four").expect_err("too large");
///         assert_eq!(refused.response.bytes(), b"four");
///         refused.claim.expect("nothing was written").release()?;
///     }
///     other => panic!("the key is new: {other:?}"),
/// }
/// assert!(txn.commit().is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CompleteInError<'t, 'l> {
    /// The claim, where the transaction can go on; without it, it cannot commit.
    pub claim: Option<ClaimIn<'t, 'l>>,
    /// The response that was not stored.
    pub response: Response,
    /// Why not.
    pub error: EndingError,
}

impl fmt::Display for CompleteInError<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the response was not stored: {}", self.error)
    }
}

impl std::error::Error for CompleteInError<'_, '_> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// The ticket of an interrupted key inside a transaction of the caller's own. Dropping it
/// changes nothing.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// drop(ledger.operation(PAYMENTS, &key, asked).begin()?);
/// let txn = ledger.write()?;
/// match ledger.operation(PAYMENTS, &key, asked).begin_in(&txn)? {
///     BeginIn::Interrupted(ticket) => ticket.complete("it happened")?,
///     other => panic!("it was interrupted: {other:?}"),
/// };
/// let _ = txn.commit()?;
/// assert!(matches!(ledger.operation(PAYMENTS, &key, asked).begin()?, Begin::Replay(_)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a ticket does nothing until it is ended"]
pub struct TicketIn<'t, 'l> {
    txn: &'t WriteTxn<'l>,
    placed: Placed,
    seen: Seen,
}

impl<'t, 'l> TicketIn<'t, 'l> {
    pub(crate) const fn new(txn: &'t WriteTxn<'l>, placed: Placed, seen: Seen) -> Self {
        Self { txn, placed, seen }
    }

    /// The fence of the interrupted claim.
    pub const fn fence(&self) -> Fence {
        self.seen.claim.fence
    }

    /// How many claims the operation has had.
    pub const fn attempts(&self) -> u32 {
        self.seen.attempts
    }

    /// The last checkpoint that was reached.
    pub const fn checkpoint(&self) -> Option<&Checkpoint> {
        self.seen.claim.checkpoint.as_ref()
    }

    /// Whether the holder still lives although its lease is over.
    pub const fn is_overdue(&self) -> bool {
        self.seen.overdue
    }

    /// Runs it again in this transaction, under a new fence.
    ///
    /// # Errors
    ///
    /// [`EndingError`]; nothing is changed.
    pub fn rerun(self) -> Result<ClaimIn<'t, 'l>, EndingError> {
        let (placed, seen) = (self.placed, self.seen.claim);
        let started = self.txn.step(|store| {
            if store.work(seen.fence) == Work::Running {
                return Ok(Err(EndingError::StillRunning));
            }
            take(store, placed, &seen, thread::current().id())
        })??;
        Ok(ClaimIn::new(self.txn, started))
    }

    /// The same ticket, to be ended outside of the transaction.
    pub(crate) fn outside(self) -> Ticket {
        Ticket::new(Arc::clone(self.txn.engine), self.placed, self.seen)
    }

    /// It happened: completes it with the commit of the transaction.
    ///
    /// # Errors
    ///
    /// [`EndingError`]; nothing is changed.
    pub fn complete(self, response: impl Into<Response>) -> Result<Replay, EndingError> {
        let response = response.into();
        self.placed.asked.check_response(response.bytes().len())?;
        check_supplied(&self.seen.fingerprint, &response)?;
        let (txn, met) = (self.txn, Met::of(&self.placed.asked, Event::Completed));
        let ended =
            self.end(|store, placed, seen| complete_seen_in(store, placed, seen, &response))?;
        txn.note_behind_commit(met);
        Ok(ended)
    }

    /// It did not happen: removes the record with the commit of the transaction.
    ///
    /// # Errors
    ///
    /// [`EndingError`]; nothing is changed.
    pub fn release(self) -> Result<(), EndingError> {
        let (txn, met) = (self.txn, Met::of(&self.placed.asked, Event::Released));
        self.end(release_seen_in)?;
        txn.note_behind_commit(met);
        Ok(())
    }

    fn end<T>(
        self,
        work: impl FnOnce(
            &mut WriteStore<'_>,
            &Placed,
            &SeenClaim,
        ) -> Result<Result<T, EndingRefusal>, Error>,
    ) -> Result<T, EndingError> {
        let seen = &self.seen.claim;
        let ended: Result<T, EndingError> = self.txn.step(|store| {
            if store.work(seen.fence) == Work::Running {
                return Ok(Err(EndingError::StillRunning));
            }
            Ok(work(store, &self.placed, seen)?.map_err(EndingError::from))
        })?;
        ended
    }
}

impl fmt::Debug for TicketIn<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TicketIn(fence {})", self.fence())
    }
}
