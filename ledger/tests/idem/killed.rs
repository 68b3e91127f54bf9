//! `idem` killed while its command lives on.

use crate::desk::{Desk, open_gate, until};

const SCRIPT: &str = "echo started; read x < gate; echo ran >> effects";

#[test]
fn while_the_command_lives_nothing_takes_its_key() {
    let desk = Desk::new();
    let gate = desk.pipe("gate");
    let mut run = desk.start("k", &[], SCRIPT);
    run.child.kill().unwrap();
    run.child.wait().unwrap();

    let refused = desk.exec("k", &[], SCRIPT);
    assert_eq!(refused.code, 70, "{refused:?}");
    assert!(refused.err.contains("still running"), "{refused:?}");
    let state = desk.state("k");
    assert_eq!(
        (&state["state"], &state["running"]),
        (&"interrupted".into(), &true.into())
    );
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
        &["resolve", "k", "--complete", "/dev/null"],
        &["forget", "k"],
    ] {
        let answer = desk.run(words);
        assert_eq!(answer.code, 75, "{words:?} {answer:?}");
        assert!(
            answer.err.contains("the earlier command is still running"),
            "{answer:?}"
        );
    }
    assert_eq!(desk.effects(), 0);

    open_gate(&gate);
    // The exact line of the message, in a shell, once the command is gone.
    let line = refused
        .line_starting("idem resolve")
        .replacen("idem", "\"$IDEM\"", 1);
    let resolve = || {
        let mut shell = std::process::Command::new("sh");
        shell
            .args(["-c", &line])
            .env("IDEM", env!("CARGO_BIN_EXE_idem"));
        crate::desk::Answer::of(shell.output().unwrap())
    };
    let resolved = until(resolve, |answer| answer.code != 75);
    assert_eq!(resolved.code, 0, "{resolved:?}");
    assert_eq!(desk.effects(), 1);
    assert_eq!(desk.run(&["show", "k"]).code, 66);
}

#[test]
fn once_the_command_is_gone_a_rerun_runs() {
    let desk = Desk::new();
    let gate = desk.pipe("gate");
    let mut run = desk.start("k", &[], SCRIPT);
    run.child.kill().unwrap();
    run.child.wait().unwrap();
    open_gate(&gate);
    let gone = until(
        || desk.exec("k", &[], SCRIPT),
        |answer| !answer.err.contains("running"),
    );
    assert_eq!(gone.code, 70, "{gone:?}");

    let mut rerun = desk.exec_command("k", &["--on-interrupted", "rerun"], SCRIPT);
    let rerun = crate::desk::Started::new(&mut rerun);
    open_gate(&gate);
    assert_eq!(rerun.finish().code, 0);
    assert_eq!(desk.effects(), 2);
}

#[test]
fn a_command_that_was_left_alone_reads_all_of_its_counted_input() {
    use std::io::Write;
    use std::process::Stdio;

    let desk = Desk::new();
    let gate = desk.pipe("gate");
    let script = "echo started; read x < gate; cat > copy; echo ran >> effects";
    let mut command = desk.exec_command("k", &["--fingerprint-stdin"], script);
    let input = vec![b'x'; 1_000_000];
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&input).unwrap();
    let mut line = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    open_gate(&gate);
    let resolve = || desk.run(&["resolve", "k", "--complete", "/dev/null"]);
    assert_eq!(until(resolve, |answer| answer.code != 75).code, 0);
    assert_eq!(std::fs::read(desk.path("copy")).unwrap(), input);
}
