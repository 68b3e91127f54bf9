//! What a ledger promises, as plain data: no transactions, no files, no threads.
//!
//! Written from the contract. It says what each call has to answer, and what is stored behind it.

use std::collections::{BTreeMap, BTreeSet};

use idempotency_ledger::RecordState;

/// Milliseconds since 1970, and spans of milliseconds.
pub(super) type Ms = u64;

pub(super) const LEASE: Ms = 10_000;
pub(super) const RETENTION: Ms = 30_000;
pub(super) const FORGET_AFTER: Ms = 20_000;
pub(super) const STRICT_RETENTION: Ms = 200_000;
pub(super) const RETRY_HINT: Ms = 4_000;
const KEY_AHEAD_MAX: Ms = 600_000;
pub(super) const QUOTA: usize = 1;
pub(super) const JUMP_MAX: Ms = 3_600_000;

/// The operations of a history: two keys in each of four namespaces, and one whose key has a
/// time inside.
pub(super) const OPERATIONS: usize = 9;

/// The namespace of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Plain,
    Rerun,
    Quota,
    Forgetful,
    Strict,
}

impl Place {
    pub(super) fn of(who: usize) -> Self {
        [
            Self::Plain,
            Self::Rerun,
            Self::Quota,
            Self::Forgetful,
            Self::Strict,
        ][who / 2]
    }

    fn retention(self) -> Ms {
        match self {
            Self::Plain | Self::Rerun | Self::Quota | Self::Forgetful => RETENTION,
            Self::Strict => STRICT_RETENTION,
        }
    }
}

/// What is stored for an operation.
#[derive(Clone, Debug)]
struct Stored {
    asks: usize,
    fence: u64,
    attempts: u32,
    first_claimed_at: Ms,
    claimed_at: Ms,
    lease_until: Ms,
    checkpoint: Option<u8>,
    done: Option<Done>,
}

#[derive(Clone, Copy, Debug)]
struct Done {
    at: Ms,
    expires_at: Ms,
    answer: u8,
}

/// What a look at an operation has to find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) state: RecordState,
    pub(super) is_overdue: bool,
    pub(super) fence: u64,
    pub(super) attempts: u32,
    pub(super) first_claimed_at: Ms,
    pub(super) claimed_at: Ms,
    pub(super) lease_until: Option<Ms>,
    pub(super) checkpoint: Option<u8>,
    pub(super) completed_at: Option<Ms>,
    pub(super) expires_at: Option<Ms>,
    pub(super) answer: Option<u8>,
}

/// What a request has to get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Claim {
        attempt: u32,
        checkpoint: Option<u8>,
    },
    Replay {
        answer: u8,
        completed_at: Ms,
    },
    Ticket {
        fence: u64,
        is_overdue: bool,
    },
    InProgress {
        retry_after: Ms,
    },
    Mismatch,
    Stale,
    Quota,
}

/// What an ending has to come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Done,
    Superseded,
    DifferentResponse,
    HasCheckpoint,
}

/// What a hand has to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByHand {
    Done,
    NothingThere,
    StillAlive,
    Superseded,
    AlreadyCompleted,
}

#[derive(Debug)]
pub(super) struct Model {
    stored: BTreeMap<usize, Stored>,
    /// Fences of the claims that somebody holds.
    alive: BTreeSet<u64>,
    now: Ms,
    wall: Ms,
    /// The time that is stored; 0 for none. Several where only the ledger knows whether the
    /// application's own commit carried a sweep along.
    marks: Vec<Ms>,
    last_fence: u64,
    /// How often each operation's own write was committed.
    pub(super) deposits: [u64; OPERATIONS],
    key_time: Ms,
}

impl Model {
    pub(super) fn new(start: Ms) -> Self {
        Self {
            stored: BTreeMap::new(),
            alive: BTreeSet::new(),
            now: start,
            wall: start,
            marks: vec![0],
            last_fence: 0,
            deposits: [0; OPERATIONS],
            key_time: start,
        }
    }

    pub(super) const fn now(&self) -> Ms {
        self.now
    }

    pub(super) const fn unconfirmed_jump(&self) -> Option<Ms> {
        let ahead = self.wall.saturating_sub(self.now);
        if ahead > JUMP_MAX { Some(ahead) } else { None }
    }

    pub(super) fn advance(&mut self, span: Ms) {
        self.wall += span;
        self.now += span;
        self.follow_wall();
    }

    pub(super) fn set_wall(&mut self, wall: Ms) {
        self.wall = wall;
        self.follow_wall();
    }

