//! The stored bytes of a completed operation.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// What the bytes of a [`Response`] are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResponseKind {
    /// Bytes that the application alone understands.
    Raw,
    /// A value in bincode under a named schema.
    Typed {
        /// The schema the value was stored under.
        schema: Box<str>,
    },
    /// A value in JSON under a named schema.
    Json {
        /// The schema the value was stored under.
        schema: Box<str>,
    },
    /// Status, headers and body of an HTTP answer.
    Http,
    /// Output and exit code of a command.
    Command,
}

/// The answer of a completed operation: bytes and what they are. Empty bytes are an answer too.
///
/// ```
/// use idempotency_ledger::{Response, ResponseKind};
///
/// let response = Response::raw("charged 25 EUR");
/// assert_eq!(response.kind(), &ResponseKind::Raw);
/// assert_eq!(response.bytes(), b"charged 25 EUR");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    kind: ResponseKind,
    bytes: Vec<u8>,
}

impl Response {
    /// Bytes that the application alone understands.
    #[must_use]
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self::of_kind(ResponseKind::Raw, bytes)
    }

    /// Output and exit code of a command, as the command line stores them.
    #[must_use]
    pub fn command(bytes: impl Into<Vec<u8>>) -> Self {
        Self::of_kind(ResponseKind::Command, bytes)
    }

    /// An HTTP answer, as the middleware stores it.
    #[must_use]
    pub fn http(bytes: impl Into<Vec<u8>>) -> Self {
        Self::of_kind(ResponseKind::Http, bytes)
    }

    /// A value already encoded in JSON under `schema`.
    #[must_use]
    pub fn json(schema: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self::of_kind(
            ResponseKind::Json {
                schema: schema.into().into_boxed_str(),
            },
            bytes,
        )
    }

    /// A value already encoded in bincode under `schema`.
    #[must_use]
    pub fn typed(schema: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self::of_kind(
            ResponseKind::Typed {
                schema: schema.into().into_boxed_str(),
            },
            bytes,
        )
    }

    /// Bytes of a given kind.
    #[must_use]
    pub fn of_kind(kind: ResponseKind, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            kind,
            bytes: bytes.into(),
        }
    }

    /// What the bytes are.
    #[must_use]
    pub const fn kind(&self) -> &ResponseKind {
        &self.kind
    }

    /// The bytes, exactly as they were stored.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl From<Vec<u8>> for Response {
    fn from(bytes: Vec<u8>) -> Self {
        Self::raw(bytes)
    }
}

impl From<&[u8]> for Response {
    fn from(bytes: &[u8]) -> Self {
        Self::raw(bytes)
    }
}

impl<const N: usize> From<&[u8; N]> for Response {
    fn from(bytes: &[u8; N]) -> Self {
        Self::raw(bytes.as_slice())
    }
}

impl From<&str> for Response {
    fn from(text: &str) -> Self {
        Self::raw(text)
    }
}

impl From<String> for Response {
    fn from(text: String) -> Self {
        Self::raw(text)
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Response({:?}, {} bytes)", self.kind, self.bytes.len())
    }
}
