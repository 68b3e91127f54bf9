//! Traces and metrics: what they tell, what they keep to themselves, and that neither can fail an
//! operation.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use idempotency_ledger::{
    Begin, EndingError, Fingerprint, Key, Ledger, ManualClock, Namespace, Policy, Timestamp,
};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Metadata, Recorder, SharedString, Unit,
};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};

const PAYMENTS: Namespace = Namespace::new("payments");

/// Collects a line for each event and span.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn push(&self, line: String) {
        self.0.lock().expect("no panic").push(line);
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().expect("no panic").clone()
    }

    #[track_caller]
    fn assert_has(&self, parts: &[&str]) {
        let all = self.all();
        let found = all
            .iter()
            .any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(found, "{parts:?} in {all:#?}");
    }
}

struct Written(String);

impl Visit for Written {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).expect("writes to memory");
    }
}

struct Collector {
    lines: Lines,
    panics: bool,
}

impl Collector {
    fn line(&self, metadata: &tracing::Metadata<'_>, fields: &Written) {
        assert!(!self.panics, "a subscriber that panics");
        self.lines.push(format!("{}{}", metadata.level(), fields.0));
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("idempotency_ledger")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Written(" span".to_owned());
        span.record(&mut fields);
        self.line(span.metadata(), &fields);
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Written(String::new());
        event.record(&mut fields);
        self.line(event.metadata(), &fields);
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {
        assert!(!self.panics, "a subscriber that panics");
    }
}

fn traced(panics: bool, work: impl FnOnce()) -> Lines {
    let lines = Lines::default();
    let collector = Collector {
        lines: lines.clone(),
        panics,
    };
    tracing::subscriber::with_default(collector, work);
    lines
}

/// Counts and gauges as lines `name{labels} value`.
struct Meter {
    lines: Lines,
    panics: bool,
}

struct Metric {
    name: String,
    lines: Lines,
}

impl CounterFn for Metric {
    fn increment(&self, value: u64) {
        self.lines.push(format!("{} +{value}", self.name));
    }

    fn absolute(&self, value: u64) {
        self.lines.push(format!("{} ={value}", self.name));
    }
}

impl GaugeFn for Metric {
    fn increment(&self, value: f64) {
        self.lines.push(format!("{} +{value}", self.name));
    }

    fn decrement(&self, value: f64) {
        self.lines.push(format!("{} -{value}", self.name));
    }

    fn set(&self, value: f64) {
        self.lines.push(format!("{} ={value}", self.name));
    }
}

impl Meter {
    fn metric(&self, key: &metrics::Key) -> Arc<Metric> {
        assert!(!self.panics, "a recorder that panics");
        let mut name = key.name().to_owned();
        for label in key.labels() {
            write!(name, " {}={}", label.key(), label.value()).expect("writes to memory");
        }
        let lines = self.lines.clone();
        Arc::new(Metric { name, lines })
    }
}

impl Recorder for Meter {
    fn describe_counter(&self, key: metrics::KeyName, _: Option<Unit>, what: SharedString) {
        self.lines.push(format!("{} is {what}", key.as_str()));
    }

    fn describe_gauge(&self, key: metrics::KeyName, _: Option<Unit>, what: SharedString) {
        self.lines.push(format!("{} is {what}", key.as_str()));
    }

    fn describe_histogram(&self, _: metrics::KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &metrics::Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.metric(key))
    }

