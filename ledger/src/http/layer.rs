//! The layer, and the service it makes.

use std::error::Error;
use std::future::Future;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::LengthLimitError;
use tower_layer::Layer;
use tower_service::Service;

use super::answer::HttpAnswer;
use super::body::{Collected, ReadBody, collect};
use super::fingerprint::{content_type_of, of_request};
use super::guard::IdempotencyKey;
use super::key_header::{key_in_form, key_in_headers};
use super::keyed::{Keyed, unreadable_problem};
use super::policy::{Disposition, HttpPolicy, Presence};
use super::problem::{Problem, ProblemCode};
use super::running::Running;
use super::scope::{scope_of, whole_path};
use crate::decision::{Key, Namespace};
use crate::ledger::Ledger;
use crate::operation::refusal::{EndingError, Refusal};
use crate::operation::request::{Begin, Request as Operation};
use crate::operation::twins::{complete, release_held};
use crate::traced;

/// Makes the routes below it idempotent; see the [module](crate::http).
///
/// Use it with axum's `route_layer`, so that routes that do not exist store nothing, and with the
/// feature `axum`, so that it knows the whole path on nested routers, too. The service below it
/// gets its requests with a [`ReadBody`], which axum's routes take as any other.
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
pub(super) struct Rules {
    pub(super) ledger: Ledger,
    namespace: Namespace,
    pub(super) policy: HttpPolicy,
    mode: Mode,
    running: Arc<Running>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Claims,
    Transactional,
}

impl IdempotencyLayer {
    /// A layer that claims before the handler and completes behind it.
    ///
    /// # Panics
    ///
    /// For a policy without a [route](HttpPolicy::route), where the crate is built without the
    /// feature `axum`: the layer could not tell the routes of nested routers apart.
    #[must_use]
    pub fn new(ledger: Ledger, namespace: Namespace, policy: HttpPolicy) -> Self {
        Self::of(ledger, namespace, policy, Mode::Claims)
    }

    /// A layer whose handlers answer with [`Keyed::transact`], which they find in the request's
    /// extensions: what they write to the ledger's file and their answer are one commit. A handler
    /// that has a key and answers with a success without it gets `not-transacted`, a 500: nothing
    /// was stored, and each retry would run again.
    ///
    /// # Panics
    ///
    /// As [`IdempotencyLayer::new`].
    #[must_use]
    pub fn transactional(ledger: Ledger, namespace: Namespace, policy: HttpPolicy) -> Self {
        Self::of(ledger, namespace, policy, Mode::Transactional)
    }

    fn of(ledger: Ledger, namespace: Namespace, policy: HttpPolicy, mode: Mode) -> Self {
        policy.check_route(cfg!(feature = "axum"));
        let rules = Arc::new(Rules {
            ledger,
            namespace,
            policy,
            mode,
            running: Running::new(),
        });
        Self { rules }
    }

    /// Waits until no handler runs under a claim any more: for a shutdown that leaves no key
    /// interrupted. Stop accepting connections first.
    pub async fn drained(&self) {
        self.rules.running.drained().await;
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

type Answer<B, E> = Pin<Box<dyn Future<Output = Result<Response<ReadBody<B>>, E>> + Send>>;

impl<S, B, R> Service<Request<B>> for Idempotency<S>
where
    S: Service<Request<ReadBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    R: Body + Send + Unpin + 'static,
    R::Data: Send,
    R::Error: Send,
{
    type Response = Response<ReadBody<R>>;
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
            let passed = inner.call(request.map(ReadBody::untouched));
            return Box::pin(async move { Ok(passed.await?.map(ReadBody::untouched)) });
        }
        Box::pin(async move {
            let Asked { request, operation } = match rules.read(request).await {
                Ok(asked) => asked,
                Err(problem) => return Ok(rules.refused(problem)),
            };
            match (rules.mode, operation) {
                (Mode::Transactional, operation) => {
                    transacted(&rules, inner, request, operation).await
                }
                (Mode::Claims, None) => Ok(inner.call(request).await?.map(ReadBody::untouched)),
                (Mode::Claims, Some(operation)) => claimed(rules, inner, request, operation).await,
            }
        })
    }
}

