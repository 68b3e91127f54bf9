//! What depends on the time: retries, the age of keys, expiry, and the time itself.

use std::time::Duration;

use idempotency_ledger::decision::{
    ClaimLock, Claimed, Completion, Fence, Fingerprint, KEY_AHEAD_MAX, PolicyStamp, Record,
    Response, State, complete, key_age, retry_after,
};
use idempotency_ledger::time::{
    BootId, BootTime, ClockMark, ClockReading, ClockState, LEAP_BELIEVED_AFTER, LEAP_MIN, Leap,
    Timekeeper,
};
use idempotency_ledger::{Key, Policy, Timestamp};
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
    /// Left out where the wall clock is not ahead of the ledger's time.
    wall_ms: Option<Number>,
    age: Age,
}

#[test]
fn a_key_is_judged_by_the_time_inside_it() {
    let file: KeyAgeFile = load("key_age.json");
    assert_eq!(file.ahead_max_ms.span(), KEY_AHEAD_MAX);
    assert_eq!(file.cases.len(), 22);
    for case in &file.cases {
        let age = key_age(
            &policy(case.refuse_stale_keys, case.retention_ms),
            &Key::new(case.key.as_str()).expect("valid"),
            case.newest_removed_ms.map(Number::time),
            case.now_ms.time(),
            case.wall_ms
                .unwrap_or(case.now_ms)
                .time()
                .max(case.now_ms.time()),
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
                lock: ClaimLock::None,
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
    leap_min_ms: Number,
    leap_believed_after_ms: Number,
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
        boot: Option<Boot>,
        now_ms: Number,
        unconfirmed_jump_ms: Option<Number>,
        /// Left out where the sequence is about the time alone.
        clock: Option<Clock>,
    },
    Confirm {
        wall_ms: Number,
        elapsed_us: Number,
        mark_ms: Number,
    },
    ConfirmAt {
        wall_ms: Number,
        elapsed_us: Number,
        boot: Boot,
        mark_ms: Number,
    },
    TakeBack {
        wall_ms: Number,
        elapsed_us: Number,
        boot: Boot,
        mark_ms: Number,
        rewinds: u32,
    },
    Absorb {
        seen_ms: Number,
        elapsed_us: Number,
        mark_ms: Number,
    },
    AbsorbMark {
        seen: Mark,
        elapsed_us: Number,
        mark: Mark,
    },
    Mark(Mark),
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Boot {
    id: char,
    us: Number,
}

impl Boot {
    fn time(self) -> BootTime {
        BootTime {
            boot: BootId::from_bytes([self.id as u8; 16]),
            since_start: Duration::from_micros(self.us.0),
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Clock {
    Agrees,
    Leapt {
        by_ms: Number,
        since_ms: Number,
        believed_at_ms: Option<Number>,
    },
    Behind {
        by_ms: Number,
        since_ms: Number,
    },
}

impl Clock {
    fn state(self) -> ClockState {
        match self {
            Self::Agrees => ClockState::Agrees,
            Self::Leapt {
                by_ms,
                since_ms,
                believed_at_ms,
            } => ClockState::Leapt {
                by: by_ms.span(),
                since: since_ms.time(),
                believed_at: believed_at_ms.map(Number::time),
            },
            Self::Behind { by_ms, since_ms } => ClockState::Behind {
                by: by_ms.span(),
                since: since_ms.time(),
            },
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    rewinds: u32,
    now_ms: Number,
    boot: Option<Boot>,
    leap: Option<WrittenLeap>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenLeap {
    since_ms: Number,
    wall_ms: Number,
    unmeasured: bool,
}

impl Mark {
    fn mark(self) -> ClockMark {
        ClockMark {
            rewinds: self.rewinds,
            now: self.now_ms.time(),
            boot: self.boot.map(Boot::time),
            leap: self.leap.map(|leap| Leap {
                since: leap.since_ms.time(),
                wall: leap.wall_ms.time(),
                unmeasured: leap.unmeasured,
            }),
        }
    }
}

#[test]
fn time_never_runs_back_and_follows_no_leap_at_once() {
    let file: TimekeeperFile = load("timekeeper.json");
    assert_eq!(file.sequences.len(), 57);
    assert_eq!(file.leap_min_ms.span(), LEAP_MIN);
    assert_eq!(file.leap_believed_after_ms.span(), LEAP_BELIEVED_AFTER);
    for sequence in &file.sequences {
        let mut time = Timekeeper::new(sequence.mark_ms.time(), sequence.jump_max_ms.span());
        for step in &sequence.steps {
            take_step(&mut time, step, &sequence.name);
        }
    }
}

fn at(wall: Number, elapsed: Number, boot: Option<Boot>) -> ClockReading {
    ClockReading {
        wall: wall.time(),
        elapsed: Duration::from_micros(elapsed.0),
        boot: boot.map(Boot::time),
    }
}

fn take_step(time: &mut Timekeeper, step: &Step, name: &str) {
    match *step {
        Step::Read {
            wall_ms,
            elapsed_us,
            boot,
            now_ms,
            unconfirmed_jump_ms,
            clock,
        } => {
            let reading = time.read(at(wall_ms, elapsed_us, boot));
            assert_eq!(reading.now, now_ms.time(), "{name}: {step:?}");
            assert_eq!(reading.wall, wall_ms.time(), "{name}: {step:?}");
            let jump = unconfirmed_jump_ms.map(Number::span);
            assert_eq!(reading.unconfirmed_jump, jump, "{name}: {step:?}");
            if let Some(clock) = clock {
                assert_eq!(reading.clock, clock.state(), "{name}: {step:?}");
            }
        }
        Step::Confirm {
            wall_ms,
            elapsed_us,
            mark_ms,
        } => {
            time.confirm(at(wall_ms, elapsed_us, None));
            assert_eq!(time.mark().now, mark_ms.time(), "{name}: {step:?}");
        }
        Step::ConfirmAt {
            wall_ms,
            elapsed_us,
            boot,
            mark_ms,
        } => {
            time.confirm(at(wall_ms, elapsed_us, Some(boot)));
            assert_eq!(time.mark().now, mark_ms.time(), "{name}: {step:?}");
        }
        Step::TakeBack {
            wall_ms,
            elapsed_us,
            boot,
            mark_ms,
            rewinds,
        } => {
            time.take_back(at(wall_ms, elapsed_us, Some(boot)));
            let mark = time.mark();
            let found = (mark.now, mark.rewinds);
            assert_eq!(found, (mark_ms.time(), rewinds), "{name}: {step:?}");
        }
        Step::Absorb {
            seen_ms,
            elapsed_us,
            mark_ms,
        } => {
            let seen = ClockMark::from(seen_ms.time());
            time.absorb(seen, Duration::from_micros(elapsed_us.0));
            assert_eq!(time.mark().now, mark_ms.time(), "{name}: {step:?}");
        }
        Step::AbsorbMark {
            seen,
            elapsed_us,
            mark,
        } => {
            time.absorb(seen.mark(), Duration::from_micros(elapsed_us.0));
            assert_eq!(time.mark(), mark.mark(), "{name}: {step:?}");
        }
        Step::Mark(mark) => assert_eq!(time.mark(), mark.mark(), "{name}: {step:?}"),
    }
}
