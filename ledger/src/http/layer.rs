//! The layer, and the service it makes.

use std::future::Future;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{Method, Request, Response};
use http_body::Body;
use tokio::sync::watch;
use tower_layer::Layer;
use tower_service::Service;

use super::answer::HttpAnswer;
use super::body::{AnswerBody, Collected, collect};
use super::fingerprint::{content_type_of, of_request};
use super::guard::IdempotencyKey;
use super::key_header::{key_in_form, key_in_headers};
use super::keyed::{Keyed, unreadable_problem};
use super::policy::{Disposition, HttpPolicy, Presence};
use super::problem::{Problem, ProblemCode};
use crate::decision::{Fingerprint, Key, Namespace};
use crate::ledger::Ledger;
use crate::operation::refusal::EndingError;
use crate::operation::request::{Begin, Request as Operation};
use crate::operation::twins::{complete, release_held};
use crate::traced;

/// The longest path that is part of a scope in words; a longer one is hashed.
const SCOPE_BYTES_MAX: usize = 255;

/// Makes the routes below it idempotent; see the [module](crate::http).
///
/// Use it with axum's `route_layer`, so that routes that do not exist store nothing. On a router
/// that is nested in another, say what the route is with [`HttpPolicy::route`].
///
/// ```
/// use axum::{Router, routing::post};
/// use idempotency_ledger::http::{HttpPolicy, IdempotencyLayer};
/// use idempotency_ledger::{Ledger, Namespace, Policy};
///
/// const CHARGES: Namespace = Namespace::new("charges").policy(Policy::PAYMENTS);
/// let ledger = Ledger::in_memory()?;
/// let layer = IdempotencyLayer::new(ledger, CHARGES, HttpPolicy::new());
/// let app: Router = Router::new()
///     .route("/charges", post(|| async { "charged 25 EUR" }))
///     .route_layer(layer.clone());
/// # let _ = app;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct IdempotencyLayer {
    rules: Arc<Rules>,
}

#[derive(Debug)]
struct Rules {
    ledger: Ledger,
    namespace: Namespace,
    policy: HttpPolicy,
    stored_headers: Arc<[http::header::HeaderName]>,
    mode: Mode,
    /// How many handlers run under a claim.
    running: watch::Sender<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Claims,
    Transactional,
}

impl IdempotencyLayer {
    /// A layer that claims before the handler and completes behind it.
    #[must_use]
    pub fn new(ledger: Ledger, namespace: Namespace, policy: HttpPolicy) -> Self {
        Self::of(ledger, namespace, policy, Mode::Claims)
    }

    /// A layer whose handlers answer with [`Keyed::transact`], which they find in the request's
    /// extensions: what they write to the ledger's file and their answer are one commit.
    #[must_use]
    pub fn transactional(ledger: Ledger, namespace: Namespace, policy: HttpPolicy) -> Self {
        Self::of(ledger, namespace, policy, Mode::Transactional)
    }

    fn of(ledger: Ledger, namespace: Namespace, policy: HttpPolicy, mode: Mode) -> Self {
        let stored_headers = policy.stored_headers.clone().into();
        let rules = Arc::new(Rules {
            ledger,
            namespace,
            policy,
            stored_headers,
            mode,
            running: watch::Sender::new(0),
        });
        Self { rules }
    }

    /// Waits until no handler runs under a claim any more: for a shutdown that leaves no key
    /// interrupted. Stop accepting connections first.
    pub async fn drained(&self) {
        let mut running = self.rules.running.subscribe();
        // The sender lives in this layer, so it cannot be gone.
        let _ = running.wait_for(|count| *count == 0).await;
    }
}

impl<S> Layer<S> for IdempotencyLayer {
    type Service = Idempotency<S>;

    fn layer(&self, inner: S) -> Idempotency<S> {
        let rules = Arc::clone(&self.rules);
        Idempotency { inner, rules }
    }
}

/// A service behind an [`IdempotencyLayer`].
#[derive(Clone, Debug)]
pub struct Idempotency<S> {
    inner: S,
    rules: Arc<Rules>,
}

type Answer<B, E> = Pin<Box<dyn Future<Output = Result<Response<AnswerBody<B>>, E>> + Send>>;

