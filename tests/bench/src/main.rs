//! Measures the latency from an event sent over TCP to its result received over TCP, through a running `millstream`.
//!
//! ```text
//! cargo run --release -p latency -- target/release/millstream [--rate 10000] [--seconds 10]
//! ```
//!
//! Each event carries the time at which it was *due*, not the time at which the sender got round to it: a stall of the
//! pipeline counts for every event that waits behind it.

use std::env;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What is measured.
struct Options {
    binary: String,
    /// Events a second.
    rate: u64,
    seconds: u64,
    /// Not counted: the first second, in which connections and caches warm up.
    warm_up: u64,
    workers: String,
}

fn options() -> Result<Options> {
    let mut args = env::args().skip(1);
    let binary = args.next().ok_or("usage: latency MILLSTREAM [--rate N] [--seconds N] [--workers N]")?;
    let mut options = Options { binary, rate: 10_000, seconds: 10, warm_up: 1, workers: "1".into() };
    while let (Some(name), Some(value)) = (args.next(), args.next()) {
        match name.as_str() {
            "--rate" => options.rate = value.parse()?,
            "--seconds" => options.seconds = value.parse()?,
            "--workers" => options.workers = value,
            other => return Err(format!("unknown option {other}").into()),
        }
    }
    Ok(options)
}

#[expect(clippy::print_stdout, reason = "the driver's result")]
fn main() -> Result<()> {
    let options = options()?;
    let [input, output] = free_ports()?;
    let mut pipeline = start(&options, input, output)?;
    let measured = measure(&options, input, output);
    pipeline.kill()?;
    pipeline.wait()?;
    let histogram = measured?;
    let millis = |q: f64| histogram.value_at_quantile(q) as f64 / 1000.0;
    println!(
        "{} events at {}/s: p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
        histogram.len(),
        options.rate,
        millis(0.5),
        millis(0.9),
        millis(0.99),
        histogram.max() as f64 / 1000.0
    );
    Ok(())
}

/// Two ports nobody listens on, outside the range from which the kernel takes those of outgoing connections: else who
/// connects before the server listens may be connected to itself.
fn free_ports() -> Result<[u16; 2]> {
    let from = 10_000 + (std::process::id() % 10_000) as u16;
    let mut free = (from..from + 10_000).filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().zip(free.next()).map(|(a, b)| [a, b]).ok_or_else(|| "no port is free".into())
}

fn start(options: &Options, input: u16, output: u16) -> Result<Child> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/latency.yaml");
    Ok(Command::new(&options.binary)
        .args(["run", file, "--workers", &options.workers])
        .env("IN_PORT", input.to_string())
        .env("OUT_PORT", output.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?)
}

/// Connects as soon as the pipeline listens.
#[expect(clippy::disallowed_methods, reason = "a measurement reads the real clock and waits for another process")]
fn connect(port: u16) -> Result<TcpStream> {
    let began = Instant::now();
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(e) if began.elapsed() > Duration::from_secs(20) => return Err(e.into()),
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Sends at the rate, and records how long after its due time each result came.
#[expect(clippy::disallowed_methods, reason = "a measurement reads the real clock")]
fn measure(options: &Options, input: u16, output: u16) -> Result<Histogram<u64>> {
    let results = connect(output)?;
    let mut events = connect(input)?;
    let began = Instant::now();
    let total = options.rate * (options.seconds + options.warm_up);
    let warm_up = options.warm_up * 1_000_000;
    let receiver = thread::spawn(move || receive(&results, began, total, warm_up));
    let gap = Duration::from_nanos(1_000_000_000 / options.rate);
    let mut line = String::with_capacity(128);
    for n in 0..total {
        let due = gap * n as u32;
        while let Some(early) = due.checked_sub(began.elapsed()) {
            // Short sleeps and no spinning: the pipeline needs the core.
            thread::sleep(early.max(Duration::from_micros(50)));
        }
        line.clear();
        line.push_str(&format!("{{\"order_id\":\"o{n}\",\"sent_at\":{},\"amount\":\"12.34\"}}\n", due.as_micros()));
        events.write_all(line.as_bytes())?;
    }
    receiver.join().map_err(|_| "the receiver panicked")?
}

fn receive(results: &TcpStream, began: Instant, total: u64, warm_up: u64) -> Result<Histogram<u64>> {
    let mut histogram = Histogram::new(3)?;
    results.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut lines = BufReader::with_capacity(1 << 16, results);
    let mut line = String::new();
    for _ in 0..total {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            return Err("the pipeline closed its results".into());
        }
        let now = began.elapsed().as_micros() as u64;
        let result: serde_json::Value = serde_json::from_str(&line)?;
        let due = result.get("sent_at").and_then(serde_json::Value::as_u64).ok_or("a result without sent_at")?;
        if due >= warm_up {
            histogram.saturating_record(now.saturating_sub(due));
        }
    }
    Ok(histogram)
}
