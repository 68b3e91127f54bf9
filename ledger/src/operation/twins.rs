//! The asynchronous twins of a request's endings and of a claim's. They hold no thread while they
//! wait, and run under any executor.

use std::future::Future;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::decision::{self, Checkpoint, EndingRefusal, Record, Response, Timestamp};
use crate::error::Error;
use crate::events::Event;
use crate::operation::asked::Asked;
use crate::operation::beginning::{Begun, begin, look, take};
use crate::operation::claim::{Change, Claim, EndedClaim, change_in, complete_in, release_in};
use crate::operation::noted::{note_begun, note_ending};
use crate::operation::refusal::{CompleteError, EndingError, ReleaseError};
use crate::operation::replay::Replay;
use crate::operation::request::{Begin, Pause, Request, finish, pause_for};
use crate::operation::run::{
    Operation, Origin, Outcome, ReleaseIf, RunError, Started, encoded, ended, ran_bytes, ran_value,
    replayed, started,
};
use crate::operation::ticket::{Ticket, TicketError, complete_seen_in, release_seen_in};
use crate::operation::transact::{Attempt, Transacted, unless_to_wait};
use crate::operation::typed::{StoredValue, to_response};
use crate::operation::write_txn::{ClaimIn, WriteTxn};
use crate::store::committer::Settled;
use crate::store::engine::Engine;
use crate::store::group_commit::Patience;
use crate::store::slot::Answer;

impl Request {
    /// Like [`Request::begin`], without holding a thread.
    ///
    /// Dropping the future is safe at any moment: a claim that was made for nobody is released,
    /// since nothing was done under it.
    ///
    /// # Errors
    ///
    /// As for [`Request::begin`]. Waiting for a claim of one's own task is not noticed: it ends
    /// with the caller's patience, or with the lease.
    pub async fn begin_async(self) -> Result<Begin, Error> {
        self.check()?;
        let engine = Arc::clone(&self.engine);
        engine.check_writable()?;
        let until = self.until();
        let asked_at = self.wait.map(|_| engine.holder.now());
        let asked = Arc::new(self.asked);
        let begun = wait_for_answer(
            &engine,
            &asked,
            until,
            || begin_once(&engine, &asked),
            Begun::lease_left,
        )
        .await?;
        note_begun(&engine, &asked, &begun, asked_at);
        Ok(finish(&engine, begun))
    }

    /// Like [`Request::run`], without holding a thread. Dropping the future while the operation
    /// runs leaves its key interrupted, as a panic does.
    ///
    /// ```
    /// # use idempotency_ledger::*;
    /// # const PAYMENTS: Namespace = Namespace::new("payments");
    /// # let ledger = Ledger::in_memory()?;
    /// # let key = Key::new("order-17")?;
    /// # let asked = Fingerprint::of(["pay", "25"]);
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Receipt(u64);
    /// # impl StoredValue for Receipt { const SCHEMA: &str = "receipt/1"; }
    /// # async fn charge(_: Key) -> Result<Receipt, std::io::Error> { Ok(Receipt(25)) }
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// let outcome = ledger
    ///     .operation(PAYMENTS, &key, asked)
    ///     .run_async(async |operation| charge(operation.child_key("bank")).await)
    ///     .await?;
    /// assert_eq!(outcome.get().0, 25);
    /// # Ok::<(), RunError<std::io::Error, Receipt>>(())
    /// # }).map_err(|error| error.to_string())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`RunError`].
    pub async fn run_async<T: StoredValue, E>(
        self,
        operation: impl AsyncFnOnce(&Operation) -> Result<T, E>,
    ) -> Result<Outcome<T>, RunError<E, T>> {
        self.release_if(|_: &E| false).run_async(operation).await
    }

    /// Like [`Request::run_bytes`], without holding a thread.
    ///
    /// # Errors
    ///
    /// [`RunError`].
    pub async fn run_bytes_async<R: Into<Response>, E>(
        self,
        operation: impl AsyncFnOnce(&Operation) -> Result<R, E>,
    ) -> Result<Outcome<Response>, RunError<E>> {
        self.release_if(|_: &E| false)
            .run_bytes_async(operation)
            .await
    }

