//! Beginning an operation inside a write transaction, for a batch and for a caller's own alike.

use std::sync::Arc;
use std::thread::ThreadId;
use std::time::Duration;

use crate::decision::{
    ClaimLock, Decision, Fence, KeyAge, Liveness, NewClaim, PolicyStamp, Record, Room, SeenClaim,
    State, Timestamp, Work, checkpoint, claim, decide, key_age, may_take_over, take_over,
};
use crate::error::Error;
use crate::holder::Holder;
use crate::holder::live_claims::LiveClaim;
use crate::operation::asked::{Asked, Placed};
use crate::operation::noted::late_since;
use crate::operation::refusal::{EndingError, Refusal};
use crate::operation::replay::Replay;
use crate::store::engine::Engine;
use crate::store::snapshot::Snapshot;
use crate::store::tables::NamespaceId;
use crate::store::write_store::{Planned, WriteStore, stored_bytes};

/// What beginning an operation came to.
pub(crate) enum Begun {
    Claimed(Started),
    Replay(Replay),
    Interrupted {
        placed: Placed,
        record: Record,
        overdue: bool,
        work: Work,
    },
    InProgress {
        first_claimed_at: Timestamp,
        retry_after: Duration,
        lease_left: Duration,
    },
    Refused(Refusal),
}

impl Begun {
    /// How long the lease of an operation in progress still runs.
    pub(crate) fn lease_left(&self) -> Option<Duration> {
        match self {
            Self::InProgress { lease_left, .. } => Some(*lease_left),
            Self::Claimed(_) | Self::Replay(_) | Self::Interrupted { .. } | Self::Refused(_) => {
                None
            }
        }
    }
}

/// A claim that is written, with the entry that says it lives.
pub(crate) struct Started {
    pub(crate) placed: Placed,
    pub(crate) record: Record,
    pub(crate) live: LiveClaim,
    /// When the operation was first claimed, if it is a duplicate whose answer had expired.
    pub(crate) late_since: Option<Timestamp>,
}

/// Answers from the state of the last commit what needs no writer; `None` for a possible claim.
///
/// A holder that completes commits first and is gone then. So "gone" holds only for a record that
/// is still the same when it is read again behind the evidence; otherwise the answer is decided
/// anew, which a record allows once for each of its commits.
pub(crate) fn look(engine: &Engine, asked: &Arc<Asked>) -> Result<Option<Begun>, Error> {
    loop {
        let begun = engine.read(|snapshot| look_at(engine, snapshot, asked))?;
        match &begun {
            Some(Begun::Interrupted { placed, record, .. })
                if !is_unchanged(engine, &placed.record_key, record)? => {}
            _ => return Ok(begun),
        }
    }
}

/// Whether a claim is still stored as it was read before somebody looked for its holder. A holder
/// that renewed its lease meanwhile is at work: that is decided anew, too.
pub(crate) fn is_unchanged(
    engine: &Engine,
    record_key: &[u8],
    seen: &Record,
) -> Result<bool, Error> {
    let now = engine.read(|snapshot| snapshot.get(record_key))?;
    Ok(SeenClaim::of(seen).is_some_and(|seen| seen.is_still(now.as_ref())))
}

fn look_at(
    engine: &Engine,
    snapshot: &Snapshot,
    asked: &Arc<Asked>,
) -> Result<Option<Begun>, Error> {
    let Some(id) = engine.namespace_id(snapshot, asked.namespace.name())? else {
        return Ok(None);
    };
    let record_key = asked.record_key(id);
    let Some(record) = snapshot.get(&record_key)? else {
        return Ok(None);
    };
    let now = now_of(engine, snapshot, id)?;
    let liveness = liveness_of(&engine.holder, &record);
    let policy = asked.namespace.current_policy();
    let decision = decide(
        Some(&record),
        &asked.fingerprints,
        KeyAge::Accepted,
        Room::Free,
        policy.retry_hint_span(),
        liveness,
        now,
    );
    if let Decision::Fresh | Decision::Expired = decision {
        return Ok(None);
    }
    let placed = Placed {
        asked: Arc::clone(asked),
        record_key: record_key.into(),
    };
    let work = work_of(&engine.holder, decision, &record);
    if takes_over(asked, decision, work) {
        return Ok(None);
    }
    Ok(Some(answer(placed, record, decision, work, now)))
}

