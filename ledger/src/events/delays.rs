//! How long after the first claim of a key its duplicates came.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Two significant digits: a bucket is at most 0.8 % wide, and its middle at most 0.4 % off. A
/// day of milliseconds then takes at most 2,500 buckets, of which those in use are stored.
const DIGITS: u8 = 2;
/// Longer delays are in the bucket of this one: 139 years, as after a clock that leapt.
const DELAY_MS_MAX: u64 = 1 << 42;

/// A histogram of delays, in milliseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delays {
    /// Made with the first delay: most namespaces have none.
    histogram: Option<Histogram<u64>>,
    max_ms: u64,
}

/// A bucket with something in it: its lowest delay in milliseconds, and how many.
pub(crate) type Bucket = (u64, u64);

impl Delays {
    pub(crate) fn record(&mut self, delay: Duration) {
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.max_ms = self.max_ms.max(delay_ms);
        self.record_many(delay_ms.min(DELAY_MS_MAX), 1);
    }

    fn record_many(&mut self, delay_ms: u64, count: u64) {
        self.max_ms = self.max_ms.max(delay_ms);
        let made = || Histogram::new(DIGITS).expect("two digits are possible");
        // It grows by itself; beyond what it can hold the delay is left out, which no limit above
        // lets happen.
        let _ = self
            .histogram
            .get_or_insert_with(made)
            .record_n(delay_ms, count);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (delay_ms, count) in other.buckets() {
            self.record_many(delay_ms, count);
        }
        self.max_ms = self.max_ms.max(other.max_ms);
    }

    /// The buckets that are not empty, shortest delay first.
    pub(crate) fn buckets(&self) -> Vec<Bucket> {
        let Some(histogram) = &self.histogram else {
            return Vec::new();
        };
        histogram
            .iter_recorded()
            .map(|step| {
                let lowest = histogram.lowest_equivalent(step.value_iterated_to());
                (lowest, step.count_at_value())
            })
            .collect()
    }

    /// What was stored.
    pub(crate) fn of_stored(buckets: &[Bucket], max_ms: u64) -> Self {
        let mut delays = Self::default();
        for &(delay_ms, count) in buckets {
            delays.record_many(delay_ms.min(DELAY_MS_MAX), count);
        }
        delays.max_ms = delays.max_ms.max(max_ms);
        delays
    }

    pub(crate) fn samples(&self) -> u64 {
        self.histogram.as_ref().map_or(0, Histogram::len)
    }

    /// The longest delay, exactly.
    pub(crate) const fn max(&self) -> Duration {
        Duration::from_millis(self.max_ms)
    }

    /// The delay that so many of a hundred duplicates did not exceed, to half a bucket.
    pub(crate) fn percentile(&self, percent: f64) -> Duration {
        let Some(histogram) = &self.histogram else {
            return Duration::ZERO;
        };
        let within = histogram.value_at_quantile(percent / 100.0);
        Duration::from_millis(histogram.median_equivalent(within).min(self.max_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_comes_back_and_adds_up() {
        let mut delays = Delays::default();
        for delay_ms in [0, 1, 7, 255, 256, 10_000, 10_001, 86_400_000, u64::MAX] {
            delays.record(Duration::from_millis(delay_ms));
        }
        let buckets = delays.buckets();
        assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), 9);
        let mut again = Delays::of_stored(&buckets, delays.max_ms);
        assert_eq!(again.buckets(), buckets);
        assert_eq!(again.max(), delays.max());
        again.add(&delays);
        let doubled: Vec<Bucket> = buckets.iter().map(|(at, count)| (*at, 2 * count)).collect();
        assert_eq!(again.buckets(), doubled);
    }

    #[test]
    fn a_bucket_is_narrow_and_few_are_needed() {
        let mut delays = Delays::default();
        let mut delay_ms = 1;
        while delay_ms < 7 * 86_400_000 {
            delays.record(Duration::from_millis(delay_ms));
            delay_ms += 1 + delay_ms / 2_000;
        }
        let buckets = delays.buckets();
        assert!(buckets.len() < 3_000, "{} buckets", buckets.len());
        for pair in buckets.windows(2) {
            let ([(low, _), (high, _)], true) = (pair, true) else {
                unreachable!("windows of two")
            };
            assert!(high - low <= 1 + low / 125, "{low} to {high}");
        }
    }
}
