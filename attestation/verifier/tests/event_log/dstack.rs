//! dstack's JSON event log.

use crate::support::*;
use anchorhold_verifier::event_log::dstack::{MAX_JSON_BYTES, read, runtime_data};
use anchorhold_verifier::event_log::{
    Content, EventData, EventKind, MAX_EVENTS, Policy, RequiredEvent, Rtmr, appraise,
};
use serde_json::{Value, json};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn runtime(name: &str, payload: &[u8]) -> Value {
    let digest = hex(&sha384(&runtime_data(name, payload)));
    json!({"imr": 3, "event_type": 0x0800_0001, "digest": digest, "event": name, "event_payload": hex(payload)})
}

fn code(events: &Value) -> String {
    place(read(&serde_json::to_vec(events).unwrap())).0
}

#[test]
fn runtime_events_are_proved_with_name_and_payload() {
    let json =
        serde_json::to_vec(&json!([runtime("app-id", &[1, 2]), runtime("system-ready", &[])])).unwrap();
    let replayed = read(&json).unwrap();
    let data = [&1_u8.to_le_bytes()[..], &[0, 0, 8], b":app-id:\x01\x02"].concat();
    assert_eq!(replayed.events()[0].data(), EventData::Proved(&data));
    assert_eq!(replayed.events()[0].kind(), EventKind::DstackRuntime);
    let rtmr3 = extend(extend([0; 48], &sha384(&data)), &sha384(&runtime_data("system-ready", &[])));
    assert_eq!(replayed.rtmrs(), &[[0; 48], [0; 48], [0; 48], rtmr3]);
}

#[test]
fn refuses_other_json() {
    let good = runtime("app-id", &[1]);
    let with = |key: &str, value: Value| {
        let mut event = good.clone();
        event[key] = value;
        json!([event])
    };
    let digest = good["digest"].as_str().unwrap();
    for events in [
        json!({}),
        json!([1]),
        with("more", json!(1)),
        with("imr", json!(4)),
        with("imr", json!(-1)),
        with("event_type", json!(1_u64 << 32)),
        with("digest", json!(digest[2..])),
        with("digest", json!(digest.to_uppercase())),
        with("digest", json!(format!("{digest}00"))),
        with("event_payload", json!("0")),
        with("event_payload", json!("0g")),
    ] {
        assert_eq!(code(&events), "eventlog_dstack_json", "{events}");
    }
    let twice = serde_json::to_string(&json!([good])).unwrap().replacen("{", "{\"imr\":3,", 1);
    assert_eq!(place(read(twice.as_bytes())).0, "eventlog_dstack_json");
}

#[test]
fn case_09_refuses_json_over_its_limits() {
    let many = |count| Value::from(vec![runtime("e", &[]); count]);
    assert!(read(&serde_json::to_vec(&many(MAX_EVENTS)).unwrap()).is_ok());
    assert_eq!(code(&many(MAX_EVENTS + 1)), "eventlog_dstack_json");
    let mut long = b"[]".to_vec();
    long.resize(MAX_JSON_BYTES, b' ');
    assert!(read(&long).is_ok());
    long.push(b' ');
    assert_eq!(place(read(&long)).0, "eventlog_dstack_json");
}

#[test]
fn refuses_a_runtime_event_of_another_digest() {
    for (key, value) in
        [("event", json!("app-ie")), ("event_payload", json!("02")), ("digest", json!(hex(&[0; 48])))]
    {
        let mut event = runtime("app-id", &[1]);
        event[key] = value;
        assert_eq!(code(&json!([event])), "eventlog_dstack_digest", "{key}");
    }
}

#[test]
fn refuses_a_name_that_moves_the_border_to_the_payload() {
    assert_eq!(runtime_data("a:b", b"c"), runtime_data("a", b"b:c"));
    assert_eq!(code(&json!([runtime("a:b", b"c")])), "eventlog_dstack_digest");
    assert!(read(&serde_json::to_vec(&json!([runtime("a", b"b:c")])).unwrap()).is_ok());
}

#[test]
fn the_real_sample_replays_to_its_quote() {
    let Some(json) = sample("tdx/v4-dstack-report/event-log.json") else { return };
    let quote = sample("tdx/v4-dstack-report/quote.bin").unwrap();
    let replayed = read(&json).unwrap();
    let key_provider = replayed.events().iter().find_map(|event| match event.data() {
        EventData::Proved(data) => data.strip_prefix(b"\x01\0\0\x08:key-provider:"),
        EventData::Unproved { .. } => None,
    });
    assert!(key_provider.unwrap().starts_with(b"{\"name\":\"local-sgx\""));
    let mut policy = Policy::strict();
    policy.required_events.push(RequiredEvent {
        register: Rtmr::Rtmr3,
        kind: EventKind::DstackRuntime,
        content: Content::Data(runtime_data("system-ready", &[])),
    });
    appraise(Some(&replayed), &crate::real::rtmrs(&quote), &policy)
        .unwrap_or_else(|refusal| panic!("{refusal}"));
}
