//! Several operations that begin and complete together: all of them in one commit, or none.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::thread::{self, ThreadId};

use crate::decision::{self, Completion, Response};
use crate::error::{Error, Invalid};
use crate::events::Event;
use crate::operation::asked::Asked;
use crate::operation::beginning::{Begun, Grant, Judged, Started, judge, look, prepare, write};
use crate::operation::claim::{Claim, EndedClaim, replay_of};
use crate::operation::noted::{note_begun, note_started};
use crate::operation::refusal::{EndingError, Refusal};
use crate::operation::replay::Replay;
use crate::operation::request::{Begin, Request, finish};
use crate::operation::ticket::Ticket;
use crate::store::engine::Engine;
use crate::store::group_commit::{BATCH_OPERATIONS_MAX, Patience};
use crate::store::write_store::{Planned, WriteStore};

/// What several requests got together; see [`Ledger::begin_many`](crate::Ledger::begin_many).
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// let part = |name: &str| {
///     let key = Key::new(name).expect("a key");
///     ledger.operation(PAYMENTS, &key, Fingerprint::of([name]))
/// };
/// let parts = [part("order-17/hotel"), part("order-17/flight")];
/// match ledger.begin_many(&parts)? {
///     BeginMany::Fresh(claims) => {
///         // ... the effects ...
///         let done = claims.into_iter().map(|claim| (claim, Response::from("booked")));
///         ledger.complete_all(done.collect())?;
///     }
///     BeginMany::Replay(replays) => println!("all of them ran: {replays:?}"),
///     BeginMany::Refused(standings) => println!("none may run: {standings:?}"),
/// }
/// assert!(matches!(ledger.begin_many(&parts)?, BeginMany::Replay(_)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "claims in it are interrupted when they are dropped"]
pub enum BeginMany {
    /// All are claimed, in the order of the requests.
    Fresh(Vec<Claim>),
    /// All ran before; these are their answers, in the order of the requests.
    Replay(Vec<Replay>),
    /// They cannot all be claimed, so none is, and nothing was written. Each request has its
    /// entry, in their order.
    Refused(Vec<KeyStanding>),
}

/// Where one of several keys stands when they could not all be claimed.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let asked = Fingerprint::of(["book"]);
/// let (hotel, flight) = (Key::new("hotel")?, Key::new("flight")?);
/// ledger.operation(PAYMENTS, &hotel, asked).run_bytes(|_| Ok::<_, Error>("booked"))?;
/// let both = [&hotel, &flight].map(|key| ledger.operation(PAYMENTS, key, asked));
/// let BeginMany::Refused(standings) = ledger.begin_many(&both)? else {
///     panic!("one of them ran alone");
/// };
/// assert!(matches!(standings[..], [KeyStanding::Completed(_), KeyStanding::Claimable]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "it says why nothing was claimed"]
pub enum KeyStanding {
    /// Nothing is stored against it; another one could not be claimed. A quota or its age may
    /// still refuse it.
    Claimable,
    /// It ran before; this is its answer.
    Completed(Replay),
    /// Nobody knows whether it ran.
    Interrupted(Ticket),
    /// It must not run now.
    Refused(Refusal),
}

/// Completions that did not take place, not even one of them. All claims and responses come back.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let asked = Fingerprint::of(["book"]);
/// let small = PAYMENTS.policy(Policy::DEFAULT.response_bytes_max(3));
/// let both = [Key::new("hotel")?, Key::new("flight")?];
/// let both = both.map(|key| ledger.operation(small.clone(), &key, asked));
/// let BeginMany::Fresh(claims) = ledger.begin_many(&both)? else {
///     panic!("the keys are new");
/// };
/// let responses = ["ok".into(), "four".into()];
/// let done: Vec<(Claim, Response)> = claims.into_iter().zip(responses).collect();
/// let refused = ledger.complete_all(done).expect_err("the second is too large");
/// assert_eq!((refused.at, refused.endings.len()), (Some(1), 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CompleteAllError {
    /// The claims, still held, with the responses that were not stored.
    pub endings: Vec<(Claim, Response)>,
    /// Which of them was refused, counted from 0; `None` where the ledger itself failed.
    pub at: Option<usize>,
    /// Why.
    pub error: EndingError,
}

impl fmt::Display for CompleteAllError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.endings.len();
        match self.at {
            Some(at) => write!(
                f,
                "none of the {count} responses was stored, because of the one at {at}: {}",
                self.error
            ),
            None => write!(f, "the {count} responses were not stored: {}", self.error),
        }
    }
}

