//! Every event that the exporter can write, against the rules of the published schema in `tests/vectors/audit/ocsf-rules.json`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests stop at a surprise")]

mod entries;

use anchorhold_audit_log::{Actor, ActorKind, Event, EventType, Outcome, TenantId};
use anchorhold_audit_report::ocsf;
use serde_json::Value;

const OUTCOMES: [Outcome; 5] =
    [Outcome::Success, Outcome::Failure, Outcome::Denied, Outcome::Cancelled, Outcome::Error];

fn rules() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/audit/ocsf-rules.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Whatever breaks the schema's rules, in words.
fn faults(rules: &Value, event: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let class = &rules["classes"][event["class_uid"].to_string()];
    if class.is_null() {
        return vec![format!("no class {}", event["class_uid"])];
    }
    if event["category_uid"] != class["category"] {
        faults.push("category".to_owned());
    }
    let (Some(class_uid), Some(activity)) = (event["class_uid"].as_u64(), event["activity_id"].as_u64())
    else {
        return vec!["no class or activity".to_owned()];
    };
    if event["type_uid"] != class_uid * 100 + activity {
        faults.push("type_uid".to_owned());
    }
    let named = event["metadata"]["profiles"].as_array().cloned().unwrap_or_default();
    let profiles: Vec<&str> = named.iter().filter_map(Value::as_str).collect();
    for profile in &profiles {
        if !class["profiles"].as_array().unwrap().iter().any(|known| known == profile) {
            faults.push(format!("profile {profile}"));
        }
    }
    of_object((rules, class), event, &profiles, ("event", &mut faults));
    faults
}

fn of_object(
    (rules, rule): (&Value, &Value),
    object: &Value,
    profiles: &[&str],
    (path, faults): (&str, &mut Vec<String>),
) {
    let Some(fields) = object.as_object() else {
        faults.push(format!("{path} is no object"));
        return;
    };
    let attributes = rule["attributes"].as_object().unwrap();
    for (name, attribute) in attributes {
        let applies = attribute["profile"].as_str().is_none_or(|profile| profiles.contains(&profile));
        if attribute["required"] == true && applies && !fields.contains_key(name) {
            faults.push(format!("{path}.{name} is missing"));
        }
    }
    let any = rule["at_least_one"].as_array().unwrap();
    if !any.is_empty() && !any.iter().any(|name| fields.contains_key(name.as_str().unwrap())) {
        faults.push(format!("{path} has none of {any:?}"));
    }
    for (name, value) in fields {
        let path = format!("{path}.{name}");
        match attributes.get(name) {
            None => faults.push(format!("{path} is not in the schema")),
            Some(attribute) => {
                if attribute["profile"].as_str().is_some_and(|profile| !profiles.contains(&profile)) {
                    faults.push(format!("{path} needs its profile"));
                }
                of_value((rules, attribute), value, profiles, (&path, faults));
            }
        }
    }
}

fn of_value(
    (rules, attribute): (&Value, &Value),
    value: &Value,
    profiles: &[&str],
    (path, faults): (&str, &mut Vec<String>),
) {
    if attribute["array"] == true {
        let Some(items) = value.as_array() else {
            faults.push(format!("{path} is no list"));
            return;
        };
        let mut one = attribute.clone();
        one["array"] = Value::Bool(false);
        return items.iter().for_each(|item| of_value((rules, &one), item, profiles, (path, faults)));
    }
    let kind = attribute["type"].as_str().unwrap();
    if attribute["object"] == true {
        // `object` is the schema's word for an object of any shape.
        if kind != "object" {
            let rule = &rules["objects"][kind];
            assert!(!rule.is_null(), "{path}: make the rules anew with object {kind}");
            of_object((rules, rule), value, profiles, (path, faults));
        }
        return;
    }
    let fits = match rules["types"][kind].as_str().unwrap() {
        "integer_t" | "long_t" => value.is_i64() || value.is_u64(),
        "boolean_t" => value.is_boolean(),
        "string_t" => value.is_string(),
        other => panic!("{path}: nothing is known of type {other}"),
    };
    let listed = attribute["values"].as_array().is_none_or(|values| {
        let written = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        values.iter().any(|known| *known == written)
    });
    if !fits || !listed {
        faults.push(format!("{path} is {value}, which is no {kind} or not in its list"));
    }
}

#[test]
fn every_event_keeps_to_the_published_schema() {
    let rules = rules();
    assert_eq!(rules["version"], ocsf::VERSION);
    let mut checked = 0;
    for kind in EventType::ALL {
        for outcome in OUTCOMES {
            for event in entries::bare_and_full(*kind, outcome) {
                let written = ocsf::event(&entries::entry(&event, 4), entries::ORIGIN);
                assert_eq!(faults(&rules, &written), Vec::<String>::new(), "{written:#}");
                checked += 1;
            }
        }
    }
    assert_eq!(checked, EventType::ALL.len() * 10);
}

