//! The HTTP middleware under load, against handlers without it and against SQLite.
//!
//! ```text
//! cargo bench -p idempotency-ledger --features tower --bench http_load -- [FOLDER] [SECONDS]
//! ```
//!
//! The load generator is wrk (Debian: `wrk`), one request a key. Files lie in FOLDER (default: the
//! system's temporary folder); each run takes SECONDS (default 5). Runs are interleaved, and the
//! ratios are of medians:
//!
//! - the median latency of a handler that uses `transact`, with the layer and without it, from one
//!   connection;
//! - the throughput of claims from 64 connections, with the layer on the ledger, and with one
//!   transaction of SQLite (WAL, FULL) for each claim and one for each completion.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response};
use axum::routing::post;
use axum::{Extension, Router};
use idempotency_ledger::http::{HttpAnswer, HttpPolicy, IdempotencyLayer, Keyed};
use idempotency_ledger::redb::{self, TableDefinition};
use idempotency_ledger::{Fingerprint, Key, Ledger, Namespace, WriteTxn};
use rusqlite::{Connection, TransactionBehavior, params};
use tokio::net::TcpListener;

mod arguments;

const ROUNDS: usize = 5;
const CONNECTIONS: u32 = 64;
const OWN: TableDefinition<'_, &str, u64> = TableDefinition::new("own");
const BENCH: Namespace = Namespace::new("bench");

/// A new key for each request, in the order of time as UUIDv7 is, and the same body. Only the
/// counter is new text: the generator has the same two cores as the server.
const SCRIPT: &str = r#"
local counter, thread = 1000000, 0
function setup(t) thread = thread + 1; t:set("id", thread) end
function init()
  local key = string.format('%08x-%d-', os.time(), id)
  head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n" ..
    "Content-Length: 2\r\nIdempotency-Key: \"" .. key
end
function request()
  counter = counter + 1
  return head .. counter .. "\"\r\n\r\n25"
end
function done(summary, latency)
  io.write(string.format("median_us=%d requests=%d micros=%d failed=%d\n",
    latency:percentile(50), summary.requests, summary.duration,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout))
end
"#;

/// Of both servers, as servers that allocate on one thread and free on another often have it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn std::error::Error>;

/// What wrk says of one run.
#[derive(Clone, Copy, Debug)]
struct Run {
    median_us: f64,
    per_second: f64,
}

fn main() -> Result<(), Failure> {
    let (folder, seconds) = arguments::folder_and(5)?;
    let folder = tempfile::tempdir_in(folder)?;
    let script = folder.path().join("keys.lua");
    std::fs::write(&script, SCRIPT)?;
    // One thread serves: wrk and whoever writes to the disk need the other core.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let open = |name: &str| Ledger::open(folder.path().join(name));

    let bare = serve(&runtime, bare(open("bare.redb")?))?;
    let layered = serve(&runtime, layered(open("layered.redb")?))?;
    let claimed = serve(&runtime, claimed(open("claimed.redb")?))?;
    let sqlite = serve(&runtime, sqlite(&folder.path().join("claims.sqlite"))?)?;
    let (mut alone, mut with_layer) = (Vec::new(), Vec::new());
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.push(wrk(bare, 1, seconds, &script)?.median_us);
        with_layer.push(wrk(layered, 1, seconds, &script)?.median_us);
        ours.push(wrk(claimed, CONNECTIONS, seconds, &script)?.per_second);
        theirs.push(wrk(sqlite, CONNECTIONS, seconds, &script)?.per_second);
    }
    let (alone, with_layer) = (median(alone), median(with_layer));
    let (ours, theirs) = (median(ours), median(theirs));
    println!("transact alone, 1 connection: {alone:.0} us");
    println!("transact with the layer, 1 connection: {with_layer:.0} us");
    println!("ratio: {:.3}", with_layer / alone);
    println!("claims with the layer, {CONNECTIONS} connections: {ours:.0} a second");
    println!("claims with SQLite, {CONNECTIONS} connections: {theirs:.0} a second");
    println!("ratio: {:.1}", ours / theirs);
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn serve(runtime: &tokio::runtime::Runtime, app: Router) -> Result<SocketAddr, Failure> {
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    runtime.spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}

