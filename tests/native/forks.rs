//! A forked child inherits a ledger that is not its own: whatever it does with it, the parent's
//! file, locks and claims stay as they are.

use std::process;

use fork::Fork;
use idempotency_ledger::{Claim, Error, Ledger};
use idempotency_tests::{Expect, PAYMENTS, asked, begin, clock, key, seconds};

use crate::child::{Child, Session};

/// Forks, does `what` in the new process, ends that one as returning from `main` does, and says
/// how it ended.
pub(crate) fn fork_and(what: &str, session: &mut Session) -> String {
    match what {
        "drop" => said(forked(|| {
            session.claims.clear();
            drop(session.ledger.take());
        })),
        "close" => said(forked(|| {
            let ledger = session.ledger.take().expect("opened");
            let clone = ledger.clone();
            assert!(matches!(clone.close(), Err(Error::UsedAfterFork)));
            drop(ledger);
        })),
        "use" => said(forked(|| use_up(session))),
        "guards" => {
            let ledger = session.ledger.clone().expect("opened");
            let claim = &session.claims["held"];
            let mut guards = Some((
                claim.keep_alive(),
                ledger.sweep_every(seconds(1), 10),
                ledger.read().expect("reads"),
            ));
            said(forked(|| drop(guards.take())))
        }
        "transaction" => {
            let ledger = session.ledger.clone().expect("opened");
            let txn = ledger.write().expect("begins");
            write_own(&txn);
            let mut txn = Some(txn);
            let status = forked(|| drop(txn.take()));
            let txn = txn.take().expect("this process has it still");
            let _ = txn.commit().expect("commits");
            said(status)
        }
        "commit" => {
            let ledger = session.ledger.clone().expect("opened");
            let txn = ledger.write().expect("begins");
            write_own(&txn);
            let mut txn = Some(txn);
            let status = forked(|| {
                let txn = txn.take().expect("it was begun");
                assert!(matches!(txn.commit(), Err(Error::UsedAfterFork)));
            });
            drop(txn);
            said(status)
        }
        other => {
            let path = other.strip_prefix("open:").expect("a known line");
            said(forked(|| {
                let inherited = session.ledger.take();
                let builder = Ledger::builder().shared().clock(clock());
                let ledger = builder.open(path).expect("opens");
                drop(inherited);
                let _ = begin(&ledger, "held").refused();
                let claim = begin(&ledger, "by-the-child").fresh();
                claim.complete("child").expect("stored");
            }))
        }
    }
}

fn said(status: i32) -> String {
    format!("ended with {status}")
}

/// The exit code of a fork that does `work`.
fn forked(work: impl FnOnce()) -> i32 {
    match fork::fork().expect("forks") {
        Fork::Parent(child) => fork::waitpid(child).expect("it ends") >> 8,
        Fork::Child => {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            process::exit(i32::from(done.is_err()))
        }
    }
}

fn write_own(txn: &redb::WriteTransaction) {
    let table: redb::TableDefinition<'_, u64, u64> = redb::TableDefinition::new("own");
    let mut table = txn.open_table(table).expect("opens");
    table.insert(1, 1).expect("inserts");
}

/// Every way of using the inherited ledger is refused, and changes nothing.
fn use_up(session: &mut Session) {
    let ledger = session.ledger.take().expect("opened");
    let is_refused = |error: &Error| matches!(error, Error::UsedAfterFork);
    let begun = ledger.operation(PAYMENTS, &key("new"), asked()).begin();
    assert!(begun.is_err_and(|error| is_refused(&error)));
    assert!(ledger.write().is_err_and(|error| is_refused(&error)));
    assert!(ledger.read().is_err_and(|error| is_refused(&error)));
    assert!(ledger.stats().is_err_and(|error| is_refused(&error)));
    assert!(ledger.sweep(1).is_err_and(|error| is_refused(&error)));
    assert!(ledger.compact().is_err_and(|error| is_refused(&error)));
    assert!(ledger.check().is_err_and(|error| is_refused(&error)));
    assert!(ledger.reopen().is_err_and(|error| is_refused(&error)));
    let claims: Vec<Claim> = session.claims.drain().map(|(_, claim)| claim).collect();
    for claim in claims {
        let refused = claim
            .complete("by the child")
            .expect_err("it is the parent's");
        assert_eq!(refused.response.bytes(), b"by the child");
        drop(refused);
    }
}

