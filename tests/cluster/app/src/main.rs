//! The one program in the cluster suite's own image: the app of a pod, the client in another, and the load.
//!
//! It knows no mesh and no Kubernetes: it is what a user's own unchanged container is.

mod call;
mod judge;
mod load;
mod once;
mod serve;
mod stream;
mod tls;

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use tokio::signal::unix::{Signal, SignalKind, signal};

#[derive(Parser)]
#[command(about, arg_required_else_help = true)]
enum Line {
    /// Serves HTTP/1.1, h2c and gRPC on one port, and what is not HTTP on another
    Serve(serve::Options),
    /// Makes requests one after the other; a line of JSON for each
    Get(once::Options),
    /// Open-loop load until standard input ends; then the tally as JSON
    #[command(subcommand)]
    Load(Load),
    /// Waits until it is told to end: a place from which tests call
    Idle,
}

#[derive(Subcommand)]
enum Load {
    /// Requests at a fixed rate
    Http(load::Options),
    /// gRPC streams, one after the other, a message at a time
    Grpc(stream::Options),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    match Line::parse() {
        Line::Serve(options) => serve::run(options).await?,
        Line::Get(options) => return once::run(&options).await,
        Line::Load(Load::Http(options)) => load::run(options).await?.print()?,
        Line::Load(Load::Grpc(options)) => stream::run(options).await?.print()?,
        Line::Idle => {
            end_signal()?.recv().await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn end_signal() -> std::io::Result<Signal> {
    signal(SignalKind::terminate())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Line::command().debug_assert();
    }
}
