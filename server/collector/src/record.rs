//! One record as the kernel writes it (`kernel/audit.c`, `security/lsm_audit.c`, `security/selinux/avc.c`, `kernel/auditsc.c`).
//!
//! ```text
//! audit(1795964175.956:7): avc:  denied  { read write } for  pid=9 … scontext=u:r:t:s0 tcontext=u:r:t:s0 tclass=file permissive=0
//! ```
//!
//! A value that a process can choose (a name, a path) is written in quotation marks, or in hex if it has a blank, a quotation mark or a
//! control character (`audit_log_n_untrustedstring`), so it cannot be taken for another field.

use anchorhold_ipc::{KernelEvent, MandatoryPolicy, PolicyDenial};

/// The longest record that the kernel makes (`MAX_AUDIT_MESSAGE_LENGTH`), in bytes.
pub const MAX_RECORD_BYTES: usize = 8970;
/// The longest word of a policy that is taken.
pub const MAX_WORD_BYTES: usize = 64;
/// The most permissions of one denial: no class of the kernel has more.
pub const MAX_PERMISSIONS: usize = 32;

/// `AUDIT_SECCOMP`, from `linux/audit.h` as the rest.
pub const SECCOMP: u16 = 1326;
/// `AUDIT_AVC`.
pub const AVC: u16 = 1400;
/// `AUDIT_SELINUX_ERR`: a context or a transition that the policy does not know.
pub const SELINUX_ERROR: u16 = 1401;
/// `AUDIT_MAC_POLICY_LOAD`.
pub const POLICY_LOAD: u16 = 1403;
/// `AUDIT_MAC_STATUS`.
pub const STATUS: u16 = 1404;

/// What a record says, and its place among all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The number of what happened; several records may be about it.
    pub serial: u64,
    /// What is to be told of it: nothing where the record is of another kind.
    pub event: Option<KernelEvent>,
}

/// The bytes are not a record, or one that is to be told does not have its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

/// Reads the text of a record of this kind.
///
/// # Errors
/// [`Unreadable`]; the text is not repeated.
pub fn read(kind: u16, text: &[u8]) -> Result<Record, Unreadable> {
    if text.len() > MAX_RECORD_BYTES {
        return Err(Unreadable);
    }
    let text = std::str::from_utf8(text).map_err(|_| Unreadable)?;
    let text = text.trim_end_matches(['\0', '\n']);
    let (serial, rest) = stamp(text).ok_or(Unreadable)?;
    let event = match kind {
        AVC if rest.trim_start().starts_with("avc:") => Some(avc(rest).ok_or(Unreadable)?),
        AVC => apparmor(rest)?,
        SELINUX_ERROR => Some(selinux_error(rest).ok_or(Unreadable)?),
        SECCOMP => Some(seccomp(rest).ok_or(Unreadable)?),
        POLICY_LOAD => Some(KernelEvent::PolicyLoaded),
        STATUS => Some(mode(rest).ok_or(Unreadable)?),
        _ => None,
    };
    Ok(Record { serial, event })
}

/// The serial number, and the text after `audit(SECONDS.MILLIS:SERIAL): `.
fn stamp(text: &str) -> Option<(u64, &str)> {
    let (head, rest) = text.strip_prefix("audit(")?.split_once("): ")?;
    let (time, serial) = head.split_once(':')?;
    let (seconds, millis) = time.split_once('.')?;
    decimal(seconds)?;
    decimal(millis)?;
    Some((decimal(serial)?, rest))
}

fn decimal(text: &str) -> Option<u64> {
    // `parse` would take a sign too.
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// The value of `key=value`; `None` if there is none or if it stands twice.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut found = Fields(text).filter_map(|(name, value)| (name == key).then_some(value));
    let value = found.next()?;
    found.next().is_none().then_some(value)
}

/// `key=value` after `key=value`, with blanks between; words without `=` are passed over.
struct Fields<'a>(&'a str);

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.0 = self.0.trim_start();
            let end = self.0.find([' ', '='])?;
            let (name, rest) = self.0.split_at_checked(end)?;
            let Some(rest) = rest.strip_prefix('=') else {
                self.0 = rest;
                continue;
            };
            let (value, rest) = match rest.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
                None => rest.split_once(' ').unwrap_or((rest, "")),
            };
            self.0 = rest;
            return Some((name, value));
        }
    }
}

