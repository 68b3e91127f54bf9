//! Writes of asynchronous callers: one thread commits for all of them, and nobody waits on one.
//!
//! Callers leave errands here and are woken when theirs is settled. What queued while the disk was
//! at work is one part of the next batch. The thread starts with the first errand and ends with
//! the ledger; a ledger that is only used by blocking calls has none.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::clock::{locked, received_within};
use crate::error::{Cause, Error};
use crate::store::engine::Engine;
use crate::store::group_commit::{
    BATCH_BYTES_MAX, BATCH_OPERATIONS_MAX, Patience, QUEUE_BYTES_MAX, QUEUE_OPERATIONS_MAX, Settle,
};
use crate::store::slot::{Answer, Slot};
use crate::store::write_store::{Job, WriteStore};

/// On a slow disk a batch waits for callers that were just answered, for one part of so many of the
/// time that the batch before took: what they ask next shares its commit. Without it two halves of
/// the callers would take turns, each waiting for the other's sync.
const RETURN_SHARE: u32 = 8;

/// From here on a commit is slow. Below, the processor is better used for the next batch.
const SLOW_COMMIT: Duration = Duration::from_millis(1);

/// The errands of one ledger, and the thread that runs them.
#[derive(Default)]
pub(crate) struct Committer {
    desk: Mutex<Desk>,
}

#[derive(Default)]
struct Desk {
    /// Made with the first errand.
    line: Option<Sender<Errand>>,
    waiting: Arc<Mutex<Load>>,
}

impl Desk {
    /// The line, with the thread that works it off.
    fn open(&mut self) -> Result<Sender<Errand>, Error> {
        if let Some(line) = &self.line {
            return Ok(line.clone());
        }
        let (line, errands) = mpsc::channel();
        let waiting = Arc::clone(&self.waiting);
        thread::Builder::new()
            .name("idempotency-commit".into())
            .spawn(move || run(&errands, &waiting))
            .map_err(Error::io)?;
        self.line = Some(line.clone());
        Ok(line)
    }
}

/// What waits in the line.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    operations: usize,
    bytes: usize,
}

/// Something to do for a caller, who keeps the ledger open until it is done.
struct Errand {
    engine: Arc<Engine>,
    work: Work,
}

enum Work {
    /// A part of a batch.
    Shared {
        patience: Patience,
        bytes: usize,
        job: Box<dyn Job>,
    },
    /// A caller's own code in a transaction of its own.
    Alone(OwnCode),
}

impl Work {
    /// How long its caller waits, and how many bytes it adds to a batch.
    fn load(&self) -> (Patience, usize) {
        match self {
            Self::Shared {
                patience, bytes, ..
            } => (*patience, *bytes),
            Self::Alone(_) => (Patience::Bounded, 0),
        }
    }
}

type OwnCode = Box<dyn FnOnce(&Arc<Engine>) + Send>;

impl std::fmt::Debug for Committer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Committer")
    }
}

impl Committer {
    /// Leaves an errand. Room for endings is reserved, as in the queue of the blocking callers.
    fn send(&self, errand: Errand) -> Result<(), Error> {
        let mut desk = locked(&self.desk);
        let (patience, bytes) = errand.work.load();
        {
            let mut waiting = locked(&desk.waiting);
            let is_full = waiting.operations >= QUEUE_OPERATIONS_MAX
                || waiting.bytes.saturating_add(bytes) > QUEUE_BYTES_MAX;
            match patience {
                Patience::Bounded | Patience::Instant if is_full => {
                    let waited = Duration::ZERO;
                    return Err(Error::Busy { waited });
                }
                Patience::Bounded | Patience::Instant | Patience::Reserved => {}
            }
            waiting.operations += 1;
            waiting.bytes = waiting.bytes.saturating_add(bytes);
        }
        let line = desk.open()?;
        drop(desk);
        let gone = |_| Error::Storage(Cause::new("the committing thread is gone"));
        line.send(errand).map_err(gone)
    }
}

/// What the batch before tells of the next.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    /// Callers who were answered, and may ask at once for more, or wait already.
    callers: usize,
    took: Duration,
}

impl Pace {
    /// How long a batch may wait for them.
    fn patience(self) -> Duration {
        if self.took < SLOW_COMMIT {
            return Duration::ZERO;
        }
        self.took / RETURN_SHARE
    }
}