/// A request that was read and may be decided on.
struct Asked<B> {
    request: Request<ReadBody<B>>,
    /// `None` where the key is optional and was not sent.
    operation: Option<Operation>,
}

impl Rules {
    /// Reads what identifies a request. Whatever is wrong is found before the ledger is asked.
    async fn read<B>(&self, request: Request<B>) -> Result<Asked<B>, Problem>
    where
        B: Body + Unpin,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
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
        let (body, trailers) = match collect(body, limit).await {
            Ok(Collected::Whole { read, trailers }) => (read, trailers),
            Ok(Collected::TooLarge { .. }) => return Err(too_large(limit)),
            Err(error) => return Err(torn(&*error.into())),
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
        let request = Request::from_parts(parts, ReadBody::whole(body, trailers));
        Ok(Asked { request, operation })
    }

    fn operation(&self, parts: &Parts, body: &Bytes, key: &Key) -> Operation {
        let policy = &self.policy;
        let route = match &policy.route {
            Some(rule) => rule(parts),
            None => whole_path(parts),
        };
        let principal = (policy.principal)(parts);
        let asked = of_request(parts, &principal, body, policy.body);
        let mut operation = self
            .ledger
            .operation(self.namespace.clone(), key, asked)
            .scope(scope_of(&parts.method, &route, &principal));
        for earlier in &policy.also_accepted {
            operation = operation.also_accept(of_request(parts, &principal, body, *earlier));
        }
        match policy.wait {
            Some(span) => operation.wait(span),
            None => operation,
        }
    }

    /// What becomes of a key whose handler has answered so.
    pub(super) fn disposition(&self, status: u16) -> Disposition {
        match StatusCode::from_u16(status) {
            Ok(status) => (self.policy.dispositions)(status),
            Err(_) => Disposition::Interrupt,
        }
    }

    /// A problem in the form in which this layer sends them.
    pub(super) fn in_form(&self, problem: Problem) -> Problem {
        problem.in_form(self.policy.refusal.as_ref())
    }

    fn refused<R>(&self, problem: Problem) -> Response<ReadBody<R>> {
        sent(self.in_form(problem).into_response())
    }
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

/// The body ended before its end: by its client, or by a limit of a layer in front of this one.
fn torn(error: &(dyn Error + 'static)) -> Problem {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            let detail = "the body is above a limit in front of the ledger";
            return Problem::new(ProblemCode::PayloadTooLarge, detail);
        }
        cause = error.source();
    }
    Problem::new(ProblemCode::InvalidKey, "the body ended too early")
}

fn sent<R>(response: Response<Bytes>) -> Response<ReadBody<R>> {
    response.map(|body| ReadBody::whole(body, None))
}

/// Runs a handler that answers in a transaction, and refuses a success that is none of it.
async fn transacted<S, B, R>(
    rules: &Arc<Rules>,
    mut inner: S,
    mut request: Request<ReadBody<B>>,
    operation: Option<Operation>,
) -> Result<Response<ReadBody<R>>, S::Error>
where
    S: Service<Request<ReadBody<B>>, Response = Response<R>>,
{
    let has_key = operation.is_some();
    let is_asked = Arc::new(AtomicBool::new(false));
    request.extensions_mut().insert(Keyed {
        rules: Arc::clone(rules),
        request: operation,
        is_asked: Arc::clone(&is_asked),
    });
    let answer = inner.call(request).await?;
    let status = answer.status();
    let is_success = status.is_success() || status.is_redirection();
    if has_key && is_success && !is_asked.load(Ordering::Relaxed) {
        let detail = format!(
            "the handler answered {} without Keyed::transact, so nothing is stored under the key \
             and each retry would run again; answer with Keyed::transact, or guard this route with \
             IdempotencyLayer::new",
            status.as_u16()
        );
        traced::trouble("an answer was not stored", &detail);
        return Ok(rules.refused(Problem::new(ProblemCode::NotTransacted, detail)));
    }
    Ok(answer.map(ReadBody::untouched))
}

