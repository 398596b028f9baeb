//! The two text forms of the families.

use std::collections::HashSet;
use std::fmt::Write as _;

/// Prometheus text, version 0.0.4, of `OpenMetrics` text: a counter's family carries the suffix of its samples.
pub(super) fn prometheus(open: &str) -> String {
    let words = |line: &'_ str| line.splitn(4, ' ').map(str::to_owned).collect::<Vec<_>>();
    let counters: HashSet<String> = open
        .lines()
        .filter_map(|line| match words(line).as_slice() {
            [hash, word, name, kind] if hash == "#" && word == "TYPE" && kind == "counter" => {
                Some(name.clone())
            }
            _ => None,
        })
        .collect();
    let mut text = String::with_capacity(open.len());
    for line in open.lines().filter(|line| *line != "# EOF") {
        // Writing to a string does not fail.
        let _ = match words(line).as_slice() {
            [hash, word, name, rest] if hash == "#" && counters.contains(name) => {
                writeln!(text, "# {word} {name}_total {rest}")
            }
            _ => writeln!(text, "{line}"),
        };
    }
    text
}
