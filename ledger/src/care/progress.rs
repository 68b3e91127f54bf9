//! How far long work is.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

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

/// Runs work that tells how far it is. A panic of the teller is passed on behind the work, which it
/// neither stops nor looks like.
pub(crate) fn telling<T>(
    tell: &mut dyn FnMut(Progress),
    work: impl FnOnce(&mut dyn FnMut(Progress)) -> T,
) -> T {
    let mut panicked = None;
    let done = work(&mut |progress| {
        if panicked.is_none() {
            panicked = catch_unwind(AssertUnwindSafe(|| tell(progress))).err();
        }
    });
    match panicked {
        None => done,
        Some(panic) => resume_unwind(panic),
    }
}
