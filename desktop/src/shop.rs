//! The shop: one order in hand, paid once, whatever happens to the window.
//!
//! The order and its key are on disk before anybody can pay, so a window that starts again asks
//! under the same key. What the ledger says about that key decides; the shop only carries it out.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use idempotency_ledger::{
    Begin, Claim, Error, Expected, Fingerprint, Key, KeyError, Ledger, Namespace, Policy, Put,
    RecordState, Refusal, Request, Response, StoredValue, Ticket, TicketError, VersionedTable,
};
use serde::{Deserialize, Serialize};

use crate::bank::{Bank, ChargeError, Receipt};
use crate::moment::{Fate, Moment, Witness};

/// An order stays in hand for as long as nobody buys another one, and its key with it. So its
/// answer is kept for ever: no key outlives what the ledger remembers.
const PAYMENTS: Namespace =
    Namespace::new("payments").policy(Policy::DEFAULT.retention(Duration::MAX));

/// The shop's own table, in the ledger's file.
const ORDERS: VersionedTable<Order> = VersionedTable::new("orders");
const IN_HAND: &str = "in hand";

/// The label under which the bank's reference is made of the order's key.
const BANK: &str = "bank";

const PRICE_CENTS: u64 = 2_500;

/// An order as it is stored. Whoever presses a button says which one they saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Counted from 1.
    pub number: u32,
    /// What it costs.
    pub cents: u64,
    /// The key of its payment, born with the order and the same in each attempt.
    key: String,
}

impl StoredValue for Order {
    const SCHEMA: &'static str = "order/1";
}

impl Order {
    fn numbered(number: u32) -> Self {
        Self {
            number,
            cents: PRICE_CENTS,
            key: Key::generate().to_string(),
        }
    }

    /// The key of its payment.
    pub fn key(&self) -> &str {
        &self.key
    }

    fn checked_key(&self) -> Result<Key, KeyError> {
        Key::new(self.key.as_str())
    }

    /// What is paid for. The same key with another price would be another request.
    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of([self.number.to_string(), self.cents.to_string()])
    }
}

/// How the payment of an order stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was certainly not charged.
    Unpaid,
    /// Somebody is at it now.
    InProgress,
    /// It was charged, and the receipt is on disk.
    Paid(Receipt),
    /// It may have been charged; only the bank knows.
    Interrupted {
        /// Why nobody here knows.
        why: String,
    },
}

/// Why the shop could not do what it was asked to.
#[derive(Debug)]
pub enum ShopError {
    /// A file of the shop or of the bank failed. The payment stands as it stood.
    File(io::Error),
    /// The ledger failed; it says what is on disk.
    Ledger(Error),
    /// An interrupted payment was not ended: somebody was faster, or the ledger failed.
    Ticket(TicketError),
    /// The ledger refused the payment. Nothing was charged now.
    Refused(Refusal),
    /// The bank was not reached. The order is unpaid.
    NotSent(io::Error),
    /// The order in hand has no receipt yet, so it is not put away for another one.
    NotPaid,
    /// The stored order cannot be used.
    BadOrder(String),
}

/// The shop.
#[derive(Debug)]
pub struct Shop {
    ledger: Ledger,
    bank: Bank,
    witness: Witness,
}

impl Shop {
    /// Opens the shop in a folder, with the bank's book beside the ledger. Then there is an order
    /// in hand, on disk with its key.
    ///
    /// # Errors
    ///
    /// [`ShopError`]; [`Error::AlreadyOpen`] in it where another window has the folder.
    pub fn open(folder: &Path, witness: Witness) -> Result<Self, ShopError> {
        fs::create_dir_all(folder)?;
        let ledger = Ledger::open(folder.join("shop.redb"))?;
        Self::over(ledger, Bank::open(folder.join("bank.txt"))?, witness)
    }

    /// The same over a ledger that is open already.
    ///
    /// # Errors
    ///
    /// [`ShopError`].
    pub fn over(ledger: Ledger, bank: Bank, witness: Witness) -> Result<Self, ShopError> {
        let first = Order::numbered(1);
        let orders = ledger.versioned(ORDERS);
        match orders.put(IN_HAND, &first, Expected::Absent)? {
            // On a conflict an earlier window has left its order, and that one counts.
            Put::Stored(_) | Put::Conflict { current: _ } => {}
        }
        Ok(Self {
            ledger,
            bank,
            witness,
        })
    }