/// A word of the policy: lower-case letters, digits and `_`.
fn word(text: &str) -> Option<String> {
    let fits = !text.is_empty()
        && text.len() <= MAX_WORD_BYTES
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    fits.then(|| text.to_owned())
}

/// The type in `user:role:type:range`.
fn type_of(context: &str) -> Option<String> {
    let mut parts = context.splitn(4, ':');
    let (_user, _role, kind) = (parts.next()?, parts.next()?, parts.next()?);
    word(kind)
}

fn avc(text: &str) -> Option<KernelEvent> {
    let rest = text.trim_start().strip_prefix("avc:")?.trim_start();
    // What the policy allows and asks to log is of no concern; ours asks for nothing of that kind.
    let rest = rest.strip_prefix("denied")?.trim_start();
    let (permissions, rest) = rest.strip_prefix('{')?.split_once('}')?;
    let permissions: Vec<String> = permissions.split_ascii_whitespace().map(word).collect::<Option<_>>()?;
    if permissions.is_empty() || permissions.len() > MAX_PERMISSIONS {
        return None;
    }
    Some(KernelEvent::Denied(PolicyDenial {
        policy: MandatoryPolicy::Selinux,
        pid: pid(rest)?,
        source: type_of(field(rest, "scontext")?)?,
        target: Some(type_of(field(rest, "tcontext")?)?),
        class: word(field(rest, "tclass")?)?,
        permissions,
        enforced: field(rest, "permissive").is_none_or(|value| value == "0"),
    }))
}

/// `op=security_compute_sid invalid_context="…" scontext=… tcontext=… tclass=…`: something that the policy has no word for was tried.
fn selinux_error(text: &str) -> Option<KernelEvent> {
    let source = field(text, "scontext").or_else(|| field(text, "oldcontext"))?;
    let target = field(text, "tcontext").or_else(|| field(text, "newcontext"));
    Some(KernelEvent::Denied(PolicyDenial {
        policy: MandatoryPolicy::Selinux,
        pid: 0,
        source: type_of(source)?,
        target: target.and_then(type_of),
        class: word(field(text, "tclass").unwrap_or("process"))?,
        permissions: vec![word(field(text, "op").unwrap_or("invalid_context"))?],
        enforced: true,
    }))
}

/// `apparmor="DENIED" operation="open" profile="anchorhold-worker" … pid=9 … denied_mask="r"`; `None` for what is no refusal.
fn apparmor(text: &str) -> Result<Option<KernelEvent>, Unreadable> {
    let enforced = match field(text, "apparmor").ok_or(Unreadable)? {
        "DENIED" => true,
        "ALLOWED" => false,
        _ => return Ok(None),
    };
    let plain = |key: &str| field(text, key).map(|value| value.replace('-', "_"));
    let denial = || {
        let wanted = field(text, "denied_mask").or_else(|| field(text, "capname")).unwrap_or("any");
        Some(PolicyDenial {
            policy: MandatoryPolicy::AppArmor,
            pid: pid(text)?,
            source: word(&plain("profile")?)?,
            target: None,
            class: word(&plain("operation")?)?,
            permissions: wanted.split_ascii_whitespace().map(word).collect::<Option<_>>()?,
            enforced,
        })
    };
    denial()
        .filter(|denial| denial.permissions.len() <= MAX_PERMISSIONS)
        .map(KernelEvent::Denied)
        .map(Some)
        .ok_or(Unreadable)
}

fn seccomp(text: &str) -> Option<KernelEvent> {
    let source = match field(text, "subj") {
        // Without a mandatory policy there is no such field, or a word that is no context.
        None | Some("?" | "kernel" | "unconfined") => None,
        Some(context) if context.contains(':') => Some(type_of(context)?),
        Some(profile) => Some(word(&profile.replace('-', "_"))?),
    };
    let number = |key| field(text, key).and_then(decimal).and_then(|value| u32::try_from(value).ok());
    Some(KernelEvent::Filtered {
        pid: pid(text)?,
        source,
        syscall: number("syscall")?,
        signal: number("sig")?,
    })
}

fn mode(text: &str) -> Option<KernelEvent> {
    match (field(text, "enforcing")?, field(text, "enabled")) {
        ("1", None | Some("1")) => Some(KernelEvent::Mode { enforcing: true }),
        ("0" | "1", None | Some("0" | "1")) => Some(KernelEvent::Mode { enforcing: false }),
        _ => None,
    }
}

fn pid(text: &str) -> Option<u32> {
    field(text, "pid").and_then(decimal).and_then(|pid| u32::try_from(pid).ok())
}
