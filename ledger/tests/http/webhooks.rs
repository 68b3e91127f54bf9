//! `POST /webhooks/{source}`: each event counts once, and a forged one never.

use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::client::Call;
use crate::process::{Place, Server};

const SECRET: &str = "whsec-1";
const BODY: &str = "{\"paid\":25}";

fn event(source: &str, id: &str) -> Call {
    Call::post(&format!("/webhooks/{source}"))
        .header("event-id", id)
        .json(BODY)
}

fn signature(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let mut text = "sha256=".to_owned();
    for byte in mac.finalize().into_bytes() {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

#[track_caller]
fn assert_sighting(server: &Server, call: &Call, sighting: &str) {
    let answer = server.send(call);
    let body = format!("{{\"sighting\":\"{sighting}\"}}");
    assert_eq!((answer.status, answer.text()), (200, body.as_str()));
}

#[test]
fn an_event_counts_once_in_its_source_also_after_a_restart() {
    let place = Place::new();
    let server = place.start(&[]);
    for (source, id) in [("shop", "evt-1"), ("shop", "evt-2"), ("bank", "evt-1")] {
        assert_sighting(&server, &event(source, id), "first");
        assert_sighting(&server, &event(source, id), "repeat");
    }
    server.kill();
    let server = place.start(&[]);
    assert_sighting(&server, &event("shop", "evt-1"), "repeat");
    assert_sighting(&server, &event("shop", "evt-3"), "first");
}

#[test]
fn sources_and_ids_do_not_run_into_each_other() {
    let place = Place::new();
    let server = place.start(&[]);
    assert_sighting(&server, &event("a", "b/c"), "first");
    let other = server.send(&event("a%2Fb", "c"));
    other.assert_problem(400, "invalid-request");
    assert_sighting(&server, &event("a", "b/c"), "repeat");
}

#[test]
fn a_missing_or_forged_signature_never_touches_the_ledger() {
    let place = Place::new();
    let server = place.start(&["--webhook-secret", SECRET]);
    let genuine = signature(SECRET, BODY);
    let before = server.metrics();
    let forged = [
        String::new(),
        "sha256=".to_owned(),
        genuine.trim_start_matches("sha256=").to_owned(),
        signature("whsec-2", BODY),
        signature(SECRET, "{\"paid\":26}"),
        genuine[..genuine.len() - 2].to_owned(),
        format!("{genuine}00"),
        format!("sha1={}", &genuine[7..]),
        format!("sha256=zz{}", &genuine[9..]),
    ];
    for forged in &forged {
        let call = event("shop", "evt-1").header("webhook-signature", forged);
        server.send(&call).assert_problem(401, "bad-signature");
    }
    server
        .send(&event("shop", "evt-1"))
        .assert_problem(401, "bad-signature");
    // A forged event without an id is told no more than a forged one with it.
    let nameless = Call::post("/webhooks/shop").json(BODY);
    server.send(&nameless).assert_problem(401, "bad-signature");
    assert_eq!(server.metrics(), before, "no record, and no commit");
    let signed = event("shop", "evt-1").header("webhook-signature", &genuine);
    assert_sighting(&server, &signed, "first");
    assert_ne!(server.metrics(), before);
    assert_sighting(&server, &signed, "repeat");
}

#[test]
fn an_event_without_a_usable_id_is_refused() {
    let place = Place::new();
    let server = place.start(&[]);
    let before = server.metrics();
    let missing = Call::post("/webhooks/shop").json(BODY);
    server
        .send(&missing)
        .assert_problem(400, "missing-event-id");
    for wrong in [
        event("shop", ""),
        event("shop", &"e".repeat(256)),
        event("shop", "\u{e9}"),
    ] {
        server.send(&wrong).assert_problem(400, "invalid-event-id");
    }
    let twice = event("shop", "evt-1").header("event-id", "evt-2");
    server.send(&twice).assert_problem(400, "invalid-event-id");
    let unreadable = event("%ff", "evt-1");
    server
        .send(&unreadable)
        .assert_problem(400, "invalid-request");
    let large = Call::post("/webhooks/shop").header("event-id", "evt-1");
    let large = large.body("text/plain", vec![b'a'; 3 * 1024 * 1024]);
    server.send(&large).assert_problem(413, "payload-too-large");
    assert_eq!(server.metrics(), before);
}

#[test]
fn of_twenty_deliveries_at_once_one_is_the_first() {
    let place = Place::new();
    let server = place.start(&[]);
    let open: Vec<_> = (0..20)
        .map(|_| event("shop", "evt-1").open(server.addr))
        .collect();
    let answers: Vec<_> = open
        .into_iter()
        .map(|open| open.answer().unwrap())
        .collect();
    let first = answers
        .iter()
        .filter(|answer| answer.text().contains("first"));
    assert_eq!(first.count(), 1);
    let repeats = answers
        .iter()
        .filter(|answer| answer.text().contains("repeat"));
    assert_eq!(repeats.count(), 19);
}
