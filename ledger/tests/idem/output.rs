//! Output that is long, unread or held open.

use std::process::Stdio;

use crate::desk::{Answer, Desk, Started, open_gate};

const OUTPUT_BYTES_MAX: usize = 16 * 1024 * 1024;

#[test]
fn output_at_the_limit_is_stored_and_above_it_passes_through() {
    let desk = Desk::new();
    for (key, bytes, replay) in [
        ("at", OUTPUT_BYTES_MAX, 0),
        ("above", OUTPUT_BYTES_MAX + 1, 69),
    ] {
        let script = format!("head -c {bytes} /dev/zero");
        let first = desk.exec(key, &[], &script);
        assert_eq!((first.code, first.out.len()), (0, bytes));
        let second = desk.exec(key, &[], &script);
        assert_eq!(second.code, replay, "{}", second.err);
        assert_eq!(second.out.len(), if replay == 0 { bytes } else { 0 });
        let accepted = desk.exec(key, &["--accept-omitted"], &script);
        assert_eq!(accepted.code, 0, "{}", accepted.err);
    }
}

#[test]
fn output_that_is_not_to_be_stored_is_not() {
    let desk = Desk::new();
    let script = "echo secret; exit 3";
    let options = ["--on-failure", "keep", "--no-store-output"];
    let first = desk.exec("k", &options, script);
    assert_eq!((first.code, first.out.as_str()), (3, "secret\n"));
    let second = desk.exec("k", &options, script);
    assert_eq!((second.code, second.out.as_str()), (69, ""));
    assert!(second.err.contains("--accept-omitted"), "{second:?}");
    assert_eq!(desk.exec("k", &["--accept-omitted"], script).code, 3);
}

#[test]
fn with_tty_the_command_has_the_streams_themselves() {
    let desk = Desk::new();
    assert_eq!(desk.exec("k", &["--tty"], "echo out").out, "out\n");
    assert_eq!(desk.exec("k", &[], "echo out").code, 69);
}

#[test]
fn a_reader_that_goes_away_stops_the_display_only() {
    let desk = Desk::new();
    let gate = desk.pipe("gate");
    // More than a pipe holds, so that the display does break.
    let script = "echo first; read x < gate; head -c 300000 /dev/zero | tr '\\0' y; echo; \
                  echo ran >> effects";
    let mut run = desk.exec_command("k", &[], script);
    let mut child = Started::new(&mut run).stop_reading();
    open_gate(&gate);
    assert!(child.wait().unwrap().success());
    assert_eq!(desk.effects(), 1);
    let replay = desk.exec("k", &[], script);
    assert_eq!(
        (replay.code, replay.out.len()),
        (0, "first\n".len() + 300_001)
    );
}

#[test]
fn a_grandchild_that_holds_the_output_is_not_waited_for_to_its_end() {
    let desk = Desk::new();
    let gate = desk.pipe("gate");
    // The grandchild ends only after `idem` has: what it writes is nobody's any more.
    let script = "{ read x < gate; echo late; } & echo done";
    let answer = desk.exec("k", &[], script);
    assert_eq!((answer.code, answer.out.as_str()), (0, "done\n"));
    open_gate(&gate);
    let replay = desk.exec("k", &[], script);
    assert_eq!((replay.code, replay.out.as_str()), (0, "done\n"));
}

#[test]
fn a_replay_to_a_reader_that_goes_away_keeps_its_code() {
    let desk = Desk::new();
    let script = "head -c 300000 /dev/zero; exit 4";
    let options = ["--on-failure", "keep"];
    assert_eq!(desk.exec("k", &options, script).code, 4);
    let mut replay = desk.exec_command("k", &options, script);
    let mut child = replay
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(Answer::of(child.wait_with_output().unwrap()).code, 4);
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_no_success_and_is_stored() {
    let desk = Desk::new();
    let full = || {
        std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap()
    };
    let mut run = desk.exec_command("k", &[], "echo done");
    let answer = Answer::of(run.stdout(full()).output().unwrap());
    assert_eq!(answer.code, 74, "{answer:?}");
    let replay = desk.exec("k", &[], "echo done");
    assert_eq!((replay.code, replay.out.as_str()), (0, "done\n"));
    let mut replay = desk.exec_command("k", &[], "echo done");
    assert_eq!(Answer::of(replay.stdout(full()).output().unwrap()).code, 74);
}
