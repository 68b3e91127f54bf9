//! Where the command's standard input comes from, and what that asks of the caller.

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::desk::{Answer, Desk};

/// Runs `exec` with these bytes on a pipe.
fn with_pipe(desk: &Desk, options: &[&str], bytes: &[u8]) -> Answer {
    let mut command = desk.exec_command("k", options, "cat");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // `idem` may refuse without reading it all.
    let _ = child.stdin.take().unwrap().write_all(bytes);
    Answer::of(child.wait_with_output().unwrap())
}

#[test]
fn a_pipe_or_a_file_needs_a_choice() {
    let desk = Desk::new();
    std::fs::write(desk.path("input"), "x").unwrap();
    let mut with_file = desk.exec_command("k", &[], "cat");
    with_file.stdin(File::open(desk.path("input")).unwrap());
    for answer in [
        with_pipe(&desk, &[], b"x"),
        Answer::of(with_file.output().unwrap()),
    ] {
        assert_eq!(answer.code, 64, "{answer:?}");
        for option in ["--fingerprint-stdin", "--no-stdin", "--ignore-stdin"] {
            assert!(answer.err.contains(option), "{answer:?}");
        }
    }
    assert!(!desk.ledger().exists());
}

#[test]
fn nothing_to_read_needs_none() {
    let desk = Desk::new();
    assert_eq!(desk.exec("null", &[], "cat").code, 0);
    let script = r#"exec "$0" exec --key closed -- cat <&-"#;
    let mut shell = Command::new("sh");
    shell
        .args(["-c", script, env!("CARGO_BIN_EXE_idem")])
        .env("IDEM_LEDGER", desk.ledger());
    let answer = Answer::of(shell.output().unwrap());
    assert_eq!((answer.code, answer.out.as_str()), (0, ""), "{answer:?}");
}

#[test]
fn each_choice_does_what_it_says() {
    let desk = Desk::new();
    let counted = ["--fingerprint-stdin"];
    assert_eq!(with_pipe(&desk, &counted, b"25").out, "25");
    assert_eq!(with_pipe(&desk, &counted, b"25").code, 0);
    assert_eq!(with_pipe(&desk, &counted, b"26").code, 65);

    let desk = Desk::new();
    assert_eq!(with_pipe(&desk, &["--ignore-stdin"], b"25").out, "25");
    assert_eq!(with_pipe(&desk, &["--ignore-stdin"], b"26").out, "25");

    let desk = Desk::new();
    assert_eq!(with_pipe(&desk, &["--no-stdin"], b"25").out, "");
}

#[test]
fn counted_input_has_a_limit() {
    const LIMIT: usize = 16 * 1024 * 1024;
    let desk = Desk::new();
    let options = ["--fingerprint-stdin", "--no-store-output"];
    let over = with_pipe(&desk, &options, &vec![b'x'; LIMIT + 1]);
    assert_eq!(over.code, 64, "{}", over.err);
    assert!(over.err.contains("16 MiB"), "{}", over.err);
    assert!(!desk.ledger().exists());
    let at = with_pipe(&desk, &options, &vec![b'x'; LIMIT]);
    assert_eq!((at.code, at.out.len()), (0, LIMIT), "{}", at.err);
}