/// The time for a decision on a snapshot: other processes may have seen a later one.
pub(crate) fn now_of(
    engine: &Engine,
    snapshot: &Snapshot,
    id: NamespaceId,
) -> Result<Timestamp, Error> {
    if !engine.holder.mode().has_other_writers() {
        return Ok(engine.holder.now());
    }
    Ok(engine.holder.now_at(snapshot.tail(id)?.mark))
}

/// Only a claim's holder is looked for; an answer needs none.
fn liveness_of(holder: &Holder, record: &Record) -> Liveness {
    match record.completed() {
        Some(_) => Liveness::Unknown,
        None => holder.claims.liveness(record.fence, record.lock()),
    }
}

fn work_of(holder: &Holder, decision: Decision, record: &Record) -> Work {
    match decision {
        Decision::Interrupted { .. } => holder.claims.work(record.fence),
        _ => Work::Ended,
    }
}

fn takes_over(asked: &Asked, decision: Decision, work: Work) -> bool {
    match decision {
        Decision::Interrupted { overdue } => may_take_over(
            asked.namespace.current_policy().interrupted_rule(),
            overdue,
            work,
        ),
        _ => false,
    }
}

/// What a decision on a record that counts becomes for the caller.
fn answer(placed: Placed, record: Record, decision: Decision, work: Work, now: Timestamp) -> Begun {
    match (decision, record.state) {
        (Decision::Replay, State::Completed(completed)) => {
            let first = record.first_claimed_at;
            Begun::Replay(Replay::new(record.fence, record.attempts, first, completed))
        }
        (Decision::InProgress { retry_after }, State::Claimed(claimed)) => Begun::InProgress {
            first_claimed_at: record.first_claimed_at,
            retry_after,
            lease_left: claimed.lease_until.saturating_since(now),
        },
        (Decision::Interrupted { overdue }, state @ State::Claimed(_)) => Begun::Interrupted {
            placed,
            record: Record { state, ..record },
            overdue,
            work,
        },
        (Decision::Mismatch, _) => Begun::Refused(Refusal::Mismatch),
        (decision, _) => unreachable!("{decision:?} is not made for such a record"),
    }
}

/// Decides anew with the writer held, and claims for the caller where the decision says so.
pub(crate) fn begin(
    store: &mut WriteStore<'_>,
    asked: &Arc<Asked>,
    caller: ThreadId,
) -> Result<Begun, Error> {
    match judge(store, asked, Planned::default())? {
        Judged::Answered(begun) => Ok(begun),
        Judged::Granted(grant) => {
            let prepared = prepare(store, grant, caller)?;
            write(store, prepared).map(Begun::Claimed)
        }
    }
}

/// What a decision came to, before anything of it is written.
pub(crate) enum Judged {
    /// The caller gets a claim.
    Granted(Grant),
    /// It gets something else.
    Answered(Begun),
}

/// A claim that may be made.
pub(crate) struct Grant {
    asked: Arc<Asked>,
    replaces: Replaces,
    /// The key of the record that is there.
    place: Vec<u8>,
}

impl Grant {
    /// Adds what the claim will take to what is planned. One that goes on with a record adds
    /// nothing, and keeps sweeps from that.
    pub(crate) fn plan(&self, store: &mut WriteStore<'_>, planned: &mut Planned) {
        let namespace = &self.asked.namespace;
        let (id, version) = store
            .holder
            .known_namespace(namespace)
            .map_or((NamespaceId(0), 1), |row| {
                (NamespaceId(row.id), row.policy_version)
            });
        match &self.replaces {
            Replaces::Expired(_) => {
                // As large as it will be, but for the digits of its fence.
                let stamp = PolicyStamp::of(namespace.current_policy(), version);
                let fence = store.holder.highest_fence();
                let lock = store.holder.claims.lock_of_new();
                let record = claim(new_claim(store, &self.asked, fence, stamp, lock), store.now);
                let record_key = self.asked.record_key(id);
                planned.records += 1;
                planned.bytes += stored_bytes(&record_key, &record);
            }
            Replaces::Interrupted(_) => store.spare(self.place.clone()),
        }
    }
}

