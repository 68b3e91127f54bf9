//! One run under a key, and its replays.

use std::fs;
use std::io::Read;
use std::process::Stdio;

use crate::desk::{Answer, Desk, open_gate};

const ADD_EFFECT: &str = "echo ran >> effects; ";

#[test]
fn a_retry_gets_bytes_streams_and_code_and_runs_nothing() {
    let desk = Desk::new();
    let script = format!("{ADD_EFFECT} echo paid; echo careful >&2");
    let first = desk.exec("k", &[], &script);
    assert_eq!(
        (first.code, first.out.as_str(), first.err.as_str()),
        (0, "paid\n", "careful\n")
    );
    let second = desk.exec("k", &[], &script);
    assert_eq!((second.code, second.out.as_str()), (0, "paid\n"));
    assert!(
        second.err.starts_with("careful\n") && second.err.contains("replayed"),
        "{second:?}"
    );
    let quiet = desk.exec("k", &["--quiet"], &script);
    assert_eq!((quiet.code, quiet.err.as_str()), (0, "careful\n"));
    assert_eq!(desk.effects(), 1);
}

#[test]
fn bytes_that_are_no_text_come_back_as_they_were() {
    let desk = Desk::new();
    let script = r"printf '\000\377\r\n\033[0m no newline'";
    let first = desk.exec_command("k", &[], script).output().unwrap();
    let second = desk.exec_command("k", &[], script).output().unwrap();
    assert_eq!(first.stdout, b"\0\xff\r\n\x1b[0m no newline");
    assert_eq!(second.stdout, first.stdout);
}

#[test]
fn a_replay_keeps_the_order_between_the_streams() {
    let desk = Desk::new();
    let (first_gate, second_gate) = (desk.pipe("gate-1"), desk.pipe("gate-2"));
    let script = "echo one; read x < gate-1; echo two >&2; echo seen > seen; read x < gate-2; \
                  echo three";
    let mut run = desk.exec_command("k", &[], script);
    let mut child = run
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    out.read_exact(&mut [0; 4]).unwrap();
    open_gate(&first_gate);
    err.read_exact(&mut [0; 4]).unwrap();
    open_gate(&second_gate);
    assert!(child.wait().unwrap().success());

    // Both streams of the replay into one pipe: what comes out is the stored order.
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut replay = desk.exec_command("k", &["--quiet"], script);
    replay.stdout(writer.try_clone().unwrap()).stderr(writer);
    assert!(replay.status().unwrap().success());
    drop(replay);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "one\ntwo\nthree\n");
}

#[test]
fn output_is_seen_while_the_command_runs() {
    let desk = Desk::new();
    let gate = desk.pipe("gate");
    // Without a newline: nothing is held back until a line is whole.
    let mut run = desk.exec_command("k", &[], "printf now; read x < gate; echo later");
    let mut child = run.stdout(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut now = [0; 3];
    out.read_exact(&mut now).unwrap();
    assert_eq!(&now, b"now");
    open_gate(&gate);
    assert!(child.wait().unwrap().success());
}

#[test]
fn two_at_once_run_once_and_the_second_is_told() {
    let desk = Desk::new();
    let gate = desk.pipe("gate");
    let script = format!("{ADD_EFFECT} echo started; read x < gate; echo done");
    let run = desk.start("k", &[], &script);
    let second = desk.exec("k", &[], &script);
    assert_eq!(second.code, 75, "{second:?}");
    assert!(second.err.contains("in progress"), "{second:?}");
    assert_eq!(desk.state("k")["state"], "claimed");
    open_gate(&gate);
    assert_eq!(run.finish().code, 0);
    assert_eq!(desk.effects(), 1);
}

#[test]
fn with_wait_the_second_gets_the_result() {
    let desk = Desk::new();
    let gate = desk.pipe("gate");
    let script = "echo started; read x < gate; echo done";
    let run = desk.start("k", &[], script);
    let mut second = desk.exec_command("k", &["--wait", "60s"], script);
    let second = second
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    open_gate(&gate);
    assert_eq!(run.finish().code, 0);
    let second = Answer::of(second.wait_with_output().unwrap());
    assert_eq!((second.code, second.out.as_str()), (0, "started\ndone\n"));
}

#[test]
fn racers_run_once() {
    let desk = Desk::new();
    let script = format!("{ADD_EFFECT} echo done");
    let racers: Vec<_> = (0..8)
        .map(|_| {
            let mut command = desk.exec_command("k", &["--wait", "60s"], &script);
            command
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for racer in racers {
        let answer = Answer::of(racer.wait_with_output().unwrap());
        assert_eq!(
            (answer.code, answer.out.as_str()),
            (0, "done\n"),
            "{answer:?}"
        );
    }
    assert_eq!(desk.effects(), 1);
}

#[test]
fn the_same_key_elsewhere_is_another_run() {
    let desk = Desk::new();
    for options in [
        &[][..],
        &["--namespace", "n"],
        &["--scope", "a"],
        &["--scope", "b"],
    ] {
        assert_eq!(desk.exec("k", options, ADD_EFFECT).code, 0);
        assert_eq!(desk.exec("k", options, ADD_EFFECT).code, 0);
    }
    assert_eq!(desk.effects(), 4);
}

#[test]
fn the_command_finds_its_key_and_the_child_key_stays() {
    let desk = Desk::new();
    let options = ["--on-failure", "release"];
    let script = "echo $IDEM_KEY $IDEM_ATTEMPT; echo $IDEM_CHILD_KEY >> keys; \
                  echo $IDEM_FENCE >> fences; test -e second || { touch second; exit 1; }";
    assert_eq!(desk.exec("k", &options, script).code, 1);
    let second = desk.exec("k", &options, script);
    assert_eq!((second.code, second.out.as_str()), (0, "k 1\n"));
    let lines = |name: &str| -> Vec<String> {
        fs::read_to_string(desk.path(name))
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    };
    let keys = lines("keys");
    assert_eq!(keys[0], keys[1]);
    assert_eq!(keys[0].len(), 36);
    let fences: Vec<u64> = lines("fences")
        .iter()
        .map(|line| line.parse().unwrap())
        .collect();
    assert!(fences[0] < fences[1], "{fences:?}");
}

#[test]
fn arguments_are_not_stored() {
    let desk = Desk::new();
    let secret = "hunter2-surely-nowhere-else";
    assert_eq!(
        desk.run(&["exec", "--key", "k", "--", "true", secret]).code,
        0
    );
    let bytes = fs::read(desk.ledger()).unwrap();
    let finds = |text: &str| {
        bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    assert!(!finds(secret));
    assert!(finds("true"));
    assert_eq!(desk.state("k")["program"], "true");
}
