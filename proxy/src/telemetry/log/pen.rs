//! The strokes of which lines are made: fixed texts, numbers, and texts of others with their escapes.
//!
//! A line has two dozen of them, so each is as short as it can be. It does not know fields.

use std::io::Write;

/// Its length is known where it is written, so that it is a few moves and no call.
#[inline(always)]
pub(super) fn literal<const N: usize>(text: &[u8; N], out: &mut Vec<u8>) {
    out.extend_from_slice(text);
}

/// In JSON: `key` with its comma, quotes and colon, and the quote that begins the value; `null` comes without.
#[inline(always)]
pub(super) fn string<const N: usize>(key: &[u8; N], value: Option<&[u8]>, out: &mut Vec<u8>) {
    literal(key, out);
    match value {
        Some(value) => {
            escaped(value, out);
            out.push(b'"');
        }
        None => {
            out.pop();
            literal(b"null", out);
        }
    }
}

/// The same for a text of the proxy's own, in which there is nothing to escape.
#[inline(always)]
pub(super) fn own<const N: usize>(key: &[u8; N], value: Option<&str>, out: &mut Vec<u8>) {
    literal(key, out);
    match value {
        Some(value) => {
            out.extend_from_slice(value.as_bytes());
            out.push(b'"');
        }
        None => {
            out.pop();
            literal(b"null", out);
        }
    }
}

/// `key` with its comma, quotes and colon.
#[inline(always)]
pub(super) fn number<const N: usize>(key: &[u8; N], value: u64, out: &mut Vec<u8>) {
    literal(key, out);
    digits(value, out);
}

/// In the text form: a field that may hold spaces.
#[inline(always)]
pub(super) fn quoted(text: Option<&[u8]>, out: &mut Vec<u8>) {
    let Some(text) = text else { return literal(b"\"-\" ", out) };
    out.push(b'"');
    escaped(text, out);
    literal(b"\" ", out);
}

/// There, too: one that holds none.
#[inline(always)]
pub(super) fn unquoted(text: Option<&str>, out: &mut Vec<u8>) {
    match text {
        Some(text) => escaped(text.as_bytes(), out),
        None => out.push(b'-'),
    }
}

/// `format!` would be ten times the instructions, and a line has half a dozen numbers.
pub(super) fn digits(mut value: u64, out: &mut Vec<u8>) {
    let mut text = [0; 20];
    let mut at = text.len();
    loop {
        at -= 1;
        text[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    match &text[at..] {
        [only] => out.push(*only),
        several => out.extend_from_slice(several),
    }
}

/// What a client sent must not be able to end a field or a line. The escapes are JSON's, in the text form too.
pub(super) fn escaped(text: &[u8], out: &mut Vec<u8>) {
    if plain(text) {
        return out.extend_from_slice(text);
    }
    for c in String::from_utf8_lossy(text).chars() {
        // Writing to a Vec does not fail.
        let _ = match c {
            '"' | '\\' => write!(out, "\\{c}"),
            '\n' => write!(out, "\\n"),
            '\r' => write!(out, "\\r"),
            '\t' => write!(out, "\\t"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => write!(out, "\\u{:04x}", c as u32),
            c => write!(out, "{c}"),
        };
    }
}

/// Visible ASCII and spaces, without quotes and backslashes. Most texts are short, so eight bytes are looked at at once
/// rather than sixteen or thirty-two.
fn plain(text: &[u8]) -> bool {
    let Some(last) = text.last_chunk::<8>() else { return text.iter().copied().all(plain_byte) };
    let (words, _) = text.as_chunks::<8>();
    // Without a way out in the middle: there is hardly ever a reason to take it.
    let odd = words.iter().fold(odd_bytes(last), |odd, word| odd | odd_bytes(word));
    odd & HIGHS == 0
}

fn plain_byte(byte: u8) -> bool {
    matches!(byte, 0x20..0x7f) && byte != b'"' && byte != b'\\'
}

/// The high bit of some byte is set where one is not plain.
#[inline(always)]
fn odd_bytes(word: &[u8; 8]) -> u64 {
    let word = u64::from_le_bytes(*word);
    // The high bit of each byte that is zero, of bytes below 0x80.
    let zero = |word: u64| word.wrapping_sub(ONES);
    let special = zero(word ^ (ONES * b'"' as u64)) | zero(word ^ (ONES * b'\\' as u64)) | zero(word ^ (ONES * 0x7f));
    word | word.wrapping_sub(ONES * 0x20) | special
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = ONES << 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_words_are_eight_plain_bytes() {
        for byte in 0..=u8::MAX {
            for neighbour in [b' ', b'!', b'#', b'[', b']', b'~', b'a'] {
                for at in 0..8 {
                    let mut word = [neighbour; 8];
                    word[at] = byte;
                    let want = word.iter().copied().all(plain_byte);
                    assert_eq!(odd_bytes(&word) & HIGHS == 0, want, "{word:x?}");
                }
            }
        }
    }

    #[test]
    fn texts_of_any_length_are_looked_at_whole() {
        for length in 0..40 {
            let text = vec![b'x'; length];
            assert!(plain(&text), "{length}");
            for at in 0..length {
                let mut text = text.clone();
                text[at] = b'"';
                assert!(!plain(&text), "{at} of {length}");
            }
        }
    }
}
