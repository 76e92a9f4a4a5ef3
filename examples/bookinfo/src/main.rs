//! The binary `bookinfo`: one service of the example.

use clap::Parser;

/// One service of Bookinfo, Istio's example application
///
/// Examples:
///   bookinfo reviews --version v3 --listen 127.0.0.1:19085
///   HTTP_PROXY=http://127.0.0.1:15001 bookinfo productpage
#[derive(Parser)]
#[command(name = "bookinfo", version, verbatim_doc_comment)]
struct Command {
    #[command(subcommand)]
    service: bookinfo::Service,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    bookinfo::run(Command::parse().service).await
}
