//! A server, simulated guests, and one way to bring them together.

use anchorhold_attester::software::gpu::{
    Chip, GpuConfig, GpuDevice, simulated_nvidia_device_root_der, simulated_nvidia_rim_root_der,
};
use anchorhold_attester::software::tdx::{TdConfig, TdxGuest, simulated_intel_root_der};
use anchorhold_attester::software::{LaunchConfig, SoftwareGuest, SoftwareParavisor, simulated_ark_der};
use anchorhold_kbs::client::{self, Attested, Attesting, AwaitingToken};
use anchorhold_kbs::ear::{Pass, TokenIssuer};
use anchorhold_kbs::server::{self, Answer, Server};
use anchorhold_kbs::{Problem, SessionKey, Tee, TokenRules, WrittenEvidence, dangerous as kbs_dangerous};
use anchorhold_rats::{
    Endorsements, Evidence, Expected, Measurement, ReportData, Secret, Sha256Digest, Timestamp,
};
use anchorhold_verifier::dangerous::{self, SimulatedRoots};
use anchorhold_verifier::nvidia::{Architecture, BoardSize, Mode};
use anchorhold_verifier::snp::{GenoaTcb, MinimumTcb};
use anchorhold_verifier::{
    AppraisalPolicy, AttestationResult, Refusal, TrustAnchors, appraise, authenticate,
};
use anchorhold_verifier::{azure, nvidia, snp, tdx};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

pub(crate) const MEASUREMENT: Measurement = Measurement::new([7; 48]);
pub(crate) const POLICY: Sha256Digest = Sha256Digest::new([4; 32]);

pub(crate) fn at() -> Timestamp {
    "2026-07-25T00:00:00Z".parse().unwrap()
}

pub(crate) fn issuer() -> TokenIssuer {
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    TokenIssuer::new(key.as_ref()).unwrap()
}

pub(crate) fn server() -> Server {
    Server::new(SessionKey::new(&Secret::take(&mut [1; 32])), issuer())
}

/// Tokens about simulated guests affirm nothing, so the guests of these tests take any status.
pub(crate) fn rules(server: &Server) -> TokenRules {
    kbs_dangerous::any_status(TokenRules::new(server.tokens().keys().clone()))
}

/// What a guest runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guest {
    Snp,
    SnpWithGpu,
    Tdx,
    AzSnp,
    AzTdx,
}

impl Guest {
    pub(crate) const ALL: [Self; 5] = [Self::Snp, Self::SnpWithGpu, Self::Tdx, Self::AzSnp, Self::AzTdx];

    pub(crate) fn tee(self) -> Tee {
        match self {
            Self::Snp | Self::SnpWithGpu => Tee::Snp,
            Self::Tdx => Tee::Tdx,
            Self::AzSnp => Tee::AzSnpVtpm,
            Self::AzTdx => Tee::AzTdxVtpm,
        }
    }

    /// Evidence of the TEE for `report_data`, of which a virtual TPM quotes the first `quoted` bytes.
    pub(crate) fn evidence(self, report_data: &ReportData, quoted: usize) -> Evidence {
        self.launched_with([0; 32], report_data, quoted)
    }

    pub(crate) fn launched_with(self, init: [u8; 32], report_data: &ReportData, quoted: usize) -> Evidence {
        let snp = |report_data: &ReportData| {
            let config = LaunchConfig { host_data: init, ..LaunchConfig::new(MEASUREMENT) };
            SoftwareGuest::launch(config, at()).unwrap().attest(report_data).unwrap()
        };
        let tdx = |report_data: &ReportData| {
            let mut config = TdConfig::new(MEASUREMENT);
            config.mr_config_id[..32].copy_from_slice(&init);
            TdxGuest::launch(config, at()).unwrap().attest(report_data).unwrap()
        };
        let below = |make: &dyn Fn(&ReportData) -> Evidence| {
            let paravisor = SoftwareParavisor::new().unwrap();
            let mut evidence = make(&paravisor.report_data());
            let nonce = &report_data.as_bytes()[..quoted];
            evidence.paravisor = Some(paravisor.attest(evidence.tee, &evidence.report, nonce).unwrap());
            // Azure hands out the leaf, and issuers are elsewhere.
            evidence.certificates.truncate(1);
            evidence.event_log = None;
            evidence
        };
        match self {
            Self::Snp | Self::SnpWithGpu => snp(report_data),
            Self::Tdx => tdx(report_data),
            Self::AzSnp => below(&snp),
            Self::AzTdx => below(&tdx),
        }
    }

    pub(crate) fn endorsements(self) -> Endorsements {
        match self {
            Self::Tdx | Self::AzTdx => {
                let guest = TdxGuest::launch(TdConfig::new(MEASUREMENT), at()).unwrap();
                Endorsements { tdx: Some(guest.collateral(at()).unwrap()), ..Endorsements::default() }
            }
            _ => Endorsements::default(),
        }
    }

