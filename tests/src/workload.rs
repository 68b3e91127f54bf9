//! Each kind of write that a ledger makes, with the state it starts from and the state it ends
//! in: what the tests of faults and of kills do to a ledger.

use std::convert::Infallible;

use idempotency_ledger::{
    BeginIn, BeginMany, Claim, DedupTable, EndingError, Error, Expected, Ledger, ManualClock,
    Namespace, OutboxTable, Policy, Put, RecordFilter, RecordInfo, RecordState, Resolution,
    Resolved, Response, RunError, Sighting, StoredValue, Ticket, VersionedTable,
};
use redb::{ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::{Expect, PAYMENTS, asked, begin, key, seconds, until};

/// A table of the application's own, in the same file.
pub const BALANCES: TableDefinition<'_, &str, u64> = TableDefinition::new("balances");

/// Events that count once a day.
pub const EVENTS: DedupTable = DedupTable::new("events", DedupTable::ONE_DAY);

/// Messages that are sent when their transaction has committed.
pub const MAILS: OutboxTable = OutboxTable::new("mails");

/// A value with versions.
#[derive(Debug, Serialize, Deserialize)]
pub struct Text(pub String);

impl StoredValue for Text {
    const SCHEMA: &str = "text/1";
}

/// Texts with versions.
pub const TEXTS: VersionedTable<Text> = VersionedTable::new("texts");

/// A namespace whose answers expire after a second.
pub const SHORT: Namespace = Namespace::new("short").policy(
    Policy::DEFAULT
        .retention(seconds(1))
        .response_bytes_max(64 * 1024),
);

/// How many answers wait for the sweep.
const EXPIRED: u64 = 20;

/// One kind of write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A claim on a new key.
    Begin,
    /// The completion of a claim.
    Complete,
    /// The completion of a claim in a transaction, with a write of the application.
    CompleteIn,
    /// A row of an outbox in a transaction, with a write of the application.
    Push,
    /// The release of a claim.
    Release,
    /// A recovery point of a claim.
    Checkpoint,
    /// A claim's lease, from now on.
    Renew,
    /// A ticket that takes an interrupted key over.
    Rerun,
    /// A ticket that completes an interrupted key.
    TicketComplete,
    /// A ticket that releases an interrupted key.
    TicketRelease,
    /// The application's write and an answer in one commit.
    Transact,
    /// A claim begun in a transaction and kept beyond it, with a write of the application.
    Keep,
    /// A resolution by hand.
    Resolve,
    /// A record that is forgotten.
    Forget,
    /// Events that are marked as seen, in one commit.
    Observe,
    /// A value under optimistic locking, in the place of an older one.
    Put,
    /// Several claims in one commit, one of them behind an answer that has expired.
    BeginMany,
    /// Several claims that complete in one commit.
    CompleteAll,
    /// A sweep of half of what has expired.
    Sweep,
    /// A compaction.
    Compact,
}

impl Work {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Begin,
        Self::Complete,
        Self::CompleteIn,
        Self::Push,
        Self::Release,
        Self::Checkpoint,
        Self::Renew,
        Self::Rerun,
        Self::TicketComplete,
        Self::TicketRelease,
        Self::Transact,
        Self::Keep,
        Self::Resolve,
        Self::Forget,
        Self::Observe,
        Self::Put,
        Self::BeginMany,
        Self::CompleteAll,
        Self::Sweep,
        Self::Compact,
    ];

    /// The work of a name, as `Debug` prints it.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let found = Self::ALL
            .into_iter()
            .find(|work| format!("{work:?}") == name);
        found.expect("a work of that name")
    }
}

/// A ledger that is ready for one work.
#[derive(Debug)]
pub struct Bench {
    /// The ledger.
    pub ledger: Ledger,
    /// The claim that the work is about, or that it got.
    pub claim: Option<Claim>,
    /// The claims that the work is about, or that it got, where it is about several.
    pub group: Vec<Claim>,
    ticket: Option<Ticket>,
    work: Work,
}

