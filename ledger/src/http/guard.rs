//! What a handler sees of its key.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::decision::{Checkpoint, Fence, Key, Timestamp};
use crate::operation::claim::Claim;
use crate::operation::refusal::EndingError;

/// The key of the request that a handler works on, from the request's extensions.
///
/// ```
/// use idempotency_ledger::http::IdempotencyKey;
///
/// async fn charge(request: http::Request<String>) -> http::Response<String> {
///     if let Some(key) = request.extensions().get::<IdempotencyKey>() {
///         let _reference = key.child_key("bank"); // the same in each attempt
///     }
///     http::Response::new("charged".to_owned())
/// }
/// # let _ = charge;
/// ```
#[derive(Clone)]
pub struct IdempotencyKey(pub(super) Arc<Held>);

/// The claim, and what the handler said about it.
pub(super) struct Held {
    pub(super) claim: Claim,
    pub(super) nothing_happened: AtomicBool,
}

impl IdempotencyKey {
    pub(super) fn of(claim: Claim) -> Self {
        Self(Arc::new(Held {
            claim,
            nothing_happened: AtomicBool::new(false),
        }))
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &Key {
        self.0.claim.key()
    }

    /// The fencing token.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.0.claim.fence()
    }

    /// Which attempt this is, counted from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.0.claim.attempt()
    }

    /// When the lease ends, in the ledger's time.
    #[must_use]
    pub fn deadline(&self) -> Timestamp {
        self.0.claim.lease_until()
    }

    /// The key for a downstream call: the same for every attempt, different for every label.
    #[must_use]
    pub fn child_key(&self, label: &str) -> Key {
        self.0.claim.child_key(label)
    }

    /// The last checkpoint, of this attempt or of one before it.
    #[must_use]
    pub fn last_checkpoint(&self) -> Option<Checkpoint> {
        self.0.claim.last_checkpoint()
    }

    /// Stores a recovery point; from then on the key is not released.
    ///
    /// # Errors
    ///
    /// [`EndingError`].
    pub async fn checkpoint(&self, name: &str, bytes: &[u8]) -> Result<(), EndingError> {
        self.0.claim.checkpoint_async(name, bytes).await
    }

    /// Gives the operation its whole lease again.
    ///
    /// # Errors
    ///
    /// [`EndingError`].
    pub async fn renew(&self) -> Result<Timestamp, EndingError> {
        self.0.claim.renew_async().await
    }

    /// Says that nothing has happened, for sure: an answer that would leave the key interrupted
    /// then frees it.
    pub fn nothing_happened(&self) {
        self.0.nothing_happened.store(true, Ordering::Relaxed);
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IdempotencyKey")
            .field(&self.0.claim)
            .finish()
    }
}
