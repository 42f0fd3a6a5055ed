//! The path templates of sinks of files, and what is wrong with one.

use millstream_core::format::{Compression, RecordFormat};
use millstream_core::sink::{SinkOptions, WriteMode};

use crate::paths::Paths;
use crate::refused_options::{self, Known, Problem};

/// What a sink of files cannot be, for a connector of the kind `kind`.
pub fn problem(kind: &str, options: &SinkOptions) -> Option<Problem> {
    if options.format == RecordFormat::Parquet && options.compression != Compression::None {
        return Some(("compression", "parquet files are compressed inside: leave `compression` out".into()));
    }
    refused_options::unknown(kind, options, &[Known::Path, Known::Compression, Known::Overwrite])
        .or_else(|| refused_options::of_format(options))
        .or_else(|| path_problem(options, &template(options)))
}

fn path_problem(options: &SinkOptions, template: &str) -> Option<Problem> {
    let numbered = template.contains("{batch_id}");
    match options.mode {
        WriteMode::Append if !numbered => {
            let (folder, name) = template.rsplit_once('/').map_or(("", template), |(f, n)| (f, n));
            let slash = if folder.is_empty() { "" } else { "/" };
            let message = format!(
                "the path `{template}` names one file, but appended rows need a new file each time: write \
                 `{folder}{slash}{{batch_id}}-{name}`, or say `mode: overwrite`"
            );
            return Some(("path", message));
        }
        WriteMode::Overwrite if numbered => {
            let message = format!(
                "the path `{template}` has a {{batch_id}}, which names a new file each time: leave it out with \
                 `mode: overwrite`"
            );
            return Some(("path", message));
        }
        WriteMode::Overwrite if options.key.is_empty() => {
            let message = "it says `mode: overwrite`, but its rows have no key by which a later row replaces an earlier \
                           one: read from an aggregate with GROUP BY or from an upsert, or say `mode: append`";
            return Some(("mode", message.into()));
        }
        _ => {}
    }
    let error = Paths::new(template, &options.schema, &options.pipeline, &options.id).err()?;
    Some(("path", error.to_string()))
}

/// The sink's path template, or the one it has by default.
pub fn template(options: &SinkOptions) -> String {
    options.path.clone().unwrap_or_else(|| {
        let suffix = match options.format {
            RecordFormat::Json => "jsonl",
            RecordFormat::Csv => "csv",
            RecordFormat::Parquet => "parquet",
            RecordFormat::Raw => "raw",
        };
        let compressed = match options.compression {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Zstd => ".zst",
        };
        match options.mode {
            WriteMode::Append => format!("{}/{{batch_id}}.{suffix}{compressed}", options.id),
            WriteMode::Overwrite => format!("{}.{suffix}{compressed}", options.id),
        }
    })
}

/// The folders of a template before its first name.
pub fn fixed_part(template: &str) -> String {
    let literal = template.split('{').next().unwrap_or_default();
    literal.rsplit_once('/').map_or("", |(folders, _)| folders).to_owned()
}

/// The format a path's name tells, behind the suffix of a compression.
pub fn format_of_name(path: &str) -> RecordFormat {
    let name = path.to_ascii_lowercase();
    let name = [".gz", ".gzip", ".zst", ".zstd"].iter().find_map(|s| name.strip_suffix(s)).unwrap_or(&name);
    match name.rsplit_once('.') {
        Some((_, "csv")) => RecordFormat::Csv,
        Some((_, "parquet")) => RecordFormat::Parquet,
        _ => RecordFormat::Json,
    }
}
