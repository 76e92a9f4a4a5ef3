//! The instance behind the exports: configured once, then asked for each request.
//!
//! Used by [`export!`](crate::export) alone.

use std::cell::{OnceCell, RefCell};

use crate::abi::Answer;
use crate::arguments;
use crate::bindings::request::weft::filter::types::Manifest;
use crate::{Filter, Interest, Request, Response, ResponseVerdict, Verdict, config};

pub use crate::abi::Value;

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
pub struct Cell<F> {
    instance: OnceCell<Instance<F>>,
    verdict: RefCell<Answer<Verdict>>,
    response_verdict: RefCell<Answer<ResponseVerdict>>,
}

impl<F: Filter> Cell<F> {
    #[expect(clippy::new_without_default, reason = "only `export!` makes one, in a constant")]
    pub const fn new() -> Self {
        Self {
            instance: OnceCell::new(),
            verdict: RefCell::new(Answer::new()),
            response_verdict: RefCell::new(Answer::new()),
        }
    }

    pub fn configure(&self, text: &str) -> Result<Manifest, String> {
        #[cfg(target_arch = "wasm32")]
        std::panic::set_hook(Box::new(|panic| crate::log(crate::Level::Error, &panic.to_string())));
        let instance = Instance::configure(text)?;
        let manifest = instance.interest.manifest();
        match self.instance.set(instance) {
            Ok(()) => {
                arguments::expect();
                Ok(manifest)
            }
            Err(_) => Err("an instance is configured once; make another".into()),
        }
    }

    pub fn on_request(&self, values: &[Value<'_>]) -> *const usize {
        arguments::take();
        let instance = self.configured();
        let verdict = instance.filter.on_request(&Request::new(&instance.interest, values));
        let answer = self.verdict.borrow_mut().hold(verdict);
        arguments::expect();
        answer
    }

    pub fn on_response(&self, values: &[Value<'_>], state: Option<&[u8]>) -> *const usize {
        arguments::take();
        let instance = self.configured();
        let verdict = instance.filter.on_response(&Response::new(&instance.interest, values, state));
        let answer = self.response_verdict.borrow_mut().hold(verdict);
        arguments::expect();
        answer
    }

    fn configured(&self) -> &Instance<F> {
        self.instance.get().expect("the host calls configure before anything else")
    }
}

/// An argument as the ABI passes it, where it has `length` items.
///
/// # Safety
/// The host has put them there for this call.
#[allow(unsafe_code)]
pub unsafe fn list<'a, T>(start: *const T, length: usize) -> &'a [T] {
    // SAFETY: as the caller says; an empty list may start anywhere.
    unsafe { std::slice::from_raw_parts(start, length) }
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
