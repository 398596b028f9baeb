//! The one spelling of an entry, and what cannot be put into one.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test stops at a surprise"
)]

mod fixture;

use anchorhold_audit_log::{
    CheckResult, Ciphertext, Claim, Code, Entry, EntryError, Event, EventType, Hash, Hex, HoldId, Keeping,
    Kernel, Log, LogError, LogReader, MAX_CHECKS, MAX_ENTRY_BYTES, MAX_PERMISSIONS, MAX_PROFILES,
    MAX_SEALED_BYTES, MAX_SIGNERS, Origin, Outcome, Sealed, Setting, TenantId, encode_entry,
};
use fixture::{End, boot, refusal_event, request_event, signer, stamp, write_log};
use serde_json::Value;

fn entries(events: i64) -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    write_log(&path, events, End::Closed);
    let reader = LogReader::open(&path).unwrap();
    let mut out = Vec::new();
    let count = reader.head().size;
    reader
        .for_each_leaf::<anchorhold_audit_log::ReadError>(count, |_, leaf| {
            out.push(leaf.to_vec());
            Ok(())
        })
        .unwrap();
    out
}

fn assert_sorted(value: &Value) {
    match value {
        Value::Object(map) => {
            let keys: Vec<&String> = map.keys().collect();
            assert!(keys.is_sorted(), "{keys:?}");
            map.values().for_each(assert_sorted);
        }
        Value::Array(items) => items.iter().for_each(assert_sorted),
        Value::Number(number) => assert!(number.is_i64() || number.is_u64(), "{number}"),
        _ => {}
    }
}

#[test]
fn entries_are_canonical_sorted_and_without_floats() {
    let entries = entries(8);
    assert_eq!(entries.len(), 11);
    for (index, bytes) in entries.iter().enumerate() {
        let entry = Entry::from_bytes(bytes).unwrap();
        assert_eq!(entry.seq, index as u64);
        assert_eq!(entry.to_bytes().unwrap(), *bytes);
        assert_eq!(serde_json::to_vec(&entry).unwrap(), *bytes, "another writer of JSON");
        let value: Value = serde_json::from_slice(bytes).unwrap();
        assert_sorted(&value);
        assert_eq!(serde_json::to_vec(&value).unwrap(), *bytes);
        assert!(!bytes.contains(&b'\n'));
    }
}

