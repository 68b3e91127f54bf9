//! The outbox: what is written with a transaction is sent if and only if that commits, at least
//! once, under a key that stays the same.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread;

use idempotency_ledger::{
    Drain, Drained, Error, Invalid, Key, Ledger, Namespace, Outbox, OutboxRow, OutboxTable,
    RecordFilter, Resolution, Resolved, Verify,
};
use idempotency_tests::storage::{Disk, Survivors, Watched};
use idempotency_tests::workload::{BALANCES, View, deposit};
use idempotency_tests::{cases, clock, in_memory, seconds};
use proptest::prelude::*;

use crate::child::Child;

const MAILS: OutboxTable = OutboxTable::new("mails");
const TOPICS: [&str; 3] = ["ann", "bob", "cyd"];

/// Three rows for three topics.
pub(crate) fn push_all(ledger: &Ledger) {
    for topic in TOPICS {
        let key = ledger.outbox(MAILS).push(topic, b"hello");
        let _ = key.expect("the ledger works");
    }
}

/// Drains everything, and tells of each row.
pub(crate) fn drain_telling(ledger: &Ledger, tell: impl Fn(&OutboxRow)) {
    let drained = ledger.outbox(MAILS).drain(100, |row| {
        tell(row);
        Ok::<_, Infallible>(())
    });
    assert!(matches!(drained, Ok(Drain::Done(_))), "{drained:?}");
}

#[track_caller]
fn done<E: std::fmt::Debug>(drain: Result<Drain<E>, Error>) -> Drained<E> {
    match drain.expect("the ledger works") {
        Drain::Done(drained) => drained,
        busy @ Drain::Busy { .. } => panic!("{busy:?}"),
    }
}

fn topics(outbox: &Outbox) -> Vec<String> {
    let rows = outbox.rows(100).expect("reads");
    rows.iter().map(|row| row.topic().to_owned()).collect()
}

#[test]
fn a_row_and_the_work_it_tells_of_are_one_commit_or_none() {
    let (ledger, _clock) = in_memory();
    let outbox = ledger.outbox(MAILS);
    let txn = ledger.write().expect("begins");
    outbox.push_in(&txn, "ann", b"1").expect("pushed");
    txn.open_table(BALANCES)
        .expect("opens")
        .insert("a", 1)
        .expect("inserts");
    txn.abort();
    assert_eq!(topics(&outbox), Vec::<String>::new());
    let before = ledger.stats().expect("counts").commits;
    let txn = ledger.write().expect("begins");
    let key = outbox.push_in(&txn, "ann", b"1").expect("pushed");
    txn.open_table(BALANCES)
        .expect("opens")
        .insert("a", 1)
        .expect("inserts");
    let _ = txn.commit().expect("commits");
    assert_eq!(ledger.stats().expect("counts").commits, before + 1);
    let rows = outbox.rows(100).expect("reads");
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].key(), rows[0].payload()), (&key, &b"1"[..]));
    assert_eq!((rows[0].failures(), rows[0].pushed_at()), (0, ledger.now()));
}

#[test]
fn rows_are_sent_in_the_order_of_their_commits_and_removed_one_by_one() {
    let (ledger, _clock) = in_memory();
    let outbox = ledger.outbox(MAILS);
    for number in 0..150_u32 {
        outbox
            .push("numbers", &number.to_be_bytes())
            .expect("pushed");
    }
    let mut sent = Vec::new();
    let mut deliver = |row: &OutboxRow| -> Result<(), Infallible> {
        let mut left = outbox.rows(1).expect("reads");
        assert_eq!(
            left.remove(0),
            *row,
            "those before it are removed, it is not yet"
        );
        sent.push(u32::from_be_bytes(
            row.payload().try_into().expect("four bytes"),
        ));
        Ok(())
    };
    let first = done(outbox.drain(100, &mut deliver));
    assert_eq!((first.delivered, first.more), (100, true));
    let second = done(outbox.drain(100, &mut deliver));
    assert_eq!((second.delivered, second.more), (50, false));
    assert_eq!(outbox.rows(1).expect("reads"), []);
    assert_eq!(
        ledger.stats().expect("counts").records(),
        0,
        "nothing is left of it"
    );
    let nothing = done(outbox.drain(100, &mut deliver));
    assert_eq!((nothing.delivered, nothing.more), (0, false));
    assert_eq!(sent, (0..150).collect::<Vec<_>>());
}

