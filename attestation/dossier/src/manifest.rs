//! What a dossier holds, and in which order: the payload that the exporter signs.

use anchorhold_audit_log::Hash;
use serde::{Deserialize, Serialize};

/// The payload type of the signed list.
pub const PAYLOAD_TYPE: &str = "application/vnd.anchorhold.audit-dossier.v1+json";
pub(crate) const FORMAT: &str = "anchorhold-audit-dossier-v1";
/// The name of the first member, by which a dossier is told from the bundle of one log.
pub const FIRST_MEMBER: &str = "manifest.dsse.json";

/// The most logs of one dossier.
pub const MAX_LOGS: usize = 256;
/// The most policies.
pub const MAX_POLICIES: usize = 256;
/// The most manifests of models.
pub const MAX_MODELS: usize = 256;
/// The most checkpoints that were seen elsewhere.
pub const MAX_SEEN: usize = 512;
/// The longest report page, in bytes.
pub const MAX_REPORT_BYTES: u64 = 64 * 1024 * 1024;
const MAX_README_BYTES: u64 = 64 * 1024;
const MAX_CONTROLS_BYTES: u64 = 256 * 1024;
const MAX_WITNESSES_BYTES: u64 = 64 * 1024;
const MAX_POLICY_BYTES: u64 = 1024 * 1024;
/// The longest manifest of a model, in bytes, as where it is put to use.
pub const MAX_MODEL_BYTES: u64 = 256 * 1024;
const MAX_NOTE_BYTES: u64 = 128 * 1024;
/// The longest bundle: what the tar subset can say.
const MAX_BUNDLE_BYTES: u64 = (1 << 33) - 1;

/// What a member is, which its name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Readme,
    Page,
    Controls,
    Witnesses,
    Policy(usize),
    /// The sealed manifest of a model.
    Model(usize),
    /// A checkpoint of the log with this number, and its own number.
    Seen(usize, usize),
    Log(usize),
}

impl Kind {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Readme => "README.txt".to_owned(),
            Self::Page => "report.html".to_owned(),
            Self::Controls => "controls.json".to_owned(),
            Self::Witnesses => "trust.tlog-policy".to_owned(),
            Self::Policy(at) => format!("policy-{at:03}.toml"),
            Self::Model(at) => format!("model-{at:03}.json"),
            Self::Seen(log, at) => format!("seen-{log:03}-{at:03}.note"),
            Self::Log(at) => format!("log-{at:03}.tar"),
        }
    }

    pub(crate) fn of(name: &str) -> Option<Self> {
        let number = |text: &str| {
            let digits = text.len() == 3 && text.bytes().all(|c| c.is_ascii_digit());
            digits.then(|| text.parse::<usize>().ok()).flatten()
        };
        let between = |start, end| name.strip_prefix(start)?.strip_suffix(end);
        match name {
            "README.txt" => return Some(Self::Readme),
            "report.html" => return Some(Self::Page),
            "controls.json" => return Some(Self::Controls),
            "trust.tlog-policy" => return Some(Self::Witnesses),
            _ => {}
        }
        if let Some(at) = between("policy-", ".toml") {
            return number(at).map(Self::Policy);
        }
        if let Some(at) = between("model-", ".json") {
            return number(at).map(Self::Model);
        }
        if let Some(at) = between("log-", ".tar") {
            return number(at).map(Self::Log);
        }
        let (log, at) = between("seen-", ".note")?.split_once('-')?;
        Some(Self::Seen(number(log)?, number(at)?))
    }

    pub(crate) const fn limit(self) -> u64 {
        match self {
            Self::Readme => MAX_README_BYTES,
            Self::Page => MAX_REPORT_BYTES,
            Self::Controls => MAX_CONTROLS_BYTES,
            Self::Witnesses => MAX_WITNESSES_BYTES,
            Self::Policy(_) => MAX_POLICY_BYTES,
            Self::Model(_) => MAX_MODEL_BYTES,
            Self::Seen(..) => MAX_NOTE_BYTES,
            Self::Log(_) => MAX_BUNDLE_BYTES,
        }
    }
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// How long it is.
    pub bytes: u64,
    /// Its name.
    pub name: String,
    /// SHA-256 of its content.
    pub sha256: Hash,
}

