//! The handlers that run under a claim: they are counted, and their leases are renewed.
//!
//! One task for each layer renews for all of its handlers, so that a request costs no timer of its
//! own. It runs while there are handlers, and wakes four times in a lease. A claim is renewed when
//! a quarter of its lease has passed, so at the latest in the middle of it.
//!
//! A clock may leap over all of that (a machine that slept). Until the task has caught up, a
//! duplicate finds the claim overdue: then it renews by itself, since the handler is in this table.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::guard::IdempotencyKey;
use crate::clock::{Signal, locked};
use crate::decision::Fence;
use crate::ledger::Ledger;
use crate::store::engine::Engine;
use crate::traced;

/// A lease this short is renewed as often as a thread can be woken.
const PAUSE_MIN: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct Running {
    table: Mutex<Table>,
    /// How many there are; only the last to end is waited for.
    count: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Table {
    keys: HashMap<Fence, IdempotencyKey>,
    /// Whether a task renews them.
    is_kept: bool,
}

impl Running {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            table: Mutex::default(),
            count: watch::Sender::new(0),
        })
    }

    /// Waits until there are none.
    pub(super) async fn drained(&self) {
        let mut count = self.count.subscribe();
        // The sender lives as long as this, so it cannot be gone.
        let _ = count.wait_for(|count| *count == 0).await;
    }

    /// Counts a handler until the guard is dropped, and renews its lease.
    pub(super) fn enter(self: &Arc<Self>, ledger: &Ledger, key: &IdempotencyKey) -> Entered {
        self.count.send_if_modified(|count| {
            *count += 1;
            false
        });
        let mut table = locked(&self.table);
        table.keys.insert(key.fence(), key.clone());
        if !std::mem::replace(&mut table.is_kept, true) {
            let pause = (key.0.claim.lease() / 4).max(PAUSE_MIN);
            let first = ledger.engine.alarms.elapsed().saturating_add(pause);
            let engine = Arc::downgrade(&ledger.engine);
            let kept = Kept(Arc::downgrade(self));
            tokio::spawn(async move { kept.renew_all(engine, first, pause).await });
        }
        drop(table);
        Entered {
            running: Arc::clone(self),
            key: key.clone(),
        }
    }

    /// Renews the claim of a handler that runs; `false` where none of this layer has it.
    pub(super) async fn renew(&self, fence: Fence) -> bool {
        let key = locked(&self.table).keys.get(&fence).cloned();
        match key {
            // One that has ended meanwhile is not renewed, and the duplicate decides anew.
            Some(key) => {
                let renewed = key.renew().await;
                renewed.is_ok() || !locked(&self.table).keys.contains_key(&fence)
            }
            None => false,
        }
    }
}

/// The handler runs. Dropping it ends the claim, also by a panic, and also where something still
/// holds the request's extensions: no duplicate waits for those.
pub(super) struct Entered {
    running: Arc<Running>,
    key: IdempotencyKey,
}

impl Drop for Entered {
    fn drop(&mut self) {
        locked(&self.running.table).keys.remove(&self.key.fence());
        self.key.0.claim.live().end();
        self.running.count.send_if_modified(|count| {
            *count -= 1;
            *count == 0
        });
    }
}

/// The task that renews. It keeps neither the layer nor the ledger alive, and makes room for
/// another where it ends, also with its runtime.
struct Kept(Weak<Running>);

impl Kept {
    async fn renew_all(mut self, engine: Weak<Engine>, first: Duration, pause: Duration) {
        let mut at = first;
        loop {
            let signal = Signal::default();
            let alarm = engine
                .upgrade()
                .map(|engine| engine.alarms.set(at, &signal));
            match alarm {
                Some(Ok(_set)) => signal.fired().await,
                Some(Err(error)) => {
                    traced::trouble("leases of handlers are not renewed", &error);
                    return;
                }
                None => return,
            }
            // Counted from before the renewals, however long they take.
            let Some(now) = engine.upgrade().map(|engine| engine.alarms.elapsed()) else {
                return;
            };
            at = now.saturating_add(pause);
            let Some(due) = self.due(&engine, pause) else {
                return;
            };
            // All at once: they share commits.
            let mut renewals = JoinSet::new();
            for key in due {
                renewals.spawn(async move { key.renew().await });
            }
            // One that failed is tried again at the next turn; a claim that has ended is gone then.
            while renewals.join_next().await.is_some() {}
        }
    }

    /// The claims of which a quarter of the lease has passed; `None` where no handler runs.
    fn due(&mut self, engine: &Weak<Engine>, pause: Duration) -> Option<Vec<IdempotencyKey>> {
        let (running, engine) = (self.0.upgrade()?, engine.upgrade()?);
        let mut table = locked(&running.table);
        if table.keys.is_empty() {
            // In one step with looking: a handler that comes after it starts another task, of which
            // this one's end takes nothing away.
            table.is_kept = false;
            self.0 = Weak::new();
            return None;
        }
        let now = engine.holder.now();
        let keys = table.keys.values();
        let due = keys.filter(|key| {
            let left = key.deadline().saturating_since(now);
            left <= key.0.claim.lease().saturating_sub(pause)
        });
        Some(due.cloned().collect())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(running) = self.0.upgrade() {
            locked(&running.table).is_kept = false;
        }
    }
}
