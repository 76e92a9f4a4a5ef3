//! A bounded ring of byte records between one writing and one reading thread, without locks and without waiting.
//!
//! Records lie in whole words, so that safe code can share them. It does not know what the bytes are.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

#[derive(Debug)]
pub(super) struct Ring {
    words: Box<[AtomicU64]>,
    /// Words ever read; the reader's.
    read: Position,
    /// Words ever written; the writer's.
    written: Position,
    dropped: AtomicU64,
}

/// On a cache line of its own: one thread writes it, the other reads it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Position(AtomicUsize);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// Less than half full.
    Little,
    /// This record went past the half: the reader should come.
    PastHalf,
    /// No room: the record was dropped.
    Full,
}

const WORD: usize = 8;

impl Ring {
    /// `bytes` is rounded up to a power of two.
    pub(super) fn new(bytes: usize) -> Self {
        let words = (bytes / WORD).next_power_of_two();
        Self {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            read: Position::default(),
            written: Position::default(),
            dropped: AtomicU64::new(0),
        }
    }

    pub(super) fn push(&self, record: &[u8]) -> Filled {
        let written = self.written.0.load(Ordering::Relaxed);
        let used = written.wrapping_sub(self.read.0.load(Ordering::Acquire));
        let needed = 1 + record.len().div_ceil(WORD);
        if used + needed > self.words.len() {
            self.dropped.store(self.dropped.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            return Filled::Full;
        }
        self.word(written).store(record.len() as u64, Ordering::Relaxed);
        let (chunks, rest) = record.as_chunks::<WORD>();
        let (first, second) = self.words_from(written.wrapping_add(1));
        let (before, after) = chunks.split_at(chunks.len().min(first.len()));
        let store =
            |(word, chunk): (&AtomicU64, &[u8; WORD])| word.store(u64::from_le_bytes(*chunk), Ordering::Relaxed);
        first.iter().zip(before).for_each(store);
        second.iter().zip(after).for_each(store);
        if !rest.is_empty() {
            let mut last = [0; WORD];
            last[..rest.len()].copy_from_slice(rest);
            let at = written.wrapping_add(1 + chunks.len());
            self.word(at).store(u64::from_le_bytes(last), Ordering::Relaxed);
        }
        // Publishes the words above.
        self.written.0.store(written.wrapping_add(needed), Ordering::Release);
        let half = self.words.len() / 2;
        if used < half && used + needed >= half { Filled::PastHalf } else { Filled::Little }
    }

    pub(super) fn drain_into(&self, out: &mut Vec<u8>) {
        let mut read = self.read.0.load(Ordering::Relaxed);
        let written = self.written.0.load(Ordering::Acquire);
        while read != written {
            let length = self.word(read).load(Ordering::Relaxed) as usize;
            let (start, words) = (out.len(), length.div_ceil(WORD));
            out.resize(start + words * WORD, 0);
            let (first, second) = self.words_from(read.wrapping_add(1));
            let (before, after) = out[start..].as_chunks_mut::<WORD>().0.split_at_mut(words.min(first.len()));
            let load =
                |(word, bytes): (&AtomicU64, &mut [u8; WORD])| *bytes = word.load(Ordering::Relaxed).to_le_bytes();
            first.iter().zip(before).for_each(load);
            second.iter().zip(after).for_each(load);
            out.truncate(start + length);
            read = read.wrapping_add(1 + words);
        }
        self.read.0.store(read, Ordering::Release);
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// All words, beginning at a position: two runs, since the ring's end may lie between them.
    fn words_from(&self, position: usize) -> (&[AtomicU64], &[AtomicU64]) {
        let (second, first) = self.words.split_at(position & (self.words.len() - 1));
        (first, second)
    }

    fn word(&self, position: usize) -> &AtomicU64 {
        &self.words[position & (self.words.len() - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_whole_and_in_order_while_both_run() {
        let ring = Ring::new(1024);
        let line = |n: usize| format!("{n}:{}\n", "x".repeat(n % 40)).into_bytes();
        let (mut sent, mut seen) = (Vec::new(), Vec::new());
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut sent = Vec::new();
                for n in 0..20_000 {
                    if ring.push(&line(n)) == Filled::Full {
                        std::thread::yield_now();
                    } else {
                        sent.extend(line(n));
                    }
                }
                sent
            });
            while !writer.is_finished() {
                ring.drain_into(&mut seen);
            }
            sent = writer.join().expect("no panic");
        });
        ring.drain_into(&mut seen);
        assert!(seen == sent, "{} bytes out, {} in", seen.len(), sent.len());
        let lines = seen.iter().filter(|byte| **byte == b'\n').count() as u64;
        assert_eq!(lines + ring.dropped(), 20_000);
    }

    #[test]
    fn a_full_ring_drops_and_says_so() {
        let ring = Ring::new(64);
        let rows = [(8, Filled::Little), (8, Filled::PastHalf), (24, Filled::Little), (1, Filled::Full)];
        for (index, (bytes, want)) in rows.into_iter().enumerate() {
            assert_eq!(ring.push(&vec![b'a'; bytes]), want, "record {index}");
        }
        let mut out = Vec::new();
        ring.drain_into(&mut out);
        assert_eq!((out.len(), ring.dropped()), (40, 1));
        assert_eq!(ring.push(b"again"), Filled::Little);
    }
}
