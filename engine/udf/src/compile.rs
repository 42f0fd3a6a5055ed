//! Builds a UDF's crate with cargo, once per content.
//!
//! ```text
//! <cache>/target                 cargo's, shared by all UDFs: their dependencies are the same
//! <cache>/<name>-<hash>.so       one per content of a crate
//! <cache>/lock                   held while one is made
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use xxhash_rust::xxh3::Xxh3;

use crate::error::UdfError;

/// The variable that names another cache.
pub const CACHE: &str = "MILLSTREAM_UDF_CACHE";
/// The cache where nobody says otherwise: below the working directory, beside the state.
const DEFAULT_CACHE: &str = ".millstream/udfs";

static ANNOUNCE: OnceLock<fn(&str)> = OnceLock::new();

/// Has every build announced, because one takes its time; only the first call counts.
pub fn announce(how: fn(&str)) {
    let _ = ANNOUNCE.set(how);
}

static KEPT_IN: OnceLock<PathBuf> = OnceLock::new();

/// Keeps libraries in this folder from now on, whatever the environment says; only the first call counts.
pub fn keep_in(folder: &Path) {
    let _ = KEPT_IN.set(folder.to_path_buf());
}

/// Where libraries are kept.
pub fn cache() -> PathBuf {
    if let Some(folder) = KEPT_IN.get() {
        return folder.clone();
    }
    std::env::var_os(CACHE).filter(|v| !v.is_empty()).map_or_else(|| PathBuf::from(DEFAULT_CACHE), PathBuf::from)
}

/// The library of a crate, built where none of this content is kept.
///
/// # Errors
/// Where it is no crate, does not build, or gives no `cdylib`.
pub fn library(folder: &Path, cache: &Path) -> Result<PathBuf, UdfError> {
    let manifest = folder.join("Cargo.toml");
    if !manifest.is_file() {
        let help = "name the folder of its Cargo.toml; `millstream udf new NAME` makes one";
        return Err(UdfError::unusable(format!("there is no crate in `{}`", folder.display()), help));
    }
    let name = folder.canonicalize().ok().and_then(|f| Some(f.file_name()?.to_str()?.to_owned()));
    let name = name.unwrap_or_else(|| "udf".to_owned());
    let place = |content: u64| cache.join(format!("{name}-{content:016x}{}", std::env::consts::DLL_SUFFIX));
    let kept = place(content(folder, LOCKFILE)?);
    if kept.is_file() {
        return Ok(kept);
    }
    fs::create_dir_all(cache).map_err(|e| outside(cache, &e))?;
    let lock = File::create(cache.join("lock")).map_err(|e| outside(cache, &e))?;
    // Let go with the file, also where this process dies.
    lock.lock().map_err(|e| outside(cache, &e))?;
    if kept.is_file() {
        return Ok(kept);
    }
    if let Some(announce) = ANNOUNCE.get() {
        announce(&format!(
            "building the UDF crate `{}` with cargo (once; kept in {})",
            folder.display(),
            cache.display()
        ));
    }
    let sources = content(folder, SOURCES)?;
    let built = build(&manifest, &cache.join("target"), folder)?;
    // A first build writes the lockfile, which is no reason for a second one. What changed besides meanwhile is.
    let kept = if content(folder, SOURCES)? == sources { place(content(folder, LOCKFILE)?) } else { kept };
    // Seen whole or not at all.
    let partial = cache.join(format!("{name}.partial"));
    fs::copy(&built, &partial).and_then(|_| fs::rename(&partial, &kept)).map_err(|e| outside(&kept, &e))?;
    Ok(kept)
}

fn outside(path: &Path, e: &std::io::Error) -> UdfError {
    let help = format!("make the folder writable, or set {CACHE} to another one");
    UdfError::unusable(format!("`{}` cannot be written: {e}", path.display()), help)
}

/// Whether the lockfile counts, which a build may write.
const LOCKFILE: bool = true;
const SOURCES: bool = false;

