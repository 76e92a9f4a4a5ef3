//! A request's body on its way up: streamed, counted, and kept as long as it is small while a retry might need it again.
//!
//! It never reads ahead: a frame is taken from the client only when the upstream wants one.

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

pub use crate::grpc::Messages;

/// One try's view of the request's body.
pub struct RequestBody(Option<Reader>);

struct Reader {
    source: Rc<Source>,
    /// A later try makes this reader's bytes nobody's.
    turn: u32,
    at: At,
    trailers_given: bool,
}

enum At {
    /// Next frame of those kept.
    Kept(usize),
    Live,
}

/// The request's body, shared by its tries.
pub struct Source {
    incoming: RefCell<Incoming>,
    length: Option<u64>,
    turn: Cell<u32>,
    ended: Cell<bool>,
    kept: RefCell<Kept>,
    bytes: Cell<u64>,
    messages: Option<RefCell<Messages>>,
}

#[derive(Default)]
struct Kept {
    /// `None`: nothing is kept, because nothing had to be or because it became too much.
    frames: Option<Vec<Bytes>>,
    bytes: usize,
    trailers: Option<HeaderMap>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    ForRetries,
    Nothing,
}

#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the client's request broke off: {0}")]
    Client(#[source] hyper::Error),
    #[error("another try has taken over")]
    Superseded,
}

impl Source {
    /// `None` for a request without a body, which is then as cheap as can be.
    pub fn of(incoming: Incoming, keep: Keep, messages: Option<Messages>) -> Option<Rc<Self>> {
        if incoming.is_end_stream() {
            return None;
        }
        let frames = (keep == Keep::ForRetries).then(Vec::new);
        Some(Rc::new(Self {
            length: incoming.size_hint().exact(),
            incoming: RefCell::new(incoming),
            turn: Cell::new(0),
            ended: Cell::new(false),
            kept: RefCell::new(Kept { frames, ..Kept::default() }),
            bytes: Cell::new(0),
            messages: messages.map(RefCell::new),
        }))
    }

    /// All of it has been read, so that nothing is left to come on an upstream connection.
    pub fn ended(&self) -> bool {
        self.ended.get()
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    pub fn messages(&self) -> u64 {
        self.messages.as_ref().map_or(0, |messages| messages.borrow().count())
    }

    /// Whether another try could send all of it.
    pub fn replayable(&self) -> bool {
        self.kept.borrow().frames.is_some() || (self.bytes.get() == 0 && !self.ended.get())
    }

    fn poll_live(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut incoming = self.incoming.borrow_mut();
        let frame = match std::task::ready!(Pin::new(&mut *incoming).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(BodyError::Client(error)))),
            None => {
                self.ended.set(true);
                return Poll::Ready(None);
            }
        };
        if incoming.is_end_stream() {
            self.ended.set(true);
        }
        if let Some(data) = frame.data_ref() {
            self.bytes.set(self.bytes.get() + data.len() as u64);
            if let Some(messages) = &self.messages {
                messages.borrow_mut().count_in(data);
            }
            self.kept.borrow_mut().keep(data);
        } else if let Some(trailers) = frame.trailers_ref() {
            self.ended.set(true);
            let mut kept = self.kept.borrow_mut();
            if kept.frames.is_some() {
                kept.trailers = Some(trailers.clone());
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

impl Kept {
    fn keep(&mut self, data: &Bytes) {
        let Some(frames) = &mut self.frames else { return };
        self.bytes += data.len();
        if self.bytes > KEPT_BYTES_MAX {
            self.frames = None;
        } else {
            frames.push(data.clone());
        }
    }
}

impl RequestBody {
    pub fn empty() -> Self {
        Self(None)
    }

    /// From the first byte on; an earlier body of the same source gives nothing more.
    pub fn new(source: Option<&Rc<Source>>) -> Self {
        Self(source.map(|source| {
            source.turn.set(source.turn.get() + 1);
            Reader { source: Rc::clone(source), turn: source.turn.get(), at: At::Kept(0), trailers_given: false }
        }))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(reader) = &mut self.get_mut().0 else { return Poll::Ready(None) };
        if reader.source.turn.get() != reader.turn {
            return Poll::Ready(Some(Err(BodyError::Superseded)));
        }
        if let At::Kept(next) = reader.at {
            let kept = reader.source.kept.borrow();
            if let Some(data) = kept.frames.as_ref().and_then(|frames| frames.get(next)) {
                reader.at = At::Kept(next + 1);
                return Poll::Ready(Some(Ok(Frame::data(data.clone()))));
            }
            reader.at = At::Live;
        }
        if reader.source.ended.get() {
            if std::mem::replace(&mut reader.trailers_given, true) {
                return Poll::Ready(None);
            }
            let trailers = reader.source.kept.borrow().trailers.clone();
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let frame = std::task::ready!(reader.source.poll_live(cx));
        reader.trailers_given = matches!(&frame, Some(Ok(frame)) if frame.is_trailers());
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let Some(reader) = &self.0 else { return true };
        let all_kept_given = match reader.at {
            At::Live => true,
            At::Kept(next) => reader.source.kept.borrow().frames.as_ref().is_none_or(|frames| next >= frames.len()),
        };
        let trailers_given = reader.trailers_given || reader.source.kept.borrow().trailers.is_none();
        reader.source.ended.get() && all_kept_given && trailers_given
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            None => SizeHint::with_exact(0),
            // Asked before the first frame is taken, when all of it is still to come.
            Some(reader) => reader.source.length.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

/// Of a request's body, for retries. Beyond it the body streams on, and a try that has begun is the last.
pub const KEPT_BYTES_MAX: usize = 64 * 1024;
