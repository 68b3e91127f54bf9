//! The parts, put together.

use std::error::Error;
use std::future::IntoFuture;
use std::path::Path;

use axum::Router;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, get, patch, post};
use idempotency_ledger::http::{Disposition, HttpPolicy, IdempotencyLayer, Presence};
use idempotency_ledger::{Ledger, Namespace, Policy, Verify};
use tokio::net::TcpListener;
use tower_http::services::ServeDir;

use crate::arguments::Arguments;
use crate::bank::Bank;
use crate::network::Network;
use crate::principal::Principal;
use crate::problems::problem;
use crate::{accounts, charges, faults, figures, origins, transfers, webhooks};

const CHARGES: Namespace = Namespace::new("charges").policy(Policy::PAYMENTS);
const TRANSFERS: Namespace = Namespace::new("transfers").policy(Policy::PAYMENTS);

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) ledger: Ledger,
    pub(crate) bank: Bank,
    pub(crate) network: Network,
    pub(crate) obeys_faults: bool,
    pub(crate) webhook_secret: Option<String>,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    // Money: the whole file is verified, however large it is.
    let ledger = Ledger::builder()
        .verify(Verify::Always)
        .open(&arguments.ledger)?;
    let bank = Bank::open(&ledger).map_err(|error| format!("the accounts: {error:?}"))?;
    let app = App {
        ledger: ledger.clone(),
        bank,
        network: Network::open(&arguments.network_path())?,
        obeys_faults: arguments.faults,
        webhook_secret: arguments.webhook_secret.clone(),
    };
    let claimed = IdempotencyLayer::new(ledger.clone(), CHARGES, policy());
    let router = router(app, &claimed, &arguments)?;
    let listener = TcpListener::bind(arguments.addr)
        .await
        .map_err(|error| format!("{} cannot be listened on: {error}", arguments.addr))?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, router)
        .with_graceful_shutdown(stopped())
        .into_future()
        .await?;
    // A handler whose client is gone may still run.
    claimed.drained().await;
    ledger.close()?;
    Ok(())
}

/// What was refused as bad input did not happen, and is not stored. Nothing is nested here.
fn policy() -> HttpPolicy {
    HttpPolicy::new()
        .path_as_route()
        .principal(|parts| Principal::of(parts).unwrap_or_default().into_bytes())
        .dispositions(|status| match status.as_u16() {
            400 => Disposition::Release,
            status => Disposition::of_status(status),
        })
}

fn router(
    app: App,
    claimed: &IdempotencyLayer,
    arguments: &Arguments,
) -> Result<Router, Box<dyn Error>> {
    let transacted = |presence| {
        let policy = policy().key(presence);
        IdempotencyLayer::transactional(app.ledger.clone(), TRANSFERS, policy)
    };
    let charge = Router::new()
        .route("/api/charges", post(charges::create))
        .route_layer(claimed.clone());
    let transfer = Router::new()
        .route("/api/transfers", post(transfers::create))
        .route_layer(transacted(Presence::Optional));
    let patch = Router::new()
        .route("/api/accounts/{id}", patch(accounts::patch))
        .route_layer(transacted(Presence::Required));
    let plain = Router::new()
        .route("/api/charges", get(charges::list))
        .route("/api/transfers", get(transfers::list))
        .route("/api/accounts", get(accounts::list))
        .route("/api/effects", get(charges::effects))
        .route("/api/health", get(healthy))
        .route("/metrics", get(figures::show))
        .route("/webhooks/{source}", post(webhooks::receive));
    let routes = charge.merge(transfer).merge(patch).merge(plain);
    // Who is not let in never comes to the ledger.
    let routes = routes.route_layer(middleware::from_fn(authenticated));
    let routes = match &arguments.www {
        Some(folder) => routes.fallback_service(files(folder)),
        None => routes.fallback(unknown),
    };
    let routes = routes
        .method_not_allowed_fallback(not_allowed)
        .layer(middleware::from_fn_with_state(app.clone(), faults::obey))
        .with_state(app.clone());
    let keep_none = middleware::from_fn_with_state(app, faults::keep_none);
    Ok(origins::guarded(routes, arguments)?.layer(keep_none))
}

/// The page's files; whatever is none of them is told so as any unknown route is.
fn files(folder: &Path) -> ServeDir<MethodRouter> {
    ServeDir::new(folder)
        .fallback(any(unknown))
        .call_fallback_on_method_not_allowed(true)
}

async fn authenticated(
    request: axum::extract::Request,
    next: middleware::Next,
) -> Result<Response, Response> {
    let (parts, body) = request.into_parts();
    if Principal::of(&parts).is_none() {
        return Err(crate::principal::refused());
    }
    Ok(next
        .run(axum::extract::Request::from_parts(parts, body))
        .await)
}

async fn healthy() -> impl IntoResponse {
    axum::Json(serde_json::json!({"status": "ok"}))
}

async fn unknown() -> Response {
    problem(404, "not-found", "there is no such route")
}

async fn not_allowed() -> Response {
    problem(405, "method-not-allowed", "the route has no such method")
}

/// Ctrl-C, or the end that a service manager asks for.
async fn stopped() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut terminated) => tokio::select! {
                _ = interrupted => {}
                _ = terminated.recv() => {}
            },
            Err(_) => drop(interrupted.await),
        }
    }
    #[cfg(not(unix))]
    drop(interrupted.await);
}