    /// Like [`Request::transact`]: the closure runs on the thread that commits for all
    /// asynchronous callers. Dropping the future does not stop it.
    ///
    /// # Errors
    ///
    /// As for [`Request::transact`].
    ///
    /// # Panics
    ///
    /// When the closure does; everything is rolled back.
    pub async fn transact_async<T, E>(
        self,
        operation: impl FnOnce(&ClaimIn<'_, '_>, &WriteTxn<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<Outcome<T>, RunError<E, T>>
    where
        T: StoredValue + Send + 'static,
        E: Send + 'static,
    {
        match self.transact_any_async(operation, to_response).await? {
            Transacted::Ran(value, stored) => Ok(Outcome::new(value, &stored, Origin::RanNow)),
            Transacted::Replayed(replay) => replayed(replay),
        }
    }

    /// Like [`Request::transact_bytes`], on the committing thread.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// As [`Request::transact_async`].
    pub async fn transact_bytes_async<R, E>(
        self,
        operation: impl FnOnce(&ClaimIn<'_, '_>, &WriteTxn<'_>) -> Result<R, E> + Send + 'static,
    ) -> Result<Outcome<Response>, RunError<E>>
    where
        R: Into<Response>,
        E: Send + 'static,
    {
        let into_response = move |claim: &ClaimIn<'_, '_>, txn: &WriteTxn<'_>| {
            operation(claim, txn).map(Into::<Response>::into)
        };
        let encode = |response: &Response| Ok(response.clone());
        Ok(
            match self.transact_any_async(into_response, encode).await? {
                Transacted::Ran(_, stored) => Outcome::of_response(stored, Origin::RanNow),
                Transacted::Replayed(replay) => Outcome::of_response(replay, Origin::Replayed),
            },
        )
    }

    async fn transact_any_async<V, E, T>(
        self,
        operation: impl FnOnce(&ClaimIn<'_, '_>, &WriteTxn<'_>) -> Result<V, E> + Send + 'static,
        encode: impl FnOnce(&V) -> Result<Response, Error> + Send + 'static,
    ) -> Result<Transacted<V>, RunError<E, T>>
    where
        V: Send + 'static,
        E: Send + 'static,
        T: Send + 'static,
    {
        self.check()?;
        let engine = Arc::clone(&self.engine);
        engine.check_writable()?;
        let until = self.until();
        let asked_at = self.wait.map(|_| engine.holder.now());
        let asked = Arc::new(self.asked.clone());
        let mut body = Some((operation, encode));
        loop {
            let looked = wait_for_answer(
                &engine,
                &asked,
                until,
                || std::future::ready(look(&engine, &asked)),
                |begun| begun.as_ref().and_then(Begun::lease_left),
            );
            if let Some(begun) = looked.await? {
                note_begun(&engine, &asked, &begun, asked_at);
                return Transacted::answered(finish(&engine, begun));
            }
            let (request, mut taken) = (self.clone(), body.take());
            let attempt = engine.run_alone_async(move |_| {
                let attempt = request.attempt(&mut taken);
                (taken, attempt)
            })?;
            let (left, attempted) = attempt.await.unwrap_or_else(|panic| resume_unwind(panic));
            body = left;
            match attempted? {
                Attempt::Ran(value, stored) => return Ok(Transacted::Ran(value, stored)),
                Attempt::Answered(begin, met) => {
                    if let Some(begin) = unless_to_wait(&engine, until, begin, met) {
                        return Transacted::answered(begin);
                    }
                }
            }
        }
    }
}

/// One look, and one claim if the look allows it.
async fn begin_once(engine: &Arc<Engine>, asked: &Arc<Asked>) -> Result<Begun, Error> {
    if let Some(begun) = look(engine, asked)? {
        return Ok(begun);
    }
    let (bytes, request) = (asked.batch_bytes(), Arc::clone(asked));
    let forgotten = Arc::downgrade(engine);
    let begun = engine.submit_async(
        Patience::Bounded,
        bytes,
        (),
        // No task is a thread: the one that commits can never wait for the claim.
        move |store, ()| begin(store, &request, thread::current().id()),
        move |((), begun)| {
            // Whoever asked is gone, and has done nothing under the claim.
            if let (Ok(Begun::Claimed(started)), Some(engine)) = (begun, forgotten.upgrade()) {
                give_back(Claim::new(engine, started));
            }
        },
    );
    begun.await.1
}

/// Releases a claim that was made for nobody. It lives until that is settled: nobody sees it
/// interrupted.
fn give_back(claim: Claim) {
    let (engine, claimed) = (Arc::clone(claim.engine()), claim.ended());
    // Nothing waits for it, so the thread that commits may leave it while it does.
    let allowed = engine.check_writable();
    drop(submit_release(&engine, allowed, claimed, claim));
}

/// Queues a release; whatever holds the claim comes back once that is settled.
fn submit_release<H: Send + 'static>(
    engine: &Arc<Engine>,
    allowed: Result<(), Error>,
    claimed: EndedClaim,
    holder: H,
) -> Answer<Settled<H, Result<(), EndingRefusal>>> {
    let bytes = claimed.batch_bytes();
    engine.enqueue_async(
        allowed,
        Patience::Reserved,
        bytes,
        holder,
        move |store, _| release_in(store, &claimed.placed, claimed.fence),
        drop,
    )
}

/// The asynchronous form of waiting until an operation is not in progress.
async fn wait_for_answer<T, A>(
    engine: &Arc<Engine>,
    asked: &Asked,
    until: Option<Duration>,
    mut attempt: impl FnMut() -> A,
    lease_left: impl Fn(&T) -> Option<Duration>,
) -> Result<T, Error>
where
    A: Future<Output = Result<T, Error>>,
{
    let Some(until) = until else {
        return attempt().await;
    };
    let identity = asked.identity();
    let mut poll = Pause::first_poll();
    loop {
        // Entered before looking: a claim that ends in between is not missed.
        let waiting = engine.holder.claims.enter(&identity);
        let answer = attempt().await?;
        let Some(lease_left) = lease_left(&answer) else {
            return Ok(answer);
        };
        let alarm = match pause_for(engine, &identity, until, lease_left, &mut poll) {
            Pause::Over => return Ok(answer),
            Pause::Until(at) => engine.alarms.set(at, &waiting.signal)?,
            Pause::Poll(pause) => {
                let polls = engine.polls();
                polls.set(polls.elapsed().saturating_add(pause), &waiting.signal)?
            }
        };
        waiting.signal.fired().await;
        drop(alarm);
    }
}

impl<E> ReleaseIf<E> {
    /// See [`Request::run_async`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn run_async<T: StoredValue>(
        self,
        operation: impl AsyncFnOnce(&Operation) -> Result<T, E>,
    ) -> Result<Outcome<T>, RunError<E, T>> {
        let claim = match started(self.request.begin_async().await?)? {
            Started::Claim(claim) => claim,
            Started::Replay(replay) => return replayed(replay),
        };
        let running = Operation::new(claim);
        let result = operation(&running).await;
        let (claim, value) = settle(running, self.certain, result).await?;
        let (claim, value, response) = encoded(claim, value)?;
        ran_value(value, claim.complete_async(response).await)
    }

    /// See [`Request::run_bytes_async`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn run_bytes_async<R: Into<Response>>(
        self,
        operation: impl AsyncFnOnce(&Operation) -> Result<R, E>,
    ) -> Result<Outcome<Response>, RunError<E>> {
        let claim = match started(self.request.begin_async().await?)? {
            Started::Claim(claim) => claim,
            Started::Replay(replay) => return Ok(Outcome::of_response(replay, Origin::Replayed)),
        };
        let running = Operation::new(claim);
        let result = operation(&running).await;
        let (claim, response) = settle(running, self.certain, result).await?;
        ran_bytes(claim.complete_async(response).await)
    }
}

