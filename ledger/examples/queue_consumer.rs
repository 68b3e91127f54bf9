//! A queue that delivers at least once, to two consumers that may die, and a mail for each message.
//!
//! The mail server is elsewhere, so a mark could only lose a mail or send it twice. A claim on the
//! message's id says which mails are in doubt; about those the mail server is asked.

use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, MutexGuard};
use std::thread;

use idempotency_ledger::{
    Begin, Claim, Fingerprint, Key, Ledger, ManualClock, Namespace, Policy, Refusal, Timestamp,
};

const MAILS: Namespace = Namespace::new("mails").policy(Policy::QUEUES);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What the queue is told: take the message away, or deliver it again.
#[derive(Debug, PartialEq)]
enum Verdict {
    Ack,
    Nack,
}

struct World {
    ledger: Ledger,
    /// A delivered message goes to the end, and comes again unless it is acknowledged.
    queue: Mutex<VecDeque<&'static str>>,
    /// What the mail server sent, by reference. It drops nothing, so a repeat would show.
    sent: Mutex<Vec<Key>>,
    /// At which messages and steps a consumer dies.
    deaths: Mutex<BTreeSet<(&'static str, &'static str)>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody dies with it")
}

impl World {
    fn deliver(&self) -> Option<&'static str> {
        let mut queue = locked(&self.queue);
        let message = queue.pop_front()?;
        queue.push_back(message);
        Some(message)
    }

    fn handle(&self, message: &'static str) -> Result<Verdict, Failure> {
        let key = Key::new(message)?;
        let asked = Fingerprint::of([message]); // the message's body
        match self.ledger.operation(MAILS, &key, asked).begin()? {
            Begin::Fresh(claim) => self.send(message, claim),
            Begin::Replay(_) => Ok(Verdict::Ack),
            // Its holder lives and may still send, so asking the mail server settles nothing.
            Begin::Interrupted(ticket) if ticket.is_overdue() => Ok(Verdict::Nack),
            Begin::Interrupted(ticket) => {
                if locked(&self.sent).contains(&ticket.child_key("mail")) {
                    let _ = ticket.complete("sent")?;
                    return Ok(Verdict::Ack);
                }
                self.send(message, ticket.rerun()?) // an error if the other consumer was faster
            }
            Begin::Refused(Refusal::InProgress { .. }) => Ok(Verdict::Nack),
            Begin::Refused(refusal) => Err(refusal.into()),
        }
    }

    fn send(&self, message: &'static str, claim: Claim) -> Result<Verdict, Failure> {
        self.die_if_due(message, "before the mail");
        locked(&self.sent).push(claim.child_key("mail"));
        self.die_if_due(message, "behind the mail");
        let _ = claim.complete("sent")?;
        self.die_if_due(message, "before the ack");
        Ok(Verdict::Ack)
    }

    /// Unwinds as a panic does, without its message.
    fn die_if_due(&self, message: &'static str, step: &'static str) {
        if locked(&self.deaths).remove(&(message, step)) {
            println!("{message}: a consumer dies {step}");
            resume_unwind(Box::new(step));
        }
    }

    /// Until the queue is empty, or for so long that something is wrong. What failed is delivered
    /// again; a real queue counts, and puts it aside.
    fn consume(&self) {
        for _ in 0..100_000 {
            let Some(message) = self.deliver() else {
                return;
            };
            if let Ok(Verdict::Ack) = self.handle(message) {
                locked(&self.queue).retain(|waiting| *waiting != message);
            }
        }
    }
}

fn main() -> Result<(), Failure> {
    let messages = ["m-1", "m-2", "m-3", "m-4", "m-5", "m-6"];
    let deaths = [
        ("m-2", "before the mail"),
        ("m-3", "behind the mail"),
        ("m-4", "before the ack"),
    ];
    let clock = ManualClock::starting_at(Timestamp::from_unix_ms(1_800_000_000_000));
    let in_memory = Ledger::builder().clock(clock.clone());
    let world = World {
        ledger: in_memory.in_memory()?, // or Ledger::open("mails.redb")?
        queue: Mutex::new(messages.into()),
        sent: Mutex::default(),
        deaths: Mutex::new(deaths.into()),
    };

    // A message that somebody is at stays in the queue, also when that one is late.
    let (key, asked) = (Key::new("m-1")?, Fingerprint::of(["m-1"]));
    let held = world.ledger.operation(MAILS, &key, asked).begin()?;
    assert_eq!(world.handle("m-1")?, Verdict::Nack);
    clock.advance(MAILS.current_policy().lease_span());
    assert_eq!(world.handle("m-1")?, Verdict::Nack);
    drop(held); // that one died, too

    let run = || {
        // A consumer that died is started again.
        while catch_unwind(AssertUnwindSafe(|| world.consume())).is_err() {}
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            let _ = scope.spawn(run);
        }
    });
    assert!(locked(&world.queue).is_empty(), "drained");
    assert!(locked(&world.deaths).is_empty(), "all three died");
    let sent = locked(&world.sent);
    println!("{} messages, {} mails", messages.len(), sent.len());
    assert_eq!(sent.len(), messages.len());
    assert_eq!(
        sent.iter().collect::<BTreeSet<_>>().len(),
        messages.len(),
        "one mail each"
    );
    Ok(())
}
