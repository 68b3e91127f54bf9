//! Records that a table writes whole: its name, its ids, and one write that is claim and answer.

use std::borrow::Cow;

use crate::decision::{
    ClaimLock, Completion, Fence, Fingerprint, Key, Namespace, NewClaim, Record, Response, Scope,
    claim, complete,
};
use crate::error::{Error, Invalid};
use crate::store::codec::NamespaceRow;
use crate::store::tables::{NamespaceId, record_key};
use crate::store::write_store::WriteStore;

/// A namespace's name, less room for what marks it as a table's.
const NAME_BYTES_MAX: usize = 240;

/// Checks a name that is fixed in the program; in a constant a bad one does not compile.
pub(crate) const fn check_name(name: &str) {
    let bytes = name.as_bytes();
    assert!(
        !bytes.is_empty() && bytes.len() <= NAME_BYTES_MAX,
        "a table's name has 1 to 240 bytes"
    );
    let mut at = 0;
    while at < bytes.len() {
        assert!(!bytes[at].is_ascii_control(), "a table's name is printable");
        at += 1;
    }
}

/// A name that is known only at run time, under the same rules.
pub(crate) fn checked_name(name: String) -> Result<Cow<'static, str>, Error> {
    let (bytes, limit) = (name.len(), NAME_BYTES_MAX);
    if bytes > limit {
        let what = "table's name";
        return Err(Error::Invalid(Invalid::TooLong { what, bytes, limit }));
    }
    let _ = id_of(&name)?;
    Ok(Cow::Owned(name))
}

/// The id of a row, which has the limits of a key.
pub(crate) fn id_of(id: &str) -> Result<Key, Error> {
    Key::new(id).map_err(|error| Error::Invalid(Invalid::Key(error)))
}

/// Where a table's row is, and what is stored there.
pub(crate) struct Row<'n> {
    namespace: &'n Namespace,
    numbered: NamespaceRow,
    place: Vec<u8>,
    pub(crate) stored: Option<Record>,
}

impl<'n> Row<'n> {
    /// Looks at a row in a write transaction.
    pub(crate) fn find(
        store: &mut WriteStore<'_>,
        namespace: &'n Namespace,
        id: &Key,
    ) -> Result<Self, Error> {
        let numbered = store.namespace(namespace)?;
        let place = record_key(NamespaceId(numbered.id), id, &Scope::NONE);
        let stored = store.get(&place)?;
        Ok(Self {
            namespace,
            numbered,
            place,
            stored,
        })
    }

    /// Writes a completed record in the place of whatever is stored, under a new fence.
    pub(crate) fn write(
        self,
        store: &mut WriteStore<'_>,
        id: &Key,
        response: &Response,
    ) -> Result<Fence, Error> {
        let fence = store.next_fence(NamespaceId(self.numbered.id))?;
        let record = completed(store, self.namespace, &self.numbered, fence, id, response);
        store.put(&self.place, self.stored.as_ref(), &record)?;
        Ok(fence)
    }
}

/// Writes a completed record behind all others of its table: its id is made from its fence.
pub(crate) fn append(
    store: &mut WriteStore<'_>,
    namespace: &Namespace,
    id_of: impl FnOnce(Fence) -> Key,
    response: &Response,
) -> Result<Fence, Error> {
    let numbered = store.namespace(namespace)?;
    let number = NamespaceId(numbered.id);
    let fence = store.next_fence(number)?;
    let id = id_of(fence);
    let record = completed(store, namespace, &numbered, fence, &id, response);
    store.put(&record_key(number, &id, &Scope::NONE), None, &record)?;
    Ok(fence)
}

/// A claim that completes in the moment it is made.
fn completed(
    store: &WriteStore<'_>,
    namespace: &Namespace,
    numbered: &NamespaceRow,
    fence: Fence,
    id: &Key,
    response: &Response,
) -> Record {
    let policy = namespace.current_policy();
    let new = NewClaim {
        fingerprint: Fingerprint::NONE,
        fence,
        policy: WriteStore::stamp(numbered, namespace),
        holder: store.holder.id,
        program: String::new(),
        lock: ClaimLock::None,
    };
    let claimed = claim(new, store.now);
    match complete(Some(&claimed), fence, id, policy, response, store.now) {
        Ok(Completion::Store(record)) => *record,
        Ok(Completion::AlreadyStored) | Err(_) => {
            unreachable!("the claim was made a moment ago, under this fence")
        }
    }
}
