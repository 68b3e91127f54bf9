//! Dedup tables: what counts as seen, for how long, and at what price.

use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use idempotency_ledger::{
    DedupTable, Error, Invalid, KeyError, Ledger, ManualClock, Namespace, Sighting,
};
use idempotency_tests::storage::{Disk, Watched};
use idempotency_tests::{cases, clock, in_memory, seconds};
use proptest::prelude::*;

const SHOP: DedupTable = DedupTable::new("webhooks/shop", DedupTable::FIVE_MINUTES);
const BANK: DedupTable = DedupTable::new("webhooks/bank", DedupTable::ONE_DAY);

fn observe(ledger: &Ledger, table: &DedupTable, id: &str) -> Sighting {
    let seen = ledger.dedup(table.clone()).observe(id);
    seen.expect("the ledger works")
}

fn open(disk: &Disk, clock: &ManualClock) -> Ledger {
    let builder = Ledger::builder().clock(clock.clone());
    builder.open_backend(disk.clone()).expect("opens")
}

#[test]
fn an_id_counts_once_in_each_table_and_says_when_it_was_first_seen() {
    let (ledger, clock) = in_memory();
    let first_seen = ledger.now();
    assert_eq!(observe(&ledger, &SHOP, "evt_1"), Sighting::First);
    clock.advance(seconds(10));
    let repeat = Sighting::Repeat { first_seen };
    assert_eq!(observe(&ledger, &SHOP, "evt_1"), repeat);
    assert_eq!(observe(&ledger, &BANK, "evt_1"), Sighting::First);
    assert_eq!(observe(&ledger, &SHOP, "evt_2"), Sighting::First);
    // A namespace of the same name is none of theirs.
    let payments = Namespace::new("webhooks/shop");
    let key = idempotency_tests::key("evt_1");
    let record = ledger.record(payments, &key).peek().expect("reads");
    assert_eq!(record, None);
}

#[test]
fn a_window_is_over_at_its_end_and_not_a_millisecond_before() {
    let (ledger, clock) = in_memory();
    assert_eq!(observe(&ledger, &SHOP, "evt_1"), Sighting::First);
    clock.advance(SHOP.window() - Duration::from_millis(1));
    let repeat = observe(&ledger, &SHOP, "evt_1");
    assert!(matches!(repeat, Sighting::Repeat { .. }), "{repeat:?}");
    // A repeat does not make the window longer.
    clock.advance(Duration::from_millis(1));
    assert_eq!(observe(&ledger, &SHOP, "evt_1"), Sighting::First);
}

#[test]
fn a_clock_that_is_set_back_makes_nothing_first_again_also_over_a_restart() {
    let (disk, ahead) = (Disk::default(), clock());
    let ledger = open(&disk, &ahead);
    assert_eq!(observe(&ledger, &SHOP, "evt_1"), Sighting::First);
    ahead.advance(seconds(200));
    assert_eq!(observe(&ledger, &SHOP, "evt_2"), Sighting::First);
    drop(ledger);
    let behind = clock();
    let ledger = open(&disk, &behind);
    // Time goes on from the mark in the file: 99 s later the window still holds, then no more.
    for later in [0, 99] {
        behind.advance(seconds(later));
        let seen = observe(&ledger, &SHOP, "evt_1");
        assert!(matches!(seen, Sighting::Repeat { .. }), "{later} s");
    }
    behind.advance(seconds(1));
    assert_eq!(observe(&ledger, &SHOP, "evt_1"), Sighting::First);
}

#[test]
fn a_thousand_ids_take_one_sync_and_repeats_none() {
    let (storage, clock) = (Watched::new(Disk::default()), clock());
    let builder = Ledger::builder().clock(clock.clone());
    let ledger = builder.open_backend(storage.clone()).expect("opens");
    let shop = ledger.dedup(SHOP);
    // The commit that is counted must not have to grow the file.
    let numbered = |name: &str, count: u32| -> Vec<String> {
        (0..count)
            .map(|number| format!("{name}_{number:04}"))
            .collect()
    };
    for _ in 0..3 {
        let seen = shop.observe_all(numbered("room", 3_000)).expect("works");
        assert!(seen.iter().all(|seen| *seen == Sighting::First));
        clock.advance(SHOP.window());
        while ledger.sweep(1_000).expect("sweeps").more {}
    }
    let ids = numbered("evt", 1_000);
    let before = storage.counts();
    let seen = shop.observe_all(&ids).expect("the ledger works");
    let after = storage.counts();
    assert_eq!(
        (after.growths, after.syncs),
        (before.growths, before.syncs + 1)
    );
    assert!(seen.iter().all(|seen| *seen == Sighting::First));
    let again = shop.observe_all(&ids).expect("the ledger works");
    assert!(
        again
            .iter()
            .all(|seen| matches!(seen, Sighting::Repeat { .. }))
    );
    assert!(matches!(
        observe(&ledger, &SHOP, "evt_0500"),
        Sighting::Repeat { .. }
    ));
    assert_eq!(
        storage.counts().syncs,
        after.syncs,
        "a repeat writes nothing"
    );
    assert_eq!(
        shop.observe_all(Vec::<&str>::new()).expect("nothing to do"),
        []
    );
}

