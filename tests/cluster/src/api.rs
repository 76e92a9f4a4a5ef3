//! The API server without a kubectl for each request, for tests that make many: through one `kubectl proxy`.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

/// Ended when dropped.
pub struct Api {
    proxy: Child,
    address: String,
}

impl Api {
    pub fn open() -> Self {
        let mut command = Command::new("kubectl");
        let mut proxy = command.args(["proxy", "--port=0"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(proxy.stdout.take().expect("it is piped")).read_line(&mut line).unwrap();
        let address = line.trim().rsplit(' ').next().unwrap_or_default().to_owned();
        assert!(address.contains(':'), "kubectl proxy says {line:?}");
        Self { proxy, address }
    }

    /// A merge patch; the status of the answer.
    pub fn patch(&self, path: &str, patch: &Value) -> Result<(), String> {
        let body = patch.to_string();
        let request = format!(
            "PATCH {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/merge-patch+json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let mut stream = TcpStream::connect(&self.address).map_err(|error| error.to_string())?;
        stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(|error| error.to_string())?;
        if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(answer) }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        let _ = self.proxy.kill();
        let _ = self.proxy.wait();
    }
}
