//! Values in JSON: what a type does not read of one is noticed, and two are compared as written.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// The bytes of a value in JSON.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
    serde_json::to_vec(value).map_err(|error| error.to_string())
}

/// The value behind JSON. Every stored member must be one that the type reads: a type that has lost
/// a field is another type, and needs another schema.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let mut unread = None;
    let value = serde_ignored::deserialize(&mut reader, |path| {
        unread.get_or_insert_with(|| path.to_string());
    });
    let value = value.map_err(|error| error.to_string())?;
    reader.end().map_err(|error| error.to_string())?;
    match unread {
        None => Ok(value),
        Some(path) => Err(format!("the type does not read the stored member {path:?}")),
    }
}

/// Whether two values in JSON are the same, whatever the order of their maps and sets. Numbers are
/// compared as they are written, so none is rounded.
pub(crate) fn are_same(one: &[u8], other: &[u8]) -> bool {
    one == other || matches!((canonical(one), canonical(other)), (Some(a), Some(b)) if a == b)
}

/// Members in the order of their names; elements in the order of their text, since a set is a list
/// here.
fn canonical(json: &[u8]) -> Option<String> {
    sorted(std::str::from_utf8(json).ok()?)
}

fn sorted(json: &str) -> Option<String> {
    match json.as_bytes().first()? {
        b'{' => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(json).ok()?;
            let members = members
                .into_iter()
                .map(|(name, value)| Some(format!("{name:?}:{}", sorted(value.get())?)));
            Some(format!(
                "{{{}}}",
                members.collect::<Option<Vec<_>>>()?.join(",")
            ))
        }
        b'[' => {
            let elements: Vec<&RawValue> = serde_json::from_str(json).ok()?;
            let elements = elements.into_iter().map(|value| sorted(value.get()));
            let mut elements = elements.collect::<Option<Vec<_>>>()?;
            elements.sort_unstable();
            Some(format!("[{}]", elements.join(",")))
        }
        _ => Some(json.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_maps_and_sets_does_not_matter_and_everything_else_does() {
        let same = |one: &str, other: &str| are_same(one.as_bytes(), other.as_bytes());
        assert!(same(r#"{"a":[1,2],"b":{}}"#, r#"{"b":{},"a":[2,1]}"#));
        for (one, other) in [
            ("18446744073709551616", "18446744073709551617"),
            (r#"{"a":1}"#, r#"{"a":1,"b":null}"#),
            (r#"{"a":1}"#, r#"{"b":1}"#),
            (r#"[["a"],[]]"#, r#"[["a",[]]]"#),
            ("1.0", "1"),
            (r#""1""#, "1"),
        ] {
            assert!(!same(one, other), "{one} {other}");
        }
    }
}