fn wrk(address: SocketAddr, connections: u32, seconds: u64, script: &Path) -> Result<Run, Failure> {
    let output = Command::new("wrk")
        .args(["--threads", "1", "--connections", &connections.to_string()])
        .args(["--duration", &format!("{seconds}s"), "--script"])
        .arg(script)
        .arg(format!("http://{address}/"))
        .output()
        .map_err(|error| format!("wrk: {error}; on Debian, `apt-get install wrk`"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let figure = |name: &str| -> Result<f64, Failure> {
        let found = text
            .split_whitespace()
            .find_map(|word| word.strip_prefix(name));
        Ok(found.ok_or_else(|| format!("wrk said {text}"))?.parse()?)
    };
    if figure("failed=")? > 0.0 {
        return Err(format!("some requests failed: {text}").into());
    }
    Ok(Run {
        median_us: figure("median_us=")?,
        per_second: figure("requests=")? / (figure("micros=")? / 1e6),
    })
}

/// The handler's own work: one row of its own.
fn work(txn: &WriteTxn<'_>, key: &str) -> Result<HttpAnswer, redb::Error> {
    let _ = txn.open_table(OWN)?.insert(key, 25)?;
    Ok(HttpAnswer::new(201, "text/plain", "charged 25 EUR"))
}

/// `transact` by hand, without a layer.
fn bare(ledger: Ledger) -> Router {
    async fn handle(
        State(ledger): State<Ledger>,
        headers: HeaderMap,
        body: Bytes,
    ) -> Response<Body> {
        let key = headers["idempotency-key"]
            .to_str()
            .expect("wrk sends ASCII");
        let key = Key::new(key.trim_matches('"')).expect("wrk sends a key");
        let asked = Fingerprint::of([&body]);
        let text = key.as_str().to_owned();
        let done = ledger
            .operation(BENCH, &key, asked)
            .transact_bytes_async(move |_, txn| {
                work(txn, &text).map(|answer| answer.body().to_vec())
            })
            .await
            .expect("each key is new");
        Response::new(Body::from(done.into_inner().into_bytes()))
    }
    Router::new().route("/", post(handle)).with_state(ledger)
}

fn layered(ledger: Ledger) -> Router {
    async fn handle(Extension(keyed): Extension<Keyed>) -> Response<Body> {
        let key = keyed.key().expect("it is required").as_str().to_owned();
        let done = keyed.transact(move |txn| work(txn, &key)).await;
        done.expect("each key is new").map(Body::from)
    }
    let layer = IdempotencyLayer::transactional(ledger, BENCH, HttpPolicy::new().path_as_route());
    Router::new().route("/", post(handle)).route_layer(layer)
}

fn claimed(ledger: Ledger) -> Router {
    let layer = IdempotencyLayer::new(ledger, BENCH, HttpPolicy::new().path_as_route());
    let handle = post(|| async { "charged 25 EUR" });
    Router::new().route("/", handle).route_layer(layer)
}

/// The same, as it is often written: a transaction for the claim, and one for the completion. The
/// index is for whoever forgets old keys, as the ledger does.
fn sqlite(path: &Path) -> Result<Router, Failure> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch(
        "create table claims (key text primary key, fingerprint blob, response blob, at integer);
         create index claims_by_age on claims (at);",
    )?;
    let connection = Arc::new(Mutex::new(connection));
    Ok(Router::new()
        .route("/", post(by_sqlite))
        .with_state(connection))
}

async fn by_sqlite(
    State(connection): State<Arc<Mutex<Connection>>>,
    headers: HeaderMap,
    body: Bytes,
) -> &'static str {
    let key = headers["idempotency-key"]
        .to_str()
        .expect("wrk sends ASCII")
        .to_owned();
    let asked = Fingerprint::of([&body]);
    let (claiming, claimed) = (Arc::clone(&connection), key.clone());
    blocking(move || {
        let mut connection = claiming.lock().expect("nobody panics");
        let txn = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        txn.execute(
            "insert into claims (key, fingerprint, at) values (?1, ?2, unixepoch())",
            params![claimed, asked.digest()],
        )?;
        txn.commit()
    })
    .await;
    let answer = "charged 25 EUR";
    blocking(move || {
        let mut connection = connection.lock().expect("nobody panics");
        let txn = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        txn.execute(
            "update claims set response = ?2 where key = ?1",
            params![key, answer],
        )?;
        txn.commit()
    })
    .await;
    answer
}

fn blocking(
    work: impl FnOnce() -> rusqlite::Result<()> + Send + 'static,
) -> impl Future<Output = ()> {
    let task = tokio::task::spawn_blocking(work);
    async move { task.await.expect("no panic").expect("SQLite works") }
}
