//! `tcp`: lines over connections, in and out, as fast as the other side reads and writes.

mod config;
mod sink;
mod source;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use millstream_core::connector::{Connector, ConnectorKind, Role, SourceOptions};
use millstream_core::format::RecordFormat;
use millstream_core::sink::{Sink, SinkOptions};
use millstream_core::source::SplitSource;
use millstream_core::{Error, Result};
use millstream_formats::{EncodeOptions, encoder};
use tokio::net::TcpListener;
use tokio::sync::OnceCell;

pub use config::TcpConfig;

use crate::refused_options::{self, Problem};
use crate::{clock, live};
use sink::{Hub, Peers, TcpSink};
use source::{Side, TcpSource};

#[derive(Debug)]
struct Tcp {
    config: TcpConfig,
    /// The clients of a listening sink; all workers write to the same.
    hub: OnceCell<Arc<Hub>>,
    /// Rows written by each sink.
    written: Mutex<HashMap<String, Arc<AtomicU64>>>,
}

async fn bind(address: &str) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|e| Error::environment(format!("cannot listen at `{address}`")).caused_by(e))
}

impl Tcp {
    fn address(&self) -> &str {
        self.config.listen.as_deref().or(self.config.connect.as_deref()).unwrap_or_default()
    }
}

#[async_trait]
impl Connector for Tcp {
    fn kind(&self) -> &'static str {
        "tcp"
    }
    fn record_format(&self) -> RecordFormat {
        self.config.format
    }
    fn bounded(&self) -> bool {
        self.config.until_close
    }
    fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = live::line_format_problem("tcp", self.config.format).into_iter().collect();
        if self.config.listen.is_some() == self.config.connect.is_some() {
            problems.push("give either `listen: 127.0.0.1:7001` or `connect: 127.0.0.1:7001`".into());
        } else if self.address().rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
            problems.push(format!("`{}` is not an address: write host:port, such as 127.0.0.1:7001", self.address()));
        }
        problems
    }
    async fn source(&self, _options: &SourceOptions) -> Result<Box<dyn SplitSource>> {
        let address = self.address().to_owned();
        let (side, name) = match &self.config.listen {
            Some(_) => {
                let listener = Arc::new(bind(&address).await?);
                let bound = listener.local_addr().map_or(address, |a| a.to_string());
                (Side::Listen(listener), bound)
            }
            None => (Side::Connect(address.clone()), address),
        };
        Ok(Box::new(TcpSource { side, name, config: self.config.clone(), clock: clock::system() }))
    }
    fn sink_problem(&self, options: &SinkOptions) -> Option<Problem> {
        if options.format == RecordFormat::Csv {
            let message = "csv needs a header line at the beginning of each connection: write json to `tcp`";
            return Some(("format", message.into()));
        }
        refused_options::of_lines("tcp", options)
    }
    async fn sink(&self, options: &SinkOptions) -> Result<Box<dyn Sink>> {
        refused_options::refuse(options, self.sink_problem(options))?;
        let address = self.address().to_owned();
        let peers = match &self.config.listen {
            Some(_) => {
                let make = || async { Ok::<_, Error>(Arc::new(Hub::new(bind(&address).await?, address.clone()))) };
                Peers::Hub(self.hub.get_or_try_init(make).await?.clone())
            }
            None => Peers::One(address.clone(), None),
        };
        let encode = EncodeOptions { decimals_as_strings: options.decimals_as_strings };
        let rows = {
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            written.entry(options.id.clone()).or_default().clone()
        };
        let encoder = encoder(options.format, &options.schema, &encode)?;
        Ok(Box::new(TcpSink { peers, encoder, rows, first: options.instance == 0, address }))
    }
}

/// The kind `tcp`.
pub(crate) fn kind() -> ConnectorKind {
    ConnectorKind {
        name: "tcp",
        summary: "Lines over TCP, in and out, listening or connecting",
        roles: &[Role::Source, Role::Sink],
        built_in: true,
        options: || schemars::schema_for!(TcpConfig),
        parse: |options| {
            let config = serde_json::from_value(options).map_err(|e| e.to_string())?;
            Ok(Arc::new(Tcp { config, hub: OnceCell::new(), written: Mutex::default() }))
        },
    }
}

#[cfg(test)]
mod tests;