#[test]
fn what_fails_stays_and_holds_its_own_topic_back_and_no_other() {
    let (ledger, _clock) = in_memory();
    let outbox = ledger.outbox(MAILS);
    for (topic, payload) in [("ann", "1"), ("bob", "2"), ("ann", "3"), ("cyd", "4")] {
        outbox.push(topic, payload.as_bytes()).expect("pushed");
    }
    let keys: Vec<Key> = outbox
        .rows(9)
        .expect("reads")
        .iter()
        .map(|it| it.key().clone())
        .collect();
    for failures in 1..=3 {
        let drained = done(outbox.drain(100, |row| match row.topic() {
            "ann" => Err("mailbox full"),
            _ => Ok(()),
        }));
        assert_eq!(drained.delivered, if failures == 1 { 2 } else { 0 });
        assert_eq!((drained.failed.len(), drained.held_back), (1, 1));
        assert_eq!(drained.failed[0].1, "mailbox full");
        let rows = outbox.rows(9).expect("reads");
        let counted: Vec<_> = rows.iter().map(OutboxRow::failures).collect();
        assert_eq!(
            (topics(&outbox), counted),
            (vec!["ann".into(); 2], vec![failures, 0])
        );
        assert_eq!(rows[0].key(), &keys[0], "the key stays the same");
    }
    // What nobody takes is removed by hand, and the topic goes on.
    let first = outbox.rows(1).expect("reads").remove(0);
    assert!(outbox.discard(&first).expect("works"));
    assert!(!outbox.discard(&first).expect("works"));
    let drained = done(outbox.drain(100, |row| {
        assert_eq!(row.payload(), b"3");
        Ok::<_, Infallible>(())
    }));
    assert_eq!(drained.delivered, 1);
    assert_eq!(
        ledger.check().expect("checks").problems,
        Vec::<String>::new()
    );
}

