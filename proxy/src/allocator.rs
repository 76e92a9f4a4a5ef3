//! The lean binary's allocator: mimalloc.
//!
//! A request makes a dozen allocations, some of 8 KiB: a tenth of what it costs on glibc's allocator, whose caches hold
//! few of each size and none so large; musl's takes a lock for each. The crate `mimalloc` itself goes the way of
//! over-aligned blocks for every allocation, which costs half of that again.
#![allow(unsafe_code)]

use libmimalloc_sys::{
    mi_collect, mi_free, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned, mi_zalloc, mi_zalloc_aligned,
};
use std::alloc::{GlobalAlloc, Layout};

pub(crate) struct Allocator;

/// Gives back what the calling thread has freed.
pub(crate) fn give_back() {
    // SAFETY: no conditions.
    unsafe { mi_collect(true) }
}

/// What any block of that size is aligned to.
fn usual(size: usize, layout: Layout) -> bool {
    layout.align() <= ALIGNED && layout.align() <= size
}

/// mimalloc's `MI_MAX_ALIGN_SIZE`.
const ALIGNED: usize = 16;

// SAFETY: mimalloc gives blocks of at least the size and alignment that are asked for, or null; each block goes back to
// the functions that it came from.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let size = layout.size();
        // SAFETY: no conditions.
        let block =
            unsafe { if usual(size, layout) { mi_malloc(size) } else { mi_malloc_aligned(size, layout.align()) } };
        block.cast()
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let size = layout.size();
        // SAFETY: no conditions.
        let block =
            unsafe { if usual(size, layout) { mi_zalloc(size) } else { mi_zalloc_aligned(size, layout.align()) } };
        block.cast()
    }

    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the caller's block came from here.
        unsafe { mi_free(block.cast()) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let block = block.cast();
        // SAFETY: the caller's block came from here.
        let moved = unsafe {
            if usual(size, layout) { mi_realloc(block, size) } else { mi_realloc_aligned(block, size, layout.align()) }
        };
        moved.cast()
    }
}
