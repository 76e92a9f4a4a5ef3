//! Waiting for a state of the world with a deadline, instead of sleeping and hoping.

use std::fmt::Debug;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// Asks until the answer is `Ok`; panics with the last `Err` when patience ends.
#[track_caller]
pub fn eventually<T, E: Debug>(what: &str, ask: impl FnMut() -> Result<T, E>) -> T {
    within(PATIENCE, what, ask)
}

/// The same with patience of one's own.
#[track_caller]
pub fn within<T, E: Debug>(limit: Duration, what: &str, mut ask: impl FnMut() -> Result<T, E>) -> T {
    let start = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(error) if start.elapsed() > limit => panic!("{what}: not within {limit:?}: {error:?}"),
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// The same for a question that is asked on a runtime.
pub async fn eventually_async<T, E: Debug>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, E>) -> T {
    let start = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) if start.elapsed() > PATIENCE => panic!("{what}: not within {PATIENCE:?}: {error:?}"),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
