//! One line of the access log: Istio's fields in Istio's order, as text or JSON, and Weft's own at the end.
//!
//! It does not know where lines go.

use super::LogFormat;
use super::stamp::Stamps;
use crate::filters::FilterRun;
use crate::record::{Kind, Record};
use http::{HeaderValue, Version};
use std::io::Write;

/// Formats into a buffer that it keeps.
pub(super) struct Line {
    format: LogFormat,
    stamps: Stamps,
    out: Vec<u8>,
}

impl Line {
    pub(super) fn new(format: LogFormat) -> Self {
        Self { format, stamps: Stamps::new(), out: Vec::with_capacity(1024) }
    }

    pub(super) fn format(&mut self, record: &Record) -> &[u8] {
        self.out.clear();
        match self.format {
            LogFormat::Text => self.text(record),
            LogFormat::Json => self.json(record),
        }
        self.out.push(b'\n');
        &self.out
    }

    fn text(&mut self, record: &Record) {
        self.out.push(b'[');
        self.stamps.write(record.start, &mut self.out);
        self.out.extend_from_slice(b"] \"");
        let out = &mut self.out;
        for (index, part) in request_line(record).into_iter().enumerate() {
            if index > 0 {
                out.push(b' ');
            }
            escaped(part, out);
        }
        out.extend_from_slice(b"\" ");
        let status = record.status.map_or(0, |status| status.as_u16());
        // Writing to a Vec does not fail.
        let _ = write!(out, "{status} {} {} ", record.flag, record.details);
        plain(record.termination, out);
        quoted(record.upstream_failure.as_deref().map(str::as_bytes), out);
        let _ = write!(out, "{} {} {} ", record.bytes_received, record.bytes_sent, record.duration.as_millis());
        match service_time(record) {
            Some(millis) => {
                let _ = write!(out, "{millis} ");
            }
            None => out.extend_from_slice(b"- "),
        }
        let request = &record.request;
        quoted(bytes(&request.forwarded_for), out);
        quoted(bytes(&request.user_agent), out);
        quoted(bytes(&request.request_id), out);
        quoted(Some(request.authority.as_bytes()).filter(|a| !a.is_empty()), out);
        addresses_text(record, out);
        let _ = write!(out, "{}", route_name(record).unwrap_or("-"));
        if !record.filters.is_empty() {
            out.extend_from_slice(b" filters=\"");
            record.filters.iter().enumerate().for_each(|(index, run)| filter(index, run, out));
            out.push(b'"');
        }
        if let Some(reason) = &record.reason {
            out.extend_from_slice(b" reason=\"");
            escaped(reason.as_bytes(), out);
            out.push(b'"');
        }
    }

    fn json(&mut self, record: &Record) {
        self.out.extend_from_slice(b"{\"start_time\":\"");
        self.stamps.write(record.start, &mut self.out);
        self.out.push(b'"');
        let request = &record.request;
        let [method, path, protocol] = request_line(record);
        let known = |part: &'static str, text: &[u8], out: &mut Vec<u8>| {
            string(part, Some(text).filter(|text| *text != b"-"), out);
        };
        let out = &mut self.out;
        string("route_name", route_name(record).map(str::as_bytes), out);
        known("method", method, out);
        known("path", path, out);
        known("protocol", protocol, out);
        number("response_code", record.status.map_or(0, |status| status.as_u16().into()), out);
        string("response_flags", Some(record.flag.as_bytes()), out);
        known("response_code_details", record.details.as_bytes(), out);
        string("connection_termination_details", record.termination.map(str::as_bytes), out);
        number("bytes_received", record.bytes_received, out);
        number("bytes_sent", record.bytes_sent, out);
        number("duration", record.duration.as_millis() as u64, out);
        // A string in Istio too: there it is a header's value.
        let service_time = service_time(record).map(|millis| millis.to_string());
        string("upstream_service_time", service_time.as_deref().map(str::as_bytes), out);
        string("x_forwarded_for", bytes(&request.forwarded_for), out);
        string("user_agent", bytes(&request.user_agent), out);
        string("request_id", bytes(&request.request_id), out);
        string("authority", Some(request.authority.as_bytes()).filter(|a| !a.is_empty()), out);
        addresses_json(record, out);
        string("upstream_transport_failure_reason", record.upstream_failure.as_deref().map(str::as_bytes), out);
        if !record.filters.is_empty() {
            out.extend_from_slice(b",\"filters\":\"");
            record.filters.iter().enumerate().for_each(|(index, run)| filter(index, run, out));
            out.push(b'"');
        }
        if let Some(reason) = &record.reason {
            string("reason", Some(reason.as_bytes()), out);
        }
        out.push(b'}');
    }
}

