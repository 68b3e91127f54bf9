//! Policies that are not the stored ones.

use crate::decision::{Namespace, Policy};
use crate::error::Error;
use crate::store::engine::Engine;

/// A namespace that was used under another policy than the one its file knows.
///
/// The newer policy holds for claims from then on; a record keeps the spans it was claimed under.
/// Two programs with different policies on one file change it back and forth, which is usually a
/// mistake.
///
/// ```
/// # use idempotency_ledger::*;
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// use std::time::Duration;
///
/// const PAYMENTS: Namespace = Namespace::new("payments");
/// ledger.operation(PAYMENTS, &key, asked).run_bytes(|_| Ok::<_, Error>("charged"))?;
///
/// let short = PAYMENTS.policy(Policy::DEFAULT.retention(Duration::from_secs(3600)));
/// let drift = ledger.policy_drift(short)?.expect("it differs");
/// assert_eq!(drift.stored.retention_span(), Duration::from_secs(24 * 3600));
/// assert_eq!(drift.given.retention_span(), Duration::from_secs(3600));
/// assert!(ledger.policy_drift(PAYMENTS)?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyDrift {
    /// The namespace.
    pub namespace: String,
    /// The version of the stored policy, counted from 1.
    pub version: u32,
    /// The policy that was stored.
    pub stored: Policy,
    /// The policy that was given instead.
    pub given: Policy,
}

impl std::fmt::Display for PolicyDrift {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the rules of {:?} are not the stored ones (version {})",
            self.namespace, self.version
        )?;
        for (what, stored, given) in [
            ("lease", self.stored.lease_span(), self.given.lease_span()),
            (
                "retention",
                self.stored.retention_span(),
                self.given.retention_span(),
            ),
        ] {
            if stored != given {
                write!(f, ", {what} {given:?} instead of {stored:?}")?;
            }
        }
        Ok(())
    }
}

pub(crate) fn policy_drift(
    engine: &Engine,
    namespace: &Namespace,
) -> Result<Option<PolicyDrift>, Error> {
    let given = *namespace.current_policy();
    given.check()?;
    let stored = engine.read(|snapshot| snapshot.namespace(namespace.name()))?;
    Ok(stored
        .filter(|row| !row.has_policy(&given))
        .map(|row| PolicyDrift {
            namespace: namespace.name().to_owned(),
            version: row.policy_version,
            stored: row.stored_policy(),
            given,
        }))
}
