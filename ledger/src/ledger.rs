//! The handle that applications hold.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redb::Database;

use crate::builder::Builder;
use crate::care::backup::{self, BackupReport};
use crate::care::check::{self, CheckReport};
use crate::care::clock::{self, ClockBack};
use crate::care::compaction::{self, Compacted};
use crate::care::progress::{Progress, telling};
use crate::care::record_handle::{self, RecordHandle, RecordInfo};
use crate::care::records::{RecordFilter, Records};
use crate::care::stats::{self, Stats};
use crate::care::sweeper::Sweeper;
use crate::decision::{Fingerprint, Key, Namespace, Response, Timestamp};
use crate::dedup::{Dedup, DedupTable};
use crate::error::Error;
use crate::events::advice::{self, RetentionAdvice};
use crate::events::drift::{self, PolicyDrift};
use crate::file::storage::OpenReport;
use crate::operation::claim::Claim;
use crate::operation::many::{self, BeginMany, CompleteAllError};
use crate::operation::replay::Replay;
use crate::operation::request::Request;
use crate::operation::ticket::Ticket;
use crate::operation::typed::StoredValue;
use crate::operation::write_txn::WriteTxn;
use crate::outbox::{Outbox, OutboxTable};
use crate::store::engine::Engine;
use crate::store::group_commit::Patience;
use crate::store::write_store::Swept;
use crate::traced;
use crate::versioned::{Versioned, VersionedTable};

/// A ledger of idempotent operations in one file. Clones share it; the last one closes it.
///
/// ```
/// use idempotency_ledger::{Fingerprint, Key, Ledger, Namespace};
///
/// const PAYMENTS: Namespace = Namespace::new("payments");
/// let folder = tempfile::tempdir()?;
/// let ledger = Ledger::open(folder.path().join("app.redb"))?;
/// let key = Key::generate();
/// let mut charged = 0;
/// for _ in 0..2 {
///     let answer = ledger
///         .operation(PAYMENTS, &key, Fingerprint::of(["order-17", "25 EUR"]))
///         .run_bytes(|_operation| -> Result<_, std::io::Error> {
///             charged += 1;
///             Ok("charged 25 EUR")
///         })?;
///     assert_eq!(answer.into_inner().bytes(), b"charged 25 EUR");
/// }
/// assert_eq!(charged, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Ledger {
    pub(crate) engine: Arc<Engine>,
}

impl Ledger {
    pub(crate) const fn from_engine(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// Settings for opening a ledger.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Opens the file, or creates it, with the default settings: exclusively, which makes
    /// recovery after a crash immediate.
    ///
    /// # Errors
    ///
    /// As [`Builder::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::builder().open(path)
    }

    /// A ledger in memory, which ends with the process. For tests.
    ///
    /// # Errors
    ///
    /// As [`Builder::in_memory`].
    pub fn in_memory() -> Result<Self, Error> {
        Self::builder().in_memory()
    }

