//! The fields of one kind of JSON object: which key means which column, and which key usually follows which.

use hashbrown::HashMap;

/// Undeclared keys that are remembered, so that skipping them needs no lookup.
const REMEMBERED: usize = 64;

/// A key of the object.
#[derive(Debug)]
struct Key {
    /// `"name":`, as it stands in a record.
    token: Vec<u8>,
    name: Vec<u8>,
    meaning: Meaning,
    /// The column, where the key means one and nothing else: almost always. Saves a look at `meaning`.
    column: Option<usize>,
    /// The key that last followed this one.
    next: usize,
}

/// What a key stands for.
#[derive(Debug, Default)]
pub(crate) struct Meaning {
    /// Columns that take the value itself. More than one where the schema reads a place twice.
    pub(crate) columns: Vec<usize>,
    /// Columns that lie within the value.
    pub(crate) inner: Option<Box<Shape>>,
}

/// The fields of one kind of JSON object.
#[derive(Debug)]
pub(crate) struct Shape {
    keys: Vec<Key>,
    by_name: HashMap<Vec<u8>, usize>,
    /// The key that last began the object.
    first: usize,
}

/// The key that was read last, for guessing the next: none before the first.
pub(crate) type Previous = Option<usize>;

impl Shape {
    /// The shape of an object whose column `i` lies at the `i`-th path.
    pub(crate) fn of_paths<'a>(paths: impl Iterator<Item = &'a [String]>) -> Self {
        let mut shape = Self { keys: Vec::new(), by_name: HashMap::new(), first: 0 };
        for (column, path) in paths.enumerate() {
            shape.insert(path, column);
        }
        shape
    }

    fn insert(&mut self, path: &[String], column: usize) {
        let Some((name, inner)) = path.split_first() else {
            return;
        };
        let key = self.by_name.get(name.as_bytes()).copied().unwrap_or_else(|| self.learn(name.as_bytes()));
        let Some(key) = self.keys.get_mut(key) else {
            return;
        };
        if inner.is_empty() {
            key.meaning.columns.push(column);
        } else {
            let shape = key.meaning.inner.get_or_insert_with(|| Box::new(Self::of_paths(std::iter::empty())));
            shape.insert(inner, column);
        }
        key.column = match (key.meaning.columns.as_slice(), &key.meaning.inner) {
            ([column], None) => Some(*column),
            _ => None,
        };
    }

    /// Adds a key without a meaning, at first followed by the next to be added.
    fn learn(&mut self, name: &[u8]) -> usize {
        let index = self.keys.len();
        let token = [b"\"", name, b"\":"].concat();
        self.keys.push(Key { token, name: name.to_vec(), meaning: Meaning::default(), column: None, next: index + 1 });
        self.by_name.insert(name.to_vec(), index);
        index
    }

    /// The key expected behind `previous`, with its token.
    #[inline]
    pub(crate) fn expected(&self, previous: Previous) -> Option<(usize, &[u8])> {
        let index = match previous {
            None => self.first,
            Some(previous) => self.keys.get(previous)?.next,
        };
        self.keys.get(index).map(|key| (index, key.token.as_slice()))
    }

    /// The key of a name that was not expected, and remembers that it followed `previous`; none where the name is
    /// not declared and too many others were remembered.
    #[cold]
    pub(crate) fn find(&mut self, previous: Previous, name: &[u8]) -> Option<usize> {
        let found = match self.by_name.get(name) {
            Some(found) => *found,
            None if self.keys.iter().filter(|k| k.meaning.is_ignored()).count() < REMEMBERED => self.learn(name),
            None => return None,
        };
        match previous {
            None => self.first = found,
            Some(previous) => {
                if let Some(key) = self.keys.get_mut(previous) {
                    key.next = found;
                }
            }
        }
        Some(found)
    }

    /// The one column a key means, where that is all it means.
    #[inline]
    pub(crate) fn column(&self, key: usize) -> Option<usize> {
        self.keys.get(key)?.column
    }

    /// What a key stands for.
    pub(crate) fn meaning(&mut self, key: usize) -> Option<&mut Meaning> {
        self.keys.get_mut(key).map(|k| &mut k.meaning)
    }

    /// A key's name.
    pub(crate) fn name(&self, key: usize) -> &[u8] {
        self.keys.get(key).map_or(&[], |k| &k.name)
    }

    /// All columns that lie within the object.
    pub(crate) fn columns(&self) -> Vec<usize> {
        let mut columns = Vec::new();
        for key in &self.keys {
            columns.extend_from_slice(&key.meaning.columns);
            if let Some(inner) = &key.meaning.inner {
                columns.extend(inner.columns());
            }
        }
        columns
    }
}

impl Meaning {
    /// Whether no column asks for the value.
    #[inline]
    pub(crate) fn is_ignored(&self) -> bool {
        self.columns.is_empty() && self.inner.is_none()
    }
}
