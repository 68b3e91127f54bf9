//! Tickets: what they saw of a claim is what they may end, and nothing that came after it.

use idempotency_ledger::{
    Begin, BeginMany, Claim, EndingError, Error, KeyStanding, Ledger, Policy, RecordFilter,
    RecordInfo, RecordState, Refusal, Resolution, Resolved, Ticket, TicketError,
};
use idempotency_tests::workload::BALANCES;
use idempotency_tests::{Expect, PAYMENTS, asked, begin, in_memory, key, seconds};

/// An overdue claim with its ticket, from before the holder goes on.
fn overdue(draw: impl FnOnce(&Ledger) -> Ticket) -> (Ledger, Claim, Ticket) {
    let (ledger, clock) = in_memory();
    let claim = begin(&ledger, "k").fresh();
    clock.advance(seconds(60));
    let ticket = draw(&ledger);
    assert!(ticket.is_overdue());
    (ledger, claim, ticket)
}

fn drawn(ledger: &Ledger) -> Ticket {
    begin(ledger, "k").interrupted()
}

fn drawn_among_many(ledger: &Ledger) -> Ticket {
    let keys = ["k", "free"].map(|text| ledger.operation(PAYMENTS, &key(text), asked()));
    let BeginMany::Refused(standings) = ledger.begin_many(&keys).expect("works") else {
        panic!("one of them is interrupted");
    };
    match standings.into_iter().next() {
        Some(KeyStanding::Interrupted(ticket)) => ticket,
        other => panic!("expected a ticket, got {other:?}"),
    }
}

type End = fn(Ticket) -> Result<(), TicketError>;

fn blocking<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("starts")
        .block_on(future)
}

const ENDINGS: [(&str, End); 6] = [
    ("complete", |ticket| {
        ticket.complete("said by the bank").map(drop)
    }),
    ("release", Ticket::release),
    ("rerun", |ticket| ticket.rerun().map(drop)),
    ("complete_async", |ticket| {
        blocking(ticket.complete_async("said by the bank")).map(drop)
    }),
    ("release_async", |ticket| blocking(ticket.release_async())),
    ("rerun_async", |ticket| {
        blocking(ticket.rerun_async()).map(drop)
    }),
];

#[test]
fn a_ticket_drawn_before_a_renewal_ends_nothing() {
    for (name, end) in ENDINGS {
        for draw in [drawn, drawn_among_many] {
            let (ledger, claim, ticket) = overdue(draw);
            let until = claim.renew().expect("the fence stands");
            let refused = end(ticket).expect_err(name);
            assert!(matches!(refused.error, EndingError::Superseded), "{name}");
            // The holder has its lease, and is the one who ends the claim.
            let in_progress = begin(&ledger, "k").refused();
            assert!(matches!(in_progress, Refusal::InProgress { .. }), "{name}");
            assert_eq!(claim.lease_until(), until);
            claim.complete("done").expect(name);
            assert_eq!(begin(&ledger, "k").replay().response().bytes(), b"done");
        }
    }
}

#[test]
fn a_ticket_drawn_before_a_checkpoint_ends_nothing() {
    for (name, end) in ENDINGS {
        let (ledger, claim, ticket) = overdue(drawn);
        claim.checkpoint("authorized", b"ch_1").expect("stored");
        let refused = end(ticket).expect_err(name);
        assert!(matches!(refused.error, EndingError::Superseded), "{name}");
        let ticket = drawn(&ledger);
        let checkpoint = ticket.checkpoint().expect("the new ticket saw it");
        assert_eq!(checkpoint.bytes, b"ch_1");
        ticket.complete("seen with its checkpoint").expect(name);
    }
}

#[test]
fn a_ticket_that_completed_may_do_so_again_and_with_other_bytes_not() {
    let (ledger, claim, first) = overdue(drawn);
    let (second, third) = (drawn(&ledger), drawn(&ledger));
    first.complete("charged").expect("stored");
    // As after a commit of which nobody knows whether it is on disk.
    second
        .complete("charged")
        .expect("the same answer is stored");
    let refused = third.complete("declined").expect_err("another answer");
    assert!(matches!(refused.error, EndingError::DifferentResponse));
    assert!(matches!(begin(&ledger, "k"), Begin::Replay(_)));
    drop(claim);
}

