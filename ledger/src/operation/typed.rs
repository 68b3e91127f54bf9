//! Values as responses: encoded with their schema, decoded back before they are trusted.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::decision::{Response, ResponseKind};
use crate::error::{Error, Invalid};
use crate::operation::json_value;
use crate::store::codec;

/// The form in which a value is stored. The record says which one it is in, so values of one type
/// may lie in both.
///
/// ```
/// use idempotency_ledger::{Response, ResponseKind, ValueFormat};
///
/// let stored = Response::of_value(&17_u64)?;
/// let schema = "u64".into();
/// assert_eq!(stored.kind(), &ResponseKind::Json { schema });
/// assert_eq!(ValueFormat::Json.to_string(), "JSON");
/// # Ok::<(), idempotency_ledger::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ValueFormat {
    /// JSON, which says the names of fields and variants: a type may have them in another order, or
    /// a new field with a default, and reads the same amounts. For whatever serde can describe.
    #[default]
    Json,
    /// bincode, which stores fields by their place alone: about half the bytes, and a field that
    /// moves without a new schema is read as another one.
    Bincode,
}

impl ValueFormat {
    const fn other(self) -> Self {
        match self {
            Self::Json => Self::Bincode,
            Self::Bincode => Self::Json,
        }
    }
}

impl fmt::Display for ValueFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "JSON",
            Self::Bincode => "bincode",
        })
    }
}

/// A type whose values can be the response of an operation.
///
/// `()`, `bool`, integers, `String`, `Vec<u8>`, and `Option` and `Result` of such types are some
/// already; so a declined card is a value as it is: `Result<Receipt, Declined>`.
///
/// The schema names the type and its version; it is stored with the value. Change it whenever the
/// meaning of the type changes, and teach [`StoredValue::migrate`] the older ones.
///
/// A value is stored in [`StoredValue::FORMAT`], JSON unless the type asks for another. It is
/// decoded again and compared before it is stored. What does not come back (JSON has no infinite
/// numbers, and bincode no `#[serde(flatten)]`) is stored in the other form; what comes back from
/// neither is an error, and nothing is stored.
///
/// [`Request::run`](crate::Request::run) and
/// [`Request::transact`](crate::Request::transact) store such values themselves; everywhere else
/// [`Response::of_value`] and [`Response::value`] do.
///
/// ```
/// use idempotency_ledger::{StoredValue, check_stored_value};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, PartialEq, Debug)]
/// struct Receipt {
///     amount: u64,
/// }
/// impl StoredValue for Receipt {
///     const SCHEMA: &str = "receipt/1";
/// }
/// assert_eq!(check_stored_value(&Receipt { amount: 25 }), Ok(()));
/// ```
pub trait StoredValue: Serialize + DeserializeOwned {
    /// The name of the type and its version, such as `receipt/1`.
    const SCHEMA: &'static str;

    /// The form in which values are stored if they come back from it.
    const FORMAT: ValueFormat = ValueFormat::Json;

    /// Whether every value of the type is known to come back, so that comparing is no use.
    #[doc(hidden)]
    const COMES_BACK: bool = false;

    /// Reads a value that was stored under an older schema; `None` where it cannot.
    fn migrate(old: &OldValue<'_>) -> Option<Self> {
        let _ = old;
        None
    }
}

/// A value that was stored under another schema, for [`StoredValue::migrate`].
///
/// ```
/// use idempotency_ledger::{OldValue, Response, StoredValue};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct OldReceipt {
///     euros: u32,
/// }
/// #[derive(Serialize, Deserialize)]
/// struct Receipt {
///     cents: u64,
/// }
/// impl StoredValue for Receipt {
///     const SCHEMA: &str = "receipt/2";
///
///     fn migrate(old: &OldValue<'_>) -> Option<Self> {
///         match old.schema() {
///             "receipt/1" => {
///                 let OldReceipt { euros } = old.decode().ok()?;
///                 let cents = u64::from(euros) * 100;
///                 Some(Self { cents })
///             }
///             _ => None,
///         }
///     }
/// }
/// let stored = Response::json("receipt/1", r#"{"euros":25}"#);
/// assert_eq!(stored.value::<Receipt>()?.cents, 2_500);
/// # Ok::<(), idempotency_ledger::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct OldValue<'r> {
    schema: &'r str,
    format: ValueFormat,
    bytes: &'r [u8],
}

impl<'r> OldValue<'r> {
    fn of(response: &'r Response) -> Option<Self> {
        let (schema, format) = match response.kind() {
            ResponseKind::Json { schema } => (schema, ValueFormat::Json),
            ResponseKind::Typed { schema } => (schema, ValueFormat::Bincode),
            ResponseKind::Raw | ResponseKind::Http | ResponseKind::Command => return None,
        };
        Some(Self {
            schema,
            format,
            bytes: response.bytes(),
        })
    }

    /// The schema it was stored under.
    #[must_use]
    pub const fn schema(&self) -> &'r str {
        self.schema
    }

    /// The form it is stored in.
    #[must_use]
    pub const fn format(&self) -> ValueFormat {
        self.format
    }

    /// The bytes as they are stored.
    #[must_use]
    pub const fn bytes(&self) -> &'r [u8] {
        self.bytes
    }

    /// The value as one of a type, which has to read all of it.
    ///
    /// # Errors
    ///
    /// What is wrong with the bytes.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, String> {
        decode_stored(self.format, self.bytes)
    }
}

