//! The outbox: messages written in the transaction of the work they tell of, and sent afterwards.
//!
//! A row is an answer that expires at the end of time, under an id made from its fence: rows lie
//! in the order of their commits, and are counted, checked and kept over crashes as every other
//! record is. Who drains holds an ordinary claim meanwhile, of all topics or of one, so there is
//! one at a time, and after a crash the next one goes on at once.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::care::record_handle::RecordHandle;
use crate::decision::{
    Fence, Fingerprint, Key, Namespace, OnInterrupted, Policy, Record, Scope, Timestamp,
};
use crate::error::{Error, Invalid};
use crate::operation::claim::{Claim, holds_in};
use crate::operation::refusal::{EndingError, Refusal};
use crate::operation::request::{Begin, Request};
use crate::operation::typed::{StoredValue, ValueFormat, from_response, to_response};
use crate::operation::write_txn::WriteTxn;
use crate::store::engine::Engine;
use crate::store::group_commit::Patience;
use crate::store::tables::{NamespaceId, parse_record_key, record_key};
use crate::store::write_store::WriteStore;
use crate::table_record::{append, check_name, checked_name, id_of};

/// The largest topic and payload of a row.
const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;
/// What a row costs a batch beside its payload.
const ROW_BYTES: usize = 512;
/// How many rows are read at a time, and after how many bytes no further one.
const PAGE_ROWS: usize = 64;
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// How many topics may fail in one drain.
const FAILED_MAX: usize = 256;
/// The claim of a caller that drains everything; rows have no scope.
const DRAIN: &str = "drain";
/// The claim of a caller that drains the topic in its scope.
const DRAIN_TOPIC: &str = "drain-topic";

/// An outbox: messages (mails, events for a queue, calls to other systems) that must be sent if
/// and only if a transaction commits.
///
/// Write the row in the transaction of the work ([`Outbox::push_in`]): both are on disk, or
/// neither. [`Outbox::drain`] sends what is there, in the order of the commits, each **at least
/// once**: a crash behind the sending and before the removal sends it again. Each row has a key
/// that stays the same, for the other side to deduplicate by.
///
/// ```
/// # use idempotency_ledger::*;
/// # let ledger = Ledger::in_memory()?;
/// const MAILS: OutboxTable = OutboxTable::new("mails");
///
/// let outbox = ledger.outbox(MAILS);
/// let txn = ledger.write()?;
/// // ... the order's own writes in `txn` ...
/// outbox.push_in(&txn, "order-confirmed", b"order 17")?;
/// let _ = txn.commit()?;
///
/// let mut sent = Vec::new();
/// let drained = outbox.drain(100, |row| -> Result<(), std::io::Error> {
///     sent.push((row.topic().to_owned(), row.payload().to_vec())); // with row.key()
///     Ok(())
/// })?;
/// assert!(matches!(drained, Drain::Done(Drained { delivered: 1, .. })));
/// assert_eq!(sent, [("order-confirmed".to_owned(), b"order 17".to_vec())]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxTable {
    name: Cow<'static, str>,
}

impl OutboxTable {
    /// An outbox with a name fixed in the program.
    ///
    /// # Panics
    ///
    /// When the name is empty, longer than 240 bytes or holds an ASCII control character. In a
    /// constant this is an error of the compiler.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        check_name(name);
        Self {
            name: Cow::Borrowed(name),
        }
    }

    /// An outbox whose name is known only at run time.
    ///
    /// # Errors
    ///
    /// [`Invalid::Key`] for a name that is empty or holds a control character, and
    /// [`Invalid::TooLong`] for one of more than 240 bytes.
    pub fn named(name: impl Into<String>) -> Result<Self, Error> {
        let name = checked_name(name.into())?;
        Ok(Self { name })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A message that waits to be sent.
///
/// ```
/// # use idempotency_ledger::*;
/// # let ledger = Ledger::in_memory()?;
/// const MAILS: OutboxTable = OutboxTable::new("mails");
/// let key = ledger.outbox(MAILS).push("greeting", b"hello")?;
/// let rows = ledger.outbox(MAILS).rows(10)?;
/// assert_eq!((rows[0].topic(), rows[0].payload()), ("greeting", &b"hello"[..]));
/// assert_eq!((rows[0].key(), rows[0].failures()), (&key, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    key: Key,
    fence: Fence,
    failures: u32,
    pushed_at: Timestamp,
    message: Message,
}

