//! The pipeline that `millstream new` writes.

/// A commented pipeline called `name` that runs at once: generated taxi trips in, counts and sums per day out.
pub fn starter(name: &str) -> String {
    const TEMPLATE: &str = include_str!("starter.yaml");
    TEMPLATE.replace("PIPELINE_NAME", &identifier(name))
}

/// `name` with everything replaced that cannot stand in a pipeline's name.
fn identifier(name: &str) -> String {
    let mut id: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    if !id.starts_with(|c: char| c.is_ascii_alphabetic()) {
        id.insert_str(0, "pipeline_");
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_to_fit() {
        assert!(starter("my orders").contains("name: my_orders\n"));
        assert!(starter("2nd").contains("name: pipeline_2nd\n"));
    }
}
