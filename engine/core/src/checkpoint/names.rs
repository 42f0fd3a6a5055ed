//! The names of objects: what keeps them inside their store, whatever that is.

use crate::error::{Error, Result};

/// The file that a held folder has at its top. No store has an object of this name, so that all behave alike.
pub const LOCK: &str = "LOCK";

/// Refuses a name that the trait does not allow.
///
/// # Errors
/// `Bug`.
pub fn check(name: &str) -> Result<()> {
    if is_name(name) {
        Ok(())
    } else {
        Err(Error::bug(format!("`{name}` cannot be the name of a checkpoint's object")))
    }
}

/// Refuses what cannot be one part of a name.
///
/// # Errors
/// `Bug`.
pub fn check_part(part: &str) -> Result<()> {
    if is_part(part) { Ok(()) } else { Err(Error::bug(format!("`{part}` cannot be part of the name of a checkpoint"))) }
}

/// Whether an object may be called `name`.
pub fn is_name(name: &str) -> bool {
    name.split('/').all(is_part) && name.split('/').next() != Some(LOCK)
}

/// Whether `part` may stand between the `/` of a name. As none begins with a dot, `..` is none.
pub fn is_part(part: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    !part.is_empty() && !part.starts_with('.') && part.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside_their_store() {
        for name in ["a", "0", "-", "_.", "a.b", "epochs/0001.claim", "A/b/C-d_e.f/g", "lock", "a/LOCK", "LOCK.json"] {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "", "/", "/a", "a/", "a//b", ".", "..", ".a", "a/..", "a/../b", "a/.b", "a b", "a\\b", "é", "LOCK",
            "LOCK/a",
        ] {
            assert!(!is_name(name), "{name}");
        }
    }
}
