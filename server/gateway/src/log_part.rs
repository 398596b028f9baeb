//! The paths of c2sp.org/tlog-tiles below `/v1/audit`, each in its one spelling.

use anchorhold_ipc::LogPart;
use std::fmt::Write as _;

/// The longest path: that of the largest index.
const MAX_PATH_BYTES: usize = 64;
const FULL: u16 = 256;

/// Which file a path names; `None` for any other.
pub(crate) fn parse(path: &str) -> Option<LogPart> {
    if path == "checkpoint" {
        return Some(LogPart::Checkpoint);
    }
    if path.len() > MAX_PATH_BYTES {
        return None;
    }
    let (kind, rest) = path.strip_prefix("tile/")?.split_once('/')?;
    let (number, width) = match rest.split_once(".p/") {
        Some((number, width)) => (number, width.parse().ok().filter(|width| (1..FULL).contains(width))?),
        None => (rest, FULL),
    };
    let mut index = 0_u64;
    for group in number.split('/') {
        let digits = group.strip_prefix('x').unwrap_or(group);
        index = index.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
    }
    let part = match kind {
        "entries" => LogPart::Entries { index, width },
        level => LogPart::Hashes { level: level.parse().ok().filter(|level| *level < 64)?, index, width },
    };
    // Signs, missing zeros and groups out of place read as numbers too; only what is written back the same is a path.
    (written(part).as_deref() == Some(path)).then_some(part)
}

fn written(part: LogPart) -> Option<String> {
    let (kind, mut index, width) = match part {
        LogPart::Checkpoint => return None,
        LogPart::Hashes { level, index, width } => (level.to_string(), index, width),
        LogPart::Entries { index, width } => ("entries".to_owned(), index, width),
    };
    let mut number = format!("{:03}", index % 1000);
    while index >= 1000 {
        index /= 1000;
        number.insert_str(0, &format!("x{:03}/", index % 1000));
    }
    let mut path = format!("tile/{kind}/{number}");
    if width < FULL {
        write!(path, ".p/{width}").ok()?;
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_paths_that_the_vectors_take() {
        let vectors = include_str!("../../../tests/vectors/audit/tlog.json");
        let vectors: serde_json::Value = serde_json::from_str(vectors).unwrap();
        let paths = |name: &str| {
            let paths = vectors[name].as_array().unwrap().iter();
            paths.map(|path| path.as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        for path in paths("paths") {
            let part = parse(&path).unwrap();
            assert_eq!(written(part), Some(path));
        }
        for path in paths("bad_paths").into_iter().filter(|path| path != "checkpoint") {
            assert_eq!(parse(&path), None, "{path}");
        }
        assert_eq!(parse("checkpoint"), Some(LogPart::Checkpoint));
        assert_eq!(parse("tile/entries/x001/234.p/7"), Some(LogPart::Entries { index: 1234, width: 7 }));
        assert_eq!(parse("tile/0/000.p/+7"), None);
    }
}
