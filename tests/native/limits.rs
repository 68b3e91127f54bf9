//! Every limit: what is accepted at it, and what is refused one above, with nothing written.

use std::time::Duration;

use idempotency_ledger::{
    BeginIn, EndingError, Error, Fingerprint, Invalid, KeyError, Ledger, Namespace, OnInterrupted,
    Policy, PolicyError, Refusal,
};
use idempotency_tests::{Expect, PAYMENTS, asked, begin, held, in_memory, key, seconds};

fn ask(ledger: &Ledger, namespace: &Namespace, text: &str) -> idempotency_ledger::Begin {
    let request = ledger.operation(namespace.clone(), &key(text), asked());
    request.begin().expect("works")
}

fn complete(ledger: &Ledger, namespace: &Namespace, text: &str) {
    let claim = ask(ledger, namespace, text).fresh();
    claim.complete("done").expect("stored");
}

#[track_caller]
fn invalid<T: std::fmt::Debug>(result: Result<T, Error>) -> Invalid {
    match result {
        Err(Error::Invalid(invalid)) => invalid,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn a_response_of_exactly_the_limit_is_stored_and_one_byte_more_comes_back_with_the_claim() {
    for (policy, limit) in [
        (Policy::DEFAULT, 1024 * 1024),
        (Policy::DEFAULT.response_bytes_max(1), 1),
        (Policy::DEFAULT.response_bytes_max(7), 7),
    ] {
        let namespace = PAYMENTS.policy(policy);
        let (ledger, _) = in_memory();
        let claim = ask(&ledger, &namespace, "k").fresh();
        let before = ledger.stats().expect("counts").commits;
        let failed = claim
            .complete(vec![7; limit + 1])
            .expect_err("one too many");
        assert_eq!(failed.response.bytes().len(), limit + 1);
        let EndingError::Ledger(Error::Invalid(Invalid::Response { bytes, limit: told })) =
            failed.error
        else {
            panic!("expected a refused response");
        };
        assert_eq!((bytes, told), (limit + 1, limit as u64));
        assert_eq!(ledger.stats().expect("counts").commits, before);
        failed.claim.complete(vec![7; limit]).expect("stored");
        let replay = ask(&ledger, &namespace, "k").replay();
        assert_eq!(replay.response().bytes().len(), limit);
    }
}

#[test]
fn a_checkpoint_has_the_limit_of_a_response_with_its_name() {
    let namespace = PAYMENTS.policy(Policy::DEFAULT.response_bytes_max(10));
    let (ledger, _) = in_memory();
    let claim = ask(&ledger, &namespace, "k").fresh();
    let refused = claim
        .checkpoint("four", b"1234567")
        .expect_err("one too many");
    assert!(matches!(
        refused,
        EndingError::Ledger(Error::Invalid(Invalid::Response {
            bytes: 11,
            limit: 10
        }))
    ));
    assert_eq!(claim.last_checkpoint(), None);
    claim.checkpoint("four", b"123456").expect("stored");
}

#[test]
fn a_tickets_response_has_the_same_limit() {
    let namespace = PAYMENTS.policy(Policy::DEFAULT.response_bytes_max(4));
    let (ledger, _) = in_memory();
    drop(ask(&ledger, &namespace, "k").fresh());
    let failed = ask(&ledger, &namespace, "k")
        .interrupted()
        .complete("12345");
    let failed = failed.expect_err("one too many");
    assert!(matches!(
        failed.error,
        EndingError::Ledger(Error::Invalid(_))
    ));
    let response = failed.response.expect("it comes back");
    assert_eq!(response.bytes(), b"12345");
    failed.ticket.complete("1234").expect("stored");
}

#[test]
fn a_scope_of_255_bytes_is_accepted_and_256_are_refused() {
    let (ledger, _) = in_memory();
    let request = |bytes: usize| {
        let request = ledger.operation(PAYMENTS, &key("k"), asked());
        request.scope(vec![0xff; bytes])
    };
    request(255)
        .begin()
        .expect("works")
        .fresh()
        .complete("done")
        .expect("stored");
    let too_long = Invalid::Scope(KeyError::ScopeTooLong { bytes: 256 });
    assert_eq!(invalid(request(256).begin()), too_long);
    let txn = ledger.write().expect("begins");
    assert_eq!(invalid(request(256).begin_in(&txn)), too_long);
    drop(txn);
    let record = |bytes: usize| ledger.record(PAYMENTS, &key("k")).scope(vec![0xff; bytes]);
    assert!(record(255).peek().expect("reads").is_some());
    assert_eq!(invalid(record(256).peek()), too_long);
    assert_eq!(invalid(record(256).forget()), too_long);
    assert_eq!(ledger.stats().expect("counts").records(), 1);
}

#[test]
fn a_key_of_255_bytes_in_a_scope_of_255_bytes_is_found_again() {
    let (ledger, _) = in_memory();
    let long = key(&"k".repeat(255));
    let request = || {
        let request = ledger.operation(PAYMENTS, &long, asked());
        request.scope([0; 255])
    };
    request()
        .begin()
        .expect("works")
        .fresh()
        .complete("done")
        .expect("stored");
    assert_eq!(
        request()
            .begin()
            .expect("works")
            .replay()
            .response()
            .bytes(),
        b"done"
    );
}

#[test]
fn a_programs_name_of_255_bytes_is_stored_and_256_are_refused() {
    let (ledger, _) = in_memory();
    let request = |bytes: usize| {
        let request = ledger.operation(PAYMENTS, &key("k"), asked());
        request.program("p".repeat(bytes))
    };
    let too_long = Invalid::TooLong {
        what: "program's name",
        bytes: 256,
        limit: 255,
    };
    assert_eq!(invalid(request(256).begin()), too_long);
    assert_eq!(ledger.stats().expect("counts").commits, 0);
    let _claim = request(255).begin().expect("works").fresh();
    let info = ledger.record(PAYMENTS, &key("k")).peek().expect("reads");
    assert_eq!(info.expect("there").program().len(), 255);
}

#[test]
fn a_file_has_4096_namespaces_and_no_more() {
    let (ledger, _) = in_memory();
    let named = |number: usize| Namespace::named(format!("n-{number}")).expect("valid");
    let txn = ledger.write().expect("begins");
    for number in 0..4_096 {
        let request = ledger.operation(named(number), &key("k"), asked());
        match request.begin_in(&txn) {
            Ok(BeginIn::Fresh(claim)) => claim.complete("done").expect("stored"),
            other => panic!("expected a claim, got {other:?}"),
        };
    }
    let _ = txn.commit().expect("commits");
    let begun = ledger.operation(named(4_096), &key("k"), asked()).begin();
    assert_eq!(invalid(begun), Invalid::TooManyNamespaces { limit: 4_096 });
    // The others go on, and the first and the last are told apart.
    for number in [0, 255, 256, 4_095] {
        let replay = ask(&ledger, &named(number), "k").replay();
        assert_eq!(replay.response().bytes(), b"done");
        complete(&ledger, &named(number), "another");
    }
    assert_eq!(ledger.stats().expect("counts").namespaces.len(), 4_096);
    assert!(ledger.check().expect("checks").is_clean());
}

#[test]
fn policies_that_cannot_be_kept_are_refused() {
    let zero = Duration::ZERO;
    let refused = [
        (Policy::DEFAULT.lease(zero), "lease"),
        (Policy::DEFAULT.retention(zero), "retention"),
        (Policy::DEFAULT.retry_hint(zero), "retry hint"),
        (Policy::DEFAULT.records_max(0), "record quota"),
        (Policy::DEFAULT.bytes_max(0), "byte quota"),
        (Policy::DEFAULT.response_bytes_max(0), "response limit"),
        (
            Policy::DEFAULT.forget_interrupted_after(zero),
            "span after which interrupted records are forgotten",
        ),
    ];
    let (ledger, _) = in_memory();
    for (policy, what) in refused {
        assert_eq!(policy.check(), Err(PolicyError::Zero { what }));
        let request = ledger.operation(PAYMENTS.policy(policy), &key("k"), asked());
        let expected = Invalid::Policy(PolicyError::Zero { what });
        assert_eq!(invalid(request.clone().begin()), expected);
        let txn = ledger.write().expect("begins");
        assert_eq!(invalid(request.begin_in(&txn)), expected);
    }
    let below = seconds(60) - Duration::from_nanos(1);
    for (lease, retention) in [
        (seconds(61), seconds(60)),
        (seconds(60), seconds(60)),
        // One millisecond, as all spans are stored.
        (below, seconds(60)),
    ] {
        let policy = Policy::DEFAULT.lease(lease).retention(retention);
        let expected = PolicyError::RetentionWithinLease { lease, retention };
        assert_eq!(policy.check(), Err(expected));
        assert!(expected.to_string().contains("keep answers longer"));
        let request = ledger.operation(PAYMENTS.policy(policy), &key("k"), asked());
        assert_eq!(invalid(request.begin()), Invalid::Policy(expected));
    }
    assert_eq!(ledger.stats().expect("counts").commits, 0);
    let shorter = Policy::DEFAULT.lease(seconds(60) - Duration::from_millis(1));
    assert_eq!(shorter.retention(seconds(60)).check(), Ok(()));
}

#[test]
fn a_span_that_was_not_given_fits_the_one_that_was() {
    let spans = |policy: Policy| {
        assert_eq!(policy.check(), Ok(()));
        (policy.lease_span(), policy.retention_span())
    };
    let day = seconds(86_400);
    assert_eq!(spans(Policy::DEFAULT), (seconds(60), day));
    let short = seconds(30);
    let tick = Duration::from_millis(1);
    for retention in [short, seconds(60)] {
        let given = Policy::DEFAULT.retention(retention);
        assert_eq!(spans(given), (retention - tick, retention));
    }
    assert_eq!(spans(Policy::DEFAULT.lease(short)), (short, day));
    let long = day * 2;
    assert_eq!(spans(Policy::DEFAULT.lease(long)), (long, long + tick));
    assert_eq!(
        spans(Policy::DEFAULT.lease(short).retention(day)),
        (short, day)
    );
    // A span below a millisecond is one in the file, and not none.
    let (ledger, clock) = in_memory();
    let nanosecond = Duration::from_nanos(1);
    assert!(Policy::DEFAULT.retention(nanosecond).check().is_err());
    let tiny = Policy::DEFAULT
        .lease(nanosecond)
        .retention(tick + nanosecond);
    let tiny = PAYMENTS.policy(tiny);
    complete(&ledger, &tiny, "k");
    clock.advance(tick);
    let _ = ask(&ledger, &tiny, "k").replay();
    clock.advance(tick);
    let _ = ask(&ledger, &tiny, "k").fresh();
}

#[test]
fn a_record_keeps_the_policy_it_was_claimed_under() {
    let (ledger, clock) = in_memory();
    let long = PAYMENTS.policy(
        Policy::DEFAULT
            .lease(seconds(100))
            .retention(seconds(1_000)),
    );
    let short = PAYMENTS.policy(Policy::DEFAULT.lease(seconds(1)).retention(seconds(10)));
    let claim = ask(&ledger, &long, "k").fresh();
    clock.advance(seconds(99));
    assert!(matches!(
        ask(&ledger, &short, "k").refused(),
        Refusal::InProgress { .. }
    ));
    let stored = claim.complete("done").expect("stored");
    let expires_at = stored.completed_at().saturating_add(seconds(1_000));
    assert_eq!(stored.expires_at(), expires_at);
    let version = || ledger.stats().expect("counts").namespaces[0].policy_version;
    assert_eq!(version(), 1, "refusals and endings write no policy");
    complete(&ledger, &short, "k2");
    assert_eq!(version(), 2);
    let info = |text: &str| {
        let info = ledger.record(PAYMENTS, &key(text)).peek().expect("reads");
        info.expect("there").policy_version()
    };
    assert_eq!((info("k"), info("k2")), (1, 2));
}

#[test]
fn a_record_quota_refuses_the_first_claim_above_it() {
    let (ledger, clock) = in_memory();
    let policy = Policy::DEFAULT.records_max(3).retention(seconds(60));
    let small = PAYMENTS.policy(policy);
    let refusal = Refusal::Quota {
        records_max: Some(3),
        bytes_max: None,
    };
    complete(&ledger, &small, "1");
    complete(&ledger, &small, "2");
    let third = ask(&ledger, &small, "3").fresh();
    let before = ledger.stats().expect("counts");
    assert_eq!(ask(&ledger, &small, "4").refused(), refusal);
    let after = ledger.stats().expect("counts");
    assert_eq!(after.commits, before.commits);
    assert_eq!(held(after), held(before));
    // What is there goes on: replays, endings, and other namespaces.
    let _ = ask(&ledger, &small, "1").replay();
    third.checkpoint("a", b"1").expect("an ending has room");
    third.complete("done").expect("an ending has room");
    complete(&ledger, &Namespace::new("another"), "4");
    assert_eq!(ask(&ledger, &small, "4").refused(), refusal);
    // What has expired does not count, swept or not.
    clock.advance(seconds(60));
    let expired = ledger.stats().expect("counts").namespaces[1].expired;
    assert_eq!(expired, 3);
    for text in ["4", "5", "6"] {
        complete(&ledger, &small, text);
    }
    assert_eq!(ask(&ledger, &small, "7").refused(), refusal);
    assert!(ledger.check().expect("checks").is_clean());
}

#[test]
fn an_interrupted_key_is_taken_over_in_a_full_namespace() {
    let (ledger, _) = in_memory();
    let policy = Policy::DEFAULT
        .records_max(1)
        .on_interrupted(OnInterrupted::Rerun);
    let small = PAYMENTS.policy(policy);
    drop(ask(&ledger, &small, "k").fresh());
    let claim = ask(&ledger, &small, "k").fresh();
    assert_eq!(claim.attempt(), 2);
    drop(claim);
    assert!(matches!(
        ask(&ledger, &small, "other").refused(),
        Refusal::Quota { .. }
    ));
    let claim = ask(&ledger, &small, "k").fresh();
    claim.release().expect("released");
    complete(&ledger, &small, "other");
}

#[test]
fn ones_own_expired_answer_makes_room_for_the_same_key() {
    let (ledger, clock) = in_memory();
    let policy = Policy::DEFAULT.records_max(1).retention(seconds(60));
    let small = PAYMENTS.policy(policy);
    complete(&ledger, &small, "k");
    assert!(matches!(
        ask(&ledger, &small, "other").refused(),
        Refusal::Quota { .. }
    ));
    clock.advance(seconds(60));
    complete(&ledger, &small, "k");
    assert_eq!(ledger.stats().expect("counts").records(), 1);
    assert!(ledger.check().expect("checks").is_clean());
}

#[test]
fn a_byte_quota_refuses_new_claims_once_it_is_reached() {
    let (ledger, _) = in_memory();
    let bytes = || ledger.stats().expect("counts").namespaces[0].bytes;
    // What one completed record of this kind takes.
    complete(&ledger, &PAYMENTS, "1");
    let one = bytes();
    complete(&ledger, &PAYMENTS, "2");
    let (reached, below) = (bytes(), bytes() + 1);
    assert_eq!(reached, one * 2);
    let with = |bytes_max: u64| PAYMENTS.policy(Policy::DEFAULT.bytes_max(bytes_max));
    let refusal = |bytes_max: u64| Refusal::Quota {
        records_max: None,
        bytes_max: Some(bytes_max),
    };
    assert_eq!(
        ask(&ledger, &with(reached), "3").refused(),
        refusal(reached)
    );
    assert_eq!(
        ask(&ledger, &with(reached - 1), "3").refused(),
        refusal(reached - 1)
    );
    // One byte of room is room for a claim, whose ending is never refused.
    let claim = ask(&ledger, &with(below), "3").fresh();
    claim.complete(vec![7; 1_000]).expect("an ending has room");
    assert!(bytes() > below);
    assert_eq!(ask(&ledger, &with(below), "4").refused(), refusal(below));
    let _ = ask(&ledger, &with(below), "3").replay();
}

#[test]
fn a_full_namespace_sweeps_all_that_has_expired_before_it_refuses() {
    let (ledger, clock) = in_memory();
    let policy = Policy::DEFAULT.records_max(1_000).retention(seconds(60));
    let small = PAYMENTS.policy(policy);
    let fill = |name: &str, count: usize| {
        let txn = ledger.write().expect("begins");
        for number in 0..count {
            let text = format!("{name}-{number}");
            let request = ledger.operation(small.clone(), &key(&text), asked());
            match request.begin_in(&txn) {
                Ok(BeginIn::Fresh(claim)) => drop(claim.complete("done").expect("stored")),
                other => panic!("expected a claim, got {other:?}"),
            }
        }
        let _ = txn.commit().expect("commits");
    };
    fill("old", 999);
    clock.advance(seconds(30));
    fill("new", 1);
    clock.advance(seconds(30));
    // One counts, 999 wait for a sweep: there is room for 999.
    fill("newer", 999);
    let begun = ask(&ledger, &small, "one more");
    assert!(matches!(begun.refused(), Refusal::Quota { .. }));
}

#[test]
fn the_writer_is_waited_for_as_long_as_the_busy_timeout() {
    let (ledger, clock) = in_memory();
    let ending = begin(&ledger, "ending").fresh();
    std::thread::scope(|scope| {
        let held = ledger.write().expect("begins");
        let claims = scope.spawn(|| {
            let request = ledger.operation(PAYMENTS, &key("k"), Fingerprint::NONE);
            request.begin()
        });
        let ends = scope.spawn(|| ending.complete("done").map(drop).map_err(|it| it.error));
        idempotency_tests::until("both queue", || clock.waiting() == 2);
        clock.advance(seconds(5) - Duration::from_millis(1));
        idempotency_tests::until("both wait on", || clock.waiting() == 2);
        clock.advance(Duration::from_millis(1));
        let refused = claims.join().expect("no panic");
        let Err(Error::Busy { waited }) = refused else {
            panic!("expected busy, got {refused:?}");
        };
        assert_eq!(waited, seconds(5));
        // An ending waits as long as it takes.
        clock.advance(seconds(50));
        held.abort();
        ends.join().expect("no panic").expect("stored");
    });
    let nothing = ledger.record(PAYMENTS, &key("k")).peek().expect("reads");
    assert_eq!(nothing, None);
}