/// A parent with a claim of `held`, an answer of `done`, and room that is filled ahead.
fn parent(mode: &str, path: &std::path::Path) -> Child {
    let mut parent = Child::with_open(mode, path);
    assert_eq!(parent.ask("begin done"), "fresh");
    assert_eq!(parent.ask("complete done answer"), "ok");
    assert_eq!(parent.ask("begin held"), "fresh");
    parent
}

#[test]
fn a_forked_child_that_drops_closes_or_uses_its_ledger_changes_nothing_of_the_parents() {
    for mode in ["exclusive", "shared"] {
        for what in ["drop", "close", "use", "guards"] {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("app.redb");
            let mut parent = parent(mode, &path);
            let before = std::fs::read(&path).expect("reads");
            let ended = parent.ask(&format!("fork {what}"));
            assert_eq!(ended, "ended with 0", "{mode} {what}");
            let after = std::fs::read(&path).expect("reads");
            assert!(before == after, "{mode} {what}: the file has changed");
            // Locks: of the file, and of the claim.
            let mut other = Child::start();
            let opened = other.ask(&format!("open {mode} {}", path.display()));
            if mode == "exclusive" {
                assert_eq!(opened, "AlreadyOpen", "{what}");
            } else {
                assert_eq!(opened, "opened", "{what}");
                assert_eq!(other.ask("begin held"), "in progress", "{what}");
            }
            drop(other);
            // The parent goes on, and all of it is there when it is gone.
            assert_eq!(parent.ask("begin done"), "replay answer", "{mode} {what}");
            assert_eq!(parent.ask("complete held once"), "ok", "{mode} {what}");
            for number in 0..20 {
                assert_eq!(parent.ask(&format!("begin more-{number}")), "fresh");
                assert_eq!(parent.ask(&format!("complete more-{number} a")), "ok");
            }
            parent.kill();
            let ledger = Ledger::builder().clock(clock()).open(&path).expect("opens");
            assert_eq!(begin(&ledger, "held").replay().response().bytes(), b"once");
            assert!(ledger.check().expect("checks").is_clean(), "{mode} {what}");
        }
    }
}

#[test]
fn a_transaction_that_a_fork_inherits_is_still_the_parents() {
    for mode in ["exclusive", "shared"] {
        for what in ["transaction", "commit"] {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("app.redb");
            let mut parent = parent(mode, &path);
            let ended = parent.ask(&format!("fork {what}"));
            assert_eq!(ended, "ended with 0", "{mode} {what}");
            assert_eq!(parent.ask("complete held once"), "ok", "{mode} {what}");
            parent.kill();
            let ledger = Ledger::builder().clock(clock()).open(&path).expect("opens");
            begin(&ledger, "held").replay();
            let own: redb::TableDefinition<'_, u64, u64> = redb::TableDefinition::new("own");
            let was_written = ledger.read().expect("reads").open_table(own).is_ok();
            assert_eq!(was_written, what == "transaction", "{mode}");
            assert!(ledger.check().expect("checks").is_clean(), "{mode} {what}");
        }
    }
}

#[test]
fn a_forked_child_may_open_a_shared_ledger_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    let mut parent = parent("shared", &path);
    assert_eq!(
        parent.ask(&format!("fork open:{}", path.display())),
        "ended with 0"
    );
    assert_eq!(parent.ask("begin by-the-child"), "replay child");
    assert_eq!(parent.ask("complete held once"), "ok");
}