    /// The order in hand.
    ///
    /// # Errors
    ///
    /// [`ShopError`].
    pub fn order(&self) -> Result<Order, ShopError> {
        let stored = self.ledger.versioned(ORDERS).get(IN_HAND)?;
        let missing = || ShopError::BadOrder("there is none".into());
        Ok(stored.ok_or_else(missing)?.value)
    }

    /// The bank.
    pub fn bank(&self) -> &Bank {
        &self.bank
    }

    /// How an order stands. Only looks.
    ///
    /// # Errors
    ///
    /// [`ShopError`].
    pub fn standing(&self, order: &Order) -> Result<Standing, ShopError> {
        let record = self.ledger.record(PAYMENTS, &order.checked_key()?).peek()?;
        let Some(record) = record else {
            return Ok(Standing::Unpaid);
        };
        Ok(match record.state() {
            RecordState::Claimed => Standing::InProgress,
            RecordState::Interrupted if record.is_overdue() => Standing::InProgress,
            RecordState::Interrupted => interrupted_before(),
            RecordState::Completed => {
                let response = record.response().ok_or_else(unreadable)?;
                Standing::Paid(receipt_in(response)?)
            }
        })
    }

    /// Pays for an order, unless it is paid, being paid, or may have been paid.
    ///
    /// # Errors
    ///
    /// [`ShopError`]. It is never an error that the bank did not answer.
    ///
    /// # Blocking
    ///
    /// For two commits and the call of the bank.
    pub fn pay(&self, order: &Order) -> Result<Standing, ShopError> {
        let _ = self.witness.tell(Moment::BeforeClaim);
        match self.request(order)?.begin()? {
            Begin::Fresh(claim) => self.charge(claim, order),
            Begin::Replay(replay) => Ok(Standing::Paid(receipt_in(replay.response())?)),
            Begin::Interrupted(ticket) if ticket.is_overdue() => Ok(Standing::InProgress),
            Begin::Interrupted(_) => Ok(interrupted_before()),
            Begin::Refused(refusal) => refused(refusal),
        }
    }

    /// Ends an interrupted payment by what the bank knows: it takes over the receipt of a charge
    /// that happened, and charges now what did not.
    ///
    /// # Errors
    ///
    /// As for [`Shop::pay`]; where the bank cannot be asked, the payment stays interrupted.
    ///
    /// # Blocking
    ///
    /// As there, and for one more call of the bank.
    pub fn ask_the_bank(&self, order: &Order) -> Result<Standing, ShopError> {
        match self.request(order)?.begin()? {
            Begin::Interrupted(ticket) => self.settle(ticket, order),
            // Somebody found out before, and it had not happened.
            Begin::Fresh(claim) => self.charge(claim, order),
            Begin::Replay(replay) => Ok(Standing::Paid(receipt_in(replay.response())?)),
            Begin::Refused(refusal) => refused(refusal),
        }
    }

    /// Puts a paid order away and takes a new one with a key of its own: a second payment that is
    /// meant. Two clicks on the same order make one new order.
    ///
    /// # Errors
    ///
    /// [`ShopError::NotPaid`] while the order may still need its key, and others.
    pub fn buy_another(&self, seen: &Order) -> Result<Order, ShopError> {
        let orders = self.ledger.versioned(ORDERS);
        let stored = orders.get(IN_HAND)?;
        let Some(current) = stored.filter(|current| current.value == *seen) else {
            return self.order();
        };
        match self.standing(seen)? {
            Standing::Paid(_) => {}
            Standing::Unpaid | Standing::InProgress | Standing::Interrupted { .. } => {
                return Err(ShopError::NotPaid);
            }
        }
        let next = Order::numbered(seen.number + 1);
        match orders.put(IN_HAND, &next, Expected::At(current.version))? {
            Put::Stored(_) => Ok(next),
            Put::Conflict { current: _ } => self.order(),
        }
    }

    fn request(&self, order: &Order) -> Result<Request, ShopError> {
        let key = order.checked_key()?;
        let request = self.ledger.operation(PAYMENTS, &key, order.fingerprint());
        Ok(request.program("idempotency-desktop-example"))
    }