/// Begins an operation. A claim that is overdue belongs to a handler that lives. Where it is one of
/// this layer's, its lease is renewed, and the duplicate decides anew, with the rest of its wait.
async fn begin(rules: &Rules, operation: Operation) -> Result<Begin, crate::Error> {
    let until = operation.until();
    loop {
        let mut attempt = operation.clone();
        let now = rules.ledger.engine.holder.clock.elapsed();
        attempt.wait = until.map(|until| until.saturating_sub(now));
        match attempt.begin_async().await? {
            Begin::Interrupted(ticket) if ticket.is_overdue() => {
                if !rules.running.renew(ticket.fence()).await {
                    // Another process's, which renews it by itself.
                    let retry_after = Duration::from_secs(1);
                    return Ok(Begin::Refused(Refusal::InProgress { retry_after }));
                }
            }
            begun => return Ok(begun),
        }
    }
}

/// Claims, and runs the handler if the ledger says so.
async fn claimed<S, B, R>(
    rules: Arc<Rules>,
    inner: S,
    request: Request<ReadBody<B>>,
    operation: Operation,
) -> Result<Response<ReadBody<R>>, S::Error>
where
    S: Service<Request<ReadBody<B>>, Response = Response<R>> + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Send + 'static,
    R: Body + Send + Unpin + 'static,
    R::Data: Send,
    R::Error: Send,
{
    let claim = match begin(&rules, operation).await {
        Ok(Begin::Fresh(claim)) => claim,
        Ok(Begin::Replay(replay)) => {
            let stored = HttpAnswer::of_stored(replay.response());
            return Ok(match stored {
                Ok(answer) => sent(answer.into_replay()),
                Err(why) => rules.refused(unreadable_problem(&why)),
            });
        }
        Ok(Begin::Interrupted(_)) => return Ok(rules.refused(Problem::interrupted())),
        Ok(Begin::Refused(refusal)) => return Ok(rules.refused(Problem::of_refusal(&refusal))),
        Err(error) => return Ok(rules.refused(Problem::of_error(&error))),
    };
    // A task of its own: a client that goes away does not stop the operation half-way.
    let key = IdempotencyKey::of(claim);
    let running = rules.running.enter(&rules.ledger, &key);
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
    mut request: Request<ReadBody<B>>,
    key: IdempotencyKey,
) -> Result<Response<ReadBody<R>>, S::Error>
where
    S: Service<Request<ReadBody<B>>, Response = Response<R>>,
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
    let (body, trailers) = match collected {
        Ok(Collected::Whole { read, trailers }) => (read, trailers),
        Ok(Collected::TooLarge { read, rest }) => {
            // It happened, and cannot be replayed: nobody is told that it did not.
            let why = "it is above the response limit, or never ends";
            traced::trouble("an answer was not stored", &why);
            end(&key, disposition, None).await;
            let passed = ReadBody::passed(read, rest);
            return Ok(Response::from_parts(parts, passed));
        }
        Err(_) => {
            traced::trouble("an answer was not stored", &"its body ended in an error");
            end(&key, Disposition::Interrupt, None).await;
            let detail = "the answer ended in an error; whether it happened is not known";
            return Ok(rules.refused(Problem::new(ProblemCode::Interrupted, detail)));
        }
    };
    let answer = HttpAnswer::of_parts(parts.status, parts.headers.clone(), body.clone());
    let stored = answer.stored(&rules.policy.stored_headers);
    end(&key, disposition, Some(stored)).await;
    Ok(Response::from_parts(parts, ReadBody::whole(body, trailers)))
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
