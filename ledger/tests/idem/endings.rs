//! What each ending of the command means for its key, its exit code and the status file.

use std::fs;

use idempotency_ledger::Timestamp;

use crate::desk::Desk;

/// What the status file says: outcome, reason, exit code of the command, exit code of `idem`.
fn status(desk: &Desk) -> (String, String, Option<i64>, i64) {
    let line = fs::read_to_string(desk.path("status")).unwrap();
    let status: serde_json::Value = serde_json::from_str(&line).unwrap();
    let text = |name: &str| status[name].as_str().unwrap_or_default().to_owned();
    let code = status["child"]["exit_code"].as_i64();
    (
        text("outcome"),
        text("reason"),
        code,
        status["exit"].as_i64().unwrap(),
    )
}

fn now_ms(desk: &Desk) -> Option<u64> {
    let line = fs::read_to_string(desk.path("status")).unwrap();
    let status: serde_json::Value = serde_json::from_str(&line).unwrap();
    status["now_ms"].as_u64()
}

fn expect(desk: &Desk, outcome: &str, reason: &str, code: Option<i64>, exit: i64) {
    assert_eq!(
        status(desk),
        (outcome.to_owned(), reason.to_owned(), code, exit)
    );
}

const STATUS: [&str; 2] = ["--status-file", "status"];

#[test]
fn a_failure_is_an_unknown_outcome() {
    let desk = Desk::new();
    let first = desk.exec("k", &STATUS, "echo half; exit 70");
    assert_eq!((first.code, first.out.as_str()), (70, "half\n"));
    assert!(first.err.contains("idem resolve"), "{first:?}");
    // The same number twice; the status file tells whose it is.
    expect(&desk, "interrupted", "", Some(70), 70);
    let second = desk.exec("k", &STATUS, "echo half; exit 70");
    assert_eq!((second.code, second.out.as_str()), (70, ""));
    expect(&desk, "refused", "interrupted", None, 70);
    assert_eq!(desk.state("k")["state"], "interrupted");
}

#[test]
fn on_failure_release_runs_again() {
    let desk = Desk::new();
    let options = [&STATUS[..], &["--on-failure", "release"]].concat();
    let script = "echo ran >> effects; exit 1";
    for _ in 0..2 {
        assert_eq!(desk.exec("k", &options, script).code, 1);
        expect(&desk, "released", "", Some(1), 1);
    }
    assert_eq!(desk.effects(), 2);
    assert_eq!(desk.run(&["show", "k"]).code, 66);
}

#[test]
fn on_failure_keep_is_a_result() {
    let desk = Desk::new();
    let options = [&STATUS[..], &["--on-failure", "keep"]].concat();
    let script = "echo ran >> effects; echo declined; exit 3";
    assert_eq!(desk.exec("k", &options, script).code, 3);
    expect(&desk, "completed", "", Some(3), 3);
    let second = desk.exec("k", &options, script);
    assert_eq!((second.code, second.out.as_str()), (3, "declined\n"));
    expect(&desk, "replayed", "", Some(3), 3);
    assert_eq!(desk.effects(), 1);
}

#[test]
fn only_the_codes_of_release_exit_release() {
    let desk = Desk::new();
    let options = ["--release-exit", "6,7"];
    for (key, code, left) in [("a", "6", 66), ("b", "7", 66), ("c", "8", 0)] {
        assert_eq!(
            desk.exec(key, &options, &format!("exit {code}"))
                .code
                .to_string(),
            code
        );
        assert_eq!(desk.run(&["show", key]).code, left, "{code}");
    }
}

#[test]
fn neither_a_signal_nor_a_code_of_one_releases() {
    let desk = Desk::new();
    let options = [&STATUS[..], &["--on-failure", "release"]].concat();
    assert_eq!(desk.exec("a", &options, "kill -9 $$").code, 137);
    let line = fs::read_to_string(desk.path("status")).unwrap();
    assert!(
        line.contains(r#""child":{"exit_code":null,"signal":9}"#),
        "{line}"
    );
    assert_eq!(desk.exec("b", &options, "exit 137").code, 137);
    expect(&desk, "interrupted", "", Some(137), 137);
    for key in ["a", "b"] {
        assert_eq!(desk.state(key)["state"], "interrupted");
    }
}

#[test]
fn a_kept_death_is_replayed_as_the_shell_says_it() {
    let desk = Desk::new();
    let options = ["--on-failure", "keep"];
    for _ in 0..2 {
        assert_eq!(desk.exec("k", &options, "kill -TERM $$").code, 143);
    }
    assert_eq!(desk.state("k")["response"]["run"]["signal"], 15);
}

#[test]
fn a_command_that_cannot_start_leaves_nothing() {
    let desk = Desk::new();
    fs::write(desk.path("no-program"), "x").unwrap();
    for (program, code) in [("./no-such-program", 127), ("./no-program", 126)] {
        for _ in 0..2 {
            let words = [&["exec", "--key", "k"], &STATUS[..], &["--", program]].concat();
            let answer = desk.run(&words);
            assert_eq!(answer.code, code, "{answer:?}");
            assert!(answer.err.contains(program), "{answer:?}");
            expect(&desk, "released", "not-started", None, code.into());
        }
        assert_eq!(desk.run(&["show", "k"]).code, 66);
    }
    // A shell that says 127 about one of its own did start, and may have done something.
    assert_eq!(desk.exec("k", &[], "no-such-program-at-all").code, 127);
    assert_eq!(desk.state("k")["state"], "interrupted");
}

#[test]
fn the_status_file_tells_each_outcome() {
    let desk = Desk::new();
    assert_eq!(desk.exec("k", &STATUS, "exit 0").code, 0);
    expect(&desk, "completed", "", Some(0), 0);
    let line = fs::read_to_string(desk.path("status")).unwrap();
    assert!(
        line.ends_with("}\n") && line.contains(r#""fence":1,"attempt":1"#),
        "{line}"
    );
    assert_eq!(desk.exec("k", &STATUS, "exit 0").code, 0);
    expect(&desk, "replayed", "", Some(0), 0);
    assert_eq!(desk.exec("k", &STATUS, "exit 1").code, 65);
    expect(&desk, "refused", "mismatch", None, 65);
}

#[test]
fn an_old_key_is_stale_where_that_is_asked_for() {
    let desk = Desk::new();
    let old = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";
    let options = [&STATUS[..], &["--refuse-stale-keys"]].concat();
    let answer = desk.exec(old, &options, "echo ran >> effects");
    assert_eq!(answer.code, 68, "{answer:?}");
    expect(&desk, "refused", "stale", None, 68);
    // The ledger's time, to make a new key by.
    let now_ms = now_ms(&desk).unwrap();
    assert!(now_ms > 1_767_225_600_000, "{now_ms}");
    let said = Timestamp::from_unix_ms(now_ms).to_string();
    assert!(answer.err.contains(&said), "{said}: {answer:?}");
    assert_eq!(desk.exec(old, &[], "echo ran >> effects").code, 0);
    assert_eq!(desk.effects(), 1);
}

#[test]
fn rerun_takes_an_interrupted_key_over() {
    let desk = Desk::new();
    let script = "echo $IDEM_ATTEMPT; test $IDEM_ATTEMPT = 2";
    assert_eq!(desk.exec("k", &[], script).code, 1);
    assert_eq!(desk.exec("k", &[], script).code, 70);
    let second = desk.exec("k", &["--on-interrupted", "rerun"], script);
    assert_eq!((second.code, second.out.as_str()), (0, "2\n"), "{second:?}");
    assert_eq!(desk.state("k")["attempts"], 2);
}
