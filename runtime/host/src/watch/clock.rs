//! How much CPU time another thread has used.
//!
//! Known on Linux; elsewhere there is no answer, and the watchdog is more patient.

#[cfg(target_os = "linux")]
mod linux {
    use std::sync::atomic::{AtomicI32, Ordering};
    use std::time::Duration;

    /// The clock of the thread that adopted it last.
    pub(in crate::watch) struct ThreadClock {
        id: AtomicI32,
    }

    /// No clock of a thread: those are negative.
    const NOBODY: i32 = i32::MAX;

    impl Default for ThreadClock {
        fn default() -> Self {
            Self { id: AtomicI32::new(NOBODY) }
        }
    }

    impl ThreadClock {
        #[allow(unsafe_code)]
        pub(in crate::watch) fn adopt_current_thread(&self) {
            let mut id: libc::clockid_t = NOBODY;
            // SAFETY: the thread is the calling one, and the clock's id is written to a live local.
            let answer = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &mut id) };
            self.id.store(if answer == 0 { id } else { NOBODY }, Ordering::Release);
        }

        /// `None` where nobody adopted it or the thread is gone.
        #[allow(unsafe_code)]
        pub(in crate::watch) fn used(&self) -> Option<Duration> {
            let id = self.id.load(Ordering::Acquire);
            let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: the time is written to a live local; an id that no longer names a thread is an error.
            let answer = unsafe { libc::clock_gettime(id, &mut time) };
            let seconds = u64::try_from(time.tv_sec).ok()?;
            (answer == 0).then(|| Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0)))
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::time::Duration;

    #[derive(Default)]
    pub(in crate::watch) struct ThreadClock;

    impl ThreadClock {
        pub(in crate::watch) fn adopt_current_thread(&self) {}

        pub(in crate::watch) fn used(&self) -> Option<Duration> {
            None
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) use elsewhere::ThreadClock;
#[cfg(target_os = "linux")]
pub(super) use linux::ThreadClock;
