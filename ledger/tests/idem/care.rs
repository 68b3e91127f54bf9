//! `resolve`, `forget`, and the care of the file.

use std::fs;
use std::path::Path;

use idempotency_ledger::http::{HttpAnswer, scope_of};
use idempotency_ledger::{Fingerprint, FingerprintAlgorithm, Key, Ledger, Namespace, Response};

use crate::desk::{Desk, open_gate};

#[test]
fn a_resolved_key_replays_what_the_person_supplied() {
    let desk = Desk::new();
    desk.exec("k", &[], "exit 1");
    fs::write(desk.path("out"), "paid\n").unwrap();
    fs::write(desk.path("err"), "late\n").unwrap();
    let words = [
        "resolve",
        "k",
        "--complete",
        "out",
        "--stderr",
        "err",
        "--exit-code",
        "5",
    ];
    let resolved = desk.run(&words);
    assert_eq!(resolved.code, 0, "{resolved:?}");
    let replay = desk.exec("k", &["--quiet"], "exit 1");
    assert_eq!(
        (replay.code, replay.out.as_str(), replay.err.as_str()),
        (5, "paid\n", "late\n")
    );
}

/// A ledger whose request over HTTP was interrupted, as the middleware leaves it.
fn with_interrupted_request(desk: &Desk) -> (Key, Vec<u8>) {
    interrupt_request(desk.ledger())
}

pub(crate) fn interrupt_request(path: impl AsRef<Path>) -> (Key, Vec<u8>) {
    let ledger = Ledger::open(path).unwrap();
    let key = Key::new("order-17").unwrap();
    let scope = scope_of(&http::Method::POST, b"/charges", b"ann");
    let asked = Fingerprint::from_stored(FingerprintAlgorithm::Http, [17; 32]);
    let request = ledger.operation(CHARGES, &key, asked).scope(&scope);
    drop(request.begin().unwrap());
    ledger.close().unwrap();
    (key, scope)
}

const CHARGES: Namespace = Namespace::new("charges");

#[test]
fn an_interrupted_http_request_is_completed_with_an_http_answer() {
    let desk = Desk::new();
    let (key, scope) = with_interrupted_request(&desk);
    fs::write(desk.path("body"), "{\"id\":7}").unwrap();
    let scope_words = String::from_utf8(scope.clone()).unwrap();
    let place = [
        "order-17",
        "--namespace",
        "charges",
        "--scope",
        &scope_words,
    ];
    let resolve = |words: &[&str]| desk.run(&[&["resolve"], &place[..], words].concat());
    let shown = desk.run(&[&["show"], &place[..]].concat());
    assert!(shown.out.contains("--http STATUS --body FILE"), "{shown:?}");
    // What no retry could be sent is refused before it is stored, and the remedy is said.
    let refused = resolve(&["--complete", "body"]);
    assert_eq!(refused.code, 64, "{refused:?}");
    for word in ["nothing was written", "idem resolve --http"] {
        assert!(refused.err.contains(word), "{refused:?}");
    }
    for wrong in [
        &["--http", "99"][..],
        &["--http", "1000"],
        &["--http", "201", "--header", "no header"],
        &["--http", "201", "--header", "b\u{e4}d: x"],
        &["--http", "201", "--body", "missing"],
        &["--http", "201", "--release"],
        &["--http", "201", "--complete", "body"],
        &["--body", "body"],
    ] {
        assert_eq!(resolve(wrong).code, 64, "{wrong:?}");
    }
    let done = resolve(&[
        "--http",
        "201",
        "--header",
        "Content-Type: application/json",
        "--header",
        "location:/charges/7",
        "--body",
        "body",
    ]);
    assert_eq!(done.code, 0, "{done:?}");
    let ledger = Ledger::open(desk.ledger()).unwrap();
    let seen = ledger.record(CHARGES, &key).scope(&scope).peek().unwrap();
    let answer = HttpAnswer::new(201, "application/json", "{\"id\":7}");
    let wanted = Response::from(answer.header("location", "/charges/7"));
    assert_eq!(seen.unwrap().response(), Some(&wanted));
}

#[test]
fn a_released_key_runs_again() {
    let desk = Desk::new();
    let script = "echo ran >> effects; test -e ready";
    assert_eq!(desk.exec("k", &[], script).code, 1);
    assert_eq!(desk.run(&["resolve", "k", "--release"]).code, 0);
    fs::write(desk.path("ready"), "").unwrap();
    assert_eq!(desk.exec("k", &[], script).code, 0);
    assert_eq!(desk.effects(), 2);
}

#[test]
fn the_line_of_the_message_works_for_awkward_names() {
    let desk = Desk::new();
    let place = ["--namespace", "it's", "--scope", "a b"];
    let words = [
        "exec",
        "--key=-k $HOME",
        "--namespace",
        "it's",
        "--scope",
        "a b",
    ];
    let first = desk.run(&[&words[..], &["--", "false"]].concat());
    assert_eq!(first.code, 1, "{first:?}");
    let line = first
        .line_starting("idem resolve")
        .replacen("idem", "\"$IDEM\"", 1);
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", &line])
        .env("IDEM", env!("CARGO_BIN_EXE_idem"));
    let resolved = shell.output().unwrap();
    assert!(resolved.status.success(), "{line} {resolved:?}");
    assert_eq!(
        desk.run(&[&["show"], &place[..], &["--", "-k $HOME"]].concat())
            .code,
        66
    );
}