/// What becomes of the claim of a closure that has returned.
async fn settle<R, E, T>(
    running: Operation,
    certain: impl FnOnce(&E) -> bool,
    result: Result<R, E>,
) -> Result<(Claim, R), RunError<E, T>> {
    let (claim, ended) = ended(running, certain, result);
    match ended {
        Ok(value) => Ok((claim, value)),
        Err((error, is_certain)) => {
            if is_certain {
                // A release that fails leaves the key interrupted, which is always safe.
                let _ = claim.release_async().await;
            }
            Err(RunError::Operation(error))
        }
    }
}

impl Claim {
    /// Like [`Claim::complete`], without holding a thread. Dropping the future does not take the
    /// completion back.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn complete_async(
        self,
        response: impl Into<Response>,
    ) -> Result<Replay, CompleteError> {
        let response = response.into();
        let engine = Arc::clone(self.engine());
        if let Err(error) = self.check_completion(&engine, &response) {
            return Err(CompleteError {
                claim: self,
                response,
                error: error.into(),
            });
        }
        let claimed = self.ended();
        // The claim lives until its completion is settled, whoever still waits for that.
        let ((claim, response), result) = complete(&engine, claimed, self, response).await;
        result.map_err(|error| CompleteError {
            claim,
            response,
            error,
        })
    }

    /// Like [`Claim::release`], without holding a thread.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn release_async(self) -> Result<(), ReleaseError> {
        let result = release_held(&self).await;
        result.map_err(|error| ReleaseError { claim: self, error })
    }

    /// Like [`Claim::renew`], without holding a thread.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn renew_async(&self) -> Result<Timestamp, EndingError> {
        let fence = self.fence();
        let renewed = move |stored: Option<&Record>, now| decision::renew(stored, fence, now);
        let record = change(self, 0, renewed).await?;
        Ok(self.lease_is(&record))
    }

    /// Like [`Claim::checkpoint`], without holding a thread.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn checkpoint_async(&self, name: &str, bytes: &[u8]) -> Result<(), EndingError> {
        let reached = Checkpoint {
            name: name.to_owned(),
            bytes: bytes.to_vec(),
        };
        self.check_checkpoint(&reached)?;
        let fence = self.fence();
        let stored = move |stored: Option<&Record>, _: Timestamp| {
            decision::checkpoint(stored, fence, reached)
        };
        let record = change(self, bytes.len(), stored).await?;
        self.stands_at(&record);
        Ok(())
    }
}

