//! One byte stream, whatever carries it, with the bytes that were looked at to find out what it speaks.
//!
//! Reading ahead into `prefix` instead of peeking costs no system call of its own. It does not know protocols.

mod tcp;

use bytes::{Buf, BytesMut};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{client, server};

use self::tcp::Tcp;
use crate::connections::Activity;

/// A connection as HTTP and TCP proxying see it.
pub struct Stream {
    /// Read already, given out again before anything else.
    prefix: BytesMut,
    carrier: Carrier,
    /// Of a downstream HTTP connection: when bytes came last.
    activity: Option<Arc<Activity>>,
}

enum Carrier {
    Tcp(Tcp),
    /// TLS that a peer opened, over what was a plain stream until then.
    Accepted(Box<server::TlsStream<Stream>>),
    /// TLS that this proxy opened.
    Dialled(Box<client::TlsStream<TcpStream>>),
    /// An HTTP stream that became a tunnel.
    Upgraded(Box<TokioIo<Upgraded>>),
}

impl From<TcpStream> for Stream {
    fn from(tcp: TcpStream) -> Self {
        Self::new(Carrier::Tcp(tcp.into()))
    }
}

impl From<server::TlsStream<Stream>> for Stream {
    fn from(tls: server::TlsStream<Stream>) -> Self {
        Self::new(Carrier::Accepted(Box::new(tls)))
    }
}

impl From<client::TlsStream<TcpStream>> for Stream {
    fn from(tls: client::TlsStream<TcpStream>) -> Self {
        Self::new(Carrier::Dialled(Box::new(tls)))
    }
}

impl From<Upgraded> for Stream {
    /// Unwraps an HTTP/1 connection, so that a tunnel costs nothing more than its bytes.
    fn from(upgraded: Upgraded) -> Self {
        match upgraded.downcast::<TokioIo<Self>>() {
            Ok(parts) => {
                let mut stream = parts.io.into_inner();
                stream.activity = None;
                if !parts.read_buf.is_empty() {
                    let mut prefix = BytesMut::from(parts.read_buf);
                    prefix.extend_from_slice(&stream.prefix);
                    stream.prefix = prefix;
                }
                stream
            }
            Err(upgraded) => Self::new(Carrier::Upgraded(Box::new(TokioIo::new(upgraded)))),
        }
    }
}

impl Stream {
    fn new(carrier: Carrier) -> Self {
        Self { prefix: BytesMut::new(), carrier, activity: None }
    }

    /// Bytes read ahead so far.
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Reads some more bytes ahead, to `max` in all; 0 means that the other side has ended its direction.
    /// Whoever stops waiting loses nothing.
    pub async fn read_ahead(&mut self, max: usize) -> io::Result<usize> {
        std::future::poll_fn(|cx| {
            let mut bytes = [MaybeUninit::uninit(); READ_AHEAD_BYTES];
            let room = max.saturating_sub(self.prefix.len()).min(READ_AHEAD_BYTES);
            let mut buffer = ReadBuf::uninit(&mut bytes[..room]);
            std::task::ready!(self.carrier.poll_read(cx, &mut buffer))?;
            self.prefix.extend_from_slice(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
        .await
    }

    /// From now on, bytes that arrive are noted there.
    pub fn watch(&mut self, activity: Arc<Activity>) {
        self.activity = Some(activity);
    }

    pub fn local_address(&self) -> Option<std::net::SocketAddr> {
        match &self.carrier {
            Carrier::Tcp(tcp) => tcp.socket().local_addr().ok(),
            Carrier::Dialled(tls) => tls.get_ref().0.local_addr().ok(),
            Carrier::Accepted(_) | Carrier::Upgraded(_) => None,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.prefix.is_empty() {
            let length = self.prefix.len().min(buffer.remaining());
            buffer.put_slice(&self.prefix[..length]);
            self.prefix.advance(length);
            if self.prefix.is_empty() {
                self.prefix = BytesMut::new();
            }
            self.note_read();
            return Poll::Ready(Ok(()));
        }
        let poll = self.carrier.poll_read(cx, buffer);
        if poll.is_ready() {
            self.note_read();
        }
        poll
    }
}

impl Carrier {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(tcp) => tcp.poll_read(cx, buffer),
            Self::Accepted(tls) => Pin::new(tls.as_mut()).poll_read(cx, buffer),
            Self::Dialled(tls) => Pin::new(tls.as_mut()).poll_read(cx, buffer),
            Self::Upgraded(io) => Pin::new(io.as_mut()).poll_read(cx, buffer),
        }
    }
}

impl Stream {
    fn note_read(&self) {
        if let Some(activity) = &self.activity {
            activity.bytes_arrived();
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.carrier {
            Carrier::Tcp(tcp) => tcp.pin().poll_write(cx, bytes),
            Carrier::Accepted(tls) => Pin::new(tls.as_mut()).poll_write(cx, bytes),
            Carrier::Dialled(tls) => Pin::new(tls.as_mut()).poll_write(cx, bytes),
            Carrier::Upgraded(io) => Pin::new(io.as_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.carrier {
            Carrier::Tcp(tcp) => tcp.pin().poll_write_vectored(cx, slices),
            Carrier::Accepted(tls) => Pin::new(tls.as_mut()).poll_write_vectored(cx, slices),
            Carrier::Dialled(tls) => Pin::new(tls.as_mut()).poll_write_vectored(cx, slices),
            Carrier::Upgraded(io) => Pin::new(io.as_mut()).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.carrier {
            Carrier::Tcp(tcp) => tcp.socket().is_write_vectored(),
            Carrier::Accepted(tls) => tls.is_write_vectored(),
            Carrier::Dialled(tls) => tls.is_write_vectored(),
            Carrier::Upgraded(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.carrier {
            Carrier::Tcp(tcp) => tcp.pin().poll_flush(cx),
            Carrier::Accepted(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
            Carrier::Dialled(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
            Carrier::Upgraded(io) => Pin::new(io.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.carrier {
            Carrier::Tcp(tcp) => tcp.pin().poll_shutdown(cx),
            Carrier::Accepted(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
            Carrier::Dialled(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
            Carrier::Upgraded(io) => Pin::new(io.as_mut()).poll_shutdown(cx),
        }
    }
}

const READ_AHEAD_BYTES: usize = 1024;
