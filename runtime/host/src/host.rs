//! What a filter may ask of its host: log, count, random, now-ms, and lazy access to the message at hand.
//!
//! Also what one store knows and how much memory it may have. It does not know who calls the filter.

use crate::Message;
use crate::contract::{self, Level};
use crate::ledger::Ledger;
use crate::settings;
use crate::watch::Watch;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use wasmtime::component::{Linker, WasmStr};
use wasmtime::{ResourceLimiter, StoreContextMut, UpdateDeadline};

/// Bytes of one log line.
const LINE_BYTES_MAX: usize = 4 << 10;

/// The data of one store.
pub(crate) struct Host {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) watch: Arc<Watch>,
    /// The watchdog's slot and counter of the call that runs.
    pub(crate) running: (usize, u64),
    /// The message at hand, while a handler runs.
    message: Option<Borrowed>,
    /// No request is at hand: what the filter logs and counts is nobody's.
    pub(crate) rehearsing: bool,
    pub(crate) memory: Memory,
    random: u64,
}

/// Linear memory of one store, all memories together.
pub(crate) struct Memory {
    pub(crate) bytes: usize,
    pub(crate) bytes_max: usize,
    /// The filter has been refused memory during the current call.
    pub(crate) refused: bool,
}

/// A message whose lifetime has been erased; only ever set for the time of one call.
struct Borrowed(*const (dyn Message + 'static));

// SAFETY: the pointer is dereferenced only by host functions during the call that set it, on that call's thread; when
// a store moves to another thread there is no call, and so no pointer.
#[allow(unsafe_code)]
unsafe impl Send for Borrowed {}
// SAFETY: as above; nobody shares a store.
#[allow(unsafe_code)]
unsafe impl Sync for Borrowed {}

#[derive(Debug, thiserror::Error)]
pub(crate) enum HostError {
    #[error("it read the message outside of a handler")]
    NoMessage,
    #[error("it counted on counter {index}, and its manifest declares {declared}")]
    NoCounter { index: u32, declared: usize },
}

impl Host {
    pub(crate) fn new(ledger: Arc<Ledger>, watch: Arc<Watch>, memory_max: u64, seed: u64) -> Self {
        let bytes_max = usize::try_from(memory_max).unwrap_or(usize::MAX);
        let memory = Memory { bytes: 0, bytes_max, refused: false };
        Self { ledger, watch, running: (0, 0), message: None, rehearsing: false, memory, random: seed }
    }

    /// Lends the message to the host functions until [`Host::take_back`].
    ///
    /// # Safety
    /// The caller takes it back before `message` ends, whatever the call does.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn lend(&mut self, message: &(dyn Message + '_)) {
        // SAFETY: only the lifetime changes, and the caller keeps it.
        let message =
            unsafe { std::mem::transmute::<*const (dyn Message + '_), *const (dyn Message + 'static)>(message) };
        self.message = Some(Borrowed(message));
    }

    pub(crate) fn take_back(&mut self) {
        self.message = None;
    }

    #[allow(unsafe_code)]
    fn message(&self) -> Result<&dyn Message, HostError> {
        let Borrowed(message) = self.message.as_ref().ok_or(HostError::NoMessage)?;
        // SAFETY: it is set only while the call that lent it runs, by the contract of `lend`.
        Ok(unsafe { &**message })
    }
}

/// The interfaces that a component may import; one that imports anything else is refused at load.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    let mut host = linker.instance(contract::HOST)?;
    host.func_wrap("log", |store: StoreContextMut<'_, Host>, (level, message): (Level, WasmStr)| {
        let host = store.data();
        if !host.rehearsing && host.ledger.admits_line() {
            let text = message.to_str(&store)?;
            log(level, &host.ledger.filter, &text);
        }
        Ok(())
    })?;
    host.func_wrap("count", |store: StoreContextMut<'_, Host>, (counter, delta): (u32, u64)| {
        let Host { ledger, rehearsing, .. } = store.data();
        if *rehearsing || ledger.count(counter, delta) {
            return Ok(());
        }
        Err(wasmtime::Error::new(HostError::NoCounter { index: counter, declared: ledger.declared() }))
    })?;
    host.func_wrap("random", |mut store: StoreContextMut<'_, Host>, (): ()| {
        Ok((next_random(&mut store.data_mut().random),))
    })?;
    host.func_wrap("now-ms", |_: StoreContextMut<'_, Host>, (): ()| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok((u64::try_from(since.as_millis()).unwrap_or(u64::MAX),))
    })?;
    let mut request = linker.instance(contract::REQUEST)?;
    request.func_wrap("header", |store: StoreContextMut<'_, Host>, (name,): (WasmStr,)| {
        let name = name.to_str(&store)?.to_ascii_lowercase();
        let values = store.data().message()?.header_values(&name);
        let first = values.into_iter().next();
        Ok((first.and_then(|value| String::from_utf8(value).ok()),))
    })?;
    request.func_wrap("header-values", |store: StoreContextMut<'_, Host>, (name,): (WasmStr,)| {
        let name = name.to_str(&store)?.to_ascii_lowercase();
        Ok((store.data().message()?.header_values(&name),))
    })?;
    request.func_wrap("header-names", |store: StoreContextMut<'_, Host>, (): ()| {
        Ok((store.data().message()?.header_names(),))
    })?;
    Ok(linker)
}

/// What the store of an instance does when the epoch has moved: nothing, unless its own call is to end.
pub(crate) fn on_epoch(store: StoreContextMut<'_, Host>) -> wasmtime::Result<UpdateDeadline> {
    let host = store.data();
    let (slot, seq) = host.running;
    Ok(if host.watch.ends(slot, seq) { UpdateDeadline::Interrupt } else { UpdateDeadline::Continue(1) })
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let bytes = self.bytes.saturating_add(desired.saturating_sub(current));
        if bytes > self.bytes_max {
            self.refused = true;
            return Ok(false);
        }
        self.bytes = bytes;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= settings::TABLE_ELEMENTS_MAX)
    }

    fn instances(&self) -> usize {
        settings::CORE_INSTANCES_MAX as usize
    }

    fn tables(&self) -> usize {
        settings::TABLES_MAX as usize
    }

    fn memories(&self) -> usize {
        settings::MEMORIES_MAX as usize
    }
}

fn log(level: Level, filter: &str, text: &str) {
    let end = text.floor_char_boundary(LINE_BYTES_MAX);
    // Control characters would let a filter forge lines.
    let line = text[..end].escape_debug();
    match level {
        Level::Debug => tracing::debug!(target: "weft::filter", filter, "{line}"),
        Level::Info => tracing::info!(target: "weft::filter", filter, "{line}"),
        Level::Warn => tracing::warn!(target: "weft::filter", filter, "{line}"),
        Level::Error => tracing::error!(target: "weft::filter", filter, "{line}"),
    }
}

/// SplitMix64: one addition and three mixes for each number.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
