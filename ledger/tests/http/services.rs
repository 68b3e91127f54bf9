//! The layer around services that are no axum routes, and around connections that are kept.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full, Limited};
use idempotency_ledger::http::{HttpPolicy, IdempotencyKey, IdempotencyLayer, ReadBody};
use idempotency_ledger::{Error, Ledger};
use tokio::runtime::Builder;
use tower_layer::Layer;
use tower_service::Service;

use crate::client::{Call, contains};
use crate::shop::{CHARGES, Shop, records};

/// Answers by its body: `fail` and `nothing` are errors, of which the second says so.
#[derive(Clone, Debug)]
struct Teller {
    is_ready: bool,
}

impl<B> Service<Request<ReadBody<B>>> for Teller {
    type Response = Response<Full<Bytes>>;
    type Error = &'static str;
    type Future = Ready<Result<Self::Response, &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReadBody<B>>) -> Self::Future {
        assert!(
            std::mem::take(&mut self.is_ready),
            "it was not asked before"
        );
        match request.uri().path() {
            "/fail" => ready(Err("it failed")),
            "/nothing" => {
                let key = request.extensions().get::<IdempotencyKey>();
                key.unwrap().nothing_happened();
                ready(Err("it failed before anything happened"))
            }
            _ => ready(Ok(Response::new(Full::from("told")))),
        }
    }
}

fn ready_for_full<S>(service: &mut S, context: &mut Context<'_>) -> Poll<Result<(), S::Error>>
where
    S: Service<Request<Full<Bytes>>>,
{
    service.poll_ready(context)
}

#[test]
fn a_service_that_fails_leaves_its_key_interrupted_unless_nothing_happened() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let ledger = Ledger::in_memory().unwrap();
    let layer = IdempotencyLayer::new(ledger.clone(), CHARGES, HttpPolicy::new());
    let mut service = layer.layer(Teller { is_ready: false });
    let mut call = async |path: &str| {
        std::future::poll_fn(|context| ready_for_full(&mut service, context)).await?;
        let request = Request::post(path).header("idempotency-key", "\"a\"");
        let body = Full::<Bytes>::from("");
        let answer = service.call(request.body(body).unwrap()).await?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        Ok::<_, &'static str>((status, body))
    };
    runtime.block_on(async {
        assert_eq!(
            call("/nothing").await,
            Err("it failed before anything happened")
        );
        assert_eq!(records(&ledger).len(), 0);
        assert_eq!(call("/fail").await, Err("it failed"));
        assert_eq!(records(&ledger)[0].state().as_str(), "interrupted");
        let (status, body) = call("/fail").await.unwrap();
        assert_eq!(status, 409);
        assert!(contains(&body, b"\"code\":\"interrupted\""));
        for _ in 0..2 {
            let (status, body) = call("/tell").await.unwrap();
            assert_eq!((status, &body[..]), (200, &b"told"[..]));
        }
        layer.drained().await;
    });
}

#[test]
fn a_kept_connection_gets_first_answer_and_replay_one_after_the_other() {
    let shop = Shop::new(HttpPolicy::new());
    let bytes = Call::post("/pay").key("a").json("{}").bytes();
    let kept = String::from_utf8(bytes.clone()).unwrap();
    let kept = kept.replace("connection: close\r\n", "");
    let mut stream = TcpStream::connect(shop.addr()).unwrap();
    // Both at once: the second is read while the first runs.
    stream.write_all(kept.as_bytes()).unwrap();
    stream.write_all(&bytes).unwrap();
    let mut read = Vec::new();
    stream.read_to_end(&mut read).unwrap();
    let text = String::from_utf8(read).unwrap();
    assert_eq!(text.matches("HTTP/1.1 201 Created\r\n").count(), 2);
    assert_eq!(text.matches("call 1, 2 bytes").count(), 2);
    assert_eq!(text.matches("idempotency-replayed: true").count(), 1);
}

#[test]
fn no_failure_of_the_ledger_tells_a_key_or_a_folder() {
    let failures = [
        Error::Damaged {
            namespace: "charges".to_owned(),
            key: "secret-key-17".to_owned(),
        },
        Error::FileReplaced {
            path: "/srv/secret-key-17.redb".into(),
        },
    ];
    for failure in failures {
        let problem = idempotency_ledger::http::Problem::of_error(&failure);
        let told = format!("{problem} {:?}", problem.clone().into_response().body());
        assert!(!told.contains("secret-key-17"), "{told}");
        assert_eq!(problem.code().status(), 503);
    }
}

