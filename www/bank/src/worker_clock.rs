//! The browser's clock, since there the standard library has none.

use std::time::Duration;

use idempotency_ledger::{Clock, Timestamp};
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = Date, js_name = now)]
    fn wall_ms() -> f64;

    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    fn running_ms() -> f64;
}

/// What a Service Worker reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WorkerClock;

impl WorkerClock {
    /// A clock of this worker.
    pub(crate) const fn new() -> Self {
        Self
    }
}

impl Clock for WorkerClock {
    fn wall(&self) -> Timestamp {
        let since = Duration::from_secs_f64(wall_ms().max(0.0) / 1_000.0);
        Timestamp::from_unix_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_secs_f64(running_ms().max(0.0) / 1_000.0)
    }
}
