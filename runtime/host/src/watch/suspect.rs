//! When a call has run for too long: the rule of the watchdog for one slot.
//!
//! It is given the time and the thread's CPU time, and knows no threads.

use std::time::{Duration, Instant};

/// What is remembered of the call that was last seen on a slot.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Suspect {
    seq: u64,
    seen: Option<Sighting>,
}

#[derive(Clone, Copy, Debug)]
struct Sighting {
    at: Instant,
    /// CPU time that the thread had used by then; `None` where the system does not tell.
    cpu: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// No call runs.
    Idle,
    /// A call runs that may go on; it is worth looking again after `wait`.
    Running { wait: Duration },
    /// The call has to end.
    Overdue,
}

/// Without CPU times a call is only known to be old, and may have been preempted: it gets this many deadlines.
const DEADLINES_WITHOUT_CPU_TIME: u32 = 4;

impl Suspect {
    /// `seq` is the slot's counter now. `cpu` is asked only where a call runs.
    pub(super) fn look(
        &mut self,
        seq: u64,
        deadline: Duration,
        now: Instant,
        cpu: impl FnOnce() -> Option<Duration>,
    ) -> Finding {
        if seq.is_multiple_of(2) {
            self.seen = None;
            return Finding::Idle;
        }
        let Some(seen) = self.seen.filter(|_| self.seq == seq) else {
            *self = Self { seq, seen: Some(Sighting { at: now, cpu: cpu() }) };
            return Finding::Running { wait: deadline };
        };
        let age = now.saturating_duration_since(seen.at);
        if age < deadline {
            return Finding::Running { wait: deadline - age };
        }
        // Old by the clock, which goes on while a call waits for a core: what counts is the time that it had one.
        let (used, allowed) = match (seen.cpu, cpu()) {
            (Some(then), Some(by_now)) => (by_now.saturating_sub(then), deadline),
            _ => (age, deadline * DEADLINES_WITHOUT_CPU_TIME),
        };
        if used >= allowed { Finding::Overdue } else { Finding::Running { wait: allowed - used } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// One look: milliseconds since the first, the counter, CPU time in milliseconds, what is to be found.
    type Look = (u32, u64, Option<u32>, Finding);

    #[test]
    fn only_a_call_that_used_its_time_is_overdue() {
        let running = |ms: u32| Finding::Running { wait: MS * ms };
        let cases: &[(&str, &[Look])] = &[
            ("nothing runs", &[(0, 0, Some(0), Finding::Idle), (9, 4, Some(0), Finding::Idle)]),
            (
                "a loop",
                &[
                    (0, 1, Some(5), running(2)),
                    (1, 1, Some(6), running(1)),
                    (2, 1, Some(7), Finding::Overdue),
                    (3, 1, Some(8), Finding::Overdue),
                ],
            ),
            (
                "many short calls",
                &[(0, 1, Some(0), running(2)), (2, 9, Some(2), running(2)), (4, 21, Some(4), running(2))],
            ),
            (
                "preempted, then done",
                &[
                    (0, 1, Some(5), running(2)),
                    (50, 1, Some(5), running(2)),
                    (51, 2, Some(5), Finding::Idle),
                    (52, 3, Some(5), running(2)),
                ],
            ),
            (
                "preempted, then a loop",
                &[
                    (0, 1, Some(5), running(2)),
                    (50, 1, Some(5), running(2)),
                    (51, 1, Some(6), running(1)),
                    (52, 1, Some(7), Finding::Overdue),
                ],
            ),
            (
                "a loop on half a core",
                &[(0, 1, Some(0), running(2)), (2, 1, Some(1), running(1)), (4, 1, Some(2), Finding::Overdue)],
            ),
            ("no CPU times", &[(0, 1, None, running(2)), (7, 1, None, running(1)), (8, 1, None, Finding::Overdue)]),
            ("a new call after a loop", &[(0, 1, Some(0), running(2)), (9, 3, Some(9), running(2))]),
        ];
        for (row, looks) in cases {
            let (start, mut suspect) = (Instant::now(), Suspect::default());
            for (ms, seq, cpu, want) in *looks {
                let found = suspect.look(*seq, MS * 2, start + MS * *ms, || cpu.map(|ms| MS * ms));
                assert_eq!(found, *want, "{row} at {ms} ms");
            }
        }
    }
}
