//! The ticket of an interrupted key: nobody knows whether it happened, and somebody decides.

use std::fmt;
use std::sync::Arc;
use std::thread;

use crate::decision::{
    self, Checkpoint, EndingRefusal, Fence, Fingerprint, Key, Record, Response, SeenClaim,
    Timestamp, Work,
};
use crate::error::Error;
use crate::events::Event;
use crate::operation::asked::{Placed, check_supplied};
use crate::operation::beginning::take;
use crate::operation::claim::{Claim, remove_if, store_completion};
use crate::operation::noted::note_ending;
use crate::operation::refusal::EndingError;
use crate::operation::replay::Replay;
use crate::operation::write_txn::{TicketIn, WriteTxn};
use crate::store::engine::Engine;
use crate::store::group_commit::Patience;
use crate::store::write_store::WriteStore;

/// What a caller gets for an interrupted key. It knows the fence, the end of the lease and the
/// checkpoint it saw; looking has written nothing, and dropping it changes nothing.
///
/// Find out whether the effect happened (ask the bank with [`Ticket::child_key`]), then end it:
/// [`Ticket::complete`] if it did, [`Ticket::release`] if it did not, [`Ticket::rerun`] to run
/// it again under a new fence. Of several tickets the first to end wins. A holder that is late but
/// lives may renew its lease or reach another checkpoint meanwhile: then the ticket is superseded,
/// too, and the next begin says where the operation stands.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// drop(ledger.operation(PAYMENTS, &key, asked).begin()?); // as after a crash
/// let Begin::Interrupted(ticket) = ledger.operation(PAYMENTS, &key, asked).begin()? else {
///     panic!("nobody knows whether it happened");
/// };
/// let claim = ticket.rerun()?;
/// assert_eq!(claim.attempt(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a ticket does nothing until it is ended"]
pub struct Ticket(Box<Drawn>);

/// What a ticket consists of; apart, so that errors which carry one stay small.
struct Drawn {
    engine: Arc<Engine>,
    placed: Placed,
    seen: Seen,
}

/// What a ticket saw of the record.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// What has to be so still when the ticket ends it.
    pub(crate) claim: SeenClaim,
    pub(crate) attempts: u32,
    pub(crate) claimed_at: Timestamp,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) program: String,
    pub(crate) overdue: bool,
    pub(crate) work: Work,
}

impl Seen {
    pub(crate) fn of(record: Record, overdue: bool, work: Work) -> Self {
        let Some(claim) = SeenClaim::of(&record) else {
            unreachable!("only a claim is interrupted");
        };
        Self {
            claim,
            attempts: record.attempts,
            claimed_at: record.claimed_at,
            fingerprint: record.fingerprint,
            program: record.program,
            overdue,
            work,
        }
    }
}

impl Ticket {
    pub(crate) fn new(engine: Arc<Engine>, placed: Placed, seen: Seen) -> Self {
        Self(Box::new(Drawn {
            engine,
            placed,
            seen,
        }))
    }

    /// The fence of the interrupted claim.
    pub const fn fence(&self) -> Fence {
        self.0.seen.claim.fence
    }

    /// The key of the operation.
    pub fn key(&self) -> &Key {
        &self.0.placed.asked.key
    }

    /// How many claims the operation has had.
    pub const fn attempts(&self) -> u32 {
        self.0.seen.attempts
    }

    /// When the interrupted claim began.
    pub const fn claimed_at(&self) -> Timestamp {
        self.0.seen.claimed_at
    }

    /// The name of the program that claimed it; may be empty.
    pub fn program(&self) -> &str {
        &self.0.seen.program
    }

    /// The last checkpoint that was reached.
    pub const fn checkpoint(&self) -> Option<&Checkpoint> {
        self.0.seen.claim.checkpoint.as_ref()
    }

    /// Whether the holder still lives although its lease is over. Then what the other side says
    /// settles nothing: the holder may act a moment later. Wait for it, or end it first.
    pub const fn is_overdue(&self) -> bool {
        self.0.seen.overdue
    }

    /// Whether a process that the holder started still runs. Until it ends, the ticket cannot.
    pub fn is_running(&self) -> bool {
        self.0.seen.work == Work::Running
    }

