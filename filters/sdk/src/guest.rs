//! The instance behind the exports: configured once, then asked for each request.
//!
//! Used by [`export!`](crate::export) alone.

use std::cell::OnceCell;

use crate::bindings::request::weft::filter::types::Manifest;
use crate::{Filter, Interest, Request, Response, ResponseVerdict, Verdict, config};

/// A filter and what it declared.
pub struct Instance<F> {
    pub(crate) filter: F,
    pub(crate) interest: Interest,
}

impl<F: Filter> Instance<F> {
    pub(crate) fn configure(text: &str) -> Result<Self, String> {
        let mut interest = Interest::default();
        let filter = config::parse(text)
            .and_then(|config| F::configure(config, &mut interest))
            .map_err(|problem| problem.to_string())?;
        Ok(Self { filter, interest })
    }
}

/// The one instance of a component.
pub struct Cell<F>(OnceCell<Instance<F>>);

impl<F: Filter> Cell<F> {
    #[expect(clippy::new_without_default, reason = "only `export!` makes one, in a constant")]
    pub const fn new() -> Self {
        Self(OnceCell::new())
    }

    pub fn configure(&self, text: &str) -> Result<Manifest, String> {
        #[cfg(target_arch = "wasm32")]
        std::panic::set_hook(Box::new(|panic| crate::log(crate::Level::Error, &panic.to_string())));
        let instance = Instance::configure(text)?;
        let manifest = instance.interest.manifest();
        match self.0.set(instance) {
            Ok(()) => Ok(manifest),
            Err(_) => Err("an instance is configured once; make another".into()),
        }
    }

    pub fn on_request(&self, attributes: &[Option<String>]) -> Verdict {
        let instance = self.configured();
        instance.filter.on_request(&Request::new(&instance.interest, attributes))
    }

    pub fn on_response(&self, attributes: &[Option<String>], state: Option<&[u8]>) -> ResponseVerdict {
        let instance = self.configured();
        instance.filter.on_response(&Response::new(&instance.interest, attributes, state))
    }

    fn configured(&self) -> &Instance<F> {
        self.0.get().expect("the host calls configure before anything else")
    }
}

/// A text as the bytes of a custom section.
pub const fn section<const N: usize>(text: &str) -> [u8; N] {
    let from = text.as_bytes();
    let mut bytes = [0; N];
    let mut at = 0;
    while at < N {
        bytes[at] = from[at];
        at += 1;
    }
    bytes
}