    /// Adds a ledger to a database that the application has open; see [`Builder::attach`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn attach(database: Arc<Database>) -> Result<Self, Error> {
        Self::builder().attach(database)
    }

    /// One request for the operation of a key: settings first, then one ending.
    ///
    /// Namespace, key and scope are the operation's identity; the fingerprint is what it asks
    /// for, and must be the same in each retry.
    pub fn operation(&self, namespace: Namespace, key: &Key, fingerprint: Fingerprint) -> Request {
        Request::new(
            Arc::clone(&self.engine),
            namespace,
            key.clone(),
            fingerprint,
        )
    }

    /// Begins several operations together: all are claimed in one commit, or none is. A booking
    /// of hotel and flight, the lines of an order, a message with several effects.
    ///
    /// A group that began together and died together is interrupted key by key: each standing has
    /// its ticket. [`Request::wait`] does not apply, and a namespace's quota has to have room for
    /// all of them.
    ///
    /// # Errors
    ///
    /// [`Error`]; expected refusals are [`BeginMany::Refused`], with the reason for each key. The
    /// same key twice is [`Invalid::DuplicateKey`](crate::Invalid::DuplicateKey), none or more
    /// than 256 requests are [`Invalid::Count`](crate::Invalid::Count).
    ///
    /// # Blocking
    ///
    /// Until the commit is on disk.
    pub fn begin_many(&self, requests: &[Request]) -> Result<BeginMany, Error> {
        many::begin_many(&self.engine, requests)
    }

    /// Completes several claims together: all responses are stored in one commit, or none is. The
    /// claims may have begun together or one by one.
    ///
    /// # Errors
    ///
    /// [`CompleteAllError`] with all claims and responses.
    ///
    /// # Blocking
    ///
    /// Until the commit is on disk. Endings are never refused for lack of room.
    pub fn complete_all(
        &self,
        endings: Vec<(Claim, Response)>,
    ) -> Result<Vec<Replay>, CompleteAllError> {
        many::complete_all(&self.engine, endings)
    }

    /// Begins a write transaction on the ledger's file for the application's own writes, in
    /// which claims can be begun with [`Request::begin_in`].
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] after the busy timeout, and others.
    ///
    /// # Blocking
    ///
    /// Until the writer is free. Holds it until the transaction ends.
    ///
    /// # Deadlocks
    ///
    /// A second one on the same thread is [`Error::WouldDeadlock`].
    pub fn write(&self) -> Result<WriteTxn<'_>, Error> {
        WriteTxn::begin(&self.engine)
    }

    /// Begins a read transaction on the ledger's file, for the application's own tables. It sees
    /// the last commit, and keeps nobody from writing.
    ///
    /// While it lives, pages that it may read are not reused, and [`Ledger::compact`] and
    /// [`Ledger::check`] are refused. Begun before a failed commit, it ends in errors: begin
    /// another.
    ///
    /// ```
    /// use idempotency_ledger::Ledger;
    /// use idempotency_ledger::redb::{ReadableTableMetadata, TableDefinition};
    ///
    /// const ORDERS: TableDefinition<u64, &str> = TableDefinition::new("orders");
    /// let ledger = Ledger::in_memory()?;
    /// let txn = ledger.write()?;
    /// txn.open_table(ORDERS)?.insert(17, "tea")?;
    /// let _ = txn.commit()?;
    /// assert_eq!(ledger.read()?.open_table(ORDERS)?.len()?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub fn read(&self) -> Result<redb::ReadTransaction, Error> {
        self.engine.begin_read()
    }

    /// A table of values with versions.
    pub fn versioned<T: StoredValue>(&self, table: VersionedTable<T>) -> Versioned<T> {
        Versioned::new(Arc::clone(&self.engine), table)
    }

    /// An outbox: messages that are sent if and only if a transaction commits.
    pub fn outbox(&self, table: OutboxTable) -> Outbox {
        Outbox::new(Arc::clone(&self.engine), table)
    }

    /// A table of events that count once within a window.
    pub fn dedup(&self, table: DedupTable) -> Dedup {
        Dedup::new(Arc::clone(&self.engine), table)
    }

    /// The record of a key, to look at or to end by hand.
    pub fn record(&self, namespace: Namespace, key: &Key) -> RecordHandle {
        RecordHandle::new(Arc::clone(&self.engine), namespace, key.clone())
    }

    /// All records that the filter lets through, as of now. What has expired is not among them.
    ///
    /// # Errors
    ///
    /// [`Error`], here and with each record.
    pub fn records(&self, filter: RecordFilter) -> Result<Records, Error> {
        Records::open(&self.engine, filter)
    }

    /// The ticket of a record that was found interrupted; `None` for one that was not. Recovery
    /// goes through the list, asks the other side under the key that the operation gave it, and
    /// ends each ticket. What has changed since the look is not ended.
    ///
    /// ```
    /// # use idempotency_ledger::*;
    /// # const PAYMENTS: Namespace = Namespace::new("payments");
    /// # let ledger = Ledger::in_memory()?;
    /// # let key = Key::new("order-17")?;
    /// # let asked = Fingerprint::of(["pay", "25"]);
    /// # drop(ledger.operation(PAYMENTS, &key, asked).begin()?);
    /// # fn bank_has(_: &Key) -> bool { true }
    /// let interrupted = RecordFilter::all().state(RecordState::Interrupted);
    /// for record in ledger.records(interrupted)? {
    ///     let record = record?;
    ///     let Some(ticket) = ledger.ticket(&record)? else { continue };
    ///     if ticket.is_overdue() || ticket.is_running() {
    ///         continue; // its holder lives and may act yet
    ///     }
    ///     if bank_has(&record.child_key("bank")) {
    ///         let txn = ledger.write()?; // together with writes of your own
    ///         ticket.within(&txn)?.complete("charged 25 EUR")?;
    ///         let _ = txn.commit()?;
    ///     } else {
    ///         ticket.release()?;
    ///     }
    /// }
    /// assert!(matches!(ledger.operation(PAYMENTS, &key, asked).begin()?, Begin::Replay(_)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub fn ticket(&self, record: &RecordInfo) -> Result<Option<Ticket>, Error> {
        record_handle::ticket_of(&self.engine, record)
    }

    /// Counts, sizes and the state of the clock.
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub fn stats(&self) -> Result<Stats, Error> {
        stats::stats(&self.engine)
    }

    /// How long answers of a namespace should be kept, from when duplicates really came.
    ///
    /// # Errors
    ///
    /// [`Error`].
    #[expect(
        clippy::needless_pass_by_value,
        reason = "given as everywhere: a constant, not a borrow of one"
    )]
    pub fn retention_advice(&self, namespace: Namespace) -> Result<RetentionAdvice, Error> {
        advice::retention_advice(&self.engine, &namespace)
    }

    /// How the given policy of a namespace differs from the stored one; `None` where it does not,
    /// or where nothing is stored yet. Writes nothing.
    ///
    /// # Errors
    ///
    /// [`Error`].
    #[expect(
        clippy::needless_pass_by_value,
        reason = "given as everywhere: a constant, not a borrow of one"
    )]
    pub fn policy_drift(&self, namespace: Namespace) -> Result<Option<PolicyDrift>, Error> {
        drift::policy_drift(&self.engine, &namespace)
    }

    /// Namespaces that this opening used under another policy than the stored one, or was opened
    /// with, each with its newest difference.
    pub fn policy_drifts(&self) -> Vec<PolicyDrift> {
        self.engine.holder.events.drifts()
    }

    /// Removes up to `max` expired records, oldest first, in one commit. Each write carries a
    /// small sweep along anyway.
    ///
    /// # Errors
    ///
    /// [`Error`].
    ///
    /// # Blocking
    ///
    /// Until the commit is on disk; other writers wait meanwhile.
    pub fn sweep(&self, max: usize) -> Result<Swept, Error> {
        let _span = traced::span("sweep", max);
        self.engine
            .submit(Patience::Bounded, 0, move |store| store.sweep(max))
    }

    /// Sweeps every `period`, up to `max` records a time, on a thread that ends when the guard
    /// is dropped.
    ///
    /// # Panics
    ///
    /// When the system has no thread left.
    pub fn sweep_every(&self, period: Duration, max: usize) -> Sweeper {
        Sweeper::start(Arc::clone(&self.engine.holder.clock), period, {
            let ledger = self.clone();
            move || ledger.sweep(max)
        })
    }

    /// Gives unused pages back to the file system.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] on an attached database; [`Error::Busy`] while records are being
    /// listed or another process reads.
    ///
    /// # Blocking
    ///
    /// Stops everybody, for seconds on large files.
    pub fn compact(&self) -> Result<Compacted, Error> {
        let _span = traced::span("compact", 1);
        compaction::compact(&self.engine)
    }

    /// Verifies the whole file: every page, every record, the expiry index and the counters.
    ///
    /// # Errors
    ///
    /// [`Error::FileDamaged`] when pages are damaged. What is wrong with records is in the
    /// report.
    ///
    /// # Blocking
    ///
    /// Stops writers while the pages are read.
    pub fn check(&self) -> Result<CheckReport, Error> {
        self.check_telling(|_| {})
    }

    /// The same, and tells how many records are read. The pages before them are not told of: redb
    /// reads them in one go.
    ///
    /// # Errors
    ///
    /// As for [`Ledger::check`].
    ///
    /// # Blocking
    ///
    /// As there.
    pub fn check_telling(&self, mut tell: impl FnMut(Progress)) -> Result<CheckReport, Error> {
        let _span = traced::span("check", 1);
        telling(&mut tell, |tell| check::check(&self.engine, tell))
    }

    /// Copies the ledger to a new file, which is complete and verified when this returns. The
    /// ledger stays in use; writers wait while the bytes are copied.
    ///
    /// A claim in the copy of a shared ledger counts as in progress until its lease is over: the
    /// locks that tell who lives are beside the original.
    ///
    /// A ledger opened for writing copies the whole file, the application's own tables included;
    /// one opened for reading copies the ledger's tables.
    ///
    /// # Errors
    ///
    /// [`Error`], also when the file exists.
    pub fn backup(&self, path: impl AsRef<Path>) -> Result<BackupReport, Error> {
        self.backup_telling(path, |_| {})
    }

    /// The same, and tells how many bytes are copied.
    ///
    /// # Errors
    ///
    /// As for [`Ledger::backup`].
    pub fn backup_telling(
        &self,
        path: impl AsRef<Path>,
        mut tell: impl FnMut(Progress),
    ) -> Result<BackupReport, Error> {
        let _span = traced::span("backup", 1);
        telling(&mut tell, |tell| {
            backup::backup(&self.engine, path.as_ref(), tell)
        })
    }

    /// Believes the wall clock at once, after a leap that is held back; see [`Stats::clock`].
    /// Returns the ledger's time.
    ///
    /// # Errors
    ///
    /// [`Error`].
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method alone is not general enough over the lifetime of the store"
    )]
    pub fn confirm_clock(&self) -> Result<Timestamp, Error> {
        self.engine.check_writable()?;
        self.engine
            .submit(Patience::Bounded, 0, |store| store.confirm_clock())
    }

    /// What [`Ledger::take_clock_back`] would change now, with the keys counted and named; `None`
    /// where the wall clock is not behind the ledger's time by more than 5 minutes. Writes nothing.
    ///
    /// # Errors
    ///
    /// [`Error`].
    ///
    /// # Blocking
    ///
    /// Reads each record of a namespace that has claims.
    pub fn plan_clock_back(&self) -> Result<Option<ClockBack>, Error> {
        clock::plan_clock_back(&self.engine)
    }

    /// Takes the ledger's time back to the wall clock, where a wrong clock has driven it ahead:
    /// otherwise keys of version 7 that are minted by the right clock are refused as stale, for as
    /// long as the time is ahead. Returns the ledger's time, which stays where the wall clock is
    /// not behind it.
    ///
    /// Answers that expired meanwhile and were not swept count again, and leases that are over run
    /// again, at most for their whole span: [`Ledger::plan_clock_back`] names these keys. It is for
    /// a person who knows that the clock is right now.
    ///
    /// # Errors
    ///
    /// [`Error`].
    ///
    /// # Blocking
    ///
    /// Until the commit is on disk; reads each record of a namespace that has claims.
    pub fn take_clock_back(&self) -> Result<Timestamp, Error> {
        clock::take_clock_back(&self.engine)
    }

    /// Opens the file anew, as the ledger does by itself after an I/O error. Claims, locks and
    /// waiting callers are kept.
    ///
    /// # Errors
    ///
    /// [`Error`], also for an attached database.
    pub fn reopen(&self) -> Result<(), Error> {
        self.engine.check_usable()?;
        self.engine.mark_failed();
        self.engine.reopen_if_failed()
    }

    /// Closes the file and says whether that worked. Every handle and claim of this ledger is
    /// closed from here on; claims that still live become interrupted.
    ///
    /// # Errors
    ///
    /// [`Error::UsedAfterFork`] in a forked child: nothing is closed, the ledger is its parent's.
    /// [`Error`] when the last pages could not be written; what was acknowledged is on disk all
    /// the same.
    pub fn close(self) -> Result<(), Error> {
        self.engine.holder.check_process()?;
        let _lead = self.engine.lead_alone()?;
        self.engine.store_last_events();
        self.engine.close()
    }

    /// The ledger's time, which never runs back.
    pub fn now(&self) -> Timestamp {
        self.engine.holder.now()
    }

    /// What opening found: whether the file was repaired, whether it was verified.
    pub fn open_report(&self) -> OpenReport {
        self.engine.report
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self
            .engine
            .path()
            .map_or(Cow::Borrowed("in memory or attached"), |path| {
                path.to_string_lossy()
            });
        f.debug_struct("Ledger")
            .field("place", &place)
            .finish_non_exhaustive()
    }
}
