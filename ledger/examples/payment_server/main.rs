//! A payment server: an axum application that embeds the ledger.
//!
//! [`arguments`] says what can be asked for, [`server`] puts the parts together. The parts:
//! [`charges`] go to the card [`network`], which lies outside of the ledger, under a claim;
//! [`transfers`] and [`accounts`] are moved in the ledger's own file by the [`bank`];
//! [`webhooks`] count once, if their [`signature`] is right. [`origins`] keeps pages of other sites
//! out, [`faults`] does what the demo asks for, [`problems`] are what bad
//! input gets, [`figures`] is for Prometheus.
//!
//! ```sh
//! cargo run --example payment_server --features tower -- --addr 127.0.0.1:8787 --ledger shop.redb
//! curl -i 127.0.0.1:8787/api/charges -H 'Idempotency-Key: order-17' \
//!     -H 'Content-Type: application/json' \
//!     -d '{"customer":"ann","amount":2500,"currency":"EUR"}'   # twice: one charge
//! ```

mod accounts;
mod arguments;
mod bank;
mod charges;
mod faults;
mod figures;
mod network;
mod origins;
mod principal;
mod problems;
mod server;
mod signature;
mod transfers;
mod webhooks;

use std::process::ExitCode;

use clap::Parser;

use arguments::Arguments;

#[tokio::main]
async fn main() -> ExitCode {
    match server::run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("payment_server: {error}");
            ExitCode::FAILURE
        }
    }
}