    fn follow_wall(&mut self) {
        if self.unconfirmed_jump().is_none() {
            self.now = self.now.max(self.wall);
        }
    }

    pub(super) fn confirm(&mut self) {
        self.now = self.now.max(self.wall);
    }

    /// A commit stores the time.
    pub(super) fn committed(&mut self) {
        self.marks = vec![self.now];
    }

    /// A commit of the application's may have stored the time.
    pub(super) fn committed_for_another(&mut self) {
        self.marks.push(self.now);
    }

    /// Nobody holds a claim any more, and the time goes on from what is stored; `found` is the
    /// time that the ledger says.
    pub(super) fn reopened(&mut self, found: Ms) {
        self.alive.clear();
        for mark in std::mem::take(&mut self.marks) {
            self.now = if mark == 0 { self.wall } else { mark };
            self.follow_wall();
            self.marks = vec![mark];
            if self.now == found {
                return;
            }
        }
    }

    /// What counts of what is stored.
    fn live(&self, who: usize) -> Option<&Stored> {
        let stored = self.stored.get(&who)?;
        let is_expired = stored.done.is_some_and(|done| done.expires_at <= self.now);
        (!is_expired).then_some(stored)
    }

    fn is_alive(&self, stored: &Stored) -> bool {
        self.alive.contains(&stored.fence)
    }

    pub(super) fn seen(&self, who: usize) -> Option<Seen> {
        let stored = self.live(who)?;
        let lease_runs = self.now < stored.lease_until;
        let is_alive = self.is_alive(stored);
        let state = match stored.done {
            Some(_) => RecordState::Completed,
            None if is_alive && lease_runs => RecordState::Claimed,
            None => RecordState::Interrupted,
        };
        let is_claim = stored.done.is_none();
        Some(Seen {
            state,
            is_overdue: is_claim && is_alive && !lease_runs,
            fence: stored.fence,
            attempts: stored.attempts,
            first_claimed_at: stored.first_claimed_at,
            claimed_at: stored.claimed_at,
            lease_until: is_claim.then_some(stored.lease_until),
            checkpoint: stored.checkpoint.filter(|_| is_claim),
            completed_at: stored.done.map(|done| done.at),
            expires_at: stored.done.map(|done| done.expires_at),
            answer: stored.done.map(|done| done.answer),
        })
    }

    /// How many records and claims count in a namespace.
    pub(super) fn counts(&self, place: Place) -> (u64, u64) {
        let live = (0..OPERATIONS).filter(|who| Place::of(*who) == place);
        let live: Vec<_> = live.filter_map(|who| self.live(who)).collect();
        let claims = live.iter().filter(|stored| stored.done.is_none());
        (live.len() as u64, claims.count() as u64)
    }

    pub(super) fn begin(&self, who: usize, asks: usize) -> Answer {
        let place = Place::of(who);
        let Some(stored) = self.live(who) else {
            let oldest = self.now.saturating_sub(STRICT_RETENTION);
            let latest = self.now.max(self.wall);
            let is_ahead = self.key_time > latest + KEY_AHEAD_MAX;
            if place == Place::Strict && (self.key_time <= oldest || is_ahead) {
                return Answer::Stale;
            }
            if place == Place::Quota && self.counts(place).0 >= QUOTA as u64 {
                return Answer::Quota;
            }
            return Answer::Claim {
                attempt: 1,
                checkpoint: None,
            };
        };
        if stored.asks != asks {
            return Answer::Mismatch;
        }
        if let Some(done) = stored.done {
            return Answer::Replay {
                answer: done.answer,
                completed_at: done.at,
            };
        }
        let left = stored.lease_until.saturating_sub(self.now);
        match (self.is_alive(stored), left) {
            (true, 1..) => Answer::InProgress {
                retry_after: left.clamp(1_000, RETRY_HINT),
            },
            (false, _) if place == Place::Rerun => Answer::Claim {
                attempt: stored.attempts + 1,
                checkpoint: stored.checkpoint,
            },
            (is_overdue, _) => Answer::Ticket {
                fence: stored.fence,
                is_overdue,
            },
        }
    }

    /// Somebody got a claim under `fence`.
    pub(super) fn claimed(&mut self, who: usize, asks: usize, fence: u64) {
        assert!(
            fence > self.last_fence,
            "{fence} behind {}",
            self.last_fence
        );
        self.last_fence = fence;
        self.alive.insert(fence);
        let before = self.live(who).cloned();
        let (attempts, first_claimed_at, checkpoint, asks) = match before {
            Some(old) => (
                old.attempts + 1,
                old.first_claimed_at,
                old.checkpoint,
                old.asks,
            ),
            None => (1, self.now, None, asks),
        };
        let stored = Stored {
            asks,
            fence,
            attempts,
            first_claimed_at,
            claimed_at: self.now,
            lease_until: self.now + LEASE,
            checkpoint,
            done: None,
        };
        self.stored.insert(who, stored);
    }

