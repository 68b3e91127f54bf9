//! Operations of several steps: after any death they go on behind the last step that is done.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};

use idempotency_ledger::{
    BeginIn, EndingError, Error, Invalid, Key, Ledger, ManualClock, Outcome, Policy, RunError,
    StepError, Steps, StoredValue, ValueFormat, Verify, WriteTxn, encode_stored,
};
use idempotency_tests::storage::{Disk, Survivors, Watched};
use idempotency_tests::workload::BALANCES;
use idempotency_tests::{Expect, PAYMENTS, asked, begin, clock, in_memory, key, seconds, until};
use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use crate::child::Child;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note(String);
impl StoredValue for Note {
    const SCHEMA: &str = "note/1";
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Number(u64);
impl StoredValue for Number {
    const SCHEMA: &str = "number/1";
}

/// The other side: how often each reference was used for each step.
type Calls = RefCell<BTreeMap<(String, String), usize>>;

fn call(calls: &Calls, step: &str, child_key: &Key) {
    let place = (step.to_owned(), child_key.as_str().to_owned());
    *calls.borrow_mut().entry(place).or_default() += 1;
}

pub(crate) type Ran = Result<Outcome<Note>, RunError<StepError<&'static str>, Note>>;

/// Authorizes elsewhere, books here, sends elsewhere.
fn order(ledger: &Ledger, calls: &Calls) -> Ran {
    order_telling(ledger, |step, child_key| call(calls, step, child_key))
}

/// The same, with somebody else who takes note of the calls.
pub(crate) fn order_telling(ledger: &Ledger, call: impl Fn(&str, &Key)) -> Ran {
    ledger
        .operation(PAYMENTS, &key("order"), asked())
        .run_steps(|steps| {
            let authorized = steps.outside("authorize", |child_key| {
                call("authorize", child_key);
                Ok(Note(child_key.as_str().to_owned()))
            })?;
            steps.inside("book", |txn| {
                let mut balances = txn.open_table(BALANCES).map_err(|_| "no table")?;
                let old = balances.get("a").map_err(|_| "no read")?;
                let new = old.map_or(0, |old| old.value()) + 25;
                balances.insert("a", new).map_err(|_| "no write")?;
                Ok(Number(new))
            })?;
            steps.outside("send", |child_key| {
                call("send", child_key);
                Ok(Note("sent".to_owned()))
            })?;
            Ok(authorized)
        })
}

fn balance(ledger: &Ledger) -> u64 {
    let txn = ledger.write().expect("begins");
    let balances = txn.open_table(BALANCES).expect("opens");
    balances.get("a").expect("reads").map_or(0, |it| it.value())
}

/// What is true behind the end of the order, however often it was tried.
#[track_caller]
fn hold_at_the_end(ledger: &Ledger, ran: Ran, calls: &Calls, context: &str) {
    let outcome = ran.unwrap_or_else(|error| panic!("{context}: {error}"));
    assert_eq!(balance(ledger), 25, "{context}: booked once");
    let calls = calls.borrow();
    let keys = calls.keys().map(|(step, _)| step.as_str());
    assert!(
        keys.eq(["authorize", "send"]),
        "{context}: one key a step: {calls:?}"
    );
    assert_eq!(
        outcome.get().0,
        calls.keys().next().expect("called").1,
        "{context}"
    );
    drop(calls);
    let again = order(ledger, &Calls::default()).expect("replays");
    assert!(again.is_replay(), "{context}");
    assert_eq!(again.get(), outcome.get(), "{context}");
    assert_eq!(
        ledger.check().expect("checks").problems,
        Vec::<String>::new()
    );
}

#[test]
fn each_step_happens_once_and_costs_one_commit() {
    let (ledger, _clock) = in_memory();
    let calls = Calls::default();
    let before = ledger.stats().expect("counts").commits;
    let ran = order(&ledger, &calls);
    let commits = ledger.stats().expect("counts").commits - before;
    assert_eq!(commits, 5, "begin, three steps, end");
    assert!(calls.borrow().values().all(|count| *count == 1));
    hold_at_the_end(&ledger, ran, &calls, "without a fault");
}

#[test]
fn a_step_that_fails_or_panics_is_tried_again_and_those_before_it_are_not() {
    let (ledger, _clock) = in_memory();
    let count = RefCell::new(Vec::new());
    let run = |inside: &dyn Fn() -> Result<Number, &'static str>,
               last: Result<(), &'static str>| {
        ledger
            .operation(PAYMENTS, &key("k"), asked())
            .run_steps(|steps| {
                count
                    .borrow_mut()
                    .push(format!("begin {}", steps.is_resumed()));
                steps.outside("first", |child_key| {
                    count.borrow_mut().push(format!("first {child_key}"));
                    Ok(Number(1))
                })?;
                let booked = steps.inside("second", |txn| {
                    let mut balances = txn.open_table(BALANCES).expect("opens");
                    balances.insert("a", 7).expect("inserts");
                    inside()
                })?;
                steps.outside("third", |_| last.map(|()| Number(3)))?;
                Ok(booked)
            })
    };
    let failed = run(&|| Err("no stock"), Ok(()));
    assert!(matches!(
        failed,
        Err(RunError::Operation(StepError::Failed("no stock")))
    ));
    assert_eq!(balance(&ledger), 0, "what failed inside is rolled back");
    let panicked = catch_unwind(AssertUnwindSafe(|| run(&|| panic!("in the step"), Ok(()))));
    assert!(panicked.is_err(), "the panic goes on");
    assert_eq!(balance(&ledger), 0);
    let failed = run(&|| Ok(Number(2)), Err("no mail"));
    assert!(matches!(
        failed,
        Err(RunError::Operation(StepError::Failed("no mail")))
    ));
    assert_eq!(balance(&ledger), 7);
    let outcome = run(&|| panic!("it is done"), Ok(())).expect("ends");
    assert_eq!((outcome.get(), outcome.is_replay()), (&Number(2), false));
    let said = count.borrow();
    assert_eq!(
        said.iter().filter(|line| line.starts_with("first")).count(),
        1
    );
    let begins: Vec<_> = said
        .iter()
        .filter(|line| line.starts_with("begin"))
        .collect();
    assert_eq!(
        begins,
        ["begin false", "begin true", "begin true", "begin true"]
    );
}