    /// The key that the operation used for a downstream call: what to ask the other side about.
    pub fn child_key(&self, label: &str) -> Key {
        self.0
            .placed
            .asked
            .child_key(&self.0.seen.fingerprint, label)
    }

    /// Runs it again: a claim under a new fence, with the checkpoint.
    ///
    /// # Errors
    ///
    /// [`TicketError`] with the ticket.
    ///
    /// # Blocking
    ///
    /// Until the commit is on disk.
    pub fn rerun(self) -> Result<Claim, TicketError> {
        let (placed, seen) = self.drawn();
        let caller = thread::current().id();
        let rerun = move |store: &mut WriteStore<'_>, (): &()| take(store, placed, &seen, caller);
        let ((), result) = self.end(0, (), rerun);
        match result {
            Ok(started) => Ok(Claim::new(Arc::clone(&self.0.engine), started)),
            Err(error) => Err(TicketError {
                ticket: self,
                response: None,
                error,
            }),
        }
    }

    /// It happened: stores the response.
    ///
    /// # Errors
    ///
    /// [`TicketError`] with the ticket and the response.
    ///
    /// # Blocking
    ///
    /// Until the commit is on disk.
    pub fn complete(self, response: impl Into<Response>) -> Result<Replay, TicketError> {
        let response = response.into();
        let bytes = response.bytes().len();
        let (placed, seen) = self.drawn();
        let (response, result) = match self.check_answer(&response) {
            Err(error) => (response, Err(error.into())),
            Ok(()) => self.end(bytes, response, move |store, response| {
                Ok(complete_seen_in(store, &placed, &seen, response)?.map_err(EndingRefusal::into))
            }),
        };
        note_ending(
            &self.0.engine,
            &self.0.placed.asked,
            Event::Completed,
            &result,
        );
        result.map_err(|error| TicketError {
            ticket: self,
            response: Some(response),
            error,
        })
    }

    /// It did not happen: removes the record, and the next begin is fresh.
    ///
    /// # Errors
    ///
    /// [`TicketError`] with the ticket, also when a checkpoint is stored.
    ///
    /// # Blocking
    ///
    /// Until the commit is on disk.
    pub fn release(self) -> Result<(), TicketError> {
        let (placed, seen) = self.drawn();
        let ((), result) = self.end(0, (), move |store, ()| {
            Ok(release_seen_in(store, &placed, &seen)?.map_err(EndingRefusal::into))
        });
        note_ending(
            &self.0.engine,
            &self.0.placed.asked,
            Event::Released,
            &result,
        );
        result.map_err(|error| TicketError {
            ticket: self,
            response: None,
            error,
        })
    }

    /// The same ticket, to be ended in a transaction of the caller's own.
    ///
    /// # Errors
    ///
    /// [`TicketError`] with the ticket, for the transaction of another ledger.
    pub fn within<'t, 'l>(self, txn: &'t WriteTxn<'l>) -> Result<TicketIn<'t, 'l>, TicketError> {
        match txn.check_engine(&self.0.engine) {
            Ok(()) => Ok(TicketIn::new(txn, self.0.placed, self.0.seen)),
            Err(error) => Err(TicketError {
                ticket: self,
                response: None,
                error: error.into(),
            }),
        }
    }

    /// Refuses an answer that could not be stored, or that no retry could be sent.
    pub(crate) fn check_answer(&self, response: &Response) -> Result<(), Error> {
        let asked = &self.0.placed.asked;
        asked.check_response(response.bytes().len())?;
        check_supplied(&self.0.seen.fingerprint, response)
    }

    /// What a batch has to know to end the ticket.
    pub(crate) fn drawn(&self) -> (Placed, SeenClaim) {
        (self.0.placed.clone(), self.0.seen.claim.clone())
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.0.engine
    }

