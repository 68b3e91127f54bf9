//! Two hundred clients, random faults, and a server that is killed every second: what the clients
//! were told and what the bank did have to agree.
//!
//! It runs for a few seconds; `HAMMER_SECONDS=60` makes it long, and `HAMMER_SEED` draws the same
//! faults again. `cargo test ... hammer -- --nocapture` shows the figures.

mod customer;
mod verdict;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::watch;

use crate::draw::Draw;
use crate::process::{Place, Server};
use customer::{Counts, Customer, Outcome};

const CLIENTS: u64 = 200;
const SECONDS: u64 = 4;
const KILL_EVERY: Duration = Duration::from_secs(1);
/// How often the server is looked at whether it still runs.
const LOOK_EVERY: Duration = Duration::from_millis(10);

fn number_in(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// What clients and server share.
pub(crate) struct World {
    /// Where the server listens, while it does.
    pub(crate) addr: watch::Receiver<Option<SocketAddr>>,
    /// No new intents, and no faults, any more.
    pub(crate) is_over: AtomicBool,
    pub(crate) counts: Counts,
}

#[test]
fn what_the_clients_were_told_and_what_the_bank_did_agree() {
    let seed = number_in("HAMMER_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    let seconds = number_in("HAMMER_SECONDS").unwrap_or(SECONDS);
    println!("HAMMER_SEED={seed} HAMMER_SECONDS={seconds}");
    let place = Place::new();
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (listens, addr) = watch::channel(None);
    let world = Arc::new(World {
        addr,
        is_over: AtomicBool::new(false),
        counts: Counts::default(),
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let customer = Customer::new(number, Draw::new(seed ^ number), Arc::clone(&world));
            runtime.spawn(customer.shop())
        })
        .collect();
    let (killed, started) = runtime.block_on(async {
        let mut bank = Bank::open(&place, &listens);
        let mut killed = 0;
        for _ in 0..seconds {
            bank.keep_open_for(KILL_EVERY).await;
            bank.kill();
            killed += 1;
        }
        world.is_over.store(true, Ordering::SeqCst);
        while clients.iter().any(|client| !client.is_finished()) {
            bank.keep_open_for(LOOK_EVERY).await;
        }
        bank.kill();
        (killed + 1, bank.started)
    });
    let mut outcomes: Vec<Outcome> = Vec::new();
    for client in clients {
        outcomes.extend(runtime.block_on(client).expect("no client fails"));
    }
    println!(
        "started {started} times, killed {killed} times; {}",
        world.counts
    );
    verdict::pronounce(&place, &runtime, &outcomes);
}

/// The server, which is started again whenever it ends.
struct Bank<'t> {
    place: &'t Place,
    listens: &'t watch::Sender<Option<SocketAddr>>,
    server: Option<Server>,
    started: u32,
}

impl<'t> Bank<'t> {
    fn open(place: &'t Place, listens: &'t watch::Sender<Option<SocketAddr>>) -> Self {
        Self {
            place,
            listens,
            server: None,
            started: 0,
        }
    }

    async fn keep_open_for(&mut self, span: Duration) {
        let mut left = span;
        while !left.is_zero() {
            if self.server.as_mut().is_none_or(Server::has_ended) {
                let server = self.place.start(&["--faults"]);
                self.listens.send_replace(Some(server.addr));
                self.server = Some(server);
                self.started += 1;
            }
            tokio::time::sleep(LOOK_EVERY).await;
            left = left.saturating_sub(LOOK_EVERY);
        }
    }

    fn kill(&mut self) {
        self.listens.send_replace(None);
        if let Some(server) = self.server.take() {
            server.kill();
        }
    }
}
