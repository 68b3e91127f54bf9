//! A lone caller against one plain redb transaction, in interleaved rounds.
//!
//! ```text
//! cargo bench -p idempotency-ledger --bench lone_caller -- [FOLDER] [SYNC_DELAY_US]
//! ```
//!
//! The file lies in FOLDER (default: the system's temporary folder); every sync takes
//! `SYNC_DELAY_US` longer (default 0), which on a memory file system stands for a disk. Both sides
//! write the same: a record of the same size under the same key, durable when it returns. Printed
//! is the ratio of the medians; above 1 the ledger is faster.

use std::time::Duration;

use idempotency_ledger::redb::{Database, TableDefinition};
use idempotency_ledger::{Begin, Clock, Fingerprint, Key, Ledger, Namespace, SystemClock};

mod arguments;
mod slow_sync;

use slow_sync::{backend, ledger};

const ROUNDS: usize = 15;
const OPERATIONS_PER_ROUND: u32 = 200;
const PREFILLED: usize = 20_000;
const NAMESPACE: Namespace = Namespace::new("bench");
const PLAIN: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("plain");
/// What a claim of this benchmark takes as a record, so that both sides write the same.
const RECORD: [u8; 96] = [7; 96];

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let (folder, delay_us) = arguments::folder_and(0)?;
    let folder = tempfile::tempdir_in(folder)?;
    let delay = Duration::from_micros(delay_us);

    let ledger = ledger(&folder.path().join("ledger"), delay)?;
    let plain = Database::builder()
        .set_cache_size(64 * 1024 * 1024)
        .create_with_backend(backend(&folder.path().join("plain"), delay)?)?;
    prefill(&ledger, &plain)?;

    let clock = SystemClock::new();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let started = clock.elapsed();
        for _ in 0..OPERATIONS_PER_ROUND {
            claim(&ledger, &Key::generate())?;
        }
        let between = clock.elapsed();
        for _ in 0..OPERATIONS_PER_ROUND {
            insert(&plain, &Key::generate())?;
        }
        ours.push(between.saturating_sub(started));
        theirs.push(clock.elapsed().saturating_sub(between));
    }
    let (ours, theirs) = (per_operation(ours), per_operation(theirs));
    println!("rounds {ROUNDS} x {OPERATIONS_PER_ROUND}, added sync delay {delay:?}");
    println!(
        "ledger, one claim          {:>9.1} us (median)",
        micros(ours)
    );
    println!(
        "redb, one plain transaction{:>9.1} us (median)",
        micros(theirs)
    );
    println!(
        "ratio (plain / ledger)     {:>9.3}",
        micros(theirs) / micros(ours)
    );
    Ok(())
}

/// Both sides start with the same number of rows, so that their trees are equally deep.
fn prefill(ledger: &Ledger, plain: &Database) -> Result<(), Failure> {
    let txn = ledger.write()?;
    for _ in 0..PREFILLED {
        let key = Key::generate();
        let request = ledger.operation(NAMESPACE, &key, Fingerprint::of([key.as_str()]));
        match request.begin_in(&txn)? {
            idempotency_ledger::BeginIn::Fresh(claim) => {
                claim.complete("").map_err(|refused| refused.error)?;
            }
            other => return Err(format!("a new key is fresh: {other:?}").into()),
        }
    }
    let _ = txn.commit()?;
    let transaction = plain.begin_write()?;
    {
        let mut table = transaction.open_table(PLAIN)?;
        for _ in 0..PREFILLED {
            table.insert(Key::generate().as_str().as_bytes(), RECORD.as_slice())?;
        }
    }
    transaction.commit()?;
    Ok(())
}

fn claim(ledger: &Ledger, key: &Key) -> Result<(), Failure> {
    match ledger
        .operation(NAMESPACE, key, Fingerprint::of([key.as_str()]))
        .begin()?
    {
        Begin::Fresh(_claim) => Ok(()),
        other => Err(format!("a new key is fresh: {other:?}").into()),
    }
}

fn insert(plain: &Database, key: &Key) -> Result<(), Failure> {
    let transaction = plain.begin_write()?;
    transaction
        .open_table(PLAIN)?
        .insert(key.as_str().as_bytes(), RECORD.as_slice())?;
    transaction.commit()?;
    Ok(())
}

fn per_operation(mut rounds: Vec<Duration>) -> Duration {
    rounds.sort();
    rounds[rounds.len() / 2] / OPERATIONS_PER_ROUND
}

fn micros(span: Duration) -> f64 {
    span.as_secs_f64() * 1e6
}
