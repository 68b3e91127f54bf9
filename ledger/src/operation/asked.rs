//! What a request asks for, checked once and shared by everything that serves it.

use std::sync::Arc;

use crate::decision::{
    Checkpoint, Fingerprint, FingerprintAlgorithm, Key, Namespace, Policy, Response, ResponseKind,
    Scope, child_key,
};
use crate::error::{Error, Invalid};
use crate::store::tables::{NamespaceId, record_key};
use crate::stored_http::StoredHttp;

/// The longest program name that is stored.
const PROGRAM_BYTES_MAX: usize = 255;

/// The identity of an operation and what it asks for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) namespace: Namespace,
    pub(crate) key: Key,
    pub(crate) scope: Scope,
    /// The fingerprint of the request; behind it what older algorithms make of it.
    pub(crate) fingerprints: Vec<Fingerprint>,
    pub(crate) program: String,
    /// The recovery point that a new claim has from its first commit on.
    pub(crate) starts_at: Option<Checkpoint>,
}

impl Asked {
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.namespace.current_policy().check()?;
        let bytes = self.program.len();
        if bytes > PROGRAM_BYTES_MAX {
            let (what, limit) = ("program's name", PROGRAM_BYTES_MAX);
            return Err(Error::Invalid(Invalid::TooLong { what, bytes, limit }));
        }
        Ok(())
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.fingerprints
            .first()
            .copied()
            .unwrap_or(Fingerprint::NONE)
    }

    pub(crate) fn record_key(&self, namespace: NamespaceId) -> Vec<u8> {
        record_key(namespace, &self.key, &self.scope)
    }

    /// The operation's name among those of this process, before its namespace has a number.
    pub(crate) fn identity(&self) -> Vec<u8> {
        identity(self.namespace.name(), &self.key, &self.scope)
    }

    pub(crate) fn child_key(&self, fingerprint: &Fingerprint, label: &str) -> Key {
        child_key(&self.namespace, &self.scope, &self.key, fingerprint, label)
    }

    pub(crate) fn check_response(&self, bytes: usize) -> Result<(), Error> {
        check_response(self.namespace.current_policy(), bytes)
    }

    /// About how many bytes an operation adds to a batch, beside its response.
    pub(crate) fn batch_bytes(&self) -> usize {
        self.key.as_str().len() + self.scope.as_bytes().len() + self.program.len() + 256
    }
}

/// Refuses a response above the limit of its policy.
pub(crate) fn check_response(policy: &Policy, bytes: usize) -> Result<(), Error> {
    let limit = policy.response_limit();
    if bytes as u64 > limit {
        return Err(Error::Invalid(Invalid::Response { bytes, limit }));
    }
    Ok(())
}

/// Refuses a response of another kind than the retries of the request can be sent.
pub(crate) fn check_kind(asked: &Fingerprint, response: &Response) -> Result<(), Error> {
    let kind = response.kind();
    if asked.algorithm() == FingerprintAlgorithm::Http && *kind != ResponseKind::Http {
        let reason = format!("it is no HTTP answer but {kind:?}");
        return Err(Error::Invalid(Invalid::Kind { reason }));
    }
    Ok(())
}

/// The same for one that is supplied by hand, which is read as a retry would read it.
pub(crate) fn check_supplied(asked: &Fingerprint, response: &Response) -> Result<(), Error> {
    check_kind(asked, response)?;
    if *response.kind() == ResponseKind::Http {
        let read = StoredHttp::of_response(response);
        read.map_err(|reason| Error::Invalid(Invalid::Kind { reason }))?;
    }
    Ok(())
}

pub(crate) fn identity(namespace: &str, key: &Key, scope: &Scope) -> Vec<u8> {
    let parts = [
        namespace.as_bytes(),
        key.as_str().as_bytes(),
        scope.as_bytes(),
    ];
    parts.join(&0)
}

/// An operation with the place of its record.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) asked: Arc<Asked>,
    pub(crate) record_key: Arc<[u8]>,
}
