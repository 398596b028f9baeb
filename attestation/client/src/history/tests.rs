use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use tempfile::TempDir;

fn at(second: i64) -> Timestamp {
    Timestamp::from_unix_seconds(1_700_000_000 + second)
}

fn observation(version: u64, snp: i64, tree_size: u64) -> Observation {
    Observation {
        target: "https://models.example:443".to_owned(),
        at: at(i64::try_from(tree_size).unwrap()),
        measurement: Measurement::new([1; 48]),
        product: "Genoa".to_owned(),
        tcb: BTreeMap::from([("snp".to_owned(), snp)]),
        models: vec![ServedModel {
            id: "acme/chat".to_owned(),
            version,
            manifest_digest: Sha256Digest::of(&version.to_le_bytes()),
        }],
        policy_digest: None,
        audit: AuditHead {
            origin: "acme/1".to_owned(),
            tree_size,
            root_hash: Sha256Digest::of(&tree_size.to_be_bytes()),
        },
        document_digest: Sha256Digest::new([3; 32]),
    }
}

struct Kept(TempDir);

impl Kept {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("history.jsonl")
    }

    fn open(&self) -> Result<History, HistoryError> {
        History::open(&self.path())
    }
}

#[test]
fn what_was_accepted_is_there_again_and_only_its_owner_may_read_it() {
    let kept = Kept::new();
    let mut history = kept.open().unwrap();
    history.append(observation(3, 23, 10)).unwrap();
    history.append(observation(4, 23, 11)).unwrap();
    drop(history);
    let history = kept.open().unwrap();
    let summary = HistorySummary { entries: 2, first: Some(at(10)), last: Some(at(11)) };
    assert_eq!(history.summary(), summary);
    assert_eq!(History::check(&fs::read(kept.path()).unwrap()).unwrap(), summary);
    assert_eq!(fs::metadata(kept.path()).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(kept.open(), Err(HistoryError::Busy)));
}

#[test]
fn going_back_is_noticed_in_every_part_also_after_the_file_was_read_again() {
    let kept = Kept::new();
    let mut history = kept.open().unwrap();
    history.append(observation(3, 23, 10)).unwrap();
    drop(history);
    let mut history = kept.open().unwrap();
    let codes = |history: &History, new: &Observation| -> Vec<_> {
        history.compare(new).iter().map(Rollback::code).collect()
    };
    assert_eq!(codes(&history, &observation(3, 23, 10)), Vec::<&str>::new());
    assert_eq!(codes(&history, &observation(4, 24, 11)), Vec::<&str>::new());
    assert_eq!(codes(&history, &observation(2, 23, 10)), ["rollback_model_version"]);
    assert_eq!(codes(&history, &observation(3, 22, 10)), ["rollback_tcb"]);
    assert_eq!(codes(&history, &observation(3, 23, 9)), ["rollback_tree_size"]);
    let mut forked = observation(3, 23, 10);
    forked.audit.root_hash = Sha256Digest::new([0; 32]);
    forked.models[0].manifest_digest = Sha256Digest::new([0; 32]);
    assert_eq!(codes(&history, &forked), ["rollback_model_manifest", "rollback_root_hash"]);
    // The highest counts, not the last; other servers, products and logs are their own.
    history.append(observation(2, 22, 9)).unwrap();
    assert_eq!(codes(&history, &observation(2, 23, 10)), ["rollback_model_version"]);
    let mut other = observation(1, 1, 1);
    other.target = "https://other.example:443".to_owned();
    assert_eq!(codes(&history, &other), Vec::<&str>::new());
    let mut elsewhere = observation(3, 1, 1);
    (elsewhere.product, elsewhere.audit.origin) = ("Turin".to_owned(), "acme/2".to_owned());
    assert_eq!(codes(&history, &elsewhere), Vec::<&str>::new());
}

#[test]
fn a_last_line_that_was_cut_short_anywhere_is_taken_away_and_nothing_else() {
    let kept = Kept::new();
    let mut history = kept.open().unwrap();
    history.append(observation(3, 23, 10)).unwrap();
    drop(history);
    let whole = fs::read(kept.path()).unwrap();
    let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for end in last..whole.len() {
        fs::write(kept.path(), &whole[..end]).unwrap();
        let mut history = kept.open().unwrap();
        assert_eq!(history.summary().entries, 0, "{end}");
        history.append(observation(3, 23, 10)).unwrap();
        drop(history);
        assert_eq!(fs::read(kept.path()).unwrap(), whole, "{end}");
    }
    fs::write(kept.path(), &whole[..3]).unwrap();
    drop(kept.open().unwrap());
    assert_eq!(fs::read(kept.path()).unwrap(), &whole[..last], "a torn first line is begun again");
}

