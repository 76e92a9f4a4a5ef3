//! A way to a server that a test can break: bytes go through, until all connections end at once.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

pub struct Relay {
    /// Where it takes connections.
    pub address: String,
    open: Open,
}

type Open = Arc<Mutex<Vec<TcpStream>>>;

impl Relay {
    /// To `server`, an address and a port. It takes connections as long as the process lives.
    pub fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (open, server) = (Open::default(), server.to_owned());
        let kept = open.clone();
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if let Ok(far) = TcpStream::connect(&server) {
                    join(near, far, &kept).unwrap();
                }
            }
        });
        Self { address, open }
    }

    /// Ends every connection; new ones are taken.
    pub fn cut(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn join(near: TcpStream, far: TcpStream, open: &Open) -> io::Result<()> {
    open.lock().unwrap().extend([near.try_clone()?, far.try_clone()?]);
    for (mut from, mut to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}