/// What a claim is written in the place of.
enum Replaces {
    /// Nothing, or an answer that no longer counts.
    Expired(Option<Record>),
    /// An interrupted claim, which is taken over.
    Interrupted(Record),
}

/// Decides with the writer held. `planned` claims in the same namespace are granted already but
/// not written yet: the quota has to hold for them, too.
pub(crate) fn judge(
    store: &mut WriteStore<'_>,
    asked: &Arc<Asked>,
    planned: Planned,
) -> Result<Judged, Error> {
    let namespace = &asked.namespace;
    let policy = namespace.current_policy();
    let id = match store.holder.known_namespace(namespace) {
        Some(row) => Some(NamespaceId(row.id)),
        None => store.namespace_id(namespace.name())?,
    };
    let stored = match id {
        Some(id) => store.get(&asked.record_key(id))?,
        None => None,
    };
    let is_live = stored
        .as_ref()
        .is_some_and(|record| !record.is_expired(store.now));
    let (age, room) = if is_live {
        (KeyAge::Accepted, Room::Free)
    } else {
        let age = age_of(store, asked, id, stored.as_ref())?;
        (age, store.room(id, namespace, planned)?)
    };
    let liveness = stored.as_ref().map_or(Liveness::Unknown, |record| {
        liveness_of(store.holder, record)
    });
    let hint = policy.retry_hint_span();
    let decision = decide(
        stored.as_ref(),
        &asked.fingerprints,
        age,
        room,
        hint,
        liveness,
        store.now,
    );
    let granted = |replaces| {
        Judged::Granted(Grant {
            asked: Arc::clone(asked),
            replaces,
            place: id.map(|id| asked.record_key(id)).unwrap_or_default(),
        })
    };
    let begun = match (decision, stored) {
        (Decision::Stale, _) => Begun::Refused(stale(asked, store.now, false)),
        (Decision::Ahead, _) => Begun::Refused(stale(asked, store.now, true)),
        (Decision::Quota, _) => Begun::Refused(Refusal::Quota {
            records_max: policy.record_quota(),
            bytes_max: policy.byte_quota(),
        }),
        (_, Some(record)) if is_live => {
            let work = work_of(store.holder, decision, &record);
            if takes_over(asked, decision, work) {
                return Ok(granted(Replaces::Interrupted(record)));
            }
            let placed = Placed {
                asked: Arc::clone(asked),
                record_key: asked.record_key(id.unwrap_or(NamespaceId(0))).into(),
            };
            answer(placed, record, decision, work, store.now)
        }
        (_, expired) => return Ok(granted(Replaces::Expired(expired))),
    };
    Ok(Judged::Answered(begun))
}

/// The age of a key under which nothing counts. An expired record is as good as removed, whether
/// the sweep has come by or not, also where its retention was shorter than today's.
fn age_of(
    store: &mut WriteStore<'_>,
    asked: &Asked,
    id: Option<NamespaceId>,
    expired: Option<&Record>,
) -> Result<KeyAge, Error> {
    let policy = asked.namespace.current_policy();
    if !policy.refuses_stale_keys() {
        return Ok(KeyAge::Accepted);
    }
    let removed = match id {
        Some(id) => store.tail(id)?.newest_removed_ms,
        None => 0,
    };
    let swept = (removed > 0).then(|| Timestamp::from_unix_ms(removed));
    let expired = expired.and_then(|_| asked.key.time());
    let removed = swept.max(expired);
    Ok(key_age(
        policy,
        &asked.key,
        removed,
        store.now,
        store.latest,
    ))
}

fn stale(asked: &Asked, now: Timestamp, ahead: bool) -> Refusal {
    let key_time = asked.key.time().unwrap_or(Timestamp::EPOCH);
    Refusal::Stale {
        key_time,
        now,
        ahead,
    }
}

/// A claim with its fence and its holder's entry, which only has to be stored.
pub(crate) struct Prepared {
    started: Started,
    replaces: Option<Record>,
}

