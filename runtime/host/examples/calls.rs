//! What one request costs a filter, in instructions: something small for callgrind and perf to run.
//!
//! ```text
//! cargo build --release -p weft-filter-host --features compiler --example calls
//! target/release/examples/calls make filters/headers /tmp/headers
//! valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect='calls::measured' \
//!     target/release/examples/calls run /tmp/headers '{"request": {"set": {"x-tier": "gold"}}}' 10000
//! ```
//! The instructions collected, divided by the number of calls, are one pair of phases. `perf stat -e instructions:u`
//! on two numbers of calls gives the same by difference.
#![allow(clippy::print_stdout)]

use std::borrow::Cow;
use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};
use weft_filter_host::{
    Attribute, Component, Engine, EngineOptions, Isolation, Message, NonUtf8, OnFailure, Policy, PolicySettings,
    Runner, Verdict,
};

/// A request as browsers send it: 20 headers, looked up by name.
struct Head(Vec<(String, String)>);

impl Message for Head {
    fn attribute(&self, attribute: &Attribute) -> Option<Cow<'_, [u8]>> {
        let text = match attribute {
            Attribute::Path => "/productpage?u=test",
            Attribute::Method => "GET",
            Attribute::Status => "200",
            Attribute::SourceIdentity => "spiffe://cluster.local/ns/default/sa/productpage",
            Attribute::Header(name) => &self.0.iter().find(|(known, _)| known == name)?.1,
            _ => return None,
        };
        Some(Cow::Borrowed(text.as_bytes()))
    }

    fn header_values(&self, name: &str) -> Vec<Vec<u8>> {
        self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone().into_bytes()).collect()
    }

    fn header_names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["make", guest, artifact] => make(Path::new(guest), Path::new(artifact)),
        ["run", artifact, config, calls] => run(Path::new(artifact), config, calls.parse()?),
        _ => Err("usage: calls make GUEST ARTIFACT, or: calls run ARTIFACT CONFIG CALLS".into()),
    }
}

#[cfg(feature = "compiler")]
fn make(guest: &Path, artifact: &Path) -> Result<(), Box<dyn Error>> {
    let built = weft_filter_build::build(guest, &weft_filter_build::BuildOptions::default())?;
    std::fs::write(artifact, weft_filter_host::compile::compile(&built.component)?)?;
    Ok(())
}

#[cfg(not(feature = "compiler"))]
fn make(_: &Path, _: &Path) -> Result<(), Box<dyn Error>> {
    Err("build this example with --features compiler to make artifacts".into())
}

fn run(artifact: &Path, config: &str, calls: u32) -> Result<(), Box<dyn Error>> {
    let engine = Engine::new(EngineOptions { workers: 1, policies_max: 1, ..EngineOptions::default() })?;
    let component = Component::load(&engine, artifact)?;
    let settings = PolicySettings {
        key: "default/bench".to_owned(),
        component: String::new(),
        config: config.to_owned(),
        deadline: Duration::from_millis(500),
        memory_max: 16 << 20,
        on_failure: OnFailure::Refuse,
        non_utf8: NonUtf8::Refuse,
        isolation: Isolation::Reuse,
    };
    let policy = Policy::prepare(&engine, &component, settings, 1)?;
    let runner = Runner::new(&engine, 0);
    let mut headers: Vec<(String, String)> =
        (0..18).map(|n| (format!("x-header-{n}"), format!("value of header {n}"))).collect();
    headers.push(("x-user".to_owned(), "jason".to_owned()));
    headers.push(("x-request-id".to_owned(), "6f1d8f0e-7a1c-4b7e-9d55-0f1d7f8b9a10".to_owned()));
    let message = Head(headers);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let begun = Instant::now();
    runtime.block_on(measured(&runner, &policy, &message, calls))?;
    let each = begun.elapsed() / calls.max(1);
    println!("{each:?} for a pair of phases; {:?}", policy.figures());
    Ok(())
}

async fn measured(runner: &Runner, policy: &Policy, message: &Head, calls: u32) -> Result<(), Box<dyn Error>> {
    for _ in 0..calls {
        pair(runner, policy, message).await?;
    }
    Ok(())
}

/// One request and its response.
async fn pair(runner: &Runner, policy: &Policy, message: &Head) -> Result<(), Box<dyn Error>> {
    let verdict = black_box(runner.on_request(policy, black_box(message)).await?);
    let state = match verdict {
        Verdict::Forward(forward) => forward.state,
        _ => None,
    };
    black_box(runner.on_response(policy, black_box(message), state).await?);
    Ok(())
}
