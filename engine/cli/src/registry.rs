//! The connectors this binary has.

use millstream_core::connector::Registry;

/// All of them.
pub(crate) fn registry() -> Registry {
    let mut kinds = millstream_local::kinds();
    kinds.extend(millstream_aws::kinds());
    Registry::new(kinds)
}
