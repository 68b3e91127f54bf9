//! Many callers at once, as tasks and as threads, in interleaved rounds.
//!
//! ```text
//! cargo bench -p idempotency-ledger --bench shared_commits -- [FOLDER] [SYNC_DELAY_US]
//! ```
//!
//! The file lies in FOLDER (default: the system's temporary folder); every sync takes
//! `SYNC_DELAY_US` longer (default 0). Each of the callers claims a key and completes it, again and
//! again. Printed are the claims a second (median of the rounds), and how many operations shared
//! one commit.

mod arguments;
mod slow_sync;

use std::thread;
use std::time::Duration;

use idempotency_ledger::{Begin, Clock, Fingerprint, Key, Ledger, Namespace, SystemClock};
use slow_sync::ledger;

const ROUNDS: usize = 5;
const CALLERS: u32 = 64;
const NAMESPACE: Namespace = Namespace::new("bench");

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (folder, delay_us) = arguments::folder_and(0)?;
    let folder = tempfile::tempdir_in(folder)?;
    let delay = Duration::from_micros(delay_us);
    // A round of about a second, whatever the disk.
    let each = if delay_us > 500 { 100 } else { 400 };
    let open = |name: &str| ledger(&folder.path().join(name), delay);
    let (for_tasks, for_threads) = (open("tasks")?, open("threads")?);
    let runtime = tokio::runtime::Runtime::new()?;

    let clock = SystemClock::new();
    let (mut tasks, mut threads) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let started = clock.elapsed();
        runtime
            .block_on(as_tasks(&for_tasks, each))
            .map_err(|failure| failure.to_string())?;
        let between = clock.elapsed();
        as_threads(&for_threads, each).map_err(|failure| failure.to_string())?;
        tasks.push(between.saturating_sub(started));
        threads.push(clock.elapsed().saturating_sub(between));
    }
    println!("{CALLERS} callers, {ROUNDS} rounds, added sync delay {delay:?}");
    report("tasks", tasks, each, &for_tasks)?;
    report("threads", threads, each, &for_threads)?;
    Ok(())
}

fn report(
    name: &str,
    mut rounds: Vec<Duration>,
    each: u32,
    ledger: &Ledger,
) -> Result<(), Box<dyn std::error::Error>> {
    rounds.sort();
    let claims = f64::from(CALLERS * each) / rounds[rounds.len() / 2].as_secs_f64();
    let stats = ledger.stats()?;
    let tenths = stats.operations * 10 / stats.commits.max(1);
    let (whole, tenth) = (tenths / 10, tenths % 10);
    println!("{name:<8}{claims:>8.0} claims a second, {whole:>3}.{tenth} operations a commit");
    Ok(())
}

async fn as_tasks(ledger: &Ledger, each: u32) -> Result<(), Failure> {
    let mut running = Vec::new();
    for _ in 0..CALLERS {
        let ledger = ledger.clone();
        running.push(tokio::spawn(async move {
            for _ in 0..each {
                let key = Key::generate();
                let operation = ledger.operation(NAMESPACE, &key, Fingerprint::NONE);
                let Begin::Fresh(claim) = operation.begin_async().await? else {
                    return Err(Failure::from("a new key is fresh"));
                };
                let done = claim.complete_async("charged 25 EUR").await;
                done.map_err(|refused| refused.error)?;
            }
            Ok(())
        }));
    }
    for task in running {
        task.await??;
    }
    Ok(())
}

fn as_threads(ledger: &Ledger, each: u32) -> Result<(), Failure> {
    let caller = || {
        for _ in 0..each {
            let key = Key::generate();
            let operation = ledger.operation(NAMESPACE, &key, Fingerprint::NONE);
            let Begin::Fresh(claim) = operation.begin()? else {
                return Err(Failure::from("a new key is fresh"));
            };
            let done = claim.complete("charged 25 EUR");
            done.map_err(|refused| refused.error)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..CALLERS).map(|_| scope.spawn(caller)).collect();
        for thread in running {
            thread
                .join()
                .map_err(|_| Failure::from("a caller panicked"))??;
        }
        Ok(())
    })
}
