//! Several keys at once: all are claimed and completed in one commit, or none is.

use std::thread;

use idempotency_ledger::{
    Begin, BeginMany, Claim, CompleteAllError, EndingError, Error, Fingerprint, Invalid,
    KeyStanding, Ledger, Namespace, OnInterrupted, Policy, RecordFilter, Refusal, Request,
    Response,
};
use idempotency_tests::workload::SHORT;
use idempotency_tests::{Expect, PAYMENTS, asked, begin, cases, in_memory, key, seconds, until};
use proptest::prelude::*;

const REPEATABLE: Namespace =
    Namespace::new("repeatable").policy(Policy::DEFAULT.on_interrupted(OnInterrupted::Rerun));

fn requests(ledger: &Ledger, namespace: &Namespace, keys: &[&str]) -> Vec<Request> {
    let request = |text: &&str| ledger.operation(namespace.clone(), &key(text), asked());
    keys.iter().map(request).collect()
}

fn begin_many(ledger: &Ledger, keys: &[&str]) -> BeginMany {
    let requests = requests(ledger, &PAYMENTS, keys);
    ledger.begin_many(&requests).expect("the ledger works")
}

#[track_caller]
fn fresh(begun: BeginMany) -> Vec<Claim> {
    match begun {
        BeginMany::Fresh(claims) => claims,
        other => panic!("expected claims, got {other:?}"),
    }
}

#[track_caller]
fn refused(begun: BeginMany) -> Vec<KeyStanding> {
    match begun {
        BeginMany::Refused(standings) => standings,
        other => panic!("expected refusals, got {other:?}"),
    }
}

fn complete_all(
    ledger: &Ledger,
    claims: Vec<Claim>,
    response: &str,
) -> Result<usize, CompleteAllError> {
    let endings = claims.into_iter().map(|claim| (claim, response.into()));
    ledger
        .complete_all(endings.collect())
        .map(|replays| replays.len())
}

fn commits(ledger: &Ledger) -> u64 {
    ledger.stats().expect("counts").commits
}

#[test]
fn several_keys_are_claimed_in_one_commit_completed_in_one_and_replayed_without() {
    let (ledger, _clock) = in_memory();
    let keys = ["a", "b", "c"];
    let before = commits(&ledger);
    let claims = fresh(begin_many(&ledger, &keys));
    assert_eq!(commits(&ledger), before + 1);
    let claimed: Vec<_> = claims.iter().map(|claim| claim.key().as_str()).collect();
    assert_eq!(claimed, keys, "in the order of the requests");
    let fences: Vec<_> = claims.iter().map(Claim::fence).collect();
    assert!(fences.is_sorted() && fences[0] < fences[2], "{fences:?}");
    let done = complete_all(&ledger, claims, "done").expect("stored");
    assert_eq!((done, commits(&ledger)), (3, before + 2));
    let BeginMany::Replay(replays) = begin_many(&ledger, &keys) else {
        panic!("all of them ran");
    };
    let answers = replays.iter().map(|replay| replay.response().bytes());
    assert!(answers.eq([&b"done"[..]; 3]));
    assert_eq!(commits(&ledger), before + 2, "a replay writes nothing");
}

#[test]
fn one_key_that_cannot_be_claimed_keeps_all_others_unclaimed_and_each_has_its_reason() {
    let (ledger, clock) = in_memory();
    begin(&ledger, "ran").fresh().complete("x").expect("stored");
    drop(begin(&ledger, "died").fresh());
    let held = begin(&ledger, "held").fresh();
    let other = ledger.operation(PAYMENTS, &key("other"), Fingerprint::of(["another"]));
    drop(other.begin().expect("works").fresh());
    let before = commits(&ledger);
    let keys = ["new", "ran", "died", "held", "other"];
    let standings = refused(begin_many(&ledger, &keys));
    assert!(
        matches!(
            &standings[..],
            [
                KeyStanding::Claimable,
                KeyStanding::Completed(_),
                KeyStanding::Interrupted(_),
                KeyStanding::Refused(Refusal::InProgress { .. }),
                KeyStanding::Refused(Refusal::Mismatch),
            ]
        ),
        "{standings:?}"
    );
    assert_eq!(commits(&ledger), before, "nothing was written");
    assert_eq!(
        ledger.records(RecordFilter::all()).expect("reads").count(),
        4
    );
    // Each standing is worth something: the ticket ends its key, and the group goes on.
    for standing in standings {
        if let KeyStanding::Interrupted(ticket) = standing {
            ticket.release().expect("released");
        }
    }
    held.release().expect("released");
    let claims = fresh(begin_many(&ledger, &["new", "died", "held"]));
    clock.advance(seconds(1));
    assert_eq!(complete_all(&ledger, claims, "late").expect("stored"), 3);
}

