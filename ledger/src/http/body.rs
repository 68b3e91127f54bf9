//! Bodies: read up to a limit, and sent on.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

/// A body as far as it was read.
pub(super) enum Collected<B> {
    /// All of it.
    Whole(Bytes),
    /// More than the limit: what was read, and the rest.
    TooLarge { read: Bytes, rest: B },
}

/// Reads a body, up to a limit. Trailers are dropped.
pub(super) async fn collect<B>(mut body: B, limit: usize) -> Result<Collected<B>, B::Error>
where
    B: Body + Unpin,
{
    let mut read = BytesMut::new();
    if body.size_hint().lower() > limit as u64 {
        return Ok(Collected::TooLarge {
            read: read.freeze(),
            rest: body,
        });
    }
    while let Some(frame) = body.frame().await {
        if let Ok(mut data) = frame?.into_data() {
            read.extend_from_slice(&data.copy_to_bytes(data.remaining()));
        }
        if read.len() > limit {
            return Ok(Collected::TooLarge {
                read: read.freeze(),
                rest: body,
            });
        }
    }
    Ok(Collected::Whole(read.freeze()))
}

/// The body of an answer: what was read of the handler's, and the rest of it where it was too
/// large to be stored.
///
/// It is `Unpin` where the handler's body is.
#[derive(Debug)]
pub struct AnswerBody<B> {
    read: VecDeque<Bytes>,
    rest: Option<B>,
}

impl<B> AnswerBody<B> {
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self {
            read: VecDeque::from_iter(Some(bytes).filter(|bytes| !bytes.is_empty())),
            rest: None,
        }
    }

    pub(super) fn passed(read: Bytes, rest: B) -> Self {
        Self {
            rest: Some(rest),
            ..Self::whole(read)
        }
    }

    pub(super) fn untouched(body: B) -> Self {
        Self::passed(Bytes::new(), body)
    }
}

impl<B: Body + Unpin> Body for AnswerBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(read) = self.read.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(read))));
        }
        let Some(rest) = &mut self.rest else {
            return Poll::Ready(None);
        };
        let frame = std::task::ready!(Pin::new(rest).poll_frame(context));
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining())))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let read: u64 = self.read.iter().map(|bytes| bytes.len() as u64).sum();
        let rest = self
            .rest
            .as_ref()
            .map_or(SizeHint::with_exact(0), Body::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + read);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + read);
        }
        hint
    }
}
