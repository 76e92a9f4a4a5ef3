//! Loads an artifact and calls it once, as a sidecar does: the other half of a test that two builds fit together.
//!
//! Usage: `lean ARTIFACT`. It says whether it was built with the compiler, its artifact key, and the verdict.
#![allow(clippy::print_stdout)]

use std::borrow::Cow;
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;
use weft_filter_host::{
    Attribute, Component, Engine, EngineOptions, Isolation, Message, NonUtf8, OnFailure, Policy, PolicySettings,
    Runner, artifact_key,
};

struct Nothing;

impl Message for Nothing {
    fn attribute(&self, _: &Attribute) -> Option<Cow<'_, [u8]>> {
        None
    }

    fn header_values(&self, _: &str) -> Vec<Vec<u8>> {
        Vec::new()
    }

    fn header_names(&self) -> Vec<String> {
        Vec::new()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let artifact = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: lean ARTIFACT")?);
    let engine = Engine::new(EngineOptions { workers: 1, ..EngineOptions::default() })?;
    let component = Component::load(&engine, &artifact)?;
    let settings = PolicySettings {
        key: "default/lean".to_owned(),
        component: String::new(),
        config: String::new(),
        deadline: Duration::from_millis(100),
        memory_max: 16 << 20,
        on_failure: OnFailure::Refuse,
        non_utf8: NonUtf8::Refuse,
        isolation: Isolation::Reuse,
    };
    let policy = Policy::prepare(&engine, &component, settings, 1)?;
    let runner = Runner::new(&engine, 0);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let verdict = runtime.block_on(runner.on_request(&policy, &Nothing))?;
    let compiler = if cfg!(feature = "compiler") { "with" } else { "without" };
    println!("{compiler} the compiler, {}: {verdict:?}", artifact_key());
    Ok(())
}