/// What is stored of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Message {
    topic: String,
    key: String,
    payload: Vec<u8>,
}

impl StoredValue for Message {
    const SCHEMA: &'static str = "idempotency-ledger/outbox/1";
    // A payload is bytes, and these are three strings of which each one comes back.
    const FORMAT: ValueFormat = ValueFormat::Bincode;
    const COMES_BACK: bool = true;
}

impl OutboxRow {
    /// What kind of message it is.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.message.topic
    }

    /// The message.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.message.payload
    }

    /// The key to send it under: the same in each attempt, and in no other row of any file.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Its place in the order of commits.
    #[must_use]
    pub const fn fence(&self) -> Fence {
        self.fence
    }

    /// When it was written.
    #[must_use]
    pub const fn pushed_at(&self) -> Timestamp {
        self.pushed_at
    }

    /// How often sending it has failed.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }
}

/// What draining came to.
///
/// ```
/// # use idempotency_ledger::*;
/// # let ledger = Ledger::in_memory()?;
/// const MAILS: OutboxTable = OutboxTable::new("mails");
/// let outbox = ledger.outbox(MAILS);
/// outbox.push("greeting", b"hello")?;
/// let _ = outbox.drain(1, |_| -> Result<(), std::io::Error> {
///     // Somebody else who drains meanwhile sends nothing.
///     let other = outbox.drain(1, |_| Ok::<(), std::io::Error>(())).expect("works");
///     assert!(matches!(other, Drain::Busy { .. }));
///     Ok(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "it says what was not sent"]
pub enum Drain<E> {
    /// This caller drained.
    Done(Drained<E>),
    /// Somebody else is at it; nothing was sent.
    Busy {
        /// When asking again makes sense.
        retry_after: Duration,
    },
}

/// What a drain did; see [`Outbox::drain`].
///
/// ```
/// # use idempotency_ledger::*;
/// # let ledger = Ledger::in_memory()?;
/// const MAILS: OutboxTable = OutboxTable::new("mails");
/// let outbox = ledger.outbox(MAILS);
/// for (topic, payload) in [("to ann", "1"), ("to bob", "2"), ("to ann", "3")] {
///     outbox.push(topic, payload.as_bytes())?;
/// }
/// let mut bounce = |row: &OutboxRow| match row.topic() {
///     "to ann" => Err("mailbox full"),
///     _ => Ok(()),
/// };
/// let Drain::Done(drained) = outbox.drain(100, &mut bounce)? else {
///     panic!("nobody else drains");
/// };
/// assert_eq!((drained.delivered, drained.failed.len(), drained.held_back), (1, 1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Drained<E> {
    /// How many rows were sent and removed.
    pub delivered: usize,
    /// What could not be sent, with the error. It stays.
    pub failed: Vec<(OutboxRow, E)>,
    /// How many rows were not tried, because one before them of the same topic had failed, or
    /// another caller drains their topic.
    pub held_back: usize,
    /// Whether there may be more than the bound allowed to try.
    pub more: bool,
}

impl<E> Default for Drained<E> {
    fn default() -> Self {
        Self {
            delivered: 0,
            failed: Vec::new(),
            held_back: 0,
            more: false,
        }
    }
}

/// An [`OutboxTable`] of a ledger; made by [`Ledger::outbox`](crate::Ledger::outbox).
///
/// ```
/// # use idempotency_ledger::*;
/// # let ledger = Ledger::in_memory()?;
/// const MAILS: OutboxTable = OutboxTable::new("mails");
/// let txn = ledger.write()?;
/// ledger.outbox(MAILS).push_in(&txn, "greeting", b"hello")?;
/// txn.abort(); // the work did not happen, so nothing is to be sent
/// assert!(ledger.outbox(MAILS).rows(10)?.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Outbox {
    engine: Arc<Engine>,
    table: OutboxTable,
    namespace: Namespace,
}

