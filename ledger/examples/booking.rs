//! Hotel and flight: both are claimed or neither, and both answers are stored or neither.
//!
//! Two claims one after the other would leave a hotel without a flight when the second is refused.

use idempotency_ledger::{
    BeginMany, Claim, Fingerprint, Key, KeyStanding, Ledger, Namespace, Policy, Request, Response,
};

const BOOKINGS: Namespace = Namespace::new("bookings").policy(Policy::PAYMENTS);

fn parts(ledger: &Ledger, trip: &str) -> Vec<Request> {
    let request = |part: &str| {
        let key = Key::new(format!("{trip}/{part}")).expect("short and printable");
        ledger.operation(BOOKINGS, &key, Fingerprint::of([trip, part]))
    };
    ["hotel", "flight"].map(request).into()
}

/// Books elsewhere under the claim's child key, and says what came back.
fn book(claim: Claim) -> (Claim, Response) {
    let answer = format!("booked under {}", claim.child_key("agency"));
    (claim, answer.into())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ledger = Ledger::in_memory()?; // or Ledger::open("travel.redb")?
    let trip = parts(&ledger, "trip-17");
    let BeginMany::Fresh(claims) = ledger.begin_many(&trip)? else {
        panic!("both are new")
    };
    // A second click meanwhile gets the reason for each part, and claims nothing.
    let BeginMany::Refused(standings) = ledger.begin_many(&trip)? else {
        panic!("somebody is at it")
    };
    assert!(
        standings
            .iter()
            .all(|standing| matches!(standing, KeyStanding::Refused(_)))
    );
    let booked: Vec<_> = claims.into_iter().map(book).collect();
    let _ = ledger.complete_all(booked)?;
    let BeginMany::Replay(replays) = ledger.begin_many(&trip)? else {
        panic!("both are booked")
    };
    for replay in &replays {
        println!("{}", String::from_utf8_lossy(replay.response().bytes()));
    }
    assert_eq!(replays.len(), 2);

    // A crash in the middle leaves a ticket for each part: ask about each, and end them.
    let trip = parts(&ledger, "trip-18");
    drop(ledger.begin_many(&trip)?);
    let BeginMany::Refused(standings) = ledger.begin_many(&trip)? else {
        panic!("nobody knows")
    };
    let mut claims = Vec::new();
    for standing in standings {
        match standing {
            KeyStanding::Interrupted(ticket) => claims.push(ticket.rerun()?),
            KeyStanding::Claimable | KeyStanding::Completed(_) | KeyStanding::Refused(_) => {
                panic!("both were interrupted")
            }
        }
    }
    let booked: Vec<_> = claims.into_iter().map(book).collect();
    assert_eq!(ledger.complete_all(booked)?.len(), 2);
    Ok(())
}