#[test]
fn a_quota_has_to_have_room_for_all_of_them() {
    let (ledger, clock) = in_memory();
    let small =
        Namespace::new("small").policy(Policy::DEFAULT.retention(seconds(1)).records_max(3));
    let many = |keys: &[&str]| {
        let requests = requests(&ledger, &small, keys);
        ledger.begin_many(&requests).expect("works")
    };
    // Also in a namespace that does not exist yet.
    let standings = refused(many(&["a", "b", "c", "d"]));
    assert!(matches!(
        standings[..],
        [
            KeyStanding::Claimable,
            KeyStanding::Claimable,
            KeyStanding::Claimable,
            KeyStanding::Refused(Refusal::Quota {
                records_max: Some(3),
                ..
            }),
        ]
    ));
    assert_eq!(ledger.stats().expect("counts").records(), 0);
    let claims = fresh(many(&["a", "b", "c"]));
    complete_all(&ledger, claims, "done").expect("stored");
    let standings = refused(many(&["d"]));
    assert!(matches!(
        standings[..],
        [KeyStanding::Refused(Refusal::Quota { .. })]
    ));
    // What has expired makes room, also where one of the keys takes its own place again.
    clock.advance(seconds(1));
    assert_eq!(fresh(many(&["c", "d", "e"])).len(), 3);
    assert_eq!(
        ledger.check().expect("checks").problems,
        Vec::<String>::new()
    );
}

