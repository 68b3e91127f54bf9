//! `PATCH /api/accounts/{id}`: a delta, made safe by key and version.

use crate::client::Call;
use crate::process::Place;

fn patch(id: &str, key: &str, delta: i64) -> Call {
    let call = Call::of("PATCH", &format!("/api/accounts/{id}")).key(key);
    call.json(&format!("{{\"delta\":{delta}}}"))
}

fn at(call: Call, version: u64) -> Call {
    call.header("if-match", format!("\"{version}\""))
}

#[test]
fn a_delta_is_applied_once_to_the_version_that_was_seen() {
    let place = Place::new();
    let server = place.start(&[]);
    let (balance, version) = server.account("alice");
    let call = at(patch("alice", "a", 250), version);
    let first = server.send(&call);
    assert_eq!((first.status, first.is_replay()), (200, false));
    assert_eq!(first.json()["balance"], balance + 250);
    let etag = first.header("etag").unwrap().to_owned();
    let (after, next) = server.account("alice");
    assert_eq!((after, etag), (balance + 250, format!("\"{next}\"")));
    // The retry has a stale version by now, and gets the first answer all the same.
    for _ in 0..3 {
        let retry = server.send(&call);
        assert!(retry.is_replay());
        assert_eq!((retry.status, &retry.body), (200, &first.body));
        assert_eq!(retry.header("etag"), first.header("etag"));
    }
    assert_eq!(server.account("alice"), (after, next));

    // Before anything is said of funds, since what is in the account may not be news either.
    let too_much = at(patch("alice", "c", -99_999_999), version);
    server
        .send(&too_much)
        .assert_problem(412, "version-conflict");
    let stale = at(patch("alice", "b", 250), version);
    for replays in [false, true] {
        let answer = server.send(&stale);
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (412, "version-conflict")
        );
        assert_eq!(answer.header("etag"), first.header("etag"));
        assert_eq!(answer.is_replay(), replays);
    }
    assert_eq!(server.account("alice"), (after, next));
    let other = at(patch("alice", "a", 251), version);
    server.send(&other).assert_problem(422, "mismatch");
}

#[test]
fn without_a_version_or_with_a_broken_one_nothing_changes() {
    let place = Place::new();
    let server = place.start(&[]);
    let before = (server.metrics(), server.account("alice"));
    let version = before.1.1;
    let unconditional = patch("alice", "a", 1);
    let answer = server.send(&unconditional);
    answer.assert_problem(428, "precondition-required");
    let now = format!("\"{version}\"");
    assert_eq!(answer.header("etag"), Some(now.as_str()));
    assert!(answer.text().contains(&format!("at version {version} ")));
    let unknown = server.send(&patch("nobody", "a", 1));
    unknown.assert_problem(404, "no-account");
    for broken in ["", "*", "\"x\"", "7", "W/\"7\"", "\"-1\"", "\"1\", \"2\""] {
        let call = patch("alice", "a", 1).header("if-match", broken);
        server.send(&call).assert_problem(400, "invalid-request");
    }
    let twice = at(at(patch("alice", "a", 1), version), version + 1);
    server.send(&twice).assert_problem(400, "invalid-request");
    assert_eq!((server.metrics(), server.account("alice")), before);
    // None of that has used the key up.
    assert_eq!(
        server.send(&at(patch("alice", "a", 1), version)).status,
        200
    );
}

#[test]
fn what_the_bank_refuses_changes_nothing() {
    let place = Place::new();
    let server = place.start(&[]);
    let before = server.account("shop");
    for (call, status, code) in [
        (at(patch("nobody", "a", 1), 1), 404, "no-account"),
        (
            at(patch("shop", "b", -1), before.1),
            402,
            "insufficient-funds",
        ),
        (
            at(patch("shop", "c", 1), before.1 + 1),
            412,
            "version-conflict",
        ),
        (at(patch("shop", "d", 1), 0), 412, "version-conflict"),
    ] {
        let answer = server.send(&call);
        assert_eq!((answer.status, answer.problem().as_str()), (status, code));
    }
    assert_eq!(server.account("shop"), before);
}

#[test]
fn of_two_deltas_for_one_version_one_is_applied() {
    let place = Place::new();
    let server = place.start(&[]);
    let (balance, version) = server.account("alice");
    let open: Vec<_> = (0..20)
        .map(|number| at(patch("alice", &format!("k-{number}"), 10), version).open(server.addr))
        .collect();
    let answers: Vec<_> = open
        .into_iter()
        .map(|open| open.answer().unwrap())
        .collect();
    let applied = answers.iter().filter(|answer| answer.status == 200).count();
    let refused = answers.iter().filter(|answer| answer.status == 412).count();
    assert_eq!((applied, refused), (1, 19));
    assert_eq!(server.account("alice").0, balance + 10);
}
