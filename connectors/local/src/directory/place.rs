//! Where the files of a sink are: visible ones below a root, hidden ones in a folder of the same file system.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millstream_core::Result;
use millstream_core::sink::SinkOptions;
use millstream_core::stager::Stager;

use super::config::DirectoryConfig;
use super::{fixed_part, staged};
use crate::clock::Clock;
use crate::io_error::io_error;

/// The folder of hidden files below a root.
pub(crate) const STAGING: &str = ".staging";
/// Stands between a hidden file's owner and its name.
const SEPARATOR: &str = "~~";

/// Where and how a sink writes its files.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) root: PathBuf,
    /// The part of the path template before its first name, for people.
    fixed: String,
    /// The folder of the sink's hidden files, below the root.
    staging: String,
    /// Begins the names of hidden files: whose they are.
    stager: Stager,
    pub(crate) fsync: bool,
    pub(crate) max_open_files: usize,
    pub(crate) clock: Arc<dyn Clock>,
    /// Files made visible by all instances of the sink.
    pub(crate) files: Arc<AtomicU64>,
}

impl Place {
    pub(crate) fn new(
        config: &DirectoryConfig,
        options: &SinkOptions,
        template: &str,
        clock: Arc<dyn Clock>,
        files: Arc<AtomicU64>,
    ) -> Self {
        Self {
            root: PathBuf::from(&config.path),
            fixed: fixed_part(template),
            staging: format!("{STAGING}/{}/{}", options.pipeline, options.id),
            stager: Stager::of(options),
            fsync: config.fsync,
            max_open_files: config.max_open_files,
            clock,
            files,
        }
    }

    /// The folder of the sink's hidden files.
    pub(crate) fn staging(&self) -> PathBuf {
        self.root.join(&self.staging)
    }

    /// The hidden file `name` of this process, below the root.
    pub(crate) fn staged(&self, name: &str) -> String {
        format!("{}/{}{SEPARATOR}{name}", self.staging, self.stager)
    }

    /// Makes the names of files in `folder` durable, as far as this sink promises that: also the folders that were
    /// made for it.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(crate) fn sync(&self, folder: &Path) -> Result<()> {
        if !self.fsync {
            return Ok(());
        }
        let above =
            self.root.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
        let below = folder.ancestors().take_while(|f| f.starts_with(&self.root));
        for folder in below.chain(above) {
            File::open(folder).and_then(|f| f.sync_all()).map_err(|e| io_error("write", folder, e))?;
        }
        Ok(())
    }

    /// Removes what earlier processes have staged.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(crate) fn clean(&self) -> Result<()> {
        staged::remove(&self.staging(), |name| {
            let stager = name.split_once(SEPARATOR).and_then(|(stager, _)| stager.parse().ok());
            stager.is_some_and(|stager| self.stager.supersedes(&stager))
        })?;
        self.tidy();
        Ok(())
    }

    /// Removes the folders of hidden files that are empty.
    pub(crate) fn tidy(&self) {
        let staging = self.staging();
        for folder in staging.ancestors().take(3) {
            if fs::remove_dir(folder).is_err() {
                return;
            }
        }
    }

    /// What people read at the end of a run.
    pub(crate) fn summary(&self) -> String {
        let files = self.files.load(Ordering::Relaxed);
        let folder = if self.fixed.is_empty() { self.root.clone() } else { self.root.join(&self.fixed) };
        format!("{files} file{} under {}", if files == 1 { "" } else { "s" }, folder.display())
    }
}
