//! The endings of a claim: what each call makes of the stored record, or why it may not.
//!
//! Every change of an existing record carries the fence of the claim that makes it. If the
//! record is no longer that claim's, nothing changes.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

use super::{
    Checkpoint, ClaimLock, Claimed, Completed, Fence, Fingerprint, Key, Liveness, Policy,
    PolicyStamp, Record, Response, State, Timestamp, Work,
};

/// Why an ending was refused. The record is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndingRefusal {
    /// The record is no longer this claim's, or not as the ticket saw it: another caller took it
    /// over, renewed, resolved or forgot it.
    Superseded,
    /// This claim completed already, with another answer.
    DifferentResponse,
    /// A checkpoint says that part of it happened, so it cannot be released.
    HasCheckpoint,
}

impl fmt::Display for EndingRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Superseded => {
                "the record is no longer this claim's, or not as the ticket saw it; it is \
                 unchanged, look at it with peek, or begin again for a new ticket"
            }
            Self::DifferentResponse => {
                "the operation is completed already, with another response; that one is kept"
            }
            Self::HasCheckpoint => {
                "a checkpoint is stored, so part of it happened; complete it or leave it \
                 interrupted"
            }
        })
    }
}

impl core::error::Error for EndingRefusal {}

/// What a new claim is made of.
#[derive(Clone, Debug)]
pub struct NewClaim {
    /// What the request asks for.
    pub fingerprint: Fingerprint,
    /// The fence it runs under.
    pub fence: Fence,
    /// The policy it runs under.
    pub policy: PolicyStamp,
    /// Who claims it.
    pub holder: u64,
    /// The program's name.
    pub program: String,
    /// The lock that the claimer holds.
    pub lock: ClaimLock,
}

/// The record of a first claim.
#[must_use]
pub fn claim(new: NewClaim, now: Timestamp) -> Record {
    Record {
        fingerprint: new.fingerprint,
        fence: new.fence,
        attempts: 1,
        first_claimed_at: now,
        claimed_at: now,
        policy: new.policy,
        holder: new.holder,
        program: new.program,
        state: State::Claimed(Claimed {
            lease_until: now.saturating_add(new.policy.lease),
            checkpoint: None,
            lock: new.lock,
        }),
    }
}

/// What a ticket saw of a claim. It may end the claim only while all of it is still so: a holder
/// that renewed its lease or reached another checkpoint meanwhile is at work, although its fence is
/// the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenClaim {
    /// Its fence.
    pub fence: Fence,
    /// The end of its lease.
    pub lease_until: Timestamp,
    /// Its last recovery point.
    pub checkpoint: Option<Checkpoint>,
}

impl SeenClaim {
    /// What there is to see of a record; `None` for one that is no claim.
    #[must_use]
    pub fn of(record: &Record) -> Option<Self> {
        match &record.state {
            State::Claimed(claimed) => Some(Self {
                fence: record.fence,
                lease_until: claimed.lease_until,
                checkpoint: claimed.checkpoint.clone(),
            }),
            State::Completed(_) => None,
        }
    }

    /// Whether the record is the claim that was seen, unchanged.
    #[must_use]
    pub fn is_still(&self, stored: Option<&Record>) -> bool {
        self.unchanged(stored).is_ok()
    }

    fn unchanged<'r>(
        &self,
        stored: Option<&'r Record>,
    ) -> Result<(&'r Record, &'r Claimed), EndingRefusal> {
        let (record, claimed) = held(stored, self.fence)?;
        if claimed.lease_until == self.lease_until && claimed.checkpoint == self.checkpoint {
            Ok((record, claimed))
        } else {
            Err(EndingRefusal::Superseded)
        }
    }
}

/// The record of a claim that takes an interrupted one over: a new fence, one more attempt, the
/// same checkpoint.
///
/// # Errors
///
/// [`EndingRefusal::Superseded`] unless the record is still the claim that was seen.
pub fn take_over(
    stored: Option<&Record>,
    seen: &SeenClaim,
    new: NewClaim,
    now: Timestamp,
) -> Result<Record, EndingRefusal> {
    let (record, claimed) = seen.unchanged(stored)?;
    let mut taken = claim(new, now);
    taken.attempts = record.attempts.saturating_add(1);
    taken.first_claimed_at = record.first_claimed_at;
    taken.fingerprint = record.fingerprint;
    if let State::Claimed(state) = &mut taken.state {
        state.checkpoint.clone_from(&claimed.checkpoint);
    }
    Ok(taken)
}

