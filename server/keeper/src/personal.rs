//! Whom entries are about: sealed under a key of each caller's own, whose one copy outside of this memory is in the keyring.
//!
//! The thread that hears the gateway owns it. A key lives for one boot and one period of 90 days. When its file is taken out of the keyring,
//! it is forgotten before the next entry of that caller, and within [`SWEEP_EVERY_NS`] of the next entry of anybody: destroying a file is the
//! whole of an erasure, here too.

use crate::start::warn;
use anchorhold_audit_log::{BootId, Hash, Hex, RequestId, Sealed, Stamp, TenantId};
use anchorhold_audit_personal::{
    CallerKey, Keyring, Period, PersonalPart, PseudonymKey, Subject, SubjectKey,
};
use anchorhold_ipc::CallerPart;
use anchorhold_rats::WrappingKey;
use anyhow::{Context as _, ensure};
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;

/// The folder of the keyring, in that of the logs.
const FOLDER: &str = "personal";
/// The most callers of one period that have a key of their own; who comes later shares that of the tenant.
const MAX_SUBJECTS: usize = 4096;
/// The subject of callers who were not let in. No tenant has such a name: theirs are of `a-z0-9-`.
const REFUSED: &str = "callers:refused";
/// How often it is looked whether keys that nobody uses are still in the keyring.
const SWEEP_EVERY_NS: u64 = 60_000_000_000;

/// The keys of this boot's callers, and to whom they are encrypted.
pub(crate) struct Personal {
    recipient: WrappingKey,
    boot: BootId,
    keyring: Keyring,
    period: Period,
    keys: HashMap<Subject, SubjectKey>,
    pseudonyms: HashMap<TenantId, PseudonymKey>,
    swept_ns: u64,
    has_warned: bool,
}

/// What goes into an entry.
pub(crate) struct Kept {
    pub(crate) pseudonym: Hash,
    pub(crate) sealed: Sealed,
}

