//! The hash of all that counts, kept up as single objects are replaced by others.
//!
//! It does not know what of a file counts.

use crate::object::digest;
use crate::parse::Any;
use std::fmt;

/// The sum, modulo 2^256, of a hash of each object and of its age: of all of them, in whatever order they are added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Revision([u64; 4]);

impl Revision {
    pub(super) fn add(&mut self, any: &Any) {
        let mut carry = false;
        for (word, more) in self.0.iter_mut().zip(words(any)) {
            (*word, carry) = word.carrying_add(more, carry);
        }
    }

    pub(super) fn replace(&mut self, old: &Any, new: &Any) {
        let mut borrow = false;
        for (word, less) in self.0.iter_mut().zip(words(old)) {
            (*word, borrow) = word.borrowing_sub(less, borrow);
        }
        self.add(new);
    }
}

fn words(any: &Any) -> [u64; 4] {
    let age = &any.meta().age;
    let bytes = digest(&(&age.created, &age.file, age.document, age.item, any.hash())).0;
    let word = |n: usize| bytes[8 * n..8 * n + 8].iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    [word(0), word(1), word(2), word(3)]
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [d, c, b, a] = self.0;
        write!(f, "sha256:{a:016x}{b:016x}{c:016x}{d:016x}")
    }
}
