//! Counters against a full scan, over a long random history with crashes.

use std::collections::BTreeMap;

use idempotency_ledger::{
    Begin, DedupTable, Error, Ledger, ManualClock, Namespace, OutboxTable, Policy, RecordFilter,
    RecordState,
};
use idempotency_tests::storage::{Disk, Draw, Survivors};
use idempotency_tests::{asked, clock, key, seconds};

const OPERATIONS: u32 = 100_000;
/// On the average, so many operations lie between two crashes.
const BETWEEN_CRASHES: u64 = 5_000;

const EVENTS: DedupTable = DedupTable::new("events", DedupTable::FIVE_MINUTES);
const MAILS: OutboxTable = OutboxTable::new("mails");

fn namespaces() -> [Namespace; 3] {
    let policy = Policy::DEFAULT.lease(seconds(30));
    [
        Namespace::new("short").policy(policy.retention(seconds(60))),
        Namespace::new("long").policy(policy.retention(seconds(6_000))),
        Namespace::new("full").policy(policy.retention(seconds(600)).records_max(40)),
    ]
}

fn open(disk: Disk, clock: &ManualClock) -> Ledger {
    let builder = Ledger::builder().clock(clock.clone());
    builder.open_backend(disk).expect("opens")
}

/// Does one thing, drawn at random; the claims that it leaves open live on in `open`.
fn act(ledger: &Ledger, draw: &mut Draw, open: &mut Vec<idempotency_ledger::Claim>) {
    let namespace = &namespaces()[usize::try_from(draw.below(3)).expect("small")];
    let text = key(&format!("k-{}", draw.below(300)));
    match draw.below(20) {
        0 => drop(ledger.sweep(50).expect("sweeps")),
        1 => drop(
            ledger
                .record(namespace.clone(), &text)
                .forget()
                .expect("works"),
        ),
        2 | 3 => drop(ledger.dedup(EVENTS).observe(text.as_str()).expect("works")),
        4 => drop(
            ledger
                .outbox(MAILS)
                .push("t", text.as_str().as_bytes())
                .expect("works"),
        ),
        5 => {
            let drained = ledger.outbox(MAILS).drain(5, |_| Ok::<_, Error>(()));
            drop(drained.expect("works"));
        }
        6 | 7 => {
            if let Some(claim) = open.pop() {
                // Somebody may have taken it over since.
                drop(claim.release());
            }
        }
        _ => match ledger.operation(namespace.clone(), &text, asked()).begin() {
            Ok(Begin::Fresh(claim)) if draw.below(5) == 0 => open.push(claim),
            Ok(Begin::Fresh(claim)) if draw.below(10) == 0 => drop(claim),
            Ok(Begin::Fresh(claim)) => {
                let bytes = usize::try_from(draw.below(200)).expect("small");
                drop(claim.complete(vec![7; bytes]).expect("stored"));
            }
            Ok(Begin::Interrupted(ticket)) if draw.coin() => drop(ticket.release()),
            Ok(Begin::Interrupted(ticket)) => drop(ticket.complete("after all")),
            Ok(Begin::Replay(_) | Begin::Refused(_)) => {}
            Err(error) => panic!("{error}"),
        },
    }
}

/// What the counters say is what a look at every record finds.
#[track_caller]
fn hold(ledger: &Ledger, context: &str) {
    assert_eq!(
        ledger.check().expect("checks").problems,
        Vec::<String>::new(),
        "{context}"
    );
    let mut scanned: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for info in ledger.records(RecordFilter::all()).expect("reads") {
        let info = info.expect("reads");
        let (claimed, completed) = scanned.entry(info.namespace().to_owned()).or_default();
        match info.state() {
            RecordState::Completed => *completed += 1,
            RecordState::Claimed | RecordState::Interrupted => *claimed += 1,
        }
    }
    for names in ledger.stats().expect("counts").namespaces {
        let found = scanned.get(&names.name).copied().unwrap_or_default();
        assert_eq!(
            (names.claimed, names.completed),
            found,
            "{context}: {}",
            names.name
        );
        assert_eq!(names.records, names.claimed + names.completed, "{context}");
    }
}

#[test]
fn counters_equal_a_full_scan_after_100_000_random_operations_with_crashes() {
    let seed = std::env::var("COUNTERS_SEED").map_or_else(
        |_| u64::from(std::process::id()),
        |text| text.parse().expect("a number"),
    );
    println!("COUNTERS_SEED={seed} repeats it");
    let mut draw = Draw::new(seed);
    let clock = clock();
    let mut disk = Disk::default();
    let mut ledger = open(disk.clone(), &clock);
    let (mut claims, mut crashes) = (Vec::new(), 0);
    for number in 0..OPERATIONS {
        act(&ledger, &mut draw, &mut claims);
        if draw.below(20) == 0 {
            clock.advance(seconds(draw.below(20)));
        }
        if claims.len() > 20 {
            let claim = claims.swap_remove(0);
            drop(claim.complete("late"));
        }
        if draw.below(BETWEEN_CRASHES) == 0 || number + 1 == OPERATIONS {
            crashes += 1;
            let survivors = match draw.below(3) {
                0 => Survivors::None,
                1 => Survivors::All,
                _ => Survivors::Drawn(draw.number()),
            };
            let image = disk.after_power_cut(survivors);
            claims.clear();
            disk = Disk::holding(image);
            ledger = open(disk.clone(), &clock);
            hold(&ledger, &format!("seed {seed}, operation {number}"));
        }
    }
    assert!(crashes >= 2, "it crashed: {crashes}");
    hold(&ledger, "at the end");
}
