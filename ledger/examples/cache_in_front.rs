//! A cache in front of the ledger answers replays fast, and decides nothing.
//!
//! It holds answers alone, with their fingerprint and expiry. All else is asked of the ledger, so a
//! cache that was emptied or set back costs time and never a second run.

use std::collections::HashMap;
use std::time::Duration;

use idempotency_ledger::{
    Begin, Fingerprint, Key, Ledger, ManualClock, Namespace, Policy, Refusal, Timestamp,
};

const RETENTION: Duration = Duration::from_secs(24 * 3_600);
const PAYMENTS: Namespace = Namespace::new("payments").policy(Policy::DEFAULT.retention(RETENTION));

/// A completed answer. "In progress" is never cached: only the ledger sees the end of a claim. The
/// wrong way is a lock in the cache (`SETNX` with an expiry): it runs out while its holder still
/// works, the next one gets in, and without a fence nobody refuses the first one's late write.
#[derive(Clone)]
struct Cached {
    asked: Fingerprint,
    expires_at: Timestamp,
    answer: Vec<u8>,
}

#[derive(Debug, PartialEq)]
enum Paid {
    FromCache,
    FromLedger,
    ByBank,
    Refused(Refusal),
    NobodyKnows,
}

/// A server and its cache. Others may have caches of their own.
struct Server {
    ledger: Ledger,
    /// By the whole identity: a cache for several namespaces has their names in it, too.
    cache: HashMap<(String, Key), Cached>,
    charges: u32,
}

impl Server {
    fn pay(
        &mut self,
        customer: &str,
        key: &Key,
        cents: &str,
    ) -> Result<Paid, Box<dyn std::error::Error>> {
        let asked = Fingerprint::of([cents]);
        let identity = (customer.to_owned(), key.clone());
        // Another fingerprint is no hit: the ledger says what becomes of it.
        if let Some(hit) = self.cache.get(&identity)
            && hit.asked == asked
            && self.ledger.now() < hit.expires_at
        {
            println!("from the cache: {}", String::from_utf8_lossy(&hit.answer));
            return Ok(Paid::FromCache);
        }
        let request = self.ledger.operation(PAYMENTS, key, asked).scope(customer);
        let (replay, paid) = match request.begin()? {
            Begin::Fresh(claim) => {
                self.charges += 1;
                (claim.complete(format!("charged {cents}"))?, Paid::ByBank)
            }
            Begin::Replay(replay) => (replay, Paid::FromLedger),
            Begin::Interrupted(_) => return Ok(Paid::NobodyKnows),
            Begin::Refused(refusal) => return Ok(Paid::Refused(refusal)),
        };
        let cached = Cached {
            asked,
            expires_at: replay.expires_at(),
            answer: replay.into_response().into_bytes(),
        };
        let _ = self.cache.insert(identity, cached);
        Ok(paid)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock = ManualClock::starting_at(Timestamp::from_unix_ms(1_800_000_000_000));
    let ledger = Ledger::builder().clock(clock.clone()).in_memory()?;
    let mut server = Server {
        ledger,
        cache: HashMap::new(),
        charges: 0,
    };
    let key = Key::new("order-17")?;
    let empty = server.cache.clone();
    assert_eq!(server.pay("ada", &key, "2500")?, Paid::ByBank);
    assert_eq!(server.pay("ada", &key, "2500")?, Paid::FromCache);
    server.cache = empty; // lost, or a copy from before the payment
    assert_eq!(server.pay("ada", &key, "2500")?, Paid::FromLedger);
    assert_eq!(server.pay("ada", &key, "2500")?, Paid::FromCache);
    let other_body = server.pay("ada", &key, "9900")?;
    assert_eq!(other_body, Paid::Refused(Refusal::Mismatch), "no hit");
    assert_eq!(server.charges, 1);

    // What somebody is at is in the ledger alone.
    let other = Key::new("order-18")?;
    let request = server
        .ledger
        .operation(PAYMENTS, &other, Fingerprint::of(["100"]));
    let held = request.scope("ada").begin()?;
    let busy = server.pay("ada", &other, "100")?;
    assert!(matches!(busy, Paid::Refused(Refusal::InProgress { .. })));
    drop(held);
    assert_eq!(server.pay("ada", &other, "100")?, Paid::NobodyKnows);
    assert_eq!(server.cache.len(), 1, "neither is cached");

    // The cache still has the answer, but gives it no longer than the ledger would.
    clock.advance(RETENTION);
    assert!(server.cache.contains_key(&("ada".to_owned(), key.clone())));
    assert_eq!(
        server.pay("ada", &key, "2500")?,
        Paid::ByBank,
        "a fresh key, as without a cache"
    );
    Ok(())
}
