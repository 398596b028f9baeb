//! How values are shown to people in checks.

pub(crate) use anchorhold_rats::hex;

/// A list; long ones are cut.
pub(crate) fn join<T: ToString>(items: &[T]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<_> = items.iter().take(SHOWN).map(ToString::to_string).collect();
    let rest = items.len().saturating_sub(SHOWN);
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("{}{more}", if shown.is_empty() { "none".into() } else { shown.join(" or ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_shown_whole_or_cut_with_the_rest_counted() {
        assert_eq!(join::<u8>(&[]), "none");
        assert_eq!(join(&[1, 2]), "1 or 2");
        let many: Vec<usize> = (1..=10).collect();
        assert_eq!(join(many.get(..8).unwrap_or_default()), "1 or 2 or 3 or 4 or 5 or 6 or 7 or 8");
        assert_eq!(join(&many), "1 or 2 or 3 or 4 or 5 or 6 or 7 or 8 and 2 more");
        assert_eq!(hex(&[0x0a, 0xff]), "0aff");
    }
}
