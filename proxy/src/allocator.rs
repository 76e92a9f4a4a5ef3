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
use std::cell::Cell;
use std::ptr;

pub(crate) struct Allocator;

/// From now on the calling thread, a worker's, keeps buffers for its next requests.
pub(crate) fn keep_buffers() {
    BUFFERS.with(|buffers| buffers.room.set(BUFFERS_MAX));
}

/// Gives back what the calling thread has freed.
pub(crate) fn give_back() {
    BUFFERS.with(Buffers::free);
    // SAFETY: no conditions.
    unsafe { mi_collect(true) }
}

/// Bytes that hyper reads at once. Each request frees two such blocks and asks for two, and mimalloc's quick way is for
/// those of at most 1 KiB.
const BUFFER_BYTES: usize = 8192;
/// Blocks that a worker keeps for its next requests: half a MiB, for as many connections at once as it is likely to have
/// work for. The rest, and all of them once connections have gone, is mimalloc's.
const BUFFERS_MAX: u8 = 64;

thread_local! {
    static BUFFERS: Buffers = const { Buffers { first: Cell::new(ptr::null_mut()), room: Cell::new(0) } };
}

/// Free blocks of `BUFFER_BYTES`, each of which holds the address of the next. It has no destructor: with one, every place
/// that frees anything would hold the code for registering it, a MB in all. A thread that does not ask for buffers keeps
/// none, and workers last as long as the process.
struct Buffers {
    first: Cell<*mut *mut u8>,
    /// How many more to keep.
    room: Cell<u8>,
}

impl Buffers {
    fn take(&self) -> Option<*mut u8> {
        let first = self.first.get();
        if first.is_null() {
            return None;
        }
        // SAFETY: `keep` wrote the next one's address there, and the block has been nobody's since.
        self.first.set(unsafe { *first }.cast());
        self.room.set(self.room.get() + 1);
        Some(first.cast())
    }

    /// # Safety
    /// The block is nobody's, came from mimalloc, and has at least `BUFFER_BYTES`.
    unsafe fn keep(&self, block: *mut u8) -> bool {
        let Some(room) = self.room.get().checked_sub(1) else { return false };
        let block: *mut *mut u8 = block.cast();
        // SAFETY: as the caller says; mimalloc's blocks of that size are aligned to 16 bytes.
        unsafe { *block = self.first.get().cast() };
        self.first.set(block);
        self.room.set(room);
        true
    }

    fn free(&self) {
        while let Some(block) = self.take() {
            // SAFETY: it came from mimalloc, as `keep` says.
            unsafe { mi_free(block.cast()) };
        }
    }
}

#[inline(never)]
fn buffer() -> *mut u8 {
    // SAFETY: no conditions.
    BUFFERS.with(Buffers::take).unwrap_or_else(|| unsafe { mi_malloc(BUFFER_BYTES) }.cast())
}

/// # Safety
/// As that of [`Buffers::keep`].
#[inline(never)]
unsafe fn done_with(block: *mut u8) {
    // SAFETY: as the caller says.
    unsafe {
        if !BUFFERS.with(|buffers| buffers.keep(block)) {
            mi_free(block.cast());
        }
    }
}

fn is_buffer(layout: Layout) -> bool {
    layout.size() == BUFFER_BYTES && layout.align() <= ALIGNED
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
        if is_buffer(layout) {
            return buffer();
        }
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

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's block came from here, and he is done with it.
        unsafe { if is_buffer(layout) { done_with(block) } else { mi_free(block.cast()) } }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Also those that grew or shrank to the size, came zeroed, or are freed by another thread than had asked for them.
    #[test]
    fn buffers_are_kept_apart_and_given_back() {
        let sizes = [BUFFER_BYTES, BUFFER_BYTES / 2, 2 * BUFFER_BYTES];
        let made: Vec<Vec<u8>> = (0..200u8)
            .map(|n| {
                let mut block =
                    if n % 3 == 0 { vec![0; sizes[usize::from(n) % 3]] } else { Vec::with_capacity(BUFFER_BYTES) };
                assert!(block.iter().all(|byte| *byte == 0));
                block.resize(BUFFER_BYTES, 0);
                block.shrink_to_fit();
                block.fill(n);
                block
            })
            .collect();
        for n in 0..200u8 {
            assert!(made[usize::from(n)].iter().all(|byte| *byte == n), "{n}: nobody else's");
        }
        std::thread::spawn(move || {
            let kept = || BUFFERS_MAX - BUFFERS.with(|buffers| buffers.room.get());
            keep_buffers();
            drop(made);
            assert_eq!(kept(), BUFFERS_MAX);
            let again: Vec<Vec<u8>> = (0..100u8).map(|n| vec![n + 1; BUFFER_BYTES]).collect();
            assert_eq!(kept(), 0);
            for (n, block) in again.iter().enumerate() {
                assert!(block.iter().all(|byte| usize::from(*byte) == n + 1), "{n}: nobody else's");
            }
            drop(again);
            give_back();
            assert_eq!(kept(), 0);
        })
        .join()
        .expect("no panic");
    }

    #[test]
    fn a_thread_that_does_not_ask_for_it_keeps_nothing() {
        drop(vec![1u8; BUFFER_BYTES]);
        assert!(BUFFERS.with(|buffers| buffers.first.get().is_null()));
    }
}
