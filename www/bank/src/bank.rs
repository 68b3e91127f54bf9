//! The bank: one ledger in memory, and the requests that are under way.

use std::collections::{BTreeMap, VecDeque};

use idempotency_ledger::{
    Begin, Claim, Clock, Error, Ledger, Namespace, Refusal, Response, RunError,
};

use crate::accounts::{self, Transferred, Unwritten};
use crate::answer::{Answer, Problem};
use crate::fault::Fault;
use crate::image::MemoryImage;
use crate::request::{ChargeAsked, Request, TransferAsked};
use crate::step::{Step, Turn};

const TRANSFERS: Namespace = Namespace::new("transfers");
const CHARGES: Namespace = Namespace::new("charges");

/// More requests at once are refused; a page sends a few.
const OPEN_MAX: usize = 256;

/// A bank whose file lies in memory.
#[derive(Debug)]
pub struct Bank {
    ledger: Ledger,
    image: MemoryImage,
    open: BTreeMap<u32, Stage>,
    last: u32,
}

/// How far a request has come.
#[derive(Debug)]
enum Stage {
    /// Time passes before the transfer.
    Transfer(Request, TransferAsked, Fault),
    /// The claim is durable once its image is written.
    Claimed(Charging, Fault),
    /// Time has passed, or none had to: the network is next.
    Ready(Charging, Fault),
    /// The network has charged.
    Charged(Charging, Fault),
    /// Everything is decided.
    Rest(VecDeque<Step>),
}

/// A charge under its claim.
#[derive(Debug)]
struct Charging {
    claim: Claim,
    asked: ChargeAsked,
    principal: String,
}

impl Bank {
    /// Opens a bank on an image, or a new one where there is none.
    ///
    /// # Errors
    ///
    /// What the ledger says to the image.
    pub fn open(image: Option<Vec<u8>>, clock: impl Clock + 'static) -> Result<Self, Unwritten> {
        let image = MemoryImage::of(image.unwrap_or_default());
        let builder = Ledger::builder().clock(clock);
        let ledger = builder.open_backend(image.clone())?;
        accounts::open(&ledger)?;
        Ok(Self {
            ledger,
            image,
            open: BTreeMap::new(),
            last: 0,
        })
    }

    /// The bytes to keep.
    pub fn image(&self) -> Vec<u8> {
        self.image.bytes()
    }

    /// Takes a request in.
    pub fn start(&mut self, request: Request) -> Turn {
        self.last = self.last.wrapping_add(1);
        let number = self.last;
        let fault = Fault::of(request.fault.as_deref());
        let step = if self.open.len() >= OPEN_MAX {
            Step::answer(Problem::Quota.answer("Too many requests are under way."))
        } else if fault == Fault::FailBefore {
            Step::Silence
        } else {
            self.first(number, request, fault)
        };
        Turn { number, step }
    }

    /// Goes on with a request whose last step was done.
    pub fn go_on(&mut self, number: u32) -> Turn {
        let step = match self.open.remove(&number) {
            None => Step::Silence,
            Some(Stage::Transfer(request, asked, fault)) => {
                let steps = self.transfer(&request, &asked, fault);
                self.walk(number, steps)
            }
            Some(Stage::Claimed(charging, fault)) => self.before_charge(number, charging, fault),
            Some(Stage::Ready(charging, fault)) => {
                let step = Step::Charge {
                    principal: charging.principal.clone(),
                    key: charging.claim.key().to_string(),
                    amount: charging.asked.amount,
                };
                self.open.insert(number, Stage::Charged(charging, fault));
                step
            }
            Some(Stage::Charged(charging, fault)) => {
                let steps = self.complete(charging, fault);
                self.walk(number, steps)
            }
            Some(Stage::Rest(steps)) => self.walk(number, steps),
        };
        Turn { number, step }
    }

    fn first(&mut self, number: u32, request: Request, fault: Fault) -> Step {
        let done = match (&*request.method, &*request.path) {
            ("GET", "api/health") => {
                let health = serde_json::json!({"status": "ok", "bank": "service-worker"});
                Answer::json(200, &health)
            }
            ("GET", "api/accounts") => listed(accounts::accounts(&self.ledger)),
            ("GET", "api/transfers") => {
                listed(accounts::transfers(&self.ledger, request.principal()))
            }
            ("GET", "api/charges") => listed(accounts::charges(&self.ledger, request.principal())),
            ("POST", "api/transfers") => return self.first_of_transfer(number, request, fault),
            ("POST", "api/charges") => return self.first_of_charge(number, &request, fault),
            _ => Problem::NotFound.answer("The bank has no such route."),
        };
        Step::answer(done)
    }

