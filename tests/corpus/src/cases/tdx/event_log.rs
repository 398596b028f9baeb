//! Event logs beside a quote.

use super::{MRTD, Made, TdConfig};
use crate::cases::bytes::{flip, put};
use crate::writer::{Case, Suite};
use anchorhold_attester::software::tdx::{Boot, Event, EventDigest, EventLog, Registers};

const STAGE: &str = "eventlog";
/// A name, a change, and what is wrong then.
type Edit<'a> = (&'a str, &'a dyn Fn(&mut EventLog), &'a str);

const SHA384: u16 = 0x0c;

pub(super) fn write(suite: &mut Suite, plain: &Made) -> anyhow::Result<()> {
    let boot = Boot { kernel: b"kernel".to_vec(), command_line: "quiet".into(), initrd: b"initrd".to_vec() };
    let log = EventLog::boot(&boot);
    let made = Made::new(TdConfig { registers: Registers::Log(log.clone()), ..TdConfig::new(MRTD) })?;
    let with = |bytes: Vec<u8>| made.case().file("eventlog", bytes).rule("require_eventlog", true);
    let edited = |edit: &dyn Fn(&mut EventLog)| -> Case {
        let mut other = log.clone();
        edit(&mut other);
        with(other.encode())
    };
    suite.add("tdx-good-event-log", with(log.encode()), "the history of the quote's registers")?;
    let case = plain.case().rule("require_eventlog", true).refused(STAGE, "eventlog_missing");
    suite.add("tdx-no-event-log", case, "the policy asks for a log and there is none")?;
    let replay: [Edit<'_>; 4] = [
        ("event-removed", &|log| drop(log.events.remove(1)), "an event is missing"),
        ("event-added", &|log| log.events.push(Event::action(1, "more")), "an event was added"),
        ("events-exchanged", &|log| log.events.swap(0, 1), "two events changed places"),
        ("event-digest", &|log| change_digest(log), "another digest"),
    ];
    for (id, edit, why) in replay {
        suite.add(format!("tdx-log-{id}"), edited(edit).refused(STAGE, "eventlog_replay"), why)?;
    }
    let encoded = EventLog { padding: vec![], ..log.clone() }.encode();
    for (id, length, code) in [
        ("empty", 0, "eventlog_header"),
        ("cut-header", 20, "eventlog_header"),
        ("cut-event", encoded.len() - 5, "eventlog_truncated"),
    ] {
        let cut = encoded.iter().copied().take(length).collect();
        suite.add(format!("tdx-log-{id}"), with(cut).refused(STAGE, code), "the log ends inside a record")?;
    }
    let case = edited(&|log| flip(&mut log.header, 32)).refused(STAGE, "eventlog_header");
    suite.add("tdx-log-spec-id", case, "the first record is not a Spec ID event")?;
    let case = edited(&|log| log.events.push(Event::action(5, "x"))).refused(STAGE, "eventlog_register");
    suite.add("tdx-log-register-5", case, "there is no such register")?;
    let case = edited(&|log| log.events.push(Event::action(0, "x"))).refused(STAGE, "eventlog_register");
    suite.add("tdx-log-register-0", case, "an event of MRTD")?;
    let case = edited(&|log| set_digests(log, vec![])).refused(STAGE, "eventlog_digests");
    suite.add("tdx-log-no-digest", case, "an event without a digest")?;
    let case = edited(&|log| {
        set_digests(log, vec![EventDigest { algorithm: SHA384, bytes: vec![0; 48] }; 2]);
    });
    suite.add("tdx-log-two-digests", case.refused(STAGE, "eventlog_digests"), "two SHA-384 digests")?;
    let case = edited(&|log| set_digests(log, vec![EventDigest { algorithm: 0x12, bytes: vec![0; 32] }]));
    suite.add(
        "tdx-log-algorithm",
        case.refused(STAGE, "eventlog_digests"),
        "an algorithm that the header lacks",
    )?;
    let case = edited(&|log| put(&mut log.padding, 20, 1)).refused(STAGE, "eventlog_padding");
    suite.add("tdx-log-padding", case, "a byte among the padding")?;
    Ok(())
}

fn change_digest(log: &mut EventLog) {
    if let Some(digest) = log.events.first_mut().and_then(|event| event.digests.first_mut()) {
        flip(&mut digest.bytes, 0);
    }
}

fn set_digests(log: &mut EventLog, digests: Vec<EventDigest>) {
    if let Some(event) = log.events.first_mut() {
        event.digests = digests;
    }
}
