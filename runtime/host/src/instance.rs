//! One instance of a component in a store of its own: made, configured, called.
//!
//! A trap poisons the whole store, so an instance that has failed is never called again. It does not know workers,
//! policies or what a verdict means.

use crate::component::Component;
use crate::contract;
use crate::engine;
use crate::host::{self, Host};
use crate::ledger::Ledger;
use crate::watch::Watch;
use crate::{FailureKind, Message, rehearsal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use wasmtime::component::{ComponentExportIndex, ComponentNamedList, Func, Lift, Lower, TypedFunc};
use wasmtime::{Store, Trap};

/// Bytes that one answer of a guest, or one call of the host, may make the host allocate.
const COPIED_BYTES_MAX: usize = 1 << 20;

/// What `on-request` takes: attributes in the order of the manifest, and no body.
type RequestParameters<'a> = (&'a [Option<&'a str>], Option<&'a [u8]>);
type ResponseParameters<'a> = (&'a [Option<&'a str>], Option<&'a [u8]>);
type ConfigureParameters<'a> = (&'a str,);
type Configured = (Result<contract::Manifest, String>,);

pub(crate) struct Instance {
    store: Store<Host>,
    on_request: Func,
    on_response: Option<Func>,
    reads_lazily: bool,
    calls: u64,
    /// Linear memory before the first request.
    configured_bytes: usize,
}

/// On which slot of the watchdog a call runs, and for how long it may.
#[derive(Clone, Copy)]
pub(crate) struct Leash<'a> {
    pub(crate) watch: &'a Watch,
    pub(crate) slot: usize,
    pub(crate) deadline: Duration,
}

/// What every instance of a policy is made with.
pub(crate) struct Blueprint {
    pub(crate) component: Component,
    pub(crate) config: String,
    pub(crate) memory_max: u64,
    pub(crate) ledger: Arc<Ledger>,
    /// An instance failed while it rehearsed: further ones are left out of that.
    pub(crate) unrehearsed: AtomicBool,
}

/// A call that ended in an error of the guest's.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) kind: FailureKind,
    pub(crate) reason: String,
}

#[derive(Debug)]
pub(crate) enum MakeError {
    /// It could not be instantiated, or it is not of the right type.
    Instance(String),
    /// `configure` did not end well.
    Configure(Fault),
    /// `configure` said no.
    Config(String),
}

impl Blueprint {
    /// Makes an instance that is ready for requests: configured, and called once so that its first request finds it as
    /// quick as the next ones. The leash is for the making and `configure`.
    pub(crate) fn make(
        &self,
        engine: &engine::Inner,
        leash: Leash<'_>,
    ) -> Result<(Instance, contract::Manifest), MakeError> {
        let (mut instance, manifest) = self.configured(engine, leash)?;
        if self.unrehearsed.load(Ordering::Relaxed) || instance.rehearse(leash, &manifest).is_ok() {
            return Ok((instance, manifest));
        }
        // What no request asked for counts for nothing: another takes its place, as it is.
        self.unrehearsed.store(true, Ordering::Relaxed);
        drop(instance);
        self.configured(engine, leash)
    }

    fn configured(
        &self,
        engine: &engine::Inner,
        leash: Leash<'_>,
    ) -> Result<(Instance, contract::Manifest), MakeError> {
        let host = Host::new(Arc::clone(&self.ledger), Arc::clone(&engine.watch), self.memory_max, engine.next_seed());
        let mut store = Store::new(&engine.wasm, host);
        store.limiter(|host| &mut host.memory);
        store.set_hostcall_fuel(COPIED_BYTES_MAX);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(host::on_epoch);

        let shape = &self.component.inner;
        let running = leash.watch.enter(leash.slot, leash.deadline);
        store.data_mut().running = (leash.slot, running.seq());
        let instance = shape.pre.instantiate(&mut store).map_err(|error| instance_error(&store, error))?;
        let mut function = |index: &ComponentExportIndex| instance.get_func(&mut store, index);
        let (configure, on_request) = (function(&shape.configure), function(&shape.on_request));
        let on_response = shape.on_response.as_ref().map(&mut function);
        let (Some(configure), Some(on_request)) = (configure, on_request) else {
            return Err(MakeError::Instance("an export of the contract is no function".to_owned()));
        };
        let (configure, on_response) = typed(&store, configure, on_request, on_response.flatten())?;
        let (answer,) = configure
            .call(&mut store, (self.config.as_str(),))
            .map_err(|error| MakeError::Configure(fault(&store.data().memory, &error)))?;
        drop(running);
        let manifest = answer.map_err(MakeError::Config)?;
        let configured_bytes = store.data().memory.bytes;
        let reads_lazily = shape.reads_lazily;
        Ok((Instance { store, on_request, on_response, reads_lazily, calls: 0, configured_bytes }, manifest))
    }
}

impl Instance {
    pub(crate) fn on_request(
        &mut self,
        leash: Leash<'_>,
        message: &dyn Message,
        attributes: &[Option<&str>],
    ) -> Result<contract::Verdict, Fault> {
        let function = self.on_request;
        let (verdict,) =
            self.call::<RequestParameters<'_>, (contract::Verdict,)>(leash, message, function, (attributes, None))?;
        Ok(verdict)
    }

