//! The file format from outside: what is in `tests/vectors/` is what a ledger reads and writes.
//!
//! The codec itself is tested beside its code, in `ledger/src/codec.rs`, on the same vectors.

use std::time::Duration;

use idempotency_ledger::decision::{Record, State};
use idempotency_ledger::{
    Begin, EventCounts, Fence, Fingerprint, Key, Ledger, ManualClock, Namespace, NamespaceStats,
    Policy, RecordFilter, RecordInfo, RecordState, Response, Timestamp, ValueFormat, decode_stored,
    encode_stored,
};
use idempotency_tests::storage::Disk;
use idempotency_tests::{Expect, PAYMENTS, START, asked, key, seconds};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::vectors::load;
use crate::vectors::written::{Hex, Number, WrittenRecord};

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("idempotency/records");
const EXPIRY: TableDefinition<'_, &[u8], ()> = TableDefinition::new("idempotency/expiry");
const NAMESPACES: TableDefinition<'_, &[u8], &[u8]> =
    TableDefinition::new("idempotency/namespaces");
const EVENTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("idempotency/events");
const META: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("idempotency/meta");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    format_row_hex: Hex,
    records: Vec<RecordRow>,
    #[serde(rename = "locked")]
    _locked: Vec<RecordRow>,
    records_with_json: Vec<RecordRow>,
    tails: Vec<TailRow>,
    namespaces: Vec<NamespaceRow>,
    floors: Vec<FloorRow>,
    expiry: Vec<ExpiryRow>,
    events: Vec<EventsRow>,
    typed: Vec<TypedRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsRow {
    name: String,
    key_hex: Hex,
    value_hex: Hex,
    namespace_number: u16,
    replays: Number,
    in_progress: Number,
    mismatches: Number,
    stale: Number,
    quota: Number,
    interruptions: Number,
    late: Number,
    swept: Number,
    delay_ms_max: Number,
    delays: Vec<(Number, Number)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordRow {
    name: String,
    key_hex: Hex,
    value_hex: Hex,
    namespace_number: u16,
    key: String,
    scope_hex: Hex,
    record: WrittenRecord,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TailRow {
    #[serde(rename = "name")]
    _name: String,
    key_hex: Hex,
    value_hex: Hex,
    namespace_number: u16,
    records: Number,
    claimed: Number,
    bytes: Number,
    fence: Number,
    #[serde(rename = "mark_ms")]
    _mark_ms: Number,
    #[serde(rename = "newest_removed_ms")]
    _newest_removed_ms: Number,
    /// Its meaning is checked where the codec is.
    #[serde(rename = "clock")]
    _clock: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamespaceRow {
    name: String,
    key_hex: Hex,
    value_hex: Hex,
    namespace_number: u16,
    policy_version: u32,
    lease_ms: Number,
    retention_ms: Number,
    retry_hint_ms: Number,
    response_bytes_max: Number,
    rerun_interrupted: bool,
    records_max: Option<Number>,
    bytes_max: Option<Number>,
    refuse_stale_keys: bool,
    forget_interrupted_after_ms: Option<Number>,
}

impl NamespaceRow {
    fn namespace(&self) -> Namespace {
        use idempotency_ledger::OnInterrupted::{Refuse, Rerun};
        let mut policy = Policy::DEFAULT
            .lease(self.lease_ms.span())
            .retention(self.retention_ms.span())
            .retry_hint(self.retry_hint_ms.span())
            .response_bytes_max(self.response_bytes_max.0)
            .on_interrupted(if self.rerun_interrupted {
                Rerun
            } else {
                Refuse
            });
        if let Some(records) = self.records_max {
            policy = policy.records_max(records.0);
        }
        if let Some(bytes) = self.bytes_max {
            policy = policy.bytes_max(bytes.0);
        }
        if self.refuse_stale_keys {
            policy = policy.refuse_stale_keys();
        }
        if let Some(span) = self.forget_interrupted_after_ms {
            policy = policy.forget_interrupted_after(span.span());
        }
        Namespace::named(self.name.as_str())
            .expect("valid")
            .policy(policy)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FloorRow {
    name: String,
    key_hex: Hex,
    value_hex: Hex,
    fence: Number,
    mark_ms: Number,
    /// Its meaning is checked where the codec is.
    #[serde(rename = "clock")]
    _clock: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpiryRow {
    #[serde(rename = "name")]
    _name: String,
    key_hex: Hex,
    #[serde(rename = "removable_at_ms")]
    _removable_at_ms: Number,
    record_key_hex: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TypedRow {
    name: String,
    value_hex: Hex,
    meaning: WrittenSample,
}

/// A new file without a row of the ledger's, in which a test puts its own.
fn file_with(rows: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>) -> Disk {
    let disk = Disk::default();
    let database = Database::builder()
        .create_with_backend(disk.clone())
        .expect("memory opens");
    let txn = database.begin_write().expect("begins");
    rows(&txn).expect("redb works");
    txn.commit().expect("commits");
    drop(database);
    disk
}

fn put_meta(txn: &redb::WriteTransaction, file: &File, floor: &str) -> Result<(), redb::Error> {
    let mut meta = txn.open_table(META)?;
    meta.insert(b"format".as_slice(), file.format_row_hex.0.as_slice())?;
    meta.insert(b"ledger".as_slice(), [7; 16].as_slice())?;
    let mut floors = file.floors.iter().filter(|row| row.name == floor);
    let floor = floors.next().expect("a floor of that name");
    meta.insert(floor.key_hex.0.as_slice(), floor.value_hex.0.as_slice())?;
    let mut namespaces = txn.open_table(NAMESPACES)?;
    for row in &file.namespaces {
        namespaces.insert(row.key_hex.0.as_slice(), row.value_hex.0.as_slice())?;
    }
    txn.open_table(RECORDS)?;
    Ok(())
}

fn open(disk: &Disk, clock: &ManualClock) -> Ledger {
    let builder = Ledger::builder().clock(clock.clone());
    builder.open_backend(disk.clone()).expect("opens")
}

fn name_of(file: &File, number: u16) -> &str {
    let mut rows = file
        .namespaces
        .iter()
        .filter(|row| row.namespace_number == number);
    &rows.next().expect("a namespace of that number").name
}

#[test]
fn a_file_made_from_the_vectors_is_read_as_they_say() {
    let file: File = load("records.json");
    assert_eq!(
        (file.format, file.records.len(), file.expiry.len()),
        (1, 15, 10)
    );
    let disk = file_with(|txn| {
        put_meta(txn, &file, "of a new file")?;
        let mut records = txn.open_table(RECORDS)?;
        for row in &file.records {
            records.insert(row.key_hex.0.as_slice(), row.value_hex.0.as_slice())?;
        }
        for row in &file.tails {
            records.insert(row.key_hex.0.as_slice(), row.value_hex.0.as_slice())?;
        }
        let mut expiry = txn.open_table(EXPIRY)?;
        for row in &file.expiry {
            expiry.insert(row.key_hex.0.as_slice(), ())?;
            let points_to = |record: &RecordRow| record.key_hex == row.record_key_hex;
            assert!(file.records.iter().any(points_to));
        }
        let mut events = txn.open_table(EVENTS)?;
        for row in &file.events {
            events.insert(row.key_hex.0.as_slice(), row.value_hex.0.as_slice())?;
        }
        Ok(())
    });
    let clock = ManualClock::starting_at(START);
    let ledger = open(&disk, &clock);
    let report = ledger.check().expect("checks");
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.records, 15);
    for row in &file.records {
        let namespace = Namespace::named(name_of(&file, row.namespace_number)).expect("valid");
        let record = ledger
            .record(namespace, &key(&row.key))
            .scope(&row.scope_hex.0);
        let info = record.peek().expect("reads").expect(&row.name);
        assert_eq!(info.scope().as_bytes(), row.scope_hex.0);
        assert_says(&info, &row.record.read(), &row.name);
    }
    assert_eq!(
        ledger.records(RecordFilter::all()).expect("lists").count(),
        15
    );
    let stats = ledger.stats().expect("counts");
    assert_eq!(stats.namespaces.len(), 3);
    for found in &stats.namespaces {
        let named = file.namespaces.iter().find(|row| row.name == found.name);
        let row = named.expect("a namespace of the vectors");
        assert_eq!(found.policy_version, row.policy_version);
        let mut tails = file.tails.iter();
        let tail = tails.find(|tail| tail.namespace_number == row.namespace_number);
        let tail = tail.expect("its tail");
        assert_eq!(
            (found.records, found.claimed, found.bytes, found.expired),
            (tail.records.0, tail.claimed.0, tail.bytes.0, 0)
        );
        assert!(tail.fence.0 <= stats.fence.get());
        let mut events = file.events.iter();
        let events = events.find(|events| events.namespace_number == row.namespace_number);
        assert_met(&ledger, found, events);
    }
}

/// Whether the counts and the advice are those of the vectors.
fn assert_met(ledger: &Ledger, found: &NamespaceStats, row: Option<&EventsRow>) {
    let Some(row) = row else {
        assert_eq!(found.events, EventCounts::default());
        return;
    };
    let expected = EventCounts {
        replays: row.replays.0,
        in_progress: row.in_progress.0,
        mismatches: row.mismatches.0,
        stale: row.stale.0,
        quota: row.quota.0,
        interruptions: row.interruptions.0,
        late: row.late.0,
        swept: row.swept.0,
    };
    assert_eq!(found.events, expected, "{}", row.name);
    let namespace = Namespace::named(found.name.as_str()).expect("valid");
    let advice = ledger.retention_advice(namespace).expect("advises");
    let samples = row.delays.iter().map(|(_, count)| count.0).sum::<u64>();
    assert_eq!(advice.samples, samples, "{}", row.name);
    assert_eq!(
        advice.max,
        Duration::from_millis(row.delay_ms_max.0),
        "{}",
        row.name
    );
}

/// Whether a look says what the record means. Nobody holds the claims of a file that was just
/// opened, so they are interrupted.
fn assert_says(info: &RecordInfo, record: &Record, name: &str) {
    assert_eq!(info.fence(), record.fence, "{name}");
    assert_eq!(info.attempts(), record.attempts, "{name}");
    assert_eq!(info.fingerprint(), &record.fingerprint, "{name}");
    assert_eq!(info.program(), record.program, "{name}");
    assert_eq!(info.policy_version(), record.policy.version, "{name}");
    assert_eq!(info.first_claimed_at(), record.first_claimed_at, "{name}");
    assert_eq!(info.claimed_at(), record.claimed_at, "{name}");
    match &record.state {
        State::Claimed(claimed) => {
            assert_eq!(info.state(), RecordState::Interrupted, "{name}");
            assert_eq!(info.lease_until(), Some(claimed.lease_until), "{name}");
            assert_eq!(info.checkpoint(), claimed.checkpoint.as_ref(), "{name}");
            assert_eq!(info.response(), None, "{name}");
        }
        State::Completed(completed) => {
            assert_eq!(info.state(), RecordState::Completed, "{name}");
            assert_eq!(info.completed_at(), Some(completed.completed_at), "{name}");
            assert_eq!(info.expires_at(), Some(completed.expires_at), "{name}");
            assert_eq!(info.response(), Some(&completed.response), "{name}");
            assert_eq!(info.lease_until(), None, "{name}");
        }
    }
}

#[test]
fn policies_and_the_floor_in_the_file_are_those_of_the_vectors() {
    let file: File = load("records.json");
    let raised = file.floors.iter().find(|row| row.name == "raised");
    let raised = raised.expect("a raised floor");
    let disk = file_with(|txn| put_meta(txn, &file, "raised"));
    // An hour before the floor's mark: time never runs back.
    let clock = ManualClock::starting_at(raised.mark_ms.time().saturating_sub(seconds(3_600)));
    let ledger = open(&disk, &clock);
    assert_eq!(ledger.now(), raised.mark_ms.time());
    let mut last = Fence::from_stored(raised.fence.0);
    for row in &file.namespaces {
        let request = ledger.operation(row.namespace(), &key("new"), Fingerprint::NONE);
        if row.response_bytes_max.0 == 0 {
            // Versions before let it be stored; it is read, and nothing is claimed under it.
            assert!(request.begin().is_err());
            continue;
        }
        let claim = request.begin().expect("works").fresh();
        assert_eq!(
            claim.fence().get(),
            last.get() + 1,
            "fences go on from the floor"
        );
        last = claim.fence();
    }
    let stats = ledger.stats().expect("counts");
    for row in &file.namespaces {
        let found = stats.namespaces.iter().find(|found| found.name == row.name);
        let version = found.expect("the namespace").policy_version;
        assert_eq!(
            version, row.policy_version,
            "{} runs under the same policy",
            row.name
        );
    }
    // Another policy is a new version.
    let changed = PAYMENTS.policy(Policy::DEFAULT.retention(seconds(77)));
    let request = ledger.operation(changed, &key("newer"), Fingerprint::NONE);
    let _claim = request.begin().expect("works").fresh();
    let stats = ledger.stats().expect("counts");
    let mut found = stats
        .namespaces
        .iter()
        .filter(|found| found.name == "payments");
    assert_eq!(found.next().map(|found| found.policy_version), Some(2));
}

/// A type with a field of each kind.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Sample {
    amount: u64,
    delta: i64,
    rate: f64,
    is_final: bool,
    note: Option<String>,
    lines: Vec<(u16, String)>,
    verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Verdict {
    Paid,
    Declined { reason: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSample {
    amount: Number,
    delta: String,
    rate: f64,
    #[serde(rename = "final")]
    is_final: bool,
    note: Option<String>,
    lines: Vec<(u16, String)>,
    verdict: Verdict,
}

#[test]
fn a_value_in_json_is_read_as_the_vectors_say() {
    let file: File = load("records.json");
    assert_eq!(file.records_with_json.len(), 2);
    for row in &file.records_with_json {
        let disk = file_with(|txn| {
            put_meta(txn, &file, "of a new file")?;
            let mut records = txn.open_table(RECORDS)?;
            records.insert(row.key_hex.0.as_slice(), row.value_hex.0.as_slice())?;
            Ok(())
        });
        let ledger = open(&disk, &ManualClock::starting_at(START));
        let namespace = Namespace::named(name_of(&file, row.namespace_number)).expect("valid");
        let info = ledger.record(namespace, &key(&row.key)).peek();
        let info = info.expect("reads").expect(&row.name);
        assert_says(&info, &row.record.read(), &row.name);
    }
}

#[test]
fn typed_values_keep_their_bytes() {
    let file: File = load("records.json");
    assert_eq!(file.typed.len(), 4);
    for row in &file.typed {
        let meaning = Sample {
            amount: row.meaning.amount.0,
            delta: row.meaning.delta.parse().expect("a number"),
            rate: row.meaning.rate,
            is_final: row.meaning.is_final,
            note: row.meaning.note.clone(),
            lines: row.meaning.lines.clone(),
            verdict: row.meaning.verdict.clone(),
        };
        assert_eq!(
            decode_stored(ValueFormat::Bincode, &row.value_hex.0).as_ref(),
            Ok(&meaning),
            "{}",
            row.name
        );
        assert_eq!(
            encode_stored(ValueFormat::Bincode, &meaning).as_ref(),
            Ok(&row.value_hex.0),
            "{}",
            row.name
        );
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreFile {
    key_with_time: String,
    steps: Vec<StoreStep>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreStep {
    name: String,
    records: Vec<SplitRow>,
    tails: Vec<PlainRow>,
    namespaces: Vec<PlainRow>,
    floor: PlainRow,
    expiry_hex: Vec<Hex>,
}

/// A record whose holder, a random number, and whose checksum over it are left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SplitRow {
    key_hex: Hex,
    before_holder_hex: Hex,
    holder_bytes: usize,
    behind_holder_hex: Hex,
    checksum_bytes: usize,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainRow {
    key_hex: Hex,
    value_hex: Hex,
}

#[test]
fn the_store_writes_the_golden_bytes() {
    let file: StoreFile = load("store.json");
    let mut steps = file.steps.iter();
    let (disk, clock) = (Disk::default(), ManualClock::starting_at(START));
    let with_time = Key::new(file.key_with_time).expect("valid");
    let mut expect = |name: &str| {
        let step = steps.next().expect("a step");
        assert_eq!(step.name, name);
        assert_holds(&disk, step);
    };

    let ledger = open(&disk, &clock);
    ledger.close().expect("closes");
    expect("opened");

    let ledger = open(&disk, &clock);
    let order = key("order-17");
    let request = ledger.operation(PAYMENTS, &order, asked()).scope("alice");
    let claim = request.program("worker").begin().expect("works").fresh();
    let request = ledger.operation(PAYMENTS, &with_time, Fingerprint::NONE);
    let other = request.begin().expect("works").fresh();
    other.checkpoint("authorized", b"ch_1").expect("stored");
    ledger.close().expect("closes");
    drop((claim, other));
    expect("claimed");

    clock.advance(seconds(5));
    let ledger = open(&disk, &clock);
    let request = ledger.operation(PAYMENTS, &order, asked()).scope("alice");
    let ticket = request.begin().expect("works").interrupted();
    ticket.complete("charged").expect("stored");
    let request = ledger.operation(PAYMENTS, &with_time, Fingerprint::NONE);
    let ticket = request.begin().expect("works").interrupted();
    ticket
        .complete(Response::typed("receipt/1", [0x19]))
        .expect("stored");
    ledger.close().expect("closes");
    expect("completed");

    clock.advance(seconds(86_400));
    let ledger = open(&disk, &clock);
    assert_eq!(ledger.sweep(10).expect("sweeps").removed, 2);
    ledger.close().expect("closes");
    expect("swept");

    clock.advance(seconds(0));
    clock.set_wall(Timestamp::from_unix_ms(clock_ms(&clock) + 7));
    let ledger = open(&disk, &clock);
    let _ = ledger.confirm_clock().expect("confirms");
    ledger.close().expect("closes");
    expect("clock confirmed");
    assert!(steps.next().is_none(), "every step was taken");
}

fn clock_ms(clock: &ManualClock) -> u64 {
    use idempotency_ledger::Clock as _;
    clock.wall().unix_ms()
}

/// Whether the file holds the step's rows and no others.
fn assert_holds(disk: &Disk, step: &StoreStep) {
    let database = Database::builder()
        .create_with_backend(disk.clone())
        .expect("opens");
    let txn = database.begin_read().expect("reads");
    let table = txn.open_table(RECORDS).expect("the table is there");
    let (tails, records): (Vec<PlainRow>, Vec<PlainRow>) = rows_of(&table)
        .into_iter()
        .partition(|row| row.key_hex.0.last() == Some(&0xff) && row.key_hex.0.len() == 3);
    assert_eq!(tails, step.tails, "{}", step.name);
    assert_eq!(records.len(), step.records.len(), "{}", step.name);
    for (found, expected) in records.iter().zip(&step.records) {
        assert_record(found, expected, &step.name);
    }
    let table = txn.open_table(NAMESPACES).expect("the table is there");
    assert_eq!(rows_of(&table), step.namespaces, "{}", step.name);
    let expiry: Vec<Hex> = match txn.open_table(EXPIRY) {
        Ok(table) => table
            .iter()
            .expect("reads")
            .map(|row| Hex(row.expect("reads").0.value().to_vec()))
            .collect(),
        Err(_) => Vec::new(),
    };
    assert_eq!(expiry, step.expiry_hex, "{}", step.name);
    let meta = txn.open_table(META).expect("the table is there");
    let meta = rows_of(&meta);
    let names: Vec<&[u8]> = meta.iter().map(|row| row.key_hex.0.as_slice()).collect();
    assert_eq!(
        names,
        [b"floor".as_slice(), b"format", b"ledger"],
        "{}",
        step.name
    );
    assert_eq!(meta[0], step.floor, "{}", step.name);
    assert_eq!(meta[1].value_hex.0, 1_u32.to_le_bytes(), "{}", step.name);
    assert_eq!(meta[2].value_hex.0.len(), 16, "{}", step.name);
}

fn rows_of(table: &impl ReadableTable<&'static [u8], &'static [u8]>) -> Vec<PlainRow> {
    let rows = table.iter().expect("reads").map(|row| {
        let (key, value) = row.expect("reads");
        PlainRow {
            key_hex: Hex(key.value().to_vec()),
            value_hex: Hex(value.value().to_vec()),
        }
    });
    rows.collect()
}

fn assert_record(found: &PlainRow, expected: &SplitRow, step: &str) {
    assert_eq!(found.key_hex, expected.key_hex, "{step}");
    let value = &found.value_hex.0;
    let (before, behind) = (&expected.before_holder_hex.0, &expected.behind_holder_hex.0);
    let holder_end = before.len() + expected.holder_bytes;
    let body_end = holder_end + behind.len();
    assert_eq!(value.len(), body_end + expected.checksum_bytes, "{step}");
    assert_eq!(value[..before.len()], before[..], "{step}");
    assert_eq!(
        value[before.len()],
        0xfd,
        "{step}: a holder is a large number"
    );
    assert_eq!(value[holder_end..body_end], behind[..], "{step}");
}

#[test]
fn a_holder_is_another_number_at_each_opening() {
    let clock = ManualClock::starting_at(START);
    let holder = || {
        let disk = Disk::default();
        let ledger = open(&disk, &clock);
        let begun = ledger.operation(PAYMENTS, &key("k"), asked()).begin();
        let Ok(Begin::Fresh(claim)) = begun else {
            panic!("the key is new");
        };
        ledger.close().expect("closes");
        drop(claim);
        let database = Database::builder()
            .create_with_backend(disk.clone())
            .expect("opens");
        let txn = database.begin_read().expect("reads");
        let table = txn.open_table(RECORDS).expect("the table is there");
        rows_of(&table)[0].value_hex.0.clone()
    };
    assert_ne!(holder(), holder());
}