impl Personal {
    /// Keeps keys in a folder of `logs`, for this recipient.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub(crate) fn begin(logs: &Path, recipient: &WrappingKey, boot: BootId) -> anyhow::Result<Self> {
        let keyring = Keyring::create(&logs.join(FOLDER)).context("making the keyring of personal parts")?;
        Ok(Self {
            recipient: recipient.clone(),
            boot,
            keyring,
            period: Period(0),
            keys: HashMap::new(),
            pseudonyms: HashMap::new(),
            swept_ns: 0,
            has_warned: false,
        })
    }

    /// Seals who called for the entry of this request.
    ///
    /// # Errors
    /// The gateway broke the form of a caller, or a key could not be made or put into the keyring.
    pub(crate) fn keep(
        &mut self,
        (tenant, caller): (&TenantId, &CallerPart),
        request: &RequestId,
        at: Stamp,
    ) -> anyhow::Result<Kept> {
        self.tidy(at);
        let part = part(caller)?;
        let subject = Subject { tenant: tenant.clone(), key: part.key.as_ref().map(|key| key.id) };
        let holder = self.bounded(subject.clone())?;
        let sealed = self.seal(&holder, &part, request)?;
        Ok(Kept { pseudonym: self.pseudonym(&subject)?, sealed })
    }

    /// Seals the address of a caller who was not let in. All of them share a key, for they are nobody's callers; those of one address have
    /// one pseudonym.
    ///
    /// # Errors
    /// As [`keep`](Self::keep).
    pub(crate) fn keep_refused(
        &mut self,
        address: IpAddr,
        request: &RequestId,
        at: Stamp,
    ) -> anyhow::Result<Kept> {
        self.tidy(at);
        let all = Subject { tenant: TenantId::new(REFUSED)?, key: None };
        let part = PersonalPart { address: Some(address), key: None };
        let sealed = self.seal(&all, &part, request)?;
        let [a, b, c, d, e, f, ..] = *Hash::of(address.to_string().as_bytes()).as_bytes();
        let pseudonym = self.pseudonym(&Subject { key: Some(Hex::new([a, b, c, d, e, f])), ..all })?;
        Ok(Kept { pseudonym, sealed })
    }

    fn seal(
        &mut self,
        subject: &Subject,
        part: &PersonalPart,
        request: &RequestId,
    ) -> anyhow::Result<Sealed> {
        if self.is_gone(subject) {
            self.keys.remove(subject);
        }
        match self.keys.get_mut(subject).map(|key| key.seal(part, request)) {
            Some(Ok(sealed)) => Ok(sealed),
            // There is none yet, or it has sealed as much as one key may.
            Some(Err(_)) | None => Ok(self.fresh(subject)?.seal(part, request)?),
        }
    }

    fn pseudonym(&mut self, named: &Subject) -> anyhow::Result<Hash> {
        let tenant = &named.tenant;
        if !self.pseudonyms.contains_key(tenant) {
            ensure!(self.pseudonyms.len() < MAX_SUBJECTS, "more than {MAX_SUBJECTS} tenants");
            self.pseudonyms.insert(tenant.clone(), PseudonymKey::generate()?);
        }
        Ok(self.pseudonyms.get(tenant).context("a pseudonym key that was just made")?.of(named))
    }

    /// Warns, the first time, that the personal part of an entry is not kept; such an entry has none, and its
    /// code says it where that says nothing else.
    pub(crate) fn warn_of_loss(&mut self, error: &anyhow::Error) {
        if !std::mem::replace(&mut self.has_warned, true) {
            warn(&format!("the personal part of an entry is not kept: {error:#}"));
        }
    }

    /// Forgets what the period or the keyring has ended.
    fn tidy(&mut self, at: Stamp) {
        let period = Period::of(at.wall_ns);
        if period != self.period {
            self.keys.clear();
            self.pseudonyms.clear();
            self.period = period;
        }
        if at.mono_ns.saturating_sub(self.swept_ns) >= SWEEP_EVERY_NS {
            self.swept_ns = at.mono_ns;
            let keyring = &self.keyring;
            self.keys.retain(|_, key| keyring.has(key.kid()));
        }
    }

    fn is_gone(&self, subject: &Subject) -> bool {
        self.keys.get(subject).is_some_and(|key| !self.keyring.has(key.kid()))
    }

    /// The subject, or its tenant where as many callers have keys as may.
    fn bounded(&self, subject: Subject) -> anyhow::Result<Subject> {
        if self.keys.len() < MAX_SUBJECTS || self.keys.contains_key(&subject) {
            return Ok(subject);
        }
        let tenant = Subject { key: None, ..subject };
        ensure!(
            self.keys.contains_key(&tenant) || self.keys.len() < 2 * MAX_SUBJECTS,
            "more than {} keys of one period",
            2 * MAX_SUBJECTS
        );
        Ok(tenant)
    }

    fn fresh(&mut self, subject: &Subject) -> anyhow::Result<&mut SubjectKey> {
        let key = SubjectKey::generate(self.boot, subject.clone(), self.period)?;
        // The key is in the keyring before an entry needs it.
        self.keyring.put(&key.to_file(&self.recipient)?)?;
        self.keys.insert(subject.clone(), key);
        self.keys.get_mut(subject).context("a key that was just made")
    }
}

