//! The measured-boot event log of a TD: the table `[event_log]` of profiles.

use crate::words::{list, none_or};
use crate::{PolicyError, Reader, Rule, hex, measurement};
use anchorhold_verifier::event_log::{Content, EventKind, Policy, RequiredEvent, Rtmr};
use toml::{Table, Value};

const REGISTERS: &str = "a list of \"rtmr0\", \"rtmr1\", \"rtmr2\", \"rtmr3\"";
const KIND: &str = "the number of an event type, such as 0x80000001";
/// The longest content of a required event, in bytes.
const MAX_DATA_BYTES: usize = 4096;

/// Reads the table `[event_log]` of a profile. What is left out has the value of [`Policy::strict`].
pub(crate) fn read(mut table: Reader) -> Result<Policy, PolicyError> {
    let mut policy = Policy::strict();
    policy.registers =
        table.or("registers", policy.registers, |table, key| table.list(key, REGISTERS, register))?;
    policy.allow_unknown_events = table.or("allow_unknown_events", false, Reader::truth)?;
    policy.require_secure_boot = table.or("require_secure_boot", false, Reader::truth)?;
    if table.has("required_events") && !table.take_word("required_events", "none") {
        let events = table.tables("required_events")?;
        policy.required_events = events.into_iter().map(required).collect::<Result<_, _>>()?;
    }
    table.finish()?;
    Ok(policy)
}

fn register(text: &str) -> Result<Rtmr, ()> {
    Rtmr::ALL.into_iter().find(|register| word(*register) == text).ok_or(())
}

fn word(register: Rtmr) -> &'static str {
    match register {
        Rtmr::Rtmr0 => "rtmr0",
        Rtmr::Rtmr1 => "rtmr1",
        Rtmr::Rtmr2 => "rtmr2",
        Rtmr::Rtmr3 => "rtmr3",
    }
}

fn required(mut table: Reader) -> Result<RequiredEvent, PolicyError> {
    let name = table.text("register")?;
    let register = register(&name).map_err(|()| table.wrong("register", "one of rtmr0 to rtmr3"))?;
    let kind = EventKind::from_code(table.number("kind", KIND)?);
    let content = if table.has("digest") {
        let text = table.text("digest")?;
        let digest = measurement(&text);
        let wrong = |_| table.wrong("digest", "a SHA-384 digest as \"sha384:…\"");
        Content::Digest(*digest.map_err(wrong)?.as_bytes())
    } else if table.has("data") {
        let text = table.text("data")?;
        let data = hex::decode_any(&text, MAX_DATA_BYTES);
        Content::Data(data.map_err(|()| table.wrong("data", "1 to 4096 bytes in hex"))?)
    } else {
        return Err(PolicyError::Missing { path: table.path_of("digest|data") });
    };
    table.finish()?;
    Ok(RequiredEvent { register, kind, content })
}

pub(crate) fn rules(policy: &Policy) -> Vec<Rule> {
    vec![
        Rule::restricts(
            "event_log.registers",
            list(&policy.registers, |register| word(*register)),
            "the registers whose history the log must be",
        )
        .weaker_if(policy.registers.len() < Rtmr::ALL.len(), "nothing is believed about the other registers"),
        Rule::permits(
            "event_log.allow_unknown_events",
            policy.allow_unknown_events,
            "events of types without a name are accepted",
        )
        .weaker_if(policy.allow_unknown_events, "nobody knows what such events measure"),
        Rule::demands(
            "event_log.require_secure_boot",
            policy.require_secure_boot,
            "Secure Boot was measured as on",
        ),
        Rule::restricts(
            "event_log.required_events",
            none_or(&policy.required_events, event),
            "events that the log must hold",
        ),
    ]
}

fn event(required: &RequiredEvent) -> Value {
    let (key, content) = match &required.content {
        Content::Digest(digest) => ("digest", format!("sha384:{}", hex::encode(digest))),
        Content::Data(data) => ("data", hex::encode(data)),
    };
    let mut table = Table::new();
    table.insert("register".to_owned(), Value::from(word(required.register)));
    table.insert("kind".to_owned(), Value::from(i64::from(required.kind.code())));
    table.insert(key.to_owned(), Value::from(content));
    Value::Table(table)
}
