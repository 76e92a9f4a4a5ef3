//! Wakes of a connection's task, which can be held back for a moment and forgotten where they turn out to be about nothing.
//!
//! hyper wakes an HTTP/1 connection whenever a piece of its response is taken, so that it gets the next one ready. After
//! the last piece there is none, and to poll the connection for that costs a twentieth of a request. It does not know
//! responses: who takes the piece sees whether it was the last.

use std::pin::pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Wake, Waker};

/// Between what wakes a task and the task.
#[derive(Default)]
pub(super) struct Wakes {
    /// Set before anything can wake it. A task has the same waker for as long as it lives.
    task: OnceLock<Waker>,
    state: AtomicU8,
}

const PASSED_ON: u8 = 0;
const HELD: u8 = 1;
/// One has come meanwhile.
const HELD_ONE: u8 = 2;

/// While it lives, wakes are held back; dropping it passes on what has come.
pub struct Held<'a>(&'a Wakes);

impl Wakes {
    /// Runs a future as the task that is woken through here. Once, and to its end in the task where it began.
    pub(super) async fn carry<F: Future>(self: Arc<Self>, future: F) -> F::Output {
        let waker = Waker::from(Arc::clone(&self));
        let mut future = pin!(future);
        std::future::poll_fn(|cx| {
            self.task.get_or_init(|| cx.waker().clone());
            future.as_mut().poll(&mut Context::from_waker(&waker))
        })
        .await
    }

    pub(super) fn hold(&self) -> Held<'_> {
        self.state.store(HELD, Ordering::Release);
        Held(self)
    }

    /// Wakes the task, whatever was forgotten.
    pub(super) fn pass_on(&self) {
        if let Some(task) = self.task.get() {
            task.wake_by_ref();
        }
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let noted = self.state.compare_exchange(HELD, HELD_ONE, Ordering::AcqRel, Ordering::Acquire);
        if noted == Err(PASSED_ON) {
            self.pass_on();
        }
    }
}

impl Held<'_> {
    /// They were about nothing.
    pub fn forget(self) {
        self.0.state.store(PASSED_ON, Ordering::Release);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.0.state.swap(PASSED_ON, Ordering::AcqRel) == HELD_ONE {
            self.0.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn wakes_are_passed_on_held_or_forgotten() {
        type Step = fn(&Wakes, &Waker);
        let rows: &[(&str, Step, usize)] = &[
            ("as they come", |_, waker| waker.wake_by_ref(), 1),
            (
                "held, and passed on as one",
                |wakes, waker| {
                    let _held = wakes.hold();
                    waker.wake_by_ref();
                    waker.wake_by_ref();
                },
                1,
            ),
            ("held, and none came", |wakes, _| drop(wakes.hold()), 0),
            (
                "held and forgotten",
                |wakes, waker| {
                    let held = wakes.hold();
                    waker.wake_by_ref();
                    held.forget();
                },
                0,
            ),
            (
                "after some were forgotten",
                |wakes, waker| {
                    wakes.hold().forget();
                    waker.wake_by_ref();
                },
                1,
            ),
        ];
        for (row, step, want) in rows {
            let (wakes, count) = (Arc::<Wakes>::default(), Arc::<Count>::default());
            let task = Waker::from(Arc::clone(&count));
            let mut carried = pin!(Arc::clone(&wakes).carry(std::future::pending::<()>()));
            assert!(carried.as_mut().poll(&mut Context::from_waker(&task)).is_pending());
            step(&wakes, &Waker::from(Arc::clone(&wakes)));
            assert_eq!(count.0.load(Ordering::Relaxed), *want, "{row}");
        }
    }
}