/// Counts its frames, and answers with a trailer.
#[derive(Clone, Debug)]
struct Trailing;

impl<B> Service<Request<ReadBody<B>>> for Trailing
where
    ReadBody<B>: Body<Data = Bytes, Error: std::fmt::Debug> + Send,
    B: Send + 'static,
{
    type Response = Response<ReadBodyOf>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReadBody<B>>) -> Self::Future {
        Box::pin(async move {
            let read = request.into_body().collect().await.unwrap();
            let trailers = read.trailers().cloned().unwrap_or_default();
            let told = Full::from(read.to_bytes());
            Ok(Response::new(told.with_trailers(ready(Some(Ok(trailers))))))
        })
    }
}

type ReadBodyOf = http_body_util::combinators::WithTrailers<
    Full<Bytes>,
    Ready<Option<Result<HeaderMap, Infallible>>>,
>;

#[test]
fn trailers_are_passed_on_in_both_directions() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let ledger = Ledger::in_memory().unwrap();
    let layer = IdempotencyLayer::new(ledger, CHARGES, HttpPolicy::new());
    let mut service = layer.layer(Trailing);
    for (method, key, replays) in [
        ("POST", "a", false),
        ("POST", "a", true),
        ("PUT", "b", false),
    ] {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", http::HeaderValue::from_static("17"));
        let body = Full::<Bytes>::from("abc").with_trailers(ready(Some(Ok(trailers.clone()))));
        let request = Request::builder().method(method).uri("/pay");
        let request = request.header("idempotency-key", key).body(body).unwrap();
        let answer = runtime.block_on(service.call(request)).unwrap();
        let is_replay = answer.headers().contains_key("idempotency-replayed");
        let answer = runtime.block_on(answer.into_body().collect()).unwrap();
        // A stored answer has none.
        let passed = answer.trailers().cloned();
        assert_eq!(
            (is_replay, passed),
            (replays, (!replays).then_some(trailers))
        );
        assert_eq!(answer.to_bytes(), "abc");
    }
}

/// Compiles where the layer takes such bodies.
fn takes<B>(layer: &IdempotencyLayer)
where
    B: Body<Data: Send, Error: Into<axum::BoxError>> + Send + Unpin + 'static,
{
    is_service::<_, B>(&layer.layer(Teller { is_ready: false }));
}

fn is_service<S: Service<Request<B>>, B>(_: &S) {}

#[test]
fn any_request_body_is_taken_and_its_own_limit_is_told() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let ledger = Ledger::in_memory().unwrap();
    let layer = IdempotencyLayer::new(ledger.clone(), CHARGES, HttpPolicy::new());
    let limited = async |body: &'static str| {
        let request = Request::post("/tell").header("idempotency-key", "a");
        let body = Limited::new(Full::<Bytes>::from(body), 3);
        let mut service = layer.layer(Teller { is_ready: true });
        service
            .call(request.body(body).unwrap())
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    assert_eq!(runtime.block_on(limited("abcd")), 413);
    assert_eq!(records(&ledger).len(), 0);
    assert_eq!(runtime.block_on(limited("abc")), 200);
    // What hyper hands to its services.
    takes::<hyper::body::Incoming>(&layer);
    takes::<Limited<hyper::body::Incoming>>(&layer);
    takes::<axum::body::Body>(&layer);
}

/// What a server of many threads needs.
#[test]
fn the_service_and_its_futures_can_move_between_threads() {
    fn moves<T: Send + 'static>(_: &T) {}
    let ledger = Ledger::in_memory().unwrap();
    let layer = IdempotencyLayer::new(ledger, CHARGES, HttpPolicy::new());
    let mut service = layer.layer(Teller { is_ready: true });
    moves(&service);
    let request = Request::post("/").body(Full::<Bytes>::from("")).unwrap();
    let future = service.call(request);
    moves(&future);
    let runtime = Builder::new_current_thread().build().unwrap();
    let answer = runtime.block_on(future);
    assert_eq!(answer.unwrap().status(), 400);
}
