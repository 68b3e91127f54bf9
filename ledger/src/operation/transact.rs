//! `transact`: the operation's writes and its answer in one commit, or none of it.

use std::sync::Arc;
use std::time::Duration;

use crate::decision::Response;
use crate::error::Error;
use crate::operation::beginning::{Begun, look};
use crate::operation::noted::{Met, note_begun};
use crate::operation::refusal::EndingError;
use crate::operation::replay::Replay;
use crate::operation::request::{Begin, Request, finish, wait_for_answer};
use crate::operation::run::{Origin, Outcome, RunError, replayed};
use crate::operation::typed::{StoredValue, to_response};
use crate::operation::write_txn::{BeginIn, ClaimIn, WriteTxn};
use crate::store::engine::Engine;
use crate::traced;

/// What a transaction came to, before the kind of its answer matters.
pub(crate) enum Transacted<V> {
    Ran(V, Replay),
    Replayed(Replay),
}

impl Request {
    /// Runs the closure inside a write transaction and stores its value in the same commit: both
    /// the application's writes and the record, or neither. `Err` and a panic roll everything
    /// back, so here a failure is known to have changed nothing in the file.
    ///
    /// For operations whose effect is in the file. An effect outside of it (a call to a bank)
    /// cannot be rolled back: use [`Request::run`].
    ///
    /// ```
    /// use idempotency_ledger::{Fingerprint, Key, Ledger, Namespace};
    /// use idempotency_ledger::redb::{ReadableTable, TableDefinition};
    ///
    /// const TRANSFERS: Namespace = Namespace::new("transfers");
    /// const BALANCES: TableDefinition<&str, u64> = TableDefinition::new("balances");
    /// let ledger = Ledger::in_memory()?;
    /// let key = Key::new("t-1")?;
    /// for _ in 0..2 {
    ///     ledger
    ///         .operation(TRANSFERS, &key, Fingerprint::of(["a", "25"]))
    ///         .transact_bytes(|_claim, txn| -> Result<_, Box<dyn std::error::Error>> {
    ///             let mut balances = txn.open_table(BALANCES)?;
    ///             let old = balances.get("a")?.map_or(0, |value| value.value());
    ///             balances.insert("a", old + 25)?;
    ///             Ok("done")
    ///         })
    ///         .map_err(|error| error.to_string())?;
    /// }
    /// let txn = ledger.write()?;
    /// assert_eq!(txn.open_table(BALANCES)?.get("a")?.map(|value| value.value()), Some(25));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`RunError`]; never [`RunError::Complete`], since an answer that cannot be stored rolls
    /// everything back.
    ///
    /// # Blocking
    ///
    /// Holds the writer while the closure runs; other writers wait.
    ///
    /// # Deadlocks
    ///
    /// Beginning another operation inside the closure is [`Error::WouldDeadlock`]; use
    /// [`Request::begin_in`] with the transaction.
    pub fn transact<T: StoredValue, E>(
        self,
        operation: impl FnOnce(&ClaimIn<'_, '_>, &WriteTxn<'_>) -> Result<T, E>,
    ) -> Result<Outcome<T>, RunError<E, T>> {
        match self.transact_any(operation, to_response)? {
            Transacted::Ran(value, stored) => Ok(Outcome::new(value, &stored, Origin::RanNow)),
            Transacted::Replayed(replay) => replayed(replay),
        }
    }

    /// Like [`Request::transact`], for bytes that the caller encodes.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn transact_bytes<R: Into<Response>, E>(
        self,
        operation: impl FnOnce(&ClaimIn<'_, '_>, &WriteTxn<'_>) -> Result<R, E>,
    ) -> Result<Outcome<Response>, RunError<E>> {
        let into_response = |claim: &ClaimIn<'_, '_>, txn: &WriteTxn<'_>| {
            operation(claim, txn).map(Into::<Response>::into)
        };
        let (replay, origin) =
            match self.transact_any(into_response, |response| Ok(response.clone()))? {
                Transacted::Ran(_, stored) => (stored, Origin::RanNow),
                Transacted::Replayed(replay) => (replay, Origin::Replayed),
            };
        Ok(Outcome::of_response(replay, origin))
    }

