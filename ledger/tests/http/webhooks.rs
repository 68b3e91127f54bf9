//! `POST /webhooks/{source}`: each event counts once, and a forged one never.

use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use idempotency_ledger::{Clock, SystemClock};
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

/// An event that its sender has signed at this time, in seconds of Unix time.
struct Signed {
    secret: &'static str,
    time: u64,
    source: &'static str,
    id: &'static str,
    body: &'static str,
}

impl Signed {
    /// Signed now, by whom the server knows.
    fn new(source: &'static str, id: &'static str) -> Self {
        Self {
            secret: SECRET,
            time: now_s(),
            source,
            id,
            body: BODY,
        }
    }

    fn hex(&self) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).unwrap();
        let Self {
            time, source, id, ..
        } = self;
        mac.update(format!("{time}\n{source}/{id}\n{}", self.body).as_bytes());
        let mut text = String::new();
        for byte in mac.finalize().into_bytes() {
            write!(text, "{byte:02x}").unwrap();
        }
        text
    }

    fn header(&self) -> String {
        format!("t={},v1={}", self.time, self.hex())
    }

    fn call(&self) -> Call {
        event(self.source, self.id).header("webhook-signature", self.header())
    }
}

fn now_s() -> u64 {
    SystemClock::new().wall().unix_ms() / 1_000
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
    let genuine = Signed::new("shop", "evt-1");
    let before = server.metrics();
    let (time, hex) = (genuine.time, genuine.hex());
    let other = |secret, body| Signed {
        secret,
        body,
        ..Signed::new("shop", "evt-1")
    };
    let forged = [
        String::new(),
        "t=,v1=".to_owned(),
        hex.clone(),
        format!("v1={hex}"),
        format!("t={time}"),
        format!("t={time},v0={hex}"),
        format!("t=+{time},v1={hex}"),
        format!("t=0{time},v1={hex}"),
        format!("t={time},t={time},v1={hex}"),
        format!("t={time},v1={}", &hex[..hex.len() - 2]),
        format!("t={time},v1={hex}00"),
        format!("t={time},v1=zz{}", &hex[2..]),
        format!("t={time},v1=\u{e9}{}", &hex[2..]),
        other("whsec-2", BODY).header(),
        other(SECRET, "{\"paid\":26}").header(),
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
    assert_sighting(&server, &genuine.call(), "first");
    assert_ne!(server.metrics(), before);
    assert_sighting(&server, &genuine.call(), "repeat");
}

/// Who has seen one signed event must not be able to make others of it: that would suppress the
/// real ones, or work on the one event again.
#[test]
fn a_signature_is_of_one_event_of_one_source_at_one_time() {
    let place = Place::new();
    let server = place.start(&["--webhook-secret", SECRET]);
    let seen = Signed::new("shop", "evt-1");
    let before = server.metrics();
    let with = |call: Call, header: String| call.header("webhook-signature", header);
    let moved = [
        with(event("shop", "evt-2"), seen.header()),
        with(event("bank", "evt-1"), seen.header()),
        with(
            event("shop", "evt-1"),
            format!("t={},v1={}", seen.time + 1, seen.hex()),
        ),
    ];
    for moved in &moved {
        server.send(moved).assert_problem(401, "bad-signature");
    }
    // No border between the parts can be moved: these two are signed over other texts.
    let long = Signed {
        body: "c",
        ..Signed::new("a", "b")
    };
    let shifted = event("a", "b.c").body("application/json", "");
    let shifted = server.send(&with(shifted, long.header()));
    shifted.assert_problem(401, "bad-signature");
    assert_eq!(server.metrics(), before, "no record, and no commit");
    assert_sighting(&server, &seen.call(), "first");
}

#[test]
fn an_event_that_was_signed_long_ago_is_refused() {
    let place = Place::new();
    let server = place.start(&["--webhook-secret", SECRET]);
    let signed_at = |time| Signed {
        time,
        ..Signed::new("shop", "evt-1")
    };
    let now = now_s();
    // Far enough from the five minutes on either side that the time of this test does not count.
    for time in [0, now - 86_400, now - 302, now + 600, u64::MAX] {
        let refused = server.send(&signed_at(time).call());
        refused.assert_problem(401, "bad-signature");
    }
    assert_sighting(&server, &signed_at(now - 200).call(), "first");
    // The sender delivers again, and signs again.
    assert_sighting(&server, &signed_at(now + 100).call(), "repeat");
    // While it changes its secret it signs with both.
    let both = |time| {
        let other = Signed {
            secret: "whsec-2",
            ..signed_at(time)
        };
        format!("t={time},v1={},v1={}", other.hex(), signed_at(time).hex())
    };
    let both = event("shop", "evt-1").header("webhook-signature", both(now));
    assert_sighting(&server, &both, "repeat");
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