#[test]
fn none_too_many_and_the_same_key_twice_are_refused_and_nothing_is_written() {
    let (ledger, _clock) = in_memory();
    let invalid = |requests: &[Request]| match ledger.begin_many(requests) {
        Err(Error::Invalid(invalid)) => invalid,
        other => panic!("expected a refusal, got {other:?}"),
    };
    let count = |count| Invalid::Count {
        what: "requests",
        count,
        limit: 256,
    };
    assert_eq!(invalid(&[]), count(0));
    let names: Vec<String> = (0..257).map(|number| number.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(invalid(&requests(&ledger, &PAYMENTS, &names)), count(257));
    let twice = requests(&ledger, &PAYMENTS, &["a", "b", "a"]);
    assert_eq!(invalid(&twice), Invalid::DuplicateKey { key: key("a") });
    let long = ledger
        .operation(PAYMENTS, &key("a"), asked())
        .scope([7; 256]);
    assert!(matches!(invalid(&[long]), Invalid::Scope(_)));
    let (elsewhere, _clock) = in_memory();
    let strange = requests(&elsewhere, &PAYMENTS, &["a"]);
    assert!(matches!(
        ledger.begin_many(&strange),
        Err(Error::Unsupported { .. })
    ));
    assert_eq!(ledger.stats().expect("counts").commits, 0);

    // The same key of two scopes or namespaces is two operations, and 256 are not too many.
    let mut differing = requests(&ledger, &PAYMENTS, &["a"]);
    differing.extend(requests(&ledger, &REPEATABLE, &["a"]));
    differing.push(ledger.operation(PAYMENTS, &key("a"), asked()).scope("b"));
    assert_eq!(
        fresh(ledger.begin_many(&differing).expect("works")).len(),
        3
    );
    let all = requests(&ledger, &Namespace::new("256"), &names[..256]);
    assert_eq!(fresh(ledger.begin_many(&all).expect("works")).len(), 256);
}

#[test]
fn inside_a_transaction_it_would_wait_for_itself() {
    let (ledger, _clock) = in_memory();
    let requests = requests(&ledger, &PAYMENTS, &["a", "b"]);
    let txn = ledger.write().expect("begins");
    let begun = ledger.begin_many(&requests);
    assert!(
        matches!(begun, Err(Error::WouldDeadlock { .. })),
        "{begun:?}"
    );
    txn.abort();
}

#[test]
fn a_group_that_died_has_a_ticket_for_each_key_or_is_taken_over_whole() {
    let (ledger, _clock) = in_memory();
    drop(fresh(begin_many(&ledger, &["a", "b"])));
    let standings = refused(begin_many(&ledger, &["a", "b"]));
    let claims: Vec<Claim> = standings
        .into_iter()
        .map(|standing| match standing {
            KeyStanding::Interrupted(ticket) => ticket.rerun().expect("taken over"),
            other => panic!("expected a ticket, got {other:?}"),
        })
        .collect();
    assert_eq!(
        complete_all(&ledger, claims, "second try").expect("stored"),
        2
    );

    let both = requests(&ledger, &REPEATABLE, &["a", "b"]);
    drop(fresh(ledger.begin_many(&both).expect("works")));
    let before = commits(&ledger);
    let again = fresh(ledger.begin_many(&both).expect("works"));
    assert_eq!(commits(&ledger), before + 1);
    assert!(again.iter().all(|claim| claim.attempt() == 2));
}

#[test]
fn one_completion_that_is_refused_stores_none_and_all_come_back() {
    let (ledger, _clock) = in_memory();
    let small = PAYMENTS.policy(Policy::DEFAULT.response_bytes_max(3));
    let both = requests(&ledger, &small, &["a", "b"]);
    let claims = fresh(ledger.begin_many(&both).expect("works"));
    let before = commits(&ledger);
    let endings = claims
        .into_iter()
        .zip([Response::from("ok"), "four".into()]);
    let failed = ledger
        .complete_all(endings.collect())
        .expect_err("too large");
    assert_eq!(failed.at, Some(1));
    assert!(matches!(
        failed.error,
        EndingError::Ledger(Error::Invalid(Invalid::Response { bytes: 4, limit: 3 }))
    ));
    let bytes: Vec<_> = failed
        .endings
        .iter()
        .map(|(_, response)| response.bytes())
        .collect();
    assert_eq!(bytes, [&b"ok"[..], b"four"]);
    assert_eq!(commits(&ledger), before, "nothing was written");
    for text in ["a", "b"] {
        assert!(
            matches!(begin(&ledger, text), Begin::Refused(_)),
            "{text} is still held"
        );
    }
    let claims: Vec<Claim> = failed.endings.into_iter().map(|(claim, _)| claim).collect();
    assert_eq!(complete_all(&ledger, claims, "ok").expect("stored"), 2);

    let none = ledger
        .complete_all(Vec::new())
        .expect_err("nothing to store");
    assert!(matches!(
        none.error,
        EndingError::Ledger(Error::Invalid(Invalid::Count { .. }))
    ));
}

#[test]
fn a_claim_that_was_taken_over_completes_no_other_one_either() {
    let (ledger, clock) = in_memory();
    let claims = fresh(begin_many(&ledger, &["a", "b"]));
    clock.advance(seconds(61));
    let usurper = begin(&ledger, "b")
        .interrupted()
        .rerun()
        .expect("taken over");
    let failed = complete_all(&ledger, claims, "mine").expect_err("one was taken over");
    assert_eq!((failed.at, failed.endings.len()), (Some(1), 2));
    assert!(
        matches!(failed.error, EndingError::Superseded),
        "{}",
        failed.error
    );
    let open = ledger
        .record(PAYMENTS, &key("a"))
        .peek()
        .expect("reads")
        .expect("stored");
    assert!(open.response().is_none(), "the first was not stored either");
    usurper.complete("theirs").expect("stored");
    let mut endings = failed.endings;
    let (claim, response) = endings.remove(0);
    claim
        .complete(response)
        .expect("its own claim is still good");
    // Completed already with the same answer is no obstacle, with another one it is.
    let (claim, _) = endings.remove(0);
    let (elsewhere, _clock) = in_memory();
    let strange = complete_all(&elsewhere, vec![claim], "mine").expect_err("another ledger's");
    assert!(matches!(
        strange.error,
        EndingError::Ledger(Error::Unsupported { .. })
    ));
}

#[test]
fn who_waits_for_one_key_of_a_group_gets_its_answer() {
    let (ledger, clock) = in_memory();
    let claims = fresh(begin_many(&ledger, &["a", "b"]));
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let request = ledger.operation(PAYMENTS, &key("b"), asked());
            request.wait(seconds(60)).begin().expect("works").replay()
        });
        until("it waits", || clock.waiting() == 1);
        complete_all(&ledger, claims, "both").expect("stored");
        let replay = waiter.join().expect("no panic");
        assert_eq!(replay.response().bytes(), b"both");
    });
}

#[test]
fn a_group_keeps_its_namespaces_within_their_quotas() {
    let (ledger, _clock) = in_memory();
    let bytes = Namespace::new("bytes").policy(Policy::DEFAULT.bytes_max(200));
    let standings = refused(
        ledger
            .begin_many(&requests(&ledger, &bytes, &["a", "b", "c", "d"]))
            .expect("works"),
    );
    let room = standings
        .iter()
        .take_while(|standing| matches!(standing, KeyStanding::Claimable))
        .count();
    // One by one they would get just as far.
    let alone = ["a", "b", "c", "d"]
        .iter()
        .take_while(|text| {
            let request = ledger.operation(bytes.clone(), &key(text), asked());
            matches!(request.begin().expect("works"), Begin::Fresh(_))
        })
        .count();
    assert_eq!((room, alone), (alone, room));
    assert!((1..4).contains(&room), "{room}");
}

