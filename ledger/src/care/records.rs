//! All records, one after the other.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use redb::Range;

use crate::care::record_handle::{RecordInfo, RecordState, Whose};
use crate::decision::Namespace;
use crate::error::no_panic;
use crate::error::{Error, before_commit};
use crate::store::engine::Engine;
use crate::store::snapshot::record_from;
use crate::store::tables::{NamespaceId, is_tail_key, namespace_prefix, parse_record_key};

/// Which records [`Ledger::records`](crate::Ledger::records) gives.
///
/// ```
/// use idempotency_ledger::{Ledger, RecordFilter, RecordState};
///
/// let ledger = Ledger::in_memory()?;
/// let interrupted = RecordFilter::all().state(RecordState::Interrupted);
/// assert_eq!(ledger.records(interrupted)?.count(), 0);
/// # Ok::<(), idempotency_ledger::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a filter does nothing until it is used"]
pub struct RecordFilter {
    namespace: Option<String>,
    state: Option<RecordState>,
}

impl RecordFilter {
    /// All records.
    pub fn all() -> Self {
        Self::default()
    }

    /// Only those of one namespace.
    pub fn namespace(mut self, namespace: &Namespace) -> Self {
        self.namespace = Some(namespace.name().to_owned());
        self
    }

    /// Only those in one state.
    pub fn state(mut self, state: RecordState) -> Self {
        self.state = Some(state);
        self
    }
}

/// The records of a ledger, in the order of namespace, key and scope, as of one commit.
///
/// While it lives, the pages it reads from cannot be reused.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// drop(ledger.operation(PAYMENTS, &key, asked).begin()?);
/// let all: Vec<RecordInfo> = ledger.records(RecordFilter::all())?.collect::<Result<_, _>>()?;
/// assert_eq!(all.len(), 1);
/// assert_eq!(all[0].key(), &key);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Records {
    engine: Arc<Engine>,
    /// Each with the policy that is stored.
    namespaces: HashMap<NamespaceId, Namespace>,
    rows: Option<Range<'static, &'static [u8], &'static [u8]>>,
    state: Option<RecordState>,
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").finish_non_exhaustive()
    }
}

impl Records {
    pub(crate) fn open(engine: &Arc<Engine>, filter: RecordFilter) -> Result<Self, Error> {
        let RecordFilter { namespace, state } = filter;
        let snapshot = engine.own_snapshot()?;
        no_panic(|| {
            let stored = snapshot.namespaces()?.into_iter().map(|(name, row)| {
                let namespace = Namespace::of_stored(name).policy(row.stored_policy());
                (NamespaceId(row.id), namespace)
            });
            let namespaces: HashMap<_, _> = stored.collect();
            let wanted = namespace.as_ref().map(|wanted| {
                namespaces
                    .iter()
                    .find(|(_, namespace)| namespace.name() == wanted)
                    .map(|(id, _)| *id)
            });
            let rows = match wanted {
                None => Some(snapshot.records.range::<&[u8]>(..).map_err(before_commit)?),
                Some(None) => None,
                Some(Some(id)) => {
                    let start = namespace_prefix(id);
                    let end = crate::store::tables::tail_key(id);
                    let range = start.as_slice()..end.as_slice();
                    Some(
                        snapshot
                            .records
                            .range::<&[u8]>(range)
                            .map_err(before_commit)?,
                    )
                }
            };
            Ok(Self {
                engine: Arc::clone(engine),
                namespaces,
                rows,
                state,
            })
        })
    }

    fn read_next(&mut self) -> Result<Option<RecordInfo>, Error> {
        let Some(rows) = &mut self.rows else {
            return Ok(None);
        };
        for row in rows.by_ref() {
            let (key, sealed) = row.map_err(before_commit)?;
            if is_tail_key(key.value()) {
                continue;
            }
            let record_key = key.value();
            let record = record_from(record_key, sealed.value(), |id| {
                let namespace = self.namespaces.get(&id);
                namespace.map_or_else(String::new, |it| it.name().to_owned())
            })?;
            let Some((id, key, scope)) = parse_record_key(record_key) else {
                return Err(Error::damaged_file("a record has a key that is none"));
            };
            let namespace = self.namespaces.get(&id).cloned();
            let namespace = namespace.unwrap_or_else(|| Namespace::of_stored(String::new()));
            let whose = Whose {
                namespace,
                key,
                scope,
            };
            match RecordInfo::settled(&self.engine, whose, record_key, record)? {
                Some(info) if self.state.is_none_or(|state| state == info.state()) => {
                    return Ok(Some(info));
                }
                Some(_) | None => {}
            }
        }
        Ok(None)
    }
}

impl Iterator for Records {
    type Item = Result<RecordInfo, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = no_panic(|| self.read_next());
        // A record that is damaged is one of many; a file that cannot be read further ends it.
        if let Err(error) = &next
            && !matches!(error, Error::Damaged { .. })
        {
            self.rows = None;
        }
        next.map_err(|error| self.engine.error_of_old_snapshot(error))
            .transpose()
    }
}