    fn first_of_transfer(&mut self, number: u32, request: Request, fault: Fault) -> Step {
        let asked = match request.key().and_then(|_| request.transfer()) {
            Ok(asked) => asked,
            Err(answer) => return Step::answer(answer),
        };
        if let Fault::Slow(milliseconds) = fault {
            let stage = Stage::Transfer(request, asked, Fault::None);
            self.open.insert(number, stage);
            return Step::Pause { milliseconds };
        }
        let steps = self.transfer(&request, &asked, fault);
        self.walk(number, steps)
    }

    /// The next of these steps; the others wait.
    fn walk(&mut self, number: u32, mut steps: VecDeque<Step>) -> Step {
        let step = steps.pop_front().unwrap_or(Step::Silence);
        if !steps.is_empty() {
            self.open.insert(number, Stage::Rest(steps));
        }
        step
    }

    /// Money, receipt and record in one commit; without a key it simply runs.
    fn transfer(&self, request: &Request, asked: &TransferAsked, fault: Fault) -> VecDeque<Step> {
        let (answer, replayed) = match request.key() {
            Err(answer) => (answer, true),
            Ok(None) => (self.unguarded(request, asked, fault), false),
            Ok(Some(key)) => {
                let fingerprint = request.fingerprint();
                let operation = self.ledger.operation(TRANSFERS, &key, fingerprint);
                let operation = operation.scope(request.principal());
                let outcome = operation
                    .transact(|_, txn| self.moved(txn, request, asked, Some(key.as_str()), fault));
                match outcome {
                    Ok(outcome) => {
                        let replayed = outcome.is_replay();
                        let answer = outcome.into_inner();
                        return ending(Step::Answer { answer, replayed }, replayed, fault);
                    }
                    Err(error) => (refused_run(error), true),
                }
            }
        };
        ending(Step::answer(answer), replayed, fault)
    }

    fn unguarded(&self, request: &Request, asked: &TransferAsked, fault: Fault) -> Answer {
        let moved = || -> Result<Answer, Failed> {
            let txn = self.ledger.write().map_err(Unwritten::from)?;
            let answer = self.moved(&txn, request, asked, None, fault)?;
            let _ = txn.commit().map_err(Unwritten::from)?;
            Ok(answer)
        };
        moved().unwrap_or_else(Failed::answer)
    }

    fn moved(
        &self,
        txn: &idempotency_ledger::WriteTxn<'_>,
        request: &Request,
        asked: &TransferAsked,
        key: Option<&str>,
        fault: Fault,
    ) -> Result<Answer, Failed> {
        if fault == Fault::Error500 {
            return Err(Failed::AskedFor);
        }
        let principal = request.principal();
        let moved = accounts::transfer(&self.ledger, txn, asked, principal, key);
        match moved? {
            Transferred::Done(receipt) => Ok(Answer::json(201, &receipt)),
            Transferred::Unknown(id) => Err(Failed::Unknown(id)),
            // Like a declined card: something that happened, and so what every retry gets.
            Transferred::InsufficientFunds(balance) => {
                let detail = format!("The account {} has {balance} cents.", asked.from);
                Ok(Problem::InsufficientFunds.answer(&detail))
            }
        }
    }

    fn first_of_charge(&mut self, number: u32, request: &Request, fault: Fault) -> Step {
        let (key, asked) = match (request.key(), request.charge()) {
            (Ok(Some(key)), Ok(asked)) => (key, asked),
            (Ok(None), _) => {
                let detail = "A charge is guarded: send the header Idempotency-Key.";
                return Step::answer(Problem::MissingKey.answer(detail));
            }
            (Err(answer), _) | (_, Err(answer)) => return Step::answer(answer),
        };
        let principal = request.principal().to_owned();
        let operation = self.ledger.operation(CHARGES, &key, request.fingerprint());
        let steps = match operation.scope(&principal).begin() {
            Ok(Begin::Fresh(claim)) => {
                let charging = Charging {
                    claim,
                    asked,
                    principal,
                };
                self.open.insert(number, Stage::Claimed(charging, fault));
                return Step::Save;
            }
            Ok(Begin::Replay(replay)) => {
                let answer = replay.response().value::<Answer>();
                let answer = answer.unwrap_or_else(|error| storage(&error));
                let replayed = true;
                ending(Step::Answer { answer, replayed }, replayed, fault)
            }
            Ok(Begin::Interrupted(_)) => [Step::answer(interrupted())].into(),
            Ok(Begin::Refused(refusal)) => [Step::answer(refused(&refusal))].into(),
            Err(error) => [Step::answer(storage(&error))].into(),
        };
        self.walk(number, steps)
    }

