//! Structural paths: `transforms.daily_kpis.sql`, `sinks.raw.from[0]`.

/// The path of a key below `path`.
pub(crate) fn key(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The path of an item below `path`.
pub(crate) fn item(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}