/// A draw among all entries of each log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampled {
    /// The indexes drawn, for each log.
    pub drawn: Vec<Vec<u64>>,
    /// How many were to be drawn of each log.
    pub wanted: usize,
    /// The auditor's word.
    pub word: String,
}

/// What the exporter signs. Its members stand in the file in this order, after the envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always `anchorhold-audit-dossier-v1`.
    pub format: String,
    /// The members.
    pub members: Vec<Member>,
    /// The sample, if one was drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sampled>,
}

impl Manifest {
    pub(crate) fn to_bytes(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(self).ok()
    }

    /// Reads a manifest in its one spelling, whose members are known, within their limits and in their order.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let manifest: Self = serde_json::from_slice(bytes).ok()?;
        (manifest.fits() && manifest.to_bytes()? == bytes).then_some(manifest)
    }

    fn fits(&self) -> bool {
        let kinds: Option<Vec<Kind>> = self.members.iter().map(|member| Kind::of(&member.name)).collect();
        let Some(kinds) = kinds else { return false };
        let ascending = kinds.windows(2).all(|pair| matches!(pair, [a, b] if a < b));
        let within = kinds.iter().zip(&self.members).all(|(kind, member)| member.bytes <= kind.limit());
        let count = |wanted: fn(&Kind) -> bool| kinds.iter().filter(|kind| wanted(kind)).count();
        let logs = count(|kind| matches!(kind, Kind::Log(_)));
        let policies = count(|kind| matches!(kind, Kind::Policy(_)));
        let models = count(|kind| matches!(kind, Kind::Model(_)));
        let seen = count(|kind| matches!(kind, Kind::Seen(..)));
        let numbered = kinds.iter().all(|kind| match kind {
            Kind::Log(at) => *at < logs,
            Kind::Policy(at) => *at < policies,
            Kind::Model(at) => *at < models,
            Kind::Seen(log, _) => *log < logs,
            _ => true,
        });
        let sampled = self.sample.as_ref().is_none_or(|sample| sample.drawn.len() == logs);
        self.format == FORMAT
            && ascending
            && within
            && numbered
            && sampled
            && (1..=MAX_LOGS).contains(&logs)
            && policies <= MAX_POLICIES
            && models <= MAX_MODELS
            && seen <= MAX_SEEN
            && kinds.starts_with(&[Kind::Readme, Kind::Page, Kind::Controls])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_kinds_are_one() {
        let kinds = [
            Kind::Readme,
            Kind::Page,
            Kind::Controls,
            Kind::Witnesses,
            Kind::Policy(7),
            Kind::Model(7),
            Kind::Seen(1, 23),
            Kind::Log(255),
        ];
        assert!(kinds.windows(2).all(|pair| pair[0] < pair[1]));
        for kind in kinds {
            assert_eq!(Kind::of(&kind.name()), Some(kind));
        }
        for name in [
            "",
            "log-1.tar",
            "log-0001.tar",
            "log-+01.tar",
            "log-001.tar/",
            "../log-001.tar",
            "seen-001.note",
        ] {
            assert_eq!(Kind::of(name), None, "{name}");
        }
    }

    fn member(kind: Kind) -> Member {
        Member { bytes: 0, name: kind.name(), sha256: Hash::new([1; 32]) }
    }

    /// A list with these members after the three that every dossier has.
    fn with(kinds: impl IntoIterator<Item = Kind>) -> Manifest {
        let members =
            [Kind::Readme, Kind::Page, Kind::Controls].into_iter().chain(kinds).map(member).collect();
        Manifest { format: FORMAT.to_owned(), members, sample: None }
    }

    fn is_read(manifest: &Manifest) -> bool {
        Manifest::from_bytes(&manifest.to_bytes().unwrap()).as_ref() == Some(manifest)
    }

    #[test]
    fn a_list_is_read_when_its_members_fit_together() {
        let all = [
            Kind::Witnesses,
            Kind::Policy(0),
            Kind::Policy(1),
            Kind::Model(0),
            Kind::Seen(1, 0),
            Kind::Log(0),
        ];
        let good = with(all.into_iter().chain([Kind::Log(1)]));
        assert!(is_read(&good));
        let sample = |logs: usize| Sampled { drawn: vec![vec![0]; logs], wanted: 1, word: "w".to_owned() };
        assert!(is_read(&Manifest { sample: Some(sample(2)), ..good.clone() }));
        assert!(!is_read(&Manifest { sample: Some(sample(1)), ..good.clone() }));
        assert!(!is_read(&Manifest { format: "anchorhold-audit-dossier-v2".to_owned(), ..good.clone() }));
        // Every member is needed, or may be left out; each that is named twice or out of its order is refused.
        for at in 0..good.members.len() {
            let mut without = good.clone();
            let name = without.members.remove(at).name;
            let may = matches!(
                Kind::of(&name),
                Some(Kind::Witnesses | Kind::Seen(..) | Kind::Policy(1) | Kind::Model(0))
            );
            assert_eq!(is_read(&without), may, "without {name}");
            let mut twice = good.clone();
            twice.members.insert(at, good.members[at].clone());
            assert!(!is_read(&twice), "{name} twice");
            let mut unknown = good.clone();
            unknown.members[at].name.push('x');
            assert!(!is_read(&unknown), "{name}x");
        }
        for at in 1..good.members.len() {
            let mut swapped = good.clone();
            swapped.members.swap(at - 1, at);
            assert!(!is_read(&swapped), "{at}");
        }
        // A checkpoint of a log that is not here, and the first log missing.
        assert!(!is_read(&with([Kind::Seen(1, 0), Kind::Log(0)])));
        for only in
            [vec![Kind::Log(1)], vec![Kind::Policy(1), Kind::Log(0)], vec![Kind::Model(1), Kind::Log(0)]]
        {
            assert!(!is_read(&with(only)), "numbered from nought");
        }
        assert!(!is_read(&with([])));
        let spaced = [good.to_bytes().unwrap(), b" ".to_vec()].concat();
        assert!(Manifest::from_bytes(&spaced).is_none());
    }

    #[test]
    fn a_list_has_as_many_members_of_a_kind_as_may_be_and_no_more() {
        let log = [Kind::Log(0)];
        let of = |count: usize, kind: fn(usize) -> Kind| (0..count).map(kind).chain(log).collect::<Vec<_>>();
        assert!(is_read(&with((0..MAX_LOGS).map(Kind::Log))));
        assert!(!is_read(&with((0..=MAX_LOGS).map(Kind::Log))));
        for kind in [Kind::Policy as fn(usize) -> Kind, Kind::Model] {
            assert!(is_read(&with(of(256, kind))));
            assert!(!is_read(&with(of(257, kind))));
        }
        assert!(is_read(&with(of(512, |at| Kind::Seen(0, at)))));
        assert!(!is_read(&with(of(513, |at| Kind::Seen(0, at)))));
    }

    /// Dossiers are kept for years: what one version makes, later ones read.
    #[test]
    fn a_member_may_be_as_long_as_its_kind_and_no_longer() {
        const KIB: u64 = 1024;
        for (kind, limit) in [
            (Kind::Readme, 64 * KIB),
            (Kind::Page, 64 * KIB * KIB),
            (Kind::Controls, 256 * KIB),
            (Kind::Witnesses, 64 * KIB),
            (Kind::Policy(0), KIB * KIB),
            (Kind::Model(0), 256 * KIB),
            (Kind::Seen(0, 0), 128 * KIB),
            // Eleven octal digits in a tar header.
            (Kind::Log(0), 0o777_7777_7777),
        ] {
            let mut list =
                with([Kind::Witnesses, Kind::Policy(0), Kind::Model(0), Kind::Seen(0, 0), Kind::Log(0)]);
            let at = list.members.iter().position(|member| member.name == kind.name()).unwrap();
            list.members[at].bytes = limit;
            assert!(is_read(&list), "{kind:?}");
            list.members[at].bytes = limit + 1;
            assert!(!is_read(&list), "{kind:?}");
        }
    }
}
