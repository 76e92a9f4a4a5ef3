//! A worker's own share of the metrics: finds the series of an exchange by comparing a few numbers.
//!
//! No lock, no atomic that another worker writes; series are shown to the scrape when they begin.

use super::labels::{Ends, labels, overflow};
use super::log::Journal;
use super::series::{HttpSeries, Registered, TcpSeries};
use super::{Telemetry, WorkerGauges};
use crate::record::{Kind, Record, Security, Side};
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// Series that one worker begins; what exceeds it is counted under labels that say `overflow`.
pub const SERIES_MAX: usize = 2_000;

/// Belongs to one worker.
pub struct Shard {
    pub gauges: Arc<WorkerGauges>,
    telemetry: Arc<Telemetry>,
    http: RefCell<Table<Arc<HttpSeries>>>,
    tcp: RefCell<Table<TcpSeries>>,
    journal: Option<RefCell<Journal>>,
}

/// What sets one series apart from another: equal facts have equal numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct SeriesKey {
    source: u64,
    destination: u64,
    service: u64,
    status: u16,
    grpc_status: Option<u32>,
    flag: &'static str,
    side: Side,
    kind: Kind,
    security: Security,
    proven: bool,
}

struct Table<S> {
    /// Most exchanges of a worker are like the one before.
    last: Option<(SeriesKey, usize)>,
    series: Vec<S>,
    by_key: HashMap<SeriesKey, usize, foldhash::fast::RandomState>,
    /// Few: one for each side and protocol.
    overflow: Vec<((Side, Kind), usize)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    OfItsOwn,
    Overflow,
}

impl<S> Table<S> {
    fn new() -> Self {
        Self { last: None, series: Vec::new(), by_key: HashMap::default(), overflow: Vec::new() }
    }

    fn find(&mut self, key: SeriesKey, begin: impl FnOnce(Place) -> S) -> (&S, Place) {
        if let Some((_, index)) = self.last.filter(|(last, _)| *last == key) {
            return (&self.series[index], Place::OfItsOwn);
        }
        let known = self.by_key.get(&key).copied();
        if known.is_none() && self.by_key.len() >= SERIES_MAX {
            let index = self.overflow((key.side, key.kind), begin);
            return (&self.series[index], Place::Overflow);
        }
        let index = known.unwrap_or_else(|| {
            self.series.push(begin(Place::OfItsOwn));
            self.by_key.insert(key, self.series.len() - 1);
            self.series.len() - 1
        });
        self.last = Some((key, index));
        (&self.series[index], Place::OfItsOwn)
    }

    fn overflow(&mut self, of: (Side, Kind), begin: impl FnOnce(Place) -> S) -> usize {
        if let Some((_, index)) = self.overflow.iter().find(|(known, _)| *known == of) {
            return *index;
        }
        self.series.push(begin(Place::Overflow));
        self.overflow.push((of, self.series.len() - 1));
        self.series.len() - 1
    }
}

impl Shard {
    pub(super) fn new(telemetry: Arc<Telemetry>, worker: usize) -> Self {
        Self {
            gauges: telemetry.workers[worker].clone(),
            journal: telemetry.log.as_ref().map(|log| RefCell::new(log.journal(worker))),
            telemetry,
            http: RefCell::new(Table::new()),
            tcp: RefCell::new(Table::new()),
        }
    }

    /// Reads the finished record once: metrics, then the log.
    pub fn close(&self, record: &Record) {
        if record.request.kind != Kind::Tcp {
            let begin = |place| {
                let series = Arc::new(HttpSeries::new(labels_of(place, record)));
                self.telemetry.registered.push(Registered::Http(series.clone()));
                series
            };
            let mut table = self.http.borrow_mut();
            let (series, place) = table.find(SeriesKey::of(record), begin);
            series.add(record);
            self.note(place);
        }
        if let Some(journal) = &self.journal {
            journal.borrow_mut().write(record);
        }
    }

    /// For a TCP connection, once its target is known; its bytes are reported while it is open.
    pub fn tcp(&self, record: &Record) -> TcpSeries {
        let begin = |place| {
            let series = TcpSeries::new(labels_of(place, record));
            self.telemetry.registered.push(Registered::Tcp(series.0.clone()));
            series
        };
        let mut table = self.tcp.borrow_mut();
        let (series, place) = table.find(SeriesKey::of(record), begin);
        self.note(place);
        series.clone()
    }

    fn note(&self, place: Place) {
        if place == Place::Overflow {
            self.gauges.series_overflow.up();
        }
    }
}

fn labels_of(place: Place, record: &Record) -> String {
    match place {
        Place::OfItsOwn => labels(record),
        Place::Overflow => overflow(record.side, record.request.kind),
    }
}

impl SeriesKey {
    fn of(record: &Record) -> Self {
        let ends = Ends::of(record);
        Self {
            source: ends.source.number(),
            destination: ends.destination.number(),
            service: ends.service.number(),
            status: record.status.map_or(0, |status| status.as_u16()),
            grpc_status: record.grpc_status,
            flag: record.flag,
            side: record.side,
            kind: record.request.kind,
            security: record.peer.security,
            proven: record.upstream.as_ref().is_some_and(|upstream| upstream.party.principal().is_some()),
        }
    }
}
