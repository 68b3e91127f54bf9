//! Which pages of a browser may use the server: its own, and those of origins that were allowed.
//!
//! A browser sends requests of any page to this machine. [`tower_http`] refuses what changes
//! something to pages of other origins, and CORS lets allowed origins alone read. That takes the
//! browser's word for what is the same origin, which a name that resolves to this machine changes
//! (DNS rebinding): so the server answers under its own names only.

use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    CONTENT_SECURITY_POLICY, HOST, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method};
use axum::middleware::{self, Next};
use axum::response::Response;
use idempotency_ledger::http::{CORS_EXPOSED_HEADERS, IDEMPOTENCY_KEY};
use tower_http::cors::CorsLayer;
use tower_http::csrf::{CsrfLayer, ProtectionError};

use crate::arguments::Arguments;
use crate::problems::problem;

/// What an allowed origin may send.
const ALLOWED_HEADERS: [&str; 5] = [
    IDEMPOTENCY_KEY,
    "content-type",
    "authorization",
    "if-match",
    "demo-fault",
];

/// What no page of another origin may make of an answer.
const OWN: [(HeaderName, &str); 3] = [
    (CONTENT_SECURITY_POLICY, "frame-ancestors 'self'"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

/// These routes for the server's own pages, under its own names, and for what was allowed.
pub(crate) fn guarded(routes: Router, arguments: &Arguments) -> Result<Router, Box<dyn Error>> {
    let mut csrf = CsrfLayer::new();
    for origin in &arguments.allow_origin {
        csrf = csrf.add_trusted_origin(origin)?;
    }
    let routes = if arguments.allow_origin.is_empty() {
        routes
    } else {
        routes.layer(cors(&arguments.allow_origin)?)
    };
    let names: Arc<[String]> = arguments.allow_host.clone().into();
    Ok(routes
        .layer(csrf.with_rejection_response(foreign))
        .layer(middleware::from_fn_with_state(names, under_own_name)))
}

/// A page of an allowed origin may send keys and read what it needs of the answers.
fn cors(origins: &[String]) -> Result<CorsLayer, Box<dyn Error>> {
    let origins: Result<Vec<HeaderValue>, _> = origins.iter().map(|name| name.parse()).collect();
    let names = |names: &[&'static str]| -> Vec<HeaderName> {
        let names = names.iter();
        names.map(|name| HeaderName::from_static(name)).collect()
    };
    Ok(CorsLayer::new()
        .allow_origin(origins?)
        .allow_methods([Method::GET, Method::POST, Method::PATCH])
        .allow_headers(names(&ALLOWED_HEADERS))
        .expose_headers(names(&[&CORS_EXPOSED_HEADERS[..], &["etag"]].concat())))
}

fn foreign(_: ProtectionError) -> Response {
    let detail = "the page that asks is of another origin; --allow-origin allows one";
    problem(403, "foreign-origin", detail)
}

async fn under_own_name(
    State(names): State<Arc<[String]>>,
    request: Request,
    next: Next,
) -> Response {
    let asked = match request.uri().authority() {
        Some(authority) => Some(authority.clone()),
        None => host(request.headers()),
    };
    let mut response = if asked.is_some_and(|asked| is_own(&asked, &names)) {
        next.run(request).await
    } else {
        let detail = "the server has another name: localhost, an address, or --allow-host";
        problem(421, "unknown-host", detail)
    };
    for (name, value) in OWN {
        let headers = response.headers_mut();
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The one host that a request names.
fn host(headers: &HeaderMap) -> Option<Authority> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().filter(|_| hosts.next().is_none())?;
    host.to_str().ok()?.parse().ok()
}

/// An address cannot be made to resolve to another machine, and `localhost` is always this one.
fn is_own(asked: &Authority, names: &[String]) -> bool {
    let name = asked.host();
    let is = |own: &str| name.eq_ignore_ascii_case(own);
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let is_address = address.parse::<IpAddr>().is_ok();
    let is_local = is("localhost") || name.to_ascii_lowercase().ends_with(".localhost");
    !asked.as_str().contains('@') && (is_address || is_local || names.iter().any(|own| is(own)))
}
