//! "Did you mean": the candidate nearest to a misspelt word.

/// The candidate that `word` was probably meant to be: the same but for case and separators, a plural, or a few
/// typing errors away. `None` where nothing is near.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = fold(word);
    let mut best: Option<(f64, &str)> = None;
    for candidate in candidates {
        if candidate == word {
            continue;
        }
        let score = similarity(&folded, &fold(candidate));
        if score >= 0.65 && best.is_none_or(|(b, _)| score > b) {
            best = Some((score, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// A help line: the nearest candidate, else the list of all of them. `what` names them in the plural. `None`
/// where there are no candidates.
pub fn help<'a>(word: &str, what: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let known = (!candidates.is_empty()).then(|| format!("{what}: {}", listed(&candidates)));
    match (nearest(word, candidates.iter().copied()), known) {
        (Some(near), Some(known)) if candidates.len() <= 8 => Some(format!("did you mean `{near}`?  {known}")),
        (Some(near), _) => Some(format!("did you mean `{near}`?")),
        (None, known) => known,
    }
}

/// `a, b, c`; long lists are cut.
pub fn listed(candidates: &[&str]) -> String {
    const MOST: usize = 20;
    let shown = candidates.iter().take(MOST).copied().collect::<Vec<_>>().join(", ");
    match candidates.len().saturating_sub(MOST) {
        0 => shown,
        rest => format!("{shown}, and {rest} more"),
    }
}

fn fold(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}

/// 1 for the same word, less for each edit relative to the length. Short words must share more: one edit in three
/// letters is a guess, a swap of two neighbours is not.
fn similarity(a: &str, b: &str) -> f64 {
    if a == b {
        return 1.0;
    }
    let longest = a.chars().count().max(b.chars().count());
    let edits = strsim::damerau_levenshtein(a, b);
    if edits == 1 && longest >= 2 && a.chars().next() == b.chars().next() {
        return 0.95;
    }
    #[expect(clippy::cast_precision_loss, reason = "word lengths")]
    let share = 1.0 - edits as f64 / longest as f64;
    // An abbreviation or an added word: `late` for `allowed_lateness` is too far, `bytes` for `max_bytes` is near.
    let contained = longest >= 5 && a.len().min(b.len()) >= 4 && (a.contains(b) || b.contains(a));
    if contained { share.max(0.75) } else { share }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        assert_eq!(nearest("tranforms", ["transforms", "tables"]), Some("transforms"));
        assert_eq!(nearest("Trip_ID", ["trip_id", "fare"]), Some("trip_id"));
        assert_eq!(nearest("keys", ["key", "store"]), Some("key"));
        assert_eq!(nearest("form", ["from", "write"]), Some("from"));
        assert_eq!(nearest("kinesys", ["kinesis", "sns"]), Some("kinesis"));
        assert_eq!(nearest("colour", ["store", "key"]), None);
        assert_eq!(nearest("x", ["y"]), None);
    }

    #[test]
    fn help_lists_what_there_is() {
        let text = help("completd", "ports", ["completed", "started"]);
        assert_eq!(text.as_deref(), Some("did you mean `completed`?  ports: completed, started"));
        assert_eq!(help("zzz", "ports", ["a", "b"]).as_deref(), Some("ports: a, b"));
        assert_eq!(help("zzz", "ports", []), None);
    }
}
