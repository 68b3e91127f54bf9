//! An operation of several steps: after a crash it goes on behind the last one that is done.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::decision::Response;
use crate::decision::{Checkpoint, Fence, Key, Timestamp};
use crate::error::{Error, Invalid, source_of_own};
use crate::operation::claim::Claim;
use crate::operation::refusal::EndingError;
use crate::operation::request::{Begin, Request};
use crate::operation::run::{Outcome, RunError, complete_with, replayed};
use crate::operation::ticket::{Ticket, TicketError};
use crate::operation::typed::{StoredValue, ValueFormat, encode_checked, from_response};
use crate::operation::write_txn::WriteTxn;
use crate::store::codec;

/// Says that a checkpoint is this runner's, and in which form.
const JOURNAL: &str = "idempotency-ledger/steps/2";
/// The form before, in which every value lies in bincode.
const JOURNAL_1: &str = "idempotency-ledger/steps/1";
/// The name of the checkpoint that a claim starts with: no step is done.
const START: &str = "start";
/// How often a caller that finds an interrupted operation lets somebody else be faster.
const RESUME_TRIES: u32 = 16;

impl Request {
    /// Runs an operation of several named steps. The value of each step is stored with it, so
    /// after a crash the next call goes on behind the last step that is done; steps before it
    /// return their stored values and do not run.
    ///
    /// - [`Steps::inside`]: the step's effect is in this file, and is one commit with its value.
    ///   It happens once.
    /// - [`Steps::outside`]: the effect is elsewhere. The step gets a child key, the same in each
    ///   attempt, and has to hand it on: a crash behind the effect and before its commit runs the
    ///   step again, and the other side deduplicates.
    ///
    /// So an interrupted operation that was begun by this call is resumed without asking, unless
    /// its holder still lives. One that was begun otherwise is not: it is
    /// [`RunError::Interrupted`].
    ///
    /// The values of all steps together may have the response limit of the namespace. An operation
    /// that was begun by this call is not released by a ticket, also where no step is done yet: it
    /// goes on, or is completed, or resolved by hand.
    ///
    /// The steps have to come in the same order in each attempt, so what decides about them has to
    /// be stored as well: a definite failure, a choice, a time or a random number is the value of
    /// a step.
    ///
    /// ```
    /// # use idempotency_ledger::*;
    /// # const ORDERS: Namespace = Namespace::new("orders");
    /// # let ledger = Ledger::in_memory()?;
    /// # let key = Key::new("order-17")?;
    /// # let asked = Fingerprint::of(["order", "tea"]);
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Text(String);
    /// # impl StoredValue for Text { const SCHEMA: &str = "text/1"; }
    /// let charged = std::cell::Cell::new(0);
    /// let order = |mail: Result<(), &'static str>| {
    ///     ledger.operation(ORDERS, &key, asked).run_steps(|steps| {
    ///         let charge = steps.outside("charge", |child_key| {
    ///             charged.set(charged.get() + 1); // POST with Idempotency-Key: child_key
    ///             Ok(Text(format!("charge {child_key}")))
    ///         })?;
    ///         steps.outside("mail", |_child_key| mail.map(|()| Text("sent".into())))?;
    ///         Ok(charge)
    ///     })
    /// };
    /// assert!(order(Err("no mail server")).is_err());
    /// assert!(order(Ok(())).is_ok());
    /// assert_eq!(charged.get(), 1, "the second call went on behind the charge");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`RunError`]; what a step failed with is [`RunError::Operation`] with a [`StepError`].
    ///
    /// # Blocking
    ///
    /// For a commit at the begin, one for each step and one at the end, and as long as the steps
    /// run. Each step has the whole lease.
    pub fn run_steps<T: StoredValue, E>(
        self,
        operation: impl FnOnce(&mut Steps) -> Result<T, StepError<E>>,
    ) -> Result<Outcome<T>, RunError<StepError<E>, T>> {
        let begun = self.starting_at(checkpoint_of(START, &[])?).begin_steps()?;
        let claim = match begun {
            Begin::Fresh(claim) => claim,
            Begin::Replay(replay) => return replayed(replay),
            Begin::Interrupted(ticket) => return Err(RunError::Interrupted(ticket)),
            Begin::Refused(refusal) => return Err(RunError::Refused(refusal)),
        };
        let journal = match claim.last_checkpoint() {
            None => Vec::new(),
            Some(reached) => journal_of(&reached).map_err(RunError::Operation)?,
        };
        let mut steps = Steps {
            claim,
            journal,
            next: 0,
            begun: None,
            unknown: None,
        };
        let value = operation(&mut steps).map_err(RunError::Operation)?;
        steps.check_order("").map_err(RunError::Operation)?;
        complete_with(steps.claim, value)
    }

