//! Every setting of the engine that changes compiled code or how it may run, each set by hand.
//!
//! Wasmtime takes the defaults of several features from its Cargo features and refuses artifacts that differ, so
//! nothing here is left to a default: the CLI (with the compiler) and the lean sidecar (without) must agree. It does
//! not know instances or policies.

use crate::target::Target;
use sha2::{Digest, Sha256};
use std::num::NonZeroUsize;
use std::sync::OnceLock;
use wasmtime::{Config, Inlining, InstanceAllocationStrategy, ModuleVersionStrategy};

/// The exact version in the workspace's Cargo.toml; a test holds the two together.
pub(crate) const WASMTIME: &str = "48.0.8";

/// Linear memory that any policy may have, in bytes.
pub(crate) const MEMORY_BYTES_MAX: u64 = 256 << 20;
/// Stack of one call, in bytes. A worker's own stack has to be larger (Rust's default of 2 MiB is).
pub(crate) const STACK_BYTES_MAX: usize = 512 << 10;
/// Core instances in one component: componentize-py needs 21.
pub(crate) const CORE_INSTANCES_MAX: u32 = 48;
pub(crate) const MEMORIES_MAX: u32 = 4;
pub(crate) const TABLES_MAX: u32 = 32;
pub(crate) const TABLE_ELEMENTS_MAX: usize = 20_000;
const FIRST_STANDARD: [&str; 4] = ["MUTABLE_GLOBAL", "SATURATING_FLOAT_TO_INT", "SIGN_EXTENSION", "FLOATS"];

/// Address space of one linear memory: all that a 32-bit index can name, so that compiled code needs no bounds checks.
const ADDRESS_SPACE: u64 = 4 << 30;
const GUARD: u64 = 32 << 20;

/// For running artifacts: no compiler. Each instance maps its own memory and gives it back: wasmtime's pool would
/// reserve the address space of the most policies that there may ever be, some 5 TiB, which a process under a limit of
/// address space does not get. What the pool saves, some microseconds at each instance made, no request waits for,
/// since instances are made on threads of their own and then reused.
pub(crate) fn to_run() -> wasmtime::Result<Config> {
    let mut config = shared()?;
    config.module_version(ModuleVersionStrategy::Custom(artifact_key()))?;
    #[cfg(feature = "compiler")]
    config.enable_compiler(false);
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    Ok(config)
}

/// For compiling artifacts: the same code-changing settings, an explicit target.
#[cfg(feature = "compiler")]
pub(crate) fn to_compile(target: Target) -> wasmtime::Result<Config> {
    let mut config = shared()?;
    config.module_version(ModuleVersionStrategy::Custom(key_for(target)))?;
    // Without an explicit target, Cranelift would use what this very CPU can do.
    config.target(target.triple())?;
    config.strategy(wasmtime::Strategy::Cranelift);
    config.cranelift_opt_level(wasmtime::OptLevel::Speed);
    config.cranelift_nan_canonicalization(false);
    config.cranelift_debug_verifier(false);
    config.parallel_compilation(true);
    if let Some(flag) = target.cranelift_flag() {
        // SAFETY: the flag only says which CPU instructions may be used; a CPU without them is refused at load and by
        // `Engine::new`.
        #[allow(unsafe_code)]
        unsafe {
            config.cranelift_flag_enable(flag);
        }
    }
    Ok(config)
}

/// Names the artifacts that this build can run: exact wasmtime version, target, CPU baseline and a hash of the
/// settings. Letters, digits, `.`, `-` and `_` only.
pub fn artifact_key() -> String {
    static KEY: OnceLock<String> = OnceLock::new();
    KEY.get_or_init(|| key_for(Target::OWN)).clone()
}

/// The same of a build of this version for another target.
pub(crate) fn key_for(target: Target) -> String {
    static SETTINGS: OnceLock<String> = OnceLock::new();
    let settings = SETTINGS.get_or_init(|| {
        let engine = shared().and_then(|config| wasmtime::Engine::new(&config));
        let hash = Sha256::digest(describe(&engine.expect("these settings hold on every system we build for")));
        hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    });
    format!("wasmtime-{WASMTIME}-{target}-{}-{settings}", target.baseline())
}

fn shared() -> wasmtime::Result<Config> {
    let mut config = Config::new();
    // All features off first, whatever the build's Cargo features turned on; then those that filters get. Those of the
    // first standard have no method of their own and come by name, from the set that has them all.
    let standard = wasmtime::Engine::default().get_wasm_features();
    config.wasm_features(standard, false);
    for (_, flag) in standard.iter_names().filter(|(name, _)| FIRST_STANDARD.contains(name)) {
        config.wasm_features(flag, true);
    }
    config
        .wasm_component_model(true)
        .wasm_reference_types(true)
        .wasm_bulk_memory(true)
        .wasm_multi_value(true)
        .wasm_simd(true)
        .wasm_tail_call(true)
        .wasm_extended_const(true)
        .wasm_multi_memory(true);
    config
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_exceptions(false)
        .wasm_function_references(false)
        .wasm_gc(false)
        .gc_support(false)
        .wasm_stack_switching(false)
        .wasm_shared_everything_threads(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false)
        .wasm_branch_hinting(false)
        .wasm_component_model_error_context(false)
        .wasm_component_model_gc(false)
        .wasm_component_model_map(false)
        .wasm_component_model_memory64(false)
        .wasm_component_model_fixed_length_lists(false)
        .wasm_component_model_implements(false);
    tunables(&mut config);
    Ok(config)
}

