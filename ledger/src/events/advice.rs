//! How long answers should be kept, from when duplicates really came.

use std::time::Duration;

use crate::decision::Namespace;
use crate::error::Error;
use crate::events::Noted;
use crate::events::delays::Delays;
use crate::store::engine::Engine;

/// How long after the first claim of a key its duplicates came, and what follows for the
/// retention; see [`Ledger::retention_advice`](crate::Ledger::retention_advice).
///
/// The rule is that of the trade: take the 99th percentile of the retries' delay, then double it.
/// A duplicate that came when its answer was swept already cannot be told from a new request, so
/// with a retention that is too short the advice is too short, too: watch
/// [`EventCounts::late`](crate::EventCounts::late), and ask with a generous retention.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// use std::time::Duration;
///
/// let clock = ManualClock::starting_at(Timestamp::from_unix_ms(1_800_000_000_000));
/// let ledger = Ledger::builder().clock(clock.clone()).in_memory()?;
/// let pay = || ledger.operation(PAYMENTS, &key, asked).run_bytes(|_| Ok::<_, Error>("charged"));
/// pay()?;
/// clock.advance(Duration::from_secs(20 * 3600));
/// pay()?; // a retry, 20 hours later
/// let advice = ledger.retention_advice(PAYMENTS)?;
/// assert_eq!((advice.samples, advice.max), (1, Duration::from_secs(20 * 3600)));
/// assert!(advice.is_retention_shorter(), "24 hours are less than twice 20");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionAdvice {
    /// How many duplicates were timed.
    pub samples: u64,
    /// Half of them came within this span, to half a percent. Zero without samples.
    pub p50: Duration,
    /// 90 of 100 came within this span.
    pub p90: Duration,
    /// 99 of 100 came within this span.
    pub p99: Duration,
    /// The longest, exactly.
    pub max: Duration,
    /// Twice the 99th percentile.
    pub proposed: Duration,
    /// The retention of the namespace that was asked for.
    pub retention: Duration,
    buckets: Vec<(u64, u64)>,
}

impl RetentionAdvice {
    /// Whether answers are kept for less than is proposed.
    #[must_use]
    pub fn is_retention_shorter(&self) -> bool {
        self.retention < self.proposed
    }

    /// The delays as a histogram for people: spans that double, each with how many came in it.
    /// Spans without any are there as well, between the first and the last that have some.
    #[must_use]
    pub fn histogram(&self) -> Vec<DelaySpan> {
        let mut spans: Vec<DelaySpan> = Vec::new();
        for &(delay_ms, count) in &self.buckets {
            // Below 2 ms, then 2 to 4, 4 to 8 and so on.
            let doubling = delay_ms.max(1).ilog2();
            loop {
                let next = match spans.last() {
                    None => doubling,
                    Some(last) if last.doubling < doubling => last.doubling + 1,
                    Some(_) => break,
                };
                spans.push(DelaySpan::of(next));
            }
            if let Some(last) = spans.last_mut() {
                last.count += count;
            }
        }
        spans
    }
}

/// One bar of [`RetentionAdvice::histogram`].
///
/// ```
/// # use idempotency_ledger::*;
/// # let ledger = Ledger::in_memory()?;
/// const EVENTS: DedupTable = DedupTable::new("events", DedupTable::ONE_DAY);
/// for _ in 0..3 {
///     let _ = ledger.dedup(EVENTS).observe("evt-1")?;
/// }
/// let bars = ledger.retention_advice(Namespace::of_dedup_table("events"))?.histogram();
/// assert_eq!(bars.iter().map(|bar| bar.count).sum::<u64>(), 2, "two repeats");
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DelaySpan {
    /// From this delay on.
    pub from: Duration,
    /// Below this delay.
    pub until: Duration,
    /// So many duplicates.
    pub count: u64,
    doubling: u32,
}

impl DelaySpan {
    fn of(doubling: u32) -> Self {
        let from_ms = if doubling == 0 { 0 } else { 1 << doubling };
        Self {
            from: Duration::from_millis(from_ms),
            until: Duration::from_millis(2 << doubling),
            count: 0,
            doubling,
        }
    }
}

pub(crate) fn retention_advice(
    engine: &Engine,
    namespace: &Namespace,
) -> Result<RetentionAdvice, Error> {
    let stored =
        engine.read(
            |snapshot| match engine.namespace_id(snapshot, namespace.name())? {
                Some(id) => snapshot.noted_or_none(id),
                None => Ok(Noted::default()),
            },
        )?;
    let mut noted = stored;
    noted.add(&engine.holder.events.not_stored(namespace.name()));
    Ok(advise(
        &noted.delays,
        namespace.current_policy().retention_span(),
    ))
}

fn advise(delays: &Delays, retention: Duration) -> RetentionAdvice {
    let p99 = delays.percentile(99.0);
    RetentionAdvice {
        samples: delays.samples(),
        p50: delays.percentile(50.0),
        p90: delays.percentile(90.0),
        p99,
        max: delays.max(),
        proposed: p99 * 2,
        retention,
        buckets: delays.buckets(),
    }
}