#[test]
fn a_power_cut_at_any_step_of_the_storage_is_resumed_to_the_same_end() {
    let (rig, calls) = (Rig::new(), Calls::default());
    let first = rig.storage.counts().steps();
    let ran = order(&rig.ledger, &calls);
    let steps = rig.storage.counts().steps() - first;
    hold_at_the_end(&rig.ledger, ran, &calls, "without a fault");
    for step in 0..steps {
        for survivors in [Survivors::None, Survivors::All, Survivors::Drawn(step)] {
            let context = format!("step {step} of {steps}, {survivors:?}");
            let (rig, calls) = (Rig::new(), Calls::default());
            rig.storage.fail_from(step, ErrorKind::Other);
            let _ = order(&rig.ledger, &calls);
            let disk = Disk::holding(rig.disk.after_power_cut(survivors));
            let ledger = open(disk, &rig.clock);
            let ran = order(&ledger, &calls);
            let most = calls.borrow().values().copied().max();
            assert!(most <= Some(2), "{context}: {calls:?}");
            hold_at_the_end(&ledger, ran, &calls, &context);
        }
    }
}

struct Rig {
    disk: Disk,
    storage: Watched,
    clock: ManualClock,
    ledger: Ledger,
}

impl Rig {
    fn new() -> Self {
        let (disk, clock) = (Disk::default(), clock());
        let storage = Watched::new(disk.clone());
        let builder = Ledger::builder().clock(clock.clone());
        let ledger = builder.open_backend(storage.clone()).expect("opens");
        Self {
            disk,
            storage,
            clock,
            ledger,
        }
    }
}

fn open(disk: Disk, clock: &ManualClock) -> Ledger {
    let builder = Ledger::builder().clock(clock.clone());
    builder
        .verify(Verify::Always)
        .open_backend(disk)
        .expect("opens")
}

#[test]
fn killed_at_any_step_the_next_process_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut step = 0;
    loop {
        let path = folder.path().join(format!("{step}.redb"));
        let mut child = Child::start();
        child.say(&format!("steps-stop-at {step} {}", path.display()));
        let calls = Calls::default();
        let was_done = loop {
            let line = child.hear().expect("the child lives until it is killed");
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["called", name, child_key] => call(&calls, name, &key(child_key)),
                ["stopped"] => break false,
                ["done"] => break true,
                _ => panic!("the child said {line}"),
            }
        };
        child.kill();
        let ledger = Ledger::builder().clock(clock()).verify(Verify::Always);
        let ledger = ledger.open(&path).expect("opens after a kill");
        let ran = order(&ledger, &calls);
        hold_at_the_end(&ledger, ran, &calls, &format!("killed at {step}"));
        if was_done {
            assert!(step > 20, "every step of five commits was seen: {step}");
            return;
        }
        step += 1;
    }
}

