//! How netlink messages look in bytes: a header, a fixed part, and attributes that nest.
//!
//! Pure. It does not know what the messages mean; constants are those of the kernel's own headers.

/// A request, with what to call it where the kernel refuses it.
#[derive(Clone, Debug)]
pub struct Message {
    pub what: String,
    pub kind: u16,
    pub flags: u16,
    /// Everything after the header.
    pub payload: Vec<u8>,
}

impl Message {
    /// As it is sent under this number.
    pub fn bytes(&self, sequence: u32) -> Vec<u8> {
        let length = HEADER_BYTES + self.payload.len();
        let mut bytes = Vec::with_capacity(length);
        // The kernel counts in u32; a message of ours has some hundred bytes.
        bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
        bytes.extend(self.kind.to_ne_bytes());
        bytes.extend((self.flags | REQUEST).to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend(&self.payload);
        pad(&mut bytes);
        bytes
    }
}

/// One attribute: number, then value.
#[derive(Clone, Debug)]
pub struct Attribute(Vec<u8>);

impl Attribute {
    pub fn bytes(number: u16, value: &[u8]) -> Self {
        Self::new(number, value)
    }

    /// Ends with a zero.
    pub fn text(number: u16, value: &str) -> Self {
        Self::new(number, &[value.as_bytes(), &[0]].concat())
    }

    /// In network order, as nf_tables wants numbers.
    pub fn number(number: u16, value: u32) -> Self {
        Self::new(number, &value.to_be_bytes())
    }

    pub fn nest(number: u16, inner: impl IntoIterator<Item = Self>) -> Self {
        let inner: Vec<u8> = inner.into_iter().flat_map(|attribute| attribute.0).collect();
        Self::new(number | NESTED, &inner)
    }

    fn new(number: u16, value: &[u8]) -> Self {
        let length =
            u16::try_from(ATTRIBUTE_HEADER_BYTES + value.len()).expect("our attributes are shorter than 64 KiB");
        let mut bytes = Vec::with_capacity(usize::from(length).next_multiple_of(ALIGN));
        bytes.extend(length.to_ne_bytes());
        bytes.extend(number.to_ne_bytes());
        bytes.extend(value);
        pad(&mut bytes);
        Self(bytes)
    }

    pub fn append_to(self, payload: &mut Vec<u8>) {
        payload.extend(self.0);
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
}

/// What the kernel says of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub sequence: u32,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// The number of the error, and the kernel's own words where it has some.
    Refused(i32, Option<String>),
    /// Something else than an answer.
    Other(u16),
}

/// Reads all messages of one datagram.
pub fn replies(mut bytes: &[u8]) -> Vec<Reply> {
    let mut replies = Vec::new();
    while let Some((length, kind, flags, sequence)) = header(bytes) {
        let Some(body) = bytes.get(HEADER_BYTES..length) else { break };
        let outcome = match kind {
            ERROR => error(body, flags),
            kind => Outcome::Other(kind),
        };
        replies.push(Reply { sequence, outcome });
        bytes = bytes.get(length.next_multiple_of(ALIGN)..).unwrap_or_default();
    }
    replies
}

fn header(bytes: &[u8]) -> Option<(usize, u16, u16, u32)> {
    let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let half = |at: usize| Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    Some((word(0)? as usize, half(4)?, half(6)?, word(8)?))
}

/// The number, the header of the request that it answers, then (flag) attributes that explain it.
fn error(body: &[u8], flags: u16) -> Outcome {
    let Some(code) = body.first_chunk().map(|code| i32::from_ne_bytes(*code)) else { return Outcome::Other(ERROR) };
    if code == 0 {
        return Outcome::Done;
    }
    let mut attributes = match body.get(4 + HEADER_BYTES..) {
        Some(rest) if flags & EXPLAINED != 0 => rest,
        _ => &[],
    };
    while let Some([a, b, c, d]) = attributes.first_chunk() {
        let (length, number) = (usize::from(u16::from_ne_bytes([*a, *b])), u16::from_ne_bytes([*c, *d]));
        let Some(value) = attributes.get(ATTRIBUTE_HEADER_BYTES..length) else { break };
        if number == EXPLANATION {
            let words = value.split(|byte| *byte == 0).next().unwrap_or_default();
            return Outcome::Refused(-code, Some(String::from_utf8_lossy(words).into_owned()));
        }
        attributes = attributes.get(length.next_multiple_of(ALIGN)..).unwrap_or_default();
    }
    Outcome::Refused(-code, None)
}

const ALIGN: usize = 4;
const HEADER_BYTES: usize = 16;
const ATTRIBUTE_HEADER_BYTES: usize = 4;
const NESTED: u16 = 0x8000;
const ERROR: u16 = 2;
const REQUEST: u16 = 1;
/// Of a request: it wants an answer also where all went well.
pub const ACKNOWLEDGE: u16 = 4;
/// Of a request: what is not there is made.
pub const CREATE: u16 = 0x400;
/// Of a request: what is there is changed.
pub const REPLACE: u16 = 0x100;
/// Of a request: at the end of what is there.
pub const APPEND: u16 = 0x800;
/// Of an answer: attributes follow.
const EXPLAINED: u16 = 0x200;
const EXPLANATION: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_their_length_is_not() {
        let (short, long) = (Attribute::text(1, "abc"), Attribute::text(2, "abcd"));
        assert_eq!(short.0[..2], 8_u16.to_ne_bytes());
        assert_eq!((short.0.len(), long.0.len()), (8, 12));
        assert_eq!(long.0[..2], 9_u16.to_ne_bytes());
        let nest = Attribute::nest(3, [short, long]);
        assert_eq!((nest.0.len(), &nest.0[..2]), (24, &24_u16.to_ne_bytes()[..]));
        assert_eq!(nest.0[2..4], (3 | NESTED).to_ne_bytes());
    }

    #[test]
    fn answers() {
        let message = |flags: u16, body: &[u8]| {
            let message = Message { what: String::new(), kind: ERROR, flags, payload: body.to_vec() };
            let mut bytes = message.bytes(7);
            bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
            bytes
        };
        let of_request = [0; HEADER_BYTES];
        let done = [&0_i32.to_ne_bytes()[..], &of_request].concat();
        let mut refused = [&(-libc::ENOENT).to_ne_bytes()[..], &of_request].concat();
        Attribute::number(9, 1).append_to(&mut refused);
        Attribute::text(EXPLANATION, "no such thing").append_to(&mut refused);
        let cases = [
            (message(0, &done), vec![Outcome::Done]),
            (message(0, &refused), vec![Outcome::Refused(libc::ENOENT, None)]),
            (message(EXPLAINED, &refused), vec![Outcome::Refused(libc::ENOENT, Some("no such thing".into()))]),
            ([message(0, &done), message(0, &done)].concat(), vec![Outcome::Done, Outcome::Done]),
            (message(0, &done)[..20].to_vec(), vec![]),
            (vec![1, 2, 3], vec![]),
        ];
        for (bytes, want) in cases {
            let got = replies(&bytes);
            assert!(got.iter().all(|reply| reply.sequence == 7));
            assert_eq!(got.into_iter().map(|reply| reply.outcome).collect::<Vec<_>>(), want, "bytes {bytes:?}");
        }
    }
}