/// A hash of everything in the crate's folder that is no output of a build.
fn content(folder: &Path, with_lockfile: bool) -> Result<u64, UdfError> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|e| unreadable(&folder, &e))? {
            let entry = entry.map_err(|e| unreadable(&folder, &e))?;
            let name = entry.file_name();
            let hidden = name.to_str().is_some_and(|n| n.starts_with('.') && n != ".cargo");
            match entry.path() {
                _ if hidden || name == "target" || (name == "Cargo.lock" && !with_lockfile) => {}
                path if path.is_dir() => folders.push(path),
                path => files.push(path),
            }
        }
    }
    files.sort();
    let mut hash = Xxh3::new();
    for path in files {
        let bytes = fs::read(&path).map_err(|e| unreadable(&path, &e))?;
        let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
        for part in [name.as_bytes(), &bytes] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    Ok(hash.digest())
}

fn unreadable(path: &Path, e: &std::io::Error) -> UdfError {
    UdfError::unusable(format!("`{}` cannot be read: {e}", path.display()), "look at its rights")
}

/// Runs cargo; gives the library it made.
fn build(manifest: &Path, target: &Path, folder: &Path) -> Result<PathBuf, UdfError> {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mut command = Command::new("cargo");
    command.args(["build", "--release", "--lib", "--message-format=json", "--quiet", "--manifest-path"]);
    command.arg(absolute(manifest));
    // A panic must come back as one, whatever the crate's profile says.
    command.args(["--config", "profile.release.panic=\"unwind\""]);
    command.arg("--target-dir").arg(absolute(target));
    // From the crate's folder, so that its own .cargo/config.toml and toolchain file count.
    command.current_dir(folder).stdin(Stdio::null());
    for name in ["CARGO_TARGET_DIR", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(name);
    }
    let output = command.output().map_err(|e| {
        let help = "install Rust (https://rustup.rs), or name a built library with `library:`";
        UdfError::unusable(format!("cargo cannot be started: {e}"), help)
    })?;
    let messages: Vec<serde_json::Value> =
        output.stdout.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    if !output.status.success() {
        return Err(failed(folder, &messages, &output.stderr));
    }
    let made = messages.iter().rev().filter(|m| m["reason"] == "compiler-artifact");
    let library = made.flat_map(|m| m["filenames"].as_array().into_iter().flatten()).filter_map(|f| f.as_str());
    let library =
        library.map(PathBuf::from).find(|f| f.extension().is_some_and(|e| e == std::env::consts::DLL_EXTENSION));
    library.ok_or_else(|| {
        let help = "write `[lib]` and `crate-type = [\"cdylib\"]` into its Cargo.toml";
        UdfError::unusable(format!("the crate `{}` gives no dynamic library", folder.display()), help)
    })
}

/// The first error of a build, at its place.
fn failed(folder: &Path, messages: &[serde_json::Value], stderr: &[u8]) -> UdfError {
    let errors = messages.iter().map(|m| &m["message"]).filter(|m| m["level"] == "error");
    let first = errors.filter_map(|m| {
        let span = m["spans"].as_array()?.iter().find(|s| s["is_primary"] == true)?;
        let place = format!("{}:{}:{}", span["file_name"].as_str()?, span["line_start"], span["column_start"]);
        Some(format!("{place}: {}", m["message"].as_str()?.lines().next()?))
    });
    let stderr = String::from_utf8_lossy(stderr);
    let said = stderr.lines().find_map(|l| l.strip_prefix("error: ")).map(str::to_owned);
    let why = first.into_iter().next().or(said).unwrap_or_else(|| "cargo failed".to_owned());
    UdfError::unusable(
        format!("the crate `{}` does not build: {why}", folder.display()),
        format!("`cargo build --manifest-path {}/Cargo.toml` shows everything", folder.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_of_a_crate_is_its_sources() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("src")).unwrap();
        fs::write(at("src/lib.rs"), "fn a() {}").unwrap();
        let first = content(folder.path(), LOCKFILE).unwrap();
        fs::create_dir(at("target")).unwrap();
        fs::write(at("target/out"), "x").unwrap();
        fs::write(at(".gitignore"), "x").unwrap();
        assert_eq!(content(folder.path(), LOCKFILE).unwrap(), first);
        fs::write(at("src/lib.rs"), "fn b() {}").unwrap();
        assert_ne!(content(folder.path(), LOCKFILE).unwrap(), first);
    }

    #[test]
    fn a_folder_without_a_crate_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let error = library(folder.path(), folder.path()).unwrap_err();
        assert!(error.to_string().starts_with("there is no crate in"), "{error}");
    }
}