#[test]
fn one_caller_drains_at_a_time_and_who_panics_leaves_it_to_the_next() {
    let (ledger, clock) = in_memory();
    let outbox = ledger.outbox(MAILS);
    push_all(&ledger);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        outbox.drain(100, |row| -> Result<(), Infallible> {
            let other = outbox.drain(100, |_| Ok::<_, Infallible>(()));
            assert!(matches!(other, Ok(Drain::Busy { .. })), "{other:?}");
            assert_ne!(row.topic(), "bob", "a delivery that panics");
            Ok(())
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(topics(&outbox), ["bob", "cyd"]);
    // A slow delivery gets a new lease before the next one.
    let drained = done(outbox.drain(100, |_| {
        clock.advance(seconds(50));
        Ok::<_, Infallible>(())
    }));
    assert_eq!(drained.delivered, 2);
}

#[test]
fn a_row_without_a_topic_and_one_that_is_too_large_are_refused() {
    let (ledger, _clock) = in_memory();
    let outbox = ledger.outbox(MAILS);
    for topic in ["", "a\nb", &"x".repeat(256)] {
        let refused = outbox.push(topic, b"");
        assert!(
            matches!(refused, Err(Error::Invalid(Invalid::Topic(_)))),
            "{refused:?}"
        );
    }
    let limit = 1024 * 1024;
    let refused = outbox.push("ann", &vec![7; limit + 1]);
    assert!(
        matches!(refused, Err(Error::Invalid(Invalid::TooLong { .. }))),
        "{refused:?}"
    );
    let txn = ledger.write().expect("begins");
    assert!(outbox.push_in(&txn, "", b"").is_err());
    let _ = txn.commit().expect("the transaction can still commit");
    assert_eq!(
        ledger.records(RecordFilter::all()).expect("reads").count(),
        0
    );
    outbox
        .push(&"x".repeat(255), &vec![7; limit])
        .expect("at the limit");
    assert_eq!(outbox.rows(1).expect("reads")[0].payload().len(), limit);
    for name in ["", "a\nb", &"x".repeat(241)] {
        assert!(OutboxTable::named(name).is_err());
    }
    assert!(OutboxTable::named("x".repeat(240)).is_ok());
    assert!(
        Namespace::named("outbox:mails").is_err(),
        "nobody else can name it"
    );
    let (elsewhere, _clock) = in_memory();
    let txn = elsewhere.write().expect("begins");
    let strange = outbox.push_in(&txn, "ann", b"");
    assert!(matches!(strange, Err(Error::Unsupported { .. })));
}

#[test]
fn two_outboxes_are_two_and_no_two_rows_have_the_same_key() {
    let (ledger, _clock) = in_memory();
    let other = OutboxTable::named("events").expect("a name");
    ledger
        .outbox(other.clone())
        .push("ann", b"1")
        .expect("pushed");
    push_all(&ledger);
    let rows = |table| ledger.outbox(table).rows(9).expect("reads");
    assert_eq!((rows(other.clone()).len(), rows(MAILS).len()), (1, 3));
    let mut keys: Vec<_> = rows(other).into_iter().chain(rows(MAILS)).collect();
    keys.sort_by(|one, other| one.key().cmp(other.key()));
    keys.dedup_by(|one, other| one.key() == other.key());
    assert_eq!(keys.len(), 4);
}

/// How often each row was sent, by its key.
type Sent = BTreeMap<Key, u32>;

#[track_caller]
fn hold_behind_a_death(ledger: &Ledger, mut sent: Sent, context: &str) {
    let before = sent.clone();
    let outbox = ledger.outbox(MAILS);
    let drained = done(outbox.drain(100, |row| {
        *sent.entry(row.key().clone()).or_default() += 1;
        Ok::<_, Infallible>(())
    }));
    assert!(drained.delivered <= 3, "{context}");
    assert_eq!(sent.len(), 3, "{context}: each was sent, under one key");
    let twice = sent.values().filter(|count| **count > 1).count();
    assert!(
        twice <= 1,
        "{context}: at most the last one twice: {before:?} {sent:?}"
    );
    assert_eq!(outbox.rows(1).expect("reads"), [], "{context}");
    assert_eq!(ledger.stats().expect("counts").records(), 0, "{context}");
    assert_eq!(
        ledger.check().expect("checks").problems,
        Vec::<String>::new(),
        "{context}"
    );
}

#[test]
fn killed_at_any_step_of_a_drain_each_row_is_sent_and_at_most_one_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut step = 0;
    loop {
        let path = folder.path().join(format!("{step}.redb"));
        let mut child = Child::start();
        child.say(&format!("drain-stop-at {step} {}", path.display()));
        let mut sent = Sent::new();
        let was_done = loop {
            let line = child.hear().expect("the child lives until it is killed");
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["sent", _, row] => *sent.entry(Key::new(row).expect("a key")).or_default() += 1,
                ["stopped"] => break false,
                ["done"] => break true,
                _ => panic!("the child said {line}"),
            }
        };
        child.kill();
        let ledger = Ledger::builder().clock(clock()).verify(Verify::Always);
        let ledger = ledger.open(&path).expect("opens after a kill");
        hold_behind_a_death(&ledger, sent, &format!("killed at {step}"));
        if was_done {
            assert!(step > 20, "every step of five commits was seen: {step}");
            return;
        }
        step += 1;
    }
}

#[test]
fn a_power_cut_at_any_step_of_a_drain_loses_no_row() {
    let mut step = 0;
    loop {
        let mut reached_the_end = false;
        for survivors in [Survivors::None, Survivors::All, Survivors::Drawn(step)] {
            let disk = Disk::default();
            let storage = Watched::new(disk.clone());
            let builder = Ledger::builder().clock(clock());
            let ledger = builder.open_backend(storage.clone()).expect("opens");
            push_all(&ledger);
            storage.fail_from(step, ErrorKind::Other);
            let mut sent = Sent::new();
            let drained = ledger.outbox(MAILS).drain(100, |row| {
                *sent.entry(row.key().clone()).or_default() += 1;
                Ok::<_, Infallible>(())
            });
            reached_the_end = drained.is_ok();
            let disk = Disk::holding(disk.after_power_cut(survivors));
            let builder = Ledger::builder().clock(clock()).verify(Verify::Always);
            let again = builder.open_backend(disk).expect("opens");
            hold_behind_a_death(&again, sent, &format!("{step} {survivors:?}"));
        }
        if reached_the_end {
            return;
        }
        step += 1;
    }
}

