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

/// A right-to-left override, a zero-width space, a variation selector, and a letter that is blank.
const TRICKY: &str = "pay\u{202e}71\u{200b}a\u{fe0f}b\u{3164}";
const SPELLED: &str = r"pay\u{202e}71\u{200b}a\u{fe0f}b\u{3164}";

#[test]
fn a_terminal_shows_each_character_of_a_key_and_obeys_none() {
    let desk = Desk::new();
    let tricky = |text: &str| !text.is_ascii();
    let ran = desk.exec(TRICKY, &["--scope", TRICKY, "--namespace", TRICKY], "false");
    let place = ["--scope", TRICKY, "--namespace", TRICKY];
    let again = desk.exec(TRICKY, &place, "false");
    let shown = desk.run(&[&["show", TRICKY][..], &place].concat());
    let listed = desk.run(&["ls"]);
    let counted = desk.run(&["stats"]);
    let seen = desk.run(&["seen", TRICKY]);
    let unknown = desk.run(&["show", TRICKY]);
    assert_eq!((again.code, unknown.code), (70, 66));
    for answer in [&ran, &again, &shown, &listed, &counted, &seen, &unknown] {
        assert!(!tricky(&answer.out) && !tricky(&answer.err), "{answer:?}");
    }
    let cells: Vec<_> = listed.out.lines().nth(1).unwrap().split("  ").collect();
    assert_eq!(cells[..3], [SPELLED; 3], "{listed:?}");
    assert!(shown.out.contains(&format!("key            {SPELLED}\n")));

    // What programs read is exact.
    let record = &lines(&desk.run(&["ls", "--json"]))[0];
    for name in ["namespace", "key", "scope"] {
        assert_eq!(record[name], TRICKY, "{name}");
    }
    // The line to be copied names the key, exactly, in what a shell reads back.
    let line = again
        .line_starting("idem resolve")
        .replace("idem", env!("CARGO_BIN_EXE_idem"));
    let resolved = Answer::of(desk.sh(&line).output().unwrap());
    assert_eq!((resolved.code, resolved.err.as_str()), (0, ""), "{line}");
}

/// What people write is no trick: letters of any script, with the marks that belong to them.
#[test]
fn ordinary_text_of_any_script_is_shown_as_it_is() {
    let desk = Desk::new();
    for key in [
        "caf\u{e9}",
        "cafe\u{301}",
        "\u{939}\u{93f}\u{928}\u{94d}\u{926}\u{940}",
        "\u{e2a}\u{e27}\u{e31}\u{e2a}",
        "\u{6f22}\u{5b57}",
        "\u{5e9}\u{5dc}",
        r#"DOMAIN\user's "key""#,
    ] {
        desk.exec(key, &[], "true");
        let listed = desk.run(&["ls"]);
        assert!(listed.out.contains(key), "{key}: {listed:?}");
    }
}
