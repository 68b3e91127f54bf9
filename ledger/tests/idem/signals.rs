//! Signals while the command runs.

use std::process::{Command, Stdio};

use crate::desk::{Answer, Desk, Started};

/// Says which signal it got. The gate is never opened; the wait for it is what signals end.
const SCRIPT: &str = "
    say() { kill $waiting; echo got $1; exit $2; }
    trap 'say TERM 11' TERM; trap 'say INT 12' INT; trap 'say HUP 13' HUP
    trap 'say QUIT 14' QUIT; trap 'say USR1 15' USR1
    sh -c 'echo ready; exec cat gate' & waiting=$!
    wait $waiting";

#[test]
fn a_signal_sent_to_idem_reaches_the_command() {
    for (name, code) in [
        ("TERM", 11),
        ("INT", 12),
        ("HUP", 13),
        ("QUIT", 14),
        ("USR1", 15),
    ] {
        let desk = Desk::new();
        desk.pipe("gate");
        let command = desk.exec_command("k", &["--on-failure", "keep"], SCRIPT);
        let run = Started::new(&mut listening(&command));
        assert_eq!(run.first_line, "ready\n");
        run.signal(name);
        let answer = run.finish();
        assert_eq!(
            (answer.code, answer.out),
            (code, format!("got {name}\n")),
            "{name}"
        );
        assert_eq!(desk.state("k")["state"], "completed");
    }
}

/// The same, which hears every signal: what runs in the background or under `nohup` ignores some,
/// and no shell can trap what was ignored before it began.
fn listening(command: &Command) -> Command {
    let mut env = Command::new("env");
    // Elsewhere `env` cannot do it, and the tests have to run in the foreground.
    if cfg!(target_os = "linux") {
        env.arg("--default-signal=HUP,INT,QUIT");
    }
    env.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => env.env(name, value),
            None => env.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        env.current_dir(folder);
    }
    env.stdin(Stdio::null());
    env
}

#[test]
fn a_command_that_dies_of_a_signal_leaves_its_key_interrupted() {
    let desk = Desk::new();
    desk.pipe("gate");
    let run = desk.start("k", &[], "echo ready; exec cat gate");
    run.signal("TERM");
    assert_eq!(run.finish().code, 143);
    assert_eq!(desk.state("k")["state"], "interrupted");
}

#[test]
fn what_is_ignored_stays_ignored() {
    let desk = Desk::new();
    let script = r#"trap '' HUP INT; exec "$0" exec --key k -- sh -c "$1""#;
    let mut shell = Command::new("sh");
    shell
        .args([
            "-c",
            script,
            env!("CARGO_BIN_EXE_idem"),
            "kill -HUP $$; kill -INT $$; echo alive",
        ])
        .env("IDEM_LEDGER", desk.ledger())
        .stdin(Stdio::null());
    let answer = Answer::of(shell.output().unwrap());
    // Where the system does not say what is ignored, `idem` watches late, and this holds as well.
    assert_eq!(
        (answer.code, answer.out.as_str()),
        (0, "alive\n"),
        "{answer:?}"
    );
}

#[test]
fn a_broken_pipe_kills_the_command_as_usual() {
    let desk = Desk::new();
    assert_eq!(desk.exec("k", &[], "kill -PIPE $$; echo alive").code, 141);
}

#[test]
fn a_command_that_goes_on_after_a_signal_is_waited_for() {
    let desk = Desk::new();
    let gate = desk.pipe("gate");
    let script = "trap 'echo got' TERM; echo ready; while ! read x < gate; do :; done; echo done";
    let mut run: Started = desk.start("k", &[], script);
    run.signal("TERM");
    assert_eq!(run.next_line(), "got\n");
    crate::desk::open_gate(&gate);
    let answer = run.finish();
    assert_eq!(
        (answer.code, answer.out.as_str()),
        (0, "done\n"),
        "{answer:?}"
    );
}
