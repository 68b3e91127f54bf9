//! Typed values: stored with their schema, decoded back before they are trusted, and never a
//! reason to run twice.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::convert::Infallible;

use idempotency_ledger::{
    EndingError, Error, Invalid, Ledger, Outcome, RecordState, Request, Response, ResponseKind,
    RunError, StoredValue, Undecodable, check_stored_value, decode_stored, encode_stored,
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

    fn migrate(schema: &str, bytes: &[u8]) -> Option<Self> {
        if schema != OldReceipt::SCHEMA {
            return None;
        }
        let old: OldReceipt = decode_stored(bytes).ok()?;
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

#[derive(Debug, Serialize, Deserialize)]
struct AnyJson(serde_json::Value);

impl StoredValue for AnyJson {
    const SCHEMA: &str = "any-json/1";
}

fn receipt() -> Receipt {
    Receipt {
        cents: 2_500,
        currency: "EUR".to_owned(),
    }
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
    assert_eq!(stored.kind(), &ResponseKind::Typed { schema });
    assert_eq!(stored.bytes(), encode_stored(&receipt()).expect("encodes"));
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
    assert_eq!(
        found.stored.response().bytes(),
        encode_stored(&receipt()).expect("encodes")
    );
    assert!(found.reason.contains("receipt/2"), "{}", found.reason);
    // The record is unchanged.
    assert_eq!(
        replay::<Receipt>(&ledger).expect("replays").into_inner(),
        receipt()
    );
}

#[test]
fn bytes_that_do_not_decode_are_handed_over_and_run_nothing() {
    let (ledger, _) = in_memory();
    let bytes = encode_stored(&receipt()).expect("encodes");
    store(
        &ledger,
        Response::typed("receipt/2", bytes[..bytes.len() - 1].to_vec()),
    );
    let found = undecodable::<Receipt>(&ledger);
    assert_eq!(found.stored.response().bytes(), &bytes[..bytes.len() - 1]);
}

#[test]
fn bytes_left_over_behind_a_value_are_an_error() {
    let (ledger, _) = in_memory();
    let mut bytes = encode_stored(&receipt()).expect("encodes");
    bytes.push(0);
    assert!(decode_stored::<Receipt>(&bytes).is_err());
    store(&ledger, Response::typed("receipt/2", bytes.clone()));
    assert_eq!(
        undecodable::<Receipt>(&ledger).stored.response().bytes(),
        bytes
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
        Response::raw(encode_stored(&receipt()).expect("encodes")),
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
    assert_eq!(bytes.bytes(), encode_stored(&receipt()).expect("encodes"));
}

#[test]
fn a_length_that_damage_made_huge_asks_for_no_memory() {
    // A string of nearly 2^64 bytes.
    let huge = [&[0_u8][..], &[0xfd], &(u64::MAX - 1).to_le_bytes()].concat();
    assert!(decode_stored::<Receipt>(&huge).is_err());
    let huge = [&[0xfd][..], &(1_u64 << 40).to_le_bytes()].concat();
    assert!(decode_stored::<Vec<u64>>(&huge).is_err());
}

#[test]
fn a_type_that_does_not_decode_is_found_out_before_any_effect() {
    let value = AnyJson(serde_json::json!({"amount": 25}));
    assert!(check_stored_value(&value).is_err());
    assert_eq!(check_stored_value(&receipt()), Ok(()));
}

#[test]
fn a_value_that_does_not_come_back_is_not_stored_and_is_returned_with_the_claim() {
    let (ledger, _) = in_memory();
    let effects = Cell::new(0);
    let failed = request(&ledger).run(|_| {
        effects.set(effects.get() + 1);
        Ok::<_, Infallible>(AnyJson(serde_json::json!({"amount": 25})))
    });
    let Err(RunError::Complete(unstored)) = failed else {
        panic!("expected the value back, got {failed:?}");
    };
    assert_eq!(unstored.value.0["amount"], 25);
    let EndingError::Ledger(Error::Invalid(Invalid::Value { schema, .. })) = &unstored.error else {
        panic!("expected a refused value, got {:?}", unstored.error);
    };
    assert_eq!(*schema, "any-json/1");
    // The claim is still held: what happened can be stored in another form.
    let text = unstored.value.0.to_string();
    unstored.claim.complete(text).expect("stored");
    assert_eq!(effects.get(), 1);
    assert_eq!(
        begin(&ledger, "k").replay().response().bytes(),
        br#"{"amount":25}"#
    );
}

#[test]
fn in_transact_such_a_value_rolls_everything_back() {
    let (ledger, _) = in_memory();
    let failed =
        request(&ledger).transact(|_, _| Ok::<_, Infallible>(AnyJson(serde_json::json!([1, 2]))));
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
    let bytes = encode_stored(&value).expect("encodes");
    assert_eq!(decode_stored(&bytes), Ok(value));
}
