//! Typed values: stored with their schema, decoded back before they are trusted, and never a
//! reason to run twice.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::convert::Infallible;

use idempotency_ledger::{
    EndingError, Error, Invalid, Ledger, OldValue, Outcome, RecordState, Request, Response,
    ResponseKind, RunError, StoredValue, Undecodable, ValueFormat, check_stored_value,
    decode_stored, encode_stored,
};
use idempotency_tests::{Expect, PAYMENTS, asked, begin, in_memory, key};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct OldReceipt {
    cents: u32,
}

impl StoredValue for OldReceipt {
    const SCHEMA: &str = "receipt/1";
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Receipt {
    cents: u64,
    currency: String,
}

impl StoredValue for Receipt {
    const SCHEMA: &str = "receipt/2";

    fn migrate(old: &OldValue<'_>) -> Option<Self> {
        if old.schema() != OldReceipt::SCHEMA {
            return None;
        }
        let old: OldReceipt = old.decode().ok()?;
        Some(Self {
            cents: u64::from(old.cents),
            currency: "EUR".to_owned(),
        })
    }
}

/// The same name of a schema as [`Receipt`], on another type: a forgotten change of the version.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Changed {
    cents: u64,
}

impl StoredValue for Changed {
    const SCHEMA: &str = "receipt/2";
}

/// Writes one thing and reads another.
#[derive(Debug, Serialize, Deserialize)]
struct OneWay {
    #[serde(rename(deserialize = "cents"))]
    amount: u64,
    #[serde(skip_serializing)]
    currency: String,
}

impl StoredValue for OneWay {
    const SCHEMA: &str = "one-way/1";
}

fn one_way() -> OneWay {
    OneWay {
        amount: 25,
        currency: "EUR".to_owned(),
    }
}

fn receipt() -> Receipt {
    Receipt {
        cents: 2_500,
        currency: "EUR".to_owned(),
    }
}

fn in_json() -> Vec<u8> {
    encode_stored(ValueFormat::Json, &receipt()).expect("encodes")
}

fn in_bincode() -> Vec<u8> {
    encode_stored(ValueFormat::Bincode, &receipt()).expect("encodes")
}

fn request(ledger: &Ledger) -> Request {
    ledger.operation(PAYMENTS, &key("k"), asked())
}

fn store(ledger: &Ledger, response: Response) {
    begin(ledger, "k")
        .fresh()
        .complete(response)
        .expect("stored");
}

/// Runs with a closure that must not run.
fn replay<T: StoredValue>(ledger: &Ledger) -> Result<Outcome<T>, Box<RunError<Infallible, T>>> {
    let run = request(ledger).run(|_| -> Result<T, Infallible> { panic!("it ran already") });
    run.map_err(Box::new)
}

fn undecodable<T: StoredValue + std::fmt::Debug>(ledger: &Ledger) -> Undecodable {
    match replay::<T>(ledger).map_err(|error| *error) {
        Err(RunError::Undecodable(undecodable)) => *undecodable,
        other => panic!("expected the stored bytes, got {other:?}"),
    }
}

#[test]
fn a_value_is_stored_under_its_schema_and_comes_back() {
    let (ledger, _) = in_memory();
    let ran = request(&ledger).run(|_| Ok::<_, Infallible>(receipt()));
    let ran = ran.expect("runs");
    assert!(!ran.is_replay());
    let replayed = replay::<Receipt>(&ledger).expect("replays");
    assert!(replayed.is_replay());
    assert_eq!(replayed.get(), &receipt());
    assert_eq!(replayed.completed_at(), ran.completed_at());
    let info = ledger.record(PAYMENTS, &key("k")).peek().expect("reads");
    let info = info.expect("there");
    let stored = info.response().expect("completed");
    let schema = "receipt/2".into();
    assert_eq!(stored.kind(), &ResponseKind::Json { schema });
    assert_eq!(stored.bytes(), in_json());
}

#[test]
fn a_declined_card_is_a_value_too() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Charge(Result<Receipt, String>);
    impl StoredValue for Charge {
        const SCHEMA: &str = "charge/1";
    }
    let (ledger, _) = in_memory();
    let declined = || Charge(Err("no funds".to_owned()));
    let ran = request(&ledger).run(|_| Ok::<_, Infallible>(declined()));
    assert_eq!(ran.expect("runs").into_inner(), declined());
    let replayed = replay::<Charge>(&ledger).expect("replays");
    assert_eq!(replayed.into_inner(), declined());
}

