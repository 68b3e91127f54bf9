//! What a request asks for: method, route, principal and body, in a form that retries share.

use http::request::Parts;
use serde_json::Value;

use super::policy::BodyFingerprint;
use super::unambiguous_json::Unambiguous;
use crate::decision::Fingerprint;

/// From here on integers are not told apart by the numbers of RFC 8785.
const EXACT_INTEGER_END: u64 = 1 << 53;
const EXACT_FLOAT_END: f64 = 9_007_199_254_740_992.0;

/// The fingerprint of a request. Its route is the path with its query, as it was asked for.
pub(super) fn of_request(
    parts: &Parts,
    principal: &[u8],
    body: &[u8],
    form: BodyFingerprint,
) -> Fingerprint {
    let route = parts
        .uri
        .path_and_query()
        .map_or("", |route| route.as_str());
    let content_type = content_type_of(parts);
    let head: [&[u8]; 4] = [
        b"idempotency-ledger/http/1",
        parts.method.as_str().as_bytes(),
        route.as_bytes(),
        principal,
    ];
    let canonical = match form {
        BodyFingerprint::Canonical if is_json(content_type) => canonical_json(body),
        BodyFingerprint::Canonical | BodyFingerprint::Raw => None,
    };
    if let Some(json) = canonical {
        return Fingerprint::of(head.into_iter().chain([&b"json"[..], &json]));
    }
    // A browser draws a new boundary each time it sends the same form.
    if let (BodyFingerprint::Canonical, Some(sections)) = (form, multipart(content_type, body)) {
        let sections = sections.into_iter();
        return Fingerprint::of(head.into_iter().chain([&b"multipart"[..]]).chain(sections));
    }
    Fingerprint::of(head.into_iter().chain([&b"raw"[..], body]))
}

pub(super) fn content_type_of(parts: &Parts) -> &str {
    let value = parts.headers.get(http::header::CONTENT_TYPE);
    value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}

/// The RFC 8785 form; `None` for what is no JSON, or would lose what it says in that form.
fn canonical_json(body: &[u8]) -> Option<Vec<u8>> {
    let Unambiguous(value) = serde_json::from_slice(body).ok()?;
    if !is_exact(&value) {
        return None;
    }
    serde_jcs::to_vec(&value).ok()
}

fn is_exact(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(number), _, _) => number < EXACT_INTEGER_END,
            (None, Some(number), _) => number.unsigned_abs() < EXACT_INTEGER_END,
            // An integer above 64 bits arrives here as well, rounded.
            (None, None, Some(number)) => number.abs() < EXACT_FLOAT_END,
            (None, None, None) => false,
        },
        Value::Array(values) => values.iter().all(is_exact),
        Value::Object(members) => members.values().all(is_exact),
    }
}

/// What lies between the boundaries of a multipart body.
fn multipart<'b>(content_type: &str, body: &'b [u8]) -> Option<Vec<&'b [u8]>> {
    let (essence, parameters) = content_type.split_once(';')?;
    if !essence
        .trim()
        .to_ascii_lowercase()
        .starts_with("multipart/")
    {
        return None;
    }
    let boundary = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let is_boundary = name.trim().eq_ignore_ascii_case("boundary");
        is_boundary.then(|| value.trim().trim_matches('"'))
    })?;
    let delimiter = [b"--", boundary.as_bytes()].concat();
    if boundary.is_empty() || !body.starts_with(&delimiter) {
        return None;
    }
    let mut sections = Vec::new();
    let mut rest = &body[delimiter.len()..];
    let next = [b"\r\n", &delimiter[..]].concat();
    while let Some(at) = find(rest, &next) {
        sections.push(&rest[..at]);
        rest = &rest[at + next.len()..];
    }
    sections.push(rest);
    Some(sections)
}

/// The values of a field of a multipart form.
pub(super) fn multipart_fields(content_type: &str, body: &[u8], field: &str) -> Vec<String> {
    let wanted = format!("name=\"{field}\"");
    let sections = multipart(content_type, body).unwrap_or_default();
    let fields = sections.into_iter().filter_map(|section| {
        let at = find(section, b"\r\n\r\n")?;
        let head = std::str::from_utf8(&section[..at]).ok()?;
        let is_wanted = head
            .split([';', '\r', '\n'])
            .any(|part| part.trim() == wanted);
        let value = String::from_utf8_lossy(&section[at + 4..]).into_owned();
        is_wanted.then_some(value)
    });
    fields.collect()
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len())
        .position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(content_type: &str, body: &str, form: BodyFingerprint) -> Fingerprint {
        let request = http::Request::post("/pay?a=1").header("content-type", content_type);
        let (parts, ()) = request.body(()).expect("valid").into_parts();
        of_request(&parts, b"ann", body.as_bytes(), form)
    }

    #[test]
    fn json_members_may_change_their_order_and_arrays_may_not() {
        let canonical = |body| of("application/json", body, BodyFingerprint::Canonical);
        let one = canonical(r#"{"a":1,"b":[1,2]}"#);
        assert_eq!(one, canonical("{ \"b\": [1, 2], \"a\": 1 }"));
        assert_ne!(one, canonical(r#"{"a":1,"b":[2,1]}"#));
        assert_ne!(one, canonical(r#"{"a":2,"b":[1,2]}"#));
        let raw = |body| of("application/json", body, BodyFingerprint::Raw);
        assert_ne!(raw(r#"{"a":1}"#), raw(r#"{ "a":1}"#));
        // Beyond what a double holds, two amounts would look the same.
        let (large, larger) = ("9007199254740992", "9007199254740993");
        assert_ne!(canonical(large), canonical(larger));
        assert_ne!(
            canonical("{"),
            canonical("{ "),
            "what is no JSON counts byte by byte"
        );
    }

    #[test]
    fn a_multipart_form_is_the_same_under_another_boundary() {
        let form = |boundary: &str, value: &str| {
            let body = format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n{value}\r\n\
                 --{boundary}--\r\n"
            );
            let content_type = format!("multipart/form-data; boundary={boundary}");
            of(&content_type, &body, BodyFingerprint::Canonical)
        };
        assert_eq!(form("x1", "1"), form("x2", "1"));
        assert_ne!(form("x1", "1"), form("x1", "2"));
    }

    #[test]
    fn method_route_query_and_principal_count() {
        let fingerprint = |method: &str, uri: &str, principal: &[u8]| {
            let request = http::Request::builder().method(method).uri(uri);
            let (parts, ()) = request.body(()).expect("valid").into_parts();
            of_request(&parts, principal, b"", BodyFingerprint::Canonical)
        };
        let all = [
            fingerprint("POST", "/a", b"ann"),
            fingerprint("PATCH", "/a", b"ann"),
            fingerprint("POST", "/b", b"ann"),
            fingerprint("POST", "/a?b", b"ann"),
            fingerprint("POST", "/a", b"bob"),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all[at + 1..].iter().all(|other| other != one));
        }
    }
}
