//! Events seen before: a deduplication table in the same file, with the same promises.
//!
//! A sighting is an answer without content: it is stored, indexed, counted, swept and checked as
//! every other record, in a namespace of the table's own.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::decision::{
    Decision, Key, KeyAge, Liveness, Namespace, Policy, Record, Response, Room, Scope, Timestamp,
    decide,
};
use crate::error::{Error, Invalid};
use crate::events::Event;
use crate::operation::beginning::now_of;
use crate::operation::noted::Met;
use crate::operation::write_txn::WriteTxn;
use crate::store::engine::Engine;
use crate::store::group_commit::Patience;
use crate::store::tables::record_key;
use crate::store::write_store::WriteStore;
use crate::table_record::{Row, check_name, checked_name, id_of};

/// The bytes of all ids that one call may observe.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What a sighting costs a batch beside its id.
const SIGHTING_BYTES: usize = 256;

/// A table of events, each of which counts once within a window: a webhook's deliveries, the
/// messages of a queue, the lines of an import.
///
/// Deduplication is not idempotency: a repeat is dropped, and nobody gets the answer of the first.
/// Where the sender waits for an answer, use [`Ledger::operation`](crate::Ledger::operation).
///
/// # Before or after the work
///
/// A mark says that an event was *seen*, not that it was *handled*.
///
/// - Mark before the work, and a crash in between loses the event: at most once.
/// - Mark after the work, and a crash in between does the work again: at least once.
/// - Mark in the same transaction as the work ([`Dedup::observe_in`]): exactly once. This is for
///   effects in this file.
/// - For an effect elsewhere (a mail, a bank) a mark is the wrong tool: use a claim, under which a
///   crash leaves a ticket instead of a guess, and hand its child key on.
///
/// The id comes from the sender and is scoped by the table: one for each source or subscription.
/// Check signatures before observing, or a forged id suppresses the real event.
///
/// # Windows
///
/// An id that is seen again after its window is a first one again. Take a window that is longer
/// than the sender's retries, never shorter.
///
/// ```
/// # use idempotency_ledger::*;
/// # let ledger = Ledger::in_memory()?;
/// const WEBHOOKS: DedupTable = DedupTable::new("webhooks/shopify", DedupTable::SEVEN_DAYS);
///
/// let webhooks = ledger.dedup(WEBHOOKS);
/// assert_eq!(webhooks.observe("evt_17")?, Sighting::First);
/// let Sighting::Repeat { first_seen } = webhooks.observe("evt_17")? else {
///     panic!("it was seen")
/// };
/// assert!(first_seen <= ledger.now());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DedupTable {
    name: Cow<'static, str>,
    window: Duration,
}

impl DedupTable {
    /// What Amazon SQS remembers of a FIFO queue's messages.
    pub const FIVE_MINUTES: Duration = Duration::from_secs(5 * 60);
    /// What Stripe remembers of a key, at least.
    pub const ONE_DAY: Duration = Duration::from_secs(24 * 3_600);
    /// Longer than most senders of webhooks go on retrying.
    pub const SEVEN_DAYS: Duration = Duration::from_secs(7 * 86_400);

    /// A table with a name fixed in the program.
    ///
    /// # Panics
    ///
    /// When the name is empty, longer than 240 bytes or holds an ASCII control character, or the
    /// window is shorter than a millisecond. In a constant this is an error of the compiler.
    #[must_use]
    pub const fn new(name: &'static str, window: Duration) -> Self {
        check_name(name);
        assert!(
            window.as_millis() > 0,
            "a window is a millisecond or longer"
        );
        Self {
            name: Cow::Borrowed(name),
            window,
        }
    }

