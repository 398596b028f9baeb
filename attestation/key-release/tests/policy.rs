//! What a policy file may not be. The starting point is an example that is accepted.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests stop at a surprise")]

use anchorhold_key_release::{MAX_GRANTS, MAX_PLATFORMS, MAX_POLICY_BYTES, PolicyError, ReleasePolicy};
use toml::{Table, Value};

const GOOD: &str = include_str!("../../../policies/release/chat-prod.toml");
const GPU: &str = include_str!("../../../policies/release/gpu-board.toml");
const AZURE: &str = include_str!("../../../policies/release/azure-guests.toml");
/// Together they have every key that a policy may not leave out.
const EXAMPLES: [&str; 3] = [GOOD, GPU, AZURE];

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

/// Runs `change` on each key of each table of a fresh copy of each example, and gives its path and the changed file.
fn with_each_key(change: impl Fn(&mut Table, &str)) -> Vec<(String, String)> {
    EXAMPLES.into_iter().flat_map(|example| with_each_key_of(example, &change)).collect()
}

fn with_each_key_of(example: &str, change: &impl Fn(&mut Table, &str)) -> Vec<(String, String)> {
    let good: Table = example.parse().unwrap();
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
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/release")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            assert_eq!(read(&std::fs::read_to_string(&path).unwrap()), Ok(()), "{}", path.display());
        }
    }
}

#[test]
fn case_08_refuses_a_policy_without_any_one_of_its_keys() {
    let all = with_each_key(|table, key| drop(table.remove(key)));
    assert!(all.len() > 160, "{}", all.len());
    for (path, text) in all {
        match path.as_str() {
            // One of the two must be there, and without one of them its image has nothing to belong to.
            "grant[0].snp" | "grant[0].tdx" if text.contains("[grant.gpu]") => {
                assert!(matches!(read(&text).map_err(path_of), Err(("unknown", _))), "{path}");
            }
            "grant[0].snp" => {
                assert_eq!(read(&text).map_err(path_of), Err(("missing", "grant[0].snp|tdx".to_owned())));
            }
            // A family that is not named is refused at run time, and another PCR is still asked for.
            "grant[0].gpu" | "grant[0].paravisor" => assert_eq!(read(&text), Ok(())),
            _ if path.starts_with("grant[0].paravisor.pcrs.") => assert_eq!(read(&text), Ok(())),
            _ => assert_eq!(read(&text).map_err(path_of), Err(("missing", path))),
        }
    }
}