    pub(crate) fn policy(self) -> AppraisalPolicy {
        let genoa = Some(GenoaTcb { bootloader: 10, tee: 0, snp: 25, microcode: 84 });
        let mut snp = snp::Policy::strict(vec![MEASUREMENT], MinimumTcb { genoa, ..MinimumTcb::default() });
        let board = BoardSize { gpus: 1, switches: 0 };
        let mut gpu = nvidia::Policy::strict(Mode::SinglePassthrough, board, vec![Architecture::Hopper]);
        (gpu.require_rims, gpu.ocsp.require) = (false, false);
        let paravisor = azure::Policy::strict((0..24).map(|pcr| (pcr, vec![[0; 32]])).collect());
        snp.require_alias_check = true;
        let policy: AppraisalPolicy = match self {
            Self::Snp | Self::SnpWithGpu | Self::AzSnp => snp.into(),
            Self::Tdx | Self::AzTdx => tdx::Policy::strict(vec![MEASUREMENT]).into(),
        };
        dangerous::allow_simulated(AppraisalPolicy {
            paravisor: matches!(self, Self::AzSnp | Self::AzTdx).then_some(paravisor),
            gpu: (self == Self::SnpWithGpu).then_some(gpu),
            ..policy
        })
    }
}

/// One exchange up to the attestation: the server's cookie is in what waits.
pub(crate) fn introduced(server: &Server, guest: Guest) -> Attesting {
    let (body, waiting) = client::begin(guest.tee(), rules(server)).unwrap();
    let Answer { body, set_cookie } = server.introduce(&body, at()).unwrap();
    waiting.take(&body, Some(&set_cookie)).unwrap()
}

/// What a guest sends: the body, its cookie, and what waits.
pub(crate) struct Sent {
    pub(crate) body: Vec<u8>,
    pub(crate) cookie: String,
    pub(crate) waiting: AwaitingToken,
}

pub(crate) fn device() -> GpuDevice {
    GpuDevice::make(GpuConfig::new(Chip::Gh100, [0x41; 8])).unwrap()
}

pub(crate) fn sent(server: &Server, guest: Guest) -> Sent {
    sent_with(server, guest, [0; 32], None)
}

/// A guest that was launched with `init` as the digest of its initialisation data, and sends `init_data`.
pub(crate) fn sent_with(server: &Server, guest: Guest, init: [u8; 32], init_data: Option<&str>) -> Sent {
    let attesting = introduced(server, guest);
    let cookie = attesting.cookie_header();
    let additional = match guest {
        Guest::SnpWithGpu => {
            let gpus = vec![device().evidence(&attesting.device_nonce()).unwrap()];
            WrittenEvidence::additional(&gpus)
        }
        _ => String::new(),
    };
    let digest = attesting.digest(&additional);
    let evidence = guest.launched_with(init, &digest.report_data(), digest.as_bytes().len());
    let written = WrittenEvidence::of(&evidence).unwrap();
    assert_eq!(written.tee, guest.tee());
    let (body, waiting) = attesting.send(&written.primary, &additional, init_data);
    Sent { body, cookie, waiting }
}

pub(crate) fn anchors() -> TrustAnchors {
    dangerous::simulated_anchors(&SimulatedRoots {
        amd: Some(simulated_ark_der()),
        intel: Some(simulated_intel_root_der()),
        nvidia_device: Some(simulated_nvidia_device_root_der()),
        nvidia_rim: Some(simulated_nvidia_rim_root_der()),
        foreign: false,
    })
    .unwrap()
}

pub(crate) fn judge(
    evidence: &Evidence,
    guest: Guest,
    expected: &Expected,
) -> Result<AttestationResult, Refusal> {
    // Azure hands out the leaf alone; whoever judges brings its issuers.
    let mut evidence = evidence.clone();
    if guest == Guest::AzSnp {
        let launched = Guest::Snp.evidence(&expected.report_data, 64);
        evidence.certificates.extend(launched.certificates.into_iter().skip(1));
    }
    authenticate(&evidence, &guest.endorsements(), &anchors(), at())
        .and_then(|authentic| appraise(authentic, &guest.policy(), expected))
}

pub(crate) fn pass() -> Pass {
    Pass { policy_digest: POLICY, basis: Sha256Digest::new([5; 32]), grants: vec!["kata".into()] }
}

/// What the server answers to an attestation.
pub(crate) fn attest(
    server: &Server,
    guest: Guest,
    body: &[u8],
    cookie: Option<&str>,
) -> Result<Answer, Problem> {
    let attesting = server.read_attestation(body, cookie, at())?;
    let result = judge(attesting.evidence(), guest, attesting.expected());
    let accepted = attesting.accept(result.map_err(|_| Problem::Evidence)?, at())?;
    server.admit(&accepted, pass(), at())
}

/// A whole exchange.
pub(crate) fn attested(server: &Server, guest: Guest) -> Attested {
    let Sent { body, cookie, waiting } = sent(server, guest);
    let Answer { body, set_cookie } = attest(server, guest, &body, Some(&cookie)).unwrap();
    waiting.take(&body, Some(&set_cookie), at()).unwrap()
}

/// The server's side of one request for a resource.
pub(crate) fn released(server: &server::Server, guest: &Attested, resource: &[u8]) -> Vec<u8> {
    let session = server.session(None, Some(&guest.cookie_header()), at()).unwrap();
    assert_eq!(session.pass(), &pass());
    anchorhold_kbs::seal(resource, session.key()).unwrap()
}
