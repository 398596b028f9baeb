//! Runs every profile of `policies/appraisal` against every vector: the rejection suite and the real samples. The verdicts
//! are data, in `policies/cases/vectors`; `make verdicts` writes them anew, and the diff is reviewed.

use crate::evidence::samples;
use crate::filled::{filled, judges, machine_list};
use crate::support::{policies, read, shipped, with};
use anchorhold_attester::software::revocation::RevocationTemplate;
use anchorhold_attester::software::{
    Authority, LaunchConfig, Product, SoftwareGuest, certificate, simulated_ark_der,
};
use anchorhold_rats::{
    Checks, Der, Endorsements, Evidence, Expected, Measurement, Nonce, ReportData, Timestamp,
};
use anchorhold_vectors::{Case, CasePolicy, Corpus, Expectation, Pin, Platform, Presented};
use anchorhold_verifier::dangerous::{SimulatedRoots, allow_simulated, simulated_anchors};
use anchorhold_verifier::{Claims, Refusal, TeeClaims, TrustAnchors, appraise, authenticate};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const SUITES: [&str; 2] = ["rejection", "real"];
const ACCEPT: &str = "accept";
const NVIDIA_DEVICE_ROOT: &[u8] = include_bytes!("../../../verifier/src/nvidia/roots/device-identity-ca.der");
const NVIDIA_RIM_ROOT: &[u8] = include_bytes!("../../../verifier/src/nvidia/roots/corim-signing-root-ca.der");

/// By profile: [`ACCEPT`], or the codes of all rules that refuse, in the order in which they were looked at.
type Verdicts = BTreeMap<String, String>;

/// A suite by its name in `policies/cases/vectors`; `None` where a developer does not have the real samples.
fn suite(name: &str) -> Option<Corpus> {
    let vectors = policies().join("../tests/vectors");
    Some(match name {
        "rejection" => Corpus::open(&vectors.join("rejection")).unwrap(),
        _ => Corpus::open_beside(&vectors.join("real/manifest.json"), &samples()?).unwrap(),
    })
}

/// The codes of all rules that failed, each once.
fn failed(checks: &Checks) -> String {
    let mut codes: Vec<&str> = Vec::new();
    for check in checks.failed() {
        if !codes.contains(&check.code.as_ref()) {
            codes.push(check.code.as_ref());
        }
    }
    codes.join(" ")
}

/// What is judged: evidence, endorsements, roots.
type Whole = (Evidence, Endorsements, TrustAnchors);

/// The whole evidence of a case, or the rule that its files break before there is any. Devices alone are carried by a good
/// guest on Genoa, since a profile judges whole evidence.
fn whole(presented: Presented, case: &Case) -> Result<Whole, Checks> {
    let Presented { tee, devices, tpm, mut endorsements, mut roots } = presented;
    if let Some(evidence) = tee {
        return Ok((evidence, endorsements, roots.anchors(case.pin)?));
    }
    roots.amd = Some(simulated_ark_der().to_vec());
    let anchors = match case.pin {
        Pin::Forged => roots.anchors(case.pin)?,
        Pin::Real => simulated_anchors(&SimulatedRoots {
            amd: Some(simulated_ark_der()),
            nvidia_device: Some(NVIDIA_DEVICE_ROOT),
            nvidia_rim: Some(NVIDIA_RIM_ROOT),
            ..SimulatedRoots::default()
        })
        .unwrap(),
    };
    let (mut evidence, list) = carrier(case.at);
    evidence.gpus = devices;
    evidence.tpm = tpm;
    endorsements.snp_crls.push(list);
    Ok((evidence, endorsements, anchors))
}

