//! Does a history to a ledger and to the model, and compares the two.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use idempotency_ledger::{
    Begin, BeginIn, Claim, EndingError, Error, Fence, Fingerprint, Key, Ledger, ManualClock,
    Namespace, OnInterrupted, Policy, RecordFilter, RecordHandle, RecordInfo, Refusal, Request,
    Resolution, Resolved, Response, RunError, Ticket, Timestamp,
};
use idempotency_tests::storage::{Disk, Survivors};
use idempotency_tests::{START, clock, key};
use redb::{ReadableTable, TableDefinition};

use super::plain::{
    Answer, ByHand, Ended, FORGET_AFTER, JUMP_MAX, LEASE, Model, Ms, OPERATIONS, Place, QUOTA,
    RETENTION, RETRY_HINT, STRICT_RETENTION, Seen,
};
use super::{Demand, End, Step};

const DEPOSITS: TableDefinition<'_, u64, u64> = TableDefinition::new("deposits");

fn ms(span: Ms) -> Duration {
    Duration::from_millis(span)
}

fn namespace(place: Place) -> Namespace {
    let policy = Policy::DEFAULT
        .lease(ms(LEASE))
        .retention(ms(RETENTION))
        .retry_hint(ms(RETRY_HINT));
    let (name, policy) = match place {
        Place::Plain => ("plain", policy),
        Place::Rerun => ("rerun", policy.on_interrupted(OnInterrupted::Rerun)),
        Place::Quota => ("quota", policy.records_max(QUOTA as u64)),
        Place::Forgetful => (
            "forgetful",
            policy.forget_interrupted_after(ms(FORGET_AFTER)),
        ),
        Place::Strict => {
            let policy = policy.retention(ms(STRICT_RETENTION)).refuse_stale_keys();
            ("strict", policy)
        }
    };
    Namespace::new(name).policy(policy)
}

/// Key and scope of an operation: within a namespace only the scope tells the two apart.
fn identity(who: usize) -> (Key, &'static str) {
    match Place::of(who) {
        Place::Strict => {
            let time = START.unix_ms();
            let text = format!(
                "{:08x}-{:04x}-7000-8000-000000000001",
                time >> 16,
                time & 0xffff
            );
            (key(&text), "")
        }
        _ => (key("k"), ["", "s"][who % 2]),
    }
}

fn answer_bytes(answer: u8) -> Vec<u8> {
    vec![answer; usize::from(answer) * 7]
}

/// A claim or a ticket that the history holds, with what it is about.
struct Held<T> {
    it: T,
    who: usize,
    fence: u64,
}

pub(super) struct Run {
    disk: Disk,
    clock: ManualClock,
    ledger: Ledger,
    model: Model,
    claims: Vec<Held<Claim>>,
    tickets: Vec<Held<Ticket>>,
    commits: u64,
}

fn open(disk: &Disk, clock: &ManualClock) -> Ledger {
    let builder = Ledger::builder().clock(clock.clone());
    let builder = builder.clock_jump_max(ms(JUMP_MAX));
    builder.open_backend(disk.clone()).expect("opens")
}

impl Run {
    pub(super) fn new() -> Self {
        let (disk, clock) = (Disk::default(), clock());
        let ledger = open(&disk, &clock);
        Self {
            disk,
            clock,
            ledger,
            model: Model::new(START.unix_ms()),
            claims: Vec::new(),
            tickets: Vec::new(),
            commits: 0,
        }
    }

    fn request(&self, who: usize, asks: usize) -> Request {
        let (key, scope) = identity(who);
        let asked = Fingerprint::of([["this", "that"][asks]]);
        let request = self
            .ledger
            .operation(namespace(Place::of(who)), &key, asked);
        request.scope(scope)
    }

    fn record(&self, who: usize) -> RecordHandle {
        let (key, scope) = identity(who);
        let record = self.ledger.record(namespace(Place::of(who)), &key);
        record.scope(scope)
    }

