//! The layer around services that are no axum routes, and around connections that are kept.

use std::future::{Ready, ready};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use idempotency_ledger::http::{HttpPolicy, IdempotencyKey, IdempotencyLayer};
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

impl Service<Request<Full<Bytes>>> for Teller {
    type Response = Response<Full<Bytes>>;
    type Error = &'static str;
    type Future = Ready<Result<Self::Response, &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
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

#[test]
fn a_service_that_fails_leaves_its_key_interrupted_unless_nothing_happened() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let ledger = Ledger::in_memory().unwrap();
    let layer = IdempotencyLayer::new(ledger.clone(), CHARGES, HttpPolicy::new());
    let mut service = layer.layer(Teller { is_ready: false });
    let mut call = async |path: &str| {
        std::future::poll_fn(|context| service.poll_ready(context)).await?;
        let request = Request::post(path).header("idempotency-key", "\"a\"");
        let answer = service.call(request.body(Full::from("")).unwrap()).await?;
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

/// What a server of many threads needs.
#[test]
fn the_service_and_its_futures_can_move_between_threads() {
    fn moves<T: Send + 'static>(_: &T) {}
    let ledger = Ledger::in_memory().unwrap();
    let layer = IdempotencyLayer::new(ledger, CHARGES, HttpPolicy::new());
    let mut service = layer.layer(Teller { is_ready: true });
    moves(&service);
    let request = Request::post("/").body(Full::from("")).unwrap();
    let future = service.call(request);
    moves(&future);
    let runtime = Builder::new_current_thread().build().unwrap();
    let answer = runtime.block_on(future);
    assert_eq!(answer.unwrap().status(), 400);
}
