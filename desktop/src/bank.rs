//! A bank, as seen from a shop: it charges what it is told to, and can be asked afterwards.
//!
//! It deduplicates nothing, on purpose, so that its book shows each charge there was. A real
//! bank gets the same reference as its idempotency key and refuses the second by itself; then
//! two sides guard one payment.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use idempotency_ledger::{Key, Response};

/// What the bank hands out for a charge; a line of its book, and what the ledger replays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// What the shop called the charge.
    pub reference: String,
    /// How much was charged.
    pub cents: u64,
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.reference, self.cents)
    }
}

impl FromStr for Receipt {
    type Err = io::Error;

    fn from_str(line: &str) -> Result<Self, io::Error> {
        let parts = line.rsplit_once(' ');
        let parsed = parts.and_then(|(reference, cents)| {
            let (reference, cents) = (reference.to_owned(), cents.parse().ok()?);
            Some(Self { reference, cents })
        });
        parsed.ok_or_else(|| io::Error::other(format!("{line:?} is not a receipt")))
    }
}

impl From<&Receipt> for Response {
    fn from(receipt: &Receipt) -> Self {
        Self::raw(receipt.to_string())
    }
}

/// Why the bank gave no receipt.
#[derive(Debug)]
pub enum ChargeError {
    /// It was never asked: certainly nothing was charged.
    NotSent(io::Error),
    /// It was asked and did not answer: it may have charged.
    NoAnswer(io::Error),
}

/// The bank, whose book is a file with one line for each charge. The ledger knows nothing of it.
#[derive(Clone, Debug)]
pub struct Bank {
    book: PathBuf,
}

impl Bank {
    /// Opens its book, and creates it where there is none.
    ///
    /// # Errors
    ///
    /// Of the file.
    pub fn open(book: impl Into<PathBuf>) -> Result<Self, io::Error> {
        let book = book.into();
        let created = OpenOptions::new().append(true).create(true).open(&book)?;
        created.sync_all()?;
        Ok(Self { book })
    }

    /// Charges, whether it knows the reference or not. The line is on disk when this returns.
    ///
    /// # Errors
    ///
    /// [`ChargeError`].
    pub fn charge(&self, reference: &Key, cents: u64) -> Result<Receipt, ChargeError> {
        let receipt = Receipt {
            reference: reference.to_string(),
            cents,
        };
        let mut book = OpenOptions::new()
            .append(true)
            .open(&self.book)
            .map_err(ChargeError::NotSent)?;
        book.write_all(format!("{receipt}\n").as_bytes())
            .and_then(|()| book.sync_data())
            .map_err(ChargeError::NoAnswer)?;
        Ok(receipt)
    }

    /// Whether it has charged under this reference. "No" is only worth something once whoever
    /// charged has ended; the ledger's ticket says that.
    ///
    /// # Errors
    ///
    /// Of the file: then it has not answered.
    pub fn find(&self, reference: &Key) -> Result<Option<Receipt>, io::Error> {
        let charges = self.charges()?.into_iter();
        let mut known = charges.filter(|charge| charge.reference == reference.as_str());
        Ok(known.next())
    }

    /// All charges, in their order.
    ///
    /// # Errors
    ///
    /// Of the file, also where a line of it is no receipt.
    pub fn charges(&self) -> Result<Vec<Receipt>, io::Error> {
        fs::read_to_string(&self.book)?
            .lines()
            .map(str::parse)
            .collect()
    }

    /// Where the book lies.
    pub fn book(&self) -> &Path {
        &self.book
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_charges_as_often_as_it_is_told_to_and_knows_what_it_charged() {
        let folder = tempfile::tempdir().expect("a folder");
        let bank = Bank::open(folder.path().join("bank.txt")).expect("a book");
        let (known, unknown) = (Key::generate(), Key::generate());
        let receipt = bank.charge(&known, 2_500).expect("charged");
        bank.charge(&known, 2_500).expect("charged again");
        assert_eq!(bank.find(&known).expect("it answers"), Some(receipt));
        assert_eq!(bank.find(&unknown).expect("it answers"), None);
        assert_eq!(bank.charges().expect("it answers").len(), 2);
    }

    #[test]
    fn a_book_that_cannot_be_read_is_no_answer() {
        let folder = tempfile::tempdir().expect("a folder");
        let bank = Bank::open(folder.path().join("bank.txt")).expect("a book");
        fs::write(bank.book(), "torn").expect("written");
        assert!(bank.find(&Key::generate()).is_err());
    }

    #[test]
    fn a_receipt_reads_back_what_it_printed() {
        let receipt = Receipt {
            reference: "a reference".into(),
            cents: 2_500,
        };
        assert_eq!(receipt.to_string().parse::<Receipt>().ok(), Some(receipt));
        for bad in ["", "2500", "reference", "reference EUR"] {
            assert!(bad.parse::<Receipt>().is_err(), "{bad:?}");
        }
    }
}
