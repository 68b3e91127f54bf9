//! A server with handlers that do as a request's headers say, and count.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::any;
use idempotency_ledger::http::{HttpPolicy, IdempotencyKey, IdempotencyLayer};
use idempotency_ledger::{Ledger, ManualClock, Namespace, RecordFilter, RecordInfo, Timestamp};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

pub(crate) const CHARGES: Namespace = Namespace::new("charges");

/// Where every manual clock starts: 2026-01-01.
pub(crate) const START: Timestamp = Timestamp::from_unix_ms(1_767_225_600_000);

/// Lets other threads go on until `reached` says so, and ends the test if it never does.
#[track_caller]
pub(crate) fn until(what: &str, mut reached: impl FnMut() -> bool) {
    for _ in 0..20_000_000_u64 {
        if reached() {
            return;
        }
        std::thread::yield_now();
    }
    panic!("never reached: {what}");
}

/// A router on a socket of its own, on a runtime of its own.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) addr: SocketAddr,
    runtime: Option<Runtime>,
}

impl Served {
    pub(crate) fn new(router: Router) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self {
            addr,
            runtime: Some(runtime),
        }
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // A handler that waits at a gate must not keep the test.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What the handlers of a shop did, and what they wait for.
#[derive(Debug)]
pub(crate) struct Counter {
    calls: AtomicU32,
    finished: AtomicU32,
    /// Requests that the server works on for a client that is still there.
    open: AtomicU32,
    /// A handler that is told to wait takes a permit for each time it goes on.
    gate: Semaphore,
    /// What a handler was told to keep.
    kept: std::sync::Mutex<Vec<IdempotencyKey>>,
}

/// A shop whose routes `/pay`, `/refund` and `/orders/{id}` are guarded.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) served: Served,
    pub(crate) ledger: Ledger,
    pub(crate) clock: ManualClock,
    pub(crate) layer: IdempotencyLayer,
    counter: Arc<Counter>,
}

impl Shop {
    pub(crate) fn new(policy: HttpPolicy) -> Self {
        Self::of(CHARGES, policy)
    }

    pub(crate) fn of(namespace: Namespace, policy: HttpPolicy) -> Self {
        let clock = ManualClock::starting_at(START);
        let ledger = Ledger::builder().clock(clock.clone()).in_memory().unwrap();
        Self::on(ledger, clock, namespace, policy)
    }

    pub(crate) fn on(
        ledger: Ledger,
        clock: ManualClock,
        namespace: Namespace,
        policy: HttpPolicy,
    ) -> Self {
        let layer = IdempotencyLayer::new(ledger.clone(), namespace, policy);
        let counter = Arc::new(Counter {
            calls: AtomicU32::new(0),
            finished: AtomicU32::new(0),
            open: AtomicU32::new(0),
            gate: Semaphore::new(0),
            kept: std::sync::Mutex::default(),
        });
        let router = Router::new()
            .route("/pay", any(handle))
            .route("/refund", any(handle))
            .route("/orders/{id}", any(handle))
            .route_layer(layer.clone())
            .layer(middleware::from_fn_with_state(Arc::clone(&counter), watch))
            .with_state(Arc::clone(&counter));
        Self {
            served: Served::new(router),
            ledger,
            clock,
            layer,
            counter,
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.served.addr
    }

    /// How often a handler was entered.
    pub(crate) fn calls(&self) -> u32 {
        self.counter.calls.load(Ordering::SeqCst)
    }

    /// How often a handler came to its end.
    pub(crate) fn finished(&self) -> u32 {
        self.counter.finished.load(Ordering::SeqCst)
    }

    /// How many requests the server has not answered, and not dropped with their connection.
    pub(crate) fn open(&self) -> u32 {
        self.counter.open.load(Ordering::SeqCst)
    }

    /// Lets one handler that waits go on.
    pub(crate) fn open_gate(&self) {
        self.counter.gate.add_permits(1);
    }

    pub(crate) fn let_go(&self) {
        self.counter.kept.lock().unwrap().clear();
    }

    pub(crate) fn records(&self) -> Vec<RecordInfo> {
        records(&self.ledger)
    }

    /// The state of the only record there is, `none` without one.
    pub(crate) fn state(&self) -> String {
        match self.records().as_slice() {
            [] => "none".to_owned(),
            [record] => record.state().to_string(),
            several => panic!("more than one record: {several:?}"),
        }
    }
}

pub(crate) fn records(ledger: &Ledger) -> Vec<RecordInfo> {
    let found = ledger.records(RecordFilter::default()).unwrap();
    found.map(Result::unwrap).collect()
}

/// Outside of the layer: dropped with the request when its connection ends.
async fn watch(State(counter): State<Arc<Counter>>, request: Request, next: Next) -> Response {
    struct Opened(Arc<Counter>);
    impl Drop for Opened {
        fn drop(&mut self) {
            self.0.open.fetch_sub(1, Ordering::SeqCst);
        }
    }
    counter.open.fetch_add(1, Ordering::SeqCst);
    let _opened = Opened(counter);
    next.run(request).await
}

/// The largest body that a handler is asked for.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Does what the headers say: `x-wait`, `x-checkpoint`, `x-nothing`, `x-keep`, `x-panic`,
/// `x-status`, `x-bytes`. The body says which call it was, so that a replay shows.
async fn handle(State(counter): State<Arc<Counter>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let call = counter.calls.fetch_add(1, Ordering::SeqCst) + 1;
    let received = axum::body::to_bytes(body, ANSWER_BYTES_MAX).await.unwrap();
    let says = |name: &str| parts.headers.contains_key(name);
    let key = parts.extensions.get::<IdempotencyKey>();
    if says("x-wait") {
        counter.gate.acquire().await.unwrap().forget();
    }
    if let Some(key) = key {
        if says("x-checkpoint") {
            key.checkpoint("half", b"way").await.unwrap();
        }
        if says("x-nothing") {
            key.nothing_happened();
        }
        if says("x-keep") {
            counter.kept.lock().unwrap().push(key.clone());
        }
    }
    assert!(!says("x-panic"), "the handler panics, as it was told");
    counter.finished.fetch_add(1, Ordering::SeqCst);
    let number = |name: &str| number(&parts.headers, name);
    let body = match number("x-bytes") {
        Some(bytes) => vec![b'x'; bytes],
        None => format!("call {call}, {} bytes", received.len()).into_bytes(),
    };
    let status = number("x-status").unwrap_or(201);
    Response::builder()
        .status(u16::try_from(status).unwrap())
        .header("content-type", "text/plain")
        .header("content-language", "en")
        .header("location", format!("/charges/{call}"))
        .header("etag", format!("\"{call}\""))
        .header("link", "</a>; rel=next")
        .header("link", "</b>; rel=last")
        .header("set-cookie", format!("session={call}"))
        .header("x-request-id", call)
        .body(Body::from(body))
        .unwrap()
}

fn number(headers: &HeaderMap, name: &str) -> Option<usize> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

pub(crate) const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