/// The part in the form that the log demands.
fn part(caller: &CallerPart) -> anyhow::Result<PersonalPart> {
    let label = caller.label.as_deref().map(str::parse).transpose()?;
    ensure!(label.is_none() || caller.key.is_some(), "a label of no key");
    let key = caller.key.map(|id| CallerKey { id: Hex::new(id), label });
    Ok(PersonalPart { address: caller.address, key })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anchorhold_audit_personal::{OpenedKey, RecipientKey};
    use anchorhold_rats::Kem;

    const DAY_NS: i64 = 24 * 3600 * 1_000_000_000;

    fn at(day: i64) -> Stamp {
        Stamp { wall_ns: day * DAY_NS, mono_ns: u64::try_from(day * DAY_NS).unwrap() }
    }

    fn caller(key: u8) -> CallerPart {
        let address = Some("192.0.2.7".parse().unwrap());
        CallerPart { address, key: Some([key; 6]), label: Some("front desk".to_owned()) }
    }

    struct Stand {
        folder: tempfile::TempDir,
        recipient: RecipientKey,
        personal: Personal,
        tenant: TenantId,
    }

    impl Stand {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let recipient = RecipientKey::generate(Kem::X25519).unwrap();
            let boot = BootId::new([7; 16]);
            let personal = Personal::begin(folder.path(), recipient.public_key(), boot).unwrap();
            Self { folder, recipient, personal, tenant: TenantId::new("clinic").unwrap() }
        }

        fn keep(&mut self, caller: &CallerPart, day: i64) -> anyhow::Result<Kept> {
            self.personal.keep((&self.tenant, caller), &RequestId::new("r1").unwrap(), at(day))
        }

        fn keyring(&self) -> Keyring {
            Keyring::open(&self.folder.path().join(FOLDER)).unwrap()
        }
    }

    #[test]
    fn a_caller_has_one_key_and_one_pseudonym_in_a_period() {
        let mut stand = Stand::new();
        let [one, again, other, later] =
            [(1, 0), (1, 89), (2, 89), (1, 90)].map(|(key, day)| stand.keep(&caller(key), day).unwrap());
        assert_eq!((one.sealed.kid, one.pseudonym), (again.sealed.kid, again.pseudonym));
        assert!(one.sealed.kid != other.sealed.kid && one.pseudonym != other.pseudonym);
        assert!(one.sealed.kid != later.sealed.kid && one.pseudonym != later.pseudonym);
        assert_eq!(stand.personal.keys.len(), 1, "keys of the period before are gone");
        let file = stand.keyring().get(one.sealed.kid).unwrap().unwrap();
        let opened = OpenedKey::open(&file, &stand.recipient).unwrap();
        assert_eq!(opened.subject().to_string(), "clinic/010101010101");
    }

    #[test]
    fn case_37_a_key_whose_file_was_destroyed_is_forgotten() {
        let mut stand = Stand::new();
        let (one, two) = (stand.keep(&caller(1), 0).unwrap(), stand.keep(&caller(2), 0).unwrap());
        assert!(stand.keyring().destroy(one.sealed.kid).unwrap());
        assert_ne!(
            stand.keep(&caller(1), 0).unwrap().sealed.kid,
            one.sealed.kid,
            "the next entry has a new key"
        );
        assert!(stand.keyring().destroy(two.sealed.kid).unwrap());
        stand.keep(&caller(1), 1).unwrap();
        assert!(stand.personal.keys.values().all(|key| key.kid() != two.sealed.kid), "nobody used it again");
    }

    #[test]
    fn callers_who_were_not_let_in_share_a_key_and_are_told_apart_by_address() {
        let mut stand = Stand::new();
        let mut refused = |address: &str, day| {
            let request = RequestId::new("r1").unwrap();
            stand.personal.keep_refused(address.parse().unwrap(), &request, at(day)).unwrap()
        };
        let [one, again, other] =
            ["192.0.2.7", "192.0.2.7", "2001:db8::7"].map(|address| refused(address, 0));
        let later = refused("192.0.2.7", 90);
        assert_eq!(one.pseudonym, again.pseudonym);
        assert!(one.pseudonym != other.pseudonym && one.pseudonym != later.pseudonym);
        assert!(one.sealed.kid == other.sealed.kid && one.sealed.kid != later.sealed.kid);
        let file = stand.keyring().get(one.sealed.kid).unwrap().unwrap();
        let opened = OpenedKey::open(&file, &stand.recipient).unwrap();
        assert_eq!(opened.subject().to_string(), REFUSED);
    }

    #[test]
    fn refuses_a_caller_in_another_form() {
        let mut stand = Stand::new();
        for label in ["", "line\nbreak", &"x".repeat(65), "naïve"] {
            let wrong = CallerPart { label: Some(label.to_owned()), ..caller(1) };
            assert!(stand.keep(&wrong, 0).is_err(), "{label}");
        }
        assert!(stand.keep(&CallerPart { key: None, ..caller(1) }, 0).is_err(), "a label of no key");
        assert!(stand.keep(&CallerPart::default(), 0).is_ok());
        assert_eq!(stand.keyring().kids().unwrap().len(), 1);
    }

    #[test]
    fn callers_beyond_the_limit_share_their_tenants_key() {
        let mut stand = Stand::new();
        let subject = |number: u32| {
            let [a, b, c, d] = number.to_be_bytes();
            Subject { tenant: TenantId::new("clinic").unwrap(), key: Some(Hex::new([a, b, c, d, 0, 0])) }
        };
        for number in 0..u32::try_from(MAX_SUBJECTS).unwrap() {
            let key = SubjectKey::generate(BootId::new([7; 16]), subject(number), Period(0)).unwrap();
            stand.personal.keys.insert(subject(number), key);
        }
        assert_eq!(stand.personal.bounded(subject(u32::MAX)).unwrap().to_string(), "clinic");
        assert_eq!(stand.personal.bounded(subject(0)).unwrap(), subject(0));
    }
}
