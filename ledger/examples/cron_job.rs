//! A nightly job, keyed by its day: however often it is started, each invoice goes out once.
//!
//! A checkpoint behind each invoice tells the next attempt where to go on. The one invoice that may
//! have gone out without a checkpoint is sent again under the same child key, which the other side
//! drops.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::thread;

use idempotency_ledger::{
    Begin, EndingError, Fingerprint, Key, Ledger, Namespace, Policy, Refusal,
};

const JOBS: Namespace = Namespace::new("jobs").policy(Policy::BATCH_JOBS);
/// In an order that does not change between two attempts.
const CUSTOMERS: [&str; 4] = ["ada", "bob", "cyd", "dan"];

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What sends the invoices: it counts the calls, and delivers each reference once.
#[derive(Default)]
struct PostOffice {
    calls: Mutex<Vec<&'static str>>,
    delivered: Mutex<BTreeMap<Key, &'static str>>,
}

impl PostOffice {
    fn send(&self, reference: Key, customer: &'static str) {
        let mut calls = self.calls.lock().expect("nobody panics with it");
        calls.push(customer);
        let mut delivered = self.delivered.lock().expect("nobody panics with it");
        let _ = delivered.entry(reference).or_insert(customer);
    }
}

/// What a start of the job came to.
#[derive(Debug, PartialEq)]
enum Night {
    Ran { attempt: u32 },
    RanBefore,
    SomebodyIsAtIt,
}

/// Sends the invoices of a day; `power_cut` is the customer behind whose invoice it dies.
fn nightly(
    ledger: &Ledger,
    post: &PostOffice,
    day: &str,
    power_cut: Option<&str>,
) -> Result<Night, Failure> {
    let key = Key::new(format!("invoices-{day}"))?;
    let asked = Fingerprint::of(["invoices", day]);
    let claim = match ledger.operation(JOBS, &key, asked).begin()? {
        Begin::Fresh(claim) => claim,
        Begin::Replay(_) => return Ok(Night::RanBefore),
        Begin::Refused(Refusal::InProgress { .. }) => return Ok(Night::SomebodyIsAtIt),
        Begin::Refused(refusal) => return Err(refusal.into()),
        Begin::Interrupted(ticket) => {
            let reached = ticket.checkpoint().map(|it| it.name.as_str());
            println!("{day}: interrupted, known to be sent up to {reached:?}");
            match ticket.rerun() {
                Ok(claim) => claim,
                Err(late) if matches!(late.error, EndingError::Superseded) => {
                    return Ok(Night::SomebodyIsAtIt);
                }
                Err(failed) => return Err(failed.into()),
            }
        }
    };
    let reached = claim.last_checkpoint().map(|it| it.name);
    let is_left = |customer: &&str| reached.as_deref().is_none_or(|last| *customer > last);
    for customer in CUSTOMERS.into_iter().filter(is_left) {
        post.send(claim.child_key(customer), customer);
        if power_cut == Some(customer) {
            resume_unwind(Box::new("power cut")); // sent, and no checkpoint says so
        }
        claim.checkpoint(customer, b"")?;
    }
    let attempt = claim.attempt();
    let _ = claim.complete(format!("{} invoices", CUSTOMERS.len()))?;
    Ok(Night::Ran { attempt })
}

fn main() -> Result<(), Failure> {
    let ledger = Ledger::in_memory()?; // or Ledger::open("jobs.redb")?
    let post = PostOffice::default();
    let day = "2026-11-30";
    let cut = AssertUnwindSafe(|| nightly(&ledger, &post, day, Some("bob")));
    let died = catch_unwind(cut);
    assert!(died.is_err(), "the power is cut behind bob's invoice");

    // Cron starts it again, and so does somebody by hand, at the same moment.
    let start = || nightly(&ledger, &post, day, None);
    let (cron, hand) = thread::scope(|scope| {
        let (cron, hand) = (scope.spawn(start), scope.spawn(start));
        (cron.join().expect("ends"), hand.join().expect("ends"))
    });
    let nights = [cron?, hand?];
    println!("{nights:?}");
    let ran = Night::Ran { attempt: 2 };
    assert_eq!(nights.iter().filter(|night| **night == ran).count(), 1);
    assert_eq!(nightly(&ledger, &post, day, None)?, Night::RanBefore);

    let calls = post.calls.into_inner()?;
    println!("calls: {calls:?}");
    assert_eq!(calls, ["ada", "bob", "bob", "cyd", "dan"], "not ada again");
    let delivered: Vec<_> = post.delivered.into_inner()?.into_values().collect();
    assert_eq!(delivered.len(), CUSTOMERS.len(), "one invoice each");
    Ok(())
}