impl Outbox {
    pub(crate) fn new(engine: Arc<Engine>, table: OutboxTable) -> Self {
        let policy = Policy::DEFAULT
            .retention(Duration::MAX)
            .on_interrupted(OnInterrupted::Rerun);
        let namespace = Namespace::of_outbox(&table.name).policy(policy);
        Self {
            engine,
            table,
            namespace,
        }
    }

    /// The outbox.
    #[must_use]
    pub const fn table(&self) -> &OutboxTable {
        &self.table
    }

    /// Writes a row in a transaction of the caller's own: the row and the work, or neither.
    /// Returns the key that it will be sent under.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a topic that is empty, longer than 255 bytes or holds a control
    /// character, and for a payload above 1 MiB: nothing was written. Behind any other error the
    /// transaction can no longer commit.
    pub fn push_in(&self, txn: &WriteTxn<'_>, topic: &str, payload: &[u8]) -> Result<Key, Error> {
        let (key, message) = message(topic, payload)?;
        txn.check_engine(&self.engine)?;
        txn.step(|store| push(store, &self.namespace, &message))?;
        Ok(key)
    }

    /// Writes a row by itself. Where it belongs to other writes, use [`Outbox::push_in`].
    ///
    /// # Errors
    ///
    /// As for [`Outbox::push_in`]. [`Error::CommitUnknown`]: the row may be there.
    ///
    /// # Blocking
    ///
    /// Until the commit is on disk; writers at the same time share its sync.
    pub fn push(&self, topic: &str, payload: &[u8]) -> Result<Key, Error> {
        let (key, message) = message(topic, payload)?;
        let namespace = self.namespace.clone();
        let bytes = payload.len() + ROW_BYTES;
        self.engine.submit(Patience::Bounded, bytes, move |store| {
            push(store, &namespace, &message)
        })?;
        Ok(key)
    }

    /// The rows that wait, oldest first, at most `max`.
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub fn rows(&self, max: usize) -> Result<Vec<OutboxRow>, Error> {
        self.rows_behind(None, None, max, usize::MAX)
    }

    /// Sends up to `max` rows, oldest first, and removes each one that `deliver` says is sent.
    ///
    /// Where `deliver` fails, the row stays, and the rows of the same topic behind it are held
    /// back, so that within a topic nothing overtakes. Other topics go on: all that waits is looked
    /// through, until `max` rows are sent or 256 topics have failed. One caller drains everything
    /// at a time, over all threads and processes; topics that callers of [`Outbox::drain_topic`]
    /// are at are left to them.
    ///
    /// # Errors
    ///
    /// [`Error`]. What was sent before it is removed, except for the last one where it is
    /// [`Error::CommitUnknown`].
    ///
    /// # Blocking
    ///
    /// As long as the deliveries run, for a commit each, and two for the drain. Where nothing
    /// waits, for none.
    pub fn drain<E>(
        &self,
        max: usize,
        mut deliver: impl FnMut(&OutboxRow) -> Result<(), E>,
    ) -> Result<Drain<E>, Error> {
        let mut drained = Drained::default();
        let whole = Turn::whole()?;
        if self.rows(1)?.is_empty() && !self.is_there(&whole.key, &whole.scope)? {
            return Ok(Drain::Done(drained));
        }
        let claim = match self.begin_drain(&whole)? {
            Ok(claim) => claim,
            Err(retry_after) => return Ok(Drain::Busy { retry_after }),
        };
        self.drain_as(&claim, None, max, &mut drained, &mut deliver)?;
        end_drain(claim)?;
        Ok(Drain::Done(drained))
    }

