//! Records inside a write transaction: read, written, counted and swept as one.
//!
//! Whatever is true of a record is true of its row in the expiry index and of its namespace's
//! counters in the same commit, because only this module writes any of the three.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use redb::{ReadableTable, ReadableTableMetadata, Table, WriteTransaction};

use crate::decision::{
    ClockMark, Evidence, Fence, Key, Namespace, PolicyStamp, Record, Room, State, TimeReading,
    Timestamp, Work, forget, shorten_lease,
};
use crate::error::{Error, Invalid, before_commit, no_panic};
use crate::events::Noted;
use crate::events::drift::PolicyDrift;
use crate::holder::{Holder, Written};
use crate::store::codec::{self, Floor, NamespaceRow, Tail};
use crate::store::group_commit::Settle;
use crate::store::snapshot::{record_from, unreadable};
use crate::store::tables::{
    EVENTS, EXPIRY, META, META_FLOOR, NAMESPACES, NAMESPACES_MAX, NamespaceId, RECORDS, expiry_end,
    expiry_key, namespace_prefix, parse_expiry_key, parse_record_key, tail_key,
};

/// The ledger's side of one write transaction.
pub(crate) struct WriteStore<'t> {
    pub(crate) holder: &'t Holder,
    pub(crate) now: Timestamp,
    /// The later one of the ledger's time and the wall clock.
    pub(crate) latest: Timestamp,
    /// The time as it is stored with what this transaction writes.
    mark: ClockMark,
    transaction: &'t WriteTransaction,
    records: Table<'t, &'static [u8], &'static [u8]>,
    expiry: Option<Table<'t, &'static [u8], ()>>,
    tails: BTreeMap<NamespaceId, TailState>,
    is_dirty: bool,
    is_swept: bool,
    /// Records that were written.
    puts: usize,
    /// Records that a sweep leaves, although it could remove them: somebody is about to write them.
    spared: BTreeSet<Vec<u8>>,
    swept: BTreeMap<NamespaceId, u64>,
    events: BTreeMap<String, Noted>,
    written: Written,
    failure: Option<Error>,
}

/// What is granted in a namespace but not written yet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Planned {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

struct TailState {
    tail: Tail,
    is_dirty: bool,
}

/// What a sweep did.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// let swept = ledger.sweep(1_000)?;
/// assert_eq!((swept.removed, swept.more), (0, false));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Swept {
    /// How many records were removed.
    pub removed: usize,
    /// Whether more have expired than the bound allowed to remove.
    pub more: bool,
}

/// One caller's part of a batch, applied in the batch's transaction.
pub(crate) trait Job: Settle {
    /// Reads, decides and writes. An error that is the caller's own is kept as its answer.
    fn apply(&mut self, store: &mut WriteStore<'_>);

    /// How many callers' operations it is.
    fn operations(&self) -> usize {
        1
    }
}

impl Settle for Box<dyn Job> {
    fn settle(&mut self, verdict: Result<(), Error>) {
        (**self).settle(verdict);
    }
}

impl<'t> WriteStore<'t> {
    /// Runs `work` with the ledger's tables of a transaction. A panic of redb becomes an error, and
    /// leaks the tables: where redb held a lock that closing a table takes, too, a table that the
    /// panic drops would panic once more, and that ends the process.
    pub(crate) fn within<T>(
        holder: &'t Holder,
        transaction: &'t WriteTransaction,
        work: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        no_panic(|| {
            let mut store = Self::open(holder, transaction)?;
            match catch_unwind(AssertUnwindSafe(|| work(&mut store))) {
                Ok(result) => result,
                Err(panic) => {
                    std::mem::forget(store);
                    resume_unwind(panic)
                }
            }
        })
    }