/// Does everything for a claim that can fail for a reason of its own; what is left is the write,
/// which fails for the whole transaction or not at all.
pub(crate) fn prepare(
    store: &mut WriteStore<'_>,
    grant: Grant,
    caller: ThreadId,
) -> Result<Prepared, Error> {
    let Grant {
        asked, replaces, ..
    } = grant;
    let row = store.namespace(&asked.namespace)?;
    let id = NamespaceId(row.id);
    let placed = Placed {
        record_key: asked.record_key(id).into(),
        asked,
    };
    match replaces {
        Replaces::Interrupted(record) => {
            let Some(seen) = SeenClaim::of(&record) else {
                unreachable!("only a claim is interrupted");
            };
            match replace(store, placed, Some(record), &seen, caller)? {
                Ok(prepared) => Ok(prepared),
                Err(_) => unreachable!("the record was read in the same transaction"),
            }
        }
        Replaces::Expired(replaces) => {
            let fence = store.next_fence(id)?;
            let live = register(store, fence, &placed.asked, caller)?;
            let stamp = WriteStore::stamp(&row, &placed.asked.namespace);
            let new = new_claim(store, &placed.asked, fence, stamp, live.lock());
            let record = claim(new, store.now);
            let record = match placed.asked.starts_at.clone() {
                None => record,
                Some(reached) => checkpoint(Some(&record), fence, reached)
                    .unwrap_or_else(|_| unreachable!("the claim was made under this fence")),
            };
            let started = Started {
                late_since: late_since(&placed.asked, replaces.as_ref()),
                placed,
                record,
                live,
            };
            Ok(Prepared { started, replaces })
        }
    }
}

/// Stores a prepared claim.
pub(crate) fn write(store: &mut WriteStore<'_>, prepared: Prepared) -> Result<Started, Error> {
    let Prepared { started, replaces } = prepared;
    let record_key = &started.placed.record_key;
    store.put(record_key, replaces.as_ref(), &started.record)?;
    Ok(started)
}

/// Takes an interrupted claim over under a new fence, if it is still the one that was seen.
pub(crate) fn take(
    store: &mut WriteStore<'_>,
    placed: Placed,
    seen: &SeenClaim,
    caller: ThreadId,
) -> Result<Result<Started, EndingError>, Error> {
    let stored = store.get(&placed.record_key)?;
    match replace(store, placed, stored, seen, caller)? {
        Ok(prepared) => write(store, prepared).map(Ok),
        Err(refusal) => Ok(Err(refusal)),
    }
}

fn replace(
    store: &mut WriteStore<'_>,
    placed: Placed,
    stored: Option<Record>,
    seen: &SeenClaim,
    caller: ThreadId,
) -> Result<Result<Prepared, EndingError>, Error> {
    let row = store.namespace(&placed.asked.namespace)?;
    let fence = store.next_fence(NamespaceId(row.id))?;
    let stamp = WriteStore::stamp(&row, &placed.asked.namespace);
    let live = register(store, fence, &placed.asked, caller)?;
    let new = new_claim(store, &placed.asked, fence, stamp, live.lock());
    let record = match take_over(stored.as_ref(), seen, new, store.now) {
        Ok(record) => record,
        Err(refusal) => return Ok(Err(refusal.into())),
    };
    let started = Started {
        placed,
        record,
        live,
        late_since: None,
    };
    let replaces = stored;
    Ok(Ok(Prepared { started, replaces }))
}

fn register(
    store: &WriteStore<'_>,
    fence: Fence,
    asked: &Asked,
    caller: ThreadId,
) -> Result<LiveClaim, Error> {
    store
        .holder
        .claims
        .register(fence, &asked.identity(), caller)
        .map_err(Error::io)
}

fn new_claim(
    store: &WriteStore<'_>,
    asked: &Asked,
    fence: Fence,
    policy: PolicyStamp,
    lock: ClaimLock,
) -> NewClaim {
    NewClaim {
        fingerprint: asked.fingerprint(),
        fence,
        policy,
        holder: store.holder.id,
        program: asked.program.clone(),
        lock,
    }
}