    /// Like [`Outbox::drain`], for the rows of one topic. Several callers drain at once, each one a
    /// topic of its own; one caller drains a topic at a time, over all threads and processes, and
    /// none while another drains everything.
    ///
    /// ```
    /// # use idempotency_ledger::*;
    /// # let ledger = Ledger::in_memory()?;
    /// const MAILS: OutboxTable = OutboxTable::new("mails");
    /// let outbox = ledger.outbox(MAILS);
    /// outbox.push("to ann", b"1")?;
    /// outbox.push("to bob", b"2")?;
    /// let _ = outbox.drain_topic("to ann", 100, |row| -> Result<(), std::io::Error> {
    ///     assert_eq!(row.topic(), "to ann");
    ///     // A slow receiver stops nobody else's messages.
    ///     let other = outbox.drain_topic("to bob", 100, |_| Ok::<(), std::io::Error>(()));
    ///     assert!(matches!(other, Ok(Drain::Done(Drained { delivered: 1, .. }))));
    ///     Ok(())
    /// })?;
    /// assert!(outbox.rows(10)?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Outbox::drain`], and [`Invalid::Topic`] for a topic that no row can have.
    ///
    /// # Blocking
    ///
    /// As for [`Outbox::drain`].
    pub fn drain_topic<E>(
        &self,
        topic: &str,
        max: usize,
        mut deliver: impl FnMut(&OutboxRow) -> Result<(), E>,
    ) -> Result<Drain<E>, Error> {
        let mut drained = Drained::default();
        let turn = Turn::of_topic(topic)?;
        if self
            .rows_behind(None, Some(topic), 1, usize::MAX)?
            .is_empty()
            && !self.is_there(&turn.key, &turn.scope)?
        {
            return Ok(Drain::Done(drained));
        }
        let claim = match self.begin_drain(&turn)? {
            Ok(claim) => claim,
            Err(retry_after) => return Ok(Drain::Busy { retry_after }),
        };
        // Each of the two who could meet claims first and looks for the other then, and a commit
        // that is acknowledged is seen by each look behind it: so one of them sees the other.
        if let Some(retry_after) = self.held_by_other(&Turn::whole()?)? {
            end_drain(claim)?;
            return Ok(Drain::Busy { retry_after });
        }
        self.drain_as(&claim, Some(topic), max, &mut drained, &mut deliver)?;
        end_drain(claim)?;
        Ok(Drain::Done(drained))
    }

    /// The claim of the one who drains, or when to ask again.
    fn begin_drain(&self, turn: &Turn) -> Result<Result<Claim, Duration>, Error> {
        let policy = self.namespace.current_policy();
        let ask = || {
            let (engine, namespace) = (Arc::clone(&self.engine), self.namespace.clone());
            let request = Request::new(engine, namespace, turn.key.clone(), Fingerprint::NONE);
            request.scope(turn.scope.as_bytes()).begin()
        };
        let begun = match ask()? {
            // Somebody ended the claim of a drain by hand, as if it were an operation.
            Begin::Replay(_) => {
                let engine = Arc::clone(&self.engine);
                let record = RecordHandle::new(engine, self.namespace.clone(), turn.key.clone());
                let _ = record.scope(turn.scope.as_bytes()).forget()?;
                ask()?
            }
            begun => begun,
        };
        Ok(match begun {
            Begin::Fresh(claim) => Ok(claim),
            Begin::Refused(Refusal::InProgress { retry_after }) => Err(retry_after),
            // Its holder lives and is late.
            Begin::Interrupted(_)
            | Begin::Replay(_)
            | Begin::Refused(Refusal::Mismatch | Refusal::Stale { .. } | Refusal::Quota { .. }) => {
                Err(policy.retry_hint_span())
            }
        })
    }

    /// When to ask again because another caller drains there. What a dead one has left is taken
    /// over and tidied up: only a claim of a new fence keeps it from sending on, should it live.
    fn held_by_other(&self, turn: &Turn) -> Result<Option<Duration>, Error> {
        if !self.is_there(&turn.key, &turn.scope)? {
            return Ok(None);
        }
        match self.begin_drain(turn)? {
            Ok(claim) => end_drain(claim).map(|()| None),
            Err(retry_after) => Ok(Some(retry_after)),
        }
    }