    fn open(holder: &'t Holder, transaction: &'t WriteTransaction) -> Result<Self, Error> {
        let records = transaction.open_table(RECORDS).map_err(before_commit)?;
        let mut store = Self {
            holder,
            now: Timestamp::EPOCH,
            latest: Timestamp::EPOCH,
            mark: ClockMark::default(),
            transaction,
            records,
            expiry: None,
            tails: BTreeMap::new(),
            is_dirty: false,
            is_swept: false,
            puts: 0,
            spared: BTreeSet::new(),
            swept: BTreeMap::new(),
            events: BTreeMap::new(),
            written: Written::default(),
            failure: None,
        };
        if holder.mode().has_other_writers() {
            store.catch_up()?;
        }
        store.use_time(holder.read_time_to_store());
        Ok(store)
    }

    fn use_time(&mut self, (reading, mark): (TimeReading, ClockMark)) {
        self.now = reading.now;
        self.latest = reading.latest();
        self.mark = mark;
    }

    /// Learns fences and marks that other processes have stored since.
    fn catch_up(&mut self) -> Result<(), Error> {
        let mut reached = self.floor()?;
        for number in 0..self.namespace_count()? {
            reached = reached.and(&self.tail(NamespaceId(number))?);
        }
        self.holder.absorb(reached)
    }

    /// How many namespaces there are; they are numbered from 0.
    fn namespace_count(&self) -> Result<u16, Error> {
        let namespaces = self
            .transaction
            .open_table(NAMESPACES)
            .map_err(before_commit)?;
        let count = namespaces.len().map_err(before_commit)?;
        Ok(u16::try_from(count).unwrap_or(u16::MAX))
    }

    fn floor(&self) -> Result<Floor, Error> {
        let meta = self.transaction.open_table(META).map_err(before_commit)?;
        match meta.get(META_FLOOR).map_err(before_commit)? {
            None => Ok(Floor::default()),
            Some(sealed) => codec::decode_floor(META_FLOOR, sealed.value())
                .map_err(|why| unreadable(why, "", "the floor of fence and time")),
        }
    }

    /// Believes the wall clock, and stores its time as one that the file may never fall below.
    pub(crate) fn confirm_clock(&mut self) -> Result<Timestamp, Error> {
        let (reading, mark) = self.holder.believe_wall_clock();
        if reading.wall < reading.now {
            // Nothing to confirm, and no commit that would carry a sweep at this time.
            return Ok(reading.now);
        }
        // What rides along in this transaction was decided by the time before.
        self.mark = mark;
        let result = self.store_floor();
        self.guard(result).map(|()| reading.now)
    }

    /// Takes the time back to the wall clock, if that is earlier, and stores it in the place of all
    /// marks before.
    pub(crate) fn take_clock_back(&mut self) -> Result<Timestamp, Error> {
        let before = self.now;
        self.use_time(self.holder.take_clock_back());
        if self.now >= before {
            return Ok(self.now);
        }
        let result = self.take_back_parts();
        self.guard(result).map(|()| self.now)
    }

    fn take_back_parts(&mut self) -> Result<(), Error> {
        for number in 0..self.namespace_count()? {
            let id = NamespaceId(number);
            let tail = self.tail(id)?;
            // It would refuse every new key until its time, too.
            if tail.newest_removed_ms > self.now.unix_ms() {
                self.tail_mut(id)?.newest_removed_ms = self.now.unix_ms();
            }
            if tail.claimed > 0 {
                self.shorten_leases(id)?;
            }
        }
        // Before the commit: lowered without one it only notices a restored backup less early,
        // while a commit without it would look like a restored backup.
        self.holder.lower_note(self.now);
        self.store_floor()
    }

    /// A lease from before would otherwise run for as long as the time is taken back.
    fn shorten_leases(&mut self, id: NamespaceId) -> Result<(), Error> {
        let (start, end) = (namespace_prefix(id), tail_key(id));
        let mut changed = Vec::new();
        for row in self
            .records
            .range::<&[u8]>(start.as_slice()..end.as_slice())
            .map_err(before_commit)?
        {
            let (key, sealed) = row.map_err(before_commit)?;
            // A damaged record keeps what it has; reading it and `check` name it.
            if let Ok(record) = codec::decode_record(key.value(), sealed.value())
                && let Some(shorter) = shorten_lease(&record, self.now)
            {
                changed.push((key.value().to_vec(), record, shorter));
            }
        }
        for (record_key, old, new) in changed {
            self.put(&record_key, Some(&old), &new)?;
        }
        Ok(())
    }

