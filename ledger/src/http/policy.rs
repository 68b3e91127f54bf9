//! The rules of a route, as a value.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LANGUAGE, CONTENT_TYPE, ETAG, HeaderName, LINK, LOCATION};
use http::request::Parts;
use http::{Method, StatusCode};

/// Whether a request has to have a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Presence {
    /// A request without one is refused: `missing-key`.
    #[default]
    Required,
    /// A request without one simply runs.
    Optional,
}

/// How the header may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum HeaderForm {
    /// As the draft has it, a string in quotes: `Idempotency-Key: "8e03978e"`.
    #[default]
    Strict,
    /// Without the quotes as well. Both are the same key.
    Lenient,
}

/// What of a body two equal requests share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum BodyFingerprint {
    /// JSON in its canonical form (RFC 8785), multipart without its boundary, all else byte by
    /// byte.
    #[default]
    Canonical,
    /// Byte by byte.
    Raw,
}

/// What becomes of a key when its handler has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The answer is stored and replayed.
    Store,
    /// It did not happen: the key is free again, unless a checkpoint is stored.
    Release,
    /// Nobody knows: the key is interrupted, unless the handler said that nothing happened.
    Interrupt,
}

impl Disposition {
    /// What a status means by default.
    #[must_use]
    pub const fn of_status(status: u16) -> Self {
        match status {
            401 | 409 | 425 | 429 => Self::Release,
            408 | 500..=599 => Self::Interrupt,
            _ => Self::Store,
        }
    }
}

type Extractor = dyn Fn(&Parts) -> Vec<u8> + Send + Sync;
type Dispositions = dyn Fn(StatusCode) -> Disposition + Send + Sync;

/// The rules of a route. Every setter has a default.
///
/// ```
/// use idempotency_ledger::http::{HeaderForm, HttpPolicy, Presence};
///
/// let policy = HttpPolicy::new()
///     .key(Presence::Optional)
///     .header_form(HeaderForm::Lenient)
///     .principal(|parts| match parts.headers.get("authorization") {
///         Some(token) => token.as_bytes().to_vec(),
///         None => Vec::new(),
///     });
/// # let _ = policy;
/// ```
#[derive(Clone)]
#[must_use = "a policy does nothing until a layer has it"]
pub struct HttpPolicy {
    pub(super) methods: Vec<Method>,
    pub(super) presence: Presence,
    pub(super) header_form: HeaderForm,
    pub(super) form_field: Option<FormField>,
    pub(super) body: BodyFingerprint,
    pub(super) request_bytes_max: usize,
    pub(super) stored_headers: Vec<HeaderName>,
    pub(super) wait: Option<Duration>,
    pub(super) route: Arc<Extractor>,
    pub(super) principal: Arc<Extractor>,
    pub(super) dispositions: Arc<Dispositions>,
}

/// Says that classic forms may have their key in a field.
#[derive(Clone, Copy, Debug)]
pub(super) struct FormField;

impl HttpPolicy {
    /// Everything at its default: POST and PATCH are guarded, the key is required and strict, the
    /// principal is empty, bodies have at most 1 MiB, duplicates are refused and not kept waiting.
    pub fn new() -> Self {
        Self {
            methods: vec![Method::POST, Method::PATCH],
            presence: Presence::default(),
            header_form: HeaderForm::default(),
            form_field: None,
            body: BodyFingerprint::default(),
            request_bytes_max: 1024 * 1024,
            stored_headers: vec![CONTENT_TYPE, CONTENT_LANGUAGE, LOCATION, ETAG, LINK],
            wait: None,
            route: Arc::new(|parts| parts.uri.path().as_bytes().to_vec()),
            principal: Arc::new(|_| Vec::new()),
            dispositions: Arc::new(|status| Disposition::of_status(status.as_u16())),
        }
    }

    /// Which methods are guarded; others pass through, with a key or without. Default: POST and
    /// PATCH, since the others are idempotent by themselves.
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.methods = methods.into_iter().collect();
        self
    }

    /// Whether a key has to be there. Default: required.
    pub fn key(mut self, presence: Presence) -> Self {
        self.presence = presence;
        self
    }

    /// How the header may be written. Default: strict.
    pub fn header_form(mut self, form: HeaderForm) -> Self {
        self.header_form = form;
        self
    }

    /// Lets classic forms have their key in the field `_idempotency_key`; the header counts where
    /// both are there. Default: not.
    pub fn form_field(mut self) -> Self {
        self.form_field = Some(FormField);
        self
    }

    /// What of the body two equal requests share. Default: its canonical form.
    pub fn body_fingerprint(mut self, form: BodyFingerprint) -> Self {
        self.body = form;
        self
    }

    /// The largest body of a request, in bytes. Default: 1 MiB. The largest answer is the response
    /// limit of the namespace's policy.
    pub fn request_bytes_max(mut self, bytes: usize) -> Self {
        self.request_bytes_max = bytes;
        self
    }

    /// Which headers of an answer are stored. Default: Content-Type, Content-Language, Location,
    /// `ETag` and Link. `Set-Cookie` is never stored, whatever is said here.
    pub fn stored_headers(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        let names = names.into_iter();
        let kept = names.filter(|name| *name != http::header::SET_COOKIE);
        self.stored_headers = kept.collect();
        self
    }

    /// Lets a duplicate of a running request wait for its answer, at most so long. Default: it is
    /// refused at once.
    pub fn wait(mut self, span: Duration) -> Self {
        self.wait = Some(span);
        self
    }

    /// What was asked for. The route is part of a key's identity, so that two of them never see
    /// each other's answer. Default: the path, as the layer sees it. A router that takes a prefix
    /// away before the layer (a layer inside of a router that axum nests) has to give it back, or
    /// `/shops/1/pay` and `/shops/2/pay` are one route: return the path of axum's `OriginalUri`.
    pub fn route(mut self, route: impl Fn(&Parts) -> Vec<u8> + Send + Sync + 'static) -> Self {
        self.route = Arc::new(route);
        self
    }

    /// Who asks. The principal is part of a key's identity, so that two of them never see each
    /// other's answer; take it from what was authenticated. Default: everybody is the same.
    pub fn principal(
        mut self,
        principal: impl Fn(&Parts) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        self.principal = Arc::new(principal);
        self
    }

    /// What a status means for the key. Default: [`Disposition::of_status`].
    pub fn dispositions(
        mut self,
        dispositions: impl Fn(StatusCode) -> Disposition + Send + Sync + 'static,
    ) -> Self {
        self.dispositions = Arc::new(dispositions);
        self
    }
}

impl Default for HttpPolicy {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for HttpPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpPolicy")
            .field("methods", &self.methods)
            .field("presence", &self.presence)
            .field("header_form", &self.header_form)
            .finish_non_exhaustive()
    }
}
