//! Keys, scopes, the times inside keys, fingerprints and child keys.

use idempotency_ledger::decision::child_key;
use idempotency_ledger::{
    Fingerprint, FingerprintAlgorithm, FingerprintHasher, Key, KeyError, Namespace, Scope,
};
use serde::Deserialize;

use super::load;
use super::written::{Hex, Number, WrittenFingerprint};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysFile {
    keys: Vec<KeyCase>,
    scopes: Vec<ScopeCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyCase {
    name: String,
    /// Texts, each repeated, one behind the other.
    pieces: Vec<(String, usize)>,
    expect: Verdict,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScopeCase {
    name: String,
    byte_hex: Hex,
    times: usize,
    expect: Verdict,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Verdict {
    Accepted,
    Empty,
    TooLong { bytes: usize },
    ControlCharacter { at: usize },
    ScopeTooLong { bytes: usize },
}

impl Verdict {
    fn of<T>(result: &Result<T, KeyError>) -> Self {
        match result {
            Ok(_) => Self::Accepted,
            Err(KeyError::Empty) => Self::Empty,
            Err(KeyError::TooLong { bytes }) => Self::TooLong { bytes: *bytes },
            Err(KeyError::ControlCharacter { at }) => Self::ControlCharacter { at: *at },
            Err(KeyError::ScopeTooLong { bytes }) => Self::ScopeTooLong { bytes: *bytes },
            Err(other) => panic!("the vectors do not know {other:?}"),
        }
    }
}

#[test]
fn keys_are_1_to_255_bytes_without_control_characters() {
    let file: KeysFile = load("keys.json");
    assert_eq!(file.keys.len(), 26);
    for case in &file.keys {
        let text: String = case
            .pieces
            .iter()
            .map(|(piece, times)| piece.repeat(*times))
            .collect();
        assert_eq!(
            Verdict::of(&Key::new(text.as_str())),
            case.expect,
            "{}",
            case.name
        );
        // A namespace's name keeps the rules of a key.
        assert_eq!(
            Verdict::of(&Namespace::named(text)),
            case.expect,
            "{}",
            case.name
        );
    }
}

#[test]
fn scopes_are_any_0_to_255_bytes() {
    let file: KeysFile = load("keys.json");
    assert_eq!(file.scopes.len(), 5);
    for case in &file.scopes {
        let bytes = case.byte_hex.0.repeat(case.times);
        assert_eq!(
            Verdict::of(&Scope::new(bytes)),
            case.expect,
            "{}",
            case.name
        );
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyTimesFile {
    cases: Vec<KeyTime>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyTime {
    name: String,
    key: String,
    time_ms: Option<Number>,
}

#[test]
fn only_a_uuid_of_version_7_carries_a_time() {
    let file: KeyTimesFile = load("key_times.json");
    assert_eq!(file.cases.len(), 20);
    for case in &file.cases {
        let key = Key::new(case.key.as_str()).expect("the vectors use valid keys");
        assert_eq!(key.time(), case.time_ms.map(Number::time), "{}", case.name);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FingerprintsFile {
    algorithms: Algorithms,
    parts: Vec<PartsCase>,
    json: Vec<JsonCase>,
    json_exact: Vec<JsonCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Algorithms {
    none: u8,
    parts: u8,
    json: u8,
    #[serde(rename = "json-exact")]
    json_exact: u8,
    http: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PartsCase {
    name: String,
    parts_hex: Vec<Hex>,
    digest_hex: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonCase {
    name: String,
    canonical: String,
    /// Other texts of the same value.
    same: Vec<String>,
    digest_hex: Hex,
}

#[test]
fn fingerprints_of_parts_hash_each_length_and_part() {
    let file: FingerprintsFile = load("fingerprints.json");
    assert_eq!(file.parts.len(), 11);
    let mut seen = Vec::new();
    for case in &file.parts {
        let made = Fingerprint::of(case.parts_hex.iter().map(|part| &part.0));
        assert_eq!(made.algorithm(), FingerprintAlgorithm::Parts);
        assert_eq!(made.digest().as_slice(), case.digest_hex.0, "{}", case.name);
        let streamed = case
            .parts_hex
            .iter()
            .fold(FingerprintHasher::new(), |hasher, part| {
                hasher.part(&part.0)
            });
        assert_eq!(streamed.finish(), made, "{}", case.name);
        assert!(!seen.contains(&made), "{} collides", case.name);
        seen.push(made);
    }
}

#[test]
fn fingerprints_of_json_in_doubles_hash_the_canonical_form() {
    let file: FingerprintsFile = load("fingerprints.json");
    assert_eq!(file.json.len(), 10);
    for case in &file.json {
        for text in case.same.iter().chain([&case.canonical]) {
            let value: serde_json::Value = serde_json::from_str(text).expect("JSON");
            let made = Fingerprint::json_in_doubles(&value).expect("hashed");
            assert_eq!(made.algorithm(), FingerprintAlgorithm::Json);
            assert_eq!(
                made.digest().as_slice(),
                case.digest_hex.0,
                "{}: {text}",
                case.name
            );
        }
    }
}

#[test]
fn fingerprints_of_json_hash_numbers_as_they_are_written() {
    let file: FingerprintsFile = load("fingerprints.json");
    assert_eq!(file.json_exact.len(), 17);
    let mut seen = Vec::new();
    for case in &file.json_exact {
        for text in case.same.iter().chain([&case.canonical]) {
            let made = Fingerprint::json_text(text).expect("JSON");
            assert_eq!(made.algorithm(), FingerprintAlgorithm::JsonExact);
            let digest = made.digest().as_slice();
            assert_eq!(digest, case.digest_hex.0, "{}: {text}", case.name);
        }
        assert!(!seen.contains(&case.digest_hex.0), "{} collides", case.name);
        seen.push(case.digest_hex.0.clone());
    }
}

#[test]
fn algorithms_keep_their_numbers() {
    let file: FingerprintsFile = load("fingerprints.json");
    let numbers = [
        (FingerprintAlgorithm::None, file.algorithms.none),
        (FingerprintAlgorithm::Parts, file.algorithms.parts),
        (FingerprintAlgorithm::Json, file.algorithms.json),
        (FingerprintAlgorithm::JsonExact, file.algorithms.json_exact),
        (FingerprintAlgorithm::Http, file.algorithms.http),
    ];
    for (algorithm, number) in numbers {
        assert_eq!(algorithm.code(), number);
        assert_eq!(FingerprintAlgorithm::from_code(number), Some(algorithm));
    }
    assert_eq!(FingerprintAlgorithm::from_code(5), None);
    assert_eq!(Fingerprint::NONE.algorithm(), FingerprintAlgorithm::None);
    assert_eq!(Fingerprint::NONE.digest(), &[0; 32]);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChildKeysFile {
    cases: Vec<ChildCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChildCase {
    name: String,
    namespace: String,
    scope_hex: Hex,
    key: String,
    fingerprint: WrittenFingerprint,
    label: String,
    child_key: String,
}

#[test]
fn child_keys_come_from_everything_that_identifies_the_operation() {
    let file: ChildKeysFile = load("child_keys.json");
    assert_eq!(file.cases.len(), 12);
    let mut seen = Vec::new();
    for case in &file.cases {
        let made = child_key(
            &Namespace::named(case.namespace.as_str()).expect("valid"),
            &Scope::new(case.scope_hex.0.as_slice()).expect("valid"),
            &Key::new(case.key.as_str()).expect("valid"),
            &case.fingerprint.read(),
            &case.label,
        );
        assert_eq!(made.as_str(), case.child_key, "{}", case.name);
        assert!(!seen.contains(&made), "{} collides", case.name);
        seen.push(made);
    }
}
