//! Leader and followers: concurrent callers share one commit, a lone caller pays nothing.
//!
//! Whoever finds nobody leading leads: its own job and what queued meanwhile form a batch, one
//! transaction and one sync. Then the followers are woken, and the first of those who came too
//! late leads the next batch. There is no thread, no timer and no delay.
//!
//! ```text
//! nobody leads -> lead: get the writer, gather the queue (bounded), commit, settle all, pass on
//! somebody leads -> queue (bounded) -> told an answer, or told to lead
//! ```

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use crate::clock::{Clock, Signal, Woken, locked};
use crate::error::{Cause, Error};

pub(crate) const BATCH_OPERATIONS_MAX: usize = 256;
pub(crate) const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
pub(crate) const QUEUE_OPERATIONS_MAX: usize = 4_096;
pub(crate) const QUEUE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// One caller's part of a batch: told in the end how the batch went.
pub(crate) trait Settle: Send {
    /// Tells the caller: its answer after a commit, the batch's error otherwise.
    fn settle(&mut self, verdict: Result<(), Error>);
}

/// How long a caller waits for the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// New claims are refused after the busy timeout, and when the queue is full.
    Bounded,
    /// Only if it is free: nobody waits for the caller either.
    Instant,
    /// Endings have reserved room: what happened is not dropped because others are many.
    Reserved,
}

/// Whether one transaction may hold other callers' operations too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Company {
    Shared { bytes: usize },
    Alone,
}

pub(crate) struct GroupCommit<J> {
    queue: Mutex<Queue<J>>,
    busy_timeout: Duration,
}

struct Queue<J> {
    waiting: VecDeque<Arc<Seat<J>>>,
    waiting_bytes: usize,
    is_led: bool,
    /// The thread that runs a caller's own code while it leads.
    alone: Option<ThreadId>,
}

struct Seat<J> {
    company: Company,
    job: Mutex<Option<J>>,
    turn: Mutex<Turn>,
    signal: Signal,
}

impl<J> std::fmt::Debug for GroupCommit<J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GroupCommit")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Waiting,
    Lead,
    Done,
}

impl<J> Seat<J> {
    fn new(company: Company, job: Option<J>) -> Arc<Self> {
        Arc::new(Self {
            company,
            job: Mutex::new(job),
            turn: Mutex::new(Turn::Waiting),
            signal: Signal::default(),
        })
    }

    fn tell(&self, turn: Turn) {
        *locked(&self.turn) = turn;
        self.signal.fire();
    }

    const fn bytes(&self) -> usize {
        match self.company {
            Company::Shared { bytes } => bytes,
            Company::Alone => 0,
        }
    }
}

/// The right to write. Dropping it passes the right on, also in a panic.
pub(crate) struct Lead<'g>(&'g dyn PassOn);

trait PassOn: Sync {
    fn pass_on(&self);
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}

impl std::fmt::Debug for Lead<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lead")
    }
}

impl<J: Settle> GroupCommit<J> {
    pub(crate) fn new(busy_timeout: Duration) -> Self {
        let queue = Queue {
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            is_led: false,
            alone: None,
        };
        Self {
            queue: Mutex::new(queue),
            busy_timeout,
        }
    }

    /// Runs a job in a batch. `write` is called if this caller leads: it makes one commit of the
    /// batch and leaves its verdict there.
    pub(crate) fn submit(
        &self,
        clock: &dyn Clock,
        patience: Patience,
        bytes: usize,
        job: J,
        write: impl FnOnce(&mut Batch<'_, J>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let seat = Seat::new(Company::Shared { bytes }, Some(job));
        match self.take_turn(clock, patience, &seat)? {
            Turn::Lead => {
                let _lead = Lead(self);
                // Whoever is told of the batch while it runs, and asks for another, would wait for
                // itself.
                locked(&self.queue).alone = Some(thread::current().id());
                let mut batch = Batch::of_leader(self, seat);
                let verdict = write(&mut batch);
                batch.verdict = Some(verdict);
            }
            Turn::Done | Turn::Waiting => {}
        }
        Ok(())
    }

    /// Waits for the right to write alone, for a caller's own code inside a transaction.
    pub(crate) fn lead_alone(
        &self,
        clock: &dyn Clock,
        patience: Patience,
    ) -> Result<Lead<'_>, Error> {
        let seat = Seat::new(Company::Alone, None);
        let _ = self.take_turn(clock, patience, &seat)?;
        locked(&self.queue).alone = Some(thread::current().id());
        Ok(Lead(self))
    }

    pub(crate) const fn busy_timeout(&self) -> Duration {
        self.busy_timeout
    }

    /// Whether the current thread holds the right to write.
    pub(crate) fn is_held_here(&self) -> bool {
        locked(&self.queue).alone == Some(thread::current().id())
    }

    /// How many callers wait for the writer.
    pub(crate) fn queued(&self) -> usize {
        locked(&self.queue).waiting.len()
    }

