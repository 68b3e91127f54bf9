//! Tickets: what they saw of a claim is what they may end, and nothing that came after it.

use idempotency_ledger::{
    Begin, BeginMany, Claim, EndingError, KeyStanding, Ledger, RecordInfo, RecordState, Refusal,
    Resolution, Resolved, Ticket, TicketError,
};
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
