//! Writing lines to connections.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use millstream_core::format::Encoder;
use millstream_core::sink::{Outcome, Sink};
use millstream_core::{Batch, Error, ErrorKind, Result};
use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::live::EndsWithReader;

/// How long a write waits for a first client or a connection before it counts as an outage.
const PATIENCE: Duration = Duration::from_secs(2);

type Client = Arc<tokio::sync::Mutex<OwnedWriteHalf>>;

/// The clients of a listening address, shared by all workers.
#[derive(Debug)]
pub(crate) struct Hub {
    clients: Arc<Mutex<Vec<Client>>>,
    joined: Arc<Notify>,
    address: String,
    _accepting: EndsWithReader,
}

fn writer(stream: TcpStream) -> Client {
    // Rows are written in whole batches: waiting for more would only add latency.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection stays without TCP_NODELAY");
    }
    let (_, writer) = stream.into_split();
    Arc::new(tokio::sync::Mutex::new(writer))
}

impl Hub {
    /// Accepts clients of `listener` from now on.
    pub(crate) fn new(listener: TcpListener, address: String) -> Self {
        let clients: Arc<Mutex<Vec<Client>>> = Arc::default();
        let joined = Arc::new(Notify::new());
        let (list, notify) = (clients.clone(), joined.clone());
        let task = tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        list.lock().unwrap_or_else(PoisonError::into_inner).push(writer(stream));
                        notify.notify_waiters();
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            }
        });
        Self { clients, joined, address, _accepting: EndsWithReader(task.abort_handle()) }
    }

    fn snapshot(&self) -> Vec<Client> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn some_clients(&self) -> Vec<Client> {
        loop {
            let joined = self.joined.notified();
            let clients = self.snapshot();
            if !clients.is_empty() {
                return clients;
            }
            joined.await;
        }
    }

    /// Gives the bytes to every client; those that are gone are forgotten.
    async fn send(&self, bytes: &[u8]) -> Result<()> {
        let nobody = || Error::unavailable(format!("no client is connected to `{}`", self.address));
        loop {
            let clients = timeout(PATIENCE, self.some_clients()).await.map_err(|_| nobody())?;
            let mut reached = 0;
            for client in clients {
                let sent = client.lock().await.write_all(bytes).await;
                match sent {
                    Ok(()) => reached += 1,
                    Err(error) => {
                        tracing::info!(address = %self.address, %error, "a client has gone");
                        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
                        clients.retain(|c| !Arc::ptr_eq(c, &client));
                    }
                }
            }
            // If all of them were gone, the next client gets these rows.
            if reached > 0 {
                return Ok(());
            }
        }
    }
}

/// Where a sink's lines go.
pub(crate) enum Peers {
    Hub(Arc<Hub>),
    /// The address, and the connection while there is one.
    One(String, Option<Client>),
}

impl Peers {
    async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Hub(hub) => hub.send(bytes).await,
            Self::One(address, connection) => {
                let unavailable =
                    |e: std::io::Error| Error::unavailable(format!("cannot write to `{address}`")).caused_by(e);
                let client = match connection.clone() {
                    Some(client) => client,
                    None => {
                        let slow = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
                        let stream = timeout(PATIENCE, TcpStream::connect(address.as_str())).await.map_err(slow);
                        writer(stream.and_then(|s| s).map_err(unavailable)?)
                    }
                };
                // Taken for broken until the write is done, also where this is cancelled in the middle of a line.
                *connection = None;
                client.lock().await.write_all(bytes).await.map_err(unavailable)?;
                *connection = Some(client);
                Ok(())
            }
        }
    }
}

/// Writes rows as lines.
pub(crate) struct TcpSink {
    pub(crate) peers: Peers,
    pub(crate) encoder: Box<dyn Encoder>,
    pub(crate) rows: Arc<AtomicU64>,
    pub(crate) first: bool,
    pub(crate) address: String,
}

#[async_trait]
impl Sink for TcpSink {
    async fn write(&mut self, batch: &Batch) -> Result<Vec<Outcome>> {
        let mut bytes = Vec::with_capacity(batch.num_rows() * 128);
        let mut outcomes = vec![Outcome::Done; batch.num_rows()];
        if let Err(e) = self.encoder.encode(&batch.rows, &mut bytes) {
            if e.kind() != ErrorKind::BadRow {
                return Err(e);
            }
            bytes.clear();
            for (row, outcome) in outcomes.iter_mut().enumerate() {
                let before = bytes.len();
                if let Err(e) = self.encoder.encode(&batch.rows.slice(row, 1), &mut bytes) {
                    bytes.truncate(before);
                    *outcome = Outcome::Refused(e.to_string());
                }
            }
        }
        if !bytes.is_empty() {
            self.peers.send(&bytes).await?;
        }
        let done = outcomes.iter().filter(|o| **o == Outcome::Done).count();
        self.rows.fetch_add(done as u64, Ordering::Relaxed);
        Ok(outcomes)
    }

    fn summary(&self) -> Option<String> {
        self.first.then(|| format!("{} rows to tcp {}", self.rows.load(Ordering::Relaxed), self.address))
    }
}
