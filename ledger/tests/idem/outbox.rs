//! `idem outbox`: what waits, and a command that sends it.

use idempotency_ledger::{Ledger, OutboxTable};

use crate::desk::Desk;

fn push(desk: &Desk, table: &str, messages: &[(&str, &str)]) {
    let ledger = Ledger::builder().shared().open(desk.ledger()).unwrap();
    let outbox = ledger.outbox(OutboxTable::named(table).unwrap());
    for (topic, payload) in messages {
        let _ = outbox.push(topic, payload.as_bytes()).unwrap();
    }
}

fn waiting(desk: &Desk) -> Vec<serde_json::Value> {
    let listed = desk.run(&["outbox", "--json"]);
    assert_eq!(listed.code, 0, "{listed:?}");
    let lines = listed.out.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn what_waits_is_listed_for_people_and_for_programs() {
    let desk = Desk::new();
    push(&desk, "mails", &[("ann", "hello"), ("bob", "\u{1}\u{e9}")]);
    push(&desk, "events", &[("paid", "{}")]);
    let rows = waiting(&desk);
    assert_eq!(rows.len(), 3);
    assert_eq!(
        (&rows[0]["table"], &rows[0]["payload"]),
        (&"events".into(), &"{}".into())
    );
    assert_eq!(
        (&rows[1]["topic"], &rows[1]["failures"]),
        (&"ann".into(), &0.into())
    );
    let shown = desk.run(&["outbox", "--table", "mails"]);
    assert!(
        shown.out.contains("TOPIC") && shown.out.contains("bob"),
        "{shown:?}"
    );
    assert!(!shown.out.contains("paid"), "{shown:?}");
}

#[test]
fn a_command_sends_each_message_with_its_topic_and_key() {
    let desk = Desk::new();
    push(&desk, "mails", &[("ann", "one"), ("bob", "two")]);
    let keys: Vec<_> = waiting(&desk)
        .iter()
        .map(|row| row["key"].clone())
        .collect();
    let script = r#"printf '%s %s ' "$IDEM_TOPIC" "$IDEM_KEY" >> sent; cat >> sent; echo >> sent"#;
    let sent = desk.run(&["outbox", "--table", "mails", "--", "sh", "-c", script]);
    assert_eq!((sent.code, sent.out.as_str()), (0, "2 sent\n"), "{sent:?}");
    let lines = std::fs::read_to_string(desk.path("sent")).unwrap();
    let expected = format!(
        "ann {} one\nbob {} two\n",
        keys[0].as_str().unwrap(),
        keys[1].as_str().unwrap()
    );
    assert_eq!(lines, expected);
    assert_eq!(waiting(&desk).len(), 0);
}

#[test]
fn what_fails_stays_with_those_of_its_topic_and_the_call_says_so() {
    let desk = Desk::new();
    push(&desk, "mails", &[("ann", "1"), ("bob", "2"), ("ann", "3")]);
    let script = "test \"$IDEM_TOPIC\" = bob";
    let sent = desk.run(&["outbox", "--table", "mails", "--", "sh", "-c", script]);
    assert_eq!((sent.code, sent.out.as_str()), (75, "1 sent\n"), "{sent:?}");
    assert!(sent.err.contains("1 failed, 1 were held back"), "{sent:?}");
    let rows = waiting(&desk);
    assert_eq!(rows.len(), 2);
    assert_eq!(
        (&rows[0]["failures"], &rows[1]["failures"]),
        (&1.into(), &0.into())
    );
    let missing = desk.run(&["outbox", "--table", "mails", "--", "./no-such-program"]);
    assert_eq!(missing.code, 75, "{missing:?}");
    assert!(missing.err.contains("no-such-program"), "{missing:?}");
    assert_eq!(waiting(&desk).len(), 2);
}

#[test]
fn wrong_calls_send_nothing() {
    let desk = Desk::new();
    push(&desk, "mails", &[("ann", "1")]);
    let unnamed = desk.run(&["outbox", "--", "true"]);
    assert_eq!(unnamed.code, 64, "{unnamed:?}");
    assert!(unnamed.err.contains("--table"), "{unnamed:?}");
    let unusable = desk.run(&["outbox", "--table", "", "--", "true"]);
    assert_eq!(unusable.code, 64, "{unusable:?}");
    assert_eq!(waiting(&desk).len(), 1);
    let nowhere = Desk::new().run(&["outbox"]);
    assert_eq!(nowhere.code, 74, "{nowhere:?}");
}