#[test]
fn an_older_schema_is_migrated_and_stays_as_it_is_stored() {
    let (ledger, _) = in_memory();
    let ran = request(&ledger).run(|_| Ok::<_, Infallible>(OldReceipt { cents: 2_500 }));
    assert!(ran.is_ok());
    let migrated = replay::<Receipt>(&ledger).expect("replays");
    assert!(migrated.is_replay());
    assert_eq!(migrated.into_inner(), receipt());
    assert_eq!(
        replay::<OldReceipt>(&ledger)
            .expect("replays")
            .into_inner()
            .cents,
        2_500
    );
}

#[test]
fn an_unknown_schema_hands_the_bytes_over_and_runs_nothing() {
    let (ledger, _) = in_memory();
    let ran = request(&ledger).run(|_| Ok::<_, Infallible>(receipt()));
    assert!(ran.is_ok());
    let found = undecodable::<OldReceipt>(&ledger);
    assert_eq!(found.expected, "receipt/1");
    assert_eq!(found.stored.response().bytes(), in_json());
    assert!(found.reason.contains("receipt/2"), "{}", found.reason);
    // The record is unchanged.
    assert_eq!(
        replay::<Receipt>(&ledger).expect("replays").into_inner(),
        receipt()
    );
}

#[test]
fn bytes_that_do_not_decode_are_handed_over_and_run_nothing() {
    let cut = |mut bytes: Vec<u8>| {
        bytes.pop();
        bytes
    };
    for response in [
        Response::json("receipt/2", cut(in_json())),
        Response::typed("receipt/2", cut(in_bincode())),
        Response::json("receipt/2", in_bincode()),
        Response::typed("receipt/2", in_json()),
    ] {
        let (ledger, _) = in_memory();
        store(&ledger, response.clone());
        assert_eq!(undecodable::<Receipt>(&ledger).stored.response(), &response);
    }
}

#[test]
fn bytes_left_over_behind_a_value_are_an_error() {
    for (format, mut bytes) in [
        (ValueFormat::Json, in_json()),
        (ValueFormat::Bincode, in_bincode()),
    ] {
        let (ledger, _) = in_memory();
        bytes.push(b'0');
        assert!(decode_stored::<Receipt>(format, &bytes).is_err());
        let response = match format {
            ValueFormat::Json => Response::json("receipt/2", bytes),
            ValueFormat::Bincode => Response::typed("receipt/2", bytes),
        };
        store(&ledger, response.clone());
        assert_eq!(undecodable::<Receipt>(&ledger).stored.response(), &response);
    }
}

#[test]
fn a_value_that_the_version_before_stored_in_bincode_replays() {
    let (ledger, _) = in_memory();
    // As the version before wrote it: 2,500 cents, and three letters.
    let bytes = [&[0xfb, 0xc4, 0x09, 3][..], b"EUR"].concat();
    store(&ledger, Response::typed("receipt/2", bytes));
    assert_eq!(
        replay::<Receipt>(&ledger).expect("replays").into_inner(),
        receipt()
    );
    let (ledger, _) = in_memory();
    store(&ledger, Response::typed("receipt/1", [0xfb, 0xc4, 0x09]));
    assert_eq!(
        replay::<Receipt>(&ledger).expect("migrates").into_inner(),
        receipt()
    );
}

#[test]
fn a_changed_type_under_the_same_schema_is_found_out() {
    let (ledger, _) = in_memory();
    let ran = request(&ledger).run(|_| Ok::<_, Infallible>(receipt()));
    assert!(ran.is_ok());
    let found = undecodable::<Changed>(&ledger);
    assert_eq!(found.expected, "receipt/2");
}

#[test]
fn an_answer_of_another_kind_is_no_value() {
    for response in [
        Response::raw(in_json()),
        Response::http("receipt"),
        Response::command("receipt"),
    ] {
        let (ledger, _) = in_memory();
        store(&ledger, response.clone());
        assert_eq!(undecodable::<Receipt>(&ledger).stored.response(), &response);
    }
}

#[test]
fn bytes_replay_whatever_kind_is_stored() {
    let (ledger, _) = in_memory();
    let ran = request(&ledger).run(|_| Ok::<_, Infallible>(receipt()));
    assert!(ran.is_ok());
    let bytes = request(&ledger).run_bytes(|_| -> Result<&str, Infallible> { panic!("it ran") });
    let bytes = bytes.expect("replays").into_inner();
    assert_eq!(bytes.bytes(), in_json());
}

#[test]
fn a_length_that_damage_made_huge_asks_for_no_memory() {
    // A string of nearly 2^64 bytes.
    let huge = [&[0_u8][..], &[0xfd], &(u64::MAX - 1).to_le_bytes()].concat();
    assert!(decode_stored::<Receipt>(ValueFormat::Bincode, &huge).is_err());
    let huge = [&[0xfd][..], &(1_u64 << 40).to_le_bytes()].concat();
    assert!(decode_stored::<Vec<u64>>(ValueFormat::Bincode, &huge).is_err());
}

