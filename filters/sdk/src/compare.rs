//! Comparison of bytes, eight at a time.
//!
//! Rust's own for this target goes byte by byte, and the check for a deadline that is compiled into every loop makes
//! that twenty instructions for each: comparing one SPIFFE id took as long as the rest of a small filter.
#![allow(unsafe_code)]

/// C's `memcmp`, which the compiler calls for `==` on texts.
///
/// # Safety
/// `left` and `right` point to `count` bytes each.
#[cfg_attr(target_arch = "wasm32", unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, count: usize) -> i32 {
    let mut at = 0;
    while count - at >= 8 {
        // SAFETY: at + 8 <= count.
        let order = unsafe { eight(left, right, at) };
        if order != 0 {
            return order;
        }
        at += 8;
    }
    if at == count {
        return 0;
    }
    if at > 0 {
        // The rest together with bytes that are known to be equal.
        // SAFETY: count >= 8 here.
        return unsafe { eight(left, right, count - 8) };
    }
    while at < count {
        // SAFETY: at < count.
        let (one, other) = unsafe { (*left.add(at), *right.add(at)) };
        if one != other {
            return i32::from(one) - i32::from(other);
        }
        at += 1;
    }
    0
}

/// How the eight bytes from `at` on compare.
///
/// # Safety
/// `left` and `right` point to `at + 8` bytes each.
#[inline]
unsafe fn eight(left: *const u8, right: *const u8, at: usize) -> i32 {
    // SAFETY: as the caller says; the reads need no alignment.
    let (one, other) =
        unsafe { (left.add(at).cast::<u64>().read_unaligned(), right.add(at).cast::<u64>().read_unaligned()) };
    if one == other {
        return 0;
    }
    // The first byte that differs decides, and has to be the highest of the number.
    if u64::from_be(one.to_le()) < u64::from_be(other.to_le()) { -1 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::memcmp;

    #[test]
    fn it_orders_as_slices_do() {
        let texts: [&[u8]; 8] =
            [b"", b"a", b"abcdefg", b"abcdefgh", b"abcdefgi", b"abcdefghi", b"abcdefghabcdefgh", b"\xff0000000\x01"];
        for left in texts {
            for right in texts {
                for count in 0..=left.len().min(right.len()) {
                    // SAFETY: both have `count` bytes.
                    let order = unsafe { memcmp(left.as_ptr(), right.as_ptr(), count) };
                    assert_eq!(order.signum(), left[..count].cmp(&right[..count]) as i32, "{left:?} {right:?} {count}");
                }
            }
        }
    }
}
