//! Characters of JSON: white space, strings, numbers. It knows no structure.

use std::borrow::Cow;

use serde::de::Error;

use crate::ConfigError;

/// A place in a JSON text.
pub(super) struct Text<'a> {
    pub(super) all: &'a str,
    at: usize,
}

impl<'a> Text<'a> {
    pub(super) fn new(all: &'a str) -> Self {
        Self { all, at: 0 }
    }

    /// The next byte that is no white space, left where it is; 0 at the end.
    pub(super) fn peek(&mut self) -> u8 {
        let bytes = self.all.as_bytes();
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = bytes.get(self.at) {
            self.at += 1;
        }
        bytes.get(self.at).copied().unwrap_or(0)
    }

    /// Takes `byte` if it is next.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == byte;
        self.at += usize::from(there);
        there
    }

    pub(super) fn expect(&mut self, byte: u8) -> Result<(), ConfigError> {
        match self.take(byte) {
            true => Ok(()),
            false => Err(self.broken()),
        }
    }

    /// Takes `word` (true, false, null) if it is next.
    pub(super) fn take_word(&mut self, word: &str) -> bool {
        self.peek();
        let there = self.rest().starts_with(word);
        self.at += if there { word.len() } else { 0 };
        there
    }

    /// Takes the characters of a number.
    pub(super) fn number(&mut self) -> &'a str {
        self.peek();
        let rest = self.rest();
        let len =
            rest.bytes().take_while(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')).count();
        self.at += len;
        rest.get(..len).unwrap_or_default()
    }

    /// Takes a string, borrowed where it has no escapes.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, ConfigError> {
        self.expect(b'"')?;
        let mut whole: Cow<'a, str> = Cow::Borrowed("");
        loop {
            let rest = self.rest();
            let len = rest.bytes().position(|byte| byte == b'"' || byte == b'\\').ok_or_else(|| self.broken())?;
            let plain = rest.get(..len).unwrap_or_default();
            if whole.is_empty() {
                whole = Cow::Borrowed(plain);
            } else {
                whole.to_mut().push_str(plain);
            }
            self.at += len + 1;
            if rest.as_bytes().get(len) == Some(&b'"') {
                return Ok(whole);
            }
            let escaped = self.escape()?;
            whole.to_mut().push(escaped);
        }
    }

    /// What is not read yet. The place is always between characters; an index would carry a panic for the case that not.
    fn rest(&self) -> &'a str {
        self.all.get(self.at..).unwrap_or_default()
    }

    /// What is wrong at this place.
    pub(super) fn broken(&self) -> ConfigError {
        let place = self.all.len().min(self.at);
        ConfigError::custom(["the config is no JSON at byte ", &place.to_string()].concat())
    }

    fn escape(&mut self) -> Result<char, ConfigError> {
        let letter = self.all.as_bytes().get(self.at).copied().ok_or_else(|| self.broken())?;
        self.at += 1;
        Ok(match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'n' => '\n',
            b't' => '\t',
            b'r' => '\r',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'u' => return self.unicode(),
            _ => return Err(self.broken()),
        })
    }

    /// `XXXX` after `\u`, and the second half where it is the first of a surrogate pair.
    fn unicode(&mut self) -> Result<char, ConfigError> {
        let first = self.hex()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first).ok_or_else(|| self.broken());
        }
        if !self.rest().starts_with("\\u") {
            return Err(self.broken());
        }
        self.at += 2;
        let second = self.hex()?;
        let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400).ok_or_else(|| self.broken())?;
        char::from_u32(0x10000 + ((first - 0xd800) << 10) + low).ok_or_else(|| self.broken())
    }

    fn hex(&mut self) -> Result<u32, ConfigError> {
        let digits = self.all.get(self.at..self.at + 4).ok_or_else(|| self.broken())?;
        self.at += 4;
        u32::from_str_radix(digits, 16).map_err(|_| self.broken())
    }
}
