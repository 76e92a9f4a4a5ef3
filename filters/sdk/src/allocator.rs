//! Where a component's memory comes from: blocks in sizes of powers of two, each size with a list of free ones.
//!
//! A filter allocates a dozen small things in each call and frees them again, so that nearly every request is answered
//! by the head of a list. The general allocator of Rust's standard library does more than that needs, and is larger
//! than many a filter. What is lost to rounding up is bounded by half; blocks are never split or merged.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::ptr;

/// Blocks of 8 bytes and more; the largest that 32 bits address is 2^31.
const SIZES: usize = 29;
const SMALLEST: usize = 8;
/// A block lies on a multiple of its size, up to this; nothing asks for a larger alignment.
const PAGE: usize = 65536;

/// Memory that grows at its end.
pub(crate) trait Memory {
    /// Where it ends now, a multiple of a page.
    fn end(&self) -> usize;
    /// Makes it so many pages of 64 KiB longer, or does nothing.
    fn grow(&self, pages: usize) -> bool;
}

/// The one memory of a component.
#[cfg(target_arch = "wasm32")]
pub(crate) struct Linear;

#[cfg(target_arch = "wasm32")]
impl Memory for Linear {
    fn end(&self) -> usize {
        core::arch::wasm32::memory_size(0) * PAGE
    }

    fn grow(&self, pages: usize) -> bool {
        core::arch::wasm32::memory_grow(0, pages) != usize::MAX
    }
}

/// All blocks. There is one thread.
pub(crate) struct Blocks<M> {
    memory: M,
    state: UnsafeCell<State>,
}

struct State {
    /// For each size the first free block, which holds the address of the next; 0 ends a list.
    free: [usize; SIZES],
    /// What was never given out lies from here …
    next: usize,
    /// … to here; 0 before the first block.
    end: usize,
}

// SAFETY: a component has a single thread (the target has no threads), and no allocation calls into another.
unsafe impl<M> Sync for Blocks<M> {}

impl<M> Blocks<M> {
    pub(crate) const fn new(memory: M) -> Self {
        Self { memory, state: UnsafeCell::new(State { free: [0; SIZES], next: 0, end: 0 }) }
    }
}

