//! The endings of a claim: what may end what, and the records before and behind each change.

use std::collections::HashSet;

use idempotency_ledger::decision::{
    Checkpoint, ClaimLock, Completion, EndingRefusal, Evidence, Fence, Fingerprint, NewClaim,
    PolicyStamp, Record, ResolveRefusal, checkpoint, claim, complete, forget, may_resolve, release,
    renew, take_over,
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
    let fence = Fence::from_stored(match ending.fence {
        Presented::Older => 6,
        Presented::Same => 7,
        Presented::Newer => 8,
    });
    let completed = |text: &str| {
        let (key, response) = (Key::new("order-17").expect("valid"), Response::raw(text));
        match complete(stored, fence, &key, &Policy::DEFAULT, &response, now) {
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
        Call::CompleteSame => completed("stored"),
        Call::CompleteOther => completed("something else"),
        Call::Release => changed(release(stored, fence)),
        Call::Renew => changed(renew(stored, fence, now)),
        Call::Checkpoint => changed(checkpoint(stored, fence, reached)),
        Call::TakeOver => changed(take_over(stored, fence, new_claim(), now)),
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
    assert_eq!(seen.len(), 6 * 5 * 3, "every call, state and fence");
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResolveCell {
    stored: Stored,
    demanded: Demanded,
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
enum Demanded {
    None,
    Same,
    Other,
}

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
    let mut seen = HashSet::new();
    for cell in &file.resolve {
        let at = (cell.stored, cell.demanded, cell.now_ms);
        assert!(seen.insert(at), "{at:?} is there twice");
        let demanded = match cell.demanded {
            Demanded::None => None,
            Demanded::Same => Some(Fence::from_stored(7)),
            Demanded::Other => Some(Fence::from_stored(6)),
        };
        let now = cell.now_ms.time();
        let found = verdicts(&file, cell.stored, now, |stored, evidence| {
            by_hand(may_resolve(stored, demanded, evidence))
        });
        assert_eq!(found, cell.verdicts, "{at:?}");
    }
    for stored in STORED {
        for demanded in [Demanded::None, Demanded::Same, Demanded::Other] {
            for now in boundary_times(file.expires_at_ms.0, file.lease_until_ms.0) {
                assert!(
                    seen.remove(&(stored, demanded, Number(now))),
                    "{stored:?} at {now}"
                );
            }
        }
    }
    assert!(seen.is_empty(), "no combination: {seen:?}");
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
    let now = change.now_ms.time();
    match &change.call {
        ChangeCall::Claim { new } => Ok(claim(new.read(), now)),
        ChangeCall::TakeOver { new } => take_over(stored, fence, new.read(), now),
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