#[test]
fn case_08_refuses_an_unknown_key_in_every_table() {
    for example in EXAMPLES {
        let good: Table = example.parse().unwrap();
        let mut all = Vec::new();
        tables("", &good, &mut all);
        for path in all {
            let mut changed = good.clone();
            table_at(&mut changed, &path).insert("extra".to_owned(), Value::Boolean(true));
            let wanted = if path.is_empty() { "extra".to_owned() } else { format!("{path}.extra") };
            assert_eq!(read(&toml::to_string(&changed).unwrap()).map_err(path_of), Err(("unknown", wanted)));
        }
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
    let empty = |table: &mut Table, key: &str| {
        if table[key].is_array() {
            table.insert(key.to_owned(), Value::Array(Vec::new()));
        }
    };
    let lists: Vec<_> = with_each_key(empty).into_iter().filter(|(_, text)| text.contains("= []")).collect();
    assert!(lists.len() >= 25, "{}", lists.len());
    for (path, text) in lists {
        assert_eq!(read(&text).map_err(path_of), Err(("empty", path)));
    }
    for (table, key) in [
        ("revoked", "measurements"),
        ("revoked", "chips"),
        ("revoked", "platforms"),
        ("revoked", "devices"),
        ("revoked", "manifests"),
        ("revoked", "kids"),
        ("grant[0].model", "manifest"),
        ("grant[0].snp", "machines"),
        ("grant[0].tdx", "machines"),
        ("grant[0].tdx", "accepted_advisories"),
        ("grant[0].tdx", "allowed_service_tds"),
        ("grant[0].gpu", "machines"),
    ] {
        let mut changed: Table = GPU.parse().unwrap();
        table_at(&mut changed, table).insert(key.to_owned(), Value::Array(Vec::new()));
        let wanted = format!("{table}.{key}");
        assert_eq!(read(&toml::to_string(&changed).unwrap()).map_err(path_of), Err(("empty", wanted)));
    }
    let without_pcrs = AZURE.split("[grant.paravisor.pcrs]").next().unwrap().to_owned();
    let text = without_pcrs.replace("vm_ids ", "pcrs = {}\nvm_ids ");
    assert_eq!(read(&text).map_err(path_of), Err(("empty", "grant[0].paravisor.pcrs".to_owned())));
}

fn refused(from: &str, to: &str) -> (&'static str, String) {
    let text = GOOD.replacen(from, to, 1);
    assert_ne!(text, GOOD, "{from}");
    path_of(ReleasePolicy::from_toml(&text).unwrap_err())
}

#[test]
fn case_05_refuses_debug_profiling_and_migration_whatever_the_rest_says() {
    for key in ["snp.debug", "snp.migration", "tdx.debug", "tdx.profiling", "tdx.migration", "gpu.debug"] {
        let (family, name) = key.split_once('.').unwrap();
        let mut changed: Table = GPU.parse().unwrap();
        table_at(&mut changed, &format!("grant[0].{family}")).insert(name.to_owned(), Value::Boolean(true));
        let error = ReleasePolicy::from_toml(&toml::to_string(&changed).unwrap()).unwrap_err();
        assert_eq!(path_of(error), ("denied", format!("grant[0].{key}")));
    }
    for family in ["snp", "tdx", "gpu"] {
        let mut changed: Table = GPU.parse().unwrap();
        let table = table_at(&mut changed, &format!("grant[0].{family}"));
        table.insert("simulated".to_owned(), Value::Boolean(true));
        let error = ReleasePolicy::from_toml(&toml::to_string(&changed).unwrap()).unwrap_err();
        assert_eq!(path_of(error), ("denied", format!("grant[0].{family}.simulated")));
    }
}

#[test]
fn refuses_milan_without_a_reason_and_measurements_outside_the_image() {
    let teams = include_str!("../../../policies/release/two-teams.toml");
    let without: String = teams
        .lines()
        .filter(|line| !line.starts_with("milan_because"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(read(&without).map_err(path_of), Err(("missing", "grant[1].snp.milan_because".to_owned())));
    let digest = format!("sha384:{}", "a1".repeat(48));
    for (family, key) in [("snp", "measurements"), ("tdx", "mrtds"), ("tdx", "rtmr1")] {
        let mut changed: Table = GPU.parse().unwrap();
        let table = table_at(&mut changed, &format!("grant[0].{family}"));
        table.insert(key.to_owned(), Value::from(vec![digest.clone()]));
        let wanted = format!("grant[0].{family}.{key}");
        assert_eq!(read(&toml::to_string(&changed).unwrap()).map_err(path_of), Err(("unknown", wanted)));
    }
}

#[test]
fn refuses_too_many_images_and_one_twice() {
    let image = |number: usize| {
        let digest = |byte: usize| format!("sha384:{}", format!("{byte:02x}").repeat(48));
        format!(
            "{{ mrtd = \"{}\", rtmr0 = \"any\", rtmr1 = \"{}\", rtmr2 = \"any\", rtmr3 = \"any\" }}",
            digest(1),
            digest(number)
        )
    };
    let with = |numbers: &[usize]| {
        let images: Vec<String> = numbers.iter().map(|number| image(*number)).collect();
        let mut changed: Table = GPU.parse().unwrap();
        let tdx = format!("tdx = [{}]", images.join(", ")).parse::<Table>().unwrap();
        table_at(&mut changed, "grant[0].image").extend(tdx);
        read(&toml::to_string(&changed).unwrap()).map_err(path_of)
    };
    assert_eq!(with(&(0..16).collect::<Vec<_>>()), Ok(()));
    assert_eq!(with(&(0..17).collect::<Vec<_>>()), Err(("value", "grant[0].image.tdx".to_owned())));
    assert_eq!(with(&[1, 2, 1]), Err(("value", "grant[0].image.tdx[2]".to_owned())));
}

#[test]
fn refuses_a_tcb_floor_for_another_product_and_a_product_without_one() {
    let min_tcb = |key: &str| format!("grant[0].snp.min_tcb.{key}");
    let genoa_only = r#"["genoa"]"#;
    assert_eq!(refused(r#"["genoa", "turin"]"#, genoa_only), ("unknown", min_tcb("turin")));
    let milan_too = "[\"genoa\", \"turin\", \"milan\"]\nmilan_because = \"a trial\"";
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
        ("max_instances = 16", "max_instances = 65536", "grant[0].max_instances"),
        ("kids         = \"none\"", "kids = [\"ZZZ not a kid\"]", "revoked.kids[0]"),
        ("vmpls               = [0]", "vmpls               = [4]", "grant[0].snp.vmpls"),
        ("[\"x25519\", \"x-wing\"]", "[\"x448\"]", "grant[0].kem[0]"),
        ("anchor_max = \"any\"", "anchor_max = \"99ms\"", "grant[0].audit.anchor_max"),
        ("anchor_max = \"any\"", "anchor_max = \"61m\"", "grant[0].audit.anchor_max"),
        ("anchor_max = \"any\"", "anchor_max = \"1d\"", "grant[0].audit.anchor_max"),
        ("witnesses = 0", "witnesses = 17", "grant[0].audit.witnesses"),
        ("\"60m\"", "\"60500ms\"", "grant[0].lease"),
        ("cedar            = \"none\"", "cedar            = \"any\"", "cedar"),
        ("version          = 42", "version          = -1", "version"),
        ("acme/chat-70b", "acme/../chat", "grant[0].model.id"),
        ("\"acme-prod\"", "\"acme prod\"", "policy"),
        ("2027-01-31T00:00:00Z", "2027-01-31", "expires"),
        ("\"sha384:a1", "\"sha256:a1", "grant[0].image.measurements[0]"),
        ("[\"serve\"]", "[\"serve\", \"serve\"]", "grant[0].purpose[1]"),
        ("smt_allowed = \"any\"", "smt_allowed = \"on\"", "grant[0].snp.guest_policy.smt_allowed"),
    ] {
        assert_eq!(refused(from, to), ("value", path.to_owned()));
    }
}

#[test]
fn refuses_two_grants_of_one_name_and_too_many() {
    let grant = &GOOD[GOOD.find("[[grant]]").unwrap()..];
    let twice = format!("{GOOD}\n{grant}");
    assert_eq!(path_of(ReleasePolicy::from_toml(&twice).unwrap_err()), ("value", "grant[1].name".to_owned()));
    // As short as it gets, so that so many fit into one file.
    let short = |text: &str| {
        let lines = text.lines().map(|line| line.split(" #").next().unwrap().split_whitespace());
        lines.map(|words| words.collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join("\n")
    };
    let grant = &short(grant);
    let many = |count: usize| {
        let mut text = short(GOOD);
        for number in 1..count {
            text += &format!("\n{}", grant.replace("chat-prod", &format!("chat-{number}")));
        }
        read(&text).map_err(path_of)
    };
    assert_eq!(many(MAX_GRANTS), Ok(()));
    assert_eq!(many(MAX_GRANTS + 1), Err(("value", "grant".to_owned())));
}

#[test]
fn refuses_too_many_different_platforms() {
    // Each grant has 16 images of its own.
    let many = |grants: usize| {
        let good: Table = GPU.parse().unwrap();
        let mut changed = good.clone();
        let list = changed["grant"].as_array_mut().unwrap();
        let first = list.pop().unwrap();
        for number in 0..grants {
            let mut grant = first.clone();
            let image = grant["image"]["tdx"][0].clone();
            let images = (0..16).map(|at| {
                let mut image = image.clone();
                image["rtmr1"] = Value::from(format!("sha384:{:096x}", number * 16 + at));
                image
            });
            grant["image"]["tdx"] = Value::Array(images.collect());
            grant["name"] = Value::from(format!("grant-{number}"));
            list.push(grant);
        }
        read(&toml::to_string(&changed).unwrap()).map_err(path_of)
    };
    assert_eq!(many(MAX_PLATFORMS / 16), Ok(()));
    assert_eq!(many(MAX_PLATFORMS / 16 + 1), Err(("value", "grant".to_owned())));
}

#[test]
fn the_last_value_of_each_range_is_accepted() {
    for (from, to) in [
        ("\"60m\"", "\"1m\""),
        ("\"60m\"", "\"24h\""),
        ("anchor_max = \"any\"", "anchor_max = \"100ms\""),
        ("anchor_max = \"any\"", "anchor_max = \"1h\""),
        ("witnesses = 0", "witnesses = 16"),
        ("max_instances = 16", "max_instances = 1"),
    ] {
        assert!(GOOD.contains(from), "{from}");
        assert_eq!(read(&GOOD.replacen(from, to, 1)), Ok(()), "{to}");
    }
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