#[test]
fn callers_at_the_same_time_see_one_first() {
    let (ledger, _clock) = in_memory();
    for round in 0..20 {
        let id = format!("evt_{round}");
        let firsts = thread::scope(|scope| {
            let callers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| observe(&ledger, &SHOP, &id)))
                .collect();
            let seen = callers.into_iter().map(ScopedJoinHandle::join);
            seen.filter(|seen| matches!(seen, Ok(Sighting::First)))
                .count()
        });
        assert_eq!(firsts, 1, "round {round}");
    }
}

#[test]
fn a_mark_in_a_transaction_is_there_with_the_work_or_not_at_all() {
    let (ledger, _clock) = in_memory();
    let shop = ledger.dedup(SHOP);
    let txn = ledger.write().expect("begins");
    assert_eq!(
        shop.observe_in(&txn, "evt_1").expect("works"),
        Sighting::First
    );
    let inside = shop.observe_in(&txn, "evt_1").expect("works");
    assert!(matches!(inside, Sighting::Repeat { .. }));
    txn.abort();
    let txn = ledger.write().expect("begins");
    assert_eq!(
        shop.observe_in(&txn, "evt_1").expect("works"),
        Sighting::First
    );
    drop(txn.commit().expect("commits"));
    assert!(matches!(
        observe(&ledger, &SHOP, "evt_1"),
        Sighting::Repeat { .. }
    ));
    let (other, _clock) = in_memory();
    let txn = other.write().expect("begins");
    let foreign = shop.observe_in(&txn, "evt_2");
    assert!(matches!(foreign, Err(Error::Unsupported { .. })));
}

#[test]
fn bad_ids_and_names_are_refused_and_nothing_is_written() {
    let (ledger, _clock) = in_memory();
    let shop = ledger.dedup(SHOP);
    let long = "x".repeat(256);
    for (bad, why) in [
        ("", KeyError::Empty),
        (long.as_str(), KeyError::TooLong { bytes: 256 }),
        ("a\nb", KeyError::ControlCharacter { at: 1 }),
    ] {
        let refusal = |result: Result<_, Error>| match result {
            Err(Error::Invalid(Invalid::Key(error))) => assert_eq!(error, why),
            other => panic!("{bad:?} is refused, not {other:?}"),
        };
        refusal(shop.observe(bad).map(|_| ()));
        refusal(shop.observe_all(["good", bad]).map(|_| ()));
    }
    let flood = std::iter::repeat_n("x".repeat(255), 10_000);
    let refused = shop.observe_all(flood);
    assert!(matches!(
        refused,
        Err(Error::Invalid(Invalid::TooLong { .. }))
    ));
    assert_eq!(ledger.stats().expect("reads").records(), 0);
    assert_eq!(observe(&ledger, &SHOP, &"x".repeat(255)), Sighting::First);
    for (name, window) in [
        (String::new(), seconds(1)),
        ("x".repeat(241), seconds(1)),
        ("a\u{0}".to_owned(), seconds(1)),
        ("a".to_owned(), Duration::ZERO),
    ] {
        let made = DedupTable::named(name.as_str(), window);
        assert!(
            matches!(made, Err(Error::Invalid(_))),
            "{name:?} {window:?}"
        );
    }
    assert_eq!(Namespace::named("dedup:shop"), Err(KeyError::Reserved));
}

#[test]
fn sightings_are_counted_swept_and_checked_like_every_record() {
    let (ledger, clock) = in_memory();
    for number in 0..10 {
        assert_eq!(
            observe(&ledger, &SHOP, &format!("evt_{number}")),
            Sighting::First
        );
    }
    let stats = ledger.stats().expect("reads");
    assert_eq!(
        (stats.namespaces[0].name.as_str(), stats.records()),
        ("dedup:webhooks/shop", 10)
    );
    clock.advance(SHOP.window());
    assert_eq!(
        ledger.stats().expect("reads").records(),
        0,
        "judged on read"
    );
    let swept = ledger.sweep(4).expect("sweeps");
    assert_eq!((swept.removed, swept.more), (4, true));
    assert_eq!(ledger.sweep(100).expect("sweeps").removed, 6);
    assert!(ledger.check().expect("reads").is_clean());
}

proptest! {
    #![proptest_config(cases(64))]

    /// Against a plain model: a map from table and id to the first sighting within its window.
    #[test]
    fn random_histories_agree_with_a_plain_model(
        steps in prop::collection::vec((0_u8..2, 0_u8..6, 0_u64..200, any::<bool>()), 1..80)
    ) {
        let (disk, clock) = (Disk::default(), clock());
        let mut ledger = open(&disk, &clock);
        let mut model = std::collections::BTreeMap::new();
        for (table, id, later, is_reopened) in steps {
            clock.advance(seconds(later));
            if is_reopened {
                drop(ledger);
                ledger = open(&disk, &clock);
            }
            let chosen = if table == 0 { &SHOP } else { &BANK };
            let now = ledger.now();
            let seen = observe(&ledger, chosen, &format!("evt_{id}"));
            let known = model.get(&(table, id)).copied();
            let counts = known.filter(|first| now.saturating_since(*first) < chosen.window());
            if let Some(first_seen) = counts {
                prop_assert_eq!(seen, Sighting::Repeat { first_seen });
            } else {
                prop_assert_eq!(seen, Sighting::First);
                model.insert((table, id), now);
            }
        }
        prop_assert!(ledger.check().expect("reads").is_clean());
    }
}
