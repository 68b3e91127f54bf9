//! What serde can describe can be stored: values keep the names of their fields, and what does not
//! come back is never stored.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::fmt::Debug;

use idempotency_ledger::{
    Ledger, Response, ResponseKind, RunError, StoredValue, ValueFormat, check_stored_value,
};
use idempotency_tests::{PAYMENTS, asked, in_memory, key};
use serde::{Deserialize, Serialize};

/// Runs once with a value, and once more with a closure that must not run.
fn store_and_replay<T: StoredValue + Clone + PartialEq + Debug>(value: &T) {
    let (ledger, _) = in_memory();
    let run = ledger.operation(PAYMENTS, &key("k"), asked());
    let stored = run.run(|_| Ok::<_, Infallible>(value.clone()));
    assert_eq!(stored.expect("stored").get(), value);
    let replayed = replay::<T>(&ledger).expect("replays");
    assert_eq!(&replayed, value);
}

fn replay<T: StoredValue>(ledger: &Ledger) -> Result<T, RunError<Infallible, T>> {
    let again = ledger.operation(PAYMENTS, &key("k"), asked());
    let replayed = again.run(|_| -> Result<T, Infallible> { panic!("it ran already") })?;
    assert!(replayed.is_replay());
    Ok(replayed.into_inner())
}

#[test]
fn what_needs_a_self_describing_form_is_stored_and_comes_back() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "outcome", rename_all = "snake_case")]
    enum Tagged {
        Charged { cents: u64 },
        Declined { reason: String },
    }
    impl StoredValue for Tagged {
        const SCHEMA: &str = "tagged/1";
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Flat {
        cents: u64,
        #[serde(flatten)]
        rest: BTreeMap<String, String>,
    }
    impl StoredValue for Flat {
        const SCHEMA: &str = "flat/1";
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Skipping {
        #[serde(skip_serializing_if = "Option::is_none", default)]
        note: Option<String>,
        cents: u64,
    }
    impl StoredValue for Skipping {
        const SCHEMA: &str = "skipping/1";
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Any(serde_json::Value);
    impl StoredValue for Any {
        const SCHEMA: &str = "any/1";
    }
    // The same where bincode was asked for, which cannot say any of it.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Compact<T>(T);
    impl<T: StoredValue> StoredValue for Compact<T> {
        const SCHEMA: &str = "compact/1";
        const FORMAT: ValueFormat = ValueFormat::Bincode;
    }
    store_and_replay(&Compact(Tagged::Charged { cents: 2_500 }));
    store_and_replay(&Compact(Any(serde_json::json!([{"cents": 2_500}]))));
    store_and_replay(&Tagged::Charged { cents: 2_500 });
    store_and_replay(&Tagged::Declined {
        reason: "no funds".to_owned(),
    });
    let rest = BTreeMap::from([("currency".to_owned(), "EUR".to_owned())]);
    store_and_replay(&Flat { cents: 2_500, rest });
    let (note, cents) = (None, 2_500);
    store_and_replay(&Skipping { note, cents });
    store_and_replay(&Any(
        serde_json::json!({"cents": 2_500, "lines": [1.5, null]}),
    ));
}

#[test]
fn fields_in_another_order_replay_the_same_amounts() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Before {
        net: u64,
        gross: u64,
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct After {
        gross: u64,
        net: u64,
    }
    impl StoredValue for Before {
        const SCHEMA: &str = "amounts/1";
    }
    impl StoredValue for After {
        const SCHEMA: &str = "amounts/1";
    }
    let (ledger, _) = in_memory();
    let (net, gross) = (2_100, 2_500);
    let run = ledger.operation(PAYMENTS, &key("k"), asked());
    assert!(
        run.run(|_| Ok::<_, Infallible>(Before { net, gross }))
            .is_ok()
    );
    assert_eq!(
        replay::<After>(&ledger).expect("replays"),
        After { gross, net }
    );
}

#[test]
fn a_field_that_left_out_lets_no_other_take_its_place() {
    // In bincode {0 left out, [0]} is the same two bytes as {1, []}.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Shifting {
        #[serde(skip_serializing_if = "is_zero", default)]
        refunded: u8,
        lines: Vec<u8>,
    }
    impl StoredValue for Shifting {
        const SCHEMA: &str = "shifting/1";
        const FORMAT: ValueFormat = ValueFormat::Bincode;
    }
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde asks for a reference"
    )]
    fn is_zero(number: &u8) -> bool {
        *number == 0
    }
    let (refunded, lines) = (0, vec![0]);
    store_and_replay(&Shifting { refunded, lines });
}