    pub(super) fn take(&mut self, step: &Step) {
        match *step {
            Step::Begin { who, asks } => self.begin(who, asks),
            Step::Complete { claim, answer } => self.complete(claim, answer),
            Step::Release { claim } => self.release(claim),
            Step::DropClaim { claim } => {
                if let Some(held) = pick(&mut self.claims, claim) {
                    self.model.dropped(held.fence);
                }
            }
            Step::Renew { claim } => self.renew(claim),
            Step::Checkpoint { claim, name } => self.checkpoint(claim, name),
            Step::Rerun { ticket } => self.rerun(ticket),
            Step::TicketComplete { ticket, answer } => self.ticket_complete(ticket, answer),
            Step::TicketRelease { ticket } => self.ticket_release(ticket),
            Step::DropTicket { ticket } => drop(pick(&mut self.tickets, ticket)),
            Step::Resolve {
                who,
                answer,
                demand,
            } => self.resolve(who, answer, demand),
            Step::Forget { who } => {
                let found = self.record(who).forget().expect("works");
                assert_eq!(found, resolved(self.model.forget(who)));
            }
            Step::Transact { who, asks, end } => self.transact(who, asks, end),
            Step::Keep { who, asks, commits } => self.keep(who, asks, commits),
            Step::Sweep { max } => self.sweep(max),
            Step::Advance { span } => {
                self.clock.advance(ms(span));
                self.model.advance(span);
            }
            Step::SetBack => self.set_wall(self.model.now() - JUMP_MAX / 2),
            Step::Leap => self.set_wall(self.model.now() + JUMP_MAX + 1),
            Step::Confirm => {
                let now = self.ledger.confirm_clock().expect("confirms");
                self.model.confirm();
                assert_eq!(now.unix_ms(), self.model.now());
            }
            Step::Reopen | Step::Crash => self.reopen(matches!(step, Step::Crash)),
        }
    }

    fn set_wall(&mut self, wall: Ms) {
        self.clock.set_wall(Timestamp::from_unix_ms(wall));
        self.model.set_wall(wall);
    }

    fn begin(&mut self, who: usize, asks: usize) {
        let expected = self.model.begin(who, asks);
        let begun = self.request(who, asks).begin().expect("works");
        assert_eq!(words(&begun), expected);
        match begun {
            Begin::Fresh(claim) => self.hold(who, asks, claim),
            Begin::Interrupted(ticket) => {
                let fence = ticket.fence().get();
                let it = ticket;
                self.tickets.push(Held { it, who, fence });
            }
            Begin::Replay(_) | Begin::Refused(_) => {}
        }
    }

    fn hold(&mut self, who: usize, asks: usize, claim: Claim) {
        let fence = claim.fence().get();
        self.model.claimed(who, asks, fence);
        let it = claim;
        self.claims.push(Held { it, who, fence });
    }

    fn complete(&mut self, claim: usize, answer: u8) {
        let Some(Held { it, who, fence }) = pick(&mut self.claims, claim) else {
            return;
        };
        let expected = self.model.complete(who, fence, answer);
        match it.complete(answer_bytes(answer)) {
            Ok(replay) => {
                assert_eq!(expected, Ended::Done);
                assert_eq!(replay.response().bytes(), answer_bytes(answer));
                self.model.dropped(fence);
            }
            Err(failed) => {
                assert_eq!(ended(&failed.error), expected);
                assert_eq!(failed.response.bytes(), answer_bytes(answer));
                let it = failed.claim;
                self.claims.push(Held { it, who, fence });
            }
        }
    }

    fn release(&mut self, claim: usize) {
        let Some(Held { it, who, fence }) = pick(&mut self.claims, claim) else {
            return;
        };
        let expected = self.model.release(who, fence);
        match it.release() {
            Ok(()) => {
                assert_eq!(expected, Ended::Done);
                self.model.dropped(fence);
            }
            Err(failed) => {
                assert_eq!(ended(&failed.error), expected);
                let it = failed.claim;
                self.claims.push(Held { it, who, fence });
            }
        }
    }

    fn renew(&mut self, claim: usize) {
        let Some(held) = pick(&mut self.claims, claim) else {
            return;
        };
        let expected = self.model.renew(held.who, held.fence);
        match held.it.renew() {
            Ok(until) => {
                assert_eq!(Ok(until.unix_ms()), expected);
                assert_eq!(held.it.lease_until(), until);
            }
            Err(error) => assert_eq!(Err(ended(&error)), expected),
        }
        self.claims.push(held);
    }