    /// The same without holding a thread.
    pub(crate) async fn end_async<P, T>(
        &self,
        bytes: usize,
        payload: P,
        work: impl FnOnce(&mut WriteStore<'_>, &P) -> Result<Result<T, EndingError>, Error>
        + Send
        + 'static,
        abandoned: impl FnOnce((P, Result<Result<T, EndingError>, Error>)) + Send + 'static,
    ) -> (P, Result<T, EndingError>)
    where
        P: Send + 'static,
        T: Send + 'static,
    {
        let bytes = bytes + self.0.placed.asked.batch_bytes();
        let in_batch = unless_it_runs(self.0.seen.claim.fence, work);
        let answer =
            self.0
                .engine
                .submit_async(Patience::Reserved, bytes, payload, in_batch, abandoned);
        let (payload, result) = answer.await;
        (payload, self.wake_others(result))
    }

    /// Ends the ticket in a batch; what the caller gave comes back.
    fn end<P, T>(
        &self,
        bytes: usize,
        payload: P,
        work: impl FnOnce(&mut WriteStore<'_>, &P) -> Result<Result<T, EndingError>, Error>
        + Send
        + 'static,
    ) -> (P, Result<T, EndingError>)
    where
        P: Clone + Send + 'static,
        T: Send + 'static,
    {
        let bytes = bytes + self.0.placed.asked.batch_bytes();
        let in_batch = unless_it_runs(self.0.seen.claim.fence, work);
        let (payload, result) =
            self.0
                .engine
                .submit_with(Patience::Reserved, bytes, payload, in_batch);
        (payload, self.wake_others(result))
    }

    /// Whoever waits for this key decides anew.
    fn wake_others<T>(
        &self,
        ended: Result<Result<T, EndingError>, Error>,
    ) -> Result<T, EndingError> {
        let identity = self.0.placed.asked.identity();
        self.0.engine.holder.claims.wake(&identity);
        ended.map_err(EndingError::from).flatten()
    }
}

/// Completes what a ticket saw.
pub(crate) fn complete_seen_in(
    store: &mut WriteStore<'_>,
    placed: &Placed,
    seen: &SeenClaim,
    response: &Response,
) -> Result<Result<Replay, EndingRefusal>, Error> {
    store_completion(store, placed, |stored, key, policy, now| {
        decision::complete_seen(stored, seen, key, policy, response, now)
    })
}

/// Releases what a ticket saw.
pub(crate) fn release_seen_in(
    store: &mut WriteStore<'_>,
    placed: &Placed,
    seen: &SeenClaim,
) -> Result<Result<(), EndingRefusal>, Error> {
    remove_if(store, placed, |stored| decision::release_seen(stored, seen))
}

/// An ending of a ticket: only where no process works under the claim any more.
fn unless_it_runs<P, T>(
    seen: Fence,
    work: impl FnOnce(&mut WriteStore<'_>, &P) -> Result<Result<T, EndingError>, Error>,
) -> impl FnOnce(&mut WriteStore<'_>, &P) -> Result<Result<T, EndingError>, Error> {
    move |store, payload| match store.work(seen) {
        Work::Running => Ok(Err(EndingError::StillRunning)),
        Work::Ended => work(store, payload),
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("namespace", &self.0.placed.asked.namespace.name())
            .field("fence", &self.0.seen.claim.fence)
            .field("attempts", &self.0.seen.attempts)
            .field("overdue", &self.0.seen.overdue)
            .finish_non_exhaustive()
    }
}

/// A ticket that was not ended. It comes back, with the response that was not stored.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// drop(ledger.operation(PAYMENTS, &key, asked).begin()?);
/// let ticket = || match ledger.operation(PAYMENTS, &key, asked).begin() {
///     Ok(Begin::Interrupted(ticket)) => ticket,
///     other => panic!("{other:?}"),
/// };
/// let (first, second) = (ticket(), ticket());
/// first.release()?;
/// let late = second.complete("charged").expect_err("the first has won");
/// assert!(matches!(late.error, EndingError::Superseded));
/// assert_eq!(late.response, Some(Response::raw("charged")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TicketError {
    /// The ticket.
    pub ticket: Ticket,
    /// What [`Ticket::complete`] was given.
    pub response: Option<Response>,
    /// Why it was not ended.
    pub error: EndingError,
}

impl fmt::Display for TicketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the interrupted key was not ended: {}", self.error)
    }
}

impl std::error::Error for TicketError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}
