//! The kernel's side of netlink: sends messages and hears what became of them.
//!
//! It does not know what they are about, except to say what is missing where the kernel refuses one.

use crate::wire::{Message, Outcome, replies};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    #[error(
        "this kernel has no {subsystem} over netlink: {error}; load the modules nf_tables, nft_chain_nat and nft_redir \
         on the node (modprobe -a nf_tables nft_chain_nat nft_redir)"
    )]
    NoSubsystem { subsystem: &'static str, error: io::Error },
    #[error(
        "{what} is not permitted: the container needs the capability NET_ADMIN \
         (securityContext.capabilities.add: [NET_ADMIN]), which a namespace with Pod Security baseline or restricted \
         refuses"
    )]
    NotPermitted { what: String },
    #[error(
        "the kernel knows nothing of what {what} needs{words}; load the modules on the node \
         (modprobe -a nf_tables nft_chain_nat nft_redir nf_nat nf_conntrack)"
    )]
    ModuleMissing { what: String, words: String },
    #[error("{what} was refused: {error}{words}")]
    Refused { what: String, error: io::Error, words: String },
    #[error("the kernel did not answer: {0}")]
    Silent(io::Error),
}

/// One conversation with one subsystem.
pub struct Kernel {
    socket: Socket,
    sequence: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subsystem {
    Netfilter,
    Route,
}

impl Kernel {
    pub fn open(subsystem: Subsystem) -> Result<Self, KernelError> {
        let (protocol, name) = match subsystem {
            Subsystem::Netfilter => (libc::NETLINK_NETFILTER, "netfilter"),
            Subsystem::Route => (libc::NETLINK_ROUTE, "routing"),
        };
        let domain = Domain::from(libc::AF_NETLINK);
        let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(protocol)));
        let socket = socket.map_err(|error| KernelError::NoSubsystem { subsystem: name, error })?;
        for option in [NETLINK_CAP_ACK, NETLINK_EXT_ACK] {
            // Older kernels answer without words.
            let _ = set(&socket, libc::SOL_NETLINK, option, 1);
        }
        socket.set_read_timeout(Some(ANSWER_MAX)).map_err(KernelError::Silent)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Sends all of them in one piece, and waits for the answer to the last that wants one. The first refusal counts.
    pub fn ask(&mut self, messages: &[Message]) -> Result<(), KernelError> {
        let first = self.sequence + 1;
        let mut bytes = Vec::new();
        for message in messages {
            self.sequence += 1;
            bytes.extend(message.bytes(self.sequence));
        }
        let wants_answer = |message: &&Message| message.flags & crate::wire::ACKNOWLEDGE != 0;
        let asked = messages.iter().filter(wants_answer).count();
        self.make_room(bytes.len(), messages.len());
        self.socket.send(&bytes).map_err(KernelError::Silent)?;
        let mut answered = 0;
        let mut refused = None;
        let mut buffer = vec![0; BUFFER_BYTES];
        while answered < asked {
            let read = match (&self.socket).read(&mut buffer) {
                Ok(read) => read,
                // More answers than there was room for: the first one is here.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => break,
                Err(error) => return refused.map_or(Err(KernelError::Silent(error)), Err),
            };
            for reply in replies(&buffer[..read]).iter().filter(|reply| reply.sequence >= first) {
                let message = usize::try_from(reply.sequence - first).ok().and_then(|index| messages.get(index));
                let Some(message) = message else { continue };
                answered += usize::from(wants_answer(&message));
                if let Outcome::Refused(code, words) = &reply.outcome {
                    refused.get_or_insert_with(|| refusal(message, *code, words.as_deref()));
                    // A refused transaction as a whole is the only answer that comes.
                    if message.flags & crate::wire::ACKNOWLEDGE == 0 && reply.sequence == first {
                        answered = asked;
                    }
                }
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// A transaction is one datagram, and each refused message answers.
    fn make_room(&self, bytes: usize, messages: usize) {
        let wanted = [(libc::SO_SNDBUFFORCE, bytes * 2), (libc::SO_RCVBUFFORCE, messages * ANSWER_BYTES)];
        for (option, bytes) in wanted {
            let bytes = i32::try_from(bytes.max(BUFFER_BYTES)).unwrap_or(i32::MAX);
            // Without the right to, sending says what is wrong.
            let _ = set(&self.socket, libc::SOL_SOCKET, option, bytes);
        }
    }
}

fn refusal(message: &Message, code: i32, words: Option<&str>) -> KernelError {
    let what = message.what.clone();
    let words = words.map(|words| format!(" ({words})")).unwrap_or_default();
    match code {
        libc::EPERM | libc::EACCES => KernelError::NotPermitted { what },
        libc::ENOENT | libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT => {
            KernelError::ModuleMissing { what, words }
        }
        code => KernelError::Refused { what, error: io::Error::from_raw_os_error(code), words },
    }
}

#[allow(unsafe_code)]
fn set(socket: &Socket, level: i32, option: i32, value: i32) -> io::Result<()> {
    let pointer = (&raw const value).cast();
    // SAFETY: the value lives through the call, and its size is the one that is given.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, pointer, size_of::<i32>() as u32) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

const NETLINK_CAP_ACK: i32 = 10;
const NETLINK_EXT_ACK: i32 = 11;
const ANSWER_MAX: Duration = Duration::from_secs(10);
const BUFFER_BYTES: usize = 32 * 1024;
/// What the kernel charges for one answer in the receive buffer, generously.
const ANSWER_BYTES: usize = 1024;
