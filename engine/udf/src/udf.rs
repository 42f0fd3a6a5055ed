//! A loaded UDF, and its calls.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, new_empty_array, new_null_array};

use crate::abi;
use crate::error::UdfError;
use crate::library::{self, AsyncSymbols, Symbols};
use crate::types::{Calling, Kind, Signature};

/// A UDF, ready to be called from any thread. Clones are the same one.
#[derive(Clone)]
pub struct Udf(Arc<Inner>);

struct Inner {
    name: String,
    signature: Signature,
    calling: Calling,
    symbols: Symbols,
}

impl fmt::Debug for Udf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0.name, self.0.signature)
    }
}

impl PartialEq for Udf {
    fn eq(&self, other: &Self) -> bool {
        let symbols = |s: &Symbols| match *s {
            Symbols::Sync(run) => run as usize,
            Symbols::Async(s) => s.start as usize,
        };
        let of = |u: &Self| (u.0.name.clone(), u.0.signature.clone(), u.0.calling, symbols(&u.0.symbols));
        of(self) == of(other)
    }
}

impl Eq for Udf {}

impl std::hash::Hash for Udf {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.name.hash(state);
        self.0.signature.hash(state);
    }
}

impl Udf {
    /// Loads the library of a UDF called `name`, for good.
    ///
    /// # Errors
    /// Where the library cannot be used, or is not what `signature` says, as far as that shows without calling the
    /// user's function.
    pub fn load(name: &str, signature: Signature, calling: Calling, library: &Path) -> Result<Self, UdfError> {
        let symbols = library::load(library, signature.kind)?;
        let udf = Self(Arc::new(Inner { name: name.to_owned(), signature, calling, symbols }));
        udf.probe(library)?;
        Ok(udf)
    }

    /// Calls a scalar with a row of nulls, for which its function is not called where an argument must not be null:
    /// tells whether arguments and result are of the declared types.
    fn probe(&self, library: &Path) -> Result<(), UdfError> {
        let signature = &self.0.signature;
        if signature.kind != Kind::Scalar || signature.args.iter().all(|a| a.optional) {
            return Ok(());
        }
        let nulls: Vec<ArrayRef> = signature.args.iter().map(|a| new_null_array(&a.data_type.arrow(), 1)).collect();
        let unusable = |why: String| {
            let help = format!("look at `args` and `returns` of `{}`: they must be those of its function", self.0.name);
            UdfError::unusable(format!("`{}` is not a function {signature}: {why}", library.display()), help)
        };
        match self.call(&nulls) {
            Ok(_) => Ok(()),
            Err(UdfError::Panicked(_)) => Err(unusable("it does not take such arguments".to_owned())),
            Err(e) => Err(unusable(e.to_string())),
        }
    }

    /// Its name in SQL.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What it takes and gives.
    pub fn signature(&self) -> &Signature {
        &self.0.signature
    }

    /// How the calls of an async one are made.
    pub fn calling(&self) -> &Calling {
        &self.0.calling
    }

    /// The functions of an async one.
    pub(crate) fn async_symbols(&self) -> Option<AsyncSymbols> {
        match self.0.symbols {
            Symbols::Async(symbols) => Some(symbols),
            Symbols::Sync(_) => None,
        }
    }

    /// Calls a scalar once for all rows: columns of equal length, each of exactly its argument's type. One value per
    /// row; null where an argument that must not be is.
    ///
    /// # Errors
    /// `Panicked` where the function panics on a row: which one, only calls with fewer rows tell.
    pub fn call(&self, columns: &[ArrayRef]) -> Result<ArrayRef, UdfError> {
        let rows = columns.first().map_or(0, |c| c.len());
        if rows == 0 {
            return Ok(new_empty_array(&self.0.signature.returns.arrow()));
        }
        self.run(columns, rows)
    }

    /// Calls an aggregate with the values of one group: columns of equal length, in an order that depends on the values
    /// only. One value; null where there are none.
    ///
    /// # Errors
    /// `Panicked` where the function panics.
    pub fn aggregate(&self, columns: &[ArrayRef]) -> Result<ArrayRef, UdfError> {
        if columns.first().is_none_or(|c| c.is_empty()) {
            return Ok(new_null_array(&self.0.signature.returns.arrow(), 1));
        }
        self.run(columns, 1)
    }

    fn run(&self, columns: &[ArrayRef], expected: usize) -> Result<ArrayRef, UdfError> {
        let Inner { name, signature, symbols, .. } = self.0.as_ref();
        let Symbols::Sync(run) = symbols else {
            return Err(UdfError::Broken(format!("`{name}` is async: it is not called and waited for")));
        };
        let result = abi::run(*run, name, columns, &signature.args, signature.returns)?;
        if result.len() != expected {
            return Err(UdfError::Broken(format!("`{name}` gave {} values for {expected}", result.len())));
        }
        Ok(result)
    }
}
