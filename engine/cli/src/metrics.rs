//! `metrics:` of a pipeline file: its figures, kept by a service while it runs.

use std::sync::Arc;
use std::time::Duration;

use millstream_core::connector::Registry;
use millstream_core::metrics::MetricStore;
use millstream_plan::{Bind as _, Profile};
use millstream_runtime::clock::SystemClock;
use millstream_runtime::figures;
use millstream_runtime::run::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::exit::Failure;
use crate::load::Loaded;

/// Where figures go, and how often.
pub(crate) struct Reports {
    store: Box<dyn MetricStore>,
    every: Duration,
}

/// Figures that are being kept.
pub(crate) struct Reporting {
    end: oneshot::Sender<()>,
    task: JoinHandle<u64>,
}

/// What the file says about metrics.
pub(crate) async fn open(loaded: &Loaded, registry: &Registry) -> Result<Option<Reports>, Failure> {
    let pipeline = loaded.pipeline()?;
    let Some(metrics) = &pipeline.metrics else { return Ok(None) };
    let profile = Profile::new(pipeline, loaded.parsed.profile.as_deref(), registry);
    let connector = profile.bind(&metrics.write.value).and_then(|bound| bound.connector).ok_or_else(|| {
        let name = &metrics.write.value;
        Failure::new(Failure::FILE, format!("`{name}`, which keeps the metrics, is not part of this binary"))
    })?;
    Ok(Some(Reports { store: connector.metrics(&pipeline.name.value).await?, every: metrics.every }))
}

impl Reports {
    /// Keeps the figures of a run from now on.
    pub(crate) fn begin(self, handle: &Handle) -> Reporting {
        let (end, ended) = oneshot::channel();
        let ended = async {
            // Whoever began it is gone: the end, too.
            let _ = ended.await;
        };
        let keeping = figures::keep(handle.clone(), self.store, self.every, Arc::new(SystemClock), ended);
        Reporting { end, task: tokio::spawn(keeping) }
    }
}

impl Reporting {
    /// Has the last figures kept; gives how often they could not be.
    pub(crate) async fn end(self) -> u64 {
        let _ = self.end.send(());
        self.task.await.unwrap_or(1)
    }
}
