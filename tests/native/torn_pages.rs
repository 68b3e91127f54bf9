//! Whole pages of the file are something else. redb trusts pages that it does not verify, and
//! panics on some of them: no call of the ledger passes such a panic on, and none aborts.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};

use idempotency_ledger::{CommitProfile, Ledger, RecordFilter, Verify};
use idempotency_tests::storage::{Disk, Draw, Survivors};
use idempotency_tests::{Expect, PAYMENTS, asked, begin, clock, key, seconds};
use redb::{StorageBackend, TableDefinition};

const PAGE_BYTES: usize = 4096;
const OWN: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("own");

/// A ledger that was in use: answers, expired ones, interrupted keys, and pages that are free.
fn image(profile: CommitProfile, is_closed: bool) -> Vec<u8> {
    let (disk, clock) = (Disk::default(), clock());
    let builder = Ledger::builder()
        .clock(clock.clone())
        .commit_profile(profile);
    let ledger = builder.open_backend(disk.clone()).expect("opens");
    for number in 0..150 {
        let claim = begin(&ledger, &format!("k-{number}")).fresh();
        claim.complete(vec![7; 300]).expect("stored");
        if number == 50 {
            clock.advance(seconds(86_400));
        }
    }
    drop(begin(&ledger, "lost").fresh());
    if !is_closed {
        return disk.after_power_cut(Survivors::All);
    }
    ledger.close().expect("closes");
    disk.after_power_cut(Survivors::All)
}

/// Replaces some pages: by zeros, by noise, by other pages, or in parts.
fn tear(image: &mut [u8], draw: &mut Draw) {
    let pages = image.len() / PAGE_BYTES;
    let page = |draw: &mut Draw| {
        // The header is another test's.
        let number = 1 + draw.below(pages as u64 - 1);
        usize::try_from(number).expect("it is small") * PAGE_BYTES
    };
    for _ in 0..=draw.below(4) {
        let at = page(draw);
        match draw.below(4) {
            0 => image[at..at + PAGE_BYTES].fill(0),
            1 => image[at..at + PAGE_BYTES].fill_with(|| draw.number().to_le_bytes()[0]),
            2 => {
                let from = page(draw);
                image.copy_within(from..from + PAGE_BYTES, at);
            }
            _ => {
                let from = usize::try_from(draw.below(64)).expect("it is small");
                image[at + from..at + from + 8].fill_with(|| draw.number().to_le_bytes()[0]);
            }
        }
    }
}

/// Uses the ledger in every way; what fails is an error.
fn use_it(ledger: Ledger, draw: &mut Draw) {
    for number in 0..8 {
        let text = match draw.below(3) {
            0 => "lost".to_owned(),
            1 => format!("new-{number}"),
            _ => format!("k-{}", draw.below(150)),
        };
        let request = || ledger.operation(PAYMENTS, &key(&text), asked());
        match draw.below(6) {
            0 => drop(ledger.record(PAYMENTS, &key(&text)).peek()),
            1 => drop(
                request().transact_bytes(|_, txn| -> Result<&str, Infallible> {
                    if let Ok(mut table) = txn.open_table(OWN) {
                        let _ = table.insert(number, [7; 5_000].as_slice());
                    }
                    Ok("stored")
                }),
            ),
            2 => drop(ledger.sweep(100)),
            3 => drop(ledger.records(RecordFilter::all()).map(Iterator::count)),
            4 => drop(ledger.record(PAYMENTS, &key(&text)).forget()),
            _ => {
                if let Ok(idempotency_ledger::Begin::Fresh(claim)) = request().begin() {
                    let _ = claim.checkpoint("half", &[7; 9_000]);
                    let _ = claim.complete(vec![7; 5_000]);
                }
            }
        }
    }
    match draw.below(4) {
        0 => drop(ledger.check()),
        1 => drop(ledger.compact()),
        2 => drop(ledger.stats()),
        _ => {}
    }
    if draw.coin() {
        let _ = ledger.close();
    }
}

/// Writes what differs to an open file, as a bad disk or another program would.
fn overwrite(disk: &Disk, whole: &[u8], torn: &[u8]) {
    let pages = whole.chunks(PAGE_BYTES).zip(torn.chunks(PAGE_BYTES));
    for (number, (whole, torn)) in pages.enumerate() {
        if whole != torn {
            let at = u64::try_from(number * PAGE_BYTES).expect("it is small");
            disk.write(at, torn).expect("it is written");
        }
    }
}

#[test]
fn no_call_panics_on_damaged_pages() {
    let images = [CommitProfile::OnePhase, CommitProfile::TwoPhase]
        .map(|profile| (profile, [true, false].map(|closed| image(profile, closed))));
    let mut opened = 0;
    for seed in 0..900 {
        println!("seed {seed}");
        let mut draw = Draw::new(seed);
        let (profile, images) = &images[usize::from(draw.coin())];
        let whole = &images[usize::from(draw.coin())];
        let mut torn = whole.clone();
        tear(&mut torn, &mut draw);
        let is_torn_later = draw.coin();
        let used = catch_unwind(AssertUnwindSafe(|| {
            let builder = Ledger::builder().clock(clock()).commit_profile(*profile);
            let builder = builder.verify(Verify::Never).cache_bytes(0);
            let disk = Disk::holding(if is_torn_later { whole } else { &torn }.clone());
            let ledger = builder.open_backend(disk.clone());
            if is_torn_later {
                overwrite(&disk, whole, &torn);
            }
            ledger.map(|ledger| use_it(ledger, &mut draw)).is_ok()
        }));
        opened += u32::from(used.unwrap_or_else(|_| panic!("seed {seed}: a panic passed")));
    }
    assert!(
        opened > 300,
        "most damage is found when it is read: {opened}"
    );
}