/// The step whose turn it was, and the one that was asked for.
#[track_caller]
fn out_of_order(ran: Result<Outcome<Number>, RunError<StepError<&str>, Number>>) -> String {
    match ran {
        Err(RunError::Operation(StepError::OutOfOrder { expected, found })) => {
            format!("{expected:?} {found:?}")
        }
        other => panic!("expected another order, got {other:?}"),
    }
}

#[test]
fn steps_that_changed_run_nothing() {
    let (ledger, _clock) = in_memory();
    let run = |names: &[&str], fails: bool| {
        ledger
            .operation(PAYMENTS, &key("k"), asked())
            .run_steps(|steps| {
                for name in names {
                    steps.outside(name, |_| Ok(Number(1)))?;
                }
                if fails {
                    return Err(StepError::Failed("later"));
                }
                Ok(Number(2))
            })
    };
    assert!(run(&["a", "b"], true).is_err());
    assert_eq!(out_of_order(run(&["b", "a"], false)), r#""a" "b""#);
    assert_eq!(out_of_order(run(&["a", "c"], false)), r#""b" "c""#);
    assert_eq!(
        out_of_order(run(&["a"], false)),
        r#""b" """#,
        "one is left out"
    );
    assert_eq!(
        out_of_order(run(&["a", "b", "a"], false)),
        r#""a" "a""#,
        "twice"
    );
    for unusable in ["", "a\nb", &"x".repeat(256)] {
        let refused = run(&["a", "b", unusable], false);
        assert!(matches!(
            refused,
            Err(RunError::Operation(StepError::Ending(EndingError::Ledger(
                Error::Invalid(Invalid::Step(_))
            ))))
        ));
    }
    assert!(
        run(&["a", "b", "c"], false).is_ok(),
        "one more is no contradiction"
    );
}

#[test]
fn behind_a_failed_step_only_itself_may_follow() {
    let (ledger, _clock) = in_memory();
    let ran = ledger
        .operation(PAYMENTS, &key("k"), asked())
        .run_steps(|steps| {
            let failed = steps.outside("bank 1", |_| Err::<Number, _>("timeout"));
            assert!(matches!(failed, Err(StepError::Failed("timeout"))));
            let other = steps.outside("bank 2", |_| -> Result<Number, &str> {
                panic!("a retry would begin with bank 1 again")
            });
            assert!(
                matches!(other, Err(StepError::OutOfOrder { .. })),
                "{other:?}"
            );
            steps.outside("bank 1", |_| Ok::<_, &str>(Number(1)))
        });
    assert!(ran.is_ok(), "{ran:?}");
}

#[test]
fn a_value_of_another_schema_is_handed_over_and_not_run_again() {
    let (ledger, _clock) = in_memory();
    let request = || ledger.operation(PAYMENTS, &key("k"), asked());
    let first = request().run_steps(|steps| {
        steps.outside("a", |_| Ok(Number(1)))?;
        Err::<Number, _>(StepError::Failed("later"))
    });
    assert!(first.is_err());
    let second = request()
        .run_steps(|steps| steps.outside("a", |_| -> Result<Note, &str> { panic!("it is done") }));
    let Err(RunError::Operation(StepError::Undecodable { step, expected, .. })) = second else {
        panic!("expected what cannot be read, got {second:?}");
    };
    assert_eq!((step.as_str(), expected), ("a", "note/1"));
}

#[test]
fn an_operation_that_was_begun_otherwise_is_not_taken_over() {
    let (ledger, clock) = in_memory();
    let calls = Calls::default();
    drop(begin(&ledger, "order").fresh());
    let refused = order(&ledger, &calls);
    assert!(
        matches!(refused, Err(RunError::Interrupted(_))),
        "{refused:?}"
    );
    begin(&ledger, "order")
        .interrupted()
        .release()
        .expect("released");
    // A checkpoint of the application's own is none of this runner's either.
    let claim = begin(&ledger, "order").fresh();
    claim.checkpoint("authorize", b"by hand").expect("stored");
    drop(claim);
    let refused = order(&ledger, &calls);
    let Err(RunError::Interrupted(ticket)) = refused else {
        panic!("expected a ticket, got {refused:?}");
    };
    ticket.complete("by hand").expect("completed");
    assert!(calls.borrow().is_empty());
    clock.advance(seconds(1));
}

#[test]
fn a_holder_that_lives_is_not_taken_over_and_each_step_has_the_whole_lease() {
    let (ledger, clock) = in_memory();
    let ran = ledger
        .operation(PAYMENTS, &key("order"), asked())
        .run_steps(|steps| {
            let begun = steps.deadline();
            clock.advance(seconds(40));
            steps.outside("a", |_| Ok::<_, &str>(Number(1)))?;
            assert_eq!(steps.deadline(), begun.saturating_add(seconds(40)));
            clock.advance(seconds(61));
            // Overdue now: another caller gets a ticket, and nothing runs twice.
            let other = order(&ledger, &Calls::default());
            let Err(RunError::Interrupted(ticket)) = other else {
                panic!("expected a ticket, got {other:?}");
            };
            assert!(ticket.is_overdue());
            steps.outside("b", |_| Ok(Number(2)))
        });
    assert_eq!(ran.expect("ends").get(), &Number(2));
}

#[test]
fn a_value_above_the_limit_is_refused_and_the_step_may_be_tried_again() {
    let (ledger, _clock) = in_memory();
    let small = PAYMENTS.policy(Policy::DEFAULT.response_bytes_max(128));
    let ran = ledger
        .operation(small, &key("k"), asked())
        .run_steps(|steps| {
            let large = steps.outside("a", |_| Ok::<_, &str>(Note("x".repeat(128))));
            assert!(matches!(
                large,
                Err(StepError::Ending(EndingError::Ledger(Error::Invalid(
                    Invalid::Response { .. }
                ))))
            ));
            steps.outside("a", |_| Ok::<_, &str>(Note("a reference".to_owned())))
        });
    assert_eq!(ran.expect("ends").get().0, "a reference");
}

#[test]
fn a_step_inside_is_superseded_by_who_took_over_and_rolled_back() {
    let (ledger, clock) = in_memory();
    let ran = ledger
        .operation(PAYMENTS, &key("k"), asked())
        .run_steps(|steps| {
            clock.advance(seconds(61));
            begin(&ledger, "k")
                .interrupted()
                .complete("by hand")
                .expect("completed");
            steps.inside("book", |txn| {
                let mut balances = txn.open_table(BALANCES).expect("opens");
                balances.insert("a", 7).expect("inserts");
                Ok::<_, &str>(Number(7))
            })
        });
    assert!(matches!(
        ran,
        Err(RunError::Operation(StepError::Ending(
            EndingError::Superseded
        )))
    ));
    assert_eq!(balance(&ledger), 0);
}

#[test]
fn behind_an_unknown_commit_nothing_more_runs_and_the_next_call_finds_out() {
    for number in 0..12 {
        let rig = Rig::new();
        let ran = RefCell::new(0);
        let request = || rig.ledger.operation(PAYMENTS, &key("k"), asked());
        let book = |steps: &mut Steps| {
            steps.inside("book", |txn| {
                *ran.borrow_mut() += 1;
                let mut balances = txn.open_table(BALANCES).expect("opens");
                let old = balances.get("a").expect("reads").map_or(0, |it| it.value());
                balances.insert("a", old + 25).expect("inserts");
                Ok::<_, &str>(Number(old + 25))
            })
        };
        let first = request().run_steps(|steps| {
            steps.outside("ask", |_| Ok(Number(1)))?;
            rig.storage.fail_once(number, ErrorKind::Other);
            let stubborn = (0..3).map(|_| book(steps)).find(Result::is_ok);
            rig.storage.heal();
            stubborn.unwrap_or(Err(StepError::Failed("it gave up")))
        });
        let second = request().run_steps(|steps| {
            steps.outside("ask", |_| -> Result<Number, &str> { panic!("it is done") })?;
            book(steps)
        });
        assert!(second.is_ok(), "{number}: {first:?}, then {second:?}");
        assert_eq!(
            balance(&rig.ledger),
            25,
            "{number}: booked once, tried {} times",
            ran.borrow()
        );
    }
}

#[test]
fn a_step_that_could_not_begin_or_panicked_is_not_passed_over() {
    let clock = clock();
    let builder = Ledger::builder().clock(clock.clone());
    let ledger = builder.busy_timeout(seconds(1)).in_memory().expect("opens");
    let request = |text: &str| ledger.operation(PAYMENTS, &key(text), asked());
    let after = |steps: &mut Steps| steps.outside("send", |_| Ok::<_, &str>(Number(2)));
    let busy = request("busy").run_steps(|steps| {
        std::thread::scope(|scope| {
            let (held, is_held) = std::sync::mpsc::channel();
            let (over, is_over) = std::sync::mpsc::channel::<()>();
            let ledger = &ledger;
            scope.spawn(move || {
                let txn = ledger.write().expect("begins");
                held.send(()).expect("somebody listens");
                let _ = is_over.recv();
                txn.abort();
            });
            is_held.recv().expect("it begins");
            scope.spawn(|| {
                until("it waits for the writer", || clock.waiting() == 1);
                clock.advance(seconds(1));
            });
            let refused = steps.inside("book", |_| Ok::<_, &str>(Number(1)));
            assert!(
                matches!(
                    &refused,
                    Err(StepError::Ending(EndingError::Ledger(Error::Busy { .. })))
                ),
                "{refused:?}"
            );
            drop(over);
        });
        after(steps)
    });
    let Err(RunError::Operation(StepError::OutOfOrder { expected, .. })) = busy else {
        panic!("the booking was passed over: {busy:?}");
    };
    assert_eq!(expected, "book");
    let panicked = request("panicked").run_steps(|steps| {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            steps.outside("charge", |_| -> Result<Number, &str> {
                panic!("in the step")
            })
        }));
        assert!(caught.is_err());
        after(steps)
    });
    assert!(matches!(
        panicked,
        Err(RunError::Operation(StepError::OutOfOrder { .. }))
    ));
}

