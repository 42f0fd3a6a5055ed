//! `new`: a commented pipeline that runs, to start from.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::args::NewArgs;
use crate::exit::Failure;
use crate::terminal;

/// Runs the command.
pub(crate) fn execute(args: &NewArgs) -> Result<(), Failure> {
    let path = file(&args.name);
    let name = path.file_stem().and_then(|s| s.to_str()).unwrap_or("pipeline").to_owned();
    write(&path, &millstream_spec::starter(&name))?;
    let shown = path.display();
    terminal::line(&format!("wrote {shown}: a pipeline with comments, tests and generated data\n"));
    let next = [
        ("check", "finds mistakes before anything runs"),
        ("test", "runs the tests at the end of the file"),
        ("run", "runs it; results under out/"),
    ];
    for (command, what) in next {
        terminal::line(&format!("  millstream {command:<5} {shown}   {}", terminal::dim(what)));
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let schema = folder.join("pipeline.schema.json");
    if !schema.exists() {
        let what = "completion and hover help in your editor";
        terminal::line(&format!("  millstream schema > {}   {}", schema.display(), terminal::dim(what)));
    }
    Ok(())
}

/// `orders` and `orders.yaml` are the same file.
fn file(name: &str) -> PathBuf {
    let path = PathBuf::from(name);
    match path.extension().and_then(|e| e.to_str()) {
        Some("yaml" | "yml") => path,
        _ => PathBuf::from(format!("{name}.yaml")),
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let shown = path.display();
    let cannot = |e: std::io::Error| Failure::new(Failure::ENVIRONMENT, format!("`{shown}` cannot be written: {e}"));
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(cannot)?;
    }
    let mut file = std::fs::File::create_new(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::new(Failure::ENVIRONMENT, format!("`{shown}` is there already, and nothing is overwritten"))
                .help("choose another name, or remove the file")
        }
        _ => cannot(e),
    })?;
    file.write_all(text.as_bytes()).map_err(cannot)
}
