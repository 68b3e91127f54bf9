//! From jobs to one commit: the only place where the ledger begins and commits transactions.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redb::{Database, TransactionError, WriteTransaction};

use crate::clock::{locked, retry_within, unpoisoned};
use crate::error::no_panic;
use crate::error::{Cause, Error, before_commit, in_commit};
use crate::events::Ride;
use crate::file::settings::CommitProfile;
use crate::file::storage::Base;
use crate::holder::Written;
use crate::store::engine::Engine;
use crate::store::group_commit::{Batch, Patience, Settle};
use crate::store::write_store::{Job, WriteStore};
use crate::traced;

/// The small sweep that each commit carries: a row for each operation and two more. So a ledger
/// in use removes faster than it adds, however full its batches are, and a sweep is never larger
/// than what it rides along with.
const SWEEP_ALONG_BASE: usize = 2;

/// What a caller and its job share: the caller's payload, which comes back whatever happens,
/// and the answer once the batch is settled.
struct Shared<P, T> {
    payload: Mutex<P>,
    answer: Mutex<Option<Result<T, Error>>>,
}

/// A closure over the store as a [`Job`].
struct Work<P, T, F> {
    shared: Arc<Shared<P, T>>,
    run: Option<F>,
    answer: Option<Result<T, Error>>,
}