    fn transact_any<V, E, T>(
        self,
        operation: impl FnOnce(&ClaimIn<'_, '_>, &WriteTxn<'_>) -> Result<V, E>,
        encode: impl FnOnce(&V) -> Result<Response, Error>,
    ) -> Result<Transacted<V>, RunError<E, T>> {
        self.check()?;
        let engine = Arc::clone(&self.engine);
        engine.check_writable()?;
        let _span = traced::span("transact", 1);
        let until = self.until();
        let asked_at = self.wait.map(|_| engine.holder.now());
        let mut body = Some((operation, encode));
        loop {
            if let Some(begun) = self.look_until(until)? {
                note_begun(&engine, &self.asked, &begun, asked_at);
                return Transacted::answered(finish(&engine, begun));
            }
            match self.attempt(&mut body)? {
                Attempt::Ran(value, stored) => return Ok(Transacted::Ran(value, stored)),
                Attempt::Answered(begin, met) => {
                    if let Some(begin) = unless_to_wait(&engine, until, begin, met) {
                        return Transacted::answered(begin);
                    }
                }
            }
        }
    }

    /// Takes the writer, decides there, and runs the closure if the decision says so. It is taken
    /// out of the body only then.
    pub(crate) fn attempt<V, E, T, O, C>(
        &self,
        body: &mut Option<(O, C)>,
    ) -> Result<Attempt<V>, RunError<E, T>>
    where
        O: FnOnce(&ClaimIn<'_, '_>, &WriteTxn<'_>) -> Result<V, E>,
        C: FnOnce(&V) -> Result<Response, Error>,
    {
        let txn = WriteTxn::begin(&self.engine)?;
        let (txn, inside) = txn.run_own_code(|txn| run_inside(self.clone(), txn, body));
        let attempt = match inside? {
            // Nothing is committed, but who returns the answer takes note of it.
            Inside::Answered(begin) => Attempt::Answered(begin, txn.last_met()),
            Inside::Ran(value, stored) => Attempt::Ran(value, stored),
        };
        match &attempt {
            Attempt::Ran(..) => {
                txn.check_nothing_kept()?;
                let _ = txn.commit()?;
            }
            Attempt::Answered(..) => {}
        }
        Ok(attempt)
    }

    /// What the last commit answers without the writer; `None` for a possible claim.
    fn look_until(&self, until: Option<Duration>) -> Result<Option<Begun>, Error> {
        let asked = Arc::new(self.asked.clone());
        wait_for_answer(
            &self.engine,
            &asked,
            until,
            || look(&self.engine, &asked),
            |begun| begun.as_ref().and_then(Begun::lease_left),
        )
    }
}

impl<V> Transacted<V> {
    /// What an answer that is no claim becomes.
    pub(crate) fn answered<E, T>(begin: Begin) -> Result<Self, RunError<E, T>> {
        match begin {
            Begin::Replay(replay) => Ok(Self::Replayed(replay)),
            Begin::Interrupted(ticket) => Err(RunError::Interrupted(ticket)),
            Begin::Refused(refusal) => Err(RunError::Refused(refusal)),
            Begin::Fresh(_) => unreachable!("a look at the last commit claims nothing"),
        }
    }
}

/// The answer, noted, unless somebody claimed between the look and the writer and the caller has
/// the patience to wait for them.
pub(crate) fn unless_to_wait(
    engine: &Engine,
    until: Option<Duration>,
    begin: Begin,
    met: Option<Met>,
) -> Option<Begin> {
    let gives_up = until.is_none_or(|until| engine.holder.clock.elapsed() >= until);
    if !gives_up && begin.is_in_progress() {
        return None;
    }
    if let Some(met) = met {
        met.note(engine);
    }
    Some(begin)
}

/// What one attempt with the writer came to.
pub(crate) enum Attempt<V> {
    Ran(V, Replay),
    Answered(Begin, Option<Met>),
}

/// What beginning inside the transaction came to.
enum Inside<V> {
    Ran(V, Replay),
    Answered(Begin),
}

/// Begins, runs the closure and stores its answer in the transaction, which the caller commits.
fn run_inside<V, E, T, O, C>(
    request: Request,
    txn: &WriteTxn<'_>,
    body: &mut Option<(O, C)>,
) -> Result<Inside<V>, RunError<E, T>>
where
    O: FnOnce(&ClaimIn<'_, '_>, &WriteTxn<'_>) -> Result<V, E>,
    C: FnOnce(&V) -> Result<Response, Error>,
{
    let claim = match request.begin_in(txn)? {
        BeginIn::Fresh(claim) => claim,
        BeginIn::Replay(replay) => return Ok(Inside::Answered(Begin::Replay(replay))),
        BeginIn::Refused(refusal) => return Ok(Inside::Answered(Begin::Refused(refusal))),
        BeginIn::Interrupted(ticket) => {
            return Ok(Inside::Answered(Begin::Interrupted(ticket.outside())));
        }
    };
    let (operation, encode) = body
        .take()
        .expect("a claim is begun once and then returned");
    let value = operation(&claim, txn).map_err(RunError::Operation)?;
    let response = encode(&value)?;
    match claim.complete(response).map_err(|refused| refused.error) {
        Ok(stored) => Ok(Inside::Ran(value, stored)),
        Err(EndingError::Ledger(error)) => Err(RunError::Ledger(error)),
        Err(refusal) => unreachable!("the claim is this transaction's own: {refusal}"),
    }
}
