//! The endings of a claim: what may end what, and the records before and behind each change.

use std::collections::HashSet;

use idempotency_ledger::decision::{
    Checkpoint, ClaimLock, Completion, Demanded, EndingRefusal, Evidence, Fence, Fingerprint,
    NewClaim, PolicyStamp, Record, ResolveRefusal, SeenClaim, checkpoint, claim, complete,
    complete_seen, forget, may_resolve, release, release_seen, renew, take_over,
};
use idempotency_ledger::{Key, Policy, Response, Timestamp};
use serde::Deserialize;

use super::decisions::{
    Doing, EVIDENCE, Evidence as Told, STORED, Stored, boundary_times, stored_record,
};
use super::load;
use super::written::{
    Hex, Number, WrittenCheckpoint, WrittenFingerprint, WrittenKind, WrittenLock, WrittenPolicy,
    WrittenRecord,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    expires_at_ms: Number,
    lease_until_ms: Number,
    livenesses: Vec<Told>,
    works: Vec<Doing>,
    endings: Vec<Ending>,
    resolve: Vec<ResolveCell>,
    forget: Vec<ForgetCell>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ending {
    call: Call,
    stored: EndingStored,
    fence: Presented,
    expect: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Call {
    CompleteSame,
    CompleteOther,
    Release,
    Renew,
    Checkpoint,
    TakeOver,
    TicketCompleteSame,
    TicketCompleteOther,
    TicketRelease,
}

impl Call {
    /// Whether the call knows what it saw of the claim, and not only its fence.
    const fn has_seen(self) -> bool {
        match self {
            Self::TakeOver
            | Self::TicketCompleteSame
            | Self::TicketCompleteOther
            | Self::TicketRelease => true,
            Self::CompleteSame
            | Self::CompleteOther
            | Self::Release
            | Self::Renew
            | Self::Checkpoint => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum EndingStored {
    Nothing,
    Claimed,
    ClaimedWithCheckpoint,
    Completed,
    CompletedAndExpired,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Presented {
    Older,
    Same,
    Newer,
    /// The same fence, with a lease that ended earlier.
    BeforeRenewal,
    /// The same fence, with another checkpoint or none.
    BeforeCheckpoint,
}

/// What a ticket saw that was drawn then.
fn seen(record: Option<&Record>, lease_until: Timestamp, when: Presented) -> SeenClaim {
    let mut seen = record.and_then(SeenClaim::of).unwrap_or(SeenClaim {
        fence: Fence::from_stored(7),
        lease_until,
        checkpoint: None,
    });
    match when {
        Presented::Older => seen.fence = Fence::from_stored(6),
        Presented::Same => {}
        Presented::Newer => seen.fence = Fence::from_stored(8),
        Presented::BeforeRenewal => {
            seen.lease_until = Timestamp::from_unix_ms(seen.lease_until.unix_ms() - 1);
        }
        Presented::BeforeCheckpoint => {
            seen.checkpoint = match seen.checkpoint {
                Some(_) => None,
                None => Some(Checkpoint {
                    name: "captured".to_owned(),
                    bytes: Vec::new(),
                }),
            };
        }
    }
    seen
}

fn refusal(refused: EndingRefusal) -> &'static str {
    match refused {
        EndingRefusal::Superseded => "superseded",
        EndingRefusal::DifferentResponse => "different-response",
        EndingRefusal::HasCheckpoint => "has-checkpoint",
    }
}

fn changed<T>(result: Result<T, EndingRefusal>) -> &'static str {
    result.map_or_else(refusal, |_| "changed")
}

fn new_claim() -> NewClaim {
    NewClaim {
        fingerprint: Fingerprint::of(["a"]),
        fence: Fence::from_stored(9),
        policy: PolicyStamp::of(&Policy::DEFAULT, 1),
        holder: 2,
        program: String::new(),
        lock: ClaimLock::None,
    }
}

fn verdict(ending: &Ending, file: &File) -> &'static str {
    let (stored, now) = match ending.stored {
        EndingStored::Nothing => (Stored::Nothing, Timestamp::EPOCH),
        EndingStored::Claimed => (Stored::Claimed, Timestamp::EPOCH),
        EndingStored::ClaimedWithCheckpoint => (Stored::ClaimedWithCheckpoint, Timestamp::EPOCH),
        EndingStored::Completed => (Stored::Completed, Timestamp::EPOCH),
        EndingStored::CompletedAndExpired => (Stored::Completed, file.expires_at_ms.time()),
    };
    let (lease_until, expires_at) = (file.lease_until_ms.time(), file.expires_at_ms.time());
    let record = stored_record(stored, Fingerprint::of(["a"]), lease_until, expires_at);
    let stored = record.as_ref();
    let seen = seen(stored, lease_until, ending.fence);
    let fence = seen.fence;
    let completed = |text: &str| {
        let (key, response) = (Key::new("order-17").expect("valid"), Response::raw(text));
        let policy = &Policy::DEFAULT;
        let completion = if ending.call.has_seen() {
            complete_seen(stored, &seen, &key, policy, &response, now)
        } else {
            complete(stored, fence, &key, policy, &response, now)
        };
        match completion {
            Ok(Completion::Store(_)) => "changed",
            Ok(Completion::AlreadyStored) => "already-stored",
            Err(refused) => refusal(refused),
        }
    };
    let reached = Checkpoint {
        name: "captured".to_owned(),
        bytes: Vec::new(),
    };
    match ending.call {
        Call::CompleteSame | Call::TicketCompleteSame => completed("stored"),
        Call::CompleteOther | Call::TicketCompleteOther => completed("something else"),
        Call::TicketRelease => changed(release_seen(stored, &seen)),
        Call::Release => changed(release(stored, fence)),
        Call::Renew => changed(renew(stored, fence, now)),
        Call::Checkpoint => changed(checkpoint(stored, fence, reached)),
        Call::TakeOver => changed(take_over(stored, &seen, new_claim(), now)),
    }
}

#[test]
fn an_ending_changes_only_the_record_of_its_own_fence() {
    let file: File = load("endings.json");
    let mut seen = HashSet::new();
    for ending in &file.endings {
        let at = (ending.call, ending.stored, ending.fence);
        assert!(seen.insert(at), "{at:?} is there twice");
        assert_eq!(verdict(ending, &file), ending.expect, "{at:?}");
    }
    let with_seen = seen.iter().filter(|(call, ..)| call.has_seen()).count();
    assert_eq!(
        with_seen,
        4 * 5 * 5,
        "every call of a ticket, state and sight"
    );
    let with_fence = seen.len() - with_seen;
    assert_eq!(
        with_fence,
        5 * 5 * 3,
        "every call of a claim, state and fence"
    );
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResolveCell {
    stored: Stored,
    demanded: Wanted,
    now_ms: Number,
    /// One for each liveness and work, the work changing faster.
    verdicts: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ForgetCell {
    stored: Stored,
    now_ms: Number,
    /// One for each liveness and work, the work changing faster.
    verdicts: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Wanted {
    None,
    Same,
    Other,
    Seen,
    SeenBeforeRenewal,
    SeenBeforeCheckpoint,
}

const WANTED: [Wanted; 6] = [
    Wanted::None,
    Wanted::Same,
    Wanted::Other,
    Wanted::Seen,
    Wanted::SeenBeforeRenewal,
    Wanted::SeenBeforeCheckpoint,
];

fn by_hand(result: Result<&Record, ResolveRefusal>) -> &'static str {
    match result {
        Ok(_) => "allowed",
        Err(ResolveRefusal::NothingThere) => "nothing-there",
        Err(ResolveRefusal::StillAlive) => "still-alive",
        Err(ResolveRefusal::StillRunning) => "still-running",
        Err(ResolveRefusal::Superseded) => "superseded",
        Err(ResolveRefusal::AlreadyCompleted) => "already-completed",
    }
}

/// The verdicts for each liveness and work, in the order of the file.
fn verdicts(
    file: &File,
    stored: Stored,
    now: Timestamp,
    mut call: impl FnMut(Option<&Record>, Evidence) -> &'static str,
) -> Vec<&'static str> {
    let (lease_until, expires_at) = (file.lease_until_ms.time(), file.expires_at_ms.time());
    let record = stored_record(stored, Fingerprint::NONE, lease_until, expires_at);
    let mut found = Vec::new();
    for liveness in &file.livenesses {
        for work in &file.works {
            let evidence = Evidence {
                liveness: liveness.read(),
                work: work.read(),
                now,
            };
            found.push(call(record.as_ref(), evidence));
        }
    }
    found
}

#[test]
fn only_what_is_interrupted_is_resolved_by_hand() {
    let file: File = load("endings.json");
    assert_eq!(file.livenesses, EVIDENCE);
    assert_eq!(file.works, [Doing::Ended, Doing::Running]);
    let mut cells = HashSet::new();
    for cell in &file.resolve {
        let at = (cell.stored, cell.demanded, cell.now_ms);
        assert!(cells.insert(at), "{at:?} is there twice");
        let (now, lease_until) = (cell.now_ms.time(), file.lease_until_ms.time());
        let found = verdicts(&file, cell.stored, now, |stored, evidence| {
            let as_seen = |when| Demanded::Claim(seen(stored, lease_until, when));
            let demanded = match cell.demanded {
                Wanted::None => Demanded::Any,
                Wanted::Same => Demanded::Fence(Fence::from_stored(7)),
                Wanted::Other => Demanded::Fence(Fence::from_stored(6)),
                Wanted::Seen => as_seen(Presented::Same),
                Wanted::SeenBeforeRenewal => as_seen(Presented::BeforeRenewal),
                Wanted::SeenBeforeCheckpoint => as_seen(Presented::BeforeCheckpoint),
            };
            by_hand(may_resolve(stored, &demanded, evidence))
        });
        assert_eq!(found, cell.verdicts, "{at:?}");
    }
    for stored in STORED {
        for demanded in WANTED {
            for now in boundary_times(file.expires_at_ms.0, file.lease_until_ms.0) {
                assert!(
                    cells.remove(&(stored, demanded, Number(now))),
                    "{stored:?} at {now}"
                );
            }
        }
    }
    assert!(cells.is_empty(), "no combination: {cells:?}");
}

#[test]
fn only_what_is_completed_or_interrupted_is_forgotten() {
    let file: File = load("endings.json");
    let mut seen = HashSet::new();
    for cell in &file.forget {
        let at = (cell.stored, cell.now_ms);
        assert!(seen.insert(at), "{at:?} is there twice");
        let now = cell.now_ms.time();
        let found = verdicts(&file, cell.stored, now, |stored, evidence| {
            by_hand(forget(stored, evidence))
        });
        assert_eq!(found, cell.verdicts, "{at:?}");
    }
    for stored in STORED {
        for now in boundary_times(file.expires_at_ms.0, file.lease_until_ms.0) {
            assert!(seen.remove(&(stored, Number(now))), "{stored:?} at {now}");
        }
    }
    assert!(seen.is_empty(), "no combination: {seen:?}");
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangesFile {
    cases: Vec<Change>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    name: String,
    call: ChangeCall,
    before: Option<WrittenRecord>,
    now_ms: Number,
    after: WrittenRecord,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum ChangeCall {
    Claim { new: WrittenClaim },
    TakeOver { new: WrittenClaim },
    Complete { kind: WrittenKind, bytes_hex: Hex },
    Renew,
    Checkpoint { checkpoint: WrittenCheckpoint },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenClaim {
    fingerprint: WrittenFingerprint,
    fence: Number,
    policy: WrittenPolicy,
    holder: Number,
    program: String,
    #[serde(default)]
    lock: WrittenLock,
}

impl WrittenClaim {
    fn read(&self) -> NewClaim {
        NewClaim {
            fingerprint: self.fingerprint.read(),
            fence: Fence::from_stored(self.fence.0),
            policy: self.policy.read(),
            holder: self.holder.0,
            program: self.program.clone(),
            lock: self.lock.read(),
        }
    }
}

fn make(change: &Change) -> Result<Record, EndingRefusal> {
    let before = change.before.as_ref().map(WrittenRecord::read);
    let stored = before.as_ref();
    let fence = stored.map(|record| record.fence).unwrap_or_default();
    let seen = || {
        stored
            .and_then(SeenClaim::of)
            .expect("a claim is taken over")
    };
    let now = change.now_ms.time();
    match &change.call {
        ChangeCall::Claim { new } => Ok(claim(new.read(), now)),
        ChangeCall::TakeOver { new } => take_over(stored, &seen(), new.read(), now),
        ChangeCall::Renew => renew(stored, fence, now),
        ChangeCall::Checkpoint {
            checkpoint: reached,
        } => checkpoint(stored, fence, reached.read()),
        ChangeCall::Complete { kind, bytes_hex } => {
            let key = Key::new("order-17").expect("valid");
            let response = kind.read(bytes_hex);
            match complete(stored, fence, &key, &Policy::DEFAULT, &response, now)? {
                Completion::Store(record) => Ok(*record),
                Completion::AlreadyStored => panic!("{}: nothing is stored yet", change.name),
            }
        }
    }
}

#[test]
fn every_change_makes_the_record_that_is_written_down() {
    let file: ChangesFile = load("changes.json");
    assert_eq!(file.cases.len(), 22);
    for change in &file.cases {
        assert_eq!(make(change), Ok(change.after.read()), "{}", change.name);
    }
}
