//! Every `Demo-Fault`, for charges and for transfers, and what is true afterwards.

use crate::client::{Answer, Call};
use crate::process::{Place, Server, charge, transfer};

fn with(call: &Call, fault: &str) -> Call {
    call.clone().header("demo-fault", fault)
}

/// What the bank did: charges in the network's file, and transfers.
fn effects(place: &Place, server: &Server) -> (usize, usize) {
    let transfers = server.get("/api/transfers");
    (place.charges().len(), transfers.as_array().unwrap().len())
}

fn both() -> [Call; 2] {
    [charge("a", 25), transfer("a", 25)]
}

#[track_caller]
fn assert_ran(answer: &Answer, is_replay: bool) {
    assert_eq!(
        (answer.status, answer.is_replay()),
        (201, is_replay),
        "{answer:?}"
    );
}

#[test]
fn a_request_that_is_lost_did_nothing_and_its_retry_runs() {
    let place = Place::new();
    let server = place.start(&["--faults"]);
    let before = server.metrics();
    for call in both() {
        let lost = with(&call, "fail-before").try_send(server.addr);
        assert!(lost.is_err(), "{lost:?}");
    }
    assert_eq!(server.metrics(), before);
    assert_eq!(effects(&place, &server), (0, 0));
    for call in both() {
        assert_ran(&server.send(&call), false);
    }
}

#[test]
fn an_answer_that_is_lost_is_replayed() {
    let place = Place::new();
    let server = place.start(&["--faults"]);
    for call in both() {
        let lost = with(&call, "lose-response").try_send(server.addr);
        assert!(lost.is_err(), "{lost:?}");
        for _ in 0..2 {
            assert_ran(&server.send(&call), true);
        }
    }
    assert_eq!(effects(&place, &server), (1, 1));
}

#[test]
fn a_failure_before_the_effect_frees_the_key() {
    let place = Place::new();
    let server = place.start(&["--faults"]);
    for call in both() {
        let failed = server.send(&with(&call, "error-500"));
        assert_eq!(
            (failed.status, failed.problem().as_str()),
            (500, "demo-fault")
        );
    }
    assert_eq!(effects(&place, &server), (0, 0));
    for call in both() {
        assert_ran(&server.send(&call), false);
    }
    assert_eq!(effects(&place, &server), (1, 1));
}

#[test]
fn a_slow_charge_is_in_progress_and_a_slow_transfer_happens_once() {
    let place = Place::new();
    let server = place.start(&["--faults"]);
    let call = charge("a", 25);
    let slow = with(&call, "slow=60000").open(server.addr);
    crate::shop::until("it is claimed", || {
        server
            .metrics()
            .contains("idempotency_claimed{namespace=\"charges\"} 1")
    });
    server.send(&call).assert_problem(409, "in-progress");
    assert_eq!(effects(&place, &server), (0, 0));
    drop(slow);
    let call = transfer("a", 25);
    let slow = with(&call, "slow=20").open(server.addr);
    let quick = server.send(&call);
    let slow = slow.answer().unwrap();
    assert_eq!((slow.status, &slow.body), (201, &quick.body));
    assert_eq!(effects(&place, &server), (0, 1));
}

#[test]
fn a_charge_that_the_server_dies_behind_is_interrupted_and_is_not_repeated() {
    let place = Place::new();
    let server = place.start(&["--faults"]);
    let call = charge("a", 25);
    let lost = with(&call, "crash-after-effect").try_send(server.addr);
    assert!(lost.is_err());
    assert!(!server.ended().success());
    let server = place.start(&["--faults"]);
    for _ in 0..3 {
        server.send(&call).assert_problem(409, "interrupted");
        server
            .send(&with(&call, "crash-after-effect"))
            .assert_problem(409, "interrupted");
    }
    assert_eq!(effects(&place, &server), (1, 0));
    let effects = server.get("/api/effects");
    assert_eq!(effects[0]["count"], 1);
}

#[test]
fn a_transfer_that_the_server_dies_behind_is_replayed() {
    let place = Place::new();
    let server = place.start(&["--faults"]);
    let call = transfer("a", 25);
    let lost = with(&call, "crash-after-effect").try_send(server.addr);
    assert!(lost.is_err());
    assert!(!server.ended().success());
    let server = place.start(&["--faults"]);
    let retry = server.send(&call);
    assert_ran(&retry, true);
    // There is no effect any more behind which it could crash.
    assert_ran(&server.send(&with(&call, "crash-after-effect")), true);
    assert_eq!(effects(&place, &server), (0, 1));
    assert_eq!(server.account("alice").0, 99_975);
}

#[test]
fn a_server_that_is_killed_while_a_charge_is_slow_leaves_it_interrupted() {
    let place = Place::new();
    let server = place.start(&["--faults"]);
    let call = charge("a", 25);
    let slow = with(&call, "slow=60000").open(server.addr);
    crate::shop::until("it is claimed", || {
        server
            .metrics()
            .contains("idempotency_claimed{namespace=\"charges\"} 1")
    });
    server.kill();
    assert!(slow.answer().is_err());
    let server = place.start(&[]);
    // Nobody knows, although this time nothing happened.
    server.send(&call).assert_problem(409, "interrupted");
    assert_eq!(place.charges().len(), 0);
}

#[test]
fn a_fault_is_obeyed_only_where_that_is_allowed_and_only_if_it_is_one() {
    let place = Place::new();
    let server = place.start(&[]);
    for fault in [
        "fail-before",
        "error-500",
        "crash-after-effect",
        "lose-response",
    ] {
        assert_ran(&server.send(&with(&charge(fault, 25), fault)), false);
    }
    drop(server);
    let server = place.start(&["--faults"]);
    let before = server.metrics();
    for fault in ["", "slow", "slow=", "slow=-1", "slow=x", "crash"] {
        let answer = server.send(&with(&charge("z", 25), fault));
        answer.assert_problem(400, "invalid-fault");
    }
    assert_eq!(server.metrics(), before);
}

#[test]
fn with_faults_every_answer_ends_its_connection() {
    let place = Place::new();
    let server = place.start(&["--faults"]);
    let calls = [
        charge("a", 25),
        charge("a", 25),
        charge("a", 26),
        Call::post("/api/charges"),
        Call::get("/nowhere"),
        Call::get("/api/health"),
        Call::of("OPTIONS", "/api/charges")
            .header("origin", "https://shop.example")
            .header("access-control-request-method", "POST"),
        with(&charge("b", 25), "error-500"),
        with(&charge("b", 25), "no-such-fault"),
    ];
    for call in calls {
        // Without the wish of the client, which the server would follow anyway.
        let bytes = String::from_utf8(call.bytes()).unwrap();
        let bytes = bytes.replace("connection: close\r\n", "");
        let open = crate::client::Open::with(server.addr, bytes.as_bytes()).unwrap();
        let answer = open.answer().unwrap();
        assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
    }
}

#[test]
fn a_line_that_a_crash_cut_short_swallows_no_later_charge() {
    let place = Place::new();
    let torn = "{\"principal\":\"\",\"key\":\"torn\",\"amo";
    std::fs::write(place.path("shop.redb.network"), torn).unwrap();
    let server = place.start(&[]);
    assert_ran(&server.send(&charge("a", 25)), false);
    let effects = server.get("/api/effects");
    let charged = serde_json::json!([{"principal": "", "key": "a", "count": 1}]);
    assert_eq!(effects, charged);
}
