//! Counts of a log.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests stop at a surprise")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod entries;

use anchorhold_audit_log::{Code, Entry, Event, EventType, Outcome};
use anchorhold_audit_report::{Silence, Stats};
use entries::{at, entry, model, request, tenant};

#[test]
fn counts_names_tokens_and_the_longest_silence() {
    let open = Event::new(EventType::LogOpen, Outcome::Success, at(0));
    let mut answered = Event::new(EventType::InferComplete, Outcome::Success, at(60));
    (answered.actor, answered.request, answered.model) = (Some(tenant()), Some(request()), Some(model()));
    let mut refused = answered.clone();
    (refused.kind, refused.outcome, refused.at) = (EventType::InferReject, Outcome::Denied, at(30));
    refused.code = Code::from_static("over_quota");
    let mut stats = Stats::default();
    for (event, seq, mono) in [(open, 4, 10), (answered, 5, 40), (refused, 9, 41)] {
        stats.take(&Entry { mono, ..entry(&event, seq) });
    }
    assert_eq!((stats.entries, stats.times_ns), (3, Some((at(0).wall_ns, at(60).wall_ns))));
    assert_eq!(stats.silence, Some(Silence { ns: 30, ended_by: 5 }));
    assert_eq!((stats.prompt_tokens, stats.generated_tokens), (24, 68));
    let named = |pairs: &[(&str, u64)]| pairs.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
    assert_eq!(stats.kinds.named, named(&[("infer.complete", 1), ("infer.reject", 1), ("log.open", 1)]));
    assert_eq!(stats.outcomes.named, named(&[("denied", 1), ("success", 2)]));
    assert_eq!(stats.reasons.named, named(&[("over_quota", 1)]));
    assert_eq!(stats.tenants.named, named(&[("clinic", 2)]));
    assert_eq!(stats.models.named, named(&[("acme/chat version 3", 2)]));
    assert_eq!(stats.models.others, 0);
}

#[test]
fn of_silences_the_longest_is_told_and_of_two_as_long_the_first() {
    let event = Event::new(EventType::LogHeartbeat, Outcome::Success, at(0));
    let mut stats = Stats::default();
    let mut told = Vec::new();
    for (seq, mono) in [(0, 10), (1, 30), (2, 25), (3, 125), (4, 225), (5, 226)] {
        stats.take(&Entry { mono, ..entry(&event, seq) });
        told.push(stats.silence.map(|silence| (silence.ns, silence.ended_by)));
    }
    let longest = Some((100, 3));
    assert_eq!(told, [None, Some((20, 1)), Some((20, 1)), longest, longest, longest]);
}
