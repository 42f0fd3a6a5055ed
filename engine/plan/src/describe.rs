//! What a planned pipeline does, in words: for `explain`.

/// Lines about each node, in the order of planning.
#[derive(Debug, Clone, Default)]
pub struct Description {
    nodes: Vec<NodeDescription>,
}

/// One node in words.
#[derive(Debug, Clone)]
pub struct NodeDescription {
    /// Its id.
    pub id: String,
    /// Such as `source`, `validate`, `windowed sql`.
    pub kind: String,
    /// What it does, line by line.
    pub lines: Vec<String>,
}

impl Description {
    pub(crate) fn say(&mut self, id: &str, kind: &str, line: impl Into<String>) {
        let lines = line.into().lines().map(str::to_owned).collect::<Vec<_>>();
        match self.nodes.iter_mut().find(|n| n.id == id) {
            Some(node) => node.lines.extend(lines),
            None => self.nodes.push(NodeDescription { id: id.to_owned(), kind: kind.to_owned(), lines }),
        }
    }
    /// All nodes.
    pub fn nodes(&self) -> &[NodeDescription] {
        &self.nodes
    }
}
