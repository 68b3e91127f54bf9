//! Random histories against a plain model.
//!
//! Whatever callers do, in whatever order, each answer and everything that is stored is what the
//! model in `plain.rs` says. A failure prints the seed and the shortest history that fails.

mod driver;
mod plain;

use std::hash::{BuildHasher, RandomState};

use idempotency_tests::storage::Draw;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use self::driver::Run;
use self::plain::{Ms, OPERATIONS};

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    Begin {
        who: usize,
        asks: usize,
    },
    Complete {
        claim: usize,
        answer: u8,
    },
    Release {
        claim: usize,
    },
    DropClaim {
        claim: usize,
    },
    Renew {
        claim: usize,
    },
    Checkpoint {
        claim: usize,
        name: u8,
    },
    Rerun {
        ticket: usize,
    },
    TicketComplete {
        ticket: usize,
        answer: u8,
    },
    TicketRelease {
        ticket: usize,
    },
    DropTicket {
        ticket: usize,
    },
    Resolve {
        who: usize,
        answer: Option<u8>,
        demand: Demand,
    },
    Forget {
        who: usize,
    },
    Transact {
        who: usize,
        asks: usize,
        end: End,
    },
    Keep {
        who: usize,
        asks: usize,
        commits: bool,
    },
    Sweep {
        max: usize,
    },
    Advance {
        span: Ms,
    },
    SetBack,
    Leap,
    Confirm,
    Reopen,
    Crash,
}

/// The fence that a hand demands.
#[derive(Clone, Copy, Debug)]
enum Demand {
    None,
    Stored,
    Other,
}

/// How the closure of a transaction ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Ok { answer: u8 },
    Err,
    Panic,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = || 0..OPERATIONS;
    // Mostly the right request, sometimes another one.
    let asks = || prop_oneof![6 => Just(0_usize), 1 => Just(1)];
    let answer = || 0..2_u8;
    let index = || 0..4_usize;
    let spans = [1, 999, 1_000, 5_000, 9_999, 10_000, 20_000, 30_000, 60_000];
    let demand = prop_oneof![
        Just(Demand::None),
        Just(Demand::Stored),
        Just(Demand::Other)
    ];
    let end = prop_oneof![
        3 => answer().prop_map(|answer| End::Ok { answer }),
        1 => Just(End::Err),
        1 => Just(End::Panic),
    ];
    let step = prop_oneof![
        8 => (who(), asks()).prop_map(|(who, asks)| Step::Begin { who, asks }),
        4 => (index(), answer()).prop_map(|(claim, answer)| Step::Complete { claim, answer }),
        2 => index().prop_map(|claim| Step::Release { claim }),
        3 => index().prop_map(|claim| Step::DropClaim { claim }),
        2 => index().prop_map(|claim| Step::Renew { claim }),
        1 => (index(), answer()).prop_map(|(claim, name)| Step::Checkpoint { claim, name }),
        2 => index().prop_map(|ticket| Step::Rerun { ticket }),
        2 => (index(), answer())
            .prop_map(|(ticket, answer)| Step::TicketComplete { ticket, answer }),
        1 => index().prop_map(|ticket| Step::TicketRelease { ticket }),
        1 => index().prop_map(|ticket| Step::DropTicket { ticket }),
        2 => (who(), proptest::option::of(answer()), demand)
            .prop_map(|(who, answer, demand)| Step::Resolve { who, answer, demand }),
        1 => who().prop_map(|who| Step::Forget { who }),
        3 => (who(), asks(), end).prop_map(|(who, asks, end)| Step::Transact { who, asks, end }),
        2 => (who(), asks(), any::<bool>())
            .prop_map(|(who, asks, commits)| Step::Keep { who, asks, commits }),
        1 => (0..4_usize).prop_map(|max| Step::Sweep { max }),
        6 => proptest::sample::select(spans.to_vec()).prop_map(|span| Step::Advance { span }),
        1 => Just(Step::SetBack),
        1 => Just(Step::Leap),
        1 => Just(Step::Confirm),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ];
    proptest::collection::vec(step, 1..60)
}

/// The seed of this run: a given one, or a new one.
fn seed() -> u64 {
    match std::env::var("MODEL_SEED") {
        Ok(text) => text.parse().expect("MODEL_SEED is a number"),
        Err(_) => RandomState::new().hash_one("model"),
    }
}

#[test]
fn random_histories_agree_with_the_model() {
    let seed = seed();
    let mut draw = Draw::new(seed);
    let bytes: Vec<u8> = (0..4).flat_map(|_| draw.number().to_le_bytes()).collect();
    let config = Config {
        // Nothing is written beside the sources; the seed is printed instead.
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let result = TestRunner::new_with_rng(config, rng).run(&steps(), |steps| {
        let mut run = Run::new();
        run.compare();
        for step in &steps {
            run.take(step);
            run.compare();
        }
        run.finish();
        Ok(())
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(reason, steps)) => {
            panic!("MODEL_SEED={seed} repeats it; {reason}; the shortest history: {steps:#?}")
        }
        Err(TestError::Abort(reason)) => panic!("MODEL_SEED={seed} repeats it; {reason}"),
    }
}
