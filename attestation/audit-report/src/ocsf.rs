//! Entries as events of the Open Cybersecurity Schema Framework, release 1.8.0 (schema.ocsf.io), one JSON object each.
//!
//! Class and activity are the entry's own. Where a class asks for an object that our entries do not have, the guest or the log stands
//! there under its public name; nothing is made up. What the schema has no place for goes under `unmapped`, so that nothing of an entry is
//! lost. Fields that could carry text of a request (`message_context`, `raw_data`, `http_request`) are never written.

use crate::csv::{leaf_hash, word};
use anchorhold_audit_log::{ActorKind, Entry, Outcome, Request};
use serde_json::{Map, Value, json};

/// The schema's release.
pub const VERSION: &str = "1.8.0";

/// The event of one entry of the log with this origin.
#[must_use]
pub fn event(entry: &Entry, origin: &str) -> Value {
    let mut event = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            event.insert(name.to_owned(), value);
        }
    };
    put("activity_id", json!(entry.act));
    if entry.act == 99 {
        put("activity_name", json!(entry.kind.name()));
    }
    put("category_uid", json!(entry.cls / 1000));
    put("class_uid", json!(entry.cls));
    put("type_uid", json!(u64::from(entry.cls) * 100 + u64::from(entry.act)));
    put("severity_id", json!(entry.sev));
    put("time", json!(entry.t.div_euclid(1_000_000)));
    let (status, status_name) = status(entry.out);
    put("status_id", json!(status));
    put("status", json!(status_name));
    put("status_code", json!(entry.code));
    put("message", json!(format!("{} {}", entry.kind.name(), entry.code)));
    put("metadata", metadata(entry, origin));
    put("raw_data_hash", leaf_hash(entry).map_or(Value::Null, |hash| {
        json!({"algorithm": "SHA-256 of 0x00 and the entry (RFC 6962 leaf)", "algorithm_id": 99, "value": hash})
    }));
    put("unmapped", unmapped(entry));
    for (name, value) in of_class(entry, origin) {
        put(name, value);
    }
    Value::Object(event)
}

const fn status(outcome: Outcome) -> (u8, &'static str) {
    match outcome {
        Outcome::Success => (1, "Success"),
        Outcome::Failure => (2, "Failure"),
        Outcome::Denied => (2, "Denied"),
        Outcome::Error => (2, "Error"),
        Outcome::Cancelled => (99, "Cancelled"),
    }
}

fn metadata(entry: &Entry, origin: &str) -> Value {
    let mut metadata = json!({
        "event_code": entry.kind.name(),
        "log_name": origin,
        "log_version": entry.v.to_string(),
        "original_time": entry.t.to_string(),
        "product": product(),
        "sequence": entry.seq,
        "uid": entry.id,
        "version": VERSION,
    });
    let tenant = entry.actor.as_ref().and_then(|actor| actor.tenant.as_ref());
    let more = [
        ("correlation_uid", entry.corr.as_ref().map(|corr| json!(corr))),
        ("tenant_uid", tenant.map(|tenant| json!(tenant))),
        ("profiles", profile(entry).map(|profile| json!([profile]))),
    ];
    if let Value::Object(metadata) = &mut metadata {
        metadata.extend(more.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    }
    metadata
}

/// The profile that the class needs for what is written beyond its own attributes.
fn profile(entry: &Entry) -> Option<&'static str> {
    match entry.cls {
        6002 | 6008 => Some("host"),
        _ => ai_model(entry).map(|_| "ai_operation"),
    }
}

fn product() -> Value {
    json!({"name": "Anchorhold", "vendor_name": "Anchorhold", "version": env!("CARGO_PKG_VERSION")})
}

/// What the schema has no place for, in the entry's own names.
fn unmapped(entry: &Entry) -> Value {
    let parts = [
        ("boot", json!(entry.boot)),
        ("cfg", json!(entry.cfg)),
        ("decision", json!(entry.decision)),
        ("keep", json!(entry.keep)),
        ("key", json!(entry.key)),
        ("log", json!(entry.log)),
        ("model", json!(entry.model)),
        ("mono", json!(entry.mono)),
        ("platform", json!(entry.platform)),
        ("pseudonym", json!(entry.actor.as_ref().and_then(|actor| actor.pseud))),
        ("req", json!(entry.req)),
        // Its ciphertext is of no use to a reader of events, who has no key.
        ("sealed", json!(entry.sealed.as_ref().map(|sealed| json!({"kid": sealed.kid, "state": "present"})))),
    ];
    Value::Object(parts.into_iter().filter(|(_, v)| !v.is_null()).map(|(n, v)| (n.to_owned(), v)).collect())
}