    /// Sends rows under a claim: of one topic, or of all but those that others drain.
    fn drain_as<E>(
        &self,
        claim: &Claim,
        topic: Option<&str>,
        max: usize,
        drained: &mut Drained<E>,
        deliver: &mut impl FnMut(&OutboxRow) -> Result<(), E>,
    ) -> Result<(), Error> {
        // Whether rows of a topic that was met are held back.
        let mut topics: HashMap<String, bool> = HashMap::new();
        let mut behind = None;
        loop {
            let page = self.rows_behind(behind, topic, PAGE_ROWS, PAGE_BYTES)?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            behind = Some(last.fence());
            for row in page {
                let held_back = if let Some(held_back) = topics.get(row.topic()) {
                    *held_back
                } else {
                    let by_other = topic.is_none() && self.is_topic_drained(row.topic())?;
                    topics.insert(row.topic().to_owned(), by_other);
                    by_other
                };
                if held_back {
                    drained.held_back += 1;
                    continue;
                }
                let is_enough = drained.delivered >= max || drained.failed.len() >= FAILED_MAX;
                if is_enough || !self.keep_claim(claim)? {
                    drained.more = true;
                    return Ok(());
                }
                // Discarded since the page was read, it is not sent any more.
                if !self.waits(&row)? {
                    continue;
                }
                match deliver(&row) {
                    Ok(()) => {
                        self.end_row(claim, &row, RowEnd::Delivered)?;
                        drained.delivered += 1;
                    }
                    Err(error) => {
                        self.end_row(claim, &row, RowEnd::Failed)?;
                        topics.insert(row.topic().to_owned(), true);
                        drained.failed.push((row, error));
                    }
                }
            }
        }
    }

    fn is_topic_drained(&self, topic: &str) -> Result<bool, Error> {
        let held = self.held_by_other(&Turn::of_topic(topic)?)?;
        Ok(held.is_some())
    }

    fn waits(&self, row: &OutboxRow) -> Result<bool, Error> {
        self.is_there(&row_id(row.fence), &Scope::NONE)
    }

    fn is_there(&self, id: &Key, scope: &Scope) -> Result<bool, Error> {
        let engine = &*self.engine;
        engine.read(|snapshot| {
            let Some(number) = engine.namespace_id(snapshot, self.namespace.name())? else {
                return Ok(false);
            };
            Ok(snapshot.get(&record_key(number, id, scope))?.is_some())
        })
    }