#[test]
fn what_a_group_takes_over_is_not_swept_to_make_room_for_the_rest() {
    let (ledger, clock) = in_memory();
    let policy = Policy::DEFAULT
        .on_interrupted(OnInterrupted::Rerun)
        .forget_interrupted_after(seconds(10))
        .records_max(1);
    let small = Namespace::new("small").policy(policy);
    drop(
        ledger
            .operation(small.clone(), &key("a"), asked())
            .begin()
            .expect("works")
            .fresh(),
    );
    clock.advance(seconds(100));
    let both = requests(&ledger, &small, &["a", "b"]);
    let standings = refused(ledger.begin_many(&both).expect("works"));
    assert!(matches!(
        standings[..],
        [
            KeyStanding::Claimable,
            KeyStanding::Refused(Refusal::Quota { .. })
        ]
    ));
    assert_eq!(ledger.stats().expect("counts").records(), 1);
}

#[test]
fn groups_in_use_remove_as_much_as_they_add() {
    let (ledger, clock) = in_memory();
    for round in 0..20 {
        let names: Vec<String> = (0..256).map(|number| format!("{round}-{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let all = requests(&ledger, &SHORT, &names);
        let claims = fresh(ledger.begin_many(&all).expect("works"));
        complete_all(&ledger, claims, "done").expect("stored");
        clock.advance(seconds(2));
    }
    let expired = ledger.stats().expect("counts").namespaces[0].expired;
    assert!(expired <= 256, "{expired} wait for a sweep");
}

/// What a key is before the group begins.
#[derive(Clone, Copy, Debug)]
enum Before {
    Nothing,
    Expired,
    Completed,
    Held,
    Interrupted,
}

fn before() -> impl Strategy<Value = Before> {
    prop_oneof![
        4 => Just(Before::Nothing),
        3 => Just(Before::Expired),
        1 => Just(Before::Completed),
        1 => Just(Before::Held),
        1 => Just(Before::Interrupted),
    ]
}

proptest! {
    #![proptest_config(cases(200))]

    /// Whatever the keys are: all or nothing, and the reasons are those that each would get alone.
    #[test]
    fn a_group_is_claimed_if_and_only_if_each_key_alone_would_be(
        states in proptest::collection::vec(before(), 1..8),
    ) {
        let (ledger, clock) = in_memory();
        let names: Vec<String> = (0..states.len()).map(|at| format!("k{at}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let requests = requests(&ledger, &SHORT, &names);
        let mut held = Vec::new();
        for wanted in [true, false] {
            for (request, state) in requests.iter().zip(&states) {
                let begun = || request.clone().begin().expect("works").fresh();
                match (state, wanted) {
                    (Before::Expired, true) | (Before::Completed, false) => {
                        begun().complete("done").expect("stored");
                    }
                    (Before::Held, false) => held.push(begun()),
                    (Before::Interrupted, false) => drop(begun()),
                    _ => {}
                }
            }
            if wanted {
                clock.advance(seconds(1));
            }
        }
        let counted = ledger.stats().expect("counts");
        let begun = ledger.begin_many(&requests).expect("works");
        let expected: Vec<&str> = states.iter().map(|state| match state {
            Before::Nothing | Before::Expired => "claimable",
            Before::Completed => "completed",
            Before::Held => "in progress",
            Before::Interrupted => "interrupted",
        }).collect();
        match begun {
            BeginMany::Fresh(claims) => {
                prop_assert!(expected.iter().all(|standing| *standing == "claimable"));
                prop_assert_eq!(claims.len(), states.len());
            }
            BeginMany::Replay(replays) => {
                prop_assert!(expected.iter().all(|standing| *standing == "completed"));
                prop_assert_eq!(replays.len(), states.len());
            }
            BeginMany::Refused(standings) => {
                let found: Vec<&str> = standings.iter().map(|standing| match standing {
                    KeyStanding::Claimable => "claimable",
                    KeyStanding::Completed(_) => "completed",
                    KeyStanding::Refused(Refusal::InProgress { .. }) => "in progress",
                    KeyStanding::Interrupted(_) => "interrupted",
                    KeyStanding::Refused(_) => "refused",
                }).collect();
                prop_assert!(found.iter().any(|standing| *standing != "claimable"));
                prop_assert!(found.iter().any(|standing| *standing != "completed"));
                prop_assert_eq!(found, expected);
                let after = ledger.stats().expect("counts");
                prop_assert_eq!(after.commits, counted.commits);
            }
        }
        prop_assert_eq!(ledger.check().expect("checks").problems, Vec::<String>::new());
    }
}