/// What `complete` has to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completion {
    /// The completed record.
    Store(Box<Record>),
    /// Nothing: this claim completed already with the same answer.
    AlreadyStored,
}

/// Completes a claim. Works after the lease is over, as long as nobody took over. An answer that
/// has expired is as good as swept: whoever completes it again is superseded.
///
/// # Errors
///
/// [`EndingRefusal`] when the record is another's, or completed with another answer.
pub fn complete(
    stored: Option<&Record>,
    fence: Fence,
    key: &Key,
    policy: &Policy,
    response: &Response,
    now: Timestamp,
) -> Result<Completion, EndingRefusal> {
    let record = stored
        .filter(|record| record.fence == fence && !record.is_expired(now))
        .ok_or(EndingRefusal::Superseded)?;
    match &record.state {
        State::Completed(done) if done.response == *response => Ok(Completion::AlreadyStored),
        State::Completed(_) => Err(EndingRefusal::DifferentResponse),
        State::Claimed(_) => {
            let mut completed = record.clone();
            completed.state = State::Completed(Completed {
                completed_at: now,
                expires_at: expires_at(record.policy, key, policy, now),
                response: response.clone(),
            });
            Ok(Completion::Store(Box::new(completed)))
        }
    }
}

/// Completes an interrupted claim for the ticket that saw it. A second time with the same answer is
/// fine, as for the holder: a ticket whose commit is unknown asks again.
///
/// # Errors
///
/// [`EndingRefusal`] when the record is not what was seen, or completed with another answer.
pub fn complete_seen(
    stored: Option<&Record>,
    seen: &SeenClaim,
    key: &Key,
    policy: &Policy,
    response: &Response,
    now: Timestamp,
) -> Result<Completion, EndingRefusal> {
    if stored.is_some_and(Record::is_claimed) {
        seen.unchanged(stored)?;
    }
    complete(stored, seen.fence, key, policy, response, now)
}

/// When an answer stored now no longer counts. Where stale keys are refused, no earlier than the
/// key's own time plus the retention, so that a removed key is always a stale one.
fn expires_at(stamp: PolicyStamp, key: &Key, policy: &Policy, now: Timestamp) -> Timestamp {
    let by_answer = now.saturating_add(stamp.retention);
    match key.time() {
        Some(time) if policy.refuses_stale_keys() => {
            by_answer.max(time.saturating_add(stamp.retention))
        }
        _ => by_answer,
    }
}

/// Releases a claim: it certainly did not happen, and the record goes.
///
/// # Errors
///
/// [`EndingRefusal`] when the record is another's, or once a checkpoint is stored.
pub fn release(stored: Option<&Record>, fence: Fence) -> Result<(), EndingRefusal> {
    let (_, claimed) = held(stored, fence)?;
    match claimed.checkpoint {
        None => Ok(()),
        Some(_) => Err(EndingRefusal::HasCheckpoint),
    }
}

/// Releases an interrupted claim for the ticket that saw it.
///
/// # Errors
///
/// [`EndingRefusal`] when the record is not what was seen, or once a checkpoint is stored.
pub fn release_seen(stored: Option<&Record>, seen: &SeenClaim) -> Result<(), EndingRefusal> {
    seen.unchanged(stored)?;
    release(stored, seen.fence)
}

/// Gives a claim its whole lease again, counted from now. Works after the lease is over, as long
/// as nobody took over.
///
/// # Errors
///
/// [`EndingRefusal::Superseded`] when the record is another's.
pub fn renew(
    stored: Option<&Record>,
    fence: Fence,
    now: Timestamp,
) -> Result<Record, EndingRefusal> {
    let (record, claimed) = held(stored, fence)?;
    let lease_until = now
        .saturating_add(record.policy.lease)
        .max(claimed.lease_until);
    let checkpoint = claimed.checkpoint.clone();
    Ok(Record {
        state: State::Claimed(Claimed {
            lease_until,
            checkpoint,
            lock: claimed.lock,
        }),
        ..record.clone()
    })
}

/// The record of a claim whose lease runs for longer than its whole span, which it can only where
/// the time was taken back since: with the whole span from now. `None` where nothing changes.
#[must_use]
pub fn shorten_lease(record: &Record, now: Timestamp) -> Option<Record> {
    let lease_until = now.saturating_add(record.policy.lease);
    match &record.state {
        State::Claimed(claimed) if claimed.lease_until > lease_until => Some(Record {
            state: State::Claimed(Claimed {
                lease_until,
                checkpoint: claimed.checkpoint.clone(),
                lock: claimed.lock,
            }),
            ..record.clone()
        }),
        State::Claimed(_) | State::Completed(_) => None,
    }
}