    fn checkpoint(&mut self, claim: usize, name: u8) {
        let Some(held) = pick(&mut self.claims, claim) else {
            return;
        };
        let expected = self.model.checkpoint(held.who, held.fence, name);
        let found = held.it.checkpoint(&name.to_string(), &[name]);
        assert_eq!(
            found.map_or_else(|error| ended(&error), |()| Ended::Done),
            expected
        );
        self.claims.push(held);
    }

    fn rerun(&mut self, ticket: usize) {
        let Some(Held { it, who, fence }) = pick(&mut self.tickets, ticket) else {
            return;
        };
        let may = self.model.may_rerun(who, fence);
        match it.rerun() {
            Ok(claim) => {
                assert!(may, "superseded");
                let asks = self.model.asks_of(who).expect("it is stored");
                self.hold(who, asks, claim);
            }
            Err(failed) => {
                assert_eq!((ended(&failed.error), may), (Ended::Superseded, false));
                let it = failed.ticket;
                self.tickets.push(Held { it, who, fence });
            }
        }
    }

    fn ticket_complete(&mut self, ticket: usize, answer: u8) {
        let Some(Held { it, who, fence }) = pick(&mut self.tickets, ticket) else {
            return;
        };
        let expected = self.model.complete(who, fence, answer);
        match it.complete(answer_bytes(answer)) {
            Ok(_) => assert_eq!(expected, Ended::Done),
            Err(failed) => {
                assert_eq!(ended(&failed.error), expected);
                let it = failed.ticket;
                self.tickets.push(Held { it, who, fence });
            }
        }
    }

    fn ticket_release(&mut self, ticket: usize) {
        let Some(Held { it, who, fence }) = pick(&mut self.tickets, ticket) else {
            return;
        };
        let expected = self.model.release(who, fence);
        match it.release() {
            Ok(()) => assert_eq!(expected, Ended::Done),
            Err(failed) => {
                assert_eq!(ended(&failed.error), expected);
                let it = failed.ticket;
                self.tickets.push(Held { it, who, fence });
            }
        }
    }

    fn resolve(&mut self, who: usize, answer: Option<u8>, demand: Demand) {
        let resolution = match answer {
            Some(answer) => Resolution::Completed(Response::raw(answer_bytes(answer))),
            None => Resolution::Released,
        };
        let stored = self.model.seen(who).map(|seen| seen.fence);
        let demanded = match demand {
            Demand::None => None,
            Demand::Stored => stored,
            Demand::Other => Some(stored.unwrap_or_default() + 1),
        };
        let record = self.record(who);
        let found = match demanded {
            None => record.resolve(resolution),
            Some(fence) => record.resolve_at(Fence::from_stored(fence), resolution),
        };
        let expected = self.model.resolve(who, demanded, answer);
        assert_eq!(found.expect("works"), resolved(expected));
    }

