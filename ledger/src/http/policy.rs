//! The rules of a route, as a value.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LANGUAGE, CONTENT_TYPE, ETAG, HeaderName, LINK, LOCATION};
use http::request::Parts;
use http::{Method, Response, StatusCode};

use super::problem::{Problem, RefusalForm};
use super::scope::in_one_spelling;

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
    /// With quotes, as the draft has it (`Idempotency-Key: "8e03978e"`), or without, as most
    /// clients send it. Both are the same key.
    #[default]
    Lenient,
    /// As the draft has it, in quotes.
    Strict,
}

/// What of a body two equal requests share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum BodyFingerprint {
    /// JSON whatever the order of its members and its spaces, with numbers by their exact value
    /// (see [`Fingerprint::json_text`](crate::Fingerprint::json_text)); multipart without its
    /// boundary; all else byte by byte.
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

pub(super) type Extractor = dyn Fn(&Parts) -> Vec<u8> + Send + Sync;
pub(super) type Dispositions = dyn Fn(StatusCode) -> Disposition + Send + Sync;

/// The rules of a route. Every setter has a default.
///
/// ```
/// use idempotency_ledger::http::{HttpPolicy, Presence};
///
/// /// What the authentication in front of the layer has found out.
/// #[derive(Clone)]
/// struct UserId(u64);
///
/// let policy = HttpPolicy::new()
///     .key(Presence::Optional)
///     .path_as_route()
///     .principal(|parts| match parts.extensions.get::<UserId>() {
///         Some(UserId(id)) => id.to_be_bytes().to_vec(),
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
    pub(super) also_accepted: Vec<BodyFingerprint>,
    pub(super) request_bytes_max: usize,
    pub(super) stored_headers: Vec<HeaderName>,
    pub(super) wait: Option<Duration>,
    /// `None` is the whole path, where this build can know it.
    pub(super) route: Option<Arc<Extractor>>,
    pub(super) principal: Arc<Extractor>,
    pub(super) dispositions: Arc<Dispositions>,
    pub(super) refusal: Option<RefusalForm>,
}

/// Says that classic forms may have their key in a field.
#[derive(Clone, Copy, Debug)]
pub(super) struct FormField;

impl HttpPolicy {
    /// Everything at its default: POST and PATCH are guarded, the key is required, with quotes or
    /// without, the principal is empty, bodies have at most 1 MiB, duplicates are refused and not
    /// kept waiting.
    pub fn new() -> Self {
        Self {
            methods: vec![Method::POST, Method::PATCH],
            presence: Presence::default(),
            header_form: HeaderForm::default(),
            form_field: None,
            body: BodyFingerprint::default(),
            also_accepted: Vec::new(),
            request_bytes_max: 1024 * 1024,
            stored_headers: vec![CONTENT_TYPE, CONTENT_LANGUAGE, LOCATION, ETAG, LINK],
            wait: None,
            route: None,
            principal: Arc::new(|_| Vec::new()),
            dispositions: Arc::new(|status| Disposition::of_status(status.as_u16())),
            refusal: None,
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

    /// How the header may be written. Default: with quotes or without. Parameters that follow the
    /// quotes are no part of the key.
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

    /// Accepts retries of requests that were fingerprinted under an earlier form, after
    /// [`HttpPolicy::body_fingerprint`] has changed: without it they are mismatches. Keep it for
    /// the length of the retention. Another rule for route or principal makes other keys of those
    /// in flight, and no form can accept them.
    ///
    /// ```
    /// use idempotency_ledger::http::{BodyFingerprint, HttpPolicy};
    ///
    /// let policy = HttpPolicy::new()
    ///     .body_fingerprint(BodyFingerprint::Raw)
    ///     .also_accept(BodyFingerprint::Canonical); // until the last of them has expired
    /// # let _ = policy;
    /// ```
    pub fn also_accept(mut self, earlier: BodyFingerprint) -> Self {
        self.also_accepted.push(earlier);
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
    /// each other's answer. Default: the whole path, also where axum has taken a prefix away, in
    /// one spelling (`/a%62` is `/ab`). That needs the feature `axum`; without it a layer wants a
    /// rule here, or [`HttpPolicy::path_as_route`].
    pub fn route(mut self, route: impl Fn(&Parts) -> Vec<u8> + Send + Sync + 'static) -> Self {
        self.route = Some(Arc::new(route));
        self
    }

    /// The route is the path as the layer sees it, in one spelling: for services in front of which
    /// no router takes a prefix away. There, `/shops/1/pay` and `/shops/2/pay` would be one route.
    pub fn path_as_route(self) -> Self {
        self.route(|parts| in_one_spelling(parts.uri.path()).into_bytes())
    }

    /// Who asks. The principal is part of a key's identity, so that two of them never see each
    /// other's answer; only its hash is stored. Take the id of the user that was authenticated. Not
    /// the token: that is another one after a refresh, and the retry would run again. Default:
    /// everybody is the same.
    pub fn principal(
        mut self,
        principal: impl Fn(&Parts) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        self.principal = Arc::new(principal);
        self
    }

    /// What a status means for the key. Default: [`Disposition::of_status`]. In a
    /// [transactional](super::IdempotencyLayer::transactional) layer, what is not stored is rolled
    /// back, so that it certainly did not happen, and the key is free.
    pub fn dispositions(
        mut self,
        dispositions: impl Fn(StatusCode) -> Disposition + Send + Sync + 'static,
    ) -> Self {
        self.dispositions = Arc::new(dispositions);
        self
    }

    /// What a refusal is sent as. Default: a problem document (RFC 9457). For clients that want
    /// another form: `stripe-node`, for one, takes any JSON without the member `error` for a
    /// success. Keep the status and the headers, which say whether asking again makes sense.
    ///
    /// ```
    /// use idempotency_ledger::http::HttpPolicy;
    ///
    /// let policy = HttpPolicy::new().refusal(|problem| {
    ///     let error = serde_json::json!({"error": {
    ///         "type": "idempotency_error",
    ///         "code": problem.code().as_str(),
    ///         "message": problem.detail(),
    ///     }});
    ///     let document = problem.clone().into_response();
    ///     document.map(|_| error.to_string().into())
    /// });
    /// # let _ = policy;
    /// ```
    pub fn refusal(
        mut self,
        form: impl Fn(&Problem) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        self.refusal = Some(Arc::new(form));
        self
    }

    /// Whether the layer can tell one route from another. Axum takes prefixes away in front of it,
    /// and only a build with the feature `axum` knows where the path was whole.
    pub(super) fn check_route(&self, knows_whole_path: bool) {
        assert!(
            self.route.is_some() || knows_whole_path,
            "without the feature `axum` of idempotency-ledger, a layer does not know what a router \
             took away from the path; say what the route is: HttpPolicy::path_as_route() where \
             nothing is nested, HttpPolicy::route(..) elsewhere, or enable the feature"
        );
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_that_cannot_know_the_whole_path_wants_a_rule() {
        HttpPolicy::new().check_route(true);
        HttpPolicy::new().path_as_route().check_route(false);
        let refused = std::panic::catch_unwind(|| HttpPolicy::new().check_route(false));
        let message = refused.expect_err("there is no rule");
        let message = message.downcast::<&str>().expect("a text");
        assert!(message.contains("HttpPolicy::route"), "{message}");
    }
}