/// What happens to an outbox.
#[derive(Clone, Debug)]
enum Act {
    Push { topic: usize },
    PushAborted { topic: usize },
    Drain { max: usize, bounces: usize },
    Reopen,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..3_usize).prop_map(|topic| Act::Push { topic }),
        1 => (0..3_usize).prop_map(|topic| Act::PushAborted { topic }),
        3 => (0..5_usize, 0..4_usize).prop_map(|(max, bounces)| Act::Drain { max, bounces }),
        1 => Just(Act::Reopen),
    ]
}

proptest! {
    #![proptest_config(cases(100))]

    /// Against a plain queue: the same rows in the same order, the same ones sent.
    #[test]
    fn an_outbox_is_a_queue_that_survives(acts in proptest::collection::vec(act(), 1..40)) {
        let (disk, clock) = (Disk::default(), clock());
        let open = || {
            let builder = Ledger::builder().clock(clock.clone());
            builder.open_backend(disk.clone()).expect("opens")
        };
        let mut ledger = open();
        let mut queue: VecDeque<(usize, u32)> = VecDeque::new();
        for (number, act) in acts.into_iter().enumerate() {
            let number = u32::try_from(number).expect("few");
            let outbox = ledger.outbox(MAILS);
            match act {
                Act::Push { topic } => {
                    outbox.push(TOPICS[topic], &number.to_be_bytes()).expect("pushed");
                    queue.push_back((topic, number));
                }
                Act::PushAborted { topic } => {
                    let txn = ledger.write().expect("begins");
                    outbox.push_in(&txn, TOPICS[topic], b"never").expect("pushed");
                    txn.abort();
                }
                Act::Drain { max, bounces } => {
                    let mut sent = Vec::new();
                    let drained = done(outbox.drain(max, |row| {
                        if TOPICS.get(bounces) == Some(&row.topic()) {
                            return Err("bounced");
                        }
                        sent.push(u32::from_be_bytes(row.payload().try_into().expect("four")));
                        Ok(())
                    }));
                    let (mut expected, mut bounced, mut is_over) = (Vec::new(), 0, false);
                    queue.retain(|(topic, number)| {
                        if bounced > 0 && *topic == bounces {
                            return true;
                        }
                        is_over |= expected.len() >= max;
                        if is_over {
                            return true;
                        }
                        if *topic == bounces {
                            bounced += 1;
                            return true;
                        }
                        expected.push(*number);
                        false
                    });
                    prop_assert_eq!(&sent, &expected);
                    prop_assert_eq!(drained.delivered, sent.len());
                    prop_assert_eq!(drained.failed.len(), bounced);
                }
                Act::Reopen => {
                    drop(outbox);
                    drop(ledger);
                    ledger = open();
                }
            }
            let rows = ledger.outbox(MAILS).rows(100).expect("reads");
            let found: Vec<_> = rows.iter().map(OutboxRow::payload).collect();
            let expected: Vec<_> = queue.iter().map(|(_, number)| number.to_be_bytes()).collect();
            prop_assert_eq!(found, expected.iter().map(|it| &it[..]).collect::<Vec<_>>());
        }
        prop_assert_eq!(ledger.check().expect("checks").problems, Vec::<String>::new());
    }
}

#[test]
fn a_backup_and_a_listing_hold_the_rows() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    let ledger = Ledger::open(&path).expect("opens");
    push_all(&ledger);
    deposit(&ledger, "first", 5).expect("stored");
    let copy = folder.path().join("copy.redb");
    ledger.backup(&copy).expect("copies");
    let copied = Ledger::open(&copy).expect("opens");
    assert_eq!(topics(&copied.outbox(MAILS)), TOPICS);
    assert_eq!(
        View::of(&copied).expect("reads"),
        View::of(&ledger).expect("reads")
    );
    let filter = RecordFilter::all().namespace(&Namespace::of_outbox("mails"));
    assert_eq!(ledger.records(filter).expect("reads").count(), 3);
}