#[test]
fn a_claim_kept_inside_a_step_or_a_transaction_is_refused() {
    let (ledger, _clock) = in_memory();
    let keep = |txn: &WriteTxn<'_>| match ledger
        .operation(PAYMENTS, &key("other"), asked())
        .begin_in(txn)
    {
        Ok(BeginIn::Fresh(claim)) => claim.keep(),
        other => panic!("{other:?}"),
    };
    let ran = ledger
        .operation(PAYMENTS, &key("k"), asked())
        .run_steps(|steps| {
            steps.inside("keep", |txn| {
                keep(txn);
                Ok::<_, &str>(Number(1))
            })
        });
    assert!(matches!(
        ran,
        Err(RunError::Operation(StepError::Ending(EndingError::Ledger(
            Error::Unsupported { .. }
        ))))
    ));
    let request = ledger.operation(PAYMENTS, &key("l"), asked());
    let transacted = request.transact_bytes(|_, txn| {
        keep(txn);
        Ok::<_, &str>("done")
    });
    assert!(matches!(
        transacted,
        Err(RunError::Ledger(Error::Unsupported { .. }))
    ));
    drop(begin(&ledger, "other").fresh());
}

#[test]
fn resuming_has_no_more_patience_than_its_caller() {
    let (ledger, clock) = in_memory();
    let held = begin(&ledger, "order").fresh();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let request = ledger.operation(PAYMENTS, &key("order"), asked());
            request
                .wait(seconds(5))
                .run_steps(|steps| steps.outside("a", |_| Ok::<_, &str>(Number(1))))
        });
        until("it waits", || clock.waiting() == 1);
        clock.advance(seconds(5));
        let refused = waiter.join().expect("no panic");
        assert!(matches!(refused, Err(RunError::Refused(_))), "{refused:?}");
    });
    drop(held);
}

#[test]
fn steps_that_the_version_before_stored_are_not_run_again() {
    let (ledger, _) = in_memory();
    // As the version before wrote it: one step, its value in bincode.
    let form = "idempotency-ledger/steps/1";
    let value = encode_stored(ValueFormat::Bincode, &Note("ch_1".into())).expect("encodes");
    let done = vec![("authorize".to_owned(), "note/1".to_owned(), value)];
    let journal = encode_stored(ValueFormat::Bincode, &(form, done)).expect("encodes");
    let claim = begin(&ledger, "order").fresh();
    claim.checkpoint("authorize", &journal).expect("stored");
    drop(claim);
    let calls = Calls::default();
    let ran = order(&ledger, &calls).expect("goes on");
    assert_eq!(ran.get(), &Note("ch_1".to_owned()));
    let steps: Vec<String> = calls.take().into_keys().map(|(step, _)| step).collect();
    assert_eq!(steps, ["send"]);
}