    /// Whether the caller still drains. A lease of which less than half is left is renewed.
    fn keep_claim(&self, claim: &Claim) -> Result<bool, Error> {
        let left = claim
            .lease_until()
            .saturating_since(self.engine.holder.now());
        if left * 2 > claim.lease() {
            return Ok(true);
        }
        match claim.renew() {
            Ok(_) => Ok(true),
            Err(EndingError::Ledger(error)) => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// Takes note of what became of a row, if the caller still drains: who took over sends it
    /// again, and ends it.
    fn end_row(&self, claim: &Claim, row: &OutboxRow, end: RowEnd) -> Result<(), Error> {
        let (drain, place) = (claim.ended(), row_id(row.fence));
        let name = self.namespace.name().to_owned();
        self.engine
            .submit(Patience::Reserved, ROW_BYTES, move |store| {
                let Some(number) = store.namespace_id(&name)? else {
                    return Ok(());
                };
                if !holds_in(store, &drain)? {
                    return Ok(());
                }
                let place = record_key(number, &place, &Scope::NONE);
                let stored = store.get(&place)?;
                match (end, stored) {
                    (_, None) => Ok(()),
                    (RowEnd::Delivered, stored @ Some(_)) => store.remove(&place, stored.as_ref()),
                    (RowEnd::Failed, Some(record)) => {
                        let attempts = record.attempts.saturating_add(1);
                        let tried = Record {
                            attempts,
                            ..record.clone()
                        };
                        store.put(&place, Some(&record), &tried)
                    }
                }
            })
    }

    /// Removes a row that will never be sent, such as one that no receiver accepts. Says whether
    /// it was there.
    ///
    /// # Errors
    ///
    /// [`Error`].
    ///
    /// # Blocking
    ///
    /// Until the commit is on disk.
    pub fn discard(&self, row: &OutboxRow) -> Result<bool, Error> {
        let (id, name) = (row_id(row.fence), self.namespace.name().to_owned());
        self.engine
            .submit(Patience::Bounded, ROW_BYTES, move |store| {
                let Some(number) = store.namespace_id(&name)? else {
                    return Ok(false);
                };
                let place = record_key(number, &id, &Scope::NONE);
                let stored = store.get(&place)?;
                if stored.is_some() {
                    store.remove(&place, stored.as_ref())?;
                }
                Ok(stored.is_some())
            })
    }

    fn rows_behind(
        &self,
        behind: Option<Fence>,
        topic: Option<&str>,
        max: usize,
        bytes_max: usize,
    ) -> Result<Vec<OutboxRow>, Error> {
        let engine = &*self.engine;
        engine.read(|snapshot| {
            let Some(number) = engine.namespace_id(snapshot, self.namespace.name())? else {
                return Ok(Vec::new());
            };
            let behind = behind.map(|fence| record_key(number, &row_id(fence), &Scope::NONE));
            let (mut rows, mut bytes) = (Vec::new(), 0);
            snapshot.visit(number, behind.as_deref(), |record_key, record| {
                if rows.len() == max {
                    return Ok(false);
                }
                if is_row(record_key, number) {
                    let row = row_of(&record)?;
                    if topic.is_none_or(|topic| topic == row.topic()) {
                        bytes += row.payload().len();
                        rows.push(row);
                    }
                }
                Ok(rows.len() < max && bytes < bytes_max)
            })?;
            Ok(rows)
        })
    }
}

/// The place of the claim that a caller drains under.
struct Turn {
    key: Key,
    scope: Scope,
}

impl Turn {
    fn whole() -> Result<Self, Error> {
        Self::at(DRAIN, DRAIN)
    }

    fn of_topic(topic: &str) -> Result<Self, Error> {
        check_topic(topic)?;
        Self::at(DRAIN_TOPIC, topic)
    }

    fn at(key: &str, scope: &str) -> Result<Self, Error> {
        let scope = Scope::new(scope).map_err(|error| Error::Invalid(Invalid::Scope(error)))?;
        let key = id_of(key)?;
        Ok(Self { key, scope })
    }
}

/// Ends the claim of a drain. If another caller ended it by hand, or took over: what was sent is
/// sent.
fn end_drain(claim: Claim) -> Result<(), Error> {
    match claim.release().map_err(|failed| failed.error) {
        Err(EndingError::Ledger(error)) => Err(error),
        Ok(())
        | Err(
            EndingError::Superseded
            | EndingError::DifferentResponse
            | EndingError::HasCheckpoint
            | EndingError::StillRunning,
        ) => Ok(()),
    }
}

/// What became of a row.
#[derive(Clone, Copy)]
enum RowEnd {
    Delivered,
    Failed,
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Outbox").field(&self.table).finish()
    }
}

/// A topic has the limits of a key.
fn check_topic(topic: &str) -> Result<(), Error> {
    match Key::new(topic) {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::Invalid(Invalid::Topic(error))),
    }
}

/// A message with a key of its own, checked.
fn message(topic: &str, payload: &[u8]) -> Result<(Key, Message), Error> {
    check_topic(topic)?;
    let (bytes, limit) = (payload.len(), PAYLOAD_BYTES_MAX);
    if bytes > limit {
        let what = "payload of the outbox row";
        return Err(Error::Invalid(Invalid::TooLong { what, bytes, limit }));
    }
    let key = Key::generate();
    let message = Message {
        topic: topic.to_owned(),
        key: key.as_str().to_owned(),
        payload: payload.to_vec(),
    };
    Ok((key, message))
}

fn push(store: &mut WriteStore<'_>, namespace: &Namespace, message: &Message) -> Result<(), Error> {
    append(store, namespace, row_id, &to_response(message)?).map(drop)
}

/// Sorts as the fences do.
fn row_id(fence: Fence) -> Key {
    Key::trusted(format!("{:016x}", fence.get()))
}

fn is_row(key: &[u8], number: NamespaceId) -> bool {
    parse_record_key(key).is_some_and(|(id, _, scope)| id == number && scope == Scope::NONE)
}

fn row_of(record: &Record) -> Result<OutboxRow, Error> {
    let refused = |reason| {
        let schema = Message::SCHEMA;
        Error::Invalid(Invalid::Value { schema, reason })
    };
    let completed = record
        .completed()
        .ok_or_else(|| refused("it is no row but a claim".to_owned()))?;
    let message: Message = from_response(&completed.response).map_err(refused)?;
    Ok(OutboxRow {
        key: id_of(&message.key)?,
        fence: record.fence,
        failures: record.attempts.saturating_sub(1),
        pushed_at: completed.completed_at,
        message,
    })
}
