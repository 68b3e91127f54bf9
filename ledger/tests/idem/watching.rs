//! `idem advice`, `idem watch`, and the counts of `idem stats`.

use std::process::Command;

use crate::desk::Desk;

fn json_lines(text: &str) -> Vec<serde_json::Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn what_callers_met_outlives_their_processes() {
    let desk = Desk::new();
    for _ in 0..3 {
        assert_eq!(desk.exec("a", &[], "echo ok").code, 0);
    }
    assert_eq!(desk.exec("a", &[], "echo other").code, 65);
    let stats = desk.run(&["stats", "--json"]);
    let rows = json_lines(&stats.out);
    assert_eq!(
        (&rows[0]["replays"], &rows[0]["mismatches"]),
        (&2.into(), &1.into())
    );
    assert_eq!(rows[0]["retention_ms"], 86_400_000);
    let shown = desk.run(&["stats"]);
    assert!(
        shown.out.contains("REPLAYS") && shown.out.contains("LATE"),
        "{shown:?}"
    );
}

#[test]
fn advice_shows_when_duplicates_came() {
    let desk = Desk::new();
    let none = desk.run(&["seen", "--table", "t", "--window", "1d", "a"]);
    assert_eq!(none.code, 0, "{none:?}");
    let none = desk.run(&["advice"]);
    assert_eq!(none.code, 0, "{none:?}");
    assert!(none.out.contains("no duplicate has come yet"), "{none:?}");
    for _ in 0..2 {
        assert_eq!(
            desk.run(&["seen", "--table", "t", "--window", "1d", "a"])
                .code,
            1
        );
    }
    let shown = desk.run(&["advice", "--table", "t"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    for part in ["dedup:t: 2 duplicates", "#", "p99", "too few for advice"] {
        assert!(shown.out.contains(part), "{part}: {shown:?}");
    }
    let lines = json_lines(
        &desk
            .run(&["advice", "--json", "--namespace", "dedup:t"])
            .out,
    );
    assert_eq!((&lines[0]["samples"], lines.len()), (&2.into(), 1));
    assert_eq!(lines[0]["retention_is_shorter"], false);
    let unknown = desk.run(&["advice", "--table", "u"]);
    assert_eq!(unknown.code, 66, "{unknown:?}");
    assert_eq!(desk.run(&["advice", "--namespace", ""]).code, 64);
}

#[test]
fn a_watch_that_is_no_terminal_prints_a_line_for_each_look() {
    let desk = Desk::new();
    assert_eq!(desk.exec("a", &[], "echo ok").code, 0);
    let times = ["--times", "2", "--interval", "50ms"];
    let watched = desk.run(&[&["watch", "--json"], &times[..]].concat());
    assert_eq!(watched.code, 0, "{watched:?}");
    let lines = json_lines(&watched.out);
    assert_eq!((lines.len(), &lines[1]["records"]), (2, &1.into()));
    assert_eq!(lines[1]["fence"], 1);
    let people = desk.run(&[&["watch"], &times[..]].concat());
    assert_eq!(people.out.lines().count(), 2, "{people:?}");
    assert!(people.out.contains("1 records, 0 claimed"), "{people:?}");
}

/// A terminal of its own, from util-linux, which every Linux has.
#[cfg(target_os = "linux")]
#[test]
fn a_watch_on_a_terminal_shows_the_namespaces_and_leaves_the_terminal_as_it_was() {
    let desk = Desk::new();
    assert_eq!(desk.exec("a", &[], "echo ok").code, 0);
    let watch = format!(
        "stty rows 30 cols 130; {} watch --times 2 --interval 50ms",
        env!("CARGO_BIN_EXE_idem")
    );
    let mut command = Command::new("script");
    command
        .args(["--quiet", "--return", "--command", &watch, "/dev/null"])
        .env("IDEM_LEDGER", desk.ledger())
        .env("TERM", "xterm-256color")
        .current_dir(desk.path(""))
        .stdin(std::process::Stdio::null());
    let answer = command.output().unwrap();
    let shown = String::from_utf8_lossy(&answer.stdout);
    assert!(answer.status.success(), "{answer:?}");
    for part in ["namespaces", "default", "finished", "REPLAYS"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let (entered, left) = ("\u{1b}[?1049h", "\u{1b}[?1049l");
    assert!(shown.contains(entered) && shown.contains(left), "{shown}");
}
