//! `test`.

use crate::args::TestArgs;
use crate::exit::Failure;

pub(crate) fn execute(_: &TestArgs) -> Result<(), Failure> {
    Err(Failure::new(Failure::FILE, "being written"))
}