#[test]
fn topics_that_fail_starve_no_other_and_none_waits_behind_a_long_one() {
    let (ledger, _clock) = in_memory();
    let outbox = ledger.outbox(MAILS);
    for number in 0..65 {
        outbox
            .push("bad", format!("{number}").as_bytes())
            .expect("pushed");
    }
    for topic in ["worse", "worst", "good"] {
        outbox.push(topic, b"1").expect("pushed");
    }
    // Two pages of what is held back, and more failures than deliveries are asked for.
    let drained = done(outbox.drain(1, |row| match row.topic() {
        "good" => Ok(()),
        _ => Err("no"),
    }));
    assert_eq!((drained.delivered, drained.failed.len()), (1, 3));
    assert_eq!((drained.held_back, drained.more), (64, false));
    let nothing = done(outbox.drain(0, |_| Ok::<_, Infallible>(())));
    assert_eq!((nothing.delivered, nothing.more), (0, true));
}

#[test]
fn a_drain_looks_first_and_writes_nothing_where_nothing_waits() {
    let (ledger, _clock) = in_memory();
    let drained = done(ledger.outbox(MAILS).drain(10, |_| Ok::<_, Infallible>(())));
    assert_eq!((drained.delivered, drained.more), (0, false));
    let stats = ledger.stats().expect("counts");
    assert_eq!((stats.commits, stats.namespaces.len()), (0, 0));
}

#[test]
fn what_is_discarded_during_a_drain_is_not_sent_any_more() {
    let (ledger, _clock) = in_memory();
    let outbox = ledger.outbox(MAILS);
    push_all(&ledger);
    let second = outbox.rows(2).expect("reads").remove(1);
    let drained = done(outbox.drain(10, |row| {
        assert_ne!(row.key(), second.key());
        if row.topic() == "ann" {
            assert!(outbox.discard(&second).expect("works"));
            outbox.push("late", b"1").expect("pushed");
        }
        Ok::<_, Infallible>(())
    }));
    assert_eq!(
        drained.delivered, 3,
        "the first, the third, and the one that came meanwhile"
    );
}

#[test]
fn a_drain_that_was_ended_by_hand_blocks_nobody() {
    let (ledger, _clock) = in_memory();
    let outbox = ledger.outbox(MAILS);
    push_all(&ledger);
    let died = catch_unwind(AssertUnwindSafe(|| {
        outbox.drain(1, |_| -> Result<(), Infallible> {
            panic!("in the delivery")
        })
    }));
    assert!(died.is_err());
    let drain = Key::new("drain").expect("a key");
    let record = ledger
        .record(Namespace::of_outbox("mails"), &drain)
        .scope("drain");
    let resolution = Resolution::Completed("by hand".into());
    assert_eq!(record.resolve(resolution).expect("works"), Resolved::Done);
    let drained = done(outbox.drain(10, |_| Ok::<_, Infallible>(())));
    assert_eq!(drained.delivered, 3);
}

/// Delivers everything, and says of which topic.
fn deliver_to(sent: &RefCell<Vec<String>>) -> impl FnMut(&OutboxRow) -> Result<(), Infallible> {
    |row| {
        let payload = String::from_utf8_lossy(row.payload());
        sent.borrow_mut().push(format!("{} {payload}", row.topic()));
        Ok(())
    }
}

#[test]
fn several_drain_at_once_each_a_topic_of_its_own() {
    let (ledger, _clock) = in_memory();
    let outbox = ledger.outbox(MAILS);
    for number in ["1", "2"] {
        for topic in TOPICS {
            outbox.push(topic, number.as_bytes()).expect("pushed");
        }
    }
    let (sent, inside) = (RefCell::default(), Cell::new(0));
    let slow = outbox.drain_topic("ann", 100, |row| {
        inside.set(inside.get() + 1);
        if inside.get() == 1 {
            // While one caller is at a topic, no other is, and the others' topics go on.
            let same = outbox.drain_topic("ann", 100, deliver_to(&sent));
            assert!(matches!(same, Ok(Drain::Busy { .. })), "{same:?}");
            let other = done(outbox.drain_topic("bob", 100, deliver_to(&sent)));
            assert_eq!((other.delivered, other.held_back), (2, 0));
            let all = done(outbox.drain(100, deliver_to(&sent)));
            assert_eq!((all.delivered, all.held_back), (2, 2));
        }
        deliver_to(&sent)(row)
    });
    assert_eq!(done(slow).delivered, 2);
    assert_eq!(
        sent.take(),
        ["bob 1", "bob 2", "cyd 1", "cyd 2", "ann 1", "ann 2"]
    );
    assert!(topics(&outbox).is_empty());
    // Neither kind of claim is left behind.
    let left = ledger.records(RecordFilter::all()).expect("lists");
    assert_eq!(left.count(), 0);
}

