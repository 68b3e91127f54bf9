//! What depends on the time: retries, the age of keys, expiry, and the time itself.

use std::time::Duration;

use idempotency_ledger::decision::{
    Claimed, Completion, Fence, Fingerprint, KEY_AHEAD_MAX, PolicyStamp, Record, Response, State,
    complete, key_age, retry_after,
};
use idempotency_ledger::{Key, Policy, Timekeeper, Timestamp};
use serde::Deserialize;

use super::decisions::Age;
use super::load;
use super::written::Number;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RetryFile {
    cases: Vec<RetryCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RetryCase {
    name: String,
    lease_until_ms: Number,
    retry_hint_ms: Number,
    now_ms: Number,
    retry_after_ms: Number,
}

#[test]
fn retry_after_is_what_is_left_of_the_lease_between_a_second_and_the_hint() {
    let file: RetryFile = load("retry_after.json");
    assert_eq!(file.cases.len(), 13);
    for case in &file.cases {
        let (lease_until, hint) = (case.lease_until_ms.time(), case.retry_hint_ms.span());
        let span = retry_after(lease_until, hint, case.now_ms.time());
        assert_eq!(span, case.retry_after_ms.span(), "{}", case.name);
    }
}

fn policy(refuse_stale_keys: bool, retention_ms: Number) -> Policy {
    let policy = Policy::DEFAULT.retention(retention_ms.span());
    if refuse_stale_keys {
        policy.refuse_stale_keys()
    } else {
        policy
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyAgeFile {
    ahead_max_ms: Number,
    cases: Vec<KeyAgeCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyAgeCase {
    name: String,
    refuse_stale_keys: bool,
    retention_ms: Number,
    key: String,
    newest_removed_ms: Option<Number>,
    now_ms: Number,
    age: Age,
}

#[test]
fn a_key_is_judged_by_the_time_inside_it() {
    let file: KeyAgeFile = load("key_age.json");
    assert_eq!(file.ahead_max_ms.span(), KEY_AHEAD_MAX);
    assert_eq!(file.cases.len(), 18);
    for case in &file.cases {
        let age = key_age(
            &policy(case.refuse_stale_keys, case.retention_ms),
            &Key::new(case.key.as_str()).expect("valid"),
            case.newest_removed_ms.map(Number::time),
            case.now_ms.time(),
        );
        assert_eq!(age, case.age.read(), "{}", case.name);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpiresAtFile {
    cases: Vec<ExpiryCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpiryCase {
    name: String,
    key: String,
    refuse_stale_keys: bool,
    retention_ms: Number,
    completed_at_ms: Number,
    expires_at_ms: Number,
}

#[test]
fn an_answer_expires_after_the_retention_and_not_before_its_key_is_stale() {
    let file: ExpiresAtFile = load("expires_at.json");
    assert_eq!(file.cases.len(), 9);
    for case in &file.cases {
        let policy = policy(case.refuse_stale_keys, case.retention_ms);
        let fence = Fence::from_stored(7);
        let claimed = Record {
            fingerprint: Fingerprint::NONE,
            fence,
            attempts: 1,
            first_claimed_at: Timestamp::EPOCH,
            claimed_at: Timestamp::EPOCH,
            policy: PolicyStamp::of(&policy, 1),
            holder: 1,
            program: String::new(),
            state: State::Claimed(Claimed {
                lease_until: Timestamp::EPOCH,
                checkpoint: None,
            }),
        };
        let key = Key::new(case.key.as_str()).expect("valid");
        let (response, now) = (Response::raw("done"), case.completed_at_ms.time());
        let done = complete(Some(&claimed), fence, &key, &policy, &response, now);
        let Ok(Completion::Store(record)) = done else {
            panic!("{}: {done:?}", case.name);
        };
        let expires_at = record.completed().map(|completed| completed.expires_at);
        assert_eq!(expires_at, Some(case.expires_at_ms.time()), "{}", case.name);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TimekeeperFile {
    sequences: Vec<Sequence>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sequence {
    name: String,
    mark_ms: Number,
    jump_max_ms: Number,
    steps: Vec<Step>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Step {
    Read {
        wall_ms: Number,
        elapsed_us: Number,
        now_ms: Number,
        unconfirmed_jump_ms: Option<Number>,
    },
    Confirm {
        wall_ms: Number,
        elapsed_us: Number,
        mark_ms: Number,
    },
    Absorb {
        seen_ms: Number,
        elapsed_us: Number,
        mark_ms: Number,
    },
}

#[test]
fn time_never_runs_back_and_follows_no_leap_that_nobody_confirmed() {
    let file: TimekeeperFile = load("timekeeper.json");
    assert_eq!(file.sequences.len(), 20);
    for sequence in &file.sequences {
        let mut time = Timekeeper::new(sequence.mark_ms.time(), sequence.jump_max_ms.span());
        for step in &sequence.steps {
            take_step(&mut time, step, &sequence.name);
        }
    }
}

fn take_step(time: &mut Timekeeper, step: &Step, name: &str) {
    match step {
        Step::Read {
            wall_ms,
            elapsed_us,
            now_ms,
            unconfirmed_jump_ms,
        } => {
            let reading = time.read(wall_ms.time(), Duration::from_micros(elapsed_us.0));
            assert_eq!(reading.now, now_ms.time(), "{name}: {step:?}");
            let jump = unconfirmed_jump_ms.map(Number::span);
            assert_eq!(reading.unconfirmed_jump, jump, "{name}: {step:?}");
        }
        Step::Confirm {
            wall_ms,
            elapsed_us,
            mark_ms,
        } => {
            time.confirm(wall_ms.time(), Duration::from_micros(elapsed_us.0));
            assert_eq!(time.mark(), mark_ms.time(), "{name}: {step:?}");
        }
        Step::Absorb {
            seen_ms,
            elapsed_us,
            mark_ms,
        } => {
            time.absorb(seen_ms.time(), Duration::from_micros(elapsed_us.0));
            assert_eq!(time.mark(), mark_ms.time(), "{name}: {step:?}");
        }
    }
}
