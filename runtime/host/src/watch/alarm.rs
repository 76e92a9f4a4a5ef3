//! One timer that any thread may set and one thread waits for.
//!
//! On Linux a timerfd: setting it is one system call and no lock. Elsewhere a condition variable. It does not know
//! what it is set for.

#[cfg(not(target_os = "linux"))]
pub(super) use portable::Alarm;
#[cfg(target_os = "linux")]
pub(super) use timerfd::Alarm;

#[cfg(target_os = "linux")]
mod timerfd {
    use std::fs::File;
    use std::io::{Error, Read, Result};
    use std::os::fd::{AsRawFd, FromRawFd};
    use std::time::Duration;

    pub(in crate::watch) struct Alarm {
        timer: File,
    }

    impl Alarm {
        #[allow(unsafe_code)]
        pub(in crate::watch) fn new() -> Result<Self> {
            // SAFETY: no pointer is passed; the result is checked before it is used.
            let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC) };
            if fd < 0 {
                return Err(Error::last_os_error());
            }
            // SAFETY: the descriptor is new and belongs to nobody else.
            Ok(Self { timer: unsafe { File::from_raw_fd(fd) } })
        }

        /// Lets `wait` return once, that long from now; an earlier setting is forgotten. Zero would disarm it.
        #[allow(unsafe_code)]
        pub(in crate::watch) fn set(&self, after: Duration) {
            let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            let nanos = i64::from(after.subsec_nanos()).max(i64::from(after.as_secs() == 0));
            let value = libc::timespec { tv_sec: after.as_secs() as libc::time_t, tv_nsec: nanos as libc::c_long };
            let setting = libc::itimerspec { it_interval: zero, it_value: value };
            // SAFETY: the descriptor is open as long as `self`, the setting outlives the call, no old value is asked.
            unsafe { libc::timerfd_settime(self.timer.as_raw_fd(), 0, &setting, std::ptr::null_mut()) };
        }

        pub(in crate::watch) fn wait(&self) {
            let mut expirations = [0; 8];
            // Interrupted reads only make the watchdog look once more.
            let _ = (&self.timer).read(&mut expirations);
        }
    }
}

#[cfg(any(test, not(target_os = "linux")))]
mod portable {
    use std::io::Result;
    use std::sync::{Condvar, Mutex, PoisonError};
    use std::time::{Duration, Instant};

    #[cfg_attr(target_os = "linux", allow(dead_code))]
    #[derive(Default)]
    pub(in crate::watch) struct Alarm {
        due: Mutex<Option<Instant>>,
        changed: Condvar,
    }

    #[cfg_attr(target_os = "linux", allow(dead_code))]
    impl Alarm {
        pub(in crate::watch) fn new() -> Result<Self> {
            Ok(Self::default())
        }

        pub(in crate::watch) fn set(&self, after: Duration) {
            *self.due.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + after);
            self.changed.notify_one();
        }

        pub(in crate::watch) fn wait(&self) {
            let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                due = match due.map(|at| at.saturating_duration_since(Instant::now())) {
                    Some(Duration::ZERO) => break,
                    Some(left) => {
                        let woken = self.changed.wait_timeout(due, left);
                        woken.unwrap_or_else(PoisonError::into_inner).0
                    }
                    None => self.changed.wait(due).unwrap_or_else(PoisonError::into_inner),
                };
            }
            *due = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    #[test]
    fn it_wakes_the_one_who_waits() {
        let timer = Arc::new(Alarm::new().expect("a timer"));
        let setter = Arc::clone(&timer);
        std::thread::spawn(move || setter.set(Duration::from_millis(1)));
        timer.wait();

        let portable = Arc::new(portable::Alarm::new().expect("a timer"));
        let setter = Arc::clone(&portable);
        let start = Instant::now();
        std::thread::spawn(move || setter.set(Duration::from_millis(1)));
        portable.wait();
        assert!(start.elapsed() >= Duration::from_millis(1), "it waits for its time");
    }
}