/// Decodes bytes of a stored value: all of them must belong to it, and every stored member must be
/// one that the type reads.
///
/// # Errors
///
/// What is wrong with the bytes.
pub fn decode_stored<T: DeserializeOwned>(format: ValueFormat, bytes: &[u8]) -> Result<T, String> {
    match format {
        ValueFormat::Json => json_value::decode(bytes),
        ValueFormat::Bincode => codec::decode_typed(bytes),
    }
}

/// Encodes a value as [`StoredValue`]s are stored, for fixtures of older schemas.
///
/// # Errors
///
/// What is wrong with the value.
pub fn encode_stored<T: Serialize>(format: ValueFormat, value: &T) -> Result<Vec<u8>, String> {
    match format {
        ValueFormat::Json => json_value::encode(value),
        ValueFormat::Bincode => codec::encode_typed(value),
    }
}

/// Tells whether a value can be stored, before any effect: a type whose `Deserialize` does not read
/// what its `Serialize` writes cannot. Call it in a test.
///
/// # Errors
///
/// What is wrong with the type.
pub fn check_stored_value<T: StoredValue>(value: &T) -> Result<(), String> {
    encode_checked(value).map(|_| ())
}

impl Response {
    /// A typed value as a response: for [`Claim::complete`](crate::Claim::complete),
    /// [`Ticket::complete`](crate::Ticket::complete) and a resolution by hand, wherever the
    /// operation otherwise runs with [`Request::run`](crate::Request::run).
    ///
    /// ```
    /// use idempotency_ledger::{Response, StoredValue};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize, PartialEq, Debug)]
    /// struct Receipt {
    ///     amount: u64,
    /// }
    /// impl StoredValue for Receipt {
    ///     const SCHEMA: &str = "receipt/1";
    /// }
    /// let response = Response::of_value(&Receipt { amount: 25 })?;
    /// assert_eq!(response.bytes(), br#"{"amount":25}"#);
    /// assert_eq!(response.value::<Receipt>()?, Receipt { amount: 25 });
    /// assert!(Response::raw("25").value::<Receipt>().is_err());
    /// # Ok::<(), idempotency_ledger::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid::Value`] for a value that does not come back from its bytes.
    pub fn of_value<T: StoredValue>(value: &T) -> Result<Self, Error> {
        to_response(value)
    }

    /// The typed value in a response, migrated where it was stored under an older schema.
    ///
    /// # Errors
    ///
    /// [`Invalid::Value`] for a response that holds another type, or none.
    pub fn value<T: StoredValue>(&self) -> Result<T, Error> {
        from_response(self).map_err(|reason| {
            let schema = T::SCHEMA;
            Error::Invalid(Invalid::Value { schema, reason })
        })
    }
}

/// The bytes of a value in the first form that it comes back from.
pub(crate) fn encode_checked<T: StoredValue>(value: &T) -> Result<(ValueFormat, Vec<u8>), String> {
    let first = T::FORMAT;
    let why = match round_trip(first, value) {
        Ok(bytes) => return Ok((first, bytes)),
        Err(why) => why,
    };
    let second = first.other();
    match round_trip(second, value) {
        Ok(bytes) => Ok((second, bytes)),
        Err(reason) => Err(format!("as {first}: {why}; as {second}: {reason}")),
    }
}

fn round_trip<T: StoredValue>(format: ValueFormat, value: &T) -> Result<Vec<u8>, String> {
    let bytes = encode_stored(format, value)?;
    if T::COMES_BACK {
        return Ok(bytes);
    }
    let read: T = decode_stored(format, &bytes)?;
    if is_same(ValueFormat::Json, value, &read) && is_same(ValueFormat::Bincode, value, &read) {
        Ok(bytes)
    } else {
        Err("another value comes back from its bytes".to_owned())
    }
}

/// Whether two values look the same in a form, or both have none. Each form shows what the other
/// hides. JSON has the names: by place alone, a field that was left out lets the next one take its
/// place. bincode has what is `null` in JSON: `Some(None)`, and numbers that are not finite.
fn is_same<T: StoredValue>(format: ValueFormat, value: &T, read: &T) -> bool {
    let encoded = |value| encode_stored(format, value);
    match (encoded(value), encoded(read), format) {
        (Ok(one), Ok(other), ValueFormat::Json) => json_value::are_same(&one, &other),
        (Ok(one), Ok(other), ValueFormat::Bincode) => is_rearranged(&one, &other),
        (Err(_), Err(_), _) => true,
        (Ok(_), Err(_), _) | (Err(_), Ok(_), _) => false,
    }
}

/// Whether two encodings may be of one value, of which a map or a set came back in another order.
fn is_rearranged(bytes: &[u8], again: &[u8]) -> bool {
    let sorted = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes.sort_unstable();
        bytes
    };
    bytes == again || sorted(bytes) == sorted(again)
}

/// A value as a response.
pub(crate) fn to_response<T: StoredValue>(value: &T) -> Result<Response, Error> {
    match encode_checked(value) {
        Ok((ValueFormat::Json, bytes)) => Ok(Response::json(T::SCHEMA, bytes)),
        Ok((ValueFormat::Bincode, bytes)) => Ok(Response::typed(T::SCHEMA, bytes)),
        Err(reason) => Err(Error::Invalid(Invalid::Value {
            schema: T::SCHEMA,
            reason,
        })),
    }
}

/// The value in a stored response, or why it is none.
pub(crate) fn from_response<T: StoredValue>(response: &Response) -> Result<T, String> {
    let Some(stored) = OldValue::of(response) else {
        return Err(format!("it is no typed value but {:?}", response.kind()));
    };
    if *stored.schema == *T::SCHEMA {
        return stored.decode();
    }
    T::migrate(&stored).ok_or_else(|| {
        let schema = stored.schema;
        format!("it has schema {schema:?}, which the type does not read")
    })
}
