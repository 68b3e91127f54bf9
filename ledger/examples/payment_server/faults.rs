//! What the demo asks for with the request header `Demo-Fault`, where `--faults` allows it.
//!
//! `fail-before` closes the connection before the claim, `slow=MS` waits before the effect,
//! `error-500` fails before it, `crash-after-effect` ends the process behind it, and
//! `lose-response` closes the connection behind the completion.

use std::panic::resume_unwind;
use std::time::Duration;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use idempotency_ledger::http::IDEMPOTENCY_REPLAYED;

use crate::problems::problem;
use crate::server::App;

/// The longest pause that can be asked for.
const SLOW_MAX: Duration = Duration::from_secs(60);

/// What shall go wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Fault {
    #[default]
    None,
    FailBefore,
    Slow(Duration),
    Error500,
    CrashAfterEffect,
    LoseResponse,
}

impl Fault {
    fn parse(text: &str) -> Option<Self> {
        if let Some(ms) = text.strip_prefix("slow=") {
            let pause = Duration::from_millis(ms.parse().ok()?);
            return Some(Self::Slow(pause.min(SLOW_MAX)));
        }
        match text {
            "fail-before" => Some(Self::FailBefore),
            "error-500" => Some(Self::Error500),
            "crash-after-effect" => Some(Self::CrashAfterEffect),
            "lose-response" => Some(Self::LoseResponse),
            _ => None,
        }
    }

    pub(crate) async fn pause(self) {
        if let Self::Slow(pause) = self {
            tokio::time::sleep(pause).await;
        }
    }

    pub(crate) fn fails_before_the_effect(self) -> bool {
        self == Self::Error500
    }

    /// Ends the process as a power cut would: nothing is closed, nobody is told.
    pub(crate) fn crash_if_asked(self) {
        if self == Self::CrashAfterEffect {
            std::process::abort();
        }
    }

    /// The same, if the response tells of an effect of this request. A replay has none.
    pub(crate) fn crash_behind(self, response: &Response) {
        let is_replay = response.headers().contains_key(IDEMPOTENCY_REPLAYED);
        if response.status().is_success() && !is_replay {
            self.crash_if_asked();
        }
    }
}

/// A handler finds its fault in the extensions; without `--faults` there is none.
impl<S: Sync> FromRequestParts<S> for Fault {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get::<Self>().copied().unwrap_or_default())
    }
}

/// Outside of the routes: reads the header, and loses what is to be lost.
pub(crate) async fn obey(State(app): State<App>, mut request: Request, next: Next) -> Response {
    if !app.obeys_faults {
        return next.run(request).await;
    }
    let asked = request.headers().get("demo-fault");
    let fault = match asked.map(|value| Fault::parse(value.to_str().unwrap_or_default())) {
        None => Fault::None,
        Some(Some(fault)) => fault,
        Some(None) => return problem(400, "invalid-fault", "no fault has that name"),
    };
    if fault == Fault::FailBefore {
        close();
    }
    request.extensions_mut().insert(fault);
    // On a task of its own: a bank goes on when its client has gone.
    let response = match tokio::spawn(next.run(request)).await {
        Ok(response) => response,
        Err(ended) => resume_unwind(ended.into_panic()),
    };
    if fault == Fault::LoseResponse {
        close();
    }
    response
}

/// Outside of everything: no connection is kept, because Chromium sends a POST again by itself
/// when a kept connection drops.
pub(crate) async fn keep_none(State(app): State<App>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if app.obeys_faults {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}

/// Unwinds the task of the connection, which drops it without a word.
fn close() -> ! {
    resume_unwind(Box::new("the connection is closed, as the demo asks for"))
}
