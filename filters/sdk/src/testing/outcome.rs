//! A verdict with its slots turned back into names.

use super::TestRequest;
use crate::bindings::request::weft::filter::types::{Edit, Op};
use crate::{Interest, Reply, ResponseVerdict, Verdict};

/// What a filter decided about a request.
#[derive(Debug, Clone)]
pub struct Outcome {
    verdict: Verdict,
    edits: Vec<(String, Op)>,
    picked: Option<String>,
    request: TestRequest,
}

impl Outcome {
    pub(super) fn new(verdict: Verdict, interest: &Interest, request: TestRequest) -> Self {
        let (edits, pick) = match &verdict {
            Verdict::Forward(forward) => (named(&forward.edits, &interest.request_writes), forward.pick),
            _ => (Vec::new(), None),
        };
        let picked = pick.map(|slot| name(&interest.picks, slot, "pick"));
        if let Verdict::Respond(reply) | Verdict::Deny(crate::Denial { reply, .. }) = &verdict {
            check_reply(reply);
        }
        Self { verdict, edits, picked, request }
    }

    /// Sent on unchanged.
    pub fn passed(&self) -> bool {
        matches!(self.verdict, Verdict::Pass)
    }

    /// Sent on, changed or not.
    pub fn forwarded(&self) -> bool {
        matches!(self.verdict, Verdict::Pass | Verdict::Forward(_))
    }

    /// The value to which a request header is set.
    pub fn set(&self, header: &str) -> Option<&str> {
        set(&self.edits, header)
    }

    /// The values that are appended to a request header.
    pub fn appended(&self, header: &str) -> Vec<&str> {
        appended(&self.edits, header)
    }

    pub fn removed(&self, header: &str) -> bool {
        removed(&self.edits, header)
    }

    /// The subset that was chosen.
    pub fn picked(&self) -> Option<&str> {
        self.picked.as_deref()
    }

    /// The answer, where the filter gave one itself.
    pub fn reply(&self) -> Option<&Reply> {
        match &self.verdict {
            Verdict::Respond(reply) => Some(reply),
            Verdict::Deny(denial) => Some(&denial.reply),
            _ => None,
        }
    }

    /// Why it was denied, where it was.
    pub fn denied(&self) -> Option<&str> {
        match &self.verdict {
            Verdict::Deny(denial) => Some(&denial.reason),
            _ => None,
        }
    }

    /// What was left for the response.
    pub fn state(&self) -> Option<&[u8]> {
        match &self.verdict {
            Verdict::Forward(forward) => forward.state.as_deref(),
            _ => None,
        }
    }

    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    pub(super) fn request(&self) -> &TestRequest {
        &self.request
    }
}

/// What a filter decided about a response.
#[derive(Debug, Clone)]
pub struct ResponseOutcome {
    verdict: ResponseVerdict,
    edits: Vec<(String, Op)>,
}

impl ResponseOutcome {
    pub(super) fn new(verdict: ResponseVerdict, interest: &Interest) -> Self {
        let edits = match &verdict {
            ResponseVerdict::Edit(edits) => named(edits, &interest.response_writes),
            ResponseVerdict::Replace(reply) => {
                check_reply(reply);
                Vec::new()
            }
            ResponseVerdict::Pass => Vec::new(),
        };
        Self { verdict, edits }
    }

    pub fn passed(&self) -> bool {
        matches!(self.verdict, ResponseVerdict::Pass)
    }

    pub fn set(&self, header: &str) -> Option<&str> {
        set(&self.edits, header)
    }

    pub fn appended(&self, header: &str) -> Vec<&str> {
        appended(&self.edits, header)
    }

    pub fn removed(&self, header: &str) -> bool {
        removed(&self.edits, header)
    }

    /// The answer that replaces the upstream's.
    pub fn replaced(&self) -> Option<&Reply> {
        match &self.verdict {
            ResponseVerdict::Replace(reply) => Some(reply),
            _ => None,
        }
    }
}

fn named(edits: &[Edit], writes: &[String]) -> Vec<(String, Op)> {
    let edits = edits.iter().map(|edit| {
        if let Op::Set(value) | Op::Append(value) = &edit.op {
            check_value(value);
        }
        (name(writes, edit.slot, "edit"), edit.op.clone())
    });
    edits.collect()
}

fn name(names: &[String], slot: u32, what: &str) -> String {
    names.get(slot as usize).unwrap_or_else(|| panic!("{what} of slot {slot}, but there are {}", names.len())).clone()
}

/// Visible characters, spaces and tabs, and none of the two blanks at an end.
fn check_value(value: &str) {
    let valid = value.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f));
    assert!(valid && value.trim_matches([' ', '\t']) == value, "{value:?} is no header value");
}

fn check_reply(reply: &Reply) {
    assert!((200..600).contains(&reply.status), "status {} is not between 200 and 599", reply.status);
    reply.headers.iter().for_each(|(_, value)| check_value(value));
}

fn set<'a>(edits: &'a [(String, Op)], header: &str) -> Option<&'a str> {
    edits.iter().rev().find_map(|(name, op)| match op {
        Op::Set(value) if name == header => Some(value.as_str()),
        _ => None,
    })
}

fn appended<'a>(edits: &'a [(String, Op)], header: &str) -> Vec<&'a str> {
    let values = edits.iter().filter_map(|(name, op)| match op {
        Op::Append(value) if name == header => Some(value.as_str()),
        _ => None,
    });
    values.collect()
}

fn removed(edits: &[(String, Op)], header: &str) -> bool {
    edits.iter().any(|(name, op)| name == header && *op == Op::Remove)
}
