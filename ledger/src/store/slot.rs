//! Where an asynchronous caller and its answer meet, whichever comes first, or never comes.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use crate::clock::locked;

/// Where an answer waits for its caller, or the caller for its answer.
pub(super) struct Slot<A> {
    state: Mutex<Waiting<A>>,
}

struct Waiting<A> {
    answer: Option<A>,
    waker: Option<Waker>,
    /// What becomes of an answer that nobody waits for; taken by whoever waits no more.
    abandoned: Option<Box<dyn FnOnce(A) + Send>>,
    is_abandoned: bool,
}

impl<A> Slot<A> {
    pub(super) fn new(abandoned: impl FnOnce(A) + Send + 'static) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(Waiting {
                answer: None,
                waker: None,
                abandoned: Some(Box::new(abandoned)),
                is_abandoned: false,
            }),
        })
    }

    pub(super) fn deliver(&self, answer: A) {
        let mut state = locked(&self.state);
        if state.is_abandoned {
            let abandoned = state.abandoned.take();
            drop(state);
            if let Some(abandoned) = abandoned {
                abandoned(answer);
            }
            return;
        }
        state.answer = Some(answer);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Changes an answer that was delivered a moment ago.
    pub(super) fn correct(&self, change: impl FnOnce(A) -> A) {
        let mut state = locked(&self.state);
        state.answer = state.answer.take().map(change);
    }
}

/// An answer to come.
#[must_use = "an answer that is dropped is abandoned"]
pub(crate) struct Answer<A>(pub(super) Arc<Slot<A>>);

impl<A> Future for Answer<A> {
    type Output = A;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<A> {
        let mut state = locked(&self.0.state);
        let Some(answer) = state.answer.take() else {
            state.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        state.abandoned = None;
        Poll::Ready(answer)
    }
}

impl<A> Drop for Answer<A> {
    fn drop(&mut self) {
        let mut state = locked(&self.0.state);
        state.is_abandoned = true;
        let left = state.answer.take();
        let abandoned = if left.is_some() {
            state.abandoned.take()
        } else {
            None
        };
        drop(state);
        if let (Some(answer), Some(abandoned)) = (left, abandoned) {
            abandoned(answer);
        }
    }
}
