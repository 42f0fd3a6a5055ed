//! Whether a server answers, and can do its work.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// Whether the server of this name is ready at `url`.
pub(crate) fn is_ready(name: &str, url: &str) -> bool {
    match name {
        // It answers long before it has a volume for an object.
        "s3" => {
            ask(url, "PUT", "/ready", "").is_some_and(|status| status == 200 || status == 409)
                && ask(url, "PUT", "/ready/object", "x") == Some(200)
        }
        "ministack" => ask(url, "GET", "/_ministack/health", "") == Some(200),
        _ => ask(url, "GET", "/", "").is_some(),
    }
}

/// The status of an answer; nothing where there is none.
fn ask(url: &str, method: &str, path: &str, body: &str) -> Option<u16> {
    let host = url.strip_prefix("http://")?;
    let mut stream = TcpStream::connect_timeout(&host.parse().ok()?, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .ok()?;
    let mut answer = Vec::new();
    // Some servers leave the connection open: the first bytes are enough.
    let mut chunk = [0; 512];
    while !answer.contains(&b'\n') {
        let read = stream.read(&mut chunk).ok().filter(|n| *n > 0)?;
        answer.extend_from_slice(&chunk[..read]);
    }
    let line = String::from_utf8_lossy(&answer).into_owned();
    line.split(' ').nth(1)?.parse().ok()
}
