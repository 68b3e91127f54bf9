//! Whose key it is: method, route and principal.

use std::borrow::Cow;

use http::Method;
use http::request::Parts;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};

use crate::decision::{Fingerprint, SCOPE_BYTES_MAX};

/// The principal's own domain, so that its hash is no other hash of the same bytes.
const PRINCIPAL: &[u8] = b"idempotency-ledger/principal/1";

/// What stands in a path segment as it is (`pchar` of RFC 3986).
const ENCODED: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// The scope of a key as the layer stores it: the method, the route, and a hash of the principal,
/// which is nowhere in clear text. One that is too long, or holds more than printable ASCII, is
/// hashed as a whole. To find a record with [`Ledger::record`](crate::Ledger::record).
///
/// ```
/// use idempotency_ledger::http::scope_of;
///
/// let open = scope_of(&http::Method::POST, b"/charges", b"");
/// assert_eq!(open, b"POST /charges");
/// let anns = scope_of(&http::Method::POST, b"/charges", b"ann");
/// assert!(anns.starts_with(&open) && anns.len() == open.len() + 65);
/// ```
#[must_use]
pub fn scope_of(method: &Method, route: &[u8], principal: &[u8]) -> Vec<u8> {
    let mut scope = [method.as_str().as_bytes(), b" ", route].concat();
    if !principal.is_empty() {
        scope.push(b' ');
        scope.extend(hex(&Fingerprint::of([PRINCIPAL, principal])).bytes());
    }
    // Cannot be read in two ways: a space is in no method, and in no route that is written out.
    if scope.len() <= SCOPE_BYTES_MAX && route.iter().all(u8::is_ascii_graphic) {
        return scope;
    }
    let all = Fingerprint::of([method.as_str().as_bytes(), route, principal]);
    format!("sha256:{}", hex(&all)).into_bytes()
}

fn hex(hash: &Fingerprint) -> String {
    use std::fmt::Write;
    hash.digest().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to memory cannot fail");
        text
    })
}

/// The whole path that was asked for, in one spelling.
pub(super) fn whole_path(parts: &Parts) -> Vec<u8> {
    in_one_spelling(original(parts).path()).into_bytes()
}

/// What was asked for, before a router took a prefix away.
#[cfg(feature = "axum")]
pub(super) fn original(parts: &Parts) -> &http::Uri {
    let original = parts.extensions.get::<axum::extract::OriginalUri>();
    original.map_or(&parts.uri, |original| &original.0)
}

#[cfg(not(feature = "axum"))]
pub(super) const fn original(parts: &Parts) -> &http::Uri {
    &parts.uri
}

/// Two paths are the same where a handler reads the same segments: each is decoded, and encoded
/// again by one rule. An encoded slash stays one, since it separates nothing.
pub(super) fn in_one_spelling(path: &str) -> String {
    let segments = path.split('/').map(|segment| {
        let decoded: Cow<'_, [u8]> = percent_decode(segment.as_bytes()).into();
        percent_encode(&decoded, &ENCODED).to_string()
    });
    segments.collect::<Vec<_>>().join("/")
}
