//! A TCP socket that knows by itself when nothing has arrived since somebody looked.
//!
//! hyper looks half a dozen times per request for bytes that are not there, and each time the runtime counts, locks and
//! registers the same task anew: a fiftieth of a request. It does not know what the bytes are.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

pub(super) struct Tcp {
    socket: TcpStream,
    ear: Option<Ear>,
}

/// By what the runtime wakes the task that reads.
struct Ear {
    bell: Arc<Bell>,
    waker: Waker,
}

struct Bell {
    /// The runtime was asked, had nothing, and has not rung since.
    quiet: AtomicBool,
    task: Waker,
}

impl From<TcpStream> for Tcp {
    fn from(socket: TcpStream) -> Self {
        Self { socket, ear: None }
    }
}

impl Tcp {
    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// For what is not reading.
    pub(super) fn pin(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(&mut self.socket)
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let ear = match &mut self.ear {
            Some(ear) if ear.bell.task.will_wake(cx.waker()) => ear,
            // The first look, or another task's: the runtime forgets the one before when it is asked.
            ear => ear.insert(Ear::of(cx.waker())),
        };
        if ear.bell.quiet.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        // Before the runtime is asked, so that it cannot ring in between and be missed.
        ear.bell.quiet.store(true, Ordering::Release);
        let poll = Pin::new(&mut self.socket).poll_read(&mut Context::from_waker(&ear.waker), buffer);
        if poll.is_ready() {
            ear.bell.quiet.store(false, Ordering::Release);
        }
        poll
    }
}

impl Ear {
    fn of(task: &Waker) -> Self {
        let bell = Arc::new(Bell { quiet: AtomicBool::new(false), task: task.clone() });
        Self { waker: Waker::from(Arc::clone(&bell)), bell }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.quiet.store(false, Ordering::Release);
        self.task.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    async fn pair() -> (Tcp, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (dialled, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (Tcp::from(dialled.unwrap()), accepted.unwrap().0)
    }

    async fn read(tcp: &mut Tcp) -> usize {
        let mut bytes = [0; 8];
        let mut buffer = ReadBuf::new(&mut bytes);
        std::future::poll_fn(|cx| tcp.poll_read(cx, &mut buffer)).await.unwrap();
        buffer.filled().len()
    }

    /// What never wakes; its looks must not cost the others theirs.
    fn look_of_another_task(tcp: &mut Tcp) -> bool {
        let mut bytes = [0; 8];
        tcp.poll_read(&mut Context::from_waker(Waker::noop()), &mut ReadBuf::new(&mut bytes)).is_ready()
    }

    #[tokio::test]
    async fn bytes_that_come_are_seen_whoever_looked_before() {
        let (mut near, mut far) = pair().await;
        for round in 0..100 {
            for _ in 0..round % 4 {
                assert!(!look_of_another_task(&mut near), "round {round}: nothing was sent");
            }
            let (read, written) = tokio::join!(read(&mut near), async {
                // Now it has been looked, and nothing was there.
                tokio::task::yield_now().await;
                far.write_all(&[7; 5]).await
            });
            written.unwrap();
            assert_eq!(read, 5, "round {round}");
        }
        drop(far);
        assert_eq!(read(&mut near).await, 0, "the end is seen too");
    }

    #[tokio::test]
    async fn a_task_that_takes_over_is_woken() {
        let (mut near, mut far) = pair().await;
        for round in 0..20 {
            let reader = tokio::spawn(async move { (read(&mut near).await, near) });
            tokio::task::yield_now().await;
            far.write_all(&[7; 3]).await.unwrap();
            let (length, back) = reader.await.unwrap();
            assert_eq!(length, 3, "round {round}");
            near = back;
        }
    }
}