    fn transact(&mut self, who: usize, asks: usize, end: End) {
        let expected = self.model.begin(who, asks);
        let mut fence = 0;
        let request = self.request(who, asks);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            request.transact_bytes(|claim, txn| {
                fence = claim.fence().get();
                let mut deposits = txn.open_table(DEPOSITS).expect("opens");
                let old = deposits.get(who as u64).expect("reads");
                let old = old.map_or(0, |it| it.value());
                deposits.insert(who as u64, old + 1).expect("inserts");
                match end {
                    End::Ok { answer } => Ok(answer_bytes(answer)),
                    End::Err => Err("no"),
                    // Without the message and the backtrace of a panic that nobody expects.
                    End::Panic => resume_unwind(Box::new("the test says so")),
                }
            })
        }));
        let found = match (outcome, end) {
            (Ok(Ok(outcome)), End::Ok { answer }) if !outcome.is_replay() => {
                assert!(matches!(expected, Answer::Claim { .. }), "{expected:?}");
                self.model.claimed(who, asks, fence);
                assert_eq!(self.model.complete(who, fence, answer), Ended::Done);
                self.model.dropped(fence);
                self.model.deposits[who] += 1;
                return;
            }
            (Ok(Err(RunError::Operation("no"))), End::Err) | (Err(_), End::Panic) => {
                assert!(matches!(expected, Answer::Claim { .. }), "{expected:?}");
                return;
            }
            (Ok(Ok(outcome)), _) => Answer::Replay {
                completed_at: outcome.completed_at().unix_ms(),
                answer: outcome.get().bytes().first().copied().unwrap_or_default(),
            },
            (Ok(Err(RunError::Interrupted(ticket))), _) => Answer::Ticket {
                fence: ticket.fence().get(),
                is_overdue: ticket.is_overdue(),
            },
            (Ok(Err(RunError::Refused(refusal))), _) => refused(refusal),
            (other, _) => panic!("unexpected: {other:?}"),
        };
        assert_eq!(found, expected);
    }

    fn keep(&mut self, who: usize, asks: usize, commits: bool) {
        let expected = self.model.begin(who, asks);
        let ledger = self.ledger.clone();
        let txn = ledger.write().expect("begins");
        let found = match self.request(who, asks).begin_in(&txn).expect("works") {
            BeginIn::Fresh(claim) => {
                let found = Answer::Claim {
                    attempt: claim.attempt(),
                    checkpoint: claim.last_checkpoint().map(|it| it.bytes[0]),
                };
                claim.keep();
                found
            }
            BeginIn::Replay(replay) => Answer::Replay {
                completed_at: replay.completed_at().unix_ms(),
                answer: replay
                    .response()
                    .bytes()
                    .first()
                    .copied()
                    .unwrap_or_default(),
            },
            BeginIn::Interrupted(ticket) => Answer::Ticket {
                fence: ticket.fence().get(),
                is_overdue: ticket.is_overdue(),
            },
            BeginIn::Refused(refusal) => refused(refusal),
        };
        assert_eq!(found, expected);
        if commits {
            let claims = txn.commit().expect("commits").claims;
            if claims.is_empty() {
                // The ledger's part of the commit is a sweep at most.
                self.model.committed_for_another();
                self.commits += 1;
            }
            for claim in claims {
                self.hold(who, asks, claim);
            }
        } else {
            txn.abort();
        }
    }

    fn sweep(&mut self, max: usize) {
        let swept = self.ledger.sweep(max).expect("sweeps");
        assert!(swept.removed <= max);
        let stats = self.ledger.stats().expect("counts");
        let left: u64 = stats.namespaces.iter().map(|it| it.expired).sum();
        assert!(swept.more || left == 0, "{swept:?}, but {left} are left");
    }

    fn reopen(&mut self, crashes: bool) {
        let ledger = self.ledger.clone();
        if crashes {
            // Only what a sync has promised is left.
            let image = self.disk.after_power_cut(Survivors::None);
            self.disk = Disk::holding(image);
        } else {
            ledger.clone().close().expect("closes");
            let closed = |error| matches!(error, EndingError::Ledger(Error::Closed));
            for held in &self.claims {
                assert!(closed(held.it.renew().expect_err("closed")));
            }
        }
        self.claims.clear();
        self.tickets.clear();
        self.ledger = open(&self.disk, &self.clock);
        drop(ledger);
        self.model.reopened(self.ledger.now().unix_ms());
        self.commits = 0;
    }

    /// Everything that can be seen is what the model says.
    pub(super) fn compare(&mut self) {
        assert_eq!(self.ledger.now().unix_ms(), self.model.now());
        let stats = self.ledger.stats().expect("counts");
        if stats.commits > self.commits {
            self.commits = stats.commits;
            self.model.committed();
        }
        let jump = self.model.unconfirmed_jump();
        assert_eq!(stats.unconfirmed_jump, jump.map(ms));
        assert_eq!(stats.live_claims, self.claims.len());
        for who in 0..OPERATIONS {
            let found = self.record(who).peek().expect("reads");
            if found.is_none() && self.model.may_be_forgotten(who) {
                self.model.forgotten(who);
            }
            assert_eq!(
                found.as_ref().map(seen),
                self.model.seen(who),
                "operation {who}"
            );
        }
        for found in &stats.namespaces {
            let all = (0..OPERATIONS).map(Place::of);
            let mut places = all.filter(|place| namespace(*place).name() == found.name);
            let place = places.next().expect("a known namespace");
            assert_eq!(
                (found.records, found.claimed),
                self.model.counts(place),
                "{place:?}"
            );
            assert_eq!(found.completed, found.records - found.claimed);
        }
    }

    /// The whole file agrees with itself, and a listing with the model.
    pub(super) fn finish(&mut self) {
        let report = self.ledger.check().expect("checks");
        assert!(report.is_clean(), "{report:?}");
        let records = self.ledger.records(RecordFilter::all()).expect("lists");
        let listed: Vec<Seen> = records.map(|info| seen(&info.expect("reads"))).collect();
        let modelled = (0..OPERATIONS).filter_map(|who| self.model.seen(who));
        let by_fence = |mut all: Vec<Seen>| {
            all.sort_by_key(|seen| seen.fence);
            all
        };
        assert_eq!(by_fence(listed), by_fence(modelled.collect()));
        let txn = self.ledger.write().expect("begins");
        let deposits = txn.open_table(DEPOSITS).expect("opens");
        for who in 0..OPERATIONS {
            let found = deposits.get(who as u64).expect("reads");
            let found = found.map_or(0, |it| it.value());
            assert_eq!(found, self.model.deposits[who], "operation {who}");
        }
    }
}