#[test]
fn no_topic_is_drained_alone_while_another_caller_drains_everything() {
    let (ledger, _clock) = in_memory();
    let outbox = ledger.outbox(MAILS);
    push_all(&ledger);
    let all = outbox.drain(100, |_| {
        for topic in TOPICS {
            let alone = outbox.drain_topic(topic, 100, |_| Ok::<_, Infallible>(()));
            // The row that is being delivered is the last of its topic or not: it still waits.
            match alone.expect("works") {
                Drain::Busy { .. } => {}
                Drain::Done(drained) => assert_eq!(drained.delivered, 0),
            }
        }
        Ok::<_, Infallible>(())
    });
    assert_eq!(done(all).delivered, 3);
    let nothing = outbox.drain_topic("", 100, |_| Ok::<_, Infallible>(()));
    assert!(matches!(nothing, Err(Error::Invalid(Invalid::Topic(_)))));
}

#[test]
fn who_panics_while_draining_a_topic_leaves_it_to_the_next_of_either_kind() {
    let (ledger, _clock) = in_memory();
    let outbox = ledger.outbox(MAILS);
    let die = |topic: &str| {
        let dying = || outbox.drain_topic(topic, 100, |_| -> Result<(), Infallible> { panic!() });
        assert!(catch_unwind(AssertUnwindSafe(dying)).is_err());
    };
    push_all(&ledger);
    die("ann");
    die("bob");
    let sent = RefCell::default();
    assert_eq!(
        done(outbox.drain_topic("ann", 100, deliver_to(&sent))).delivered,
        1
    );
    let all = done(outbox.drain(100, deliver_to(&sent)));
    assert_eq!((all.delivered, all.held_back), (2, 0));
    assert_eq!(sent.take(), ["ann hello", "bob hello", "cyd hello"]);
    // And the other way round.
    push_all(&ledger);
    let dying = || outbox.drain(100, |_| -> Result<(), Infallible> { panic!() });
    assert!(catch_unwind(AssertUnwindSafe(dying)).is_err());
    assert_eq!(
        done(outbox.drain_topic("bob", 100, deliver_to(&sent))).delivered,
        1
    );
}

#[test]
fn threads_that_share_out_the_topics_send_each_row_once_and_in_order() {
    let (ledger, _clock) = in_memory();
    let outbox = ledger.outbox(MAILS);
    for number in 0..20 {
        for topic in TOPICS {
            outbox
                .push(topic, format!("{number:02}").as_bytes())
                .expect("pushed");
        }
    }
    let sent = Mutex::new(BTreeMap::<String, Vec<String>>::new());
    thread::scope(|scope| {
        for worker in 0..6 {
            let (outbox, sent) = (&outbox, &sent);
            scope.spawn(move || {
                while !outbox.rows(1).expect("reads").is_empty() {
                    let deliver = |row: &OutboxRow| {
                        let text = String::from_utf8_lossy(row.payload()).into_owned();
                        let mut sent = sent.lock().expect("no worker panics");
                        sent.entry(row.topic().to_owned()).or_default().push(text);
                        Ok::<_, Infallible>(())
                    };
                    let drain = match TOPICS.get(worker) {
                        Some(topic) => outbox.drain_topic(topic, 3, deliver),
                        None => outbox.drain(5, deliver),
                    };
                    let _ = drain.expect("works");
                }
            });
        }
    });
    let all: Vec<String> = (0..20).map(|number| format!("{number:02}")).collect();
    for topic in TOPICS {
        let sent = sent.lock().expect("no worker panics");
        assert_eq!(sent.get(topic), Some(&all), "{topic}");
    }
}
