//! Policies for what people usually guard, each with its reasons.

use core::time::Duration;

use super::Policy;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Policies by what they guard. Start from one and change what differs:
/// `Policy::PAYMENTS.lease(..)`.
///
/// | policy | retention | lease |
/// | --- | --- | --- |
/// | [`Policy::PAYMENTS`] | 72 h | 60 s |
/// | [`Policy::WEBHOOKS`] | 7 days | 5 min |
/// | [`Policy::QUEUES`] | 14 days | 15 min |
/// | [`Policy::BATCH_JOBS`] | 35 days | 6 h |
impl Policy {
    /// Payments and orders: answers for 72 hours, so that a person who comes back after a weekend
    /// still gets the same receipt, and claims for a minute, which is longer than a bank takes and
    /// short enough for a customer who waits. Stale keys are refused: a charge that was swept never
    /// runs again.
    pub const PAYMENTS: Self = Self::DEFAULT
        .lease(Duration::from_secs(MINUTE))
        .retention(Duration::from_secs(3 * DAY))
        .refuse_stale_keys();

    /// Webhooks whose sender waits for an answer: seven days, since Stripe retries for three and
    /// others longer, and five minutes for the handler. Where no answer is needed, use a
    /// [`DedupTable`](crate::DedupTable) instead.
    pub const WEBHOOKS: Self = Self::DEFAULT
        .lease(Duration::from_secs(5 * MINUTE))
        .retention(Duration::from_secs(7 * DAY));

    /// Messages of a queue: fourteen days, the longest that SQS keeps one, so that no redelivery
    /// comes behind the memory, and a lease of a quarter of an hour. Choose the lease no shorter
    /// than the queue's visibility timeout.
    pub const QUEUES: Self = Self::DEFAULT
        .lease(Duration::from_secs(15 * MINUTE))
        .retention(Duration::from_secs(14 * DAY));

    /// Jobs by the calendar, keyed by their date: 35 days, so that a monthly run is known until the
    /// next, and a lease of six hours. Renew the claim of a job that runs longer.
    pub const BATCH_JOBS: Self = Self::DEFAULT
        .lease(Duration::from_secs(6 * HOUR))
        .retention(Duration::from_secs(35 * DAY));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_preset_is_a_policy_whose_retention_outlives_its_lease_by_far() {
        for preset in [
            Policy::PAYMENTS,
            Policy::WEBHOOKS,
            Policy::QUEUES,
            Policy::BATCH_JOBS,
        ] {
            assert_eq!(preset.check(), Ok(()));
            assert!(
                preset.retention_span() > preset.lease_span() * 100,
                "{preset:?}"
            );
        }
        assert!(Policy::PAYMENTS.refuses_stale_keys());
    }
}
