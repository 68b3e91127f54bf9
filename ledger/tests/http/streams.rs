//! Answers that come bit by bit.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use http_body::Frame;
use idempotency_ledger::http::{HttpPolicy, IdempotencyLayer};
use idempotency_ledger::{Ledger, Namespace, Policy};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::client::Call;
use crate::shop::{Served, records, until};

type Piece = Result<Bytes, &'static str>;

/// A body that says what it is handed, and ends when nobody hands it any more.
struct Stream(UnboundedReceiver<Piece>);

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let piece = std::task::ready!(self.0.poll_recv(context));
        Poll::Ready(piece.map(|piece| piece.map(Frame::data).map_err(Into::into)))
    }
}

const SMALL: Namespace = Namespace::new("small").policy(Policy::DEFAULT.response_bytes_max(1_000));

/// A server whose next answer is the stream, of a content type.
fn streaming(content_type: &'static str) -> (Served, Ledger, UnboundedSender<Piece>) {
    let ledger = Ledger::in_memory().unwrap();
    let (pieces, stream) = unbounded_channel();
    let next = Arc::new(Mutex::new(Some(Stream(stream))));
    let handler = move || {
        let stream = next.lock().unwrap().take().expect("it runs once");
        let response = Response::builder().header("content-type", content_type);
        std::future::ready(Ok::<_, Infallible>(
            response.body(Body::new(stream)).unwrap(),
        ))
    };
    let router = Router::new()
        .route("/stream", post(handler))
        .route_layer(IdempotencyLayer::new(
            ledger.clone(),
            SMALL,
            HttpPolicy::new(),
        ));
    (Served::new(router), ledger, pieces)
}

fn call() -> Call {
    Call::post("/stream").key("a")
}

#[test]
fn a_stream_that_ends_below_the_limit_is_stored() {
    let (served, _ledger, pieces) = streaming("text/plain");
    let open = call().open(served.addr);
    for piece in ["one ", "two ", "three"] {
        pieces.send(Ok(Bytes::from(piece))).unwrap();
    }
    drop(pieces);
    let first = open.answer().unwrap();
    assert_eq!(first.text(), "one two three");
    let retry = call().send(served.addr);
    assert!(retry.is_replay());
    assert_eq!(retry.body, first.body);
}

#[test]
fn a_stream_above_the_limit_comes_as_it_is_made() {
    let (served, ledger, pieces) = streaming("text/plain");
    let mut open = call().open(served.addr);
    pieces.send(Ok(Bytes::from("x".repeat(1_000)))).unwrap();
    pieces.send(Ok(Bytes::from("tick 1\n"))).unwrap();
    open.wait_for("tick 1");
    assert_eq!(records(&ledger)[0].state().as_str(), "interrupted");
    for tick in 2..100 {
        pieces
            .send(Ok(Bytes::from(format!("tick {tick}\n"))))
            .unwrap();
        open.wait_for(&format!("tick {tick}\n"));
    }
    call().send(served.addr).assert_problem(409, "interrupted");
    open.disconnect();
    until("the stream is dropped", || pieces.is_closed());
}

#[test]
fn server_sent_events_come_at_once_however_few_they_are() {
    let (served, ledger, pieces) = streaming("Text/Event-Stream; charset=utf-8");
    let mut open = call().open(served.addr);
    for tick in 0..10 {
        let event = format!("data: tick {tick}\n\n");
        pieces.send(Ok(Bytes::from(event.clone()))).unwrap();
        open.wait_for(&event);
    }
    assert_eq!(records(&ledger)[0].state().as_str(), "interrupted");
    call().send(served.addr).assert_problem(409, "interrupted");
    open.disconnect();
    until("the stream is dropped", || pieces.is_closed());
}

#[test]
fn a_stream_that_breaks_off_leaves_the_key_interrupted() {
    let (served, _ledger, pieces) = streaming("text/plain");
    let open = call().open(served.addr);
    pieces.send(Ok(Bytes::from("half"))).unwrap();
    pieces.send(Err("it breaks off")).unwrap();
    let answer = open.answer().unwrap();
    answer.assert_problem(409, "interrupted");
    call().send(served.addr).assert_problem(409, "interrupted");
}
