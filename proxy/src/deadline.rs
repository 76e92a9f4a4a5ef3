//! A point in time by which something has to be over.
//!
//! It does not know what happens then.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// A timer that is set already, kept from one exchange of a connection to the next: to set one and to take it away again
/// costs more than to let it ring too early once in a while.
#[derive(Default)]
pub struct Alarm(Cell<Option<Pin<Box<Sleep>>>>);

pub struct Deadline {
    at: Instant,
    pub limit: Duration,
    alarm: Rc<Alarm>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    pub fn of(began: std::time::Instant, limit: Duration, alarm: &Rc<Alarm>) -> Self {
        Self { at: Instant::from_std(began) + limit, limit, alarm: Rc::clone(alarm), sleep: None }
    }

    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let at = self.at;
        let kept = || self.alarm.0.take().unwrap_or_else(|| Box::pin(tokio::time::sleep_until(at)));
        let sleep = self.sleep.get_or_insert_with(kept);
        loop {
            if sleep.deadline() > at {
                sleep.as_mut().reset(at);
            }
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= at || Instant::now() >= at {
                return Poll::Ready(());
            }
            // It was set for an exchange before.
            sleep.as_mut().reset(at);
        }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if let Some(sleep) = self.sleep.take() {
            self.alarm.0.set(Some(sleep));
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    /// The alarm is set for an earlier time, for a later one, for one that is over, or not at all.
    #[tokio::test]
    async fn a_kept_alarm_neither_hurries_nor_delays() {
        let millis = Duration::from_millis;
        for (earlier, waits, later) in [(30, 1, 60), (9_000, 1, 60), (30, 80, 60), (9_000, 0, 0)] {
            let alarm = Rc::<Alarm>::default();
            let mut first = Some(Deadline::of(std::time::Instant::now(), millis(earlier), &alarm));
            assert_eq!(within(&mut first, pin!(tokio::time::sleep(millis(10)))).await, Some(()));
            drop(first);
            tokio::time::sleep(millis(waits)).await;
            let began = Instant::now();
            let mut second = Some(Deadline::of(began.into_std(), millis(later), &alarm));
            assert_eq!(within(&mut second, pin!(std::future::pending::<()>())).await, None);
            let took = began.elapsed();
            assert!(took >= millis(later) && took < millis(5_000), "{earlier}, {waits}, {later}: {took:?}");
        }
    }
}
