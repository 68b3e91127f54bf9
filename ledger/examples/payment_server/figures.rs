//! `GET /metrics`: what the ledger counts, in the text that Prometheus reads.

use std::fmt::Write;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use idempotency_ledger::{NamespaceStats, Stats};

use crate::problems::problem;
use crate::server::App;

pub(crate) async fn show(State(app): State<App>) -> Response {
    match app.ledger.stats() {
        Ok(stats) => {
            let text = "text/plain; version=0.0.4; charset=utf-8";
            ([("content-type", text)], written(&stats)).into_response()
        }
        Err(error) => problem(503, "storage", &error.to_string()),
    }
}

type Figure = fn(&NamespaceStats) -> u64;

fn written(stats: &Stats) -> String {
    let figures: [(&str, &str, Figure); 8] = [
        ("idempotency_records", "gauge", |names| names.records),
        ("idempotency_claimed", "gauge", |names| names.claimed),
        ("idempotency_bytes", "gauge", |names| names.bytes),
        ("idempotency_replays_total", "counter", |names| {
            names.events.replays
        }),
        ("idempotency_refusals_total", "counter", |names| {
            names.events.refusals()
        }),
        ("idempotency_interruptions_total", "counter", |names| {
            names.events.interruptions
        }),
        ("idempotency_late_total", "counter", |names| {
            names.events.late
        }),
        ("idempotency_swept_total", "counter", |names| {
            names.events.swept
        }),
    ];
    let mut text = String::new();
    for (name, kind, figure) in figures {
        let _ = writeln!(text, "# TYPE {name} {kind}");
        for names in &stats.namespaces {
            let _ = writeln!(
                text,
                "{name}{{namespace={:?}}} {}",
                names.name,
                figure(names)
            );
        }
    }
    let _ = writeln!(text, "# TYPE idempotency_commits_total counter");
    let _ = writeln!(text, "idempotency_commits_total {}", stats.commits);
    text
}