    fn take_turn(
        &self,
        clock: &dyn Clock,
        patience: Patience,
        seat: &Arc<Seat<J>>,
    ) -> Result<Turn, Error> {
        {
            let mut queue = locked(&self.queue);
            if queue.alone == Some(thread::current().id()) {
                return Err(Error::WouldDeadlock {
                    held: "an open write transaction",
                });
            }
            if !queue.is_led {
                queue.is_led = true;
                return Ok(Turn::Lead);
            }
            if patience == Patience::Instant {
                let waited = Duration::ZERO;
                return Err(Error::Busy { waited });
            }
            let is_full = queue.waiting.len() >= QUEUE_OPERATIONS_MAX
                || queue.waiting_bytes.saturating_add(seat.bytes()) > QUEUE_BYTES_MAX;
            if is_full && patience == Patience::Bounded {
                return Err(Error::Busy {
                    waited: Duration::ZERO,
                });
            }
            queue.waiting_bytes = queue.waiting_bytes.saturating_add(seat.bytes());
            queue.waiting.push_back(Arc::clone(seat));
        }
        let mut until = match patience {
            Patience::Bounded => Some(clock.elapsed().saturating_add(self.busy_timeout)),
            Patience::Instant => Some(clock.elapsed()),
            Patience::Reserved => None,
        };
        loop {
            let woken = seat.signal.wait(clock, until);
            let turn = *locked(&seat.turn);
            match (turn, woken) {
                (Turn::Lead | Turn::Done, _) => return Ok(turn),
                (Turn::Waiting, Woken::Fired) => {}
                (Turn::Waiting, Woken::TimedOut) => {
                    if self.withdraw(seat) {
                        return Err(Error::Busy {
                            waited: self.busy_timeout,
                        });
                    }
                    // It is part of a batch already: its answer is on the way.
                    until = None;
                }
            }
        }
    }

    /// Takes a seat out of the queue; false when a leader has it.
    fn withdraw(&self, seat: &Arc<Seat<J>>) -> bool {
        let mut queue = locked(&self.queue);
        let Some(at) = queue
            .waiting
            .iter()
            .position(|other| Arc::ptr_eq(other, seat))
        else {
            return false;
        };
        queue.waiting.remove(at);
        queue.waiting_bytes -= seat.bytes();
        true
    }

    /// Those that may share the leader's transaction, in the order in which they came.
    fn gather(&self, own: &Seat<J>) -> Vec<Arc<Seat<J>>> {
        let several_wait = locked(&self.queue).waiting.len() > 1;
        if several_wait {
            // Callers that were just woken come back with their next operation: letting them
            // queue first makes one batch of what would be two.
            thread::yield_now();
        }
        let mut seats = Vec::new();
        let mut bytes = own.bytes();
        let mut queue = locked(&self.queue);
        while let Some(next) = queue.waiting.front() {
            let fits = matches!(next.company, Company::Shared { .. })
                && seats.len() + 1 < BATCH_OPERATIONS_MAX
                && bytes.saturating_add(next.bytes()) <= BATCH_BYTES_MAX;
            if !fits {
                break;
            }
            if let Some(seat) = queue.waiting.pop_front() {
                bytes += seat.bytes();
                queue.waiting_bytes -= seat.bytes();
                seats.push(seat);
            }
        }
        seats
    }
}

impl<J: Settle> PassOn for GroupCommit<J> {
    fn pass_on(&self) {
        let next = {
            let mut queue = locked(&self.queue);
            queue.alone = None;
            let next = queue.waiting.pop_front();
            match &next {
                Some(seat) => queue.waiting_bytes -= seat.bytes(),
                None => queue.is_led = false,
            }
            next
        };
        if let Some(seat) = next {
            seat.tell(Turn::Lead);
        }
    }
}

/// The jobs of a batch. However the leader leaves, each of them is settled: without a verdict
/// the commit may have happened, so the answer is unknown.
pub(crate) struct Batch<'g, J: Settle> {
    commits: &'g GroupCommit<J>,
    own: Arc<Seat<J>>,
    followers: Vec<Arc<Seat<J>>>,
    jobs: Vec<J>,
    verdict: Option<Result<(), Error>>,
}

impl<'g, J: Settle> Batch<'g, J> {
    fn of_leader(commits: &'g GroupCommit<J>, own: Arc<Seat<J>>) -> Self {
        let jobs = locked(&own.job).take().into_iter().collect();
        Self {
            commits,
            own,
            followers: Vec::new(),
            jobs,
            verdict: None,
        }
    }

    /// Takes the others in. Called once the writer is held: until then they stay in the queue,
    /// where their own patience can end.
    pub(crate) fn gather(&mut self) -> &mut [J] {
        self.followers = self.commits.gather(&self.own);
        let jobs = self
            .followers
            .iter()
            .filter_map(|seat| locked(&seat.job).take());
        self.jobs.extend(jobs);
        &mut self.jobs
    }
}

impl<J: Settle> Drop for Batch<'_, J> {
    fn drop(&mut self) {
        let verdict = self.verdict.take().unwrap_or_else(|| {
            Err(Error::CommitUnknown(Cause::new(
                "the leading caller panicked",
            )))
        });
        for job in &mut self.jobs {
            job.settle(verdict.clone());
        }
        // The leader itself waits for nothing.
        for seat in &self.followers {
            seat.tell(Turn::Done);
        }
    }
}