/// What the entry's class asks for beyond the base event.
fn of_class(entry: &Entry, origin: &str) -> Vec<(&'static str, Value)> {
    let guest = json!({"boot_uid": entry.boot, "name": origin, "type_id": 6, "uid": entry.boot});
    let service = json!({"name": origin, "uid": entry.boot});
    match entry.cls {
        1007 => vec![
            ("actor", actor(entry)),
            ("device", guest),
            (
                "process",
                json!({"name": actor_kind(entry), "uid": format!("{}/{}", entry.boot, actor_kind(entry))}),
            ),
        ],
        1008 => vec![
            ("actor", actor(entry)),
            ("device", guest),
            ("log_name", json!(origin)),
            ("log_type_id", json!(99)),
            ("log_type", json!("Audit")),
        ],
        2004 => {
            vec![("finding_info", json!({"title": entry.kind.name(), "uid": entry.id})), ("device", guest)]
        }
        3002 | 3003 => vec![("user", user(entry)), ("service", service)],
        3004 => vec![("actor", actor(entry)), ("entity", entity(entry))],
        5002 => vec![("device", guest)],
        6002 => vec![("app", app(entry)), ("device", guest)],
        6008 => vec![("device", guest)],
        6003 => {
            let mut api = json!({"operation": operation(entry), "service": service});
            let request = entry.req.as_ref();
            if let (Some(request), Value::Object(api)) = (request, &mut api) {
                api.insert("request".to_owned(), json!({"uid": request.rid}));
            }
            let response =
                request.and_then(|request| Some(json!({"code": request.status?, "latency": request.ms})));
            vec![
                ("actor", actor(entry)),
                ("api", api),
                ("src_endpoint", json!({"name": actor_kind(entry)})),
                ("http_response", json!(response)),
                ("duration", json!(request.map(|request| request.ms))),
                ("ai_model", json!(ai_model(entry))),
            ]
        }
        6005 => vec![
            ("actor", actor(entry)),
            ("src_endpoint", json!({"name": actor_kind(entry)})),
            ("databucket", json!({"name": model_name(entry), "type": "sealed model package", "type_id": 99})),
        ],
        _ => Vec::new(),
    }
}

fn actor_kind(entry: &Entry) -> String {
    entry.actor.as_ref().and_then(|actor| word(&actor.kind)).unwrap_or_else(|| "system".to_owned())
}

/// A caller is its tenant; everybody else is a part of the system.
fn actor(entry: &Entry) -> Value {
    match &entry.actor {
        Some(actor) if actor.tenant.is_some() || actor.kind == ActorKind::Client => {
            json!({"user": user(entry)})
        }
        _ => json!({"app_name": actor_kind(entry)}),
    }
}

fn user(entry: &Entry) -> Value {
    let tenant = entry.actor.as_ref().and_then(|actor| actor.tenant.as_ref());
    tenant.map_or_else(
        || json!({"name": "unknown", "type_id": 0}),
        |tenant| json!({"type": "Tenant", "type_id": 99, "uid": tenant}),
    )
}

/// What was managed: a key, a setting, a policy or a log, by its public name.
fn entity(entry: &Entry) -> Value {
    let named = [
        ("Key", entry.key.as_ref().map(|key| json!(key.kid))),
        ("Setting", entry.cfg.as_ref().map(|setting| json!(setting.name))),
        ("Policy", entry.decision.as_ref().map(|decision| json!(decision.policy_id))),
        ("Model", entry.model.as_ref().map(|model| json!(model.id))),
        ("Legal hold", entry.keep.as_ref().and_then(|keep| keep.hold.as_ref()).map(|hold| json!(hold))),
        ("Subject key", entry.keep.as_ref().and_then(|keep| keep.kid).map(|kid| json!(kid))),
    ];
    let found = named.into_iter().find_map(|(kind, name)| Some((kind, name?)));
    let (kind, name) = found.unwrap_or(("System", json!("anchorhold")));
    json!({"name": name, "type": kind, "type_id": 99})
}

fn app(entry: &Entry) -> Value {
    if entry.model.is_none() {
        return product();
    }
    let mut app = json!({"name": model_name(entry), "vendor_name": "model owner"});
    if let (Some(version), Value::Object(app)) = (entry.model.as_ref().and_then(|model| model.ver), &mut app)
    {
        app.insert("version".to_owned(), json!(version.to_string()));
    }
    app
}

fn model_name(entry: &Entry) -> String {
    entry.model.as_ref().map_or_else(|| "unknown".to_owned(), |model| model.id.to_string())
}

fn operation(entry: &Entry) -> String {
    entry
        .req
        .as_ref()
        .and_then(|request: &Request| word(&request.route))
        .unwrap_or_else(|| entry.kind.name().to_owned())
}

/// The model of a request; its owner is not known here, so the provider is the system that serves it.
fn ai_model(entry: &Entry) -> Option<Value> {
    let model = entry.model.as_ref().filter(|_| entry.cls == 6003)?;
    let version = model.ver.map_or_else(|| "unknown".to_owned(), |version| version.to_string());
    Some(json!({"ai_provider": "Anchorhold", "name": model.id, "version": version}))
}