// SAFETY: a block is given out once until it is freed, and is as large and as aligned as its layout asks, up to a page: `carve`.
unsafe impl<M: Memory> GlobalAlloc for Blocks<M> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: one thread, and `carve` does not come back here, so this is the only reference.
        let state = unsafe { &mut *self.state.get() };
        let size = Size::of(layout);
        let block = state.free[size.index];
        if block == 0 {
            return state.carve(size, &self.memory);
        }
        // SAFETY: a free block of at least 8 bytes holds the address of the next in its first bytes (`dealloc`).
        state.free[size.index] = unsafe { *(block as *const usize) };
        block as *mut u8
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as in `alloc`.
        let state = unsafe { &mut *self.state.get() };
        let size = Size::of(layout);
        state.put(block, size);
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: the caller keeps `bytes` within what a layout may have, as the trait asks of him.
        let wanted = unsafe { Layout::from_size_align_unchecked(bytes, layout.align()) };
        if Size::of(wanted).index == Size::of(layout).index {
            return block;
        }
        // SAFETY: both blocks are of their layouts, do not overlap, and hold the bytes that are copied.
        unsafe {
            let moved = self.alloc(wanted);
            if !moved.is_null() {
                ptr::copy_nonoverlapping(block, moved, layout.size().min(bytes));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}

impl State {
    /// A block from memory that was never given out; null where there is no more.
    #[cold]
    #[inline(never)]
    fn carve(&mut self, size: Size, memory: &impl Memory) -> *mut u8 {
        if self.end == 0 {
            // What lies before is the program's own.
            self.end = memory.end();
            self.next = self.end;
        }
        let align = size.bytes.min(PAGE);
        let start = self.next.checked_next_multiple_of(align);
        let Some(end) = start.and_then(|start| start.checked_add(size.bytes)) else { return ptr::null_mut() };
        if end > self.end {
            let pages = (end - self.end).div_ceil(PAGE);
            if !memory.grow(pages) {
                return ptr::null_mut();
            }
            self.end += pages * PAGE;
        }
        // What lies before the boundary becomes free blocks, each on a multiple of its own size.
        while !self.next.is_multiple_of(align) {
            let spare = Size::of_bytes(1 << self.next.trailing_zeros());
            self.put(self.next as *mut u8, spare);
            self.next += spare.bytes;
        }
        let block = self.next;
        self.next = end;
        block as *mut u8
    }

    fn put(&mut self, block: *mut u8, size: Size) {
        // SAFETY: the block is nobody's, has at least 8 bytes and lies on a multiple of them.
        unsafe { *block.cast::<usize>() = self.free[size.index] };
        self.free[size.index] = block as usize;
    }
}

/// A size of blocks.
#[derive(Clone, Copy)]
struct Size {
    index: usize,
    bytes: usize,
}

impl Size {
    #[inline]
    fn of(layout: Layout) -> Self {
        Self::of_bytes(layout.size().max(layout.align()).max(SMALLEST).next_power_of_two())
    }

    /// `bytes` is a power of two, 8 or more.
    #[inline]
    fn of_bytes(bytes: usize) -> Self {
        Self { index: (bytes / SMALLEST).trailing_zeros() as usize, bytes }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::alloc::System;
    use std::cell::Cell;
    use std::collections::BTreeMap;

    use super::*;

    const PAGES: usize = 64;

    /// A memory of 64 pages, of which the first belongs to the program.
    struct Region {
        start: usize,
        pages: Cell<usize>,
    }

    impl Region {
        fn new() -> Self {
            let layout = Layout::from_size_align(PAGES * PAGE, PAGE).unwrap();
            // SAFETY: the layout is not empty; the memory stays for as long as the test runs.
            Self { start: unsafe { System.alloc(layout) } as usize, pages: Cell::new(1) }
        }
    }

    impl Memory for Region {
        fn end(&self) -> usize {
            self.start + self.pages.get() * PAGE
        }

        fn grow(&self, pages: usize) -> bool {
            let grown = self.pages.get() + pages;
            if grown <= PAGES {
                self.pages.set(grown);
            }
            grown <= PAGES
        }
    }

    /// Random allocations, reallocations and frees: blocks never overlap, are aligned, and keep their bytes.
    #[test]
    fn blocks_are_apart_and_keep_their_bytes() {
        let blocks = Blocks::new(Region::new());
        let mut live: BTreeMap<usize, (Layout, u8)> = BTreeMap::new();
        let mut draw = 1_u64;
        let mut random = |bound: u64| {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((draw >> 33) % bound) as usize
        };
        for round in 0..20_000 {
            let fill = round as u8;
            let bound = 2 << random(12);
            let layout = Layout::from_size_align(1 + random(bound), 1 << random(8)).unwrap();
            // SAFETY: each block is used within its layout and given back once.
            unsafe {
                if live.len() < 200 {
                    let block = blocks.alloc(layout);
                    assert!(!block.is_null() && (block as usize).is_multiple_of(layout.align()), "{layout:?}");
                    let before = live.range(..=block as usize).next_back();
                    assert!(before.is_none_or(|(start, (other, _))| start + other.size() <= block as usize));
                    let after = live.range(block as usize..).next();
                    assert!(after.is_none_or(|(start, _)| block as usize + layout.size() <= *start));
                    block.write_bytes(fill, layout.size());
                    live.insert(block as usize, (layout, fill));
                } else {
                    let start = *live.keys().nth(random(200)).unwrap();
                    let (old, filled) = live.remove(&start).unwrap();
                    let kept = std::slice::from_raw_parts(start as *const u8, old.size());
                    assert!(kept.iter().all(|byte| *byte == filled));
                    if random(2) == 0 {
                        blocks.dealloc(start as *mut u8, old);
                        continue;
                    }
                    let new = Layout::from_size_align(layout.size(), old.align()).unwrap();
                    let moved = blocks.realloc(start as *mut u8, old, new.size());
                    let kept = std::slice::from_raw_parts(moved, old.size().min(new.size()));
                    assert!(kept.iter().all(|byte| *byte == filled));
                    moved.write_bytes(filled, new.size());
                    live.insert(moved as usize, (new, filled));
                }
            }
        }
    }

    #[test]
    fn what_is_freed_is_used_again_and_the_end_is_null() {
        let blocks = Blocks::new(Region::new());
        let layout = Layout::from_size_align(3 * PAGE, 8).unwrap();
        // SAFETY: each block is given back once.
        unsafe {
            let first = blocks.alloc(layout);
            blocks.dealloc(first, layout);
            for _ in 0..1000 {
                assert_eq!(blocks.alloc(layout), first);
                blocks.dealloc(first, layout);
            }
            assert!(blocks.alloc(Layout::from_size_align(64 * PAGE, 8).unwrap()).is_null());
            assert!(!blocks.alloc(layout).is_null(), "a smaller one still fits");
        }
    }
}