#[test]
fn resolving_what_is_not_interrupted_is_refused() {
    let desk = Desk::new();
    let gate = desk.pipe("gate");
    desk.exec("done", &[], "true");
    assert_eq!(desk.run(&["resolve", "done", "--release"]).code, 65);
    assert_eq!(desk.run(&["resolve", "unknown", "--release"]).code, 66);
    let run = desk.start("live", &[], "echo started; read x < gate");
    assert_eq!(desk.run(&["resolve", "live", "--release"]).code, 75);
    assert_eq!(desk.run(&["forget", "live"]).code, 75);
    open_gate(&gate);
    assert_eq!(run.finish().code, 0);
}

#[test]
fn an_old_line_does_not_resolve_a_newer_attempt() {
    let desk = Desk::new();
    desk.exec("k", &[], "false");
    let fence = desk.state("k")["fence"].to_string();
    desk.exec("k", &["--on-interrupted", "rerun"], "false");
    assert_eq!(
        desk.run(&["resolve", "k", "--release", "--fence", &fence])
            .code,
        65
    );
    assert_eq!(desk.state("k")["state"], "interrupted");
    let fence = desk.state("k")["fence"].to_string();
    assert_eq!(
        desk.run(&["resolve", "k", "--release", "--fence", &fence])
            .code,
        0
    );
}

#[test]
fn a_forgotten_key_is_fresh() {
    let desk = Desk::new();
    for (key, script) in [("done", "true"), ("half", "false")] {
        desk.exec(key, &[], script);
        assert_eq!(desk.run(&["forget", key]).code, 0);
        assert_eq!(desk.run(&["show", key]).code, 66);
        assert_eq!(desk.run(&["forget", key]).code, 66);
    }
}

#[test]
fn the_file_is_swept_compacted_checked_and_backed_up() {
    let desk = Desk::new();
    for key in ["a", "b", "c"] {
        assert_eq!(desk.exec(key, &[], "true").code, 0);
    }
    for words in [
        &["sweep"][..],
        &["compact"],
        &["check"],
        &["backup", "copy.redb"],
    ] {
        let answer = desk.run(words);
        assert_eq!(answer.code, 0, "{words:?} {answer:?}");
    }
    let copy = desk.run(&["--ledger", "copy.redb", "ls", "--json"]);
    assert_eq!((copy.code, copy.out.lines().count()), (0, 3), "{copy:?}");
    assert_ne!(desk.run(&["backup", "copy.redb"]).code, 0);
    assert_eq!(desk.run(&["confirm-clock"]).code, 0);
    assert_eq!(desk.run(&["accept-rollback"]).code, 0);
}

#[test]
fn damage_is_found_and_not_replayed() {
    let desk = Desk::new();
    let script = "echo the-stored-output-of-this-run";
    assert_eq!(desk.exec("k", &[], script).code, 0);
    let mut bytes = fs::read(desk.ledger()).unwrap();
    let text = b"the-stored-output";
    let at = bytes
        .windows(text.len())
        .position(|window| window == text)
        .unwrap();
    // Every copy: redb may have left an older page.
    let mut from = at;
    while let Some(next) = bytes[from..]
        .windows(text.len())
        .position(|window| window == text)
    {
        bytes[from + next] ^= 1;
        from += next + 1;
    }
    fs::write(desk.ledger(), &bytes).unwrap();
    for words in [
        &["exec", "--key", "k", "--", "sh", "-c", script][..],
        &[
            "exec", "--key", "k", "--verify", "never", "--", "sh", "-c", script,
        ],
        &["check"],
        &["show", "k"],
        &["ls"],
    ] {
        let answer = desk.run(words);
        assert_eq!(answer.code, 74, "{words:?} {answer:?}");
        assert!(
            !answer.out.contains("stored-output"),
            "{words:?} {answer:?}"
        );
    }
}

#[test]
fn an_older_file_is_refused_until_it_is_accepted() {
    let desk = Desk::new();
    assert_eq!(desk.exec("a", &[], "true").code, 0);
    fs::copy(desk.ledger(), desk.path("old")).unwrap();
    assert_eq!(desk.exec("b", &[], "true").code, 0);
    fs::copy(desk.path("old"), desk.ledger()).unwrap();
    let refused = desk.exec("b", &[], "true");
    assert_eq!(refused.code, 74, "{refused:?}");
    assert!(refused.err.contains("accept-rollback"), "{refused:?}");
    assert_eq!(desk.run(&["accept-rollback"]).code, 0);
    assert_eq!(desk.exec("b", &[], "true").code, 0);
}
