//! What an error of the file system means for the pipeline.

use std::io::{self, ErrorKind as Io};
use std::path::Path;

use millstream_core::{Error, ErrorKind};

/// An I/O error at `path` while doing `action` (`read`, `write`, ..): what time may heal is `Unavailable`, what
/// a person must mend is `Environment`.
pub(crate) fn io_error(action: &str, path: &Path, error: io::Error) -> Error {
    let shown = path.display();
    let (kind, message) = match error.kind() {
        Io::NotFound => (ErrorKind::Environment, format!("cannot {action} `{shown}`: it does not exist")),
        Io::PermissionDenied => {
            (ErrorKind::Environment, format!("cannot {action} `{shown}`: permission denied for this user"))
        }
        Io::NotADirectory | Io::IsADirectory | Io::AlreadyExists | Io::InvalidFilename => {
            (ErrorKind::Environment, format!("cannot {action} `{shown}`: something else is in its place"))
        }
        Io::ReadOnlyFilesystem | Io::CrossesDevices | Io::Unsupported => {
            (ErrorKind::Environment, format!("cannot {action} `{shown}`: the file system does not allow it"))
        }
        Io::InvalidData | Io::UnexpectedEof | Io::InvalidInput => {
            (ErrorKind::Environment, format!("cannot {action} `{shown}`: it is damaged or not what its name says"))
        }
        Io::StorageFull | Io::QuotaExceeded => {
            (ErrorKind::Unavailable, format!("cannot {action} `{shown}`: the disk is full"))
        }
        _ => (ErrorKind::Unavailable, format!("cannot {action} `{shown}`")),
    };
    Error::new(kind, message).caused_by(error)
}
