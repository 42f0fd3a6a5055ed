//! `explain`.

use crate::args::ExplainArgs;
use crate::exit::Failure;

pub(crate) fn execute(_: &ExplainArgs) -> Result<(), Failure> {
    Err(Failure::new(Failure::FILE, "being written"))
}