impl<S, B, R> Service<Request<B>> for Idempotency<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Body + From<Bytes> + Send + Unpin + 'static,
    B::Data: Send,
    R: Body + Send + Unpin + 'static,
    R::Data: Send,
    R::Error: Send,
{
    type Response = Response<AnswerBody<R>>;
    type Error = S::Error;
    type Future = Answer<R, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that is ready serves; a clone need not be.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let rules = Arc::clone(&self.rules);
        if !rules.policy.methods.contains(request.method()) {
            let passed = inner.call(request);
            return Box::pin(async move { Ok(passed.await?.map(AnswerBody::untouched)) });
        }
        Box::pin(async move {
            let asked = match rules.read(request).await {
                Ok(asked) => asked,
                Err(problem) => return Ok(sent(problem.into_response())),
            };
            let Asked {
                mut parts,
                body,
                operation,
            } = asked;
            match (rules.mode, operation) {
                (Mode::Transactional, request) => {
                    parts.extensions.insert(Keyed {
                        ledger: rules.ledger.clone(),
                        request,
                        stored_headers: Arc::clone(&rules.stored_headers),
                    });
                    let answer = inner.call(Request::from_parts(parts, B::from(body)));
                    Ok(answer.await?.map(AnswerBody::untouched))
                }
                (Mode::Claims, None) => {
                    let answer = inner.call(Request::from_parts(parts, B::from(body)));
                    Ok(answer.await?.map(AnswerBody::untouched))
                }
                (Mode::Claims, Some(operation)) => {
                    let request = Request::from_parts(parts, B::from(body));
                    claimed(rules, inner, request, operation).await
                }
            }
        })
    }
}

/// A request that was read and may be decided on.
struct Asked {
    parts: Parts,
    body: Bytes,
    /// `None` where the key is optional and was not sent.
    operation: Option<Operation>,
}

impl Rules {
    /// Reads what identifies a request. Whatever is wrong is found before the ledger is asked.
    async fn read<B>(&self, request: Request<B>) -> Result<Asked, Problem>
    where
        B: Body + Unpin,
    {
        let policy = &self.policy;
        let (parts, body) = request.into_parts();
        let in_header = key_in_headers(&parts.headers, policy.header_form)?;
        if in_header.is_none()
            && policy.form_field.is_none()
            && policy.presence == Presence::Required
        {
            return Err(missing());
        }
        let declared = parts.headers.get(CONTENT_LENGTH);
        let declared = declared.and_then(|bytes| bytes.to_str().ok()?.parse::<u64>().ok());
        let limit = policy.request_bytes_max;
        if declared.is_some_and(|bytes| bytes > limit as u64) {
            return Err(too_large(limit));
        }
        let body = match collect(body, limit).await {
            Ok(Collected::Whole(body)) => body,
            Ok(Collected::TooLarge { .. }) => return Err(too_large(limit)),
            Err(_) => {
                let detail = "the body ended too early";
                return Err(Problem::new(ProblemCode::InvalidKey, detail));
            }
        };
        let key = match (in_header, policy.form_field) {
            (None, Some(_)) => key_in_form(content_type_of(&parts), &body)?,
            (key, _) => key,
        };
        let operation = match (key, policy.presence) {
            (Some(key), _) => Some(self.operation(&parts, &body, &key)),
            (None, Presence::Optional) => None,
            (None, Presence::Required) => return Err(missing()),
        };
        Ok(Asked {
            parts,
            body,
            operation,
        })
    }

    fn operation(&self, parts: &Parts, body: &Bytes, key: &Key) -> Operation {
        let route = (self.policy.route)(parts);
        let principal = (self.policy.principal)(parts);
        let asked = of_request(parts, &principal, body, self.policy.body);
        let operation = self
            .ledger
            .operation(self.namespace.clone(), key, asked)
            .scope(scope_of(&parts.method, &route, &principal));
        match self.policy.wait {
            Some(span) => operation.wait(span),
            None => operation,
        }
    }
}

/// Method, route and principal, so that none sees another's answer. In words where those cannot be
/// read in two ways: a line break is in no path, a space and a colon are in no method.
fn scope_of(method: &Method, route: &[u8], principal: &[u8]) -> Vec<u8> {
    let method = method.as_str().as_bytes();
    let scope = [method, b" ", route, b"\n", principal].concat();
    if scope.len() <= SCOPE_BYTES_MAX && !route.contains(&b'\n') {
        return scope;
    }
    let digest = Fingerprint::of([method, route, principal]);
    [&b"sha256:"[..], digest.digest()].concat()
}

fn missing() -> Problem {
    let detail = "this request has to carry the header Idempotency-Key: a new key for each new \
                  intent, the same one for each retry";
    Problem::new(ProblemCode::MissingKey, detail)
}

fn too_large(limit: usize) -> Problem {
    let detail = format!("a body has at most {limit} bytes");
    Problem::new(ProblemCode::PayloadTooLarge, detail)
}

fn sent<R>(response: Response<Bytes>) -> Response<AnswerBody<R>> {
    response.map(AnswerBody::whole)
}

