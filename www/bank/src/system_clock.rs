//! Outside of a browser, where the bank is tested, the operating system has the time.

pub(crate) use idempotency_ledger::SystemClock as WorkerClock;
