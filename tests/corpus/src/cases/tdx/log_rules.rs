//! Rules of an appraisal profile about event logs, limits of logs, and dstack's form of them.

use super::{MRTD, Made, TdConfig};
use crate::cases::bytes::put;
use crate::cases::profile::{Profile, hex};
use crate::writer::{Case, Suite};
use anchorhold_attester::software::tdx::{Boot, Event, EventLog, Registers};
use ring::digest::{SHA384, digest};
use serde_json::{Value, json};

const STAGE: &str = "eventlog";
const VARIABLE: u32 = 0x8000_0001;
const NO_ACTION: u32 = 3;
const DSTACK_RUNTIME: u32 = 0x0800_0001;
/// EFI_GLOBAL_VARIABLE.
const GLOBAL_VARIABLE: [u8; 16] =
    [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c];

pub(super) fn write(suite: &mut Suite, plain: &Made) -> anyhow::Result<()> {
    profiles(suite, plain)?;
    limits(suite, plain)?;
    dstack(suite)
}

/// A TD whose registers are those of this log, with the log.
fn logged(log: &EventLog) -> anyhow::Result<Case> {
    let made = Made::new(TdConfig { registers: Registers::Log(log.clone()), ..TdConfig::new(MRTD) })?;
    Ok(made.case().file("eventlog", log.encode()))
}

fn boot(secure_boot: u8) -> EventLog {
    let mut log = EventLog::boot(&Boot::default());
    if let Some(first) = log.events.first_mut() {
        *first = Event::variable(VARIABLE, GLOBAL_VARIABLE, "SecureBoot", &[secure_boot]);
    }
    log
}

fn profiles(suite: &mut Suite, plain: &Made) -> anyhow::Result<()> {
    let asks = Profile::tdx().with("event_log.allow_unknown_events", "false");
    let secure = asks.clone().with("event_log.require_secure_boot", "true").text();
    let (on, off) = (logged(&boot(1))?, logged(&boot(0))?);
    suite.add(
        "tdx-profile-good-log",
        on.clone().file("profile", secure.clone()),
        "Secure Boot was measured",
    )?;
    let case = off.file("profile", secure.clone()).refused(STAGE, "eventlog_secure_boot");
    suite.add("tdx-profile-secure-boot-off", case, "Secure Boot was measured as off")?;
    let mut late = boot(0);
    late.events.push(Event::variable(VARIABLE, GLOBAL_VARIABLE, "SecureBoot", &[1]));
    let case = logged(&late)?.file("profile", secure).refused(STAGE, "eventlog_secure_boot");
    suite.add(
        "tdx-profile-secure-boot-late",
        case,
        "a measurement after the separator says that it is on",
    )?;
    let mut unknown = boot(1);
    unknown.events.push(Event::new(1, 0x8000_0100, b"x", b"x"));
    let unknown = logged(&unknown)?;
    suite.add(
        "tdx-good-unknown-event",
        unknown.clone(),
        "an event of an unknown type, about which nobody asked",
    )?;
    let case = unknown.file("profile", asks.text()).refused(STAGE, "eventlog_unknown_event");
    suite.add("tdx-profile-unknown-event", case, "nobody knows what such an event measures")?;
    let required = |register: &str, text: &str| {
        let event = format!("[{{ register = \"{register}\", kind = 13, data = {} }}]", hex(text.as_bytes()));
        asks.clone().with("event_log.required_events", event).text()
    };
    let line = Boot::default().command_line;
    let case = on.clone().file("profile", required("rtmr2", &line));
    suite.add("tdx-profile-good-required-event", case, "the command line that is asked for")?;
    let case = on.clone().file("profile", required("rtmr2", "debug"));
    suite.add(
        "tdx-profile-required-event",
        case.refused(STAGE, "eventlog_required_event"),
        "another command line",
    )?;
    let elsewhere = on.file("profile", required("rtmr1", &line)).refused(STAGE, "eventlog_required_event");
    suite.add("tdx-profile-required-register", elsewhere, "the command line in another register")?;
    let case = plain.case().file("profile", asks.text()).refused(STAGE, "eventlog_missing");
    suite.add("tdx-profile-no-log", case, "the profile asks for a log and there is none")
}