fn request_line(record: &Record) -> [&[u8]; 3] {
    let request = &record.request;
    if request.kind == Kind::Tcp {
        return [b"-"; 3];
    }
    let protocol = match request.protocol {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    };
    [request.method.as_str().as_bytes(), request.path.as_str().as_bytes(), protocol.as_bytes()]
}

fn addresses_text(record: &Record, out: &mut Vec<u8>) {
    let upstream = record.upstream.as_ref();
    // Writing to a Vec does not fail.
    let _ = match upstream {
        Some(upstream) => write!(out, "\"{}\" ", upstream.address),
        None => write!(out, "\"-\" "),
    };
    plain(record.target.cluster(), out);
    let _ = match upstream.and_then(|upstream| upstream.local) {
        Some(local) => write!(out, "{local} "),
        None => write!(out, "- "),
    };
    let _ = write!(out, "{} {} ", record.peer.local, record.peer.remote);
    plain(record.peer.sni.as_deref(), out);
}

fn addresses_json(record: &Record, out: &mut Vec<u8>) {
    let upstream = record.upstream.as_ref();
    let address = |key: &str, address: Option<&dyn std::fmt::Display>, out: &mut Vec<u8>| {
        let _ = match address {
            Some(address) => write!(out, ",\"{key}\":\"{address}\""),
            None => write!(out, ",\"{key}\":null"),
        };
    };
    address("upstream_host", upstream.map(|u| &u.address as _), out);
    string("upstream_cluster", record.target.cluster().map(str::as_bytes), out);
    address("upstream_local_address", upstream.and_then(|u| u.local.as_ref()).map(|local| local as _), out);
    address("downstream_local_address", Some(&record.peer.local), out);
    address("downstream_remote_address", Some(&record.peer.remote), out);
    string("requested_server_name", record.peer.sni.as_deref().map(str::as_bytes), out);
}

fn route_name(record: &Record) -> Option<&str> {
    record.route.as_ref().map(|route| &*route.name).filter(|name| !name.is_empty())
}

fn service_time(record: &Record) -> Option<u128> {
    record.upstream.as_ref()?.service_time.map(|time| time.as_millis())
}

fn bytes(value: &Option<HeaderValue>) -> Option<&[u8]> {
    value.as_ref().map(HeaderValue::as_bytes)
}

/// `NAMESPACE/NAME@DIGEST`, separated by commas.
fn filter(index: usize, run: &FilterRun, out: &mut Vec<u8>) {
    if index > 0 {
        out.push(b',');
    }
    escaped(run.filter.key.0.as_bytes(), out);
    if let Some(digest) = run.filter.component {
        let _ = write!(out, "@{digest}");
    }
}

fn plain(text: Option<&str>, out: &mut Vec<u8>) {
    escaped(text.unwrap_or("-").as_bytes(), out);
    out.push(b' ');
}

fn quoted(text: Option<&[u8]>, out: &mut Vec<u8>) {
    out.push(b'"');
    escaped(text.unwrap_or(b"-"), out);
    out.extend_from_slice(b"\" ");
}

fn string(key: &str, value: Option<&[u8]>, out: &mut Vec<u8>) {
    let _ = write!(out, ",\"{key}\":");
    match value {
        None => out.extend_from_slice(b"null"),
        Some(value) => {
            out.push(b'"');
            escaped(value, out);
            out.push(b'"');
        }
    }
}

fn number(key: &str, value: u64, out: &mut Vec<u8>) {
    let _ = write!(out, ",\"{key}\":{value}");
}

/// What a client sent must not be able to end a field or a line. The escapes are JSON's, in the text form too.
fn escaped(text: &[u8], out: &mut Vec<u8>) {
    if text.iter().all(|b| (0x20..0x7f).contains(b) && *b != b'"' && *b != b'\\') {
        return out.extend_from_slice(text);
    }
    for c in String::from_utf8_lossy(text).chars() {
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