impl<P, T, F> Job for Work<P, T, F>
where
    P: Send,
    T: Send,
    F: FnOnce(&mut WriteStore<'_>, &P) -> Result<T, Error> + Send,
{
    fn apply(&mut self, store: &mut WriteStore<'_>) {
        if let Some(run) = self.run.take() {
            self.answer = Some(run(store, &locked(&self.shared.payload)));
        }
    }
}

impl<P: Send, T: Send, F: Send> Settle for Work<P, T, F> {
    fn settle(&mut self, verdict: Result<(), Error>) {
        let unanswered = || Err(Error::Storage(Cause::new("the batch passed the job over")));
        let answer = verdict.and_then(|()| self.answer.take().unwrap_or_else(unanswered));
        *locked(&self.shared.answer) = Some(answer);
    }
}

impl Engine {
    /// Runs `work` in a write transaction that others may share, and returns its answer after
    /// the commit.
    pub(crate) fn submit<T, F>(&self, patience: Patience, bytes: usize, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut WriteStore<'_>) -> Result<T, Error> + Send + 'static,
    {
        self.submit_with(patience, bytes, (), |store, ()| work(store))
            .1
    }

    /// The same with a payload that comes back, whatever becomes of the commit.
    pub(crate) fn submit_with<P, T, F>(
        &self,
        patience: Patience,
        bytes: usize,
        payload: P,
        work: F,
    ) -> (P, Result<T, Error>)
    where
        P: Clone + Send + 'static,
        T: Send + 'static,
        F: FnOnce(&mut WriteStore<'_>, &P) -> Result<T, Error> + Send + 'static,
    {
        if let Err(error) = self.check_writable() {
            return (payload, Err(error));
        }
        let shared = Arc::new(Shared {
            payload: Mutex::new(payload),
            answer: Mutex::new(None),
        });
        let job = Work {
            shared: Arc::clone(&shared),
            run: Some(work),
            answer: None,
        };
        let queued = self.submit_job(patience, bytes, Box::new(job));
        let unanswered = || Err(Error::CommitUnknown(Cause::new("the batch gave no answer")));
        let answer = locked(&shared.answer).take();
        let result = queued.and_then(|()| answer.unwrap_or_else(unanswered));
        let payload = match Arc::try_unwrap(shared) {
            Ok(shared) => unpoisoned(shared.payload.into_inner()),
            // The leader has not let go of the job yet.
            Err(shared) => locked(&shared.payload).clone(),
        };
        (payload, result)
    }

    /// Runs a job in a batch, led by this thread or by another one.
    pub(crate) fn submit_job(
        &self,
        patience: Patience,
        bytes: usize,
        job: Box<dyn Job>,
    ) -> Result<(), Error> {
        self.commits
            .submit(&*self.holder.clock, patience, bytes, job, |batch| {
                self.write_batch(patience, batch)
            })
    }

    /// Applies all jobs of a batch in one transaction and commits it.
    fn write_batch(
        &self,
        patience: Patience,
        batch: &mut Batch<'_, Box<dyn Job>>,
    ) -> Result<(), Error> {
        self.reopen_as_leader()?;
        self.check_usable()?;
        self.check_place()?;
        let base = self.base()?;
        let transaction = self.begin_write(&base, patience)?;
        let jobs = batch.gather();
        let operations = jobs.iter().map(|job| job.operations()).sum();
        let _span = traced::span("commit", operations);
        let applied = WriteStore::within(&self.holder, &transaction, |store| {
            for job in jobs.iter_mut() {
                job.apply(store);
                if let Some(error) = store.failure() {
                    return Err(error.clone());
                }
            }
            finish(store, operations)
        });
        self.conclude(transaction, applied, operations).map(|_| ())
    }

    /// Commits what was applied, or takes it back.
    pub(crate) fn conclude(
        &self,
        transaction: WriteTransaction,
        applied: Result<Option<Written>, Error>,
        operations: usize,
    ) -> Result<Option<Written>, Error> {
        let applied = self.holder.check_process().and(applied);
        match applied {
            Ok(Some(written)) => {
                self.commit(transaction)?;
                self.committed(written, operations);
                Ok(Some(written))
            }
            // Nothing changed, so what was answered is already committed.
            Ok(None) => {
                self.roll_back(transaction);
                Ok(None)
            }
            Err(error) => {
                self.roll_back(transaction);
                if matches!(error, Error::Storage(_) | Error::FileDamaged(_)) {
                    self.mark_failed();
                }
                Err(error)
            }
        }
    }

    fn commit(&self, mut transaction: WriteTransaction) -> Result<(), Error> {
        match self.storage.commit_profile() {
            CommitProfile::OnePhase => {}
            CommitProfile::TwoPhase => {
                transaction.set_two_phase_commit(true);
                transaction.set_quick_repair(true);
            }
        }
        let committed = catch_unwind(AssertUnwindSafe(|| transaction.commit()));
        let result = match committed {
            Ok(result) => result.map_err(in_commit),
            Err(_) => Err(Error::CommitUnknown(Cause::new(
                "the storage engine panicked",
            ))),
        };
        if let Err(error) = &result {
            // Some of it may be on disk: counted once too little rather than twice.
            self.holder.events.arrive(Ride::Unknown);
            traced::trouble("a commit failed", error);
            self.mark_failed();
        }
        result
    }

    /// An abort that fails leaves nothing on disk either; the database is reopened after it.
    pub(crate) fn roll_back(&self, transaction: WriteTransaction) {
        // The parent of a fork goes on with its transaction, and holds the writer for it.
        if self.holder.check_process().is_err() {
            return std::mem::forget(transaction);
        }
        self.holder.events.arrive(Ride::RolledBack);
        let aborted = catch_unwind(AssertUnwindSafe(|| transaction.abort()));
        if !matches!(aborted, Ok(Ok(()))) {
            self.mark_failed();
        }
    }

    pub(crate) fn begin_write(
        &self,
        base: &Base,
        patience: Patience,
    ) -> Result<WriteTransaction, Error> {
        let begun = no_panic(|| match base {
            Base::ReadOnly(_) => Err(Error::ReadOnly),
            // The application may hold the writer as long as it likes: nobody waits for ever.
            Base::Lent(database) if patience == Patience::Reserved => {
                self.poll_writer(database, Patience::Bounded)
            }
            Base::Lent(database) => self.poll_writer(database, patience),
            Base::Owned(database) if self.holder.mode().has_other_writers() => {
                self.poll_writer(database, patience)
            }
            // Only the leader begins transactions here. One that is still there was left by a panic
            // of redb; waiting for it would have no end, and a reopened database does not have it.
            Base::Owned(database) => database.try_begin_write().map_err(|error| match error {
                TransactionError::WouldBlock => Error::Storage(Cause::new(
                    "the storage engine left a transaction open; the next call reopens the file",
                )),
                error => before_commit(error),
            }),
        });
        if let Err(Error::Storage(_) | Error::FileDamaged(_)) = &begun {
            self.mark_failed();
        }
        begun
    }

    /// Waits until no other process writes, as long as a caller may. redb's own maintenance waits
    /// without a bound; what is left to it is a lock that was free a moment ago.
    pub(crate) fn await_writer(&self, database: &Database) -> Result<(), Error> {
        if self.holder.mode().has_other_writers() {
            drop(self.poll_writer(database, Patience::Bounded)?);
        }
        Ok(())
    }

    /// Gets the writer of a database that others write to as well. redb waits without a bound,
    /// so it is asked again and again instead.
    fn poll_writer(
        &self,
        database: &Database,
        patience: Patience,
    ) -> Result<WriteTransaction, Error> {
        let timeout = match patience {
            Patience::Instant => Some(Duration::ZERO),
            Patience::Bounded => Some(self.commits.busy_timeout()),
            Patience::Reserved => None,
        };
        retry_within(timeout, || match database.try_begin_write() {
            Ok(transaction) => Ok(Some(transaction)),
            Err(TransactionError::WouldBlock) => Ok(None),
            Err(error) => Err(before_commit(error)),
        })?
        .map_err(|waited| Error::Busy { waited })
    }
}

/// Ends the ledger's part of a batch. `None` where nothing was written, so that there is nothing
/// to commit.
fn finish(store: &mut WriteStore<'_>, operations: usize) -> Result<Option<Written>, Error> {
    if store.is_dirty() {
        finish_with_sweep(store, operations).map(Some)
    } else {
        Ok(None)
    }
}

/// The end of what a transaction writes: the sweep that rides along, then the counters.
pub(crate) fn finish_with_sweep(
    store: &mut WriteStore<'_>,
    operations: usize,
) -> Result<Written, Error> {
    // A job may be many operations: what counts is what was added.
    let added = operations.max(store.puts());
    store.sweep_along(SWEEP_ALONG_BASE + added)?;
    store.carry_events();
    store.finish()
}
