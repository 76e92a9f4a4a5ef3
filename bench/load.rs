//! An open loop: requests leave at their appointed times, whether or not earlier ones have been answered.
//!
//! Usage: `load PORT TARGET HOST RATE SECONDS CONNECTIONS`. Each connection has a thread and every n-th of the appointed
//! times; a request whose connection is still busy counts its wait. Every answer is judged: 200, and 100 times `x`.
//! Prints one line of JSON. Standard library only: `bench/run` builds it with rustc.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, target, host, rate, seconds, connections] = &arguments[..] else {
        return Err("usage: load PORT TARGET HOST RATE SECONDS CONNECTIONS".into());
    };
    let (port, rate, seconds): (u16, f64, f64) = (port.parse()?, rate.parse()?, seconds.parse()?);
    let connections: u32 = connections.parse()?;
    let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let interval = Duration::from_secs_f64(f64::from(connections) / rate);
    let count = (rate * seconds / f64::from(connections)) as u32;
    let begin = Instant::now() + Duration::from_millis(50);
    let threads: Vec<_> = (0..connections)
        .map(|n| {
            let (request, first) = (request.clone(), begin + interval * n / connections);
            std::thread::spawn(move || drive(port, &request, first, interval, count).map_err(|error| error.to_string()))
        })
        .collect();
    let mut latencies = Vec::new();
    for thread in threads {
        latencies.extend(thread.join().map_err(|_| "a connection's thread panicked")??);
    }
    latencies.sort_unstable();
    let percentile = |p: usize| latencies[(latencies.len() - 1) * p / 100].as_nanos() as f64 / 1e3;
    println!(
        r#"{{"requests": {}, "p50_us": {:.1}, "p90_us": {:.1}, "p99_us": {:.1}}}"#,
        latencies.len(),
        percentile(50),
        percentile(90),
        percentile(99)
    );
    Ok(())
}

fn drive(
    port: u16,
    request: &str,
    first: Instant,
    interval: Duration,
    count: u32,
) -> Result<Vec<Duration>, Box<dyn Error>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut latencies = Vec::with_capacity(count as usize);
    let mut buffer = vec![0; 16 << 10];
    for n in 0..count {
        let appointed = first + interval * n;
        let early = appointed.saturating_duration_since(Instant::now());
        std::thread::sleep(early);
        // Where it slept, the thread's own lateness is not the proxy's.
        let sent = if early.is_zero() { appointed } else { Instant::now() };
        stream.write_all(request.as_bytes())?;
        answer(&mut stream, &mut buffer)?;
        latencies.push(sent.elapsed());
    }
    Ok(latencies)
}

/// Reads one answer to its end and judges it.
fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<(), Box<dyn Error>> {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..])?;
        if read == 0 {
            return Err("the connection was closed".into());
        }
        filled += read;
        let Some(head) = buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
        let length: usize = match text.split("content-length:").nth(1).and_then(|rest| rest.lines().next()) {
            Some(value) => value.trim().parse()?,
            None => return Err(format!("an answer without content-length: {text}").into()),
        };
        if filled < head + 4 + length {
            continue;
        }
        let body = &buffer[head + 4..filled];
        if !text.starts_with("http/1.1 200") || body.len() != 100 || body.iter().any(|byte| *byte != b'x') {
            return Err(format!("a wrong answer: {}", String::from_utf8_lossy(&buffer[..filled])).into());
        }
        return Ok(());
    }
}
