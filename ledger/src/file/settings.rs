//! The settings that a ledger is opened with, as plain data.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::decision::Namespace;

/// How the file is shared with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// This process alone has the file.
    Exclusive,
    /// Several processes have it, each through a ledger.
    Shared,
    /// The application has the database and lends it.
    Attached,
}

impl Mode {
    /// Whether others may write to the same file. How an application opened the database that it
    /// attaches cannot be asked for: redb lets several processes have it.
    pub(crate) const fn has_other_writers(self) -> bool {
        matches!(self, Self::Shared | Self::Attached)
    }
}

/// Whether the handle may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rights {
    ReadWrite,
    ReadOnly,
}

/// How a commit reaches the disk.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// let folder = tempfile::tempdir()?;
/// let builder = Ledger::builder().commit_profile(CommitProfile::TwoPhase);
/// let ledger = builder.open(folder.path().join("app.redb"))?;
/// ledger.operation(PAYMENTS, &key, asked).run_bytes(|_| Ok::<_, Error>("ok"))?;
/// assert_eq!(ledger.stats()?.commits, 2); // of two syncs each
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitProfile {
    /// One sync. After an unclean stop, damage can look like a torn write and cost the newest
    /// commit; opening reports a repair. The default.
    OnePhase,
    /// Two syncs: damage never passes for a torn write, and opening after a crash reads nothing.
    TwoPhase,
}

/// When the whole file is verified on opening.
///
/// redb's reads verify nothing, and damage can hide a record, which would then run again.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("app.redb");
/// let ledger = Ledger::builder().verify(Verify::Always).open(&path)?;
/// assert!(ledger.stats()?.verified);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Each time; the right choice for money.
    Always,
    /// Never; records are still verified one by one when they are read.
    Never,
    /// Where the file has at most this many bytes.
    UpTo(u64),
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) mode: Mode,
    pub(crate) rights: Rights,
    pub(crate) missing: Missing,
    pub(crate) verify: Verify,
    pub(crate) commit: CommitProfile,
    pub(crate) cache_bytes: usize,
    pub(crate) busy_timeout: Duration,
    pub(crate) clock_jump_max: Duration,
    pub(crate) rollback: Rollback,
    /// The operating system's where none is given: made only then, since a browser has none.
    pub(crate) clock: Option<Arc<dyn Clock>>,
    pub(crate) shows_keys: bool,
    pub(crate) declared: Vec<Namespace>,
}

/// What opening does where there is no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Create,
    Refuse,
}

/// What opening does with a file that is older than one already seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rollback {
    Refuse,
    Accept,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::Exclusive,
            rights: Rights::ReadWrite,
            missing: Missing::Create,
            verify: Verify::UpTo(64 * 1024 * 1024),
            commit: CommitProfile::OnePhase,
            cache_bytes: 64 * 1024 * 1024,
            busy_timeout: Duration::from_secs(5),
            clock_jump_max: Duration::from_secs(365 * 86_400),
            rollback: Rollback::Refuse,
            clock: None,
            shows_keys: false,
            declared: Vec::new(),
        }
    }
}