    /// Begins, and takes an interrupted operation over if it is one of steps. All tries together
    /// have the caller's patience.
    fn begin_steps(&self) -> Result<Begin, Error> {
        let clock = &self.engine.holder.clock;
        let begun = clock.elapsed();
        let again = || {
            let passed = clock.elapsed().saturating_sub(begun);
            let mut request = self.clone();
            request.wait = self.wait.map(|span| span.saturating_sub(passed));
            request
        };
        for _ in 0..RESUME_TRIES {
            let ticket = match again().begin()? {
                Begin::Interrupted(ticket) if is_resumable(&ticket) => ticket,
                other => return Ok(other),
            };
            match ticket.rerun() {
                Ok(claim) => return Ok(Begin::Fresh(claim)),
                // Somebody else was faster: they are in progress now, or done.
                Err(TicketError {
                    error: EndingError::Superseded,
                    ..
                }) => {}
                Err(TicketError {
                    error: EndingError::Ledger(error),
                    ..
                }) => return Err(error),
                Err(TicketError { ticket, .. }) => return Ok(Begin::Interrupted(ticket)),
            }
        }
        again().begin()
    }
}

/// Whether the operation was begun by [`Request::run_steps`], and nobody is at it any more.
fn is_resumable(ticket: &Ticket) -> bool {
    let is_steps = ticket
        .checkpoint()
        .is_some_and(|reached| journal_of::<()>(reached).is_ok());
    is_steps && !ticket.is_overdue() && !ticket.is_running()
}

/// The steps of one operation, as its closure sees them; see [`Request::run_steps`].
///
/// ```
/// # use idempotency_ledger::*;
/// # const ORDERS: Namespace = Namespace::new("orders");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["order", "tea"]);
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Count(u64);
/// # impl StoredValue for Count { const SCHEMA: &str = "count/1"; }
/// use idempotency_ledger::redb::{ReadableTable, TableDefinition};
///
/// const STOCK: TableDefinition<&str, u64> = TableDefinition::new("stock");
/// let outcome = ledger.operation(ORDERS, &key, asked).run_steps(|steps| {
///     assert!(!steps.is_resumed());
///     steps.inside("reserve", |txn| -> Result<_, redb::Error> {
///         let mut stock = txn.open_table(STOCK)?;
///         let left = stock.get("tea")?.map_or(10, |left| left.value()) - 1;
///         stock.insert("tea", left)?;
///         Ok(Count(left))
///     })
/// });
/// assert_eq!(outcome.map_err(|error| error.to_string())?.into_inner().0, 9);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Steps {
    claim: Claim,
    /// What is done, also by attempts before this one.
    journal: Vec<Done>,
    /// How many of these this attempt has passed.
    next: usize,
    /// The step that was begun and is not done; nothing but itself may follow it.
    begun: Option<String>,
    /// Why nobody knows whether the last step is stored. Nothing may follow that.
    unknown: Option<Error>,
}

/// A step that is done, with its value.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Done {
    name: String,
    schema: String,
    format: ValueFormat,
    bytes: Vec<u8>,
}

/// The same as the form before has it.
#[derive(Serialize, Deserialize)]
struct Done1 {
    name: String,
    schema: String,
    bytes: Vec<u8>,
}

impl From<Done1> for Done {
    fn from(done: Done1) -> Self {
        Self {
            name: done.name,
            schema: done.schema,
            format: ValueFormat::Bincode,
            bytes: done.bytes,
        }
    }
}

impl Steps {
    /// Does a step whose effect is outside of this file. The key is for the other side: it is the
    /// same in each attempt of the operation, and another one for each step.
    ///
    /// # Errors
    ///
    /// [`StepError`].
    ///
    /// # Blocking
    ///
    /// As long as the step runs, and until the commit of its value is on disk.
    pub fn outside<T: StoredValue, E>(
        &mut self,
        name: &str,
        step: impl FnOnce(&Key) -> Result<T, E>,
    ) -> Result<T, StepError<E>> {
        if let Some(value) = self.pass(name)? {
            return Ok(value);
        }
        let child_key = self.claim.child_key(name);
        let value = step(&child_key).map_err(StepError::Failed)?;
        self.keep(name, value, Claim::advance)
    }

