//! What a checkpoint has staged: one entry per file, which any later process can make visible.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use millstream_core::{Error, Result};
use millstream_files::store::Published;
use millstream_files::writer::shown;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::place::{Place, STAGING};
use crate::io_error::io_error;

/// A file of a checkpoint. Paths are below the sink's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// The hidden file; `None`: the target is to be removed.
    pub(crate) staged: Option<String>,
    pub(crate) target: String,
    pub(crate) bytes: u64,
    /// Hash of the contents: what is at the target already is this file or another one.
    pub(crate) xxh3: String,
}

impl Entry {
    /// The removal of a target.
    pub(crate) fn removal(target: String) -> Self {
        Self { staged: None, target, bytes: 0, xxh3: String::new() }
    }

    /// Whether it leads nowhere but to the sink's own files.
    pub(crate) fn is_own(&self) -> bool {
        let below = |path: &str| Path::new(path).components().all(|c| matches!(c, Component::Normal(_)));
        let hidden = self.staged.as_deref().is_none_or(|s| below(s) && Path::new(s).starts_with(STAGING));
        let mut target = Path::new(&self.target).components();
        hidden && target.all(|c| matches!(c, Component::Normal(_) | Component::CurDir))
    }

    /// Makes a new file visible. A file that is there already is never replaced.
    ///
    /// # Errors
    /// `Environment` where something else has taken its place, or it is gone.
    pub(crate) fn publish_new(&self, place: &Place) -> Result<Published> {
        let target = place.root.join(&self.target);
        if let Some(staged) = self.take_staged(place)? {
            if target.exists() {
                self.must_be_at(&target)?;
                // A link or copy of ours: the same file is staged and visible.
                fs::remove_file(&staged).map_err(|e| io_error("remove", &staged, e))?;
                return Ok(Published::Before);
            }
            if rename(&staged, &target)? {
                return Ok(Published::Now);
            }
            // Whoever did the same at the same time was faster.
        }
        self.must_be_at(&target)?;
        Ok(Published::Before)
    }

    /// Makes a file visible in the place of the one before it, or removes that.
    ///
    /// # Errors
    /// `Environment` where the file is gone and nothing is in its place.
    pub(crate) fn publish_over(&self, place: &Place) -> Result<Published> {
        let target = place.root.join(&self.target);
        if self.staged.is_none() {
            return match fs::remove_file(&target) {
                Ok(()) => Ok(Published::Now),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Published::Before),
                Err(e) => Err(io_error("remove", &target, e)),
            };
        }
        if let Some(staged) = self.take_staged(place)?
            && rename(&staged, &target)?
        {
            return Ok(Published::Now);
        }
        if target.exists() { Ok(Published::Before) } else { Err(lost(&target)) }
    }

    /// The staged file, if it is there still.
    fn take_staged(&self, place: &Place) -> Result<Option<PathBuf>> {
        let Some(staged) = self.staged.as_deref().map(|s| place.root.join(s)) else { return Ok(None) };
        match fs::metadata(&staged) {
            Ok(found) if found.len() == self.bytes => Ok(Some(staged)),
            Ok(found) => Err(Error::environment(format!(
                "`{}` has {} bytes where {} were written: the rows staged for `{}` are lost",
                staged.display(),
                found.len(),
                self.bytes,
                place.root.join(&self.target).display()
            ))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(io_error("read", &staged, e)),
        }
    }

    fn must_be_at(&self, target: &Path) -> Result<()> {
        let same = match fs::metadata(target) {
            Ok(found) => found.is_file() && found.len() == self.bytes && hash_of(target)? == self.xxh3,
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Err(lost(target));
            }
            Err(e) => return Err(io_error("read", target, e)),
        };
        if same {
            return Ok(());
        }
        Err(Error::environment(format!(
            "`{}` exists already with other contents: another run has written the same files, or somebody has changed \
             it; move it away to get the rows of the checkpoint",
            target.display()
        )))
    }
}

fn lost(target: &Path) -> Error {
    Error::environment(format!(
        "`{}` was staged for a checkpoint and is neither there nor in `{STAGING}`: its rows are lost",
        target.display()
    ))
}

/// Renames a staged file; false where it is not there any more.
fn rename(staged: &Path, target: &Path) -> Result<bool> {
    let folder = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|e| io_error("create", folder, e))?;
    match fs::rename(staged, target) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound && !staged.exists() => Ok(false),
        Err(e) => Err(io_error("write", target, e)),
    }
}

fn hash_of(path: &Path) -> Result<String> {
    let failed = |e| io_error("read", path, e);
    let (mut file, mut hash, mut buffer) = (File::open(path).map_err(failed)?, Xxh3::new(), vec![0; 64 << 10]);
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(shown(&hash)),
            n => hash.update(buffer.get(..n).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn entries_that_lead_elsewhere_are_refused() {
        let is_own = |staged: &str, target: &str| {
            let entry = json!({ "staged": staged, "target": target, "bytes": 1, "xxh3": "" });
            serde_json::from_value::<Entry>(entry).unwrap().is_own()
        };
        assert!(is_own(".staging/p/s/g-0", "a/b"));
        for (staged, target) in [(".staging/../x", "a"), ("/etc/passwd", "a"), ("x/a", "a"), (".staging/a", "../a")] {
            assert!(!is_own(staged, target), "{staged} {target}");
        }
    }
}
