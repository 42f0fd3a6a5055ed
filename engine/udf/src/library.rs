//! Loads the dynamic library of a UDF. A library stays loaded until the process ends: threads it has started, and
//! memory it has lent, know its code.

#![expect(unsafe_code, reason = "symbols of a library have the types we say; the interface's own")]

use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};

use libloading::Library;

use crate::abi::{Drain, Run, SendCall, Start, Stop};
use crate::error::UdfError;
use crate::types::Kind;

/// The functions of a loaded library.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Symbols {
    /// Of a scalar or an aggregate.
    Sync(Run),
    /// Of an async one.
    Async(AsyncSymbols),
}

/// The functions of an async UDF.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AsyncSymbols {
    pub(crate) start: Start,
    pub(crate) send: SendCall,
    pub(crate) drain: Drain,
    pub(crate) stop: Stop,
}

/// Names of an async library's functions.
const ASYNC: [&str; 4] = ["__start", "__send", "__drain_results", "__stop_runtime"];

/// Loads a library that must be of `kind`.
///
/// # Errors
/// Where it cannot be loaded, or has not the functions of its kind.
pub(crate) fn load(path: &Path, kind: Kind) -> Result<Symbols, UdfError> {
    let shown = path.display();
    // Without a `/`, the system's folders of libraries would be searched.
    let absolute = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
    if !absolute.exists() {
        let help = "build it, or let `crate: path/to/its/crate` build it on demand";
        return Err(UdfError::unusable(format!("there is no library `{shown}`"), help));
    }
    // SAFETY: its initialisers run: whoever names a library in a pipeline file has it run code in this process. That is
    // what a UDF is.
    let library = unsafe { Library::new(&absolute) }.map_err(|e| {
        let help = "it must be a `cdylib` built for this machine: crate-type = [\"cdylib\"] in its Cargo.toml";
        UdfError::unusable(format!("`{shown}` cannot be loaded: {}", root(&e)), help)
    })?;
    // Never unloaded.
    let library = &*ManuallyDrop::new(library);
    let has = |name: &str| {
        // SAFETY: the symbol is only looked for.
        unsafe { library.get::<*const ()>(name) }.is_ok()
    };
    match (kind, has("__run"), ASYNC.iter().all(|n| has(n))) {
        (Kind::Async, _, true) => Ok(Symbols::Async(AsyncSymbols {
            start: symbol(library, "__start", path)?,
            send: symbol(library, "__send", path)?,
            drain: symbol(library, "__drain_results", path)?,
            stop: symbol(library, "__stop_runtime", path)?,
        })),
        (Kind::Scalar | Kind::Aggregate, true, _) => Ok(Symbols::Sync(symbol(library, "__run", path)?)),
        (Kind::Async, true, _) => Err(UdfError::unusable(
            format!("`{shown}` is not async: it has `__run`"),
            "write `kind: scalar` (or aggregate), or make its function an `async fn`",
        )),
        (_, _, true) => Err(UdfError::unusable(format!("`{shown}` is async: it has `__start`"), "write `kind: async`")),
        _ => Err(UdfError::unusable(
            format!("`{shown}` is not a UDF: it has neither `__run` nor `__start`"),
            "mark its function with #[udf] of arroyo-udf-plugin 0.2; `millstream udf new NAME` writes such a crate",
        )),
    }
}

/// A function of a library.
fn symbol<T: Copy>(library: &Library, name: &str, path: &Path) -> Result<T, UdfError> {
    // SAFETY: by its name it is a function of the plugin interface, whose type `T` is.
    let found = unsafe { library.get::<T>(name) };
    found.map(|s| *s).map_err(|_| UdfError::Broken(format!("`{}` has no `{name}`", path.display())))
}

fn root(e: &libloading::Error) -> String {
    use std::error::Error as _;
    e.source().map_or_else(|| e.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_library_is_said_with_what_to_do() {
        let missing = load(Path::new("/nowhere/lib.so"), Kind::Scalar).unwrap_err();
        assert_eq!(missing.to_string(), "there is no library `/nowhere/lib.so`");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "text").unwrap();
        let text = load(file.path(), Kind::Scalar).unwrap_err();
        assert!(text.to_string().contains("cannot be loaded"), "{text}");
        assert!(text.help().unwrap().contains("cdylib"));
    }
}