    pub(super) fn dropped(&mut self, fence: u64) {
        self.alive.remove(&fence);
    }

    /// The claim of a fence, if it is still the stored one.
    fn held(&mut self, who: usize, fence: u64) -> Option<&mut Stored> {
        let stored = self.stored.get_mut(&who)?;
        (stored.fence == fence && stored.done.is_none()).then_some(stored)
    }

    pub(super) fn complete(&mut self, who: usize, fence: u64, answer: u8) -> Ended {
        let now = self.now;
        let done = self.live(who).filter(|stored| stored.fence == fence);
        match done.and_then(|stored| stored.done) {
            Some(done) if done.answer == answer => return Ended::Done,
            Some(_) => return Ended::DifferentResponse,
            None => {}
        }
        let Some(stored) = self.held(who, fence) else {
            return Ended::Superseded;
        };
        stored.done = Some(Done {
            at: now,
            expires_at: now + Place::of(who).retention(),
            answer,
        });
        Ended::Done
    }

    pub(super) fn release(&mut self, who: usize, fence: u64) -> Ended {
        match self.held(who, fence) {
            None => Ended::Superseded,
            Some(stored) if stored.checkpoint.is_some() => Ended::HasCheckpoint,
            Some(_) => {
                self.stored.remove(&who);
                Ended::Done
            }
        }
    }

    pub(super) fn renew(&mut self, who: usize, fence: u64) -> Result<Ms, Ended> {
        let now = self.now;
        let stored = self.held(who, fence).ok_or(Ended::Superseded)?;
        stored.lease_until = stored.lease_until.max(now + LEASE);
        Ok(stored.lease_until)
    }

    pub(super) fn checkpoint(&mut self, who: usize, fence: u64, name: u8) -> Ended {
        match self.held(who, fence) {
            None => Ended::Superseded,
            Some(stored) => {
                stored.checkpoint = Some(name);
                Ended::Done
            }
        }
    }

    /// Whether a ticket that saw this fence may still take over.
    pub(super) fn may_rerun(&mut self, who: usize, fence: u64) -> bool {
        self.held(who, fence).is_some()
    }

    /// The fence and the asks of what is stored now.
    pub(super) fn asks_of(&self, who: usize) -> Option<usize> {
        self.stored.get(&who).map(|stored| stored.asks)
    }

    fn by_hand(&self, who: usize, demanded: Option<u64>, forgets: bool) -> ByHand {
        let Some(stored) = self.live(who) else {
            return ByHand::NothingThere;
        };
        if demanded.is_some_and(|fence| fence != stored.fence) {
            return ByHand::Superseded;
        }
        match stored.done {
            Some(_) if forgets => ByHand::Done,
            Some(_) => ByHand::AlreadyCompleted,
            None if self.is_alive(stored) => ByHand::StillAlive,
            None => ByHand::Done,
        }
    }

    pub(super) fn resolve(
        &mut self,
        who: usize,
        demanded: Option<u64>,
        answer: Option<u8>,
    ) -> ByHand {
        let verdict = self.by_hand(who, demanded, false);
        if verdict == ByHand::Done {
            match (answer, self.stored.get(&who).map(|stored| stored.fence)) {
                (Some(answer), Some(fence)) => {
                    let ended = self.complete(who, fence, answer);
                    assert_eq!(ended, Ended::Done);
                }
                _ => drop(self.stored.remove(&who)),
            }
        }
        verdict
    }

    pub(super) fn forget(&mut self, who: usize) -> ByHand {
        let verdict = self.by_hand(who, None, true);
        if verdict == ByHand::Done {
            self.stored.remove(&who);
        }
        verdict
    }

    /// Whether a sweep may have removed it: an interrupted claim long after its lease, where the
    /// policy forgets those.
    pub(super) fn may_be_forgotten(&self, who: usize) -> bool {
        self.stored.get(&who).is_some_and(|stored| {
            Place::of(who) == Place::Forgetful
                && stored.done.is_none()
                && !self.is_alive(stored)
                && stored.lease_until + FORGET_AFTER <= self.now
        })
    }

    pub(super) fn forgotten(&mut self, who: usize) {
        self.stored.remove(&who);
    }
}
