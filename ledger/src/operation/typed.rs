//! Values as responses: encoded with their schema, decoded back before they are trusted.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::decision::{Response, ResponseKind};
use crate::error::{Error, Invalid};
use crate::store::codec;

/// A type whose values can be the response of an operation.
///
/// The schema names the type and its version; it is stored with the bytes. Change it whenever
/// the encoding of the type changes, and teach `migrate` the older ones. A declined card is a
/// value too: a type of your own around `Result<Receipt, Declined>`.
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

    /// Reads a value that was stored under an older schema; `None` where it cannot.
    fn migrate(schema: &str, bytes: &[u8]) -> Option<Self> {
        let _ = (schema, bytes);
        None
    }
}

/// Decodes bytes of an older schema, for [`StoredValue::migrate`]: all bytes must belong to it.
///
/// # Errors
///
/// What is wrong with the bytes.
pub fn decode_stored<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    codec::decode_typed(bytes)
}

/// Encodes a value as [`StoredValue`]s are stored, for fixtures of older schemas.
///
/// # Errors
///
/// What is wrong with the value.
pub fn encode_stored<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
    codec::encode_typed(value)
}

/// Tells whether a value can be stored, before any effect: some types encode but do not decode
/// (those that need a self-describing format, such as `serde_json::Value`). Call it in a test.
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

/// The bytes of a value, once they have decoded. They are not compared with what the decoded
/// value encodes to: a map may come back in another order and be the same map.
fn encode_checked<T: StoredValue>(value: &T) -> Result<Vec<u8>, String> {
    let bytes = codec::encode_typed(value)?;
    let _: T = codec::decode_typed(&bytes)?;
    Ok(bytes)
}

/// A value as a response.
pub(crate) fn to_response<T: StoredValue>(value: &T) -> Result<Response, Error> {
    match encode_checked(value) {
        Ok(bytes) => Ok(Response::typed(T::SCHEMA, bytes)),
        Err(reason) => Err(Error::Invalid(Invalid::Value {
            schema: T::SCHEMA,
            reason,
        })),
    }
}

/// The value in a stored response, or why it is none.
pub(crate) fn from_response<T: StoredValue>(response: &Response) -> Result<T, String> {
    let ResponseKind::Typed { schema } = response.kind() else {
        return Err(format!("it is no typed value but {:?}", response.kind()));
    };
    if **schema == *T::SCHEMA {
        return codec::decode_typed(response.bytes());
    }
    T::migrate(schema, response.bytes())
        .ok_or_else(|| format!("it has schema {schema:?}, which the type does not read"))
}
