//! Where the host puts the arguments of a call: the ABI's `cabi_realloc`.
//!
//! It asks for one piece of memory for each attribute, and all of them are done with when the call ends. So they lie
//! behind one another in a room that is used again by the next call. It does not know what they hold.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::cell::UnsafeCell;
use std::ptr;

/// Room for the arguments of most calls; what does not fit is allocated like anything else.
const ROOM: usize = 8192;

#[repr(align(16))]
struct Room(UnsafeCell<[u8; ROOM]>);

struct Arguments {
    room: Room,
    state: UnsafeCell<State>,
}

struct State {
    /// Where the next argument goes, …
    next: usize,
    /// … as long as it ends here. Nowhere, while a call runs or before `configure` has: what the host brings then
    /// belongs to the guest for good.
    end: usize,
    beside: Vec<(*mut u8, Layout)>,
}

// SAFETY: a component has a single thread.
unsafe impl Sync for Arguments {}

impl Arguments {
    const fn new() -> Self {
        let state = State { next: 0, end: 0, beside: Vec::new() };
        Self { room: Room(UnsafeCell::new([0; ROOM])), state: UnsafeCell::new(state) }
    }

    /// From now on what the host brings are the arguments of one call, which ends with [`Arguments::take`].
    #[inline]
    fn expect(&self) {
        // SAFETY: one thread, and nothing that is called here comes back.
        let state = unsafe { &mut *self.state.get() };
        state.next = self.room.0.get() as usize;
        state.end = state.next + ROOM;
        if !state.beside.is_empty() {
            state.free();
        }
    }

    /// The call has begun: the arguments stay as they are until the next `expect`.
    #[inline]
    fn take(&self) {
        // SAFETY: as in `expect`.
        unsafe { (*self.state.get()).end = 0 };
    }

    /// # Safety
    /// As the ABI has it: `old` is null, or a piece of `old_size` bytes that this gave out.
    #[inline]
    unsafe fn place(&self, old: *mut u8, old_size: usize, align: usize, size: usize) -> *mut u8 {
        // SAFETY: as in `expect`.
        let state = unsafe { &mut *self.state.get() };
        let start = state.next.wrapping_add(align - 1) & !(align - 1);
        let end = start.wrapping_add(size);
        if old_size == 0 && end >= start && end <= state.end {
            state.next = end;
            return start as *mut u8;
        }
        // SAFETY: as the caller says.
        unsafe { state.place_beside(old, old_size, align, size) }
    }
}

impl State {
    /// # Safety
    /// As for [`Arguments::place`].
    #[cold]
    #[inline(never)]
    unsafe fn place_beside(&mut self, old: *mut u8, old_size: usize, align: usize, size: usize) -> *mut u8 {
        if size == 0 {
            return align as *mut u8;
        }
        // SAFETY: the host asks for an alignment that is a power of two and a size within the memory.
        let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
        let is_argument = self.end != 0;
        // SAFETY: no piece is of size zero; `old` is of `old_size` bytes, and where it was not an argument it has the
        // layout that it was asked for with.
        let placed = unsafe {
            if old_size > 0 && !is_argument {
                realloc(old, Layout::from_size_align_unchecked(old_size, align), size)
            } else {
                alloc(layout)
            }
        };
        if placed.is_null() {
            handle_alloc_error(layout);
        }
        if is_argument {
            // SAFETY: both have as many bytes, and the new piece is nobody else's.
            unsafe { ptr::copy_nonoverlapping(old, placed, old_size.min(size)) };
            self.beside.push((placed, layout));
        }
        placed
    }

    #[cold]
    #[inline(never)]
    fn free(&mut self) {
        for (piece, layout) in self.beside.drain(..) {
            // SAFETY: it was allocated with this layout, and the call whose argument it was is over.
            unsafe { dealloc(piece, layout) };
        }
    }
}

static ARGUMENTS: Arguments = Arguments::new();

/// [`Arguments::expect`] of the component's own.
#[inline]
pub(crate) fn expect() {
    ARGUMENTS.expect();
}

/// [`Arguments::take`] of the component's own.
#[inline]
pub(crate) fn take() {
    ARGUMENTS.take();
}

/// # Safety
/// Called by the host, as the ABI has it.
#[cfg(target_arch = "wasm32")]
#[unsafe(no_mangle)]
unsafe extern "C" fn cabi_realloc(old: *mut u8, old_size: usize, align: usize, size: usize) -> *mut u8 {
    // SAFETY: as the caller says.
    unsafe { ARGUMENTS.place(old, old_size, align, size) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::slice;

    /// Asks for pieces as a host does, and fills them.
    fn ask(arguments: &Arguments, sizes: &[usize]) -> Vec<(*mut u8, usize)> {
        let placed = |size: &usize| {
            // SAFETY: a new piece is asked for, and filled within its size.
            unsafe {
                let piece = arguments.place(ptr::null_mut(), 0, 4, *size);
                piece.write_bytes(0xab, *size);
                (piece, *size)
            }
        };
        sizes.iter().map(placed).collect()
    }

    #[test]
    fn arguments_lie_apart_and_the_room_is_used_again() {
        let arguments = Arguments::new();
        let mut first = None;
        for sizes in [&[12, 1, 0, 7][..], &[8000, 192, 1], &[20_000, 3, 9000], &[12]] {
            arguments.expect();
            let mut placed = ask(&arguments, sizes);
            assert!(placed.iter().all(|(piece, _)| (*piece as usize).is_multiple_of(4)), "{sizes:?}");
            if sizes[0] <= ROOM {
                assert_eq!(*first.get_or_insert(placed[0].0), placed[0].0, "{sizes:?}");
            }
            placed.sort_unstable();
            let apart = placed.windows(2).all(|two| two[0].0 as usize + two[0].1 <= two[1].0 as usize);
            assert!(apart, "{sizes:?}: {placed:?}");
            arguments.take();
        }
    }

    #[test]
    fn a_piece_keeps_its_bytes_when_it_grows() {
        let arguments = Arguments::new();
        for is_argument in [false, true] {
            if is_argument {
                arguments.expect();
            }
            let (piece, _) = ask(&arguments, &[10])[0];
            // SAFETY: the piece is one of ten bytes; the grown one is of twenty, the first ten as they were.
            let kept = unsafe {
                let grown = arguments.place(piece, 10, 4, 20);
                slice::from_raw_parts(grown, 10).to_vec()
            };
            assert_eq!(kept, [0xab; 10]);
        }
    }

    #[test]
    fn what_is_no_argument_is_the_guests_own() {
        let arguments = Arguments::new();
        let configured = ask(&arguments, &[40])[0].0;
        arguments.expect();
        ask(&arguments, &[40]);
        arguments.take();
        let answered = ask(&arguments, &[40])[0].0;
        arguments.expect();
        for piece in [configured, answered] {
            // SAFETY: both came from the allocator, with this layout, and belong to the test.
            unsafe {
                assert_eq!(slice::from_raw_parts(piece, 40), [0xab; 40]);
                dealloc(piece, Layout::from_size_align_unchecked(40, 4));
            }
        }
    }
}
