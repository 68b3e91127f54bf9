//! How far long work is.

/// How far long work is; told to the closure of
/// [`Ledger::check_telling`](crate::Ledger::check_telling) and
/// [`Ledger::backup_telling`](crate::Ledger::backup_telling).
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// drop(ledger.operation(PAYMENTS, &key, asked).begin()?);
/// let mut last = None;
/// ledger.check_telling(|progress| last = Some(progress))?;
/// assert_eq!(last, Some(Progress { done: 1, total: 1 }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How much is done: records of a check, bytes of a backup.
    pub done: u64,
    /// How much there is in all, as far as it is known.
    pub total: u64,
}