impl Bench {
    /// Brings a new ledger into the state that the work starts from. The clock moves as it does
    /// each time, so that two benches of one work hold the same records.
    #[must_use]
    pub fn new(work: Work, ledger: Ledger, clock: &ManualClock) -> Self {
        let kept = begin(&ledger, "kept").fresh();
        kept.complete("the kept answer").expect("stored");
        let open = begin(&ledger, "open").fresh();
        open.checkpoint("half", b"way").expect("stored");
        drop(open);
        drop(begin(&ledger, "lost").fresh());
        deposit(&ledger, "first", 100).expect("stored");
        let mut bench = Self {
            ledger,
            claim: None,
            group: Vec::new(),
            ticket: None,
            work,
        };
        bench.ready(clock);
        bench
    }

    fn ready(&mut self, clock: &ManualClock) {
        let ledger = &self.ledger;
        match self.work {
            Work::Complete | Work::CompleteIn | Work::Release | Work::Checkpoint | Work::Renew => {
                self.claim = Some(begin(ledger, "held").fresh());
                clock.advance(seconds(5));
            }
            Work::Rerun => self.ticket = Some(begin(ledger, "open").interrupted()),
            Work::TicketComplete | Work::TicketRelease => {
                self.ticket = Some(begin(ledger, "lost").interrupted());
            }
            Work::BeginMany => {
                fill(ledger, 1, 100);
                clock.advance(seconds(2));
            }
            Work::CompleteAll => self.group = begin_many(ledger).expect("begins"),
            Work::Sweep => {
                fill(ledger, EXPIRED, 100);
                clock.advance(seconds(2));
            }
            Work::Compact => {
                fill(ledger, 16, 48 * 1024);
                clock.advance(seconds(2));
                while ledger.sweep(256).expect("sweeps").more {}
            }
            Work::Begin
            | Work::Push
            | Work::Transact
            | Work::Keep
            | Work::Resolve
            | Work::Forget
            | Work::Observe
            | Work::Put => {}
        }
    }