impl std::error::Error for CompleteAllError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

pub(crate) fn begin_many(engine: &Arc<Engine>, requests: &[Request]) -> Result<BeginMany, Error> {
    let asked = checked(engine, requests)?;
    engine.check_writable()?;
    if let Some(answered) = look_at_all(engine, &asked)? {
        return Ok(answered);
    }
    let bytes = asked.iter().map(|asked| asked.batch_bytes()).sum();
    let (caller, in_batch) = (thread::current().id(), asked.clone());
    let together = engine.submit(Patience::Bounded, bytes, move |store| {
        claim_all(store, &in_batch, caller)
    })?;
    Ok(match together {
        Together::Started(all) => {
            let claims = all
                .into_iter()
                .inspect(|started| note_started(engine, started));
            BeginMany::Fresh(
                claims
                    .map(|it| Claim::new(Arc::clone(engine), it))
                    .collect(),
            )
        }
        Together::Answered(answers) => all_or_none(engine, &asked, answers),
    })
}

/// Refuses what cannot work, before anything is looked at.
fn checked(engine: &Arc<Engine>, requests: &[Request]) -> Result<Vec<Arc<Asked>>, Error> {
    let (what, count, limit) = ("requests", requests.len(), BATCH_OPERATIONS_MAX);
    if count == 0 || count > limit {
        return Err(Error::Invalid(Invalid::Count { what, count, limit }));
    }
    let mut identities = HashSet::new();
    for request in requests {
        request.check()?;
        if !Arc::ptr_eq(engine, &request.engine) {
            let reason = "the requests belong to different ledgers";
            return Err(Error::Unsupported { reason });
        }
        if !identities.insert(request.asked.identity()) {
            let key = request.asked.key.clone();
            return Err(Error::Invalid(Invalid::DuplicateKey { key }));
        }
    }
    let asked = requests.iter().map(|request| request.asked.clone());
    Ok(asked.map(Arc::new).collect())
}

/// What the last commit answers without the writer; `None` where all may be claimed.
fn look_at_all(engine: &Arc<Engine>, asked: &[Arc<Asked>]) -> Result<Option<BeginMany>, Error> {
    let answers: Vec<Option<Begun>> = asked
        .iter()
        .map(|asked| look(engine, asked))
        .collect::<Result<_, _>>()?;
    if answers.iter().all(Option::is_none) {
        return Ok(None);
    }
    Ok(Some(all_or_none(engine, asked, answers)))
}

/// Answers of which at least one is no claim.
fn all_or_none(
    engine: &Arc<Engine>,
    asked: &[Arc<Asked>],
    answers: Vec<Option<Begun>>,
) -> BeginMany {
    let standings: Vec<KeyStanding> = answers
        .into_iter()
        .zip(asked)
        .map(|(answer, asked)| match answer {
            None => KeyStanding::Claimable,
            Some(begun) => {
                note_begun(engine, asked, &begun, None);
                standing(engine, begun)
            }
        })
        .collect();
    let all_ran = standings
        .iter()
        .all(|standing| matches!(standing, KeyStanding::Completed(_)));
    if !all_ran {
        return BeginMany::Refused(standings);
    }
    let replays = standings.into_iter().filter_map(|standing| match standing {
        KeyStanding::Completed(replay) => Some(replay),
        KeyStanding::Claimable | KeyStanding::Interrupted(_) | KeyStanding::Refused(_) => None,
    });
    BeginMany::Replay(replays.collect())
}

fn standing(engine: &Arc<Engine>, begun: Begun) -> KeyStanding {
    match finish(engine, begun) {
        Begin::Replay(replay) => KeyStanding::Completed(replay),
        Begin::Interrupted(ticket) => KeyStanding::Interrupted(ticket),
        Begin::Refused(refusal) => KeyStanding::Refused(refusal),
        Begin::Fresh(_) => unreachable!("nothing is claimed unless all are"),
    }
}

/// What a batch made of several requests.
enum Together {
    Started(Vec<Started>),
    /// `None` for one that could have been claimed.
    Answered(Vec<Option<Begun>>),
}