fn limits(suite: &mut Suite, plain: &Made) -> anyhow::Result<()> {
    let with = |log: Vec<u8>| plain.case().file("eventlog", log);
    let refused = |log: &EventLog, code: &'static str| with(log.encode()).refused(STAGE, code);
    let mut long = boot(1).encode();
    long.resize(256 * 1024 + 1, 0xff);
    suite.add("tdx-log-length", with(long).refused(STAGE, "eventlog_length"), "a log over 256 KiB")?;
    for (id, offset, value) in [("sha256", 60, 0x0b), ("digest-length", 62, 32)] {
        let mut log = boot(1);
        put(&mut log.header, offset, value);
        let case = refused(&log, "eventlog_algorithms");
        suite.add(format!("tdx-log-algorithms-{id}"), case, "the header names no SHA-384 of 48 bytes")?;
    }
    let mut many = EventLog::new(vec![Event::separator(1); 2049]);
    many.padding.clear();
    suite.add("tdx-log-event-count", refused(&many, "eventlog_event_count"), "more than 2048 records")?;
    let mut huge = EventLog { padding: vec![], ..EventLog::new(vec![Event::new(1, 6, b"", b"")]) }.encode();
    let end = huge.len() - 4;
    if let Some(length) = huge.get_mut(end..) {
        length.fill(0xff);
    }
    let case = with(huge).refused(STAGE, "eventlog_event_length");
    suite.add("tdx-log-event-length", case, "an event of nearly 4 GiB")?;
    let mut twice = boot(1);
    let header: Vec<u8> = twice.header.iter().skip(32).copied().collect();
    twice.events.push(Event::new(1, NO_ACTION, b"", &header));
    let case = refused(&twice, "eventlog_second_header");
    suite.add("tdx-log-second-header", case, "another header among the records")
}

/// A runtime event of dstack, whose digest is over type, name and payload.
fn runtime(name: &str, payload: &[u8]) -> Value {
    let measured = [&DSTACK_RUNTIME.to_le_bytes()[..], b":", name.as_bytes(), b":", payload].concat();
    let text = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    json!({
        "imr": 3, "event_type": DSTACK_RUNTIME, "digest": text(digest(&SHA384, &measured).as_ref()),
        "event": name, "event_payload": text(payload),
    })
}

fn dstack(suite: &mut Suite) -> anyhow::Result<()> {
    let measured = [&DSTACK_RUNTIME.to_le_bytes()[..], b":app-id:", &[7; 20]].concat();
    let log = EventLog::new(vec![Event::new(4, DSTACK_RUNTIME, &measured, b"")]);
    let made = Made::new(TdConfig { registers: Registers::Log(log), ..TdConfig::new(MRTD) })?;
    let good = runtime("app-id", &[7; 20]);
    let with = |events: Value| made.case().file("dstack-eventlog", events.to_string());
    suite.add("tdx-good-dstack-log", with(json!([good])), "the history of the quote's registers")?;
    let asks = Profile::tdx().with("event_log.registers", "[\"rtmr3\"]").text();
    let case = with(json!([good])).file("profile", asks.clone());
    suite.add("tdx-profile-good-dstack-log", case, "a profile that asks for it")?;
    let case = with(json!([])).file("profile", asks).refused(STAGE, "eventlog_replay");
    suite.add("tdx-profile-dstack-empty", case, "an empty log")?;
    let changed = |key: &str, value: Value| {
        let mut event = good.clone();
        if let Some(member) = event.get_mut(key) {
            *member = value;
        }
        with(json!([event]))
    };
    for (id, case, why) in [
        ("object", with(json!({})), "no list"),
        ("register-4", changed("imr", json!(4)), "there is no such register"),
        ("digest-short", changed("digest", json!("00")), "a digest of another length"),
        ("payload-odd", changed("event_payload", json!("0")), "a payload that is not in hex"),
    ] {
        suite.add(format!("tdx-dstack-{id}"), case.refused(STAGE, "eventlog_dstack_json"), why)?;
    }
    for (id, key, value, why) in [
        ("name", "event", json!("app-ie"), "another name than was measured"),
        ("payload", "event_payload", json!("07"), "another payload than was measured"),
    ] {
        let case = changed(key, value).refused(STAGE, "eventlog_dstack_digest");
        suite.add(format!("tdx-dstack-{id}"), case, why)?;
    }
    let case = with(json!([runtime("app:id", b"")])).refused(STAGE, "eventlog_dstack_digest");
    suite.add("tdx-dstack-colon", case, "a colon in a name moves the border to the payload")?;
    let case = with(json!([good, good])).refused(STAGE, "eventlog_replay");
    suite.add("tdx-dstack-twice", case, "an event too many")
}
