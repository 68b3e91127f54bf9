//! The claim while its command runs: renewed, overdue, or lost.

use std::fs;

use crate::desk::{Desk, open_gate};

const SCRIPT: &str = "echo started; read x < gate; echo done";

/// Asks for the record until it fits.
fn until_state(desk: &Desk, fits: impl Fn(&serde_json::Value) -> bool) {
    let show = || desk.run(&["show", "k", "--json"]);
    crate::desk::until(show, |answer| {
        fits(&serde_json::from_str(&answer.out).unwrap())
    });
}

#[test]
fn the_lease_is_renewed_while_the_command_runs() {
    let desk = Desk::new();
    let gate = desk.pipe("gate");
    let run = desk.start("k", &["--lease", "3s"], SCRIPT);
    let first = desk.state("k")["lease_until"].clone();
    until_state(&desk, |state| state["lease_until"] != first);
    assert_eq!(desk.state("k")["state"], "claimed");
    open_gate(&gate);
    assert_eq!(run.finish().code, 0);
}

#[test]
fn a_stopped_idem_is_overdue_and_not_taken_over() {
    let desk = Desk::new();
    let gate = desk.pipe("gate");
    let run = desk.start("k", &["--lease", "300ms"], SCRIPT);
    run.signal("STOP");
    until_state(&desk, |state| state["state"] == "interrupted");
    assert_eq!(desk.state("k")["overdue"], true);
    assert_eq!(desk.exec("k", &["--lease", "300ms"], SCRIPT).code, 70);
    for words in [
        &[
            "exec",
            "--key",
            "k",
            "--on-interrupted",
            "rerun",
            "--",
            "sh",
            "-c",
            SCRIPT,
        ][..],
        &["resolve", "k", "--release"],
        &["forget", "k"],
    ] {
        let answer = desk.run(words);
        assert_eq!(answer.code, 75, "{words:?} {answer:?}");
    }
    run.signal("CONT");
    open_gate(&gate);
    assert_eq!(run.finish().code, 0);
    assert_eq!(desk.exec("k", &["--quiet"], SCRIPT).out, "started\ndone\n");
}

#[test]
fn a_result_that_cannot_be_stored_keeps_the_commands_code() {
    let desk = Desk::new();
    let gate = desk.pipe("gate");
    let run = desk.start("k", &["--status-file", "status"], SCRIPT);
    fs::rename(desk.ledger(), desk.path("moved.redb")).unwrap();
    open_gate(&gate);
    let answer = run.finish();
    assert_eq!(
        (answer.code, answer.out.as_str()),
        (0, "done\n"),
        "{answer:?}"
    );
    assert!(
        answer.err.contains("warning") && answer.err.contains("not stored"),
        "{answer:?}"
    );
    let status = fs::read_to_string(desk.path("status")).unwrap();
    assert!(
        status.contains(r#""outcome":"unknown","reason":"storage""#),
        "{status}"
    );
    // Back in its place the ledger says what is known: the attempt began.
    fs::rename(desk.path("moved.redb"), desk.ledger()).unwrap();
    assert_eq!(desk.state("k")["state"], "interrupted");
}