    fn store_floor(&mut self) -> Result<(), Error> {
        let mut floor = self.floor()?;
        floor.mark = floor.mark.newer(self.mark);
        let sealed = codec::encode_floor(META_FLOOR, &floor);
        let mut meta = self.transaction.open_table(META).map_err(before_commit)?;
        meta.insert(META_FLOOR, sealed.as_slice())
            .map_err(before_commit)?;
        self.is_dirty = true;
        self.written.mark = self.mark;
        Ok(())
    }

    /// Runs something that redb may fail at. After a failure the whole transaction is void.
    fn guard<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result
            && !matches!(error, Error::Damaged { .. } | Error::Invalid(_))
        {
            self.failure.get_or_insert_with(|| error.clone());
        }
        result
    }

    /// Why the transaction cannot be committed, if it cannot.
    pub(crate) fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// The namespace's row, created or brought to the policy of the caller.
    pub(crate) fn namespace(&mut self, namespace: &Namespace) -> Result<NamespaceRow, Error> {
        if let Some(row) = self.holder.known_namespace(namespace) {
            return Ok(row);
        }
        let result = self.namespace_in_table(namespace);
        self.guard(result)
    }

    fn namespace_in_table(&mut self, namespace: &Namespace) -> Result<NamespaceRow, Error> {
        let name = namespace.name().as_bytes();
        let policy = namespace.current_policy();
        let mut table = self
            .transaction
            .open_table(NAMESPACES)
            .map_err(before_commit)?;
        let count = table.len().map_err(before_commit)?;
        let stored = match table.get(name).map_err(before_commit)? {
            Some(sealed) => Some(
                codec::decode_namespace(name, sealed.value())
                    .map_err(|why| unreadable(why, namespace.name(), ""))?,
            ),
            None => None,
        };
        let row = match stored {
            Some(row) if row.has_policy(policy) => return Ok(row),
            Some(row) => {
                self.holder.events.note_drift(PolicyDrift {
                    namespace: namespace.name().to_owned(),
                    version: row.policy_version,
                    stored: row.stored_policy(),
                    given: *policy,
                });
                NamespaceRow::new(row.id, row.policy_version.saturating_add(1), policy)
            }
            None => {
                let number = u16::try_from(count)
                    .ok()
                    .filter(|_| count < NAMESPACES_MAX)
                    .ok_or(Error::Invalid(Invalid::TooManyNamespaces {
                        limit: NAMESPACES_MAX,
                    }))?;
                NamespaceRow::new(number, 1, policy)
            }
        };
        table
            .insert(name, codec::encode_namespace(name, &row).as_slice())
            .map_err(before_commit)?;
        self.is_dirty = true;
        self.written.has_new_namespace = true;
        Ok(row)
    }

    /// The namespace's number, if it was ever used.
    pub(crate) fn namespace_id(&mut self, name: &str) -> Result<Option<NamespaceId>, Error> {
        let result = self.namespace_id_in_table(name);
        self.guard(result)
    }

    fn namespace_id_in_table(&self, name: &str) -> Result<Option<NamespaceId>, Error> {
        let table = self
            .transaction
            .open_table(NAMESPACES)
            .map_err(before_commit)?;
        let Some(sealed) = table.get(name.as_bytes()).map_err(before_commit)? else {
            return Ok(None);
        };
        codec::decode_namespace(name.as_bytes(), sealed.value())
            .map(|row| Some(NamespaceId(row.id)))
            .map_err(|why| unreadable(why, name, ""))
    }

    pub(crate) fn get(&mut self, record_key: &[u8]) -> Result<Option<Record>, Error> {
        let result = match self.records.get(record_key) {
            Ok(None) => Ok(None),
            Ok(Some(sealed)) => record_from(record_key, sealed.value(), |id| {
                self.holder.namespace_name(id)
            })
            .map(Some),
            Err(error) => Err(before_commit(error)),
        };
        self.guard(result)
    }