#[test]
fn refuses_other_spellings_of_the_same_entry() {
    let bytes = &entries(1)[2];
    let text = std::str::from_utf8(bytes).unwrap();
    assert!(text.contains(r#""status":200"#));
    for (from, to, wanted) in [
        (r#"{"act""#, r#"{ "act""#, EntryError::NotCanonical),
        (r#""v":1}"#, "\"v\":1}\n", EntryError::NotCanonical),
        (r#""status":200"#, r#""status":2e2"#, EntryError::Malformed),
        (r#""status":200"#, r#""status":200.0"#, EntryError::Malformed),
        (r#""status":200"#, r#""status":null"#, EntryError::NotCanonical),
        (r#""status":200"#, r#""status":200,"text":"hello""#, EntryError::Malformed),
        (r#""v":1}"#, r#""v":1,"v":1}"#, EntryError::Malformed),
        (r#""v":1}"#, r#""text":"hello","v":1}"#, EntryError::Malformed),
        (r#""v":1}"#, r#""v":2}"#, EntryError::Version { observed: 2 }),
        (r#""v":1}"#, r#""v":1}{}"#, EntryError::Malformed),
        (r#""sev":1"#, r#""sev":5"#, EntryError::Classification),
        (r#""cls":6003"#, r#""cls":6002"#, EntryError::Classification),
        ("acme/chat-70b", "acme\\u002fchat-70b", EntryError::NotCanonical),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text, "{from}");
        assert_eq!(Entry::from_bytes(changed.as_bytes()), Err(wanted), "{from} -> {to}");
    }
    let long = vec![b' '; MAX_ENTRY_BYTES + 1];
    assert_eq!(Entry::from_bytes(&long), Err(EntryError::TooLong { observed_bytes: MAX_ENTRY_BYTES + 1 }));
}

/// Paths to every string in a JSON value.
fn strings(value: &Value, at: &str, out: &mut Vec<String>) {
    match value {
        Value::String(_) => out.push(at.to_owned()),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| strings(item, &format!("{at}/{index}"), out));
        }
        Value::Object(map) => map.iter().for_each(|(key, item)| strings(item, &format!("{at}/{key}"), out)),
        _ => {}
    }
}

#[test]
fn case_33_no_string_of_an_entry_takes_hostile_text() {
    let long = "a".repeat(1024 * 1024);
    let hostile = [
        "",
        "What is the capital of France?",
        "line\nbreak",
        "\u{1b}[31mred",
        "\"},{\"",
        "=cmd|' /C calc'!A0",
        "@SUM(1+1)",
        "<script>alert(1)</script>",
        "\u{202e}abc",
        "nul\0",
        long.as_str(),
    ];
    let mut seen = 0;
    for bytes in entries(4) {
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        let mut paths = Vec::new();
        strings(&value, "", &mut paths);
        for path in paths {
            seen += 1;
            for text in hostile {
                let mut changed = value.clone();
                *changed.pointer_mut(&path).unwrap() = Value::String(text.to_owned());
                let changed = serde_json::to_vec(&changed).unwrap();
                assert!(Entry::from_bytes(&changed).is_err(), "{path} takes {text:.20}");
            }
        }
    }
    assert!(seen > 60, "{seen} strings");
}

fn decision_with(checks: usize, claim: &str) -> Event {
    let mut event = refusal_event(1);
    let check = CheckResult {
        got: Claim::new(claim).unwrap(),
        id: Code::from_static("snp_measurement"),
        ok: true,
        want: Claim::new(claim).unwrap(),
    };
    event.decision.as_mut().unwrap().checks = vec![check; checks];
    event
}

#[test]
fn an_event_over_a_limit_is_refused_and_the_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::create(&dir.path().join("log"), signer(), boot(), stamp(0)).unwrap();
    let many = decision_with(MAX_CHECKS + 1, "1");
    assert!(matches!(
        log.append(&[request_event(1), many]),
        Err(LogError::Entry(EntryError::TooManyChecks { observed: 65 }))
    ));
    let long = decision_with(MAX_CHECKS, &"a".repeat(Claim::LIMIT_BYTES));
    assert!(matches!(log.append(&[long]), Err(LogError::Entry(EntryError::TooLong { .. }))));
    assert!(matches!(log.append(&[]), Err(LogError::BatchLength { observed: 0 })));
    assert!(!log.is_poisoned());
    assert_eq!(log.append(&[decision_with(MAX_CHECKS, &"a".repeat(48))]).unwrap(), 1);
}

#[test]
fn lists_of_an_entry_have_as_many_items_as_may_be_and_no_more() {
    let with = |signers: usize, permissions: usize| {
        let mut event = Event::new(EventType::PolicyLoad, Outcome::Success, stamp(1));
        event.setting = Some(Setting {
            approved_by: vec![Hash::new([5; 32]); signers],
            name: Code::from_static("release_policy"),
            new: None,
            old: None,
        });
        event.kernel =
            Some(Kernel { perms: vec![Code::from_static("read"); permissions], ..Kernel::counted(1) });
        encode_entry(&event, 7, boot())
    };
    let read = Entry::from_bytes(&with(MAX_SIGNERS, MAX_PERMISSIONS).unwrap()).unwrap();
    assert_eq!(read.cfg.unwrap().approved_by.len(), MAX_SIGNERS);
    assert_eq!(read.kernel.unwrap().perms.len(), MAX_PERMISSIONS);
    for (signers, permissions, over) in
        [(MAX_SIGNERS + 1, 0, "signers"), (0, MAX_PERMISSIONS + 1, "permissions")]
    {
        let refused = with(signers, permissions);
        assert!(
            matches!(refused, Err(LogError::Entry(EntryError::TooMany { what })) if what == over),
            "{refused:?}"
        );
    }
}

#[test]
fn the_longest_entry_is_written_and_read_and_no_longer_one() {
    // Claims take a byte each up to their limit; so many of them are lengthened as are missing to the entry's.
    let with = |lengths: &[usize]| {
        let mut event = decision_with(MAX_CHECKS, "a");
        let claims = event.decision.as_mut().unwrap().checks.iter_mut();
        let claims = claims.flat_map(|check| [&mut check.got, &mut check.want]);
        for (claim, length) in claims.zip(lengths) {
            *claim = Claim::new(&"a".repeat(*length)).unwrap();
        }
        event
    };
    let bytes = |lengths: &[usize]| encode_entry(&with(lengths), 7, boot());
    let mut lengths = vec![1; 2 * MAX_CHECKS];
    let mut missing = MAX_ENTRY_BYTES - bytes(&lengths).unwrap().len();
    for length in &mut lengths {
        let more = missing.min(Claim::LIMIT_BYTES - 1);
        (*length, missing) = (1 + more, missing - more);
    }
    let longest = bytes(&lengths).unwrap();
    assert_eq!(longest.len(), MAX_ENTRY_BYTES);
    assert_eq!(Entry::from_bytes(&longest).unwrap().to_bytes().unwrap(), longest);
    let last = lengths.iter().rposition(|length| *length < Claim::LIMIT_BYTES).unwrap();
    lengths[last] += 1;
    let refused = bytes(&lengths);
    let observed_bytes = MAX_ENTRY_BYTES + 1;
    assert!(
        matches!(refused, Err(LogError::Entry(EntryError::TooLong { observed_bytes: observed })) if observed == observed_bytes)
    );
}

/// A request with a sealed part and a pseudonym, as the keeper logs it.
fn sealed_event(ciphertext: Vec<u8>) -> Option<Event> {
    let mut event = request_event(1);
    event.actor.as_mut()?.pseud = Some(Hash::new([8; 32]));
    event.sealed =
        Some(Sealed { ct: Ciphertext::new(ciphertext)?, kid: Hex::new([9; 16]), n: Hex::new([3; 12]) });
    Some(event)
}

#[test]
fn a_sealed_part_has_one_spelling_and_a_limit() {
    let bytes = encode_entry(&sealed_event(vec![0xff; 106]).unwrap(), 7, boot()).unwrap();
    let entry = Entry::from_bytes(&bytes).unwrap();
    assert_eq!(entry.sealed.as_ref().unwrap().ct.as_bytes(), [0xff; 106]);
    assert_sorted(&serde_json::from_slice(&bytes).unwrap());
    assert!(sealed_event(vec![0; 15]).is_none() && sealed_event(vec![0; MAX_SEALED_BYTES + 1]).is_none());
    let text = String::from_utf8(bytes).unwrap();
    let ct = serde_json::to_value(&entry.sealed.unwrap().ct).unwrap();
    let ct = ct.as_str().unwrap();
    for wrong in [
        // Padding, the other alphabet, bits that say nothing, too short, too long, a text.
        format!("{ct}="),
        ct.replace('_', "/"),
        format!("{}x", &ct[..ct.len() - 1]),
        "AAAA".to_owned(),
        "A".repeat(4 * MAX_SEALED_BYTES),
        "who called".to_owned(),
    ] {
        let changed = text.replace(ct, &wrong);
        assert_eq!(Entry::from_bytes(changed.as_bytes()), Err(EntryError::Malformed), "{wrong:.40}");
    }
    let upper = text.replace(&"09".repeat(16), &"0A".repeat(16));
    assert_eq!(Entry::from_bytes(upper.as_bytes()), Err(EntryError::Malformed));
}

#[test]
fn an_act_of_an_archive_has_one_spelling_and_a_limit() {
    let mut event = Event::new(EventType::HoldPlace, Outcome::Success, stamp(1));
    let profiles = |count| vec![Code::from_static("pci"); count];
    event.keeping = Some(Keeping {
        count: Some(1),
        end: Some(2),
        first: Some(1),
        hold: Some(HoldId::new("case-17").unwrap()),
        kid: Some(Hex::new([9; 16])),
        origin: Some(Origin::new("acme/1").unwrap()),
        profiles: profiles(MAX_PROFILES),
        root: Some(Hash::new([1; 32])),
        since: Some(-1),
        size: Some(3),
        tenant: Some(TenantId::new("clinic").unwrap()),
        until: Some(5),
    });
    let bytes = encode_entry(&event, 7, boot()).unwrap();
    assert_eq!(Entry::from_bytes(&bytes).unwrap().keep, event.keeping);
    assert_sorted(&serde_json::from_slice(&bytes).unwrap());
    event.keeping.as_mut().unwrap().profiles = profiles(MAX_PROFILES + 1);
    let refused = encode_entry(&event, 7, boot());
    assert!(matches!(refused, Err(LogError::Entry(EntryError::TooMany { what: "profiles" }))), "{refused:?}");
}