    /// Called only where the manifest has response attributes, and so the component has the phase.
    pub(crate) fn on_response(
        &mut self,
        leash: Leash<'_>,
        message: &dyn Message,
        attributes: &[Option<&str>],
        state: Option<&[u8]>,
    ) -> Result<contract::ResponseVerdict, Fault> {
        let Some(function) = self.on_response else { return Ok(contract::ResponseVerdict::Pass) };
        let (verdict,) = self.call::<ResponseParameters<'_>, (contract::ResponseVerdict,)>(
            leash,
            message,
            function,
            (attributes, state),
        )?;
        Ok(verdict)
    }

    fn rehearse(&mut self, leash: Leash<'_>, manifest: &contract::Manifest) -> Result<(), Fault> {
        self.store.data_mut().rehearsing = true;
        rehearsal::of(self, leash, manifest)?;
        let host = self.store.data_mut();
        host.rehearsing = false;
        self.configured_bytes = host.memory.bytes;
        self.calls = 0;
        Ok(())
    }

    /// True once it has served its calls, or its memory has grown into half of what its config left free.
    pub(crate) fn is_worn(&self, calls_max: u64) -> bool {
        let memory = &self.store.data().memory;
        let headroom = memory.bytes_max.saturating_sub(self.configured_bytes);
        self.calls >= calls_max || memory.bytes > self.configured_bytes + headroom / 2
    }

    #[inline]
    fn call<Parameters, Answer>(
        &mut self,
        leash: Leash<'_>,
        message: &dyn Message,
        function: Func,
        parameters: Parameters,
    ) -> Result<Answer, Fault>
    where
        Parameters: ComponentNamedList + Lower,
        Answer: ComponentNamedList + Lift,
    {
        self.calls += 1;
        // SAFETY: `make` checked the function against these very types, lifetimes aside.
        #[allow(unsafe_code)]
        let function = unsafe { TypedFunc::<Parameters, Answer>::new_unchecked(function) };
        let running = leash.watch.enter(leash.slot, leash.deadline);
        let host = self.store.data_mut();
        host.running = (leash.slot, running.seq());
        host.memory.refused = false;
        if self.reads_lazily {
            // SAFETY: taken back below. Where a host function panics the call unwinds, and the instance with it: its
            // callers own it on their stacks.
            #[allow(unsafe_code)]
            unsafe {
                host.lend(message);
            }
        }
        let answer = function.call(&mut self.store, parameters);
        drop(running);
        self.store.data_mut().take_back();
        answer.map_err(|error| fault(&self.store.data().memory, &error))
    }
}

/// Checks the exports against the contract's types, once.
fn typed(
    store: &Store<Host>,
    configure: Func,
    on_request: Func,
    on_response: Option<Func>,
) -> Result<(TypedFunc<ConfigureParameters<'static>, Configured>, Option<Func>), MakeError> {
    let wrong = |name: &str, error: wasmtime::Error| MakeError::Instance(format!("{name} has another type: {error:#}"));
    on_request
        .typed::<RequestParameters<'static>, (contract::Verdict,)>(store)
        .map_err(|error| wrong("on-request", error))?;
    if let Some(function) = on_response {
        function
            .typed::<ResponseParameters<'static>, (contract::ResponseVerdict,)>(store)
            .map_err(|error| wrong("on-response", error))?;
    }
    let configure = configure
        .typed::<ConfigureParameters<'static>, Configured>(store)
        .map_err(|error| wrong("configure", error))?;
    Ok((configure, on_response))
}

fn instance_error(store: &Store<Host>, error: wasmtime::Error) -> MakeError {
    match error.downcast_ref::<Trap>() {
        Some(_) => MakeError::Configure(fault(&store.data().memory, &error)),
        None if store.data().memory.refused => {
            MakeError::Instance(format!("it needs more than its {} bytes of memory", store.data().memory.bytes_max))
        }
        None => MakeError::Instance(format!("{error:#}")),
    }
}

/// What kind of failure an error of wasmtime's is. Errors that are no traps are answers that the host did not take.
fn fault(memory: &host::Memory, error: &wasmtime::Error) -> Fault {
    let (kind, reason) = match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => (FailureKind::Deadline, "it ran past its deadline".to_owned()),
        Some(Trap::StackOverflow) => (FailureKind::Stack, "it used up its stack".to_owned()),
        Some(_) if memory.refused => {
            (FailureKind::Memory, format!("it wanted more than its {} bytes of memory", memory.bytes_max))
        }
        Some(Trap::UnreachableCodeReached) => (FailureKind::Trap, "it panicked or aborted".to_owned()),
        Some(trap) => (FailureKind::Trap, trap.to_string()),
        None => match error.downcast_ref::<host::HostError>() {
            Some(refused) => (FailureKind::Trap, refused.to_string()),
            None => (FailureKind::Output, format!("its answer cannot be read: {error:#}")),
        },
    };
    Fault { kind, reason }
}