    /// Stores a record in the place of `old`, with its index row and its share of the counters.
    pub(crate) fn put(
        &mut self,
        record_key: &[u8],
        old: Option<&Record>,
        new: &Record,
    ) -> Result<(), Error> {
        let result = self.put_parts(record_key, old, new);
        self.guard(result)
    }

    fn put_parts(
        &mut self,
        record_key: &[u8],
        old: Option<&Record>,
        new: &Record,
    ) -> Result<(), Error> {
        let sealed = codec::encode_record(record_key, new);
        self.puts += 1;
        let replaced = self
            .records
            .insert(record_key, sealed.as_slice())
            .map_err(before_commit)?
            .map(|value| value.value().len());
        let (old_row, new_row) = (old.and_then(Record::removable_at), new.removable_at());
        if old_row != new_row {
            let expiry = open_expiry(&mut self.expiry, self.transaction)?;
            if let Some(at) = old_row {
                expiry
                    .remove(expiry_key(at, record_key).as_slice())
                    .map_err(before_commit)?;
            }
            if let Some(at) = new_row {
                expiry
                    .insert(expiry_key(at, record_key).as_slice(), ())
                    .map_err(before_commit)?;
            }
        }
        let was_claimed = old.is_some_and(Record::is_claimed) && replaced.is_some();
        let tail = self.tail_mut(namespace_of(record_key))?;
        tail.claimed = tail.claimed.saturating_sub(u64::from(was_claimed));
        tail.claimed += u64::from(new.is_claimed());
        if let Some(bytes) = replaced {
            tail.bytes = tail.bytes.saturating_sub(bytes as u64);
        } else {
            tail.records += 1;
            tail.bytes += record_key.len() as u64;
        }
        tail.bytes += sealed.len() as u64;
        Ok(())
    }

    /// Removes whatever is stored under a key, which is `old`.
    pub(crate) fn remove(&mut self, record_key: &[u8], old: Option<&Record>) -> Result<(), Error> {
        let result = self.remove_parts(record_key, old);
        self.guard(result)
    }

    /// Removes a record that cannot be read. What the index and the counters say of it is found
    /// by looking at all the others.
    pub(crate) fn remove_unreadable(&mut self, record_key: &[u8]) -> Result<(), Error> {
        let result = self.remove_unreadable_parts(record_key);
        self.guard(result)
    }

    fn remove_unreadable_parts(&mut self, record_key: &[u8]) -> Result<(), Error> {
        self.remove_parts(record_key, None)?;
        let points_here = |row: &[u8]| {
            parse_expiry_key(row).is_some_and(|(_, points_to)| points_to == record_key)
        };
        open_expiry(&mut self.expiry, self.transaction)?
            .retain(|row, ()| !points_here(row))
            .map_err(before_commit)?;
        let id = namespace_of(record_key);
        let (start, end) = (namespace_prefix(id), tail_key(id));
        let others = self
            .records
            .range::<&[u8]>(start.as_slice()..end.as_slice())
            .map_err(before_commit)?;
        let mut claimed = 0;
        for row in others {
            let (key, sealed) = row.map_err(before_commit)?;
            let record = codec::decode_record(key.value(), sealed.value());
            claimed += u64::from(record.is_ok_and(|record| record.is_claimed()));
        }
        self.tail_mut(id)?.claimed = claimed;
        Ok(())
    }

    fn remove_parts(&mut self, record_key: &[u8], old: Option<&Record>) -> Result<(), Error> {
        let removed = self
            .records
            .remove(record_key)
            .map_err(before_commit)?
            .map(|value| value.value().len());
        let Some(value_bytes) = removed else {
            return Ok(());
        };
        if let Some(at) = old.and_then(Record::removable_at) {
            open_expiry(&mut self.expiry, self.transaction)?
                .remove(expiry_key(at, record_key).as_slice())
                .map_err(before_commit)?;
        }
        let was_claimed = old.is_some_and(Record::is_claimed);
        let tail = self.tail_mut(namespace_of(record_key))?;
        tail.records = tail.records.saturating_sub(1);
        tail.claimed = tail.claimed.saturating_sub(u64::from(was_claimed));
        tail.bytes = tail
            .bytes
            .saturating_sub((record_key.len() + value_bytes) as u64);
        Ok(())
    }

