//! Whether an answer keeps to the contract and to the filter's own manifest: raw verdicts in, checked ones out.
//!
//! It does not know where the answer came from.

use crate::contract;
use crate::manifest::{is_header_name, is_hop_or_framing};
use crate::{Denial, Edit, Forward, Manifest, Op, Reply, ResponseVerdict, Verdict, Writable};

/// Bytes of state that a filter may hand from the request to the response.
const STATE_BYTES_MAX: usize = 64 << 10;
/// Bytes of a denial's reason; the rest is cut.
const REASON_BYTES_MAX: usize = 4 << 10;

/// The answer breaks the contract; the text says how.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OutputError {
    #[error("it edited slot {slot}, and its manifest has {declared} writable headers")]
    Slot { slot: u32, declared: usize },
    #[error("it gave {header} the value {value:?}, which is no valid field value")]
    Value { header: String, value: String },
    #[error("it tried to {what} {header}")]
    Op { header: String, what: &'static str },
    #[error("it picked upstream {pick}, and its manifest has {declared}")]
    Pick { pick: u32, declared: usize },
    #[error("it left {bytes} bytes of state, more than {STATE_BYTES_MAX}")]
    State { bytes: usize },
    #[error("it answered with status {status}, outside 200 to 599")]
    Status { status: u16 },
    #[error("it answered with the header {name:?}, {reason}")]
    ReplyHeader { name: String, reason: &'static str },
    #[error("it asked for a callout, which is not supported yet")]
    Callout,
}

pub(crate) fn verdict(raw: contract::Verdict, manifest: &Manifest) -> Result<Verdict, OutputError> {
    Ok(match raw {
        contract::Verdict::Pass => Verdict::Pass,
        contract::Verdict::Forward(raw) => Verdict::Forward(forward(raw, manifest)?),
        contract::Verdict::Respond(raw) => Verdict::Respond(reply(raw)?),
        contract::Verdict::Deny(raw) => {
            let mut reason = raw.reason;
            reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
            Verdict::Deny(Denial { reply: reply(raw.reply)?, reason })
        }
        contract::Verdict::Call(_) => return Err(OutputError::Callout),
    })
}

pub(crate) fn response_verdict(
    raw: contract::ResponseVerdict,
    manifest: &Manifest,
) -> Result<ResponseVerdict, OutputError> {
    Ok(match raw {
        contract::ResponseVerdict::Pass => ResponseVerdict::Pass,
        contract::ResponseVerdict::Edit(raw) => ResponseVerdict::Edit(edits(raw, &manifest.response_writes)?),
        contract::ResponseVerdict::Replace(raw) => ResponseVerdict::Replace(reply(raw)?),
    })
}

fn forward(raw: contract::Forward, manifest: &Manifest) -> Result<Forward, OutputError> {
    if let Some(pick) = raw.pick.filter(|pick| *pick as usize >= manifest.upstreams.len()) {
        return Err(OutputError::Pick { pick, declared: manifest.upstreams.len() });
    }
    if let Some(bytes) = raw.state.as_ref().map(Vec::len).filter(|bytes| *bytes > STATE_BYTES_MAX) {
        return Err(OutputError::State { bytes });
    }
    Ok(Forward { edits: edits(raw.edits, &manifest.request_writes)?, pick: raw.pick, state: raw.state })
}

fn edits(raw: Vec<contract::Edit>, writes: &[Writable]) -> Result<Vec<Edit>, OutputError> {
    raw.into_iter().map(|raw| edit(raw, writes)).collect()
}

fn edit(raw: contract::Edit, writes: &[Writable]) -> Result<Edit, OutputError> {
    let Some(target) = writes.get(raw.slot as usize) else {
        return Err(OutputError::Slot { slot: raw.slot, declared: writes.len() });
    };
    let refused = |what| Err(OutputError::Op { header: target.name().to_owned(), what });
    let op = match (raw.op, target) {
        (contract::Op::Set(value), Writable::Path) if is_target(&value) => Op::Set(value),
        (contract::Op::Append(_), Writable::Path) => return refused("append to"),
        (contract::Op::Remove, Writable::Path) => return refused("remove"),
        (contract::Op::Set(_), Writable::Header(name)) if name == "set-cookie" => {
            return refused("set, not append to,");
        }
        (contract::Op::Remove, Writable::Header(name)) if name == "set-cookie" => return refused("remove"),
        (contract::Op::Set(value), Writable::Header(_)) if is_field_value(&value) => Op::Set(value),
        (contract::Op::Append(value), Writable::Header(_)) if is_field_value(&value) => Op::Append(value),
        (contract::Op::Remove, Writable::Header(_)) => Op::Remove,
        (contract::Op::Set(value) | contract::Op::Append(value), _) => {
            return Err(OutputError::Value { header: target.name().to_owned(), value: excerpt(value) });
        }
    };
    Ok(Edit { slot: raw.slot, op })
}

fn reply(raw: contract::Reply) -> Result<Reply, OutputError> {
    if !(200..600).contains(&raw.status) {
        return Err(OutputError::Status { status: raw.status });
    }
    let mut headers = raw.headers;
    for (name, value) in &mut headers {
        name.make_ascii_lowercase();
        let refused = |reason| Err(OutputError::ReplyHeader { name: excerpt(name.clone()), reason });
        if !is_header_name(name) {
            return refused("which is no header name");
        }
        if is_hop_or_framing(name) {
            return refused("which only the proxy may write");
        }
        if !is_field_value(value) {
            return Err(OutputError::Value { header: name.clone(), value: excerpt(std::mem::take(value)) });
        }
    }
    Ok(Reply { status: raw.status, headers, body: raw.body })
}

/// RFC 9110, section 5.5: visible characters, bytes of other scripts, spaces and tabs between them.
fn is_field_value(value: &str) -> bool {
    let bytes = value.as_bytes();
    let is_blank = |byte: Option<&u8>| byte.is_some_and(|byte| matches!(byte, b' ' | b'\t'));
    bytes.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..))
        && !is_blank(bytes.first())
        && !is_blank(bytes.last())
}

/// A request target in origin form, as lenient as the proxy's own parser is.
fn is_target(value: &str) -> bool {
    let (path, query) = value.split_once('?').unwrap_or((value, ""));
    path.starts_with('/')
        && path.bytes().all(|byte| matches!(byte, b'!' | b'"' | b'$'..=b';' | b'=' | b'@'..=b'_' | b'a'..=b'~'))
        && query.bytes().all(|byte| matches!(byte, b'!' | b'$'..=b';' | b'=' | b'?'..=b'~'))
}

/// Enough of a bad value to find it.
fn excerpt(mut value: String) -> String {
    value.truncate(value.floor_char_boundary(64));
    value
}

#[cfg(test)]
mod tests;
