//! What a policy file may not be. The starting point is an example that is accepted.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests stop at a surprise")]

use anchorhold_key_release::{MAX_POLICY_BYTES, PolicyError, ReleasePolicy};
use toml::{Table, Value};

const GOOD: &str = include_str!("../../../policies/release/chat-prod.toml");

fn read(text: &str) -> Result<(), PolicyError> {
    ReleasePolicy::from_toml(text).map(drop)
}

fn path_of(error: PolicyError) -> (&'static str, String) {
    match error {
        PolicyError::Missing { path } => ("missing", path),
        PolicyError::Unknown { path } => ("unknown", path),
        PolicyError::Empty { path } => ("empty", path),
        PolicyError::Value { path, .. } => ("value", path),
        PolicyError::Denied { path, .. } => ("denied", path),
        other => panic!("{other}"),
    }
}

/// Every table of the file with its path.
fn tables(path: &str, table: &Table, out: &mut Vec<String>) {
    out.push(path.to_owned());
    for (key, value) in table {
        let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match value {
            Value::Table(table) => tables(&below, table, out),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    if let Value::Table(table) = item {
                        tables(&format!("{below}[{index}]"), table, out);
                    }
                }
            }
            _ => {}
        }
    }
}

fn table_at<'a>(mut table: &'a mut Table, path: &str) -> &'a mut Table {
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let (key, index) = part.split_once('[').map_or((part, None), |(key, rest)| (key, Some(rest)));
        let value = table.get_mut(key).unwrap();
        table = match index {
            Some(index) => value.as_array_mut().unwrap()
                [index.trim_end_matches(']').parse::<usize>().unwrap()]
            .as_table_mut()
            .unwrap(),
            None => value.as_table_mut().unwrap(),
        };
    }
    table
}

/// Runs `change` on each key of each table of a fresh copy, and gives its path and the changed file.
fn with_each_key(change: impl Fn(&mut Table, &str)) -> Vec<(String, String)> {
    let good: Table = GOOD.parse().unwrap();
    let mut all = Vec::new();
    tables("", &good, &mut all);
    let mut out = Vec::new();
    for path in all {
        let keys: Vec<String> = table_at(&mut good.clone(), &path).keys().cloned().collect();
        for key in keys {
            let mut changed = good.clone();
            change(table_at(&mut changed, &path), &key);
            let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            out.push((full, toml::to_string(&changed).unwrap()));
        }
    }
    out
}

#[test]
fn the_examples_are_accepted() {
    assert_eq!(read(GOOD), Ok(()));
    assert_eq!(read(include_str!("../../../policies/release/two-teams.toml")), Ok(()));
}

#[test]
fn case_08_refuses_a_policy_without_any_one_of_its_keys() {
    let all = with_each_key(|table, key| drop(table.remove(key)));
    assert!(all.len() > 35, "{}", all.len());
    for (path, text) in all {
        assert_eq!(read(&text).map_err(path_of), Err(("missing", path)));
    }
}

#[test]
fn case_08_refuses_an_unknown_key_in_every_table() {
    let good: Table = GOOD.parse().unwrap();
    let mut all = Vec::new();
    tables("", &good, &mut all);
    for path in all {
        let mut changed = good.clone();
        table_at(&mut changed, &path).insert("extra".to_owned(), Value::Boolean(true));
        let wanted = if path.is_empty() { "extra".to_owned() } else { format!("{path}.extra") };
        assert_eq!(read(&toml::to_string(&changed).unwrap()).map_err(path_of), Err(("unknown", wanted)));
    }
}

#[test]
fn case_08_refuses_a_value_of_the_wrong_type_under_every_key() {
    for (path, text) in with_each_key(|table, key| drop(table.insert(key.to_owned(), Value::Float(1.5)))) {
        assert_eq!(read(&text).map_err(path_of), Err(("value", path)));
    }
}

#[test]
fn case_08_refuses_empty_lists() {
    for list in [
        ("grant[0].image", "measurements"),
        ("grant[0].snp", "products"),
        ("grant[0].snp", "signer"),
        ("grant[0].snp", "chips"),
        ("grant[0]", "purpose"),
        ("grant[0].model", "manifest"),
        ("revoked", "kids"),
        ("", "grant"),
    ] {
        let mut changed: Table = GOOD.parse().unwrap();
        table_at(&mut changed, list.0).insert(list.1.to_owned(), Value::Array(Vec::new()));
        let wanted = if list.0.is_empty() { list.1.to_owned() } else { format!("{}.{}", list.0, list.1) };
        assert_eq!(read(&toml::to_string(&changed).unwrap()).map_err(path_of), Err(("empty", wanted)));
    }
}

fn refused(from: &str, to: &str) -> (&'static str, String) {
    let text = GOOD.replacen(from, to, 1);
    assert_ne!(text, GOOD, "{from}");
    path_of(ReleasePolicy::from_toml(&text).unwrap_err())
}