    /// Does the work once. A claim or ticket that comes back with an error is kept.
    ///
    /// # Errors
    ///
    /// The ledger's own; expected refusals end the test.
    pub fn act(&mut self) -> Result<(), Error> {
        let ledger = &self.ledger;
        match self.work {
            Work::Begin => {
                let request = ledger.operation(PAYMENTS, &key("new"), asked());
                self.claim = Some(request.begin()?.fresh());
            }
            Work::Complete | Work::Release | Work::Checkpoint | Work::Renew => return self.end(),
            Work::CompleteIn => {
                let claim = match self.claim.take() {
                    Some(claim) => claim,
                    // A transaction that did not commit has left the key interrupted.
                    None => begin(ledger, "held")
                        .interrupted()
                        .rerun()
                        .expect("taken over"),
                };
                return complete_in(ledger, claim, &mut self.claim);
            }
            Work::Push => push_in(ledger)?,
            Work::Rerun | Work::TicketComplete | Work::TicketRelease => return self.end_ticket(),
            Work::Transact => deposit(ledger, "second", 25)?,
            Work::Keep => self.claim = Some(keep(ledger)?),
            Work::Resolve => {
                let resolution = Resolution::Completed("it happened".into());
                let resolved = ledger.record(PAYMENTS, &key("open")).resolve(resolution)?;
                assert_eq!(resolved, Resolved::Done);
            }
            Work::Forget => {
                let forgotten = ledger.record(PAYMENTS, &key("kept")).forget()?;
                assert_eq!(forgotten, Resolved::Done);
            }
            Work::Observe => {
                let seen = ledger.dedup(EVENTS).observe_all(["a", "b", "a"])?;
                let repeats = seen.iter().filter(|seen| **seen != Sighting::First);
                assert_eq!((seen.len(), repeats.count()), (3, 1));
            }
            Work::Put => {
                let text = Text("new".to_owned());
                let put = ledger.versioned(TEXTS).put("t", &text, Expected::Any)?;
                assert!(matches!(put, Put::Stored(_)), "{put:?}");
            }
            Work::BeginMany => self.group = begin_many(ledger)?,
            Work::CompleteAll => {
                let claims = self.group.drain(..);
                let endings = claims.map(|claim| (claim, "booked".into())).collect();
                if let Err(failed) = ledger.complete_all(endings) {
                    assert_eq!(failed.endings.len(), 3, "all of them come back");
                    self.group = failed.endings.into_iter().map(|(claim, _)| claim).collect();
                    return Err(ledgers_own(failed.error));
                }
            }
            Work::Sweep => {
                let swept = ledger.sweep(10)?;
                assert!(swept.removed == 10 && swept.more, "{swept:?}");
            }
            Work::Compact => {
                let _ = ledger.compact()?;
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Error> {
        let claim = self.claim.take().expect("the work has a claim");
        let (claim, error) = match self.work {
            Work::Complete => match claim.complete("charged") {
                Ok(_) => return Ok(()),
                Err(failed) => {
                    assert_eq!(
                        failed.response.bytes(),
                        b"charged",
                        "the response comes back"
                    );
                    (failed.claim, failed.error)
                }
            },
            Work::Release => match claim.release() {
                Ok(()) => return Ok(()),
                Err(failed) => (failed.claim, failed.error),
            },
            Work::Checkpoint => match claim.checkpoint("sent", b"id 7") {
                Ok(()) => {
                    self.claim = Some(claim);
                    return Ok(());
                }
                Err(error) => (claim, error),
            },
            Work::Renew => match claim.renew() {
                Ok(_) => {
                    self.claim = Some(claim);
                    return Ok(());
                }
                Err(error) => (claim, error),
            },
            other => panic!("{other:?} ends no claim"),
        };
        self.claim = Some(claim);
        Err(ledgers_own(error))
    }

    fn end_ticket(&mut self) -> Result<(), Error> {
        let ticket = self.ticket.take().expect("the work has a ticket");
        let ended = match self.work {
            Work::Rerun => ticket.rerun().map(|claim| self.claim = Some(claim)),
            Work::TicketComplete => ticket.complete("it happened").map(drop),
            Work::TicketRelease => ticket.release(),
            other => panic!("{other:?} ends no ticket"),
        };
        ended.map_err(|failed| {
            self.ticket = Some(failed.ticket);
            ledgers_own(failed.error)
        })
    }
}

/// The error of the ledger behind that of an ending.
///
/// # Panics
///
/// For a refusal, which no test of faults expects.
#[must_use]
#[track_caller]
pub fn ledgers_own(error: EndingError) -> Error {
    match error {
        EndingError::Ledger(error) => error,
        refusal => panic!("refused: {refusal}"),
    }
}

/// Adds to a balance under a key, once.
///
/// # Errors
///
/// The ledger's own.
pub fn deposit(ledger: &Ledger, text: &str, amount: u64) -> Result<(), Error> {
    let done = ledger
        .operation(PAYMENTS, &key(text), asked())
        .transact_bytes(|_, txn| -> Result<_, Infallible> {
            add(txn, amount);
            Ok("deposited")
        });
    match done {
        Ok(_) => Ok(()),
        Err(RunError::Ledger(error)) => Err(error),
        Err(other) => panic!("unexpected: {other}"),
    }
}

fn add(txn: &redb::WriteTransaction, amount: u64) {
    let mut balances = txn.open_table(BALANCES).expect("opens");
    let old = balances.get("a").expect("reads").map_or(0, |it| it.value());
    balances.insert("a", old + amount).expect("inserts");
}

fn keep(ledger: &Ledger) -> Result<Claim, Error> {
    let txn = ledger.write()?;
    match ledger
        .operation(PAYMENTS, &key("new"), asked())
        .begin_in(&txn)?
    {
        BeginIn::Fresh(claim) => claim.keep(),
        other => panic!("expected a claim, got {other:?}"),
    }
    add(&txn, 25);
    let mut claims = txn.commit()?.claims;
    Ok(claims.pop().expect("the kept claim"))
}

/// A claim that cannot be completed comes back; one whose transaction cannot commit is gone.
fn complete_in(ledger: &Ledger, claim: Claim, back: &mut Option<Claim>) -> Result<(), Error> {
    let txn = match ledger.write() {
        Ok(txn) => txn,
        Err(error) => {
            *back = Some(claim);
            return Err(error);
        }
    };
    add(&txn, 25);
    if let Err(failed) = claim.complete_in(&txn, "charged") {
        *back = Some(failed.claim);
        return Err(ledgers_own(failed.error));
    }
    txn.commit().map(drop)
}

/// Pushes a row with a key of its own, which no two benches have alike: the view leaves it out.
fn push_in(ledger: &Ledger) -> Result<(), Error> {
    let txn = ledger.write()?;
    add(&txn, 25);
    ledger.outbox(MAILS).push_in(&txn, "paid", b"25")?;
    txn.commit().map(drop)
}

/// Three keys in two namespaces.
fn begin_many(ledger: &Ledger) -> Result<Vec<Claim>, Error> {
    let requests = [(SHORT, "old-0"), (PAYMENTS, "hotel"), (PAYMENTS, "flight")]
        .map(|(namespace, text)| ledger.operation(namespace, &key(text), asked()));
    match ledger.begin_many(&requests)? {
        BeginMany::Fresh(claims) => Ok(claims),
        other => panic!("expected claims, got {other:?}"),
    }
}

/// Stores answers that expire after a second, all in one commit.
fn fill(ledger: &Ledger, answers: u64, bytes: usize) {
    let txn = ledger.write().expect("begins");
    for number in 0..answers {
        let request = ledger.operation(SHORT, &key(&format!("old-{number}")), asked());
        match request.begin_in(&txn) {
            Ok(BeginIn::Fresh(claim)) => claim.complete(vec![7; bytes]).expect("stored"),
            other => panic!("expected a claim, got {other:?}"),
        };
    }
    let _ = txn.commit().expect("commits");
}

/// Waits until so many calls wait for the writer.
pub fn await_queue(ledger: &Ledger, length: usize) {
    until("so many calls wait for the writer", || {
        ledger.stats().expect("reads").queued >= length
    });
}

/// The answer of a record, without the random key of an outbox's row.
fn in_words(info: &RecordInfo, response: &Response) -> String {
    if info.namespace().starts_with("outbox:") {
        return "a row".to_owned();
    }
    String::from_utf8_lossy(response.bytes()).into_owned()
}

/// All that a ledger holds, in a form that two ledgers can be compared by. A claim is `unfinished`
/// whether its holder lives or not; fences are left out, since failed attempts burn them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// A line for each record.
    pub records: Vec<String>,
    /// What has expired and was not swept, by namespace.
    pub expired: Vec<(String, u64)>,
    /// The application's own value.
    pub balance: Option<u64>,
}

impl View {
    /// Reads all of it.
    ///
    /// # Errors
    ///
    /// The ledger's own.
    pub fn of(ledger: &Ledger) -> Result<Self, Error> {
        let mut records = Vec::new();
        for info in ledger.records(RecordFilter::all())? {
            let info = info?;
            let state = match info.state() {
                RecordState::Completed => "completed",
                RecordState::Claimed | RecordState::Interrupted => "unfinished",
            };
            records.push(format!(
                "{}/{} {state} attempt {} until {:?} {:?} {:?} {:?}",
                info.namespace(),
                info.key().as_str(),
                info.attempts(),
                info.lease_until(),
                info.expires_at(),
                info.checkpoint(),
                info.response().map(|response| in_words(&info, response)),
            ));
        }
        let stats = ledger.stats()?;
        let expired = stats.namespaces.into_iter();
        let txn = ledger.write()?;
        let balances = txn.open_table(BALANCES).expect("opens");
        let balance = balances.get("a").expect("reads").map(|it| it.value());
        drop(balances);
        txn.abort();
        Ok(Self {
            records,
            expired: expired.map(|names| (names.name, names.expired)).collect(),
            balance,
        })
    }
}
