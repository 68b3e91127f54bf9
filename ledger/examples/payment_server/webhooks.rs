//! `POST /webhooks/{source}`: each event counts once. Its signature is checked before the ledger is
//! touched, or a forged id would suppress the real event.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use idempotency_ledger::redb::{ReadableTable, TableDefinition};
use idempotency_ledger::{Clock, DedupTable, Error, Ledger, Sighting, SystemClock};
use serde_json::json;

use crate::problems::problem;
use crate::server::App;
use crate::signature::Event;

/// One table for all sources, which are part of the id: who sends a new name makes no new table.
const EVENTS: DedupTable = DedupTable::new("webhooks", DedupTable::SEVEN_DAYS);
/// How many events of a source were worked on.
const WORKED: TableDefinition<'_, &str, u64> = TableDefinition::new("webhooks-worked");

pub(crate) async fn receive(
    State(app): State<App>,
    source: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            return problem(413, "payload-too-large", "the event is too large");
        }
        Err(rejection) => return problem(400, "invalid-request", &rejection.body_text()),
    };
    // With a slash, another source's event could have the same id.
    let source = source.ok().filter(|Path(source)| !source.contains('/'));
    let event = event_in(&headers);
    if let Some(secret) = &app.webhook_secret {
        let header = headers.get("webhook-signature");
        let header = header.and_then(|value| value.to_str().ok());
        let named = source.as_ref().zip(event.ok());
        let is_signed = named
            .zip(header)
            .is_some_and(|((Path(source), id), header)| {
                let body = &body;
                // The sender signs by the clock on the wall, whatever the ledger thinks of it.
                Event { source, id, body }.is_signed(header, secret, SystemClock::new().wall())
            });
        if !is_signed {
            let detail = "the signature is missing, wrong, or not of the last five minutes";
            return problem(401, "bad-signature", detail);
        }
    }
    let Some(Path(source)) = source else {
        return problem(400, "invalid-request", "no source has that name");
    };
    let id = match event {
        Ok(event) => format!("{source}/{event}"),
        Err((code, detail)) => return problem(400, code, detail),
    };
    let ledger = app.ledger.clone();
    let seen = tokio::task::spawn_blocking(move || work(&ledger, &source, &id)).await;
    match seen {
        Ok(Ok(Sighting::First)) => Json(json!({"sighting": "first"})).into_response(),
        Ok(Ok(Sighting::Repeat { .. })) => Json(json!({"sighting": "repeat"})).into_response(),
        Ok(Err(Error::Invalid(invalid))) => problem(400, "invalid-event-id", &invalid.to_string()),
        // Not a 2xx: the sender delivers it again.
        Ok(Err(error)) => problem(503, "storage", &error.to_string()),
        Err(error) => problem(503, "storage", &error.to_string()),
    }
}

/// The id of the event, or the problem that its sender is told.
fn event_in(headers: &HeaderMap) -> Result<&str, (&'static str, &'static str)> {
    let mut ids = headers.get_all("event-id").iter();
    let Some(id) = ids.next() else {
        return Err(("missing-event-id", "an event has an Event-Id"));
    };
    let id = id.to_str().ok().filter(|id| !id.is_empty());
    let id = id.filter(|_| ids.next().is_none());
    id.ok_or(("invalid-event-id", "an Event-Id is one printable text"))
}

/// Marks the event and works on it, in one commit.
fn work(ledger: &Ledger, source: &str, id: &str) -> Result<Sighting, Error> {
    let txn = ledger.write()?;
    let sighting = ledger.dedup(EVENTS).observe_in(&txn, id)?;
    match sighting {
        Sighting::First => {
            {
                let mut worked = txn.open_table(WORKED)?;
                let before = worked.get(source)?.map_or(0, |count| count.value());
                let _ = worked.insert(source, before + 1)?;
            }
            let _ = txn.commit()?;
        }
        // Nothing was written.
        Sighting::Repeat { .. } => txn.abort(),
    }
    Ok(sighting)
}