    /// A table whose name is known only at run time.
    ///
    /// # Errors
    ///
    /// [`Invalid::Key`] for a name that is empty or holds a control character,
    /// [`Invalid::TooLong`] for one of more than 240 bytes, and [`Invalid::Policy`] for a window
    /// shorter than a millisecond.
    pub fn named(name: impl Into<String>, window: Duration) -> Result<Self, Error> {
        let name = checked_name(name.into())?;
        let table = Self { name, window };
        table.namespace().current_policy().check()?;
        Ok(table)
    }

    /// The table's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long an id counts as seen, from its first sighting on.
    #[must_use]
    pub const fn window(&self) -> Duration {
        self.window
    }

    fn namespace(&self) -> Namespace {
        Namespace::of_dedup_table(&self.name).policy(Policy::DEFAULT.retention(self.window))
    }
}

/// What an observation found.
///
/// ```
/// # use idempotency_ledger::*;
/// # let ledger = Ledger::in_memory()?;
/// const LINES: DedupTable = DedupTable::new("import", DedupTable::ONE_DAY);
/// match ledger.dedup(LINES).observe("line-1")? {
///     Sighting::First => {} // work on it
///     Sighting::Repeat { first_seen } => println!("seen at {first_seen}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a repeat is not to be worked on again"]
pub enum Sighting {
    /// Nobody has seen the id within the window. It is marked now.
    First,
    /// It was seen before. Nothing was written.
    Repeat {
        /// When it was first seen.
        first_seen: Timestamp,
    },
}

/// A [`DedupTable`] of a ledger; made by [`Ledger::dedup`](crate::Ledger::dedup).
///
/// ```
/// # use idempotency_ledger::*;
/// # let ledger = Ledger::in_memory()?;
/// const LINES: DedupTable = DedupTable::new("import", DedupTable::ONE_DAY);
/// let seen = ledger.dedup(LINES).observe_all(["line-1", "line-2", "line-1"])?;
/// assert!(matches!(seen[..], [Sighting::First, Sighting::First, Sighting::Repeat { .. }]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Dedup {
    engine: Arc<Engine>,
    table: DedupTable,
    namespace: Namespace,
}

impl Dedup {
    pub(crate) fn new(engine: Arc<Engine>, table: DedupTable) -> Self {
        let namespace = table.namespace();
        Self {
            engine,
            table,
            namespace,
        }
    }

    /// The table.
    #[must_use]
    pub const fn table(&self) -> &DedupTable {
        &self.table
    }

    /// Marks an id as seen, and says whether it was seen before within the window.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an id that is empty, longer than 255 bytes or holds a control
    /// character: nothing was written. [`Error::CommitUnknown`]: the mark may be on disk, so the
    /// event may come back as a repeat without ever having been worked on.
    ///
    /// # Durability
    ///
    /// A first sighting is on disk when this returns; callers at the same time share its sync. A
    /// repeat writes nothing.
    ///
    /// # Blocking
    ///
    /// Until the commit is on disk.
    pub fn observe(&self, id: &str) -> Result<Sighting, Error> {
        let id = id_of(id)?;
        let looked = self.look(&id)?;
        let sighting = if let Some(repeat) = looked {
            repeat
        } else {
            let (namespace, seen) = (self.namespace.clone(), id.clone());
            let bytes = id.as_str().len() + SIGHTING_BYTES;
            self.engine.submit(Patience::Bounded, bytes, move |store| {
                see(store, &namespace, &seen)
            })?
        };
        self.note(&id, sighting);
        Ok(sighting)
    }

