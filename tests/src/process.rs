//! A child process whose output is kept for the failure message, and which never outlives its test.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

pub struct Process {
    name: String,
    child: Child,
    output: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    pub fn spawn(name: &str, command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("starting {name} ({command:?}): {error}"));
        let output = Arc::new(Mutex::new(String::new()));
        let readers =
            vec![gather(child.stdout.take().unwrap(), &output), gather(child.stderr.take().unwrap(), &output)];
        Self { name: name.to_owned(), child, output, readers }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far, both streams together.
    pub fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// Once it has, `output` is all that it has said.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().unwrap()?;
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        Some(status)
    }

    /// Fails early, with the output, where the process has died.
    pub fn must_run(&mut self) {
        if let Some(status) = self.exited() {
            panic!("{} ended with {status}:\n{}", self.name, self.output());
        }
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: kill has no memory effects; the pid is of a child that has not been waited for.
        #[allow(unsafe_code)]
        let result = unsafe { libc::kill(self.child.id() as i32, signal) };
        assert_eq!(result, 0, "signal {signal} to {}", self.name);
    }

    /// SIGTERM, and the status with which it ended.
    pub fn terminate(mut self) -> ExitStatus {
        self.signal(libc::SIGTERM);
        self.child.wait().unwrap()
    }

    /// SIGKILL: what a crash looks like to others.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Reads a ports file of Weft's when it has been written: name → address.
    pub fn ports(&mut self, file: &Path) -> serde_json::Value {
        let what = format!("{} writes {}", self.name, file.display());
        crate::eventually(&what, || {
            self.must_run();
            let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
            serde_json::from_str(&text).map_err(|error| error.to_string())
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("---- {} ----\n{}", self.name, tail(&self.output()));
        }
    }
}

fn gather(stream: impl Read + Send + 'static, output: &Arc<Mutex<String>>) -> JoinHandle<()> {
    let output = Arc::clone(output);
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut output = output.lock().unwrap();
            output.push_str(&line);
            output.push('\n');
        }
    })
}

fn tail(text: &str) -> &str {
    let start = text.len().saturating_sub(8000);
    let start = (start..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    &text[start..]
}
