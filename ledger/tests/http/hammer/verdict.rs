//! Compares what the clients were told with what happened.

use std::collections::{BTreeMap, HashSet};

use tokio::runtime::Runtime;

use super::customer::{Kind, Outcome};
use crate::client::{Answer, Call};
use crate::process::{Place, Server};

/// How many requests of the last check are sent at once.
const AT_ONCE: usize = 50;

type Identity = (String, String);

fn identity(outcome: &Outcome) -> Identity {
    let intent = &outcome.intent;
    (intent.principal.clone(), intent.key.clone())
}

fn of(outcomes: &[Outcome], kind: Kind) -> impl Iterator<Item = &Outcome> + Clone {
    outcomes
        .iter()
        .filter(move |outcome| outcome.intent.kind == kind)
}

/// Ends the test unless everything agrees.
pub(crate) fn pronounce(place: &Place, runtime: &Runtime, outcomes: &[Outcome]) {
    let server = place.start(&[]);
    let all_equal = |answers: &[Answer]| answers.iter().all(|other| same(&answers[0], other));
    for outcome in outcomes {
        assert!(
            all_equal(&outcome.acknowledged),
            "two callers got different answers: {outcome:?}"
        );
    }
    charged_at_most_once(place, &server, of(outcomes, Kind::Charge));
    transferred_exactly_once(&server, of(outcomes, Kind::Transfer));
    runtime.block_on(replayed(&server, outcomes));
}

/// What of an answer its retries share.
fn same(one: &Answer, other: &Answer) -> bool {
    let kept = ["content-type", "location", "content-length"];
    (one.status, &one.body) == (other.status, &other.body)
        && kept
            .iter()
            .all(|name| one.header(name) == other.header(name))
}

fn charged_at_most_once<'t>(
    place: &Place,
    server: &Server,
    charges: impl Iterator<Item = &'t Outcome> + Clone,
) {
    let mut effects: BTreeMap<Identity, Vec<u64>> = BTreeMap::new();
    for (principal, key, amount) in place.charges() {
        effects.entry((principal, key)).or_default().push(amount);
    }
    let told = server.get("/api/effects");
    assert_eq!(told.as_array().unwrap().len(), effects.len());
    let (mut acknowledged, mut unknown, mut unknown_charged) = (0, 0, 0);
    for outcome in charges {
        let amounts = effects.remove(&identity(outcome)).unwrap_or_default();
        let expected = [outcome.intent.amount];
        if outcome.acknowledged.is_empty() {
            assert!(outcome.is_interrupted);
            assert!(
                amounts.is_empty() || amounts == expected,
                "{outcome:?}: {amounts:?}"
            );
            unknown += 1;
            unknown_charged += amounts.len();
        } else {
            assert_eq!(amounts, expected, "{outcome:?}");
            acknowledged += 1;
        }
    }
    assert!(effects.is_empty(), "nobody asked for {effects:?}");
    println!(
        "{acknowledged} charges acknowledged, each charged once; {unknown} interrupted, \
         {unknown_charged} of them charged once, the others not"
    );
}

fn transferred_exactly_once<'t>(
    server: &Server,
    transfers: impl Iterator<Item = &'t Outcome> + Clone,
) {
    let mut applied: BTreeMap<Identity, Vec<u64>> = BTreeMap::new();
    let principals: HashSet<_> = transfers
        .clone()
        .map(|outcome| outcome.intent.principal.clone())
        .collect();
    for principal in principals {
        let listed = Call::get("/api/transfers")
            .bearer(&principal)
            .send(server.addr);
        for line in listed.json().as_array().unwrap() {
            let key = line["key"].as_str().unwrap().to_owned();
            let amount = line["amount"].as_u64().unwrap();
            let identity = (principal.clone(), key);
            applied.entry(identity).or_default().push(amount);
        }
    }
    let mut moved = 0;
    let mut acknowledged = 0;
    for outcome in transfers {
        assert!(!outcome.acknowledged.is_empty(), "{outcome:?}");
        let amounts = applied.remove(&identity(outcome));
        assert_eq!(amounts, Some(vec![outcome.intent.amount]), "{outcome:?}");
        let amount = i64::try_from(outcome.intent.amount).unwrap();
        moved += match outcome.intent.accounts {
            ["alice", _] => amount,
            _ => -amount,
        };
        acknowledged += 1;
    }
    assert!(applied.is_empty(), "nobody was told of {applied:?}");
    let balances = (server.account("alice").0, server.account("bob").0);
    assert_eq!(balances, (100_000 - moved, 100_000 + moved));
    println!("{acknowledged} transfers acknowledged, each applied once; none else applied");
}

/// Every acknowledged answer comes again, byte for byte; what was interrupted stays so; and a
/// changed request is refused.
async fn replayed(server: &Server, outcomes: &[Outcome]) {
    let mut replays = 0;
    for some in outcomes.chunks(AT_ONCE) {
        let asked: Vec<_> = some
            .iter()
            .map(|outcome| {
                let call = outcome.intent.call();
                let changed = outcome.intent.call_for(outcome.intent.amount + 1);
                let addr = server.addr;
                tokio::spawn(async move {
                    let answer = call.send_async(addr).await.expect("it answers");
                    (answer, changed.send_async(addr).await.expect("it answers"))
                })
            })
            .collect();
        for (outcome, asked) in some.iter().zip(asked) {
            let (answer, changed) = asked.await.expect("no panic");
            changed.assert_problem(422, "mismatch");
            match outcome.acknowledged.first() {
                Some(first) => {
                    assert!(answer.is_replay(), "{outcome:?}: {answer:?}");
                    assert!(same(first, &answer), "{outcome:?}: {answer:?}");
                    replays += 1;
                }
                None => answer.assert_problem(409, "interrupted"),
            }
        }
    }
    println!("{replays} answers replayed byte for byte");
}