    /// The claim is durable; what is asked to go wrong before the effect does so now.
    fn before_charge(&mut self, number: u32, charging: Charging, fault: Fault) -> Step {
        match fault {
            Fault::Slow(milliseconds) => {
                self.open
                    .insert(number, Stage::Ready(charging, Fault::None));
                Step::Pause { milliseconds }
            }
            Fault::Error500 => {
                let steps = match charging.claim.release() {
                    Ok(()) => VecDeque::from([Step::Save, Step::answer(asked_for())]),
                    Err(refused) => [Step::answer(storage(&refused.error))].into(),
                };
                self.walk(number, steps)
            }
            _ => {
                self.open.insert(number, Stage::Ready(charging, fault));
                self.go_on(number).step
            }
        }
    }

    /// The charge, its row and its answer in one commit.
    fn complete(&self, charging: Charging, fault: Fault) -> VecDeque<Step> {
        if fault == Fault::CrashAfterEffect {
            return [Step::Die].into();
        }
        match self.completed(charging) {
            Ok(answer) => ending(Step::answer(answer), false, fault),
            Err(error) => [Step::answer(storage(&error.0))].into(),
        }
    }

    fn completed(&self, charging: Charging) -> Result<Answer, Unwritten> {
        let Charging {
            claim,
            asked,
            principal,
        } = charging;
        let txn = self.ledger.write()?;
        let charge = accounts::note_charge(&txn, &asked, &principal)?;
        let answer = Answer::json(201, &charge);
        let stored = Response::of_value(&answer)?;
        claim
            .complete_in(&txn, stored)
            .map_err(|refused| refused.error)?;
        let _ = txn.commit()?;
        Ok(answer)
    }
}

/// Why a transfer was rolled back.
#[derive(Debug)]
enum Failed {
    AskedFor,
    Unknown(String),
    Unwritten(Unwritten),
}

impl From<Unwritten> for Failed {
    fn from(error: Unwritten) -> Self {
        Self::Unwritten(error)
    }
}

impl Failed {
    fn answer(self) -> Answer {
        match self {
            Self::AskedFor => asked_for(),
            Self::Unknown(id) => Problem::NotFound.answer(&format!("There is no account {id}.")),
            Self::Unwritten(error) => storage(&error.0),
        }
    }
}

/// The steps behind a commit. What was replayed wrote nothing, and has no effect to die after.
fn ending(answer: Step, replayed: bool, fault: Fault) -> VecDeque<Step> {
    let mut steps = VecDeque::new();
    if !replayed {
        if let Fault::HoldBeforeWrite(milliseconds) = fault {
            steps.push_back(Step::Hold { milliseconds });
        }
        steps.push_back(Step::Save);
        if let Fault::HoldAfterWrite(milliseconds) = fault {
            steps.push_back(Step::Hold { milliseconds });
        }
    }
    steps.push_back(match fault {
        Fault::CrashAfterEffect if !replayed => Step::Die,
        Fault::LoseResponse => Step::Silence,
        _ => answer,
    });
    steps
}

fn listed(rows: Result<serde_json::Value, Unwritten>) -> Answer {
    match rows {
        Ok(rows) => Answer::json(200, &rows),
        Err(error) => storage(&error.0),
    }
}

fn refused_run(error: RunError<Failed, Answer>) -> Answer {
    match error {
        RunError::Refused(refusal) => refused(&refusal),
        RunError::Interrupted(_) => interrupted(),
        RunError::Operation(failed) => failed.answer(),
        RunError::Complete(unstored) => storage(&unstored.error),
        RunError::Undecodable(_) => storage(&"the stored answer is of another version"),
        RunError::Ledger(error) => storage(&error),
        _ => storage(&"the ledger says something that this bank does not know"),
    }
}

fn refused(refusal: &Refusal) -> Answer {
    let detail = refusal.to_string();
    match refusal {
        Refusal::InProgress { retry_after } => {
            let seconds = retry_after.as_millis().div_ceil(1_000);
            let seconds = u64::try_from(seconds).unwrap_or(u64::MAX).max(1);
            Problem::InProgress.answer(&detail).retry_after(seconds)
        }
        Refusal::Mismatch => Problem::Mismatch.answer(&detail),
        Refusal::Stale { .. } => Problem::StaleKey.answer(&detail),
        Refusal::Quota { .. } => Problem::Quota.answer(&detail),
    }
}

fn interrupted() -> Answer {
    Problem::Interrupted.answer(
        "Its holder is gone. It may have happened or not; somebody has to find out and decide.",
    )
}

fn asked_for() -> Answer {
    Problem::Fault.answer("Nothing happened and nothing was stored.")
}

fn storage(error: &impl std::fmt::Display) -> Answer {
    Problem::Storage.answer(&error.to_string())
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Unwritten(error.into())
    }
}

#[cfg(test)]
mod tests;
