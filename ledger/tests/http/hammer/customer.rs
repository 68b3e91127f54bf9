//! A client that asks with the same key until it knows.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::World;
use crate::client::{Answer, Call};
use crate::draw::Draw;

/// What was met, for the figures.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    attempts: AtomicU64,
    connection_errors: AtomicU64,
    failures: AtomicU64,
    in_progress: AtomicU64,
    replays: AtomicU64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        write!(
            f,
            "{} attempts: {} connection errors, {} failures (500, 503), {} in progress, {} replays",
            of(&self.attempts),
            of(&self.connection_errors),
            of(&self.failures),
            of(&self.in_progress),
            of(&self.replays),
        )
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Charge,
    Transfer,
}

/// Something that a client wants to happen once.
#[derive(Clone, Debug)]
pub(crate) struct Intent {
    pub(crate) kind: Kind,
    pub(crate) principal: String,
    pub(crate) key: String,
    pub(crate) amount: u64,
    /// Between whom, so that no account runs empty.
    pub(crate) accounts: [&'static str; 2],
}

impl Intent {
    pub(crate) fn call(&self) -> Call {
        self.call_for(self.amount)
    }

    pub(crate) fn call_for(&self, amount: u64) -> Call {
        let (path, body) = match self.kind {
            Kind::Charge => (
                "/api/charges",
                format!("{{\"customer\":\"ann\",\"amount\":{amount},\"currency\":\"EUR\"}}"),
            ),
            Kind::Transfer => (
                "/api/transfers",
                format!(
                    "{{\"from\":\"{}\",\"to\":\"{}\",\"amount\":{amount}}}",
                    self.accounts[0], self.accounts[1]
                ),
            ),
        };
        Call::post(path)
            .key(&self.key)
            .bearer(&self.principal)
            .json(&body)
    }
}

/// How an intent ended for its client.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) intent: Intent,
    /// Every acknowledgement that was received, or none for what was interrupted.
    pub(crate) acknowledged: Vec<Answer>,
    /// Whether one of the callers was told that nobody knows.
    pub(crate) is_interrupted: bool,
}

enum End {
    Acknowledged(Answer),
    Interrupted,
}

pub(crate) struct Customer {
    number: u64,
    draw: Draw,
    world: Arc<World>,
}

impl Customer {
    pub(crate) const fn new(number: u64, draw: Draw, world: Arc<World>) -> Self {
        Self {
            number,
            draw,
            world,
        }
    }

    /// One intent after the other, until it is over.
    pub(crate) async fn shop(mut self) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        while !self.world.is_over.load(Ordering::SeqCst) {
            let kind = if self.draw.happens(500) {
                Kind::Charge
            } else {
                Kind::Transfer
            };
            let intent = Intent {
                kind,
                principal: format!("p{}", self.number % 7),
                key: format!("c{}-{}", self.number, outcomes.len()),
                amount: 1 + self.draw.below(3),
                accounts: if self.draw.happens(500) {
                    ["alice", "bob"]
                } else {
                    ["bob", "alice"]
                },
            };
            outcomes.push(self.pursue(intent).await);
        }
        outcomes
    }

    /// Now and then two callers at once pursue the same intent, as after a double click.
    async fn pursue(&mut self, intent: Intent) -> Outcome {
        let callers = 1 + u64::from(self.draw.happens(200));
        let pursuits: Vec<_> = (0..callers)
            .map(|_| {
                let draw = Draw::new(self.draw.next());
                tokio::spawn(ask(Arc::clone(&self.world), intent.clone(), draw))
            })
            .collect();
        let mut outcome = Outcome {
            intent,
            acknowledged: Vec::new(),
            is_interrupted: false,
        };
        for pursuit in pursuits {
            match pursuit.await.expect("no caller fails") {
                End::Acknowledged(answer) => outcome.acknowledged.push(answer),
                End::Interrupted => outcome.is_interrupted = true,
            }
        }
        outcome
    }
}

/// Asks until the answer is definite.
async fn ask(world: Arc<World>, intent: Intent, mut draw: Draw) -> End {
    loop {
        let addr = listening(&world).await;
        let mut call = intent.call();
        if !world.is_over.load(Ordering::SeqCst)
            && let Some(fault) = fault(&mut draw)
        {
            call = call.header("demo-fault", fault);
        }
        count(&world.counts.attempts);
        let Ok(answer) = call.send_async(addr).await else {
            count(&world.counts.connection_errors);
            pause(&mut draw).await;
            continue;
        };
        match answer.status {
            201 => {
                if answer.is_replay() {
                    count(&world.counts.replays);
                }
                return End::Acknowledged(answer);
            }
            500 | 503 => count(&world.counts.failures),
            409 if answer.problem() == "in-progress" => count(&world.counts.in_progress),
            409 if answer.problem() == "interrupted" && intent.kind == Kind::Charge => {
                return End::Interrupted;
            }
            // A mismatch among them: the request was never changed.
            _ => panic!("{intent:?} was answered {answer:?}"),
        }
        pause(&mut draw).await;
    }
}

async fn listening(world: &World) -> SocketAddr {
    let mut addr = world.addr.clone();
    let addr = addr.wait_for(Option::is_some).await;
    addr.expect("the server outlives its clients").unwrap()
}

/// What goes wrong with an attempt, in a bit more than a third of them.
fn fault(draw: &mut Draw) -> Option<String> {
    let fault = match draw.below(1_000) {
        0..100 => "fail-before".to_owned(),
        100..200 => format!("slow={}", draw.below(50)),
        200..270 => "error-500".to_owned(),
        270..370 => "lose-response".to_owned(),
        370..372 => "crash-after-effect".to_owned(),
        _ => return None,
    };
    Some(fault)
}

/// A client that is told to come again in a second may come earlier, and is told so again.
async fn pause(draw: &mut Draw) {
    tokio::time::sleep(Duration::from_millis(5 + draw.below(60))).await;
}
