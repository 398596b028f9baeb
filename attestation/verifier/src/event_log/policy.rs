//! Whether a replayed log is the quote's, and acceptable.

use super::{Event, EventData, EventKind, GLOBAL_VARIABLE, Replayed, Rtmr, Variable, codes, proof};
use crate::Refusal;
use crate::show::hex;
use anchorhold_rats::Checks;

/// What an event must have measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Something with this SHA-384 digest.
    Digest([u8; 48]),
    /// Exactly these bytes.
    Data(Vec<u8>),
}

/// An event that a log must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredEvent {
    /// In this register, which must be one that the policy compares.
    pub register: Rtmr,
    /// Under this type. A log can call a measurement anything, so the content is what counts.
    pub kind: EventKind,
    /// With this content.
    pub content: Content,
}

/// What a relying party accepts. Start from [`strict`](Self::strict) and change what differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The registers that must be the quote's; nothing is believed about the events of others. Default: all four. A
    /// system that extends a register at run time without logging it leaves that one out.
    pub registers: Vec<Rtmr>,
    /// Events of types without a name are accepted. Default: no.
    pub allow_unknown_events: bool,
    /// Events that must be in the log. Default: none.
    pub required_events: Vec<RequiredEvent>,
    /// The firmware must have measured that Secure Boot is on. Default: no.
    pub require_secure_boot: bool,
}

impl Policy {
    /// All registers match and every event has a known type.
    #[must_use]
    pub fn strict() -> Self {
        Self {
            registers: Rtmr::ALL.to_vec(),
            allow_unknown_events: false,
            required_events: Vec::new(),
            require_secure_boot: false,
        }
    }
}

/// Judges a replayed log against the registers of a quote and a policy; `None` stands for a log that did not come.
///
/// Establishes that the log is the history of each register that the policy names, and that the policy's events are
/// in it. Presumes that `rtmrs` are from an authentic quote, and for `require_secure_boot` that the firmware which
/// MRTD names is one that measures variables before its first separator.
///
/// # Errors
/// [`Refusal`] with every rule that failed, not only the first.
pub fn appraise(
    replayed: Option<&Replayed>,
    rtmrs: &[[u8; 48]; 4],
    policy: &Policy,
) -> Result<Checks, Refusal> {
    let mut checks = Checks::new();
    judge(replayed, rtmrs, policy, &mut checks);
    if checks.none_failed() { Ok(checks) } else { Err(Refusal::new(checks)) }
}

/// Records every rule of the policy.
pub(crate) fn judge(
    replayed: Option<&Replayed>,
    rtmrs: &[[u8; 48]; 4],
    policy: &Policy,
    checks: &mut Checks,
) {
    let observed = if replayed.is_some() { "one" } else { "none" };
    checks.record(codes::MISSING, replayed.is_some(), "an event log", observed);
    let Some(replayed) = replayed else { return };

    let count = policy.registers.len();
    checks.record(
        codes::REGISTERS_EMPTY,
        count > 0,
        "at least one register in the policy",
        count.to_string(),
    );
    for register in Rtmr::ALL {
        let (wanted, observed) = (register.of(rtmrs), register.of(replayed.rtmrs()));
        let (wanted_text, observed_text) =
            (format!("{register} {}", hex(wanted)), format!("{register} {}", hex(observed)));
        if policy.registers.contains(&register) {
            checks.record(codes::REPLAY, wanted == observed, wanted_text, observed_text);
        } else {
            checks.skip(codes::REPLAY, "not asked", observed_text);
        }
    }
    judge_kinds(replayed, policy, checks);
    judge_required(replayed, policy, checks);
    judge_secure_boot(replayed, policy, checks);
}

fn judge_kinds(replayed: &Replayed, policy: &Policy, checks: &mut Checks) {
    let is_unknown = |event: &&Event| matches!(event.kind(), EventKind::Unknown(_));
    let mut unknown = replayed.events().iter().filter(is_unknown);
    let first = unknown.next();
    let observed = first.map_or_else(
        || "none".to_string(),
        |event| format!("{} unknown, the first of type {}", 1 + unknown.count(), event.kind()),
    );
    if policy.allow_unknown_events {
        return checks.skip(codes::UNKNOWN_EVENT, "not asked", observed);
    }
    let code = match first.and_then(Event::place) {
        Some((offset, length)) => codes::UNKNOWN_EVENT.at("event log", offset, length),
        None => codes::UNKNOWN_EVENT,
    };
    checks.record(code, first.is_none(), "no event of an unknown type", observed);
}

fn judge_required(replayed: &Replayed, policy: &Policy, checks: &mut Checks) {
    if policy.required_events.is_empty() {
        checks.skip(codes::REQUIRED_EVENT, "not asked", format!("{} events", replayed.events().len()));
    }
    for required in &policy.required_events {
        let RequiredEvent { register, kind, content } = required;
        let wanted = match content {
            Content::Digest(digest) => format!("{kind} in {register} with digest {}", hex(digest)),
            Content::Data(data) => {
                let digest = hex(&proof::sha384(&[data]));
                format!("{kind} in {register} with {} bytes of digest {digest}", data.len())
            }
        };
        let found = replayed.events().iter().find(|event| {
            let is_content = match content {
                Content::Digest(digest) => event.digest() == digest,
                Content::Data(data) => event.data() == EventData::Proved(data),
            };
            is_content && event.register() == *register && event.kind() == *kind
        });
        let compared = policy.registers.contains(register);
        let observed = match found {
            Some(_) if compared => "one",
            Some(_) => "one in a register that is not compared",
            None => "none",
        };
        let code = match found.and_then(Event::place) {
            Some((offset, length)) => codes::REQUIRED_EVENT.at("event log", offset, length),
            None => codes::REQUIRED_EVENT,
        };
        checks.record(code, found.is_some() && compared, wanted, observed);
    }
}

/// The type of an event is only what the log says, and hosts choose the bytes of some measurements (ACPI tables), so
/// a later measurement could be passed off as the variable. Firmware measures the variable before its first
/// separator, and what a host chooses before that (hand-off block, configuration volume) cannot read as one.
fn judge_secure_boot(replayed: &Replayed, policy: &Policy, checks: &mut Checks) {
    const WANTED: &str = "SecureBoot measured as 1, once, before the first separator of RTMR0";
    let separators = [[0; 4], [0xff; 4]].map(|value| proof::sha384(&[&value]));
    let early = replayed
        .events()
        .iter()
        .filter(|event| event.register() == Rtmr::Rtmr0)
        .take_while(|event| !separators.contains(event.digest()));
    let values: Vec<bool> = early.filter_map(secure_boot).collect();
    let observed = match values.as_slice() {
        [] => "not measured",
        [true] => "on",
        [false] => "off",
        [..] => "measured more than once",
    };
    if !policy.require_secure_boot {
        return checks.skip(codes::SECURE_BOOT, "not asked", observed);
    }
    let compared = policy.registers.contains(&Rtmr::Rtmr0);
    let observed = if compared { observed } else { "RTMR0 is not compared" };
    checks.record(codes::SECURE_BOOT, compared && values == [true], WANTED, observed);
}

/// Whether this event proves the state of Secure Boot, and which.
fn secure_boot(event: &Event) -> Option<bool> {
    let EventData::Proved(data) = event.data() else { return None };
    if event.kind() != EventKind::VariableDriverConfig {
        return None;
    }
    let variable = Variable::parse(data).filter(|variable| variable.is(&GLOBAL_VARIABLE, "SecureBoot"))?;
    Some(variable.data == [1])
}