#[test]
fn refuses_lines_that_are_none_of_a_history() {
    let header = format!("{{\"kind\":\"header\",\"format\":\"{HISTORY_FORMAT}\"}}\n");
    let entry = String::from_utf8(to_bytes(&Line::Accepted(observation(1, 1, 1))).unwrap()).unwrap();
    let marks = to_bytes(&Line::Marks(Marks::new("a".to_owned()))).unwrap();
    let marks = String::from_utf8(marks).unwrap();
    assert!(History::check(format!("{header}{marks}{entry}").as_bytes()).is_ok());
    for (text, at) in [
        (entry.clone(), 1),
        (format!("{header}{header}"), 2),
        (format!("{header}\n"), 2),
        (format!("{header}{entry}{{}}\n"), 3),
        (format!("{header}{marks}{marks}"), 3),
        (header.replace("v1", "v2"), 1),
        (format!("{header}{}", entry.replace("\"at\"", "\"more\":1,\"at\"")), 2),
        (format!("{header}{}", entry.replacen("\"at\"", "\"ta\"", 1)), 2),
    ] {
        let error = History::check(text.as_bytes()).unwrap_err();
        assert!(matches!(error, HistoryError::Malformed { line } if line == at), "{error}: {text}");
    }
    let long = format!("{header}{}\n", " ".repeat(MAX_LINE_BYTES));
    assert!(matches!(History::check(long.as_bytes()), Err(HistoryError::Limit { .. })));
}

#[test]
fn refuses_a_file_that_others_may_read_one_that_is_too_long_and_what_is_no_file() {
    let kept = Kept::new();
    fs::write(kept.path(), "").unwrap();
    fs::set_permissions(kept.path(), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(kept.open(), Err(HistoryError::Mode { mode: 0o644 })));
    fs::set_permissions(kept.path(), fs::Permissions::from_mode(0o600)).unwrap();
    let long = usize::try_from(MAX_HISTORY_BYTES).unwrap() + 1;
    fs::write(kept.path(), vec![b'\n'; long]).unwrap();
    assert!(matches!(kept.open(), Err(HistoryError::Limit { what: "bytes", .. })));
    assert!(History::open(kept.0.path()).is_err());
}

#[test]
fn a_full_file_is_put_aside_and_what_was_the_highest_is_remembered() {
    let kept = Kept::new();
    let mut history = kept.open().unwrap();
    history.append(observation(9, 30, 1_000_000)).unwrap();
    let mut size = 0;
    let aside = kept.0.path().join("history.jsonl.1");
    while !aside.exists() {
        size += 1;
        // Long names, so that it is full soon.
        let mut entry = observation(1, 1, size);
        entry.audit.origin = format!("{size}{}", "x".repeat(200));
        entry.product = "y".repeat(60_000);
        history.append(entry).unwrap();
        assert!(fs::metadata(kept.path()).unwrap().len() <= MAX_HISTORY_BYTES);
    }
    drop(history);
    let history = kept.open().unwrap();
    assert_eq!(history.summary().entries, 1);
    let codes: Vec<_> = history.compare(&observation(8, 29, 1_000_001)).iter().map(Rollback::code).collect();
    assert_eq!(codes, ["rollback_model_version", "rollback_tcb"]);
    assert_eq!(fs::metadata(aside).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn the_number_of_servers_and_of_logs_is_bounded() {
    let kept = Kept::new();
    let mut history = kept.open().unwrap();
    for place in 0..MAX_TARGETS {
        let target = format!("https://{place}.example:443");
        history.append(Observation { target, ..observation(1, 1, 1) }).unwrap();
    }
    let one_more = Observation { target: "https://more.example:443".to_owned(), ..observation(1, 1, 1) };
    assert!(matches!(history.append(one_more), Err(HistoryError::Limit { what: "servers", .. })));
    let mut marks = Marks::new("a".to_owned());
    for size in 0..200 {
        let mut new = observation(1, 1, size);
        new.audit.origin = size.to_string();
        marks.raise(new);
    }
    assert!(marks.is_within_limits());
    let mut behind = observation(1, 1, 0);
    behind.audit.origin = "199".to_owned();
    assert_eq!(marks.compare(&behind).len(), 1, "those seen last are the ones remembered");
}

#[test]
fn the_published_history_is_read_and_what_is_behind_its_marks_is_noticed() {
    let published = include_bytes!("../../../../tests/vectors/client/history.jsonl");
    assert_eq!(History::check(published).unwrap().entries, 2);
    let kept = Kept::new();
    fs::write(kept.path(), published).unwrap();
    fs::set_permissions(kept.path(), fs::Permissions::from_mode(0o600)).unwrap();
    let history = kept.open().unwrap();
    let codes: Vec<_> = history.compare(&observation(2, 22, 13)).iter().map(Rollback::code).collect();
    assert_eq!(codes, ["rollback_model_version", "rollback_tcb", "rollback_tree_size"]);
}
