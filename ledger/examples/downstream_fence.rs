//! A holder that is slow, not dead: its lease runs out, it is overtaken, and then it writes.
//!
//! No lease can stop that, only the resource can: it remembers the highest fence it has seen and
//! refuses older ones (Kleppmann, "How to do distributed locking").

use std::collections::BTreeMap;
use std::time::Duration;

use idempotency_ledger::{
    Begin, EndingError, Fence, Fingerprint, Key, Ledger, ManualClock, Namespace, Policy, Timestamp,
};

const LEASE: Duration = Duration::from_secs(60);
const REPORTS: Namespace = Namespace::new("reports").policy(Policy::DEFAULT.lease(LEASE));

/// A store of files elsewhere. It compares fences for each file, since a fence orders the claims of
/// one key: a claim on another key may be younger without having taken anything over.
#[derive(Default)]
struct FileStore(BTreeMap<String, (Fence, String)>);

#[derive(Debug, PartialEq)]
struct FencedOff {
    newest: Fence,
}

impl FileStore {
    /// An equal fence is the same claim writing again.
    fn write(&mut self, name: &str, fence: Fence, text: &str) -> Result<(), FencedOff> {
        match self.0.get(name) {
            Some((newest, _)) if *newest > fence => Err(FencedOff { newest: *newest }),
            _ => {
                let _ = self.0.insert(name.to_owned(), (fence, text.to_owned()));
                Ok(())
            }
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock = ManualClock::starting_at(Timestamp::from_unix_ms(1_800_000_000_000));
    let ledger = Ledger::builder().clock(clock.clone()).in_memory()?; // or .open("reports.redb")?
    let mut files = FileStore::default();
    let key = Key::new("report-2026-11")?;
    let request = ledger.operation(REPORTS, &key, Fingerprint::of(["2026-11"]));

    let Begin::Fresh(slow) = request.clone().begin()? else {
        panic!("the key is new")
    };
    clock.advance(LEASE); // a long pause, a stalled disk, a lid that was shut

    let Begin::Interrupted(ticket) = request.clone().begin()? else {
        panic!("the lease is over")
    };
    assert!(
        ticket.is_overdue(),
        "its holder lives: no policy takes it over by itself"
    );
    let fast = ticket.rerun()?;
    println!("fence {} overtakes fence {}", fast.fence(), slow.fence());
    assert!(fast.fence() > slow.fence());
    files
        .write("2026-11.pdf", fast.fence(), "by the fast one")
        .expect("the newest fence");

    // The slow one wakes up and knows nothing of all this.
    let late = files.write("2026-11.pdf", slow.fence(), "by the slow one");
    println!("the late write: {late:?}");
    let newest = fast.fence();
    assert_eq!(late, Err(FencedOff { newest }));
    let refused = slow.complete("late").expect_err("it was overtaken");
    println!("its ending: {}", refused.error);
    assert!(matches!(refused.error, EndingError::Superseded));
    assert_eq!(refused.response.bytes(), b"late", "its answer comes back");

    let _ = fast.complete("by the fast one")?;
    let Begin::Replay(replay) = request.begin()? else {
        panic!("it is done")
    };
    assert_eq!(replay.response().bytes(), b"by the fast one");
    assert_eq!(files.0["2026-11.pdf"].1, "by the fast one");
    Ok(())
}
