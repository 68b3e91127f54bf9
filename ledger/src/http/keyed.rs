//! A request with its key, for a handler that answers in a transaction.

use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::Response;

use super::answer::HttpAnswer;
use super::layer::Rules;
use super::policy::Disposition;
use super::problem::Problem;
use crate::decision::Key;
use crate::error::Error;
use crate::ledger::Ledger;
use crate::operation::request::Request;
use crate::operation::run::{Outcome, RunError};
use crate::operation::write_txn::WriteTxn;

/// A request with its key, in the extensions of the requests of a
/// [transactional](super::IdempotencyLayer::transactional) layer.
#[derive(Clone)]
pub struct Keyed {
    pub(super) rules: Arc<Rules>,
    /// `None` where the key is optional and was not sent.
    pub(super) request: Option<Request>,
    /// Whether the handler has asked for a transaction. The layer looks at it afterwards.
    pub(super) is_asked: Arc<AtomicBool>,
}

/// Why a transaction gave no answer to send.
///
/// ```
/// use idempotency_ledger::http::TransactError;
///
/// let failed: TransactError<&str> = TransactError::Handler("no such account");
/// assert_eq!(failed.to_string(), "no such account");
/// ```
#[derive(Debug)]
pub enum TransactError<E> {
    /// The closure's own error. Everything is rolled back, and the key is free.
    Handler(E),
    /// The ledger refused or failed: send this.
    Problem(Problem),
}

impl<E: fmt::Display> fmt::Display for TransactError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handler(error) => fmt::Display::fmt(error, f),
            Self::Problem(problem) => fmt::Display::fmt(problem, f),
        }
    }
}

/// Whatever the closure fails with, as for [`RunError`](crate::RunError).
impl<E: fmt::Debug + fmt::Display> std::error::Error for TransactError<E> {}

impl Keyed {
    /// The key, where one was sent.
    #[must_use]
    pub fn key(&self) -> Option<&Key> {
        self.request.as_ref().map(Request::key)
    }

    /// Runs the closure in a write transaction and stores its answer in the same commit; a retry
    /// gets the stored answer. It runs on the thread that commits, so it should be short and do no
    /// input and output of its own. Without a key it simply runs.
    ///
    /// An answer that [`HttpPolicy::dispositions`](super::HttpPolicy::dispositions) do not store
    /// (by default 401, 408, 409, 425, 429 and 5xx) rolls everything back, frees the key, and is
    /// sent.
    ///
    /// # Errors
    ///
    /// [`TransactError`].
    ///
    /// # Panics
    ///
    /// When the closure does; everything is rolled back.
    pub async fn transact<E: Send + 'static>(
        self,
        work: impl FnOnce(&WriteTxn<'_>) -> Result<HttpAnswer, E> + Send + 'static,
    ) -> Result<Response<Bytes>, TransactError<E>> {
        self.is_asked.store(true, Ordering::Relaxed);
        let rules = Arc::clone(&self.rules);
        let work = move |txn: &WriteTxn<'_>| {
            let answer = work(txn).map_err(Stopped::Handler)?;
            match rules.disposition(answer.status()) {
                Disposition::Store => Ok(answer),
                Disposition::Release | Disposition::Interrupt => {
                    Err(Stopped::Unstored(answer.into()))
                }
            }
        };
        let done = match self.request {
            Some(request) => transact_keyed(request, Arc::clone(&self.rules), work).await,
            None => transact_plainly(&self.rules.ledger, work).await,
        };
        match done {
            Ok(response) => Ok(response),
            // Rolled back, so it certainly did not happen.
            Err(TransactError::Handler(Stopped::Unstored(answer))) => Ok(answer.into_response()),
            Err(TransactError::Handler(Stopped::Handler(error))) => {
                Err(TransactError::Handler(error))
            }
            Err(TransactError::Problem(problem)) => {
                Err(TransactError::Problem(self.rules.in_form(problem)))
            }
        }
    }
}

/// Why a transaction is rolled back.
enum Stopped<E> {
    Handler(E),
    /// What it answered says that it did not happen.
    Unstored(Box<HttpAnswer>),
}

async fn transact_keyed<E: Send + 'static>(
    request: Request,
    rules: Arc<Rules>,
    work: impl FnOnce(&WriteTxn<'_>) -> Result<HttpAnswer, E> + Send + 'static,
) -> Result<Response<Bytes>, TransactError<E>> {
    let done: Result<Outcome<_>, RunError<E>> = request
        .transact_bytes_async(move |_, txn| Ok(work(txn)?.stored(&rules.policy.stored_headers)))
        .await;
    match done {
        // Both are what is stored, so that a retry gets the same to the last header.
        Ok(outcome) => {
            let is_replay = outcome.is_replay();
            let answer = HttpAnswer::of_stored(outcome.get());
            let answer = answer.map_err(|why| TransactError::Problem(unreadable_problem(&why)))?;
            Ok(if is_replay {
                answer.into_replay()
            } else {
                answer.into_response()
            })
        }
        Err(RunError::Operation(error)) => Err(TransactError::Handler(error)),
        Err(RunError::Refused(refusal)) => {
            Err(TransactError::Problem(Problem::of_refusal(&refusal)))
        }
        Err(RunError::Interrupted(_)) => Err(TransactError::Problem(Problem::interrupted())),
        Err(RunError::Ledger(error)) => Err(TransactError::Problem(Problem::of_error(&error))),
        Err(RunError::Complete(_) | RunError::Undecodable(_)) => {
            unreachable!("bytes are stored with the commit, and are not decoded")
        }
    }
}

async fn transact_plainly<E: Send + 'static>(
    ledger: &Ledger,
    work: impl FnOnce(&WriteTxn<'_>) -> Result<HttpAnswer, E> + Send + 'static,
) -> Result<Response<Bytes>, TransactError<E>> {
    let alone = ledger.engine.run_alone_async(move |engine| {
        let txn = WriteTxn::begin(engine).map_err(Failed::Ledger)?;
        let (txn, answer) = txn.run_own_code(work);
        let answer = answer.map_err(Failed::Handler)?;
        let _ = txn.commit().map_err(Failed::Ledger)?;
        Ok(answer)
    });
    let of_error = |error: &Error| TransactError::Problem(Problem::of_error(error));
    let done = alone.map_err(|error| of_error(&error))?.await;
    match done.unwrap_or_else(|panic| resume_unwind(panic)) {
        Ok(answer) => Ok(answer.into_response()),
        Err(Failed::Handler(error)) => Err(TransactError::Handler(error)),
        Err(Failed::Ledger(error)) => Err(of_error(&error)),
    }
}

enum Failed<E> {
    Handler(E),
    Ledger(Error),
}

/// What is stored under the key is no HTTP answer: somebody else uses the namespace.
pub(super) fn unreadable_problem(why: &str) -> Problem {
    let detail = format!("the stored answer cannot be sent: {why}");
    Problem::new(super::problem::ProblemCode::Storage, detail)
}

impl fmt::Debug for Keyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = if self.request.is_some() {
            "a key"
        } else {
            "no key"
        };
        f.debug_tuple("Keyed").field(&key).finish()
    }
}