#[test]
fn refuses_debug_and_migration_whatever_the_rest_says() {
    assert_eq!(refused("= false # nothing", "= true # nothing"), ("denied", "grant[0].snp.debug".to_owned()));
    let text = GOOD.replace("migration         = false", "migration         = true");
    let error = ReleasePolicy::from_toml(&text).unwrap_err();
    assert_eq!(path_of(error), ("denied", "grant[0].snp.migration".to_owned()));
}

#[test]
fn refuses_a_tcb_floor_for_another_product_and_a_product_without_one() {
    let min_tcb = |key: &str| format!("grant[0].snp.min_tcb.{key}");
    let genoa_only = r#"["genoa"]"#;
    assert_eq!(refused(r#"["genoa", "turin"]"#, genoa_only), ("unknown", min_tcb("turin")));
    let milan_too = r#"["genoa", "turin", "milan"]"#;
    assert_eq!(refused(r#"["genoa", "turin"]"#, milan_too), ("missing", min_tcb("milan")));
    assert_eq!(refused("genoa = { bl", "genoa = { fmc = 1, bl"), ("unknown", min_tcb("genoa.fmc")));
    assert_eq!(refused("fmc = 0, ", ""), ("missing", min_tcb("turin.fmc")));
    assert_eq!(refused("snp = 23", "snp = 256"), ("value", min_tcb("genoa.snp")));
}

#[test]
fn refuses_values_out_of_range() {
    for (from, to, path) in [
        ("\"60m\"", "\"59s\"", "grant[0].lease"),
        ("\"60m\"", "\"25h\"", "grant[0].lease"),
        ("\"60m\"", "\"60\"", "grant[0].lease"),
        ("\"60m\"", "\"+60m\"", "grant[0].lease"),
        ("\"60m\"", "\"4294967296h\"", "grant[0].lease"),
        ("max_instances = 16", "max_instances = 0", "grant[0].max_instances"),
        ("vmpl              = 0", "vmpl              = 4", "grant[0].snp.vmpl"),
        ("version          = 42", "version          = -1", "version"),
        ("acme/chat-70b", "acme/../chat", "grant[0].model.id"),
        ("\"acme-prod\"", "\"acme prod\"", "policy"),
        ("2027-01-31T00:00:00Z", "2027-01-31", "expires"),
        ("\"sha384:a1", "\"sha256:a1", "grant[0].image.measurements[0]"),
        ("[\"serve\"]", "[\"serve\", \"serve\"]", "grant[0].purpose[1]"),
        ("smt               = \"any\"", "smt               = \"on\"", "grant[0].snp.smt"),
    ] {
        assert_eq!(refused(from, to), ("value", path.to_owned()));
    }
}

#[test]
fn refuses_two_grants_of_one_name_and_too_many_platforms() {
    let grant = &GOOD[GOOD.find("[[grant]]").unwrap()..];
    let twice = format!("{GOOD}\n{grant}");
    assert_eq!(path_of(ReleasePolicy::from_toml(&twice).unwrap_err()), ("value", "grant[1].name".to_owned()));
    let mut many = GOOD.to_owned();
    for number in 1..=16 {
        many += &grant
            .replace("chat-prod", &format!("chat-{number}"))
            .replace("bl = 10", &format!("bl = {number}"));
    }
    // Number 10 has the rules of the first one, which leaves 16.
    assert_eq!(read(&many), Ok(()));
    many += &grant.replace("chat-prod", "chat-17").replace("bl = 10", "bl = 17");
    assert_eq!(path_of(ReleasePolicy::from_toml(&many).unwrap_err()), ("value", "grant".to_owned()));
}

#[test]
fn refuses_what_is_no_toml_and_what_is_too_long() {
    assert_eq!(read("policy = \"a\"\nversion = = 1"), Err(PolicyError::Syntax { line: 2 }));
    assert_eq!(read("policy = \"a\"\npolicy = \"b\""), Err(PolicyError::Syntax { line: 2 }));
    let long = " ".repeat(MAX_POLICY_BYTES + 1);
    assert_eq!(read(&long), Err(PolicyError::TooLong { observed_bytes: MAX_POLICY_BYTES + 1 }));
    let deep = format!("policy = {}", "[".repeat(10_000));
    assert!(matches!(read(&deep), Err(PolicyError::Syntax { .. })));
}

#[test]
fn an_unknown_key_is_shown_short_and_in_ascii() {
    let text = format!("\"{}\\u001b\" = 1\n{GOOD}", "k".repeat(10));
    assert_eq!(
        path_of(ReleasePolicy::from_toml(&text).unwrap_err()),
        ("unknown", format!("{}?", "k".repeat(10)))
    );
}
