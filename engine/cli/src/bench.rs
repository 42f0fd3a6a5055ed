//! `bench`.

use crate::args::BenchArgs;
use crate::exit::Failure;

pub(crate) fn execute(_: &BenchArgs) -> Result<(), Failure> {
    Err(Failure::new(Failure::FILE, "being written"))
}