    /// The namespace's counters, as this transaction sees them.
    pub(crate) fn tail(&mut self, namespace: NamespaceId) -> Result<Tail, Error> {
        let result = self.load_tail(namespace).map(|state| state.tail);
        self.guard(result)
    }

    fn tail_mut(&mut self, namespace: NamespaceId) -> Result<&mut Tail, Error> {
        self.is_dirty = true;
        let state = self.load_tail(namespace)?;
        state.is_dirty = true;
        Ok(&mut state.tail)
    }

    fn load_tail(&mut self, namespace: NamespaceId) -> Result<&mut TailState, Error> {
        use std::collections::btree_map::Entry;
        match self.tails.entry(namespace) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let key = tail_key(namespace);
                let tail = match self.records.get(key.as_slice()).map_err(before_commit)? {
                    None => Tail::default(),
                    Some(sealed) => codec::decode_tail(&key, sealed.value())
                        .map_err(|why| unreadable(why, "", "counters"))?,
                };
                Ok(entry.insert(TailState {
                    tail,
                    is_dirty: false,
                }))
            }
        }
    }

    /// A fence that was never given out, stored with the namespace.
    pub(crate) fn next_fence(&mut self, namespace: NamespaceId) -> Result<Fence, Error> {
        let fence = self.holder.next_fence();
        let result = self
            .tail_mut(namespace)
            .map(|tail| tail.fence = tail.fence.max(fence.get()));
        self.guard(result)?;
        self.written.fence = self.written.fence.max(fence.get());
        Ok(fence)
    }

    /// What the caller's policy is called in the file.
    pub(crate) fn stamp(row: &NamespaceRow, namespace: &Namespace) -> PolicyStamp {
        PolicyStamp::of(namespace.current_policy(), row.policy_version)
    }

    /// Keeps a sweep of this transaction from a record.
    pub(crate) fn spare(&mut self, record_key: Vec<u8>) {
        self.spared.insert(record_key);
    }

    /// Refuses namespaces that the file has no numbers left for, before the first is written.
    pub(crate) fn check_namespaces(&mut self, names: &BTreeSet<&str>) -> Result<(), Error> {
        let mut wanted = 0;
        for name in names {
            wanted += u64::from(self.namespace_id(name)?.is_none());
        }
        let table = self
            .transaction
            .open_table(NAMESPACES)
            .map_err(before_commit)?;
        let limit = NAMESPACES_MAX;
        if table.len().map_err(before_commit)? + wanted > limit {
            return Err(Error::Invalid(Invalid::TooManyNamespaces { limit }));
        }
        Ok(())
    }

    /// Whether one more record fits behind those that are planned. What has expired does not
    /// count, swept or not.
    pub(crate) fn room(
        &mut self,
        id: Option<NamespaceId>,
        namespace: &Namespace,
        planned: Planned,
    ) -> Result<Room, Error> {
        let policy = namespace.current_policy();
        let (records_max, bytes_max) = (policy.record_quota(), policy.byte_quota());
        let is_full = |tail: &Tail| {
            records_max.is_some_and(|max| tail.records.saturating_add(planned.records) >= max)
                || bytes_max.is_some_and(|max| tail.bytes.saturating_add(planned.bytes) >= max)
        };
        let Some(id) = id else {
            let is_full = is_full(&Tail::default());
            return Ok(if is_full { Room::Full } else { Room::Free });
        };
        if (records_max, bytes_max) == (None, None) || !is_full(&self.tail(id)?) {
            return Ok(Room::Free);
        }
        // Swept rather than counted: the same rows would be looked at by the next claim again.
        while is_full(&self.tail(id)?) {
            let result = self.sweep_rows(SWEEP_FOR_ROOM);
            if self.guard(result)?.removed == 0 {
                return Ok(Room::Full);
            }
        }
        Ok(Room::Free)
    }

    /// Removes up to `max` of what has expired, oldest first, because a caller asked for it.
    pub(crate) fn sweep(&mut self, max: usize) -> Result<Swept, Error> {
        self.is_swept = true;
        let result = self.sweep_rows(max);
        self.guard(result)
    }

    /// The same as part of another write. Nothing where a caller asked for a sweep of its own,
    /// whose bound would not hold otherwise.
    pub(crate) fn sweep_along(&mut self, max: usize) -> Result<(), Error> {
        if self.is_swept {
            return Ok(());
        }
        let result = self.sweep_rows(max).map(|_| ());
        self.guard(result)
    }

    fn sweep_rows(&mut self, max: usize) -> Result<Swept, Error> {
        let mut swept = Swept::default();
        let (mut stepped_over, mut behind) = (0, Vec::new());
        loop {
            // One row more says whether anything is left.
            let rows_max = (max - swept.removed).saturating_add(1);
            let due = self.due_rows(&behind, rows_max)?;
            for row in &due {
                if swept.removed == max || stepped_over == SWEEP_STEP_OVER_MAX {
                    swept.more = true;
                    return Ok(swept);
                }
                if self.sweep_row(row)? {
                    swept.removed += 1;
                } else {
                    stepped_over += 1;
                }
            }
            if due.len() < rows_max {
                return Ok(swept);
            }
            behind = due.into_iter().next_back().unwrap_or_default();
        }
    }

    /// The first rows behind `behind` that have come due, at most so many.
    fn due_rows(&mut self, behind: &[u8], rows_max: usize) -> Result<Vec<Vec<u8>>, Error> {
        let end = expiry_end(self.now);
        let bounds = (Bound::Excluded(behind), Bound::Excluded(end.as_slice()));
        let expiry = open_expiry(&mut self.expiry, self.transaction)?;
        let range = expiry.range::<&[u8]>(bounds).map_err(before_commit)?;
        range
            .take(rows_max)
            .map(|row| row.map(|(key, _)| key.value().to_vec()))
            .collect::<Result<_, _>>()
            .map_err(before_commit)
    }

    /// Removes what one row points to, if the row still speaks the truth about it.
    fn sweep_row(&mut self, row: &[u8]) -> Result<bool, Error> {
        let Some((at, record_key)) = parse_expiry_key(row) else {
            return Ok(false);
        };
        if self.spared.contains(record_key) {
            return Ok(false);
        }
        let record = match self.get(record_key) {
            // A damaged record is never removed silently; `check` and reading it name it.
            Err(Error::Damaged { .. }) => return Ok(false),
            Err(error) => return Err(error),
            Ok(None) => return self.drop_row(row).map(|()| false),
            Ok(Some(record)) => record,
        };
        if record.removable_at() != Some(at) {
            return self.drop_row(row).map(|()| false);
        }
        if let State::Claimed(_) = record.state {
            let evidence = self.evidence(Some(&record));
            if forget(Some(&record), evidence).is_err() {
                return Ok(false);
            }
        }
        self.remember_removed_key(record_key)?;
        self.remove_parts(record_key, Some(&record))?;
        *self.swept.entry(namespace_of(record_key)).or_default() += 1;
        Ok(true)
    }

    fn drop_row(&mut self, row: &[u8]) -> Result<(), Error> {
        open_expiry(&mut self.expiry, self.transaction)?
            .remove(row)
            .map_err(before_commit)?;
        self.is_dirty = true;
        Ok(())
    }

    /// A key that goes must be refused for ever where stale keys are.
    fn remember_removed_key(&mut self, record_key: &[u8]) -> Result<(), Error> {
        let parsed = parse_record_key(record_key);
        if let Some(time) = parsed
            .as_ref()
            .and_then(|(_, key, _): &(_, Key, _)| key.time())
        {
            let tail = self.tail_mut(namespace_of(record_key))?;
            tail.newest_removed_ms = tail.newest_removed_ms.max(time.unix_ms());
        }
        Ok(())
    }

    /// What is known about the holder of a claim.
    pub(crate) fn evidence(&self, stored: Option<&Record>) -> Evidence {
        self.holder.evidence(stored, self.now)
    }

    /// Whether work that a claim started still runs, also after its holder.
    pub(crate) fn work(&self, fence: Fence) -> Work {
        self.holder.claims.work(fence)
    }

    /// How many records were written.
    pub(crate) const fn puts(&self) -> usize {
        self.puts
    }

    /// Whether anything was written.
    pub(crate) fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    /// Takes along what callers met since the last commit.
    pub(crate) fn carry_events(&mut self) {
        self.events = self.holder.events.board();
    }

    fn name_of(&self, id: NamespaceId) -> Result<String, Error> {
        if let Some(name) = self.holder.known_name(id) {
            return Ok(name);
        }
        let table = self
            .transaction
            .open_table(NAMESPACES)
            .map_err(before_commit)?;
        for row in table.iter().map_err(before_commit)? {
            let (name, sealed) = row.map_err(before_commit)?;
            let numbered = codec::decode_namespace(name.value(), sealed.value());
            if numbered.is_ok_and(|row| row.id == id.0) {
                return Ok(String::from_utf8_lossy(name.value()).into_owned());
            }
        }
        Ok(self.holder.namespace_name(id))
    }

    fn store_events(&mut self) -> Result<(), Error> {
        let mut noted: BTreeMap<NamespaceId, Noted> = BTreeMap::new();
        for (name, met) in std::mem::take(&mut self.events) {
            // A namespace that nothing was ever stored in has no row to count in.
            if let Some(id) = self.namespace_id_in_table(&name)? {
                noted.entry(id).or_default().add(&met);
            }
        }
        for (id, swept) in std::mem::take(&mut self.swept) {
            let name = self.name_of(id)?;
            self.holder.events.will_have_swept(name, swept);
            noted.entry(id).or_default().counts.swept += swept;
        }
        if noted.is_empty() {
            return Ok(());
        }
        let mut table = self.transaction.open_table(EVENTS).map_err(before_commit)?;
        for (id, met) in noted {
            let key = namespace_prefix(id);
            // A damaged row is begun anew: `check` has named it, and no operation fails by it.
            let stored = table
                .get(key.as_slice())
                .map_err(before_commit)?
                .and_then(|sealed| codec::decode_noted(&key, sealed.value()).ok());
            let mut all = stored.unwrap_or_default();
            all.add(&met);
            table
                .insert(key.as_slice(), codec::encode_noted(&key, &all).as_slice())
                .map_err(before_commit)?;
        }
        Ok(())
    }

    /// Writes the counters, each with the mark of time, and ends the ledger's part.
    pub(crate) fn finish(&mut self) -> Result<Written, Error> {
        self.store_events()?;
        for (namespace, state) in &mut self.tails {
            if !state.is_dirty {
                continue;
            }
            self.written.mark = self.mark;
            state.tail.mark = self.mark;
            let key = tail_key(*namespace);
            self.records
                .insert(
                    key.as_slice(),
                    codec::encode_tail(&key, &state.tail).as_slice(),
                )
                .map_err(before_commit)?;
        }
        Ok(self.written)
    }
}

/// How many rows a full namespace sweeps at a time.
const SWEEP_FOR_ROOM: usize = 256;
/// How many rows that have to stay a sweep steps over: damaged records, and claims that live on.
const SWEEP_STEP_OVER_MAX: usize = 1_024;

fn namespace_of(record_key: &[u8]) -> NamespaceId {
    let number = record_key.first_chunk::<2>().copied().unwrap_or_default();
    NamespaceId(u16::from_be_bytes(number))
}

/// How many bytes a record and its key take.
pub(crate) fn stored_bytes(record_key: &[u8], record: &Record) -> u64 {
    (record_key.len() + codec::encode_record(record_key, record).len()) as u64
}

fn open_expiry<'s, 't>(
    slot: &'s mut Option<Table<'t, &'static [u8], ()>>,
    transaction: &'t WriteTransaction,
) -> Result<&'s mut Table<'t, &'static [u8], ()>, Error> {
    match slot {
        Some(table) => Ok(table),
        None => Ok(slot.insert(transaction.open_table(EXPIRY).map_err(before_commit)?)),
    }
}
