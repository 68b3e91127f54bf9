//! An HTTP answer as it is stored: status, the headers that count, body.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};

use super::IDEMPOTENCY_REPLAYED;
use crate::decision::{Response as Stored, ResponseKind};
use crate::store::codec;

/// Says in which form an answer is stored.
const FORM: &str = "idempotency-ledger/http/1";

/// An answer with its body as bytes: what a handler returns from
/// [`Keyed::transact`](super::Keyed::transact), and what is stored and replayed.
///
/// ```
/// use idempotency_ledger::http::HttpAnswer;
///
/// let answer = HttpAnswer::new(201, "text/plain", "charged 25 EUR");
/// let answer = answer.header("location", "/charges/1");
/// assert_eq!((answer.status(), answer.body()), (201, &b"charged 25 EUR"[..]));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

#[derive(Serialize, Deserialize)]
struct StoredAnswer {
    form: String,
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl HttpAnswer {
    /// An answer with a body of some type.
    ///
    /// # Panics
    ///
    /// For a status that is none, or a content type that is no header value.
    #[must_use]
    pub fn new(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        let status = StatusCode::from_u16(status).expect("a status of HTTP");
        let body = body.into();
        let headers = HeaderMap::new();
        let answer = Self {
            status,
            headers,
            body,
        };
        answer.header(CONTENT_TYPE.as_str(), content_type)
    }

    /// An answer with a JSON body.
    ///
    /// # Errors
    ///
    /// What keeps the value from being JSON.
    pub fn json<T: Serialize>(status: u16, value: &T) -> Result<Self, serde_json::Error> {
        let body = serde_json::to_vec(value)?;
        Ok(Self::new(status, "application/json", body))
    }

    /// The same with one more header.
    ///
    /// # Panics
    ///
    /// For what is no header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header's name");
        let value = HeaderValue::from_str(value).expect("a header's value");
        self.headers.append(name, value);
        self
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// The headers.
    #[must_use]
    pub const fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    pub(super) const fn of_parts(status: StatusCode, headers: HeaderMap, body: Bytes) -> Self {
        Self {
            status,
            headers,
            body,
        }
    }

    /// The answer as the ledger stores it, with the headers that are allowed, and the one without
    /// which nobody can read its bytes.
    pub(super) fn stored(&self, allowed: &[HeaderName]) -> Stored {
        let headers = self.headers.iter();
        let kept = headers.filter(|(name, _)| allowed.contains(name) || **name == CONTENT_ENCODING);
        let answer = StoredAnswer {
            form: FORM.to_owned(),
            status: self.status.as_u16(),
            headers: kept
                .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
                .collect(),
            body: self.body.to_vec(),
        };
        Stored::http(codec::encode_typed(&answer).expect("strings and bytes can be encoded"))
    }

    /// A stored answer, or why it is none.
    pub(super) fn of_stored(stored: &Stored) -> Result<Self, String> {
        if *stored.kind() != ResponseKind::Http {
            return Err(format!("it is no HTTP answer but {:?}", stored.kind()));
        }
        let answer: StoredAnswer = codec::decode_typed(stored.bytes())?;
        if answer.form != FORM {
            return Err(format!("it has the form {:?}", answer.form));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &answer.headers {
            let name =
                HeaderName::from_bytes(name.as_bytes()).map_err(|error| error.to_string())?;
            let value = HeaderValue::from_bytes(value).map_err(|error| error.to_string())?;
            headers.append(name, value);
        }
        Ok(Self {
            status: StatusCode::from_u16(answer.status).map_err(|error| error.to_string())?,
            headers,
            body: answer.body.into(),
        })
    }

    pub(super) fn into_response(self) -> Response<Bytes> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }

    /// The response of a retry.
    pub(super) fn into_replay(self) -> Response<Bytes> {
        let mut response = self.into_response();
        let marked = HeaderValue::from_static("true");
        response.headers_mut().insert(IDEMPOTENCY_REPLAYED, marked);
        response
    }
}
