//! Puts the parts together and runs them until a signal comes.

use crate::ca::{self, AuthorityOptions};
use crate::state::StateFolder;
use crate::token::{self, Uses};
use crate::{Options, RotateOptions, TokenOptions};
use std::time::{Duration, SystemTime};

/// Runs until SIGTERM or SIGINT.
pub fn run(options: Options) -> anyhow::Result<()> {
    let _ = options;
    anyhow::bail!("not written yet")
}

/// The token's text: what `weft token create` prints.
pub fn create_token(options: &TokenOptions) -> anyhow::Result<String> {
    let path = options.state.clone().unwrap_or_else(StateFolder::default_path);
    let (folder, now) = (StateFolder::open(&path)?, ca::seconds(SystemTime::now()));
    let issuing = ca::issuing_from(&folder, now)?;
    let uses = if options.reusable { Uses::Many } else { Uses::Once };
    Ok(token::create(&issuing, &options.account, uses, options.ttl, now)?)
}

/// What `weft ca rotate` prints.
pub fn rotate_root(options: &RotateOptions) -> anyhow::Result<String> {
    let path = options.state.clone().unwrap_or_else(StateFolder::default_path);
    let (folder, now) = (StateFolder::open(&path)?, ca::seconds(SystemTime::now()));
    let authority = AuthorityOptions { svid_life: options.svid_life, ..AuthorityOptions::default() };
    let signs_from = ca::rotate(&folder, &authority, now)?;
    Ok(format!("proxies are told of the new root now; it signs in {:?}", Duration::from_secs(signs_from - now)))
}
