//! Bad input: a clear message, exit 64, and nothing written.

use std::fs;

use crate::desk::{Answer, Desk};

#[test]
fn wrong_calls_exit_64_and_write_nothing() {
    let desk = Desk::new();
    let long = "k".repeat(256);
    let good = ["--", "true"];
    for (words, named) in [
        (&["exec", "--key", ""][..], "key"),
        (&["exec", "--key", &long], "256 bytes"),
        (&["exec", "--key", "a\nb"], "control character"),
        (&["exec", "--key", "a\u{7f}b"], "control character"),
        (&["exec"], "--key"),
        (&["exec", "--key", "k", "--namespace", ""], "namespace"),
        (&["exec", "--key", "k", "--scope", &long], "scope"),
        (&["exec", "--key", "k", "--lease", "0s"], "lease"),
        (&["exec", "--key", "k", "--retention", "0s"], "retention"),
        (
            &["exec", "--key", "k", "--lease", "2h", "--retention", "1h"],
            "lease",
        ),
        (&["exec", "--key", "k", "--lease", "60"], "unit"),
        (&["exec", "--key", "k", "--wait", "soon"], "wait"),
        (
            &["exec", "--key", "k", "--on-failure", "ignore"],
            "on-failure",
        ),
        (
            &["exec", "--key", "k", "--release-exit", "0"],
            "release-exit",
        ),
        (
            &["exec", "--key", "k", "--release-exit", "137"],
            "release-exit",
        ),
        (
            &["exec", "--key", "k", "--no-stdin", "--ignore-stdin"],
            "cannot be used",
        ),
        (
            &[
                "exec",
                "--key",
                "k",
                "--no-fingerprint",
                "--fingerprint-cwd",
            ],
            "cannot be used",
        ),
        (
            &["exec", "--key", "k", "--fingerprint-file", "no-such-file"],
            "no-such-file",
        ),
        (
            &["exec", "--key", "k", "--status-file", "no/such/folder"],
            "no/such/folder",
        ),
        (&["exec", "--key", "k", "--bogus"], "--bogus"),
    ] {
        let answer = desk.run(&[words, &good].concat());
        assert_eq!(answer.code, 64, "{words:?} {answer:?}");
        assert!(answer.err.contains(named), "{named:?} in {answer:?}");
        assert_eq!(answer.out, "");
    }
    assert_eq!(fs::read_dir(desk.path(".")).unwrap().count(), 0);
}

#[test]
fn calls_that_lack_something_exit_64_and_write_nothing() {
    let desk = Desk::new();
    for words in [
        &["exec", "--key", "k"][..],
        &["exec", "--key", "k", "--"],
        &[],
        &["bogus"],
        &["show"],
        &["show", ""],
        &["resolve", "k"],
        &["resolve", "k", "--release", "--complete", "/dev/null"],
        &["resolve", "k", "--release", "--exit-code", "1"],
        &["resolve", "k", "--complete", "no-such-file"],
        &["forget", "a\nb"],
        &["ls", "--state", "lost"],
        &["--ledger", "", "ls"],
    ] {
        let answer = desk.run(words);
        assert_eq!(answer.code, 64, "{words:?} {answer:?}");
    }
    assert_eq!(fs::read_dir(desk.path(".")).unwrap().count(), 0);
}

#[test]
fn the_longest_key_is_a_key() {
    let desk = Desk::new();
    assert_eq!(desk.exec(&"k".repeat(255), &[], "true").code, 0);
}

#[test]
fn help_and_version_are_answers() {
    let desk = Desk::new();
    for words in [
        &["--help"][..],
        &["--version"],
        &["exec", "--help"],
        &["help", "resolve"],
    ] {
        let answer = desk.run(words);
        assert_eq!((answer.code, answer.err.as_str()), (0, ""), "{words:?}");
        assert!(!answer.out.is_empty());
    }
}

#[test]
fn without_a_place_there_is_no_ledger() {
    let desk = Desk::new();
    let mut command = desk.idem(&["ls"]);
    command.env_remove("IDEM_LEDGER").env_remove("HOME");
    let answer = Answer::of(command.output().unwrap());
    assert_eq!(answer.code, 64, "{answer:?}");
    assert!(answer.err.contains("IDEM_LEDGER"), "{answer:?}");
}

#[test]
fn a_named_place_whose_folder_is_missing_is_not_made_up() {
    let desk = Desk::new();
    let answer = desk.run(&[
        "--ledger",
        "no/such/ledger",
        "exec",
        "--key",
        "k",
        "--",
        "true",
    ]);
    assert_eq!(answer.code, 74, "{answer:?}");
    assert!(answer.err.contains("no/such/ledger"), "{answer:?}");
    assert!(!desk.path("no").exists());
}

#[test]
fn a_file_that_is_no_ledger_is_left_alone() {
    let desk = Desk::new();
    let text = "dear diary\n".repeat(1_000);
    fs::write(desk.ledger(), &text).unwrap();
    for words in [
        &["exec", "--key", "k", "--", "true"][..],
        &["ls"],
        &["check"],
        &["sweep"],
    ] {
        let answer = desk.run(words);
        assert_eq!(answer.code, 74, "{words:?} {answer:?}");
        assert!(answer.err.contains("ledger.redb"), "{answer:?}");
    }
    assert_eq!(fs::read_to_string(desk.ledger()).unwrap(), text);
}

#[test]
fn a_ledger_that_a_program_has_for_itself_is_not_waited_for() {
    let desk = Desk::new();
    let _owner = idempotency_ledger::Ledger::open(desk.ledger()).unwrap();
    let answer = desk.exec("k", &[], "echo ran >> effects");
    assert_eq!(answer.code, 74, "{answer:?}");
    assert!(answer.err.contains("open"), "{answer:?}");
    assert_eq!(desk.effects(), 0);
}
