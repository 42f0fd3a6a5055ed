//! Where the files of a sink are: visible ones below a root, hidden ones in a folder of the same file system.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use millstream_core::Result;
use millstream_core::sink::SinkOptions;
use millstream_core::stager::Stager;
use millstream_files::naming::fixed_part;
use millstream_files::store::{NewFile, Published, Store, Visible};

use super::config::DirectoryConfig;
use super::entry::Entry;
use super::fence::Fence;
use super::staged::{self, StagedFile};
use crate::io_error::io_error;

/// The folder of hidden files below a root.
pub(crate) const STAGING: &str = ".staging";
/// Stands between a hidden file's owner and its name.
const SEPARATOR: &str = "~~";

/// Where and how a sink writes its files.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) root: PathBuf,
    /// The part of the path template before its first name, for people.
    fixed: String,
    /// The folder of the sink's hidden files, below the root.
    staging: String,
    /// Begins the names of hidden files: whose they are.
    stager: Stager,
    fsync: bool,
    fence: Fence,
    /// Files made visible by all instances of the sink.
    files: Arc<Visible>,
}

impl Place {
    pub(crate) fn new(config: &DirectoryConfig, options: &SinkOptions, template: &str, files: Arc<Visible>) -> Self {
        let root = PathBuf::from(&config.path);
        Self {
            fixed: fixed_part(template),
            staging: format!("{STAGING}/{}/{}", options.pipeline, options.id),
            stager: Stager::of(options),
            fsync: config.fsync,
            fence: Fence::new(&root, options, config.fsync),
            root,
            files,
        }
    }

    /// The folder of the sink's hidden files.
    pub(crate) fn staging(&self) -> PathBuf {
        self.root.join(&self.staging)
    }

    /// Makes the names of files in `folder` durable, as far as this sink promises that: also the folders that were
    /// made for it.
    ///
    /// # Errors
    /// `Unavailable`.
    fn sync(&self, folder: &Path) -> Result<()> {
        if !self.fsync || !folder.exists() {
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

    /// Makes the names of visible files durable, and removes the folders of hidden files that are empty.
    fn settle(&self, folders: &BTreeSet<PathBuf>) -> Result<()> {
        for folder in folders {
            self.sync(folder)?;
        }
        self.tidy();
        Ok(())
    }

    /// Removes the folders of hidden files that are empty.
    fn tidy(&self) {
        let staging = self.staging();
        for folder in staging.ancestors().take(3) {
            if fs::remove_dir(folder).is_err() {
                return;
            }
        }
    }

    /// The folder that a target is in.
    fn folder(&self, target: &str) -> Option<PathBuf> {
        self.root.join(target).parent().map(Path::to_owned)
    }
}

#[async_trait]
impl Store for Place {
    type Entry = Entry;
    type File = StagedFile;

    fn begin(&self, file: NewFile) -> Result<StagedFile> {
        let staged = format!("{}/{}{SEPARATOR}{}", self.staging, self.stager, file.hidden);
        StagedFile::create(&self.root, staged, file.target, self.fsync)
    }

    fn removal(&self, target: &str) -> Option<Entry> {
        Some(Entry::removal(target.to_owned()))
    }

    fn is_own(&self, entry: &Entry) -> bool {
        entry.is_own()
    }

    async fn staged(&self, _checkpoint: u64, _entries: &[Entry]) -> Result<()> {
        self.sync(&self.staging())
    }

    async fn publish(&self, entries: Vec<Entry>) -> Result<()> {
        let mut folders = BTreeSet::new();
        for entry in entries {
            if entry.publish_new(self)? == Published::Now {
                self.files.new_file();
            }
            folders.extend(self.folder(&entry.target));
        }
        self.settle(&folders)
    }

    async fn replace(&self, checkpoint: u64, entries: Vec<Entry>) -> Result<()> {
        let mut folders = BTreeSet::new();
        if let Some(_turn) = self.fence.turn(checkpoint).await? {
            for entry in entries {
                let now = entry.publish_over(self)? == Published::Now;
                folders.extend(self.folder(&entry.target));
                if now && entry.staged.is_some() {
                    self.files.replaced(&entry.target);
                }
            }
        }
        self.settle(&folders)
    }

    async fn clean(&self) -> Result<()> {
        staged::remove(&self.staging(), |name| {
            let stager = name.split_once(SEPARATOR).and_then(|(stager, _)| stager.parse().ok());
            stager.is_some_and(|stager| self.stager.supersedes(&stager))
        })?;
        self.tidy();
        Ok(())
    }

    fn summary(&self) -> String {
        let folder = if self.fixed.is_empty() { self.root.clone() } else { self.root.join(&self.fixed) };
        self.files.below(folder.display())
    }
}
