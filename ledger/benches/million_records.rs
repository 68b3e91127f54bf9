//! A ledger with many completed records: replay, memory, opening, size.
//!
//! ```text
//! cargo bench -p idempotency-ledger --bench million_records -- [FOLDER] [RECORDS]
//! ```
//!
//! Fills a ledger in FOLDER (default: the system's temporary folder) with RECORDS (default
//! 1,000,000) completed records of 200 bytes, closes it, opens it without verification and reads.

use std::path::{Path, PathBuf};
use std::time::Duration;

use idempotency_ledger::{
    Begin, BeginIn, Clock, Fingerprint, Key, Ledger, Namespace, SystemClock, Verify,
};

mod arguments;

const NAMESPACE: Namespace = Namespace::new("bench");
const BODY: [u8; 200] = [7; 200];
const PER_TRANSACTION: usize = 10_000;
const REPLAYS: usize = 200_000;

type Failure = Box<dyn std::error::Error>;

/// Where the second process finds the file: the memory of filling is not that of reading.
const FILLED: &str = "IDEMPOTENCY_BENCH_FILLED";

fn main() -> Result<(), Failure> {
    let (folder, records) = arguments::folder_and(1_000_000)?;
    let records = usize::try_from(records)?;
    if let Some(path) = std::env::var_os(FILLED) {
        return measure(&PathBuf::from(path), records);
    }
    let folder = tempfile::tempdir_in(folder)?;
    let path = folder.path().join("million.redb");
    fill(&path, records)?;
    let status = std::process::Command::new(std::env::current_exe()?)
        .args([folder.path().as_os_str(), records.to_string().as_ref()])
        .env(FILLED, &path)
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err("the measuring process failed".into())
    }
}

/// Keys that sort by time, as `UUIDv7` does; made from a number, so that nobody holds them.
fn key(number: usize) -> Result<Key, Failure> {
    Ok(Key::new(format!("01920000-0000-7000-8000-{number:012x}"))?)
}

fn measure(path: &Path, records: usize) -> Result<(), Failure> {
    let clock = SystemClock::new();
    println!("records                     {records:>12}");
    println!(
        "file                        {:>12} bytes",
        std::fs::metadata(path)?.len()
    );

    let before = clock.elapsed();
    let ledger = Ledger::builder().verify(Verify::Never).open(path)?;
    println!(
        "open, not verified          {:>12.2} ms",
        millis(clock.elapsed().saturating_sub(before))
    );
    println!("resident after opening      {:>12}", resident());

    let mut spans = Vec::with_capacity(REPLAYS);
    for round in 0..REPLAYS {
        // Keys are visited in a scattered order, each from another page.
        let key = key(round.wrapping_mul(7_919) % records)?;
        let before = clock.elapsed();
        match ledger
            .operation(NAMESPACE, &key, Fingerprint::of([key.as_str()]))
            .begin()?
        {
            Begin::Replay(replay) => assert_eq!(replay.response().bytes(), BODY),
            other => return Err(format!("every key is completed: {other:?}").into()),
        }
        spans.push(clock.elapsed().saturating_sub(before));
    }
    spans.sort();
    println!(
        "replay, median              {:>12.2} us",
        micros(spans[REPLAYS / 2])
    );
    println!(
        "replay, p99                 {:>12.2} us",
        micros(spans[REPLAYS * 99 / 100])
    );
    println!("resident after {REPLAYS} replays {:>9}", resident());

    let before = clock.elapsed();
    ledger.close()?;
    println!(
        "close                       {:>12.2} ms",
        millis(clock.elapsed().saturating_sub(before))
    );
    let before = clock.elapsed();
    let ledger = Ledger::builder().verify(Verify::Always).open(path)?;
    println!(
        "open, verified              {:>12.2} ms",
        millis(clock.elapsed().saturating_sub(before))
    );
    let compacted = ledger.compact()?;
    println!(
        "compacted                   {:>12} bytes",
        compacted.bytes_after
    );
    Ok(())
}

fn fill(path: &Path, records: usize) -> Result<(), Failure> {
    let ledger = Ledger::open(path)?;
    for first in (0..records).step_by(PER_TRANSACTION) {
        let txn = ledger.write()?;
        for number in first..records.min(first + PER_TRANSACTION) {
            let key = key(number)?;
            let request = ledger.operation(NAMESPACE, &key, Fingerprint::of([key.as_str()]));
            match request.begin_in(&txn)? {
                BeginIn::Fresh(claim) => {
                    claim
                        .complete(BODY.as_slice())
                        .map_err(|refused| refused.error)?;
                }
                other => return Err(format!("a new key is fresh: {other:?}").into()),
            }
        }
        let _ = txn.commit()?;
    }
    Ok(ledger.close()?)
}

/// The resident memory of this process, where the system tells.
fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .map_or_else(|| "not told".to_owned(), |size| size.trim().to_owned())
}

fn micros(span: Duration) -> f64 {
    span.as_secs_f64() * 1e6
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}