    fn register_gauge(&self, key: &metrics::Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.metric(key))
    }

    fn register_histogram(&self, _: &metrics::Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

fn metered(panics: bool, work: impl FnOnce()) -> Lines {
    let lines = Lines::default();
    let meter = Meter {
        lines: lines.clone(),
        panics,
    };
    metrics::with_local_recorder(&meter, work);
    lines
}

/// One of everything that a caller can meet.
fn history(show_keys: bool) {
    let clock = ManualClock::starting_at(Timestamp::from_unix_ms(1_800_000_000_000));
    let mut builder = Ledger::builder().clock(clock.clone());
    if show_keys {
        builder = builder.show_keys_in_traces();
    }
    let ledger = builder.in_memory().expect("opens");
    let key = Key::new("order-17-of-ann").expect("a key");
    let asked = Fingerprint::of(["25 EUR"]);
    let begin = || {
        ledger
            .operation(PAYMENTS, &key, asked)
            .begin()
            .expect("works")
    };
    let Begin::Fresh(claim) = begin() else {
        panic!("the key is new");
    };
    assert!(matches!(begin(), Begin::Refused(_)));
    clock.advance(claim.lease());
    let Begin::Interrupted(ticket) = begin() else {
        panic!("its lease is over");
    };
    let usurper = ticket.rerun().expect("taken over");
    let late = claim.complete("late").expect_err("taken over");
    assert!(matches!(late.error, EndingError::Superseded));
    usurper.complete("charged").expect("stored");
    assert!(matches!(begin(), Begin::Replay(_)));
    let other = ledger.operation(PAYMENTS, &key, Fingerprint::NONE).begin();
    assert!(matches!(other, Ok(Begin::Refused(_))));
    let short = PAYMENTS.policy(Policy::DEFAULT.retention(claim_span()));
    let second = Key::new("second").expect("a key");
    let request = ledger.operation(short, &second, asked);
    let ran = request.run_bytes(|_| Ok::<_, std::io::Error>("ok"));
    assert!(ran.is_ok());
    clock.advance(std::time::Duration::from_secs(90_000));
    assert_eq!(ledger.sweep(10).expect("sweeps").removed, 2);
    ledger.record_gauges().expect("reads");
}

fn claim_span() -> std::time::Duration {
    std::time::Duration::from_secs(3_600)
}

#[test]
fn traces_tell_what_callers_met_and_keep_keys_to_themselves() {
    let lines = traced(false, || history(false));
    for (level, what) in [
        ("DEBUG", "claimed"),
        ("DEBUG", "in_progress"),
        ("WARN", "interrupted"),
        ("WARN", "superseded"),
        ("DEBUG", "completed"),
        ("DEBUG", "replayed"),
        ("INFO", "mismatch"),
    ] {
        lines.assert_has(&[level, what, "payments", "<15 bytes>"]);
    }
    lines.assert_has(&["replayed", "delay_ms=60000"]);
    lines.assert_has(&["WARN", "retention 3600s instead of 86400s"]);
    lines.assert_has(&["swept", "records=2"]);
    for call in ["begin", "commit", "sweep"] {
        lines.assert_has(&["span", &format!("call={call:?}")]);
    }
    let all = lines.all();
    assert!(
        !all.iter().any(|line| line.contains("order-17")),
        "{all:#?}"
    );
    let shown = traced(false, || history(true));
    shown.assert_has(&["replayed", "order-17-of-ann"]);
}

#[test]
fn metrics_count_what_callers_met() {
    let lines = metered(false, || history(false));
    for event in [
        "claimed",
        "in_progress",
        "interrupted",
        "superseded",
        "replayed",
        "mismatch",
    ] {
        let label = format!("event={event}");
        lines.assert_has(&["idempotency_events_total namespace=payments", &label, "+1"]);
    }
    lines.assert_has(&["idempotency_swept_records_total namespace=payments +2"]);
    lines.assert_has(&["idempotency_commits_total +1"]);
    lines.assert_has(&["idempotency_records namespace=payments state=completed =0"]);
    lines.assert_has(&["idempotency_events_total is What callers met"]);
    let all = lines.all();
    assert!(
        !all.iter().any(|line| line.contains("order-17")),
        "{all:#?}"
    );
}

#[test]
fn neither_can_fail_an_operation() {
    let traced = traced(true, || history(false));
    let metered = metered(true, || history(false));
    assert_eq!(traced.all(), Vec::<String>::new());
    assert!(metered.all().iter().all(|line| line.contains(" is ")));
}

/// A subscriber that asks the ledger while it is told of a commit.
struct Nosy(Arc<Mutex<Option<Ledger>>>, Lines);

impl Subscriber for Nosy {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("idempotency_ledger") && metadata.is_span()
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Written(String::new());
        span.record(&mut fields);
        let ledger = self.0.lock().expect("no panic").take();
        if let Some(ledger) = ledger
            && fields.0.contains("commit")
        {
            self.1.push(format!("{:?}", ledger.sweep(1)));
        }
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}
    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}
    fn event(&self, _event: &Event<'_>) {}
    fn enter(&self, _span: &Id) {}
    fn exit(&self, _span: &Id) {}
}

#[test]
fn a_subscriber_that_writes_during_a_commit_is_told_that_it_would_wait_for_itself() {
    let ledger = Ledger::in_memory().expect("opens");
    let (asked, lines) = (Arc::new(Mutex::new(None)), Lines::default());
    let nosy = Nosy(Arc::clone(&asked), lines.clone());
    tracing::subscriber::with_default(nosy, || {
        let key = Key::new("a").expect("a key");
        let request = ledger.operation(PAYMENTS, &key, Fingerprint::NONE);
        // Only the span of the commit is told behind this.
        let Begin::Fresh(claim) = request.begin().expect("works") else {
            panic!("the key is new");
        };
        *asked.lock().expect("no panic") = Some(ledger.clone());
        claim.complete("ok").expect("stored");
    });
    lines.assert_has(&["WouldDeadlock"]);
}
