//! What a request asks for: method, route, principal, type and body, in a form that retries share.

use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http::request::Parts;

use super::policy::BodyFingerprint;
use super::scope::{in_one_spelling, original};
use crate::decision::{Fingerprint, FingerprintAlgorithm};
use crate::json_exact;

/// The fingerprint of a request. Its route is the whole path, in one spelling, with its query as it
/// was asked for. Its algorithm says that it came over HTTP, and so what may answer it.
pub(super) fn of_request(
    parts: &Parts,
    principal: &[u8],
    body: &[u8],
    form: BodyFingerprint,
) -> Fingerprint {
    let uri = original(parts);
    let path = in_one_spelling(uri.path());
    // With its mark, so that none is not an empty one.
    let query = uri.query().map(|query| format!("?{query}"));
    let content_type = content_type_of(parts);
    let media_type = media_type(content_type);
    let encoding = encoding_of(&parts.headers);
    let head: [&[u8]; 7] = [
        b"idempotency-ledger/http/2",
        parts.method.as_str().as_bytes(),
        path.as_bytes(),
        query.as_deref().unwrap_or_default().as_bytes(),
        principal,
        media_type.as_bytes(),
        encoding.as_bytes(),
    ];
    let head = head.into_iter();
    let is_canonical = form == BodyFingerprint::Canonical && encoding.is_empty();
    if is_canonical
        && is_json(content_type)
        && let Some(json) = json_exact::canonical(body)
    {
        return over_http(head.chain([&b"json"[..], &json]));
    }
    // A browser draws a new boundary each time it sends the same form.
    if is_canonical && let Some(sections) = multipart(content_type, body) {
        return over_http(head.chain([&b"multipart"[..]]).chain(sections));
    }
    over_http(head.chain([&b"raw"[..], body]))
}

fn over_http<'p>(parts: impl Iterator<Item = &'p [u8]>) -> Fingerprint {
    let digest = *Fingerprint::of(parts).digest();
    Fingerprint::from_stored(FingerprintAlgorithm::Http, digest)
}

pub(super) fn content_type_of(parts: &Parts) -> &str {
    let value = parts.headers.get(http::header::CONTENT_TYPE);
    value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

pub(super) fn is_json(content_type: &str) -> bool {
    let essence = essence_of(content_type);
    essence == "application/json" || essence.ends_with("+json")
}

fn essence_of(content_type: &str) -> String {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

/// A content type in one spelling: names in lower case, parameters in order and without quotes. The
/// boundary of a form is another one each time, and UTF-8 is what JSON is in anyway.
fn media_type(content_type: &str) -> String {
    let parameters = content_type.split(';').skip(1);
    let mut parameters: Vec<_> = parameters
        .map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
        .map(|(name, value)| {
            let value = value.trim().trim_matches('"');
            (name.trim().to_ascii_lowercase(), value)
        })
        .filter(|(name, value)| match name.as_str() {
            "" | "boundary" => false,
            "charset" => !(is_json(content_type) && value.eq_ignore_ascii_case("utf-8")),
            _ => true,
        })
        .collect();
    parameters.sort_unstable();
    let parameters = parameters
        .into_iter()
        .map(|(name, value)| format!(";{name}=\"{value}\""));
    essence_of(content_type) + &parameters.collect::<String>()
}

/// What the body is encoded with, in order; empty where it is what it is.
fn encoding_of(headers: &HeaderMap) -> String {
    let values = headers.get_all(CONTENT_ENCODING).iter();
    let names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let names = names.map(|name| String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase());
    let encodings: Vec<_> = names
        .filter(|name| !name.is_empty() && name != "identity")
        .collect();
    encodings.join(",")
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
        assert_eq!(canonical(large), canonical("9007199254740992.0"));
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
    fn a_content_type_has_one_spelling() {
        for (one, wanted) in [
            ("", ""),
            ("Application/JSON; charset=UTF-8", "application/json"),
            ("application/json;v=1", "application/json;v=\"1\""),
            ("text/plain; b=\"2\" ;A=1", "text/plain;a=\"1\";b=\"2\""),
            ("text/plain; charset=utf-8", "text/plain;charset=\"utf-8\""),
            ("multipart/form-data; boundary=x", "multipart/form-data"),
        ] {
            assert_eq!(media_type(one), wanted, "{one}");
        }
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
            fingerprint("POST", "/a?", b"ann"),
            fingerprint("POST", "/a", b"bob"),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all[at + 1..].iter().all(|other| other != one));
        }
    }
}
