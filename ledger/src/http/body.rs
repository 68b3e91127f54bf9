//! Bodies: read up to a limit, and handed on.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

/// A body as far as it was read.
pub(super) enum Collected<B> {
    /// All of it.
    Whole {
        read: Bytes,
        trailers: Option<HeaderMap>,
    },
    /// More than the limit: what was read, and the rest.
    TooLarge { read: Bytes, rest: B },
}

/// Reads a body, up to a limit.
pub(super) async fn collect<B>(mut body: B, limit: usize) -> Result<Collected<B>, B::Error>
where
    B: Body + Unpin,
{
    let mut read = BytesMut::new();
    let mut trailers: Option<HeaderMap> = None;
    if body.size_hint().lower() > limit as u64 {
        return Ok(Collected::TooLarge {
            read: read.freeze(),
            rest: body,
        });
    }
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(mut data) => read.extend_from_slice(&data.copy_to_bytes(data.remaining())),
            Err(frame) => {
                if let Ok(more) = frame.into_trailers() {
                    trailers.get_or_insert_default().extend(more);
                }
            }
        }
        if read.len() > limit {
            return Ok(Collected::TooLarge {
                read: read.freeze(),
                rest: body,
            });
        }
    }
    let read = read.freeze();
    Ok(Collected::Whole { read, trailers })
}

/// A body of which the layer has read all, a part or nothing: the request's as the service below
/// gets it, and the answer's as its caller does. Trailers come along.
///
/// It is `Unpin` where the body inside is.
///
/// ```
/// use http_body_util::{BodyExt, Full};
/// use idempotency_ledger::http::ReadBody;
///
/// // What a service below the layer does with its request.
/// async fn length(request: http::Request<ReadBody<Full<bytes::Bytes>>>) -> usize {
///     let body = request.into_body().collect().await.expect("it is in memory");
///     body.to_bytes().len()
/// }
/// # let _ = length;
/// ```
#[derive(Debug)]
pub struct ReadBody<B> {
    read: Option<Bytes>,
    rest: Option<B>,
    trailers: Option<HeaderMap>,
}

impl<B> ReadBody<B> {
    pub(super) fn whole(bytes: Bytes, trailers: Option<HeaderMap>) -> Self {
        Self {
            read: Some(bytes).filter(|bytes| !bytes.is_empty()),
            rest: None,
            trailers,
        }
    }

    pub(super) fn passed(read: Bytes, rest: B) -> Self {
        Self {
            rest: Some(rest),
            ..Self::whole(read, None)
        }
    }

    pub(super) fn untouched(body: B) -> Self {
        Self::passed(Bytes::new(), body)
    }
}

impl<B: Body + Unpin> Body for ReadBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(read) = self.read.take() {
            return Poll::Ready(Some(Ok(Frame::data(read))));
        }
        let Some(rest) = &mut self.rest else {
            let trailers = self.trailers.take();
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        };
        let frame = std::task::ready!(Pin::new(rest).poll_frame(context));
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining())))
        }))
    }

    fn is_end_stream(&self) -> bool {
        let rest_ends = self.rest.as_ref().is_none_or(Body::is_end_stream);
        self.read.is_none() && self.trailers.is_none() && rest_ends
    }

    fn size_hint(&self) -> SizeHint {
        let read = self.read.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let rest = self
            .rest
            .as_ref()
            .map_or(SizeHint::with_exact(0), Body::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + read);
        // A length that is known makes HTTP/1.1 send it, and then there is no place for trailers.
        if let (Some(upper), None) = (rest.upper(), &self.trailers) {
            hint.set_upper(upper + read);
        }
        hint
    }
}