/// Completes a claim whose holder is given back once that is settled.
pub(crate) async fn complete<H: Send + 'static>(
    engine: &Arc<Engine>,
    claimed: EndedClaim,
    holder: H,
    response: Response,
) -> ((H, Response), Result<Replay, EndingError>) {
    let bytes = response.bytes().len() + claimed.batch_bytes();
    let placed = claimed.placed.clone();
    let answer = engine.submit_async(
        Patience::Reserved,
        bytes,
        (holder, response),
        move |store, (_, response)| complete_in(store, &claimed.placed, claimed.fence, response),
        drop,
    );
    let (given, result) = answer.await;
    let result = flat(result);
    note_ending(engine, &placed.asked, Event::Completed, &result);
    (given, result)
}

/// Releases a claim; what is queued at once runs also when nobody waits for it.
pub(crate) fn release_held(claim: &Claim) -> impl Future<Output = Result<(), EndingError>> + use<> {
    let (engine, claimed) = (Arc::clone(claim.engine()), claim.ended());
    let placed = claimed.placed.clone();
    let answer = submit_release(&engine, engine.check_may_wait(), claimed, ());
    async move {
        let result = flat(answer.await.1);
        note_ending(&engine, &placed.asked, Event::Released, &result);
        result
    }
}

async fn change(claim: &Claim, bytes: usize, make: impl Change) -> Result<Record, EndingError> {
    let claimed = claim.ended();
    let bytes = bytes + claimed.batch_bytes();
    let answer = claim.engine().submit_async(
        Patience::Reserved,
        bytes,
        (),
        move |store, ()| change_in(store, &claimed.placed.record_key, make),
        drop,
    );
    flat(answer.await.1)
}

fn flat<T>(result: Result<Result<T, EndingRefusal>, Error>) -> Result<T, EndingError> {
    Ok(result??)
}

impl Ticket {
    /// Like [`Ticket::rerun`], without holding a thread.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn rerun_async(self) -> Result<Claim, TicketError> {
        let (placed, seen) = self.drawn();
        let ended = self.end_async(
            0,
            (),
            move |store, ()| take(store, placed, &seen, thread::current().id()),
            // Nothing was done under a new claim that nobody waits for, but what was interrupted
            // stays so.
            drop,
        );
        match ended.await.1 {
            Ok(started) => Ok(Claim::new(Arc::clone(self.engine()), started)),
            Err(error) => Err(TicketError {
                ticket: self,
                response: None,
                error,
            }),
        }
    }

    /// Like [`Ticket::complete`], without holding a thread.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn complete_async(
        self,
        response: impl Into<Response>,
    ) -> Result<Replay, TicketError> {
        let response = response.into();
        let bytes = response.bytes().len();
        let (placed, seen) = self.drawn();
        if let Err(error) = self.check_answer(&response) {
            return Err(TicketError {
                ticket: self,
                response: Some(response),
                error: error.into(),
            });
        }
        let ending = placed.clone();
        let ended = self.end_async(
            bytes,
            response,
            move |store, response| {
                Ok(complete_seen_in(store, &ending, &seen, response)?.map_err(EndingRefusal::into))
            },
            drop,
        );
        let (response, result) = ended.await;
        note_ending(self.engine(), &placed.asked, Event::Completed, &result);
        result.map_err(|error| TicketError {
            ticket: self,
            response: Some(response),
            error,
        })
    }

    /// Like [`Ticket::release`], without holding a thread.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn release_async(self) -> Result<(), TicketError> {
        let (placed, seen) = self.drawn();
        let ending = placed.clone();
        let ended = self.end_async(
            0,
            (),
            move |store, ()| {
                Ok(release_seen_in(store, &ending, &seen)?.map_err(EndingRefusal::into))
            },
            drop,
        );
        let ((), result) = ended.await;
        note_ending(self.engine(), &placed.asked, Event::Released, &result);
        result.map_err(|error| TicketError {
            ticket: self,
            response: None,
            error,
        })
    }
}