/// Stores a recovery point in a claim.
///
/// # Errors
///
/// [`EndingRefusal::Superseded`] when the record is another's.
pub fn checkpoint(
    stored: Option<&Record>,
    fence: Fence,
    reached: Checkpoint,
) -> Result<Record, EndingRefusal> {
    let (record, claimed) = held(stored, fence)?;
    let state = Claimed {
        lease_until: claimed.lease_until,
        checkpoint: Some(reached),
        lock: claimed.lock,
    };
    Ok(Record {
        state: State::Claimed(state),
        ..record.clone()
    })
}

fn held(stored: Option<&Record>, fence: Fence) -> Result<(&Record, &Claimed), EndingRefusal> {
    match stored {
        Some(record) if record.fence == fence => match &record.state {
            State::Claimed(claimed) => Ok((record, claimed)),
            State::Completed(_) => Err(EndingRefusal::Superseded),
        },
        Some(_) | None => Err(EndingRefusal::Superseded),
    }
}

/// What is known when somebody other than the holder wants to end a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Whether the holder lives.
    pub liveness: Liveness,
    /// Whether work that it started still runs.
    pub work: Work,
    /// The ledger's time.
    pub now: Timestamp,
}

/// Why a record cannot be resolved or forgotten by hand. It is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResolveRefusal {
    /// Nothing is stored under the key, or it expired.
    NothingThere,
    /// The claim is alive: its holder ends it.
    StillAlive,
    /// The holder is gone, but a process that it started still runs.
    StillRunning,
    /// The record is not the demanded one.
    Superseded,
    /// It is completed already.
    AlreadyCompleted,
}

/// Which record a caller means to resolve by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Demanded {
    /// Whatever is there.
    Any,
    /// The one under this fence.
    Fence(Fence),
    /// The claim that was seen, unchanged.
    Claim(SeenClaim),
}

impl Demanded {
    fn is_met_by(&self, record: &Record) -> bool {
        match self {
            Self::Any => true,
            Self::Fence(fence) => *fence == record.fence,
            // What completed under the fence is told as completed.
            Self::Claim(seen) if record.is_claimed() => seen.is_still(Some(record)),
            Self::Claim(seen) => seen.fence == record.fence,
        }
    }
}

/// Whether an interrupted record may be resolved by hand, if it is the one that the caller means.
///
/// # Errors
///
/// [`ResolveRefusal`] with the reason.
pub fn may_resolve<'r>(
    stored: Option<&'r Record>,
    demanded: &Demanded,
    evidence: Evidence,
) -> Result<&'r Record, ResolveRefusal> {
    let record = stored
        .filter(|record| !record.is_expired(evidence.now))
        .ok_or(ResolveRefusal::NothingThere)?;
    if !demanded.is_met_by(record) {
        return Err(ResolveRefusal::Superseded);
    }
    match &record.state {
        State::Completed(_) => Err(ResolveRefusal::AlreadyCompleted),
        State::Claimed(claimed) => may_end(claimed, evidence).map(|()| record),
    }
}

/// Whether a record may be forgotten: a completed or an interrupted one.
///
/// # Errors
///
/// [`ResolveRefusal`] with the reason.
pub fn forget(stored: Option<&Record>, evidence: Evidence) -> Result<&Record, ResolveRefusal> {
    let record = stored
        .filter(|record| !record.is_expired(evidence.now))
        .ok_or(ResolveRefusal::NothingThere)?;
    match &record.state {
        State::Completed(_) => Ok(record),
        State::Claimed(claimed) => may_end(claimed, evidence).map(|()| record),
    }
}

fn may_end(claimed: &Claimed, evidence: Evidence) -> Result<(), ResolveRefusal> {
    let lease_runs = evidence.now < claimed.lease_until;
    match (evidence.liveness, evidence.work) {
        (_, Work::Running) => Err(ResolveRefusal::StillRunning),
        (Liveness::Alive, Work::Ended) => Err(ResolveRefusal::StillAlive),
        (Liveness::Unknown, Work::Ended) if lease_runs => Err(ResolveRefusal::StillAlive),
        (Liveness::Unknown | Liveness::Gone, Work::Ended) => Ok(()),
    }
}
