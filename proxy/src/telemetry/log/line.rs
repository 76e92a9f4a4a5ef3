//! One line of the access log: Istio's fields in Istio's order, as text or JSON, and Weft's own at the end.
//!
//! It does not know where lines go.

use super::LogFormat;
use super::pen::{digits, escaped, literal, number, own, quoted, string, unquoted};
use super::stamp::Stamps;
use crate::filters::FilterRun;
use crate::record::{Address, Kind, Record};
use http::{HeaderValue, Version};
use std::time::Duration;

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
        // HTTP lets nothing into a method that would have to be escaped.
        let [method, path, protocol] = request_line(record);
        out.extend_from_slice(method.as_bytes());
        out.push(b' ');
        escaped(path.as_bytes(), out);
        out.push(b' ');
        out.extend_from_slice(protocol.as_bytes());
        out.extend_from_slice(b"\" ");
        digits(status(record), out);
        for word in [record.flag, record.details, record.termination.unwrap_or("-")] {
            out.push(b' ');
            out.extend_from_slice(word.as_bytes());
        }
        out.push(b' ');
        quoted(record.upstream_failure.as_deref().map(str::as_bytes), out);
        for number in [record.bytes_received, record.bytes_sent, millis(record.duration)] {
            digits(number, out);
            out.push(b' ');
        }
        match record.service_time {
            Some(time) => digits(millis(time), out),
            None => out.push(b'-'),
        }
        out.push(b' ');
        let request = &record.request;
        quoted(bytes(&request.forwarded_for), out);
        quoted(bytes(&request.user_agent), out);
        quoted(bytes(&request.request_id), out);
        quoted(Some(request.authority.as_bytes()).filter(|a| !a.is_empty()), out);
        addresses_text(record, out);
        unquoted(route_name(record), out);
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
        let request = &record.request;
        let [method, path, protocol] = request_line(record);
        let out = &mut self.out;
        literal(b"{\"start_time\":\"", out);
        self.stamps.write(record.start, out);
        literal(b"\"", out);
        string(b",\"route_name\":\"", route_name(record).map(str::as_bytes), out);
        own(b",\"method\":\"", known(method), out);
        string(b",\"path\":\"", known(path).map(str::as_bytes), out);
        own(b",\"protocol\":\"", known(protocol), out);
        number(b",\"response_code\":", status(record), out);
        own(b",\"response_flags\":\"", Some(record.flag), out);
        own(b",\"response_code_details\":\"", known(record.details), out);
        own(b",\"connection_termination_details\":\"", record.termination, out);
        number(b",\"bytes_received\":", record.bytes_received, out);
        number(b",\"bytes_sent\":", record.bytes_sent, out);
        number(b",\"duration\":", millis(record.duration), out);
        service_time_json(record, out);
        string(b",\"x_forwarded_for\":\"", bytes(&request.forwarded_for), out);
        string(b",\"user_agent\":\"", bytes(&request.user_agent), out);
        string(b",\"request_id\":\"", bytes(&request.request_id), out);
        string(b",\"authority\":\"", Some(request.authority.as_bytes()).filter(|a| !a.is_empty()), out);
        addresses_json(record, out);
        let failure = record.upstream_failure.as_deref().map(str::as_bytes);
        string(b",\"upstream_transport_failure_reason\":\"", failure, out);
        if !record.filters.is_empty() {
            literal(b",\"filters\":\"", out);
            record.filters.iter().enumerate().for_each(|(index, run)| filter(index, run, out));
            literal(b"\"", out);
        }
        if let Some(reason) = &record.reason {
            string(b",\"reason\":\"", Some(reason.as_bytes()), out);
        }
        literal(b"}", out);
    }
}

/// The proxy's own word for nothing.
fn known(text: &str) -> Option<&str> {
    Some(text).filter(|text| *text != "-")
}

fn request_line(record: &Record) -> [&str; 3] {
    let request = &record.request;
    if request.kind == Kind::Tcp {
        return ["-"; 3];
    }
    let protocol = match request.protocol {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    };
    [request.method.as_str(), request.path.as_str(), protocol]
}

fn addresses_text(record: &Record, out: &mut Vec<u8>) {
    let upstream = record.upstream.as_ref();
    let text = |known: Option<&Address>, out: &mut Vec<u8>| {
        out.extend_from_slice(known.map_or("-", Address::as_str).as_bytes());
    };
    out.push(b'"');
    text(upstream.map(|upstream| &upstream.address), out);
    out.extend_from_slice(b"\" ");
    unquoted(record.target.cluster(), out);
    out.push(b' ');
    let local = upstream.and_then(|upstream| upstream.local.as_ref());
    for known in [local, Some(&record.peer.local), Some(&record.peer.remote)] {
        text(known, out);
        out.push(b' ');
    }
    unquoted(record.peer.sni.as_deref(), out);
    out.push(b' ');
}

fn addresses_json(record: &Record, out: &mut Vec<u8>) {
    let upstream = record.upstream.as_ref();
    own(b",\"upstream_host\":\"", text(upstream.map(|upstream| &upstream.address)), out);
    string(b",\"upstream_cluster\":\"", record.target.cluster().map(str::as_bytes), out);
    own(b",\"upstream_local_address\":\"", text(upstream.and_then(|upstream| upstream.local.as_ref())), out);
    own(b",\"downstream_local_address\":\"", text(Some(&record.peer.local)), out);
    own(b",\"downstream_remote_address\":\"", text(Some(&record.peer.remote)), out);
    string(b",\"requested_server_name\":\"", record.peer.sni.as_deref().map(str::as_bytes), out);
}

fn text(address: Option<&Address>) -> Option<&str> {
    address.map(Address::as_str)
}

/// A string in Istio too: there it is a header's value.
fn service_time_json(record: &Record, out: &mut Vec<u8>) {
    match record.service_time {
        Some(time) => {
            number(b",\"upstream_service_time\":\"", millis(time), out);
            literal(b"\"", out);
        }
        None => literal(b",\"upstream_service_time\":null", out),
    }
}

fn status(record: &Record) -> u64 {
    record.status.map_or(0, |status| status.as_u16().into())
}

fn route_name(record: &Record) -> Option<&str> {
    record.route.as_ref().map(|route| &*route.name).filter(|name| !name.is_empty())
}

fn millis(duration: Duration) -> u64 {
    duration.as_secs() * 1000 + u64::from(duration.subsec_millis())
}

fn bytes(value: &Option<HeaderValue>) -> Option<&[u8]> {
    value.as_ref().map(HeaderValue::as_bytes)
}

/// `NAMESPACE/NAME@DIGEST`, separated by commas.
fn filter(index: usize, run: &FilterRun, out: &mut Vec<u8>) {
    if index > 0 {
        out.push(b',');
    }
    escaped(run.filter.named().as_bytes(), out);
}