#[test]
fn a_record_that_changed_since_it_was_seen_is_not_resolved_by_hand() {
    let (ledger, clock) = in_memory();
    let record = ledger.record(PAYMENTS, &key("k"));
    let seen = || record.peek().expect("reads").expect("there");
    let resolve = |seen: &RecordInfo| {
        let resolved = record.resolve_seen(seen, Resolution::Completed("by hand".into()));
        resolved.expect("works")
    };
    let claim = begin(&ledger, "k").fresh();
    clock.advance(seconds(60));
    let overdue = seen();
    assert_eq!(overdue.state(), RecordState::Interrupted);
    claim.renew().expect("the fence stands");
    let renewed = seen();
    claim.checkpoint("authorized", b"ch_1").expect("stored");
    drop(claim);
    assert_eq!(resolve(&overdue), Resolved::Superseded);
    assert_eq!(resolve(&renewed), Resolved::Superseded);
    let interrupted = seen();
    assert_eq!(resolve(&interrupted), Resolved::Done);
    assert_eq!(resolve(&interrupted), Resolved::AlreadyCompleted);
}

#[test]
fn an_interrupted_record_gives_its_ticket_its_child_key_and_a_transaction() {
    let (ledger, _) = in_memory();
    let shop = PAYMENTS.policy(Policy::DEFAULT.lease(seconds(90)).response_bytes_max(100));
    for text in ["happened", "did-not", "again", "running"] {
        let request = ledger
            .operation(shop.clone(), &key(text), asked())
            .scope("ann");
        drop(request.begin().expect("works").fresh());
    }
    let running = ledger.operation(shop.clone(), &key("running"), asked());
    let running = running.scope("ann").begin().expect("works").interrupted();
    let running = running.rerun().expect("taken over");

    let found = ledger.records(RecordFilter::all()).expect("lists");
    let found: Vec<RecordInfo> = found.collect::<Result<_, _>>().expect("reads");
    let ticket = |text: &str| {
        let mut found = found.iter();
        let info = found.find(|info| info.key().as_str() == text).expect(text);
        ledger
            .ticket(info)
            .expect("works")
            .map(|ticket| (info, ticket))
    };
    assert!(ticket("running").is_none(), "its holder lives");

    let (info, happened) = ticket("happened").expect("interrupted");
    assert_eq!(info.child_key("bank"), happened.child_key("bank"));
    let txn = ledger.write().expect("begins");
    txn.open_table(BALANCES)
        .expect("opens")
        .insert("ann", 25)
        .expect("inserts");
    let inside = happened.within(&txn).expect("of this ledger");
    inside.complete("charged").expect("stored");
    let _ = txn.commit().expect("commits");

    let (_, did_not) = ticket("did-not").expect("interrupted");
    did_not.release().expect("released");
    // Under the policy that is stored, not under a default one.
    let (_, again) = ticket("again").expect("interrupted");
    let claim = again.rerun().expect("taken over");
    assert_eq!(claim.lease(), seconds(90));
    assert!(claim.complete(vec![0; 101]).is_err());
    assert_eq!(ledger.policy_drifts(), []);

    let ask = |text: &str| {
        let request = ledger
            .operation(shop.clone(), &key(text), asked())
            .scope("ann");
        request.begin().expect("works")
    };
    assert_eq!(ask("happened").replay().response().bytes(), b"charged");
    let _ = ask("did-not").fresh();
    // What was found before is not what is there now.
    let (_, late) = ticket("happened").expect("as it was seen");
    let late = late.release().expect_err("it is completed");
    assert!(matches!(late.error, EndingError::Superseded));
    running.complete("done").expect("stored");
}

#[test]
fn a_record_of_a_key_gives_its_ticket_and_another_ledgers_transaction_gives_it_back() {
    let (ledger, _) = in_memory();
    let record = ledger.record(PAYMENTS, &key("k"));
    assert!(
        record.ticket().expect("works").is_none(),
        "nothing is there"
    );
    let claim = begin(&ledger, "k").fresh();
    assert!(
        record.ticket().expect("works").is_none(),
        "its holder lives"
    );
    drop(claim);
    let ticket = record.ticket().expect("works").expect("interrupted");
    let (other, _) = in_memory();
    let txn = other.write().expect("begins");
    let TicketError { ticket, error, .. } = ticket.within(&txn).expect_err("another ledger's");
    assert!(matches!(
        error,
        EndingError::Ledger(Error::Unsupported { .. })
    ));
    ticket.complete("charged").expect("stored");
    assert!(record.ticket().expect("works").is_none(), "it is completed");
}
