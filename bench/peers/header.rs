//! Envoy's counterpart of the header filter: a proxy-wasm module (ABI 0.2.1) that sets one request header.
//!
//! Written against the bare ABI, so that what is measured is Envoy's host and not an SDK.
#![no_std]
#![allow(unsafe_code)]

use core::cell::UnsafeCell;
use core::panic::PanicInfo;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_replace_header_map_value(map: i32, key: *const u8, key_size: usize, value: *const u8, size: usize) -> i32;
}

const REQUEST_HEADERS: i32 = 0;
const KEY: &[u8] = b"x-filter";
const VALUE: &[u8] = b"bench";

#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(_: i32, _: i32) {}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_vm_start(_: i32, _: i32) -> i32 {
    1
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(_: i32, _: i32) -> i32 {
    1
}

/// 0: go on.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(_: i32, _: i32, _: i32) -> i32 {
    // SAFETY: both slices are static.
    unsafe { proxy_replace_header_map_value(REQUEST_HEADERS, KEY.as_ptr(), KEY.len(), VALUE.as_ptr(), VALUE.len()) };
    0
}

/// Envoy brings nothing that this keeps: one room, used again for each piece.
struct Room(UnsafeCell<[u8; 4096]>);

// SAFETY: a module has a single thread.
unsafe impl Sync for Room {}

static ROOM: Room = Room(UnsafeCell::new([0; 4096]));

#[unsafe(no_mangle)]
extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    if size > 4096 { core::ptr::null_mut() } else { ROOM.0.get().cast() }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