/// The thread: one commit for what has queued, one after the other.
fn run(errands: &Receiver<Errand>, waiting: &Arc<Mutex<Load>>) {
    let mut next = None;
    let mut pace = Pace::default();
    loop {
        let first = match next.take() {
            Some(errand) => errand,
            None => match errands.recv() {
                Ok(errand) => errand,
                Err(_) => return,
            },
        };
        let Errand { engine, work } = first;
        match work {
            // A panic belongs to the caller, who is told of it.
            Work::Alone(work) => {
                leave(waiting, 1, 0);
                pace = Pace::default();
                drop(catch_unwind(AssertUnwindSafe(|| work(&engine))));
            }
            Work::Shared {
                patience,
                bytes,
                job,
            } => {
                let mut group = Group::of(patience, bytes, job);
                next = group.gather(errands, pace);
                leave(waiting, group.jobs.len(), group.bytes);
                let clock = &engine.holder.clock;
                let began = clock.elapsed();
                let committed = AssertUnwindSafe(|| group.commit(&engine, waiting));
                let callers = catch_unwind(committed).unwrap_or_default();
                let took = clock.elapsed().saturating_sub(began);
                pace = Pace { callers, took };
            }
        }
    }
}

/// What no longer waits in the line.
fn leave(waiting: &Mutex<Load>, operations: usize, bytes: usize) {
    let mut waiting = locked(waiting);
    waiting.operations = waiting.operations.saturating_sub(operations);
    waiting.bytes = waiting.bytes.saturating_sub(bytes);
}

/// Jobs of several callers, as one part of a batch.
struct Group {
    patience: Patience,
    bytes: usize,
    jobs: Vec<Box<dyn Job>>,
}

impl Group {
    fn of(patience: Patience, bytes: usize, job: Box<dyn Job>) -> Self {
        Self {
            patience,
            bytes,
            jobs: vec![job],
        }
    }

    /// Takes in what has queued and fits; the first errand that does not is returned. On a slow
    /// disk it waits a little for those who were answered by the batch before.
    fn gather(&mut self, errands: &Receiver<Errand>, pace: Pace) -> Option<Errand> {
        let mut left = pace.patience();
        while self.jobs.len() < BATCH_OPERATIONS_MAX {
            let errand = match errands.try_recv() {
                Ok(errand) => errand,
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) if self.jobs.len() >= pace.callers => return None,
                Err(TryRecvError::Empty) => received_within(errands, &mut left)?,
            };
            match errand.work {
                Work::Shared {
                    patience,
                    bytes,
                    job,
                } if self.bytes.saturating_add(bytes) <= BATCH_BYTES_MAX => {
                    // An ending among them has room, whoever it comes with.
                    if patience == Patience::Reserved {
                        self.patience = patience;
                    }
                    self.bytes += bytes;
                    self.jobs.push(job);
                }
                work @ (Work::Shared { .. } | Work::Alone(_)) => {
                    let engine = errand.engine;
                    return Some(Errand { engine, work });
                }
            }
        }
        None
    }

    /// Commits; how many callers were answered or waited already when they were.
    fn commit(self, engine: &Arc<Engine>, waiting: &Arc<Mutex<Load>>) -> usize {
        let together = Together(Arc::new(Mutex::new(Shared {
            jobs: self.jobs,
            waiting: Arc::clone(waiting),
            callers: 0,
        })));
        let shared = Arc::clone(&together.0);
        let done = engine.submit_job(self.patience, self.bytes, Box::new(together));
        let mut shared = locked(&shared);
        if let Err(error) = done {
            // It never came to a batch.
            for job in &mut shared.jobs {
                job.settle(Err(error.clone()));
            }
        }
        shared.callers
    }
}

struct Together(Arc<Mutex<Shared>>);

struct Shared {
    jobs: Vec<Box<dyn Job>>,
    waiting: Arc<Mutex<Load>>,
    callers: usize,
}

impl Job for Together {
    fn apply(&mut self, store: &mut WriteStore<'_>) {
        for job in &mut locked(&self.0).jobs {
            job.apply(store);
            if store.failure().is_some() {
                return;
            }
        }
    }

    fn operations(&self) -> usize {
        locked(&self.0).jobs.len()
    }
}

impl Settle for Together {
    fn settle(&mut self, verdict: Result<(), Error>) {
        let mut shared = locked(&self.0);
        // Before the first is answered: who comes back is not counted twice.
        let waiting = locked(&shared.waiting).operations;
        shared.callers = shared.jobs.len() + waiting;
        for job in &mut shared.jobs {
            job.settle(verdict.clone());
        }
    }
}