    /// The same for several ids, with one answer each in their order and one commit for all. An
    /// id that comes twice is a repeat the second time.
    ///
    /// # Errors
    ///
    /// As for [`Dedup::observe`]; one id that is refused refuses all. More than 4 MiB of ids are
    /// [`Invalid::TooLong`].
    ///
    /// # Blocking
    ///
    /// Until the commit is on disk.
    pub fn observe_all<I>(&self, ids: I) -> Result<Vec<Sighting>, Error>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let (mut checked, mut bytes) = (Vec::new(), 0);
        for id in ids {
            let id = id_of(id.as_ref())?;
            bytes += id.as_str().len() + SIGHTING_BYTES;
            checked.push(id);
            if bytes > BATCH_BYTES_MAX {
                let (what, limit) = ("batch of ids", BATCH_BYTES_MAX);
                return Err(Error::Invalid(Invalid::TooLong { what, bytes, limit }));
            }
        }
        if checked.is_empty() {
            return Ok(Vec::new());
        }
        let checked: Arc<[Key]> = checked.into();
        let (namespace, ids) = (self.namespace.clone(), Arc::clone(&checked));
        let seen: Vec<Sighting> = self.engine.submit(Patience::Bounded, bytes, move |store| {
            ids.iter().map(|id| see(store, &namespace, id)).collect()
        })?;
        for (id, sighting) in checked.iter().zip(&seen) {
            self.note(id, *sighting);
        }
        Ok(seen)
    }

    /// Marks an id in a transaction of the caller's own: the mark and the work, or neither.
    ///
    /// # Errors
    ///
    /// As for [`Dedup::observe`]; behind any error but [`Error::Invalid`] the transaction can no
    /// longer commit.
    pub fn observe_in(&self, txn: &WriteTxn<'_>, id: &str) -> Result<Sighting, Error> {
        let id = id_of(id)?;
        txn.check_engine(&self.engine)?;
        let sighting = txn.step(|store| see(store, &self.namespace, &id))?;
        let event = self.event_of(sighting);
        txn.note_behind_commit(Met::in_namespace(self.namespace.name(), &id, event));
        Ok(sighting)
    }

    fn event_of(&self, sighting: Sighting) -> Event {
        match sighting {
            Sighting::First => Event::Claimed,
            Sighting::Repeat { first_seen } => Event::Replayed {
                delay: self.engine.holder.now().saturating_since(first_seen),
            },
        }
    }

    /// Takes note of a sighting, for the counts and the advice.
    fn note(&self, id: &Key, sighting: Sighting) {
        let event = self.event_of(sighting);
        let events = &self.engine.holder.events;
        events.note(self.namespace.name(), id.as_str(), event);
    }

    /// What the last commit says of an id, if it was seen.
    fn look(&self, id: &Key) -> Result<Option<Sighting>, Error> {
        let engine = &*self.engine;
        engine.read(|snapshot| {
            let Some(number) = engine.namespace_id(snapshot, self.namespace.name())? else {
                return Ok(None);
            };
            let stored = snapshot.get(&record_key(number, id, &Scope::NONE))?;
            let now = now_of(engine, snapshot, number)?;
            Ok(stored.and_then(|record| repeat(&record, now)))
        })
    }
}

impl fmt::Debug for Dedup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dedup").field(&self.table).finish()
    }
}

/// Looks and marks in one write transaction.
fn see(store: &mut WriteStore<'_>, namespace: &Namespace, id: &Key) -> Result<Sighting, Error> {
    let row = Row::find(store, namespace, id)?;
    if let Some(repeat) = row.stored.as_ref().and_then(|it| repeat(it, store.now)) {
        return Ok(repeat);
    }
    row.write(store, id, &Response::from(Vec::new()))?;
    Ok(Sighting::First)
}

/// Whether a stored sighting counts at `now`, decided as every other record is.
fn repeat(record: &Record, now: Timestamp) -> Option<Sighting> {
    let decision = decide(
        Some(record),
        &[record.fingerprint],
        KeyAge::Accepted,
        Room::Free,
        Duration::ZERO,
        Liveness::Unknown,
        now,
    );
    match decision {
        Decision::Replay | Decision::InProgress { .. } | Decision::Interrupted { .. } => {
            let first_seen = record.first_claimed_at;
            Some(Sighting::Repeat { first_seen })
        }
        Decision::Fresh
        | Decision::Expired
        | Decision::Mismatch
        | Decision::Stale
        | Decision::Ahead
        | Decision::Quota => None,
    }
}
