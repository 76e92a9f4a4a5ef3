//! The two calls that a request costs, as the component model's canonical ABI has them: attributes read where the host
//! put them, and verdicts written down as words.
//!
//! The code that wit-bindgen generates for them copies every attribute into a text of its own, frees it, and is called
//! a third time to free the answer. It does not know what attributes mean.
#![allow(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;
use std::slice;

use crate::bindings::request::weft::filter::types::{Callout, Edit, Op};
use crate::{Reply, ResponseVerdict, Verdict};

/// One attribute, an `option<string>`, as the host writes it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Value<'a> {
    present: u8,
    start: *const u8,
    length: usize,
    text: PhantomData<&'a str>,
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().fmt(out)
    }
}

impl<'a> Value<'a> {
    #[cfg_attr(target_arch = "wasm32", allow(dead_code, reason = "there the host makes them"))]
    pub(crate) fn of(text: Option<&'a str>) -> Self {
        let there = text.unwrap_or_default();
        Self { present: text.is_some().into(), start: there.as_ptr(), length: there.len(), text: PhantomData }
    }

    #[inline]
    pub(crate) fn text(&self) -> Option<&'a str> {
        // SAFETY: made by `of` from a text that lives as long, or by the host, which by the ABI passes UTF-8 that is
        // there for the call; `guest::Cell` gives the values no longer life.
        (self.present != 0).then(|| unsafe { str::from_utf8_unchecked(slice::from_raw_parts(self.start, self.length)) })
    }
}

/// A verdict on either phase: the longest case of `verdict` has a tag and twelve words.
type Words = [usize; 13];

/// An answer that the host reads after the call has returned, and what it points to, kept until the next one.
pub(crate) struct Answer<T> {
    words: Words,
    /// The edits, or the headers of a reply.
    rows: Vec<[usize; 4]>,
    held: Option<T>,
}

impl<T> Answer<T> {
    pub(crate) const fn new() -> Self {
        Self { words: [0; 13], rows: Vec::new(), held: None }
    }
}

impl Answer<Verdict> {
    pub(crate) fn hold(&mut self, verdict: Verdict) -> *const usize {
        let verdict = self.held.insert(verdict);
        let (words, rows) = (&mut self.words, &mut self.rows);
        rows.clear();
        match verdict {
            Verdict::Pass => words[0] = 0,
            Verdict::Forward(forward) => {
                words[0] = 1;
                [words[1], words[2]] = edits(&forward.edits, rows);
                [words[3], words[4]] = [forward.pick.is_some().into(), forward.pick.unwrap_or_default() as usize];
                [words[5], words[6], words[7]] = match &forward.state {
                    Some(state) => [1, state.as_ptr() as usize, state.len()],
                    None => [0; 3],
                };
            }
            Verdict::Respond(answer) => {
                words[0] = 2;
                reply(answer, rows, &mut words[1..6]);
            }
            Verdict::Deny(denial) => {
                words[0] = 3;
                reply(&denial.reply, rows, &mut words[1..6]);
                [words[6], words[7]] = list(denial.reason.as_bytes());
            }
            Verdict::Call(call) => {
                words[0] = 4;
                callout(call, rows, &mut words[1..]);
            }
        }
        words.as_ptr()
    }
}

impl Answer<ResponseVerdict> {
    pub(crate) fn hold(&mut self, verdict: ResponseVerdict) -> *const usize {
        let verdict = self.held.insert(verdict);
        let (words, rows) = (&mut self.words, &mut self.rows);
        rows.clear();
        match verdict {
            ResponseVerdict::Pass => words[0] = 0,
            ResponseVerdict::Edit(changes) => {
                words[0] = 1;
                [words[1], words[2]] = edits(changes, rows);
            }
            ResponseVerdict::Replace(answer) => {
                words[0] = 2;
                reply(answer, rows, &mut words[1..6]);
            }
        }
        words.as_ptr()
    }
}

fn edits(edits: &[Edit], rows: &mut Vec<[usize; 4]>) -> [usize; 2] {
    rows.extend(edits.iter().map(|edit| {
        let (tag, [start, length]) = match &edit.op {
            Op::Set(value) => (0, list(value.as_bytes())),
            Op::Append(value) => (1, list(value.as_bytes())),
            Op::Remove => (2, [0; 2]),
        };
        [edit.slot as usize, tag, start, length]
    }));
    list(rows)
}

fn reply(reply: &Reply, rows: &mut Vec<[usize; 4]>, words: &mut [usize]) {
    words[0] = reply.status.into();
    [words[1], words[2]] = headers(&reply.headers, rows);
    [words[3], words[4]] = list(&reply.body);
}

fn callout(call: &Callout, rows: &mut Vec<[usize; 4]>, words: &mut [usize]) {
    words[0] = call.target as usize;
    [words[1], words[2]] = list(call.method.as_bytes());
    [words[3], words[4]] = list(call.path.as_bytes());
    [words[5], words[6]] = headers(&call.headers, rows);
    [words[7], words[8]] = list(&call.body);
    words[9] = call.timeout_ms as usize;
    [words[10], words[11]] = list(&call.state);
}

fn headers(headers: &[(String, String)], rows: &mut Vec<[usize; 4]>) -> [usize; 2] {
    rows.extend(headers.iter().map(|(name, value)| {
        let ([name, name_length], [value, value_length]) = (list(name.as_bytes()), list(value.as_bytes()));
        [name, name_length, value, value_length]
    }));
    list(rows)
}

fn list<T>(items: &[T]) -> [usize; 2] {
    [items.as_ptr() as usize, items.len()]
}

#[cfg(test)]
mod tests;
