//! A wrong clock around `idem`, as `faketime` makes one for a single process: the boot clock and,
//! where it is told so, the monotonic clock stay true.

use std::process::Command;

use crate::desk::{Answer, Desk, open_gate};

/// `idem` with a wall clock that is `offset` away.
fn at(desk: &Desk, offset: &str, words: &[&str]) -> Answer {
    let inside = desk.idem(words);
    let mut command = Command::new("faketime");
    command
        .args(["-f", offset])
        .arg(inside.get_program())
        .args(inside.get_args())
        .env("DONT_FAKE_MONOTONIC", "1")
        .stdin(std::process::Stdio::null());
    if let Some(folder) = inside.get_current_dir() {
        command.current_dir(folder);
    }
    for (name, value) in inside.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let output = command.output().unwrap_or_else(|error| {
        panic!("faketime: {error}; on Debian, `apt-get install faketime`, or `cargo xtask test`")
    });
    Answer::of(output)
}

/// A run under a key that leaves a line where it ran.
fn exec_at(desk: &Desk, offset: &str, key: &str) -> Answer {
    let script = "echo ran >> effects; echo done";
    at(
        desk,
        offset,
        &["exec", "--key", key, "--", "sh", "-c", script],
    )
}

/// The line of the output that begins so.
fn line_starting<'a>(answer: &'a Answer, start: &str) -> &'a str {
    let mut lines = answer.out.lines();
    lines
        .find(|line| line.starts_with(start))
        .unwrap_or_else(|| panic!("no {start:?} in {answer:?}"))
}

fn exec(desk: &Desk, key: &str) -> Answer {
    desk.exec(key, &[], "echo ran >> effects; echo done")
}

#[test]
fn a_command_under_a_clock_two_days_ahead_does_not_run_twice() {
    let desk = Desk::new();
    assert_eq!(exec(&desk, "k").code, 0);
    let ahead = exec_at(&desk, "+2d", "k");
    assert_eq!((ahead.code, ahead.out.as_str()), (0, "done\n"), "{ahead:?}");
    assert_eq!(exec(&desk, "k").code, 0);
    assert_eq!(desk.effects(), 1);
    // The other way round: a new ledger believes the first clock it meets, and a leap back
    // revives nothing.
    let desk = Desk::new();
    assert_eq!(exec_at(&desk, "+2d", "k").code, 0);
    assert_eq!(exec(&desk, "k").code, 0);
    assert_eq!(exec_at(&desk, "+2d", "k").code, 0);
    assert_eq!(desk.effects(), 1);
}

#[test]
fn of_two_processes_the_one_with_the_right_clock_is_not_led_astray() {
    let desk = Desk::new();
    assert_eq!(exec(&desk, "first").code, 0);
    for round in 0..3 {
        let wrong = exec_at(&desk, "+2d", &format!("wrong-{round}"));
        assert_eq!(wrong.code, 0, "{wrong:?}");
        let right = exec(&desk, &format!("right-{round}"));
        assert_eq!(right.code, 0, "{right:?}");
    }
    assert_eq!(exec(&desk, "first").code, 0);
    assert_eq!(desk.effects(), 7);
    let stats = desk.run(&["stats"]);
    assert!(!stats.out.contains("clock"), "{stats:?}");
}

#[test]
fn stats_say_that_a_leap_is_held_back_since_when_and_what_to_do() {
    let desk = Desk::new();
    assert_eq!(exec(&desk, "k").code, 0);
    assert_eq!(exec_at(&desk, "+2d", "another").code, 0);
    let stats = at(&desk, "+2d", &["stats"]);
    let line = line_starting(&stats, "the clock leapt ahead by ");
    for words in ["since 20", "believed at 20", "`idem confirm-clock`"] {
        assert!(line.contains(words), "{words} in {line}");
    }
    let json = at(&desk, "+2d", &["stats", "--json"]);
    let last = json.out.lines().last().unwrap();
    let last: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!(last["clock"], "leapt", "{last}");
    let seconds = last["unconfirmed_jump_s"].as_u64().unwrap();
    assert!((172_790..=172_810).contains(&seconds), "{last}");
    // Confirmed, it is believed at once.
    let confirmed = at(&desk, "+2d", &["confirm-clock"]);
    assert_eq!(confirmed.code, 0, "{confirmed:?}");
    assert_eq!(exec_at(&desk, "+2d", "k").code, 0);
    assert_eq!(desk.effects(), 3);
}

#[test]
fn a_time_that_is_ahead_is_reported_and_taken_back_with_the_keys_named_first() {
    let desk = Desk::new();
    assert_eq!(exec(&desk, "old").code, 0);
    let gate = desk.pipe("gate");
    let living = desk.start("living", &[], "echo started; read x < gate");
    // Confirmed by mistake; over a reboot a wrong clock would be believed in the same way.
    let confirmed = at(&desk, "+300d", &["confirm-clock"]);
    assert_eq!(confirmed.code, 0, "{confirmed:?}");
    let stats = desk.run(&["stats"]);
    let line = line_starting(&stats, "the ledger's time is ahead of the clock by ");
    for words in ["since 20", "`idem confirm-clock --back`"] {
        assert!(line.contains(words), "{words} in {line}");
    }
    let plain = desk.run(&["confirm-clock"]);
    assert_eq!(plain.code, 0, "{plain:?}");
    assert!(
        plain.out.contains("`idem confirm-clock --back`"),
        "{plain:?}"
    );
    // Asked for, the keys are named, and nothing has changed yet.
    let named = desk.run(&["confirm-clock", "--back"]);
    assert_eq!(named.code, 64, "{named:?}");
    for (key, change) in [
        ("old", "answer counts again"),
        ("living", "lease runs again"),
    ] {
        let mut lines = named.out.lines();
        let found = lines.any(|line| line.contains(key) && line.contains(change));
        assert!(found, "{key}: {named:?}");
    }
    assert!(named.out.contains("2 keys change"), "{named:?}");
    assert!(named.err.contains("--yes"), "{named:?}");
    assert!(desk.run(&["stats"]).out.contains("is ahead"));
    let back = desk.run(&["confirm-clock", "--back", "--yes"]);
    assert_eq!(back.code, 0, "{back:?}");
    // Neither the run that lives through it nor the next one takes it for a restored backup.
    open_gate(&gate);
    assert_eq!(living.finish().code, 0);
    assert_eq!(exec(&desk, "new").code, 0);
    let replay = desk.exec("living", &[], "echo started; read x < gate");
    assert_eq!(replay.code, 0, "{replay:?}");
    let stats = desk.run(&["stats"]);
    assert!(!stats.out.contains("clock"), "{stats:?}");
    let again = desk.run(&["confirm-clock", "--back"]);
    assert_eq!(again.code, 0, "{again:?}");
    assert!(again.out.contains("is not ahead"), "{again:?}");
}