/// Takes one out by a number that may be too large for the list.
fn pick<T>(list: &mut Vec<T>, number: usize) -> Option<T> {
    let at = number.checked_rem(list.len())?;
    Some(list.remove(at))
}

fn words(begun: &Begin) -> Answer {
    match begun {
        Begin::Fresh(claim) => Answer::Claim {
            attempt: claim.attempt(),
            checkpoint: claim.last_checkpoint().map(|it| it.bytes[0]),
        },
        Begin::Replay(replay) => Answer::Replay {
            answer: replay
                .response()
                .bytes()
                .first()
                .copied()
                .unwrap_or_default(),
            completed_at: replay.completed_at().unix_ms(),
        },
        Begin::Interrupted(ticket) => Answer::Ticket {
            fence: ticket.fence().get(),
            is_overdue: ticket.is_overdue(),
        },
        Begin::Refused(refusal) => refused(*refusal),
    }
}

fn refused(refusal: Refusal) -> Answer {
    match refusal {
        Refusal::InProgress { retry_after } => Answer::InProgress {
            retry_after: Ms::try_from(retry_after.as_millis()).expect("short"),
        },
        Refusal::Mismatch => Answer::Mismatch,
        Refusal::Stale { .. } => Answer::Stale,
        Refusal::Quota { .. } => Answer::Quota,
    }
}

fn ended(error: &EndingError) -> Ended {
    match error {
        EndingError::Superseded => Ended::Superseded,
        EndingError::DifferentResponse => Ended::DifferentResponse,
        EndingError::HasCheckpoint => Ended::HasCheckpoint,
        other => panic!("unexpected: {other}"),
    }
}

fn resolved(verdict: ByHand) -> Resolved {
    match verdict {
        ByHand::Done => Resolved::Done,
        ByHand::NothingThere => Resolved::NothingThere,
        ByHand::StillAlive => Resolved::StillAlive,
        ByHand::Superseded => Resolved::Superseded,
        ByHand::AlreadyCompleted => Resolved::AlreadyCompleted,
    }
}

fn seen(info: &RecordInfo) -> Seen {
    Seen {
        state: info.state(),
        is_overdue: info.is_overdue(),
        fence: info.fence().get(),
        attempts: info.attempts(),
        first_claimed_at: info.first_claimed_at().unix_ms(),
        claimed_at: info.claimed_at().unix_ms(),
        lease_until: info.lease_until().map(Timestamp::unix_ms),
        checkpoint: info.checkpoint().map(|it| it.bytes[0]),
        completed_at: info.completed_at().map(Timestamp::unix_ms),
        expires_at: info.expires_at().map(Timestamp::unix_ms),
        answer: info
            .response()
            .map(|response| response.bytes().first().copied().unwrap_or_default()),
    }
}