impl Engine {
    /// Leaves `work` for the next batch. The payload comes back with the answer, whatever becomes
    /// of it; an answer that nobody waits for any more goes to `abandoned`.
    pub(crate) fn submit_async<P, T, F>(
        self: &Arc<Self>,
        patience: Patience,
        bytes: usize,
        payload: P,
        work: F,
        abandoned: impl FnOnce(Settled<P, T>) + Send + 'static,
    ) -> Answer<Settled<P, T>>
    where
        P: Send + 'static,
        T: Send + 'static,
        F: FnOnce(&mut WriteStore<'_>, &P) -> Result<T, Error> + Send + 'static,
    {
        let allowed = self.check_may_wait();
        self.enqueue_async(allowed, patience, bytes, payload, work, abandoned)
    }

    /// The same, if the caller was `allowed` to: one that waits for nothing need not be able to.
    pub(crate) fn enqueue_async<P, T, F>(
        self: &Arc<Self>,
        allowed: Result<(), Error>,
        patience: Patience,
        bytes: usize,
        payload: P,
        work: F,
        abandoned: impl FnOnce(Settled<P, T>) + Send + 'static,
    ) -> Answer<Settled<P, T>>
    where
        P: Send + 'static,
        T: Send + 'static,
        F: FnOnce(&mut WriteStore<'_>, &P) -> Result<T, Error> + Send + 'static,
    {
        let slot = Slot::new(abandoned);
        if let Err(error) = allowed {
            slot.deliver((payload, Err(error)));
            return Answer(slot);
        }
        let job = AsyncJob {
            work: Some((payload, work)),
            done: None,
            slot: Arc::clone(&slot),
        };
        let errand = Errand {
            engine: Arc::clone(self),
            work: Work::Shared {
                patience,
                bytes,
                job: Box::new(job),
            },
        };
        // A job that is not taken in settles itself when it is dropped; this says why.
        if let Err(error) = self.committer.send(errand) {
            slot.correct(|(payload, _)| (payload, Err(error)));
        }
        Answer(slot)
    }

    /// Refuses a caller whose thread holds the writer: a transaction stays on its thread, so it
    /// cannot end before the future does, and the committing thread would wait for it.
    pub(crate) fn check_may_wait(&self) -> Result<(), Error> {
        self.check_writable()?;
        if self.commits.is_held_here() {
            return Err(Error::WouldDeadlock {
                held: "an open write transaction",
            });
        }
        Ok(())
    }

    /// Runs a caller's own code on the committing thread, outside of any batch.
    pub(crate) fn run_alone_async<A: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Arc<Self>) -> A + Send + 'static,
    ) -> Result<Answer<thread::Result<A>>, Error> {
        self.check_may_wait()?;
        let slot = Slot::new(drop);
        let teller = Arc::clone(&slot);
        let alone = move |engine: &Arc<Self>| {
            teller.deliver(catch_unwind(AssertUnwindSafe(|| work(engine))));
        };
        self.committer.send(Errand {
            engine: Arc::clone(self),
            work: Work::Alone(Box::new(alone)),
        })?;
        Ok(Answer(slot))
    }
}

/// A payload and what became of it.
pub(crate) type Settled<P, T> = (P, Result<T, Error>);

/// A closure over the store as a job whose caller is woken.
struct AsyncJob<P, T, F> {
    work: Option<(P, F)>,
    done: Option<Settled<P, T>>,
    slot: Arc<Slot<Settled<P, T>>>,
}

impl<P, T, F> Job for AsyncJob<P, T, F>
where
    P: Send,
    T: Send,
    F: FnOnce(&mut WriteStore<'_>, &P) -> Result<T, Error> + Send,
{
    fn apply(&mut self, store: &mut WriteStore<'_>) {
        if let Some((payload, work)) = self.work.take() {
            let answer = work(store, &payload);
            self.done = Some((payload, answer));
        }
    }
}

impl<P: Send, T: Send, F: Send> Settle for AsyncJob<P, T, F> {
    fn settle(&mut self, verdict: Result<(), Error>) {
        let settled = match (self.done.take(), self.work.take()) {
            (Some((payload, answer)), _) => (payload, verdict.and(answer)),
            (None, Some((payload, _))) => {
                let passed_over = || Err(Error::Storage(Cause::new("the batch passed it over")));
                (payload, verdict.and_then(|()| passed_over()))
            }
            (None, None) => return,
        };
        self.slot.deliver(settled);
    }
}

impl<P, T, F> Drop for AsyncJob<P, T, F> {
    fn drop(&mut self) {
        let done = self.done.take().map(|(payload, _)| payload);
        let undone = self.work.take().map(|(payload, _)| payload);
        let Some(payload) = done.or(undone) else {
            return;
        };
        let unanswered = Error::CommitUnknown(Cause::new("the batch gave no answer"));
        self.slot.deliver((payload, Err(unanswered)));
    }
}