/// One event of each class with every part filled, and one of each outcome with none, for whoever writes a parser.
#[test]
fn the_published_events_are_those_that_are_written() {
    let mut classes = std::collections::BTreeSet::new();
    let full = EventType::ALL.iter().filter(|kind| classes.insert(kind.class())).map(|kind| {
        let [_, full] = entries::bare_and_full(*kind, Outcome::Success);
        full
    });
    let bare = OUTCOMES.map(|outcome| {
        let [bare, _] = entries::bare_and_full(EventType::InferComplete, outcome);
        bare
    });
    let events = full.chain(bare).zip(0..);
    let lines = events.map(|(event, seq)| {
        let mut written = ocsf::event(&entries::entry(&event, seq), entries::ORIGIN);
        // The order of names depends on what else is built with serde_json, and the version of the program is not the format's.
        written.sort_all_objects();
        let product = &mut written["metadata"]["product"]["version"];
        assert_eq!(*product, env!("CARGO_PKG_VERSION"));
        *product = "*".into();
        format!("{written}\n")
    });
    entries::is_published("ocsf-events.jsonl", &lines.collect::<String>());
}

#[test]
fn the_checker_finds_what_is_wrong() {
    let rules = rules();
    let [_, full] = entries::bare_and_full(EventType::InferComplete, Outcome::Success);
    let good = ocsf::event(&entries::entry(&full, 4), entries::ORIGIN);
    type Fault = fn(&mut Value);
    let wrong: [(&str, Fault); 8] = [
        ("event.api is missing", |event| {
            event.as_object_mut().unwrap().remove("api");
        }),
        ("event.actor has none of", |event| event["actor"] = serde_json::json!({})),
        ("event.prompt is not in the schema", |event| event["prompt"] = Value::String("x".to_owned())),
        ("event.severity_id is 9", |event| event["severity_id"] = 9.into()),
        ("event.time is", |event| event["time"] = Value::String("now".to_owned())),
        ("type_uid", |event| event["type_uid"] = 1.into()),
        ("event.ai_model needs its profile", |event| {
            event["metadata"].as_object_mut().unwrap().remove("profiles");
        }),
        ("event.actor.user.uid is 5", |event| event["actor"]["user"]["uid"] = 5.into()),
    ];
    for (wanted, break_it) in wrong {
        let mut event = good.clone();
        break_it(&mut event);
        let found = faults(&rules, &event);
        assert!(found.iter().any(|fault| fault.starts_with(wanted)), "{wanted}: {found:?}");
    }
}

#[test]
fn nothing_of_an_entry_is_lost_and_its_leaf_is_named() {
    let [_, full] = entries::bare_and_full(EventType::KeyRefuse, Outcome::Denied);
    let entry = entries::entry(&full, 4);
    let written = ocsf::event(&entry, entries::ORIGIN);
    let parts: Value = serde_json::from_slice(&entry.to_bytes().unwrap()).unwrap();
    for part in ["boot", "cfg", "decision", "key", "log", "model", "mono", "platform", "req"] {
        assert_eq!(written["unmapped"][part], parts[part], "{part}");
    }
    assert_eq!(written["metadata"]["sequence"], 4);
    assert_eq!(written["status_code"], "some_reason");
    let leaf = anchorhold_audit_log::merkle::leaf_hash(&entry.to_bytes().unwrap());
    assert_eq!(written["raw_data_hash"]["value"], leaf.to_string());
}

/// A caller is its tenant, or an unknown user; who is no caller is a part of the system unless a tenant is named.
#[test]
fn the_actor_of_an_event_is_a_user_or_a_part_of_the_system() {
    let told = |actor: Option<Actor>| {
        let event = Event { actor, ..Event::new(EventType::PolicyLoad, Outcome::Success, entries::at(0)) };
        ocsf::event(&entries::entry(&event, 4), entries::ORIGIN)["actor"].clone()
    };
    let of = |kind, tenant: Option<TenantId>| Some(Actor { tenant, ..Actor::new(kind) });
    let clinic = TenantId::new("clinic").ok();
    assert_eq!(told(of(ActorKind::Client, clinic.clone()))["user"]["uid"], "clinic");
    assert_eq!(told(of(ActorKind::Client, None))["user"]["name"], "unknown");
    assert_eq!(told(of(ActorKind::Broker, clinic))["user"]["uid"], "clinic");
    for (actor, name) in [(of(ActorKind::Broker, None), "broker"), (None, "system")] {
        assert_eq!(told(actor), serde_json::json!({"app_name": name}));
    }
}