    /// The payment itself, under a claim that is on disk.
    fn charge(&self, claim: Claim, order: &Order) -> Result<Standing, ShopError> {
        // However long the bank takes, nobody takes the claim for abandoned while this runs.
        let kept = claim.keep_alive();
        let answer = self.call_the_bank(&claim.child_key(BANK), order.cents);
        drop(kept);
        let receipt = match answer {
            Ok(receipt) => receipt,
            Err(ChargeError::NotSent(error)) => {
                // Nothing happened, for sure: so the key is free again. Were this to fail, the
                // claim is dropped with the error, and the bank can still be asked.
                return match claim.release() {
                    Ok(()) => Err(ShopError::NotSent(error)),
                    Err(refused) => Ok(interrupted_now(&refused)),
                };
            }
            // Dropping the claim leaves the key interrupted, which is what is known.
            Err(ChargeError::NoAnswer(error)) => return Ok(interrupted_now(&error)),
        };
        match claim.complete(&receipt) {
            Ok(_) => {
                let _ = self.witness.tell(Moment::Completed);
                Ok(Standing::Paid(receipt))
            }
            Err(unstored) => Ok(interrupted_now(&unstored)),
        }
    }

    fn call_the_bank(&self, reference: &Key, cents: u64) -> Result<Receipt, ChargeError> {
        let broken = || io::Error::other("the line to the bank broke");
        match self.witness.tell(Moment::Claimed) {
            Fate::GoesOn => {}
            Fate::LineBreaks => return Err(ChargeError::NotSent(broken())),
        }
        let receipt = self.bank.charge(reference, cents)?;
        match self.witness.tell(Moment::Charged) {
            Fate::GoesOn => Ok(receipt),
            Fate::LineBreaks => Err(ChargeError::NoAnswer(broken())),
        }
    }

    /// Ends the ticket of an interrupted payment.
    fn settle(&self, ticket: Ticket, order: &Order) -> Result<Standing, ShopError> {
        // Whoever holds an overdue claim may be about to charge, and the bank cannot know yet.
        if ticket.is_overdue() {
            return Ok(Standing::InProgress);
        }
        match self.bank.find(&ticket.child_key(BANK))? {
            Some(receipt) => {
                ticket.complete(&receipt)?;
                let _ = self.witness.tell(Moment::Completed);
                Ok(Standing::Paid(receipt))
            }
            None => self.charge(ticket.rerun()?, order),
        }
    }
}

fn refused(refusal: Refusal) -> Result<Standing, ShopError> {
    match refusal {
        Refusal::InProgress { retry_after: _ } => Ok(Standing::InProgress),
        Refusal::Mismatch | Refusal::Stale { .. } | Refusal::Quota { .. } => {
            Err(ShopError::Refused(refusal))
        }
    }
}

fn interrupted_before() -> Standing {
    Standing::Interrupted {
        why: "the program ended before the bank's answer was stored".into(),
    }
}

fn interrupted_now(error: &dyn fmt::Display) -> Standing {
    Standing::Interrupted {
        why: error.to_string(),
    }
}

fn receipt_in(response: &Response) -> Result<Receipt, ShopError> {
    let text = std::str::from_utf8(response.bytes()).map_err(|_| unreadable())?;
    Ok(text.parse()?)
}

fn unreadable() -> ShopError {
    ShopError::File(io::Error::other("the stored receipt cannot be read"))
}

impl fmt::Display for ShopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => fmt::Display::fmt(error, f),
            Self::Ledger(error) => fmt::Display::fmt(error, f),
            Self::Ticket(error) => fmt::Display::fmt(error, f),
            Self::Refused(refusal) => write!(f, "nothing was charged now: {refusal}"),
            Self::NotSent(error) => {
                write!(f, "the bank was not reached, so you paid nothing: {error}")
            }
            Self::NotPaid => f.write_str("this order is not paid yet"),
            Self::BadOrder(reason) => write!(f, "the stored order cannot be used: {reason}"),
        }
    }
}

impl std::error::Error for ShopError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File(error) | Self::NotSent(error) => Some(error),
            Self::Ledger(error) => Some(error),
            Self::Ticket(error) => Some(error),
            Self::Refused(_) | Self::NotPaid | Self::BadOrder(_) => None,
        }
    }
}

impl From<io::Error> for ShopError {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

impl From<Error> for ShopError {
    fn from(error: Error) -> Self {
        Self::Ledger(error)
    }
}

impl From<TicketError> for ShopError {
    fn from(error: TicketError) -> Self {
        Self::Ticket(error)
    }
}

impl From<KeyError> for ShopError {
    fn from(error: KeyError) -> Self {
        Self::BadOrder(error.to_string())
    }
}
