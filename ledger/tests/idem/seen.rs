//! `idem seen`: ids that count once within a window.

use crate::desk::Desk;

#[test]
fn the_first_sighting_exits_0_and_a_repeat_1() {
    let desk = Desk::new();
    let seen = |ids: &[&str]| {
        let words = ["seen", "--table", "webhooks", "--window", "7d"];
        desk.run(&[&words[..], ids].concat())
    };
    let first = seen(&["evt_1", "evt_2"]);
    assert_eq!(first.code, 0, "{first:?}");
    assert!(first.out.contains("evt_2  first\n"), "{first:?}");
    let mixed = seen(&["evt_2", "evt_3"]);
    assert_eq!(mixed.code, 1, "{mixed:?}");
    assert!(mixed.out.contains("evt_2  repeat    20"), "{mixed:?}");
    assert!(mixed.out.contains("evt_3  first\n"), "{mixed:?}");
    // The same id twice in one call is a repeat as well.
    assert_eq!(seen(&["evt_4", "evt_4"]).code, 1);
    let elsewhere = ["seen", "--table", "mails", "--window", "7d", "evt_1"];
    assert_eq!(desk.run(&elsewhere).code, 0);
}

#[test]
fn json_says_when_it_was_first_seen() {
    let desk = Desk::new();
    let words = ["seen", "--table", "t", "--window", "5m", "--json", "a", "a"];
    let answer = desk.run(&words);
    assert_eq!(answer.code, 1);
    let lines: Vec<serde_json::Value> = answer
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (&lines[0]["id"], &lines[0]["sighting"]),
        (&"a".into(), &"first".into())
    );
    assert!(lines[0]["first_seen"].is_null());
    assert_eq!(lines[1]["sighting"], "repeat");
    assert!(lines[1]["first_seen"].as_str().unwrap().starts_with("20"));
}

#[test]
fn wrong_sightings_exit_64_and_mark_nothing() {
    let desk = Desk::new();
    let long = "x".repeat(256);
    for words in [
        &["seen", "--table", "t", "--window", "7d"][..],
        &["seen", "--table", "t", "evt_1"],
        &["seen", "--window", "7d", "evt_1"],
        &["seen", "--table", "", "--window", "7d", "evt_1"],
        &["seen", "--table", "t", "--window", "0s", "evt_1"],
        &["seen", "--table", "t", "--window", "7d", "evt_1", ""],
        &["seen", "--table", "t", "--window", "7d", "evt_1", &long],
        &["exec", "--key", "k", "--namespace", "dedup:t", "--", "true"],
    ] {
        let answer = desk.run(words);
        assert_eq!(answer.code, 64, "{words:?}: {answer:?}");
    }
    let good = ["seen", "--table", "t", "--window", "7d", "evt_1"];
    assert_eq!(desk.run(&good).code, 0, "nothing was marked before");
}