fn tunables(config: &mut Config) {
    config
        // 3.7x on the cost of an empty call, and on by default.
        .concurrency_support(false)
        .epoch_interruption(true)
        .consume_fuel(false)
        .native_unwind_info(false)
        .generate_address_map(false)
        .debug_info(false)
        .debug_symbols(false)
        .wasm_backtrace_details(wasmtime::WasmBacktraceDetails::Disable)
        .wasm_backtrace_max_frames(None::<NonZeroUsize>)
        .max_wasm_stack(STACK_BYTES_MAX)
        .memory_reservation(ADDRESS_SPACE)
        .memory_guard_size(GUARD)
        .memory_reservation_for_growth(0)
        .memory_may_move(false)
        .guard_before_linear_memory(true)
        .memory_init_cow(true)
        .memory_guaranteed_dense_image_size(16 << 20)
        .table_lazy_init(true)
        .signals_based_traps(true)
        .relaxed_simd_deterministic(false)
        .shared_memory(false)
        .compiler_inlining(Inlining::InterModule);
}

/// All that has a part in whether an artifact fits, as text.
fn describe(engine: &wasmtime::Engine) -> String {
    format!(
        "features {:x} reservation {} guard {} may_move {} guard_before {} lazy_tables {} cow {} signals {} epoch {} \
         fuel {} concurrency {} stack {} inlining {:?} symbols {} details {} gc {} {} {} {} opt speed",
        engine.get_wasm_features().bits(),
        engine.get_memory_reservation(),
        engine.get_memory_guard_size(),
        engine.get_memory_may_move(),
        engine.get_guard_before_linear_memory(),
        engine.get_table_lazy_init(),
        engine.get_memory_init_cow(),
        engine.get_signals_based_traps(),
        engine.get_epoch_interruption(),
        engine.get_consume_fuel(),
        engine.get_concurrency_support(),
        engine.get_max_wasm_stack(),
        engine.get_compiler_inlining(),
        engine.get_debug_symbols(),
        engine.get_debug_info(),
        engine.get_gc_heap_reservation(),
        engine.get_gc_heap_guard_size(),
        engine.get_gc_heap_initial_size(),
        engine.get_gc_heap_may_move(),
    )
}

/// The first feature of the baseline that this CPU lacks.
pub(crate) fn missing_cpu_feature() -> Option<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        let has = [
            ("sse3", is_x86_feature_detected!("sse3")),
            ("ssse3", is_x86_feature_detected!("ssse3")),
            ("sse4.1", is_x86_feature_detected!("sse4.1")),
            ("sse4.2", is_x86_feature_detected!("sse4.2")),
            ("popcnt", is_x86_feature_detected!("popcnt")),
            ("cmpxchg16b", is_x86_feature_detected!("cmpxchg16b")),
        ];
        has.iter().find(|(_, present)| !present).map(|(name, _)| *name)
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_that_is_pinned() {
        let workspace = include_str!("../../../Cargo.toml");
        assert!(
            workspace.contains(&format!("wasmtime = {{ version = \"={WASMTIME}\"")),
            "change settings::WASMTIME too"
        );
    }

    #[test]
    fn the_key_is_stable_and_plain() {
        let key = artifact_key();
        assert_eq!(key, artifact_key());
        assert!(key.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b)), "{key}");
        assert!(key.len() < 128, "wasmtime takes at most 255 bytes: {key}");
    }

    #[test]
    fn only_the_features_of_filters_are_on() {
        let engine = wasmtime::Engine::new(&shared().expect("settings")).expect("an engine");
        let features = engine.get_wasm_features();
        let names: Vec<String> = features.iter_names().map(|(name, _)| name.to_owned()).collect();
        for off in ["THREADS", "GC_TYPES", "GC", "EXCEPTIONS", "CM_ASYNC", "RELAXED_SIMD", "MEMORY64"] {
            assert!(!names.iter().any(|name| name == off), "{off} is on: {names:?}");
        }
        for on in ["FLOATS", "SIMD", "COMPONENT_MODEL", "REFERENCE_TYPES", "BULK_MEMORY", "MUTABLE_GLOBAL"] {
            assert!(names.iter().any(|name| name == on), "{on} is off: {names:?}");
        }
    }
}
