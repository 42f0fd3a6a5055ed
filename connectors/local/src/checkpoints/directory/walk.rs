//! The files of a store, by their names.

use std::fs::{self, DirEntry};
use std::io::{self, ErrorKind as Io};
use std::path::Path;

use millstream_core::Result;
use millstream_core::checkpoint::{Object, names};

use super::create::{HIDDEN, force_folder};
use crate::io_error::io_error;

/// The objects whose names begin with `prefix`, by name.
pub(super) fn objects(root: &Path, prefix: &str) -> Result<Vec<Object>> {
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for entry in entries(&root.join(&folder)).map_err(|e| io_error("list", &root.join(&folder), e))? {
            let Some(name) = entry.file_name().to_str().map(|part| format!("{folder}{part}")) else { continue };
            // Whatever else is here was not created by a store.
            if !names::is_name(&name) {
                continue;
            }
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => {
                    let inside = format!("{name}/");
                    if inside.starts_with(prefix) || prefix.starts_with(&inside) {
                        folders.push(inside);
                    }
                }
                Ok(meta) if meta.is_file() && name.starts_with(prefix) => {
                    found.push(Object { name, bytes: meta.len() })
                }
                Ok(_) => {}
                // Deleted since the folder was read.
                Err(e) if e.kind() == Io::NotFound => {}
                Err(e) => return Err(io_error("list", &entry.path(), e)),
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Forces all folders to the disk: an object that a process has made visible just before it was killed can be read,
/// and so believed, before it is durable.
pub(super) fn force_all(root: &Path) -> io::Result<()> {
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in entries(&folder)? {
            if entry.file_type().is_ok_and(|kind| kind.is_dir())
                && entry.file_name().to_str().is_some_and(names::is_part)
            {
                folders.push(entry.path());
            }
        }
        force_folder(&folder)?;
    }
    Ok(())
}

/// Removes what dead processes were writing. Where one is alive without a hold, it notices and writes it again.
pub(super) fn sweep(root: &Path) -> io::Result<()> {
    for entry in entries(root)? {
        let leftover = entry.file_name().to_str().is_some_and(|name| name.starts_with(HIDDEN));
        if leftover && let Err(error) = fs::remove_file(entry.path()) {
            tracing::warn!(path = %entry.path().display(), %error, "a leftover file could not be removed");
        }
    }
    Ok(())
}

/// What is in a folder: nothing in one that is not there.
fn entries(folder: &Path) -> io::Result<Vec<DirEntry>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(e) if e.kind() == Io::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}