/// Decides for all before the first is written: a job cannot take back its part of a batch.
fn claim_all(
    store: &mut WriteStore<'_>,
    asked: &[Arc<Asked>],
    caller: ThreadId,
) -> Result<Together, Error> {
    let mut judged = Vec::with_capacity(asked.len());
    let mut planned: HashMap<&str, Planned> = HashMap::new();
    for asked in asked {
        let planned = planned.entry(asked.namespace.name()).or_default();
        let verdict = judge(store, asked, *planned)?;
        if let Judged::Granted(grant) = &verdict {
            grant.plan(store, planned);
        }
        judged.push(verdict);
    }
    let are_granted = |verdict: &Judged| matches!(verdict, Judged::Granted(_));
    if !judged.iter().all(are_granted) {
        let answers = judged.into_iter().map(|verdict| match verdict {
            Judged::Granted(_) => None,
            Judged::Answered(begun) => Some(begun),
        });
        return Ok(Together::Answered(answers.collect()));
    }
    let grants: Vec<Grant> = judged
        .into_iter()
        .filter_map(|verdict| match verdict {
            Judged::Granted(grant) => Some(grant),
            Judged::Answered(_) => None,
        })
        .collect();
    let names: BTreeSet<&str> = asked.iter().map(|asked| asked.namespace.name()).collect();
    store.check_namespaces(&names)?;
    let prepared: Vec<_> = grants
        .into_iter()
        .map(|grant| prepare(store, grant, caller))
        .collect::<Result<_, _>>()?;
    let started = prepared.into_iter().map(|prepared| write(store, prepared));
    started.collect::<Result<_, _>>().map(Together::Started)
}

pub(crate) fn complete_all(
    engine: &Arc<Engine>,
    endings: Vec<(Claim, Response)>,
) -> Result<Vec<Replay>, CompleteAllError> {
    let (what, count, limit) = ("responses", endings.len(), BATCH_OPERATIONS_MAX);
    if count == 0 || count > limit {
        let invalid = Error::Invalid(Invalid::Count { what, count, limit });
        return Err(CompleteAllError {
            endings,
            at: None,
            error: invalid.into(),
        });
    }
    for (at, (claim, response)) in endings.iter().enumerate() {
        claim.live().touch();
        if let Err(error) = claim.check_completion(engine, response) {
            return Err(CompleteAllError {
                at: Some(at),
                error: error.into(),
                endings,
            });
        }
    }
    let claims: Vec<EndedClaim> = endings.iter().map(|(claim, _)| claim.ended()).collect();
    let (held, responses): (Vec<Claim>, Vec<Response>) = endings.into_iter().unzip();
    let bytes = responses.iter().map(|response| response.bytes().len());
    let bytes = bytes.sum::<usize>() + claims.iter().map(EndedClaim::batch_bytes).sum::<usize>();
    let (responses, result) = engine.submit_with(
        Patience::Reserved,
        bytes,
        responses,
        move |store, responses| store_all(store, &claims, responses),
    );
    let back = |held: Vec<Claim>, at, error| CompleteAllError {
        endings: held.into_iter().zip(responses).collect(),
        at,
        error,
    };
    match result {
        Ok(Ok(replays)) => {
            for claim in &held {
                claim.note(Event::Completed);
            }
            Ok(replays)
        }
        Ok(Err((at, error))) => Err(back(held, Some(at), error)),
        Err(error) => Err(back(held, None, error.into())),
    }
}

/// Decides for all before the first is stored.
fn store_all(
    store: &mut WriteStore<'_>,
    claims: &[EndedClaim],
    responses: &[Response],
) -> Result<Result<Vec<Replay>, (usize, EndingError)>, Error> {
    let mut decided = Vec::with_capacity(claims.len());
    for (at, (claim, response)) in claims.iter().zip(responses).enumerate() {
        let stored = store.get(&claim.placed.record_key)?;
        let asked = &claim.placed.asked;
        let policy = asked.namespace.current_policy();
        let key = &asked.key;
        let completion = decision::complete(
            stored.as_ref(),
            claim.fence,
            key,
            policy,
            response,
            store.now,
        );
        match completion {
            Ok(completion) => decided.push((claim, stored, completion)),
            Err(refusal) => return Ok(Err((at, refusal.into()))),
        }
    }
    let mut replays = Vec::with_capacity(decided.len());
    for (at, (claim, stored, completion)) in decided.into_iter().enumerate() {
        let record = match completion {
            Completion::Store(record) => {
                store.put(&claim.placed.record_key, stored.as_ref(), &record)?;
                Some(*record)
            }
            Completion::AlreadyStored => stored,
        };
        let superseded = decision::EndingRefusal::Superseded;
        match record.ok_or(superseded).and_then(replay_of) {
            Ok(replay) => replays.push(replay),
            Err(refusal) => return Ok(Err((at, refusal.into()))),
        }
    }
    Ok(Ok(replays))
}
