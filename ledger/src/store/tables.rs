//! The tables of the file, and the bytes of their keys.
//!
//! Names and layouts are the file format (`docs/format.md`). Keys and values are plain bytes, so
//! that a damaged value is an error of ours and not a panic of a decoder.

use redb::TableDefinition;

use crate::decision::{Key, Scope, Timestamp};

/// Record key -> sealed record; and, at the end of each namespace, its tail.
pub(crate) const RECORDS: TableDefinition<'_, &[u8], &[u8]> =
    TableDefinition::new("idempotency/records");
/// Time, kind of row and record key of everything that expires -> nothing.
pub(crate) const EXPIRY: TableDefinition<'_, &[u8], ()> =
    TableDefinition::new("idempotency/expiry");
/// Name of a namespace -> its number and its policy.
pub(crate) const NAMESPACES: TableDefinition<'_, &[u8], &[u8]> =
    TableDefinition::new("idempotency/namespaces");
/// Number of a namespace -> what its callers met; there from the first event on.
pub(crate) const EVENTS: TableDefinition<'_, &[u8], &[u8]> =
    TableDefinition::new("idempotency/events");
/// What belongs to the file as a whole.
pub(crate) const META: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("idempotency/meta");

/// The format this version writes, and the newest it reads.
pub(crate) const FORMAT: u32 = 1;
pub(crate) const META_FORMAT: &[u8] = b"format";
pub(crate) const META_LEDGER_ID: &[u8] = b"ledger";
pub(crate) const META_SIDE_FILE_ID: &[u8] = b"side-file";
/// What fence and time of the file may never fall below, beside the tails.
pub(crate) const META_FLOOR: &[u8] = b"floor";

/// A namespace's number in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NamespaceId(pub(crate) u16);

/// Namespaces are few: above this, a name was probably made from data.
pub(crate) const NAMESPACES_MAX: u64 = 4_096;

const SEPARATOR: u8 = 0x00;
/// Sorts after every key, since UTF-8 never holds it: the tail lies on the page that the newest
/// time-ordered key is written to, and costs no page of its own.
const TAIL: u8 = 0xff;

/// Namespace number ++ key ++ 0x00 ++ scope. Keys hold no control characters, so the separator
/// is unambiguous; a length in front would break the order of time.
pub(crate) fn record_key(namespace: NamespaceId, key: &Key, scope: &Scope) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(3 + key.as_str().len() + scope.as_bytes().len());
    bytes.extend_from_slice(&namespace.0.to_be_bytes());
    bytes.extend_from_slice(key.as_str().as_bytes());
    bytes.push(SEPARATOR);
    bytes.extend_from_slice(scope.as_bytes());
    bytes
}

/// The key of a namespace's tail.
pub(crate) fn tail_key(namespace: NamespaceId) -> [u8; 3] {
    let [high, low] = namespace.0.to_be_bytes();
    [high, low, TAIL]
}

/// The two bytes that all of a namespace's record keys start with.
pub(crate) fn namespace_prefix(namespace: NamespaceId) -> [u8; 2] {
    namespace.0.to_be_bytes()
}

/// What a record key says, or `None` for a tail or bytes that are no record key.
pub(crate) fn parse_record_key(bytes: &[u8]) -> Option<(NamespaceId, Key, Scope)> {
    let (number, rest) = bytes.split_first_chunk::<2>()?;
    let at = rest.iter().position(|&byte| byte == SEPARATOR)?;
    let key = Key::new(core::str::from_utf8(&rest[..at]).ok()?).ok()?;
    let scope = Scope::new(&rest[at + 1..]).ok()?;
    Some((NamespaceId(u16::from_be_bytes(*number)), key, scope))
}

/// Whether the bytes are the key of a tail.
pub(crate) fn is_tail_key(bytes: &[u8]) -> bool {
    bytes.len() == 3 && bytes[2] == TAIL
}

/// Says what a row of the expiry index points to. More kinds will follow.
const EXPIRY_OF_RECORD: u8 = 0x00;

/// Time, big-endian ++ kind ++ record key.
pub(crate) fn expiry_key(removable_at: Timestamp, record_key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(9 + record_key.len());
    bytes.extend_from_slice(&removable_at.unix_ms().to_be_bytes());
    bytes.push(EXPIRY_OF_RECORD);
    bytes.extend_from_slice(record_key);
    bytes
}

/// The first key behind everything that has expired at `now`.
pub(crate) fn expiry_end(now: Timestamp) -> [u8; 8] {
    now.unix_ms().saturating_add(1).to_be_bytes()
}

/// What a row of the expiry index says: when, and which record.
pub(crate) fn parse_expiry_key(bytes: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (time, rest) = bytes.split_first_chunk::<8>()?;
    let (&kind, record_key) = rest.split_first()?;
    (kind == EXPIRY_OF_RECORD).then(|| {
        (
            Timestamp::from_unix_ms(u64::from_be_bytes(*time)),
            record_key,
        )
    })
}