    /// Does a step whose effect is in this file: what it writes and its value are one commit. An
    /// `Err` and a panic roll it back.
    ///
    /// # Errors
    ///
    /// [`StepError`].
    ///
    /// # Blocking
    ///
    /// Holds the writer while the step runs, and until its commit is on disk.
    pub fn inside<T: StoredValue, E>(
        &mut self,
        name: &str,
        step: impl FnOnce(&WriteTxn<'_>) -> Result<T, E>,
    ) -> Result<T, StepError<E>> {
        if let Some(value) = self.pass(name)? {
            return Ok(value);
        }
        let engine = Arc::clone(self.claim.engine());
        let txn = WriteTxn::begin(&engine).map_err(StepError::of_ledger)?;
        let (txn, result) = txn.run_own_code(step);
        let value = result.map_err(StepError::Failed)?;
        self.keep(name, value, |claim, reached| claim.advance_in(txn, reached))
    }

    /// Whether an attempt before this one was interrupted.
    pub const fn is_resumed(&self) -> bool {
        self.claim.attempt() > 1
    }

    /// The key of the operation.
    pub fn key(&self) -> &Key {
        self.claim.key()
    }

    /// The fencing token.
    pub const fn fence(&self) -> Fence {
        self.claim.fence()
    }

    /// When the lease of the current step ends, in the ledger's time.
    pub fn deadline(&self) -> Timestamp {
        self.claim.lease_until()
    }

    /// The stored value of a step that an earlier attempt has done.
    fn pass<T: StoredValue, E>(&mut self, name: &str) -> Result<Option<T>, StepError<E>> {
        let _ = Key::new(name)
            .map_err(|error| StepError::of_ledger(Error::Invalid(Invalid::Step(error))))?;
        self.check_order(name)?;
        let Some(done) = self.journal.get(self.next) else {
            // Until it is done: also where it panics, or nobody gets the writer.
            self.begun = Some(name.to_owned());
            return Ok(None);
        };
        let (schema, bytes) = (done.schema.as_str(), done.bytes.as_slice());
        let stored = match done.format {
            ValueFormat::Json => Response::json(schema, bytes),
            ValueFormat::Bincode => Response::typed(schema, bytes),
        };
        let value = from_response(&stored).map_err(|reason| StepError::Undecodable {
            step: name.to_owned(),
            expected: T::SCHEMA,
            reason,
        })?;
        self.next += 1;
        Ok(Some(value))
    }

    /// Refuses a step that does not come where it came in an earlier attempt. The end of the
    /// operation has no name.
    fn check_order<E>(&self, name: &str) -> Result<(), StepError<E>> {
        if let Some(error) = &self.unknown {
            return Err(StepError::of_ledger(error.clone()));
        }
        let expected = match (&self.begun, self.journal.get(self.next)) {
            (Some(begun), _) => begun.as_str(),
            (None, Some(done)) => done.name.as_str(),
            (None, None) => name,
        };
        let is_done =
            !name.is_empty() && self.journal[..self.next].iter().any(|it| it.name == name);
        if expected == name && !is_done {
            return Ok(());
        }
        Err(StepError::OutOfOrder {
            expected: expected.to_owned(),
            found: name.to_owned(),
        })
    }

    /// Stores the value of a step. It counts as done once that is on disk.
    fn keep<T: StoredValue, E>(
        &mut self,
        name: &str,
        value: T,
        store: impl FnOnce(&Claim, Checkpoint) -> Result<(), EndingError>,
    ) -> Result<T, StepError<E>> {
        let (format, bytes) = encode_checked(&value).map_err(|reason| {
            let schema = T::SCHEMA;
            StepError::of_ledger(Error::Invalid(Invalid::Value { schema, reason }))
        })?;
        self.journal.push(Done {
            name: name.to_owned(),
            schema: T::SCHEMA.to_owned(),
            format,
            bytes,
        });
        let stored = checkpoint_of(name, &self.journal)
            .map_err(EndingError::from)
            .and_then(|reached| store(&self.claim, reached));
        match stored {
            Ok(()) => {
                self.next += 1;
                self.begun = None;
                Ok(value)
            }
            Err(error) => {
                self.journal.truncate(self.next);
                if let EndingError::Ledger(unknown @ Error::CommitUnknown(_)) = &error {
                    self.unknown = Some(unknown.clone());
                }
                Err(StepError::Ending(error))
            }
        }
    }
}

fn checkpoint_of(name: &str, journal: &[Done]) -> Result<Checkpoint, Error> {
    let bytes = codec::encode_typed(&(JOURNAL, journal)).map_err(|reason| {
        let schema = JOURNAL;
        Error::Invalid(Invalid::Value { schema, reason })
    })?;
    let name = name.to_owned();
    Ok(Checkpoint { name, bytes })
}

fn journal_of<E>(reached: &Checkpoint) -> Result<Vec<Done>, StepError<E>> {
    let refused = |reason| StepError::Undecodable {
        step: reached.name.clone(),
        expected: JOURNAL,
        reason,
    };
    // The form comes first, and says how the rest is read.
    match codec::decode_typed::<(String, Vec<Done>)>(&reached.bytes) {
        Ok((form, journal)) if form == JOURNAL => return Ok(journal),
        Ok(_) | Err(_) => {}
    }
    let (form, journal): (String, Vec<Done1>) =
        codec::decode_typed(&reached.bytes).map_err(refused)?;
    if form == JOURNAL_1 {
        return Ok(journal.into_iter().map(Done::from).collect());
    }
    Err(refused(format!("it is of the form {form:?}")))
}

/// Why a step did not come to its end. The steps before it are done, and stay so.
///
/// ```
/// # use idempotency_ledger::*;
/// # const ORDERS: Namespace = Namespace::new("orders");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["order", "tea"]);
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Text(String);
/// # impl StoredValue for Text { const SCHEMA: &str = "text/1"; }
/// let run = |name: &str| {
///     ledger.operation(ORDERS, &key, asked).run_steps(|steps| {
///         steps.outside(name, |_| Ok(Text("done".into())))?;
///         Err::<Text, _>(StepError::Failed("the power went"))
///     })
/// };
/// assert!(matches!(run("charge"), Err(RunError::Operation(StepError::Failed(_)))));
/// // A newer version of the program has renamed the step: nothing runs.
/// let Err(RunError::Operation(StepError::OutOfOrder { expected, found })) = run("pay") else {
///     panic!("the stored steps are others");
/// };
/// assert_eq!((expected.as_str(), found.as_str()), ("charge", "pay"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub enum StepError<E> {
    /// The step's own error. Inside it changed nothing; outside nobody knows. The next call tries
    /// the step again, under the same child key.
    Failed(E),
    /// The program asks for another step than the one that has its turn: its steps differ from
    /// those of the attempt before, a step failed and another one follows, or one comes twice.
    /// Nothing was run. An empty name is the end of the operation.
    OutOfOrder {
        /// The step whose turn it is.
        expected: String,
        /// The step that was asked for.
        found: String,
    },
    /// The stored value of a step is not what the program reads. Nothing was run.
    Undecodable {
        /// The step.
        step: String,
        /// The schema that was asked for.
        expected: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The value of the step could not be stored. The step may be tried again, unless this is
    /// [`Error::CommitUnknown`]: then it may be stored after all, nothing more runs in this
    /// attempt, and the next call finds out.
    Ending(EndingError),
}

impl<E> StepError<E> {
    fn of_ledger(error: Error) -> Self {
        Self::Ending(EndingError::Ledger(error))
    }
}

impl<E: fmt::Display> fmt::Display for StepError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // In full: of anyhow's errors that is the whole chain.
            Self::Failed(error) => write!(f, "{error:#}"),
            Self::OutOfOrder { expected, found } => write!(
                f,
                "the next step is {expected:?}, and the program asks for {found:?}; nothing was \
                 run; let the program that began the operation end it"
            ),
            Self::Undecodable {
                step,
                expected,
                reason,
            } => write!(
                f,
                "what is stored for the step {step:?} cannot be read as {expected:?}: {reason}; \
                 nothing was run"
            ),
            Self::Ending(error) => write!(f, "the step's value was not stored: {error}"),
        }
    }
}

/// As for [`RunError`]: whatever a step fails with.
impl<E: fmt::Debug + fmt::Display + 'static> std::error::Error for StepError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed(error) => source_of_own(error),
            Self::Ending(error) => error.source(),
            Self::OutOfOrder { .. } | Self::Undecodable { .. } => None,
        }
    }
}
