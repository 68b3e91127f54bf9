//! A named group of keys under one policy.

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;

use super::{Key, KeyError, Policy};

/// A named group of keys under one policy, such as `payments` or `webhooks/shopify`.
///
/// There are few of them, so they are usually constants. The same key in two namespaces is two
/// operations.
///
/// ```
/// use idempotency_ledger::{Namespace, Policy};
/// use std::time::Duration;
///
/// const PAYMENTS: Namespace = Namespace::new("payments")
///     .policy(Policy::DEFAULT.retention(Duration::from_secs(72 * 3600)));
/// assert_eq!(PAYMENTS.name(), "payments");
/// assert!(Namespace::named("").is_err());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Namespace {
    name: Cow<'static, str>,
    policy: Policy,
}

impl Namespace {
    /// A namespace with a name fixed in the program, under [`Policy::DEFAULT`].
    ///
    /// # Panics
    ///
    /// When the name is empty, longer than 255 bytes, starts with `dedup:`, `versioned:` or
    /// `outbox:`, or holds an ASCII control character. In a constant this is an error of the
    /// compiler.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        let bytes = name.as_bytes();
        assert!(!bytes.is_empty(), "a namespace has a name");
        assert!(
            bytes.len() <= 255,
            "a namespace's name has at most 255 bytes"
        );
        let mut at = 0;
        while at < bytes.len() {
            assert!(
                !bytes[at].is_ascii_control(),
                "a namespace's name is printable"
            );
            at += 1;
        }
        assert!(
            !is_reserved(bytes),
            "`dedup:`, `versioned:` and `outbox:` name tables"
        );
        Self {
            name: Cow::Borrowed(name),
            policy: Policy::DEFAULT,
        }
    }

    /// A namespace whose name is known only at run time; the same rules as for a [`Key`].
    ///
    /// # Errors
    ///
    /// [`KeyError`] as for a key.
    pub fn named(name: impl Into<String>) -> Result<Self, KeyError> {
        let name = name.into();
        let _ = Key::new(name.as_str())?;
        if is_reserved(name.as_bytes()) {
            return Err(KeyError::Reserved);
        }
        Ok(Self {
            name: Cow::Owned(name),
            policy: Policy::DEFAULT,
        })
    }

    /// The namespace in which the dedup table of this name keeps its sightings, so that they can be
    /// listed, looked at and forgotten like every other record.
    #[must_use]
    pub fn of_dedup_table(name: &str) -> Self {
        Self {
            name: Cow::Owned(alloc::format!("dedup:{name}")),
            policy: Policy::DEFAULT,
        }
    }

    /// The namespace in which the versioned table of this name keeps its values.
    #[must_use]
    pub fn of_versioned_table(name: &str) -> Self {
        Self {
            name: Cow::Owned(alloc::format!("versioned:{name}")),
            policy: Policy::DEFAULT,
        }
    }

    /// The namespace in which the outbox of this name keeps its rows.
    #[must_use]
    pub fn of_outbox(name: &str) -> Self {
        Self {
            name: Cow::Owned(alloc::format!("outbox:{name}")),
            policy: Policy::DEFAULT,
        }
    }

    /// A namespace by the name that its records have in a file, also where it is that of a table.
    #[must_use]
    pub fn of_stored(name: impl Into<String>) -> Self {
        Self {
            name: Cow::Owned(name.into()),
            policy: Policy::DEFAULT,
        }
    }

    /// The same namespace under another policy.
    #[must_use]
    pub const fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The policy its operations run under.
    pub const fn current_policy(&self) -> &Policy {
        &self.policy
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Namespace({:?})", self.name)
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What a table holds lies in a namespace that nobody else can name.
const fn is_reserved(name: &[u8]) -> bool {
    starts_with(name, b"dedup:")
        || starts_with(name, b"versioned:")
        || starts_with(name, b"outbox:")
}

/// `slice::starts_with`, in a constant.
const fn starts_with(name: &[u8], prefix: &[u8]) -> bool {
    match name.split_at_checked(prefix.len()) {
        None => false,
        Some((start, _)) => {
            let mut at = 0;
            while at < prefix.len() {
                if start[at] != prefix[at] {
                    return false;
                }
                at += 1;
            }
            true
        }
    }
}
