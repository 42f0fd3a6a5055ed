//! A proxy before a service that fails as AWS does: by rules that name operations.
//!
//! ```text
//! client -> listen -> which operation? which rule befalls it? -> forward (less what fails) -> spoil the answer -> client
//! ```
//! Local servers do not look at signatures, so requests and answers may be changed.

mod forward;
mod operation;
mod partial;
mod refusal;
mod rule;
mod spoiled;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use fastrand::Rng;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use forward::Upstream;
pub use rule::{Fault, Kind, Rule};

/// A request that came by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The operation's name.
    pub operation: String,
    /// What befell it.
    pub fault: Option<Kind>,
}

/// What the proxy is to do, and what it did.
#[derive(Debug)]
struct Script {
    rules: Vec<Rule>,
    random: Rng,
    seen: Vec<Seen>,
}

/// A running proxy; it stops when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    script: Arc<Mutex<Script>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts one before the service at `upstream` (`http://HOST:PORT`), on threads of its own: for tests of any kind.
    /// The seed decides which of the requests fail that may.
    pub fn start(upstream: &str, seed: u64) -> Self {
        let script = Script { rules: Vec::new(), random: Rng::with_seed(seed), seen: Vec::new() };
        let script = Arc::new(Mutex::new(script));
        let (stop, stopped) = oneshot::channel();
        let (listening, listens) = std::sync::mpsc::channel();
        let (upstream, shared) = (upstream.to_owned(), script.clone());
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                listening.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    () = listen(listener, Upstream::new(&upstream), shared) => {}
                    _ = stopped => {}
                }
            });
        });
        let url = format!("http://{}", listens.recv().unwrap());
        Self { url, script, stop: Some(stop), thread: Some(thread) }
    }
    /// Where it listens: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }
    /// Adds a rule behind those there are.
    pub fn rule(&self, rule: Rule) -> &Self {
        self.script.lock().unwrap().rules.push(rule);
        self
    }
    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        self.script.lock().unwrap().rules.clear();
    }
    /// Every request so far, in the order in which they came.
    pub fn seen(&self) -> Vec<Seen> {
        self.script.lock().unwrap().seen.clone()
    }
    /// How many requests for an operation came.
    pub fn requests(&self, operation: &str) -> usize {
        self.script.lock().unwrap().seen.iter().filter(|seen| seen.operation == operation).count()
    }
    /// How many requests met this fault.
    pub fn faults(&self, kind: Kind) -> usize {
        self.script.lock().unwrap().seen.iter().filter(|seen| seen.fault == Some(kind)).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Script {
    /// What befalls the next request for an operation.
    fn next(&mut self, operation: &str) -> Option<Fault> {
        let random = &mut self.random;
        self.rules.iter_mut().find_map(|rule| rule.befalls(operation, random))
    }
}

async fn listen(listener: TcpListener, upstream: Upstream, script: Arc<Mutex<Script>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let (upstream, script) = (upstream.clone(), script.clone());
        let service = service_fn(move |request| spoiled::serve(request, upstream.clone(), script.clone()));
        tokio::spawn(async move {
            // A connection that is to break ends with an error.
            let _ =
                http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
