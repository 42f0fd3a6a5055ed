//! Options of sinks that a connector does not know or cannot fulfil: said by `check`, and again when it is opened.

use millstream_core::format::{Compression, RecordFormat};
use millstream_core::sink::{SinkOptions, WriteMode, unsupported};
use millstream_core::{Error, Result};
use millstream_formats::{EncodeOptions, encoder};

/// The option and a message for the user.
pub type Problem = (&'static str, String);

/// An option that a file of lines has and a connector may not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// `path`.
    Path,
    /// `compression`.
    Compression,
    /// `mode: overwrite`.
    Overwrite,
    /// `subject`.
    Subject,
    /// `message`.
    Message,
}

/// The first option that `options` gives and `known` does not name.
pub fn unknown(kind: &str, options: &SinkOptions, known: &[Known]) -> Option<Problem> {
    let given = [
        (Known::Path, "path", "path", options.path.is_some()),
        (Known::Compression, "compression", "compression", options.compression != Compression::None),
        (Known::Overwrite, "mode", "mode: overwrite", options.mode == WriteMode::Overwrite),
        (Known::Subject, "subject", "subject", options.subject.is_some()),
        (Known::Message, "message", "message", options.message.is_some()),
    ];
    let (_, option, shown, _) = given.into_iter().find(|(name, _, _, given)| *given && !known.contains(name))?;
    Some((option, unsupported(kind, shown).message().to_owned()))
}

/// What a stream of lines does not know.
pub fn of_lines(kind: &str, options: &SinkOptions) -> Option<Problem> {
    let parquet = || {
        let message = format!("parquet is a format of files: `{kind}` writes lines of json or csv");
        (options.format == RecordFormat::Parquet).then_some(("format", message))
    };
    unknown(kind, options, &[]).or_else(parquet).or_else(|| of_format(options))
}

/// Whether the rows can be written in the sink's format.
pub fn of_format(options: &SinkOptions) -> Option<Problem> {
    let encode = EncodeOptions { decimals_as_strings: options.decimals_as_strings };
    let error = encoder(options.format, &options.schema, &encode).err()?;
    Some(("format", error.to_string()))
}

/// A problem as an error.
///
/// # Errors
/// `Config`, where there is one.
pub fn refuse(options: &SinkOptions, problem: Option<Problem>) -> Result<()> {
    match problem {
        Some((_, message)) => Err(Error::config(format!("`{}`: {message}", options.id))),
        None => Ok(()),
    }
}
