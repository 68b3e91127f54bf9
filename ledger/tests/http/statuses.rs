//! What a status means for the key.

use idempotency_ledger::http::{Disposition, HttpPolicy};

use crate::client::Call;
use crate::shop::Shop;

/// What becomes of the key of a handler that answers so, and what a retry gets.
fn after(shop: &Shop, call: &Call, status: u16) -> &'static str {
    let calls = shop.calls();
    let call = call.clone().header("x-status", status.to_string());
    let first = call.send(shop.addr());
    assert_eq!((first.status, shop.calls()), (status, calls + 1));
    assert!(!first.is_replay());
    let retry = call.send(shop.addr());
    if retry.is_replay() {
        assert_eq!((retry.status, &retry.body), (status, &first.body));
        assert_eq!(shop.calls(), calls + 1);
        return "stored";
    }
    if shop.calls() == calls + 2 {
        assert_eq!(retry.status, status);
        return "free";
    }
    retry.assert_problem(409, "interrupted");
    assert_eq!(shop.calls(), calls + 1);
    "interrupted"
}

const STORED: [u16; 22] = [
    200, 201, 202, 203, 204, 206, 300, 301, 302, 303, 307, 308, 400, 402, 403, 404, 410, 412, 415,
    422, 428, 451,
];
const FREE: [u16; 4] = [401, 409, 425, 429];
const UNKNOWN: [u16; 7] = [408, 500, 501, 502, 503, 504, 599];

fn all() -> impl Iterator<Item = (u16, &'static str)> {
    let table = [
        (&STORED[..], "stored"),
        (&FREE, "free"),
        (&UNKNOWN, "interrupted"),
    ];
    table
        .into_iter()
        .flat_map(|(statuses, end)| statuses.iter().map(move |status| (*status, end)))
}

#[test]
fn a_status_is_stored_or_frees_the_key_or_leaves_it_interrupted() {
    let shop = Shop::new(HttpPolicy::new());
    for (status, end) in all() {
        let call = Call::post("/pay").key(&format!("plain-{status}"));
        assert_eq!(after(&shop, &call, status), end, "{status}");
    }
}

#[test]
fn nothing_happened_frees_what_would_be_interrupted_and_nothing_else() {
    let shop = Shop::new(HttpPolicy::new());
    for (status, end) in all() {
        let call = Call::post("/pay").key(&format!("nothing-{status}"));
        let end = if end == "interrupted" { "free" } else { end };
        let call = call.header("x-nothing", "");
        assert_eq!(after(&shop, &call, status), end, "{status}");
    }
}

#[test]
fn a_checkpoint_keeps_the_key_from_being_freed() {
    let shop = Shop::new(HttpPolicy::new());
    for says_nothing in [false, true] {
        for (status, end) in all() {
            let call = Call::post("/pay").key(&format!("half-{status}-{says_nothing}"));
            let call = call.header("x-checkpoint", "");
            let call = if says_nothing {
                call.header("x-nothing", "")
            } else {
                call
            };
            let end = if end == "free" { "interrupted" } else { end };
            assert_eq!(after(&shop, &call, status), end, "{status}");
        }
    }
}

#[test]
fn the_table_is_a_policy() {
    let policy = HttpPolicy::new().dispositions(|status| match status.as_u16() {
        500 => Disposition::Store,
        200 => Disposition::Interrupt,
        404 => Disposition::Release,
        other => Disposition::of_status(other),
    });
    let shop = Shop::new(policy);
    let ends = [
        (500, "stored"),
        (200, "interrupted"),
        (404, "free"),
        (201, "stored"),
    ];
    for (status, end) in ends {
        let call = Call::post("/pay").key(&status.to_string());
        assert_eq!(after(&shop, &call, status), end, "{status}");
    }
}
