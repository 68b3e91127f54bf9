//! The rows of namespaces: their numbers, and the policies that they were last written under.

use std::time::Duration;

use bincode::{Decode, Encode};
#[cfg(test)]
use serde::Serialize;

use super::{Unreadable, seal, span_ms, unseal};
use crate::decision::{OnInterrupted, Policy};

/// A namespace as the file knows it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(Serialize, serde::Deserialize))]
pub(crate) struct NamespaceRow {
    pub(crate) id: u16,
    /// Counted from 1, raised whenever a record is claimed under another policy.
    pub(crate) policy_version: u32,
    pub(super) policy: StoredPolicy,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(Serialize, serde::Deserialize))]
pub(super) struct StoredPolicy {
    pub(super) lease_ms: u64,
    pub(super) retention_ms: u64,
    pub(super) retry_hint_ms: u64,
    pub(super) response_bytes_max: u64,
    pub(super) rerun_interrupted: bool,
    pub(super) records_max: Option<u64>,
    pub(super) bytes_max: Option<u64>,
    pub(super) refuse_stale_keys: bool,
    pub(super) forget_interrupted_after_ms: Option<u64>,
}

impl NamespaceRow {
    pub(crate) fn new(id: u16, policy_version: u32, policy: &Policy) -> Self {
        Self {
            id,
            policy_version,
            policy: StoredPolicy::of(policy),
        }
    }

    /// The rules that the row was written under.
    pub(crate) fn stored_policy(&self) -> Policy {
        self.policy.as_policy()
    }

    /// Whether the row was written under the same rules.
    pub(crate) fn has_policy(&self, policy: &Policy) -> bool {
        self.policy == StoredPolicy::of(policy)
    }
}

impl StoredPolicy {
    fn of(policy: &Policy) -> Self {
        Self {
            lease_ms: span_ms(policy.lease_span()),
            retention_ms: span_ms(policy.retention_span()),
            retry_hint_ms: span_ms(policy.retry_hint_span()),
            response_bytes_max: policy.response_limit(),
            rerun_interrupted: policy.interrupted_rule() == OnInterrupted::Rerun,
            records_max: policy.record_quota(),
            bytes_max: policy.byte_quota(),
            refuse_stale_keys: policy.refuses_stale_keys(),
            forget_interrupted_after_ms: policy.interrupted_retention().map(span_ms),
        }
    }

    fn as_policy(&self) -> Policy {
        let mut policy = Policy::DEFAULT
            .lease(Duration::from_millis(self.lease_ms))
            .retention(Duration::from_millis(self.retention_ms))
            .retry_hint(Duration::from_millis(self.retry_hint_ms))
            .response_bytes_max(self.response_bytes_max);
        if self.rerun_interrupted {
            policy = policy.on_interrupted(OnInterrupted::Rerun);
        }
        if let Some(records) = self.records_max {
            policy = policy.records_max(records);
        }
        if let Some(bytes) = self.bytes_max {
            policy = policy.bytes_max(bytes);
        }
        if self.refuse_stale_keys {
            policy = policy.refuse_stale_keys();
        }
        if let Some(span_ms) = self.forget_interrupted_after_ms {
            policy = policy.forget_interrupted_after(Duration::from_millis(span_ms));
        }
        policy
    }
}

pub(crate) fn encode_namespace(name: &[u8], row: &NamespaceRow) -> Vec<u8> {
    seal(name, row)
}

pub(crate) fn decode_namespace(name: &[u8], sealed: &[u8]) -> Result<NamespaceRow, Unreadable> {
    unseal(name, sealed)
}