/// Claims, and runs the handler if the ledger says so.
async fn claimed<S, B, R>(
    rules: Arc<Rules>,
    inner: S,
    request: Request<B>,
    operation: Operation,
) -> Result<Response<AnswerBody<R>>, S::Error>
where
    S: Service<Request<B>, Response = Response<R>> + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Send + 'static,
    R: Body + Send + Unpin + 'static,
    R::Data: Send,
    R::Error: Send,
{
    let claim = match operation.begin_async().await {
        Ok(Begin::Fresh(claim)) => claim,
        Ok(Begin::Replay(replay)) => {
            let stored = HttpAnswer::of_stored(replay.response());
            return Ok(sent(match stored {
                Ok(answer) => answer.into_replay(),
                Err(why) => unreadable_problem(&why).into_response(),
            }));
        }
        Ok(Begin::Interrupted(_)) => return Ok(sent(Problem::interrupted().into_response())),
        Ok(Begin::Refused(refusal)) => {
            return Ok(sent(Problem::of_refusal(&refusal).into_response()));
        }
        Err(error) => return Ok(sent(Problem::of_error(&error).into_response())),
    };
    // A task of its own: a client that goes away does not stop the operation half-way.
    let key = IdempotencyKey::of(claim);
    let running = Running::new(&rules, &key);
    let task = tokio::spawn(async move {
        let answer = run(&rules, inner, request, key).await;
        drop(running);
        answer
    });
    match task.await {
        Ok(answer) => answer,
        Err(failed) => resume_unwind(failed.into_panic()),
    }
}

/// Runs the handler, ends its claim, and hands the answer on.
async fn run<S, B, R>(
    rules: &Rules,
    mut inner: S,
    mut request: Request<B>,
    key: IdempotencyKey,
) -> Result<Response<AnswerBody<R>>, S::Error>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body + Unpin,
{
    request.extensions_mut().insert(key.clone());
    let response = match inner.call(request).await {
        Ok(response) => response,
        Err(error) => {
            end(&key, Disposition::Interrupt, None).await;
            return Err(error);
        }
    };
    let (parts, body) = response.into_parts();
    let limit = rules.namespace.current_policy().response_limit();
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let disposition = (rules.policy.dispositions)(parts.status);
    let collected = if is_event_stream(&parts) {
        let read = Bytes::new();
        Ok(Collected::TooLarge { read, rest: body })
    } else {
        collect(body, limit).await
    };
    let body = match collected {
        Ok(Collected::Whole(body)) => body,
        Ok(Collected::TooLarge { read, rest }) => {
            // It happened, and cannot be replayed: nobody is told that it did not.
            let why = "it is above the response limit, or never ends";
            traced::trouble("an answer was not stored", &why);
            end(&key, disposition, None).await;
            let passed = AnswerBody::passed(read, rest);
            return Ok(Response::from_parts(parts, passed));
        }
        Err(_) => {
            traced::trouble("an answer was not stored", &"its body ended in an error");
            end(&key, Disposition::Interrupt, None).await;
            let detail = "the answer ended in an error; whether it happened is not known";
            let problem = Problem::new(ProblemCode::Interrupted, detail);
            return Ok(sent(problem.into_response()));
        }
    };
    let answer = HttpAnswer::of_parts(parts.status, parts.headers.clone(), body.clone());
    let stored = answer.stored(&rules.stored_headers);
    end(&key, disposition, Some(stored)).await;
    Ok(Response::from_parts(parts, AnswerBody::whole(body)))
}

/// Server-sent events: few at a time and without an end, so waiting for the limit would keep them.
fn is_event_stream(parts: &http::response::Parts) -> bool {
    let content_type = parts.headers.get(CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("text/event-stream"))
}

/// Ends a claim by what its answer means. Whatever fails here, the caller gets the answer: what
/// cannot be stored leaves the key interrupted, and is reported.
async fn end(key: &IdempotencyKey, disposition: Disposition, stored: Option<crate::Response>) {
    let nothing_happened = key.0.nothing_happened.load(Ordering::Relaxed);
    let ended = match (disposition, stored) {
        (Disposition::Store, Some(stored)) => store(key, stored).await,
        (Disposition::Release, _) => release_held(&key.0.claim).await,
        (Disposition::Interrupt | Disposition::Store, _) if nothing_happened => {
            release_held(&key.0.claim).await
        }
        (Disposition::Interrupt | Disposition::Store, _) => Ok(()),
    };
    match ended {
        // With a checkpoint, part of it happened: the key stays interrupted.
        Ok(()) | Err(EndingError::HasCheckpoint) => {}
        Err(error) => traced::trouble("an answer was not stored", &error),
    }
}

async fn store(key: &IdempotencyKey, stored: crate::Response) -> Result<(), EndingError> {
    let claim = &key.0.claim;
    let engine = Arc::clone(claim.engine());
    claim.check_completion(&engine, &stored)?;
    let (_, result) = complete(&engine, claim.ended(), Arc::clone(&key.0), stored).await;
    result.map(drop)
}

/// Counts a handler that runs under a claim, and ends the claim with it, also by a panic: whoever
/// keeps the request's extensions keeps nobody waiting by it.
struct Running {
    rules: Arc<Rules>,
    key: IdempotencyKey,
}

impl Running {
    fn new(rules: &Arc<Rules>, key: &IdempotencyKey) -> Self {
        // Only the last to end is waited for.
        rules.running.send_if_modified(|count| {
            *count += 1;
            false
        });
        let (rules, key) = (Arc::clone(rules), key.clone());
        Self { rules, key }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.key.0.claim.live().end();
        self.rules.running.send_if_modified(|count| {
            *count -= 1;
            *count == 0
        });
    }
}
