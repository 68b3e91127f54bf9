//! An HTTP answer as it is stored: status, the headers that count, body.

use bytes::Bytes;
use http::header::{
    CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE,
};
use http::{Response, StatusCode};
use serde::Serialize;

use super::IDEMPOTENCY_REPLAYED;
use crate::decision::Response as Stored;
use crate::stored_http::StoredHttp;

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

    /// What a handler's response is as an answer. Extensions are not kept.
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
        self.stored_with(|name| allowed.contains(name) || name == CONTENT_ENCODING)
    }

    fn stored_with(&self, is_kept: impl Fn(&HeaderName) -> bool) -> Stored {
        let headers = self.headers.iter().filter(|(name, _)| is_kept(name));
        StoredHttp {
            status: self.status.as_u16(),
            headers: headers
                .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
                .collect(),
            body: self.body.to_vec(),
        }
        .into_response()
    }

    /// A stored answer, or why it is none.
    pub(super) fn of_stored(stored: &Stored) -> Result<Self, String> {
        let answer = StoredHttp::of_response(stored)?;
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

/// An answer from the response of any handler or client.
///
/// ```
/// use idempotency_ledger::http::HttpAnswer;
///
/// let response = http::Response::builder().status(201).header("location", "/charges/1");
/// let answer = HttpAnswer::from(response.body("charged 25 EUR")?);
/// assert_eq!((answer.status(), answer.body()), (201, &b"charged 25 EUR"[..]));
/// # Ok::<(), http::Error>(())
/// ```
impl<B: Into<Bytes>> From<Response<B>> for HttpAnswer {
    fn from(response: Response<B>) -> Self {
        let (parts, body) = response.into_parts();
        Self::of_parts(parts.status, parts.headers, body.into())
    }
}

/// The answer as the layer stores it and replays it: how an interrupted request is completed by
/// hand, with [`Ticket::complete`](crate::Ticket::complete) or
/// [`RecordHandle::resolve`](crate::RecordHandle::resolve). All its headers are kept but
/// `Set-Cookie`, which is never stored.
///
/// ```
/// use idempotency_ledger::http::HttpAnswer;
/// use idempotency_ledger::{Resolution, Response, ResponseKind};
///
/// let answer = Response::from(HttpAnswer::new(201, "text/plain", "charged 25 EUR"));
/// assert_eq!(answer.kind(), &ResponseKind::Http);
/// let resolution = Resolution::Completed(answer);
/// # let _ = resolution;
/// ```
impl From<HttpAnswer> for Stored {
    fn from(answer: HttpAnswer) -> Self {
        answer.stored_with(|name| name != SET_COOKIE)
    }
}