#[test]
fn a_type_that_does_not_decode_is_found_out_before_any_effect() {
    let why = check_stored_value(&one_way()).expect_err("it does not read what it writes");
    assert!(why.contains("as JSON: "), "{why}");
    assert!(why.contains("as bincode: "), "{why}");
    assert_eq!(check_stored_value(&receipt()), Ok(()));
}

#[test]
fn a_value_that_does_not_come_back_is_not_stored_and_is_returned_with_the_claim() {
    let (ledger, _) = in_memory();
    let effects = Cell::new(0);
    let failed = request(&ledger).run(|_| {
        effects.set(effects.get() + 1);
        Ok::<_, Infallible>(one_way())
    });
    let Err(RunError::Complete(unstored)) = failed else {
        panic!("expected the value back, got {failed:?}");
    };
    assert_eq!(unstored.value.amount, 25);
    let EndingError::Ledger(Error::Invalid(Invalid::Value { schema, .. })) = &unstored.error else {
        panic!("expected a refused value, got {:?}", unstored.error);
    };
    assert_eq!(*schema, "one-way/1");
    // The claim is still held: what happened can be stored in another form.
    let text = format!("{} {}", unstored.value.amount, unstored.value.currency);
    unstored.claim.complete(text).expect("stored");
    assert_eq!(effects.get(), 1);
    assert_eq!(begin(&ledger, "k").replay().response().bytes(), b"25 EUR");
}

#[test]
fn in_transact_such_a_value_rolls_everything_back() {
    let (ledger, _) = in_memory();
    let failed = request(&ledger).transact(|_, _| Ok::<_, Infallible>(one_way()));
    assert!(matches!(
        failed,
        Err(RunError::Ledger(Error::Invalid(Invalid::Value { .. })))
    ));
    assert_eq!(
        ledger.record(PAYMENTS, &key("k")).peek().expect("reads"),
        None
    );
    let stored = request(&ledger).transact(|_, _| Ok::<_, Infallible>(receipt()));
    assert!(!stored.expect("stored").is_replay());
    let again =
        request(&ledger).transact(|_, _| -> Result<Receipt, Infallible> { panic!("it ran") });
    assert_eq!(again.expect("replays").into_inner(), receipt());
}

#[test]
fn a_map_without_an_order_of_its_own_is_stored() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Headers(std::collections::HashMap<String, String>);
    impl StoredValue for Headers {
        const SCHEMA: &str = "headers/1";
    }
    let (ledger, _) = in_memory();
    let headers = || {
        let numbered = (0..50).map(|number| (format!("name-{number}"), format!("{number}")));
        Headers(numbered.collect())
    };
    let ran = request(&ledger).run(|_| Ok::<_, Infallible>(headers()));
    assert!(ran.is_ok(), "{ran:?}");
    assert_eq!(
        replay::<Headers>(&ledger).expect("replays").into_inner(),
        headers()
    );
}

#[test]
fn an_empty_value_and_an_empty_answer_are_answers() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Done;
    impl StoredValue for Done {
        const SCHEMA: &str = "done/1";
    }
    let (ledger, _) = in_memory();
    assert!(request(&ledger).run(|_| Ok::<_, Infallible>(Done)).is_ok());
    assert_eq!(replay::<Done>(&ledger).expect("replays").into_inner(), Done);
    begin(&ledger, "raw")
        .fresh()
        .complete(Vec::new())
        .expect("stored");
    assert_eq!(begin(&ledger, "raw").replay().response().bytes(), b"");
    let info = ledger.record(PAYMENTS, &key("raw")).peek().expect("reads");
    assert_eq!(info.map(|info| info.state()), Some(RecordState::Completed));
}

#[test]
fn values_of_every_shape_come_back() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Everything {
        small: i8,
        wide: u128,
        letter: char,
        maybe: Option<bool>,
        list: Vec<(String, f32)>,
        map: BTreeMap<u16, [u8; 3]>,
        unit: (),
    }
    impl StoredValue for Everything {
        const SCHEMA: &str = "everything/1";
    }
    let value = Everything {
        small: -128,
        wide: u128::MAX,
        letter: '\u{1f600}',
        maybe: Some(false),
        list: vec![(String::new(), -0.0), ("x".repeat(300), f32::MIN_POSITIVE)],
        map: BTreeMap::from([(0, [0; 3]), (u16::MAX, [1, 2, 3])]),
        unit: (),
    };
    assert_eq!(check_stored_value(&value), Ok(()));
    for format in [ValueFormat::Json, ValueFormat::Bincode] {
        let bytes = encode_stored(format, &value).expect("encodes");
        assert_eq!(decode_stored(format, &bytes).as_ref(), Ok(&value));
    }
}
