//! What makes a retry the same request, and what does not.

use std::fs;

use crate::desk::{Answer, Desk};

#[test]
fn other_arguments_are_a_mismatch_and_poison_nothing() {
    let desk = Desk::new();
    assert_eq!(desk.exec("k", &[], "echo 25 EUR").code, 0);
    let other = desk.exec("k", &[], "echo 26 EUR");
    assert_eq!((other.code, other.out.as_str()), (65, ""));
    assert!(other.err.contains("another"), "{other:?}");
    assert_eq!(desk.exec("k", &[], "echo 25 EUR").code, 0);
}

#[test]
fn a_mismatch_is_also_said_of_an_interrupted_key() {
    let desk = Desk::new();
    assert_eq!(desk.exec("k", &[], "exit 1").code, 1);
    assert_eq!(desk.exec("k", &[], "exit 2").code, 65);
    assert_eq!(desk.exec("k", &[], "exit 1").code, 70);
}

#[test]
fn a_file_counts_by_its_content() {
    let desk = Desk::new();
    fs::write(desk.path("order"), "25").unwrap();
    fs::write(desk.path("copy"), "25").unwrap();
    fs::write(desk.path("other"), "26").unwrap();
    let with = |file: &str| desk.exec("k", &["--fingerprint-file", file], "true").code;
    assert_eq!(with("order"), 0);
    assert_eq!(with("copy"), 0);
    assert_eq!(with("other"), 65);
    assert_eq!(desk.exec("k", &[], "true").code, 65);
}

#[test]
fn variables_and_the_folder_count_where_asked() {
    let desk = Desk::new();
    let with_amount = |amount: &str| {
        let mut command = desk.exec_command("k", &["--fingerprint-env", "AMOUNT"], "true");
        Answer::of(command.env("AMOUNT", amount).output().unwrap()).code
    };
    assert_eq!(with_amount("25"), 0);
    assert_eq!(with_amount("25"), 0);
    assert_eq!(with_amount("26"), 65);

    fs::create_dir(desk.path("elsewhere")).unwrap();
    let mut here = desk.exec_command("d", &["--fingerprint-cwd"], "true");
    assert_eq!(Answer::of(here.output().unwrap()).code, 0);
    let mut there = desk.exec_command("d", &["--fingerprint-cwd"], "true");
    there.current_dir(desk.path("elsewhere"));
    assert_eq!(Answer::of(there.output().unwrap()).code, 65);
}

#[test]
fn without_a_fingerprint_any_command_gets_the_result() {
    let desk = Desk::new();
    assert_eq!(desk.exec("k", &["--no-fingerprint"], "echo one").code, 0);
    let other = desk.exec("k", &["--no-fingerprint"], "echo two");
    assert_eq!((other.code, other.out.as_str()), (0, "one\n"));
    assert_eq!(desk.exec("k", &[], "echo one").code, 65);
}
