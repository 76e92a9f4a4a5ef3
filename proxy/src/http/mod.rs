//! HTTP as hyper speaks it: servers for the client's side, settings for the upstream's side, and what leaves HTTP.
//!
//! It does not decide where a request goes; `exchange` does.

pub mod client;
pub mod forwarded;
pub mod server;
pub mod tunnel;

/// Runs hyper's tasks on the worker that asks: nothing ever moves to another thread.
#[derive(Clone, Copy, Debug)]
pub struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}