fn carrier(at: Timestamp) -> (Evidence, Der) {
    let config = LaunchConfig::for_product(Measurement::new([0x5a; 48]), Product::Genoa);
    let evidence = SoftwareGuest::launch(config, at).unwrap().attest(&ReportData::new([0x7d; 64])).unwrap();
    let list = RevocationTemplate {
        issuer: certificate::name(Authority::Ark.common_name()),
        this_update: at.plus_seconds(-3600),
        next_update: at.plus_seconds(86_400),
        revoked: Vec::new(),
    };
    (evidence, Der(list.sign(&Authority::Ark.key().unwrap()).unwrap()))
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.chars().map(|digit| u8::try_from(digit.to_digit(16).unwrap()).unwrap()).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// What the evidence must be bound to: what the case names, and otherwise whatever it has.
fn expected(rules: &CasePolicy, claims: &Claims) -> Expected {
    let own = match (&claims.paravisor, &claims.tee) {
        (Some(vtpm), _) => vtpm.nonce().to_vec(),
        (None, TeeClaims::Snp(report)) => report.report().report_data.as_bytes().to_vec(),
        (None, TeeClaims::Tdx(quote)) => quote.body().report_data.as_bytes().to_vec(),
    };
    let named = if claims.paravisor.is_some() { &rules.tpm_nonce } else { &rules.report_data };
    let mut bound = named.as_deref().map_or(own, bytes);
    // A virtual TPM signs nonces of any length, and a profile asks for 64 bytes, so none of another length is the caller's.
    bound.resize(ReportData::LEN, 0);
    let gpu_nonce = match &rules.nonce {
        Some(text) => Some(Nonce::try_from(bytes(text).as_slice()).unwrap()),
        None => claims.gpus.first().map(|device| device.report().nonce),
    };
    Expected { gpu_nonce, ..ReportData::try_from(bound.as_slice()).unwrap().into() }
}

/// The profile as the owner of the image fills it in: with the reference values that the case names, and otherwise with those
/// of the evidence.
fn of_the_case(text: &str, rules: &CasePolicy, claims: &Claims) -> String {
    let mut out = filled(text, claims);
    let named = |value: &Option<String>| value.as_ref().map(|hex| format!("sha384:{hex}"));
    if let Some(value) = named(&rules.measurement).filter(|_| judges(text, "snp")) {
        out = with(&out, "snp.measurements", vec![value]);
    }
    if judges(text, "tdx") {
        if let Some(value) = named(&rules.mrtd) {
            out = with(&out, "tdx.mrtds", vec![value]);
        }
        for (key, value) in [("tdx.rtmr1", &rules.rtmr1), ("tdx.rtmr2", &rules.rtmr2)] {
            if let Some(value) = named(value) {
                out = with(&out, key, value);
            }
        }
    }
    out
}

/// Judges one case by every profile. The window of a profile is left out: a case is judged at the time of its endorsements.
fn judge(corpus: &Corpus, case: &Case, profiles: &[(String, String)]) -> Verdicts {
    let all = |code: String| profiles.iter().map(|(name, _)| (name.clone(), code.clone())).collect();
    let presented = corpus.present(case).unwrap_or_else(|error| panic!("{}: {error}", case.id));
    let (evidence, endorsements, anchors) = match presented.and_then(|presented| whole(presented, case)) {
        Ok(whole) => whole,
        Err(checks) => return all(failed(&checks)),
    };
    let authentic = || authenticate(&evidence, &endorsements, &anchors, case.at);
    if let Err(refusal) = authentic() {
        return all(failed(refusal.checks()));
    }
    let verdict = |text: &str| -> Result<(), Refusal> {
        let authentic = authentic()?;
        let claims = authentic.claims();
        let expected = expected(&case.policy, claims);
        let list = machine_list("allow", claims, case.at);
        let mut policy = read(&of_the_case(text, &case.policy, claims)).appraisal().clone();
        if let Some(list) = list {
            list.apply(&mut policy, case.at).unwrap();
        }
        if authentic.simulated() {
            policy = allow_simulated(policy);
        }
        appraise(authentic, &policy, &expected).map(drop)
    };
    let word = |text| verdict(text).map_or_else(|refusal| failed(refusal.checks()), |()| ACCEPT.to_owned());
    profiles.iter().map(|(name, text)| (name.clone(), word(text))).collect()
}

fn folder() -> PathBuf {
    policies().join("cases/vectors")
}

/// One line for each case: one word where all profiles agree, else the profiles by their word.
fn written(verdicts: &BTreeMap<String, Verdicts>) -> String {
    let mut out = "# Written by `make verdicts`; README.md says how to read it.\n".to_owned();
    for (case, verdicts) in verdicts {
        let mut profiles: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (profile, word) in verdicts {
            profiles.entry(word).or_default().push(profile);
        }
        out += &match profiles.len() {
            1 => format!("{case} = {:?}\n", profiles.keys().next().unwrap()),
            _ => {
                let words = profiles.iter().map(|(word, profiles)| format!("{word:?} = {profiles:?}"));
                format!("{case} = {{ {} }}\n", words.collect::<Vec<_>>().join(", "))
            }
        };
    }
    out
}

/// Faults that profiles do not see, each with the reason why that is right.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Argued {
    unseen: Vec<Argument>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Argument {
    suite: String,
    /// Names; one that ends in `*` stands for all that begin so.
    cases: Vec<String>,
    because: String,
}

impl Argued {
    fn read() -> Self {
        let text = std::fs::read_to_string(folder().join("argued.toml")).unwrap();
        let argued = toml::from_str::<Self>(&text).unwrap_or_else(|error| panic!("{error}"));
        assert!(argued.unseen.iter().all(|argument| argument.because.len() > 40));
        assert!(argued.unseen.iter().all(|argument| SUITES.contains(&argument.suite.as_str())));
        argued
    }

    /// The cases that are argued for in vain, and those that nobody argues for.
    fn differences(&self, suite: &str, unseen: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
        let of_suite = self.unseen.iter().filter(|argument| argument.suite == suite);
        let names: Vec<&str> = of_suite.flat_map(|argument| &argument.cases).map(String::as_str).collect();
        let stands_for = |name: &str, case: &str| match name.strip_suffix('*') {
            Some(start) => case.starts_with(start),
            None => case == name,
        };
        let argued = |case: &str| names.iter().any(|name| stands_for(name, case));
        let open = unseen
            .iter()
            .filter(|(case, _)| !argued(case))
            .map(|(case, profiles)| format!("{case}: {profiles:?}"));
        let vain = names.iter().filter(|name| !unseen.keys().any(|case| stands_for(name, case)));
        open.chain(vain.map(|name| format!("{name}: argued in vain"))).collect()
    }
}

/// The good case beside which the faults of the others are seen: what a profile misses there (a revocation list, a late TCB
/// recovery) it misses in every case of the suite.
fn beside(case: &Case) -> (&'static str, &'static str) {
    match case.platform {
        Platform::Snp => ("snp", "snp-good-genoa"),
        Platform::Tdx if case.files.contains_key("eventlog") => ("tdx", "tdx-good-event-log"),
        Platform::Tdx => ("tdx", "tdx-good-v5-td15"),
        Platform::Nvidia => ("gpu", "nvidia-good-strict"),
        Platform::Azure => ("paravisor", "azure-good-bound"),
        Platform::Tpm => ("tpm", "tpm-good"),
    }
}

/// The profiles that judge the family of the case and find nothing wrong with it that they do not find with a good case.
fn unseen(case: &Case, all: &BTreeMap<String, Verdicts>, profiles: &[(String, String)]) -> BTreeSet<String> {
    let (family, good) = beside(case);
    let sees_nothing = |profile: &str| {
        let background: BTreeSet<&str> =
            all.get(good).map_or_else(BTreeSet::new, |good| good[profile].split(' ').collect());
        let word = &all[&case.id][profile];
        word == ACCEPT || word.split(' ').all(|code| background.contains(code))
    };
    let judging = profiles.iter().filter(|(_, text)| judges(text, family)).map(|(name, _)| name);
    judging.filter(|name| sees_nothing(name)).cloned().collect()
}

/// Runs a suite, and holds the verdicts to the file of its name.
fn run(name: &str) {
    let Some(corpus) = suite(name) else { return };
    assert_eq!(corpus.unread().len(), 0);
    let profiles = shipped();
    let verdicts: BTreeMap<_, _> =
        corpus.cases().iter().map(|case| (case.id.clone(), judge(&corpus, case, &profiles))).collect();
    let bad = corpus.cases().iter().filter(|case| case.expect == Expectation::Reject);
    let unseen = bad.map(|case| (case.id.clone(), unseen(case, &verdicts, &profiles)));
    let unseen: BTreeMap<_, _> = unseen.filter(|(_, profiles)| !profiles.is_empty()).collect();
    let (path, text) = (folder().join(format!("{name}.toml")), written(&verdicts));
    if std::env::var_os("WRITE_VERDICTS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    eprintln!("{name}: {} profiles on {} cases", profiles.len(), verdicts.len());
    let differences = Argued::read().differences(name, &unseen);
    assert!(differences.is_empty(), "faults that profiles do not see: {differences:#?}");
    compare(&path, &text);
}

fn compare(path: &Path, text: &str) {
    let known = std::fs::read_to_string(path).unwrap_or_default();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (known, observed) = (lines(&known), lines(text));
    let gone: Vec<_> = known.difference(&observed).collect();
    let new: Vec<_> = observed.difference(&known).collect();
    assert!(gone.is_empty() && new.is_empty(), "{}: gone {gone:#?}, new {new:#?}", path.display());
}

#[test]
fn every_profile_has_the_written_verdict_on_every_case_of_the_rejection_suite() {
    run(SUITES[0]);
}

#[test]
fn every_profile_has_the_written_verdict_on_every_real_sample() {
    run(SUITES[1]);
}
