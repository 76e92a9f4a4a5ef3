//! Bookinfo, the four services of Istio's example, with the same paths and payloads: for the demo and for tests.
//!
//! The services know no mesh. They call each other by name, through HTTP_PROXY where that is set, and pass trace headers
//! on; all else is for the sidecars to do.

mod details;
mod headers;
mod outbound;
mod page;
mod productpage;
mod ratings;
mod reviews;
mod server;

use std::net::SocketAddr;

use clap::{Args, Subcommand, ValueEnum};

pub use outbound::Mesh;
pub use server::Running;

/// One of the services.
#[derive(Debug, Clone, Subcommand)]
pub enum Service {
    /// The page that a person opens; calls details and reviews.
    Productpage(Productpage),
    /// Facts about a book; calls nobody.
    Details(Details),
    /// What readers think; v2 and v3 call ratings.
    Reviews(Reviews),
    /// Stars; calls nobody.
    Ratings(Ratings),
}

#[derive(Debug, Clone, Args)]
pub struct Productpage {
    #[command(flatten)]
    pub listen: Listen,
    #[command(flatten)]
    pub mesh: Mesh,
    #[arg(long, env = "DETAILS_HOSTNAME", default_value = "details", value_name = "NAME")]
    pub details_host: String,
    #[arg(long, env = "REVIEWS_HOSTNAME", default_value = "reviews", value_name = "NAME")]
    pub reviews_host: String,
    #[arg(long, env = "RATINGS_HOSTNAME", default_value = "ratings", value_name = "NAME")]
    pub ratings_host: String,
}

#[derive(Debug, Clone, Args)]
pub struct Details {
    #[command(flatten)]
    pub listen: Listen,
}

#[derive(Debug, Clone, Args)]
pub struct Reviews {
    /// v1 shows no stars, v2 black ones, v3 red ones
    #[arg(long, env = "SERVICE_VERSION", default_value = "v1")]
    pub version: Version,
    #[command(flatten)]
    pub listen: Listen,
    #[command(flatten)]
    pub mesh: Mesh,
    #[arg(long, env = "RATINGS_HOSTNAME", default_value = "ratings", value_name = "NAME")]
    pub ratings_host: String,
}

#[derive(Debug, Clone, Args)]
pub struct Ratings {
    #[command(flatten)]
    pub listen: Listen,
}

/// Where a service listens and how it calls itself.
#[derive(Debug, Clone, Args)]
pub struct Listen {
    /// Port 0 takes a free one
    #[arg(long, env = "BOOKINFO_LISTEN", default_value = "127.0.0.1:9080", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,
    /// The name in answers, such as a pod's [default: the service and its version]
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub pod_name: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Version {
    V1,
    V2,
    V3,
}

impl Version {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::V3 => "v3",
        }
    }
}

/// Starts a service; it serves until [`Running::stop`] or until it is dropped.
pub async fn start(service: Service) -> std::io::Result<Running> {
    match service {
        Service::Productpage(options) => server::start(options.listen.listen, productpage::App::new(options)).await,
        Service::Details(options) => server::start(options.listen.listen, details::App).await,
        Service::Reviews(options) => server::start(options.listen.listen, reviews::App::new(options)).await,
        Service::Ratings(options) => server::start(options.listen.listen, ratings::App::default()).await,
    }
}

/// Runs a service until SIGTERM or SIGINT, then lets the requests at hand finish.
pub async fn run(service: Service) -> anyhow::Result<()> {
    use anyhow::Context;
    use std::io::Write;

    let (name, listen) = match &service {
        Service::Productpage(options) => ("productpage", options.listen.listen),
        Service::Details(options) => ("details", options.listen.listen),
        Service::Reviews(options) => ("reviews", options.listen.listen),
        Service::Ratings(options) => ("ratings", options.listen.listen),
    };
    let mut end = server::end_signals()?;
    let running = start(service).await.with_context(|| format!("{name} cannot listen on {listen}"))?;
    // Nobody to tell is no reason to end.
    let _ = writeln!(std::io::stderr(), "bookinfo {name} listens on {}", running.address());
    end.recv().await;
    running.stop().await;
    Ok(())
}
