//! The binary a user has, for tests that drive it as a process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// The root of the workspace.
pub fn root() -> &'static Path {
    let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    folders.find(|folder| folder.join("Cargo.lock").exists()).unwrap()
}

/// The binary beside this test's own, built where it is not there or older than its sources.
pub fn binary() -> &'static Path {
    static BINARY: LazyLock<PathBuf> = LazyLock::new(|| {
        // target/debug/deps/scenarios-.. or another test's
        let folder = std::env::current_exe().unwrap().parent().and_then(Path::parent).unwrap().to_path_buf();
        let binary = folder.join(format!("millstream{}", std::env::consts::EXE_SUFFIX));
        if !is_current(&binary) {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut build = Command::new(cargo);
            build.args(["build", "--quiet", "--package", "millstream"]).current_dir(root());
            build.env("CARGO_TARGET_DIR", folder.parent().unwrap());
            if folder.file_name().is_some_and(|profile| profile == "release") {
                build.arg("--release");
            }
            assert!(build.status().unwrap().success(), "the binary cannot be built");
        }
        binary
    });
    &BINARY
}

/// Where the tests of this build keep the libraries of UDFs: `target/udfs`.
pub fn udf_cache() -> &'static Path {
    static CACHE: LazyLock<PathBuf> = LazyLock::new(|| {
        // target/debug/deps/scenarios-.. or another test's
        let target = std::env::current_exe().unwrap().ancestors().nth(3).map(Path::to_path_buf);
        target.unwrap().join("udfs")
    });
    &CACHE
}

/// Whether a binary is there and none of the sources that cargo has noted beside it, if it has, is newer.
fn is_current(binary: &Path) -> bool {
    let changed = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).ok();
    let Some(built) = changed(binary) else { return false };
    // Tests of the whole workspace build it themselves, and cargo notes nothing then.
    let noted = fs::read_to_string(binary.with_extension("d")).unwrap_or_default();
    let sources = noted.split_once(": ").map(|(_, sources)| sources).unwrap_or_default();
    // A source that was removed says nothing: whoever named it has changed, too.
    sources.split_whitespace().filter_map(|source| changed(Path::new(source))).all(|changed| changed <= built)
}
