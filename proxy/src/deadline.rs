//! A point in time by which something has to be over.
//!
//! It does not know what happens then.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// Boxed, since it moves from waiting for the response's head to its body.
pub struct Deadline {
    sleep: Pin<Box<Sleep>>,
    pub limit: Duration,
}

impl Deadline {
    pub fn after(limit: Duration) -> Self {
        Self { sleep: Box::pin(tokio::time::sleep(limit)), limit }
    }

    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.sleep.as_mut().poll(cx)
    }
}

/// `None` where the deadline came first. The future is pinned by the caller: taken by value it would lie in memory twice.
pub async fn within<F: Future>(deadline: &mut Option<Deadline>, mut future: Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        match deadline {
            Some(deadline) => deadline.poll(cx).map(|()| None),
            None => Poll::Pending,
        }
    })
    .await
}
