//! `ls`, `show`, `stats`, `newkey`: what people and programs see.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::desk::{Answer, Desk};

fn lines(answer: &Answer) -> Vec<Value> {
    answer
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn ls_lists_by_state_and_place() {
    let desk = Desk::new();
    desk.exec("done", &[], "true");
    desk.exec("half", &[], "false");
    desk.exec("other", &["--namespace", "n", "--scope", "s"], "true");
    let all = desk.run(&["ls", "--json"]);
    assert_eq!(lines(&all).len(), 3, "{all:?}");
    for (options, key) in [
        (&["--state", "interrupted"][..], "half"),
        (&["--namespace", "n"], "other"),
        (&["--scope", "s"], "other"),
        (&["--state", "completed", "--namespace", "default"], "done"),
    ] {
        let some = lines(&desk.run(&[&["ls", "--json"], options].concat()));
        assert_eq!(some.len(), 1, "{options:?}");
        assert_eq!(some[0]["key"], key, "{options:?}");
    }
    let claimed = desk.run(&["ls", "--json", "--state", "claimed"]);
    assert_eq!((claimed.code, claimed.out.as_str()), (0, ""));
    let table = desk.run(&["ls"]);
    assert!(table.out.starts_with("NAMESPACE"), "{table:?}");
    assert_eq!(table.out.lines().count(), 4);
}

#[test]
fn json_has_the_fields_that_programs_read() {
    let desk = Desk::new();
    desk.exec("k", &[], "echo out; echo error >&2");
    let record = &lines(&desk.run(&["ls", "--json"]))[0];
    assert_eq!(record, &desk.state("k"));
    assert_eq!(record["namespace"], "default");
    assert_eq!(record["key"], "k");
    assert_eq!(record["state"], "completed");
    assert_eq!(record["attempts"], 1);
    assert_eq!(record["fence"], 1);
    assert_eq!(record["program"], "sh");
    for name in [
        "first_claimed_at",
        "claimed_at",
        "completed_at",
        "expires_at",
    ] {
        let time = record[name].as_str().unwrap();
        assert!(
            time.len() == 24 && time.ends_with('Z') && &time[10..11] == "T",
            "{name} {time}"
        );
    }
    let run = &record["response"]["run"];
    assert_eq!(
        (&run["exit_code"], &run["stdout_bytes"]),
        (&0.into(), &4.into())
    );
    assert_eq!(run["stderr_bytes"], 6);
}

#[test]
fn show_says_what_to_do_about_an_interrupted_key() {
    let desk = Desk::new();
    desk.exec("k", &[], "false");
    let shown = desk.run(&["show", "k"]);
    assert_eq!(shown.code, 0);
    assert!(
        shown.out.contains("interrupted") && shown.out.contains("idem resolve"),
        "{shown:?}"
    );
}

#[test]
fn an_unknown_key_is_66_with_and_without_a_ledger() {
    let desk = Desk::new();
    assert_eq!(desk.run(&["show", "k"]).code, 66);
    assert!(!desk.ledger().exists());
    desk.exec("k", &[], "true");
    assert_eq!(desk.run(&["show", "other"]).code, 66);
    assert_eq!(desk.run(&["show", "k", "--namespace", "other"]).code, 66);
    assert_eq!(desk.run(&["show", "k", "--scope", "other"]).code, 66);
}

#[test]
fn looking_creates_nothing() {
    let desk = Desk::new();
    let ls = desk.run(&["ls"]);
    assert_eq!((ls.code, ls.out.as_str()), (0, ""));
    for words in [
        &["stats"][..],
        &["sweep"],
        &["compact"],
        &["check"],
        &["backup", "b"],
    ] {
        assert_eq!(desk.run(words).code, 74, "{words:?}");
    }
    assert_eq!(fs::read_dir(desk.path(".")).unwrap().count(), 0);
}

#[test]
fn stats_count_per_namespace() {
    let desk = Desk::new();
    desk.exec("a", &[], "true");
    desk.exec("a", &[], "true");
    desk.exec("b", &["--namespace", "n"], "true");
    let stats = desk.run(&["stats", "--json"]);
    assert_eq!(stats.code, 0, "{stats:?}");
    let namespaces: Vec<Value> = lines(&stats)
        .into_iter()
        .filter(|line| line["namespace"].is_string())
        .collect();
    assert_eq!(namespaces.len(), 2, "{stats:?}");
    for line in &namespaces {
        assert_eq!(line["records"], 1, "{line}");
    }
    assert_eq!(desk.run(&["stats"]).code, 0);
}

#[test]
fn new_keys_are_keys_and_differ() {
    let desk = Desk::new();
    let (first, second) = (desk.run(&["newkey"]), desk.run(&["newkey"]));
    assert_eq!((first.out.trim().len(), &first.out[14..15]), (36, "7"));
    assert_ne!(first.out, second.out);
}

#[test]
fn the_default_place_is_the_users_own() {
    let desk = Desk::new();
    let mut command = desk.exec_command("k", &[], "true");
    command.env_remove("IDEM_LEDGER");
    assert_eq!(Answer::of(command.output().unwrap()).code, 0);
    let mode = |name: &str| fs::metadata(desk.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(".local/state/idem"), 0o700);
    assert_eq!(mode(".local/state/idem/ledger.redb"), 0o600);
    assert_eq!(mode(".local/state/idem/ledger.redb.locks"), 0o600);
}