#[test]
fn what_json_cannot_say_is_stored_all_the_same() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Rates {
        top: f64,
        maybe: Option<f32>,
        #[expect(clippy::option_option, reason = "JSON does not tell the two apart")]
        nested: Option<Option<u8>>,
        by_place: BTreeMap<(u8, u8), u128>,
    }
    impl StoredValue for Rates {
        const SCHEMA: &str = "rates/1";
    }
    let plain = Rates {
        top: 0.1 + 0.2,
        maybe: Some(-0.0),
        nested: None,
        by_place: BTreeMap::new(),
    };
    assert_eq!(kind_of(&plain), in_json("rates/1"));
    let by_place = BTreeMap::from([((1, 2), u128::MAX)]);
    for value in [
        plain.clone(),
        Rates {
            top: f64::INFINITY,
            ..plain.clone()
        },
        Rates {
            maybe: Some(f32::NEG_INFINITY),
            ..plain.clone()
        },
        Rates {
            nested: Some(None),
            ..plain.clone()
        },
        Rates {
            by_place,
            ..plain.clone()
        },
    ] {
        store_and_replay(&value);
    }
    let none = Rates {
        maybe: Some(f32::NAN),
        ..plain
    };
    let back: Rates = Response::of_value(&none)
        .and_then(|it| it.value())
        .expect("comes back");
    assert!(back.maybe.is_some_and(f32::is_nan), "{back:?}");
}

fn in_json(schema: &str) -> ResponseKind {
    let schema = schema.into();
    ResponseKind::Json { schema }
}

fn kind_of<T: StoredValue>(value: &T) -> ResponseKind {
    Response::of_value(value).expect("encodes").kind().clone()
}

#[test]
fn plain_types_are_values_as_they_are() {
    store_and_replay(&());
    store_and_replay(&true);
    store_and_replay(&i8::MIN);
    store_and_replay(&u64::MAX);
    store_and_replay(&i128::MIN);
    store_and_replay(&"charged \u{1f600}".to_owned());
    store_and_replay(&vec![0_u8, 255]);
    store_and_replay(&Some(17_u64));
    store_and_replay(&None::<String>);
    store_and_replay(&Some(()));
    store_and_replay(&None::<()>);
    store_and_replay(&Some(None::<u8>));
    store_and_replay(&Ok::<u64, String>(17));
    store_and_replay(&Err::<u64, String>("no funds".to_owned()));
    // One type is not read as another.
    let number = Response::of_value(&17_u64).expect("encodes");
    assert!(number.value::<u32>().is_err());
    assert!(number.value::<Option<u64>>().is_err());
    assert_eq!(kind_of(&Some(17_u64)), in_json("option(u64)"));
}

#[test]
fn sets_and_maps_without_an_order_are_compared_without_one() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Unordered {
        names: HashSet<String>,
        lists: HashMap<u16, Vec<String>>,
    }
    impl StoredValue for Unordered {
        const SCHEMA: &str = "unordered/1";
    }
    let name = |number: u16| format!("name-{number}");
    let value = Unordered {
        names: (0..50).map(name).collect(),
        lists: (0..50).map(|number| (number, vec![name(number)])).collect(),
    };
    assert_eq!(check_stored_value(&value), Ok(()));
    assert_eq!(kind_of(&value), in_json("unordered/1"));
    store_and_replay(&value);
}

#[test]
fn a_field_that_was_added_with_a_default_is_read_and_one_that_is_gone_is_not() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Receipt {
        cents: u64,
        note: Option<String>,
        #[serde(default)]
        refunded: u64,
    }
    impl StoredValue for Receipt {
        const SCHEMA: &str = "receipt/1";
    }
    let read = |json: &str| Response::json("receipt/1", json).value::<Receipt>();
    let (note, refunded) = (None, 0);
    let receipt = Receipt {
        cents: 25,
        note,
        refunded,
    };
    assert_eq!(read(r#"{"cents":25}"#).expect("reads"), receipt);
    let gone = read(r#"{"cents":25,"vat":4}"#).map_err(|error| error.to_string());
    let why = gone.expect_err("the type does not read it");
    assert!(why.contains("vat"), "{why}");
}
