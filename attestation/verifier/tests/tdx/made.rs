//! One way to make evidence under the simulated root, changed at one stage, and one to judge it.

use crate::support::{at, codes_of};
use anchorhold_attester::software::certificate::{Extension, Template};
use anchorhold_attester::software::tdx::{
    CollateralTemplate, EnclaveReport, QuoteVersion, SignatureData, TdConfig, TdxAuthority, TdxGuest,
    assemble, intel_name, simulated_intel_root_der,
};
use anchorhold_attester::software::{Curve, SigningKey};
use anchorhold_rats::{Measurement, ReportData, TdxCollateral, Timestamp};
use anchorhold_verifier::dangerous::{self, SimulatedRoots};
use anchorhold_verifier::tdx::{AuthenticQuote, Input, Policy, appraise, authenticate};
use anchorhold_verifier::{Accepted, Authentic, Refusal, TrustAnchors};

pub(crate) const MRTD: Measurement = Measurement::new([7; 48]);
pub(crate) const REPORT_DATA: ReportData = ReportData::new([9; 64]);

pub(crate) fn now() -> Timestamp {
    at("2026-07-25T00:00:00Z")
}

pub(crate) fn simulated() -> TrustAnchors {
    let roots = SimulatedRoots { intel: Some(simulated_intel_root_der()), ..SimulatedRoots::default() };
    dangerous::simulated_anchors(&roots).unwrap()
}

/// What the verifier is given.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) quote: Vec<u8>,
    pub(crate) collateral: Option<TdxCollateral>,
}

impl Made {
    pub(crate) fn by(guest: &TdxGuest) -> Self {
        Self { quote: guest.quote(&REPORT_DATA).unwrap(), collateral: Some(guest.collateral(now()).unwrap()) }
    }

    pub(crate) fn authenticate_under(
        &self,
        anchors: &TrustAnchors,
        at: Timestamp,
    ) -> Result<Authentic<AuthenticQuote>, Refusal> {
        let input = Input { quote: &self.quote, collateral: self.collateral.as_ref() };
        authenticate(&input, anchors, at)
    }

    pub(crate) fn authentic(&self) -> Authentic<AuthenticQuote> {
        self.authenticate_under(&simulated(), now()).unwrap_or_else(|refusal| panic!("{refusal}"))
    }

    /// The codes of all rules that authentication finds broken.
    pub(crate) fn refused(&self) -> Vec<String> {
        self.refused_at(now())
    }

    pub(crate) fn refused_at(&self, at: Timestamp) -> Vec<String> {
        match self.authenticate_under(&simulated(), at) {
            Ok(_) => Vec::new(),
            Err(refusal) => codes_of(&refusal),
        }
    }

    pub(crate) fn verify(&self, edit: impl FnOnce(&mut Policy)) -> Result<Accepted<AuthenticQuote>, Refusal> {
        let mut policy = policy();
        edit(&mut policy);
        appraise(self.authentic(), &policy, &REPORT_DATA)
    }

    /// The codes of all rules that a changed policy finds broken.
    pub(crate) fn failed(&self, edit: impl FnOnce(&mut Policy)) -> Vec<String> {
        match self.verify(edit) {
            Ok(_) => Vec::new(),
            Err(refusal) => codes_of(&refusal),
        }
    }
}

pub(crate) fn policy() -> Policy {
    dangerous::allow_simulated(Policy::strict(vec![MRTD]))
}

pub(crate) fn guest_with(edit: impl FnOnce(&mut TdConfig)) -> TdxGuest {
    let mut config = TdConfig::new(MRTD);
    edit(&mut config);
    TdxGuest::launch(config, now()).unwrap()
}

pub(crate) fn guest() -> TdxGuest {
    guest_with(|_| {})
}

pub(crate) fn made(edit: impl FnOnce(&mut TdConfig)) -> Made {
    Made::by(&guest_with(edit))
}

/// Evidence with an extended body.
pub(crate) fn made_extended(edit: impl FnOnce(&mut TdConfig)) -> Made {
    made(|config| {
        config.version = QuoteVersion::V5Td15Ex;
        edit(config);
    })
}

/// Evidence whose signed bytes were changed before signing.
pub(crate) fn with_signed(edit: impl FnOnce(&mut Vec<u8>)) -> Made {
    let guest = guest();
    let mut signed = guest.fields(&REPORT_DATA).encode();
    edit(&mut signed);
    Made { quote: guest.sign(&signed).unwrap(), ..Made::by(&guest) }
}

/// Evidence whose quoting enclave reported something else, still signed by the PCK.
pub(crate) fn with_enclave(edit: impl FnOnce(&mut EnclaveReport)) -> Made {
    let guest = guest();
    let mut enclave = guest.enclave_report();
    edit(&mut enclave);
    let signed = guest.fields(&REPORT_DATA).encode();
    let data = guest.signature_data(&signed, &enclave).unwrap();
    Made { quote: assemble(&signed, &data), ..Made::by(&guest) }
}

/// Evidence whose signature data was changed.
pub(crate) fn with_data(edit: impl FnOnce(&mut SignatureData)) -> Made {
    let guest = guest();
    let signed = guest.fields(&REPORT_DATA).encode();
    let mut data = guest.signature_data(&signed, &guest.enclave_report()).unwrap();
    edit(&mut data);
    Made { quote: assemble(&signed, &data), ..Made::by(&guest) }
}

/// Evidence whose PCK was certified with a changed template.
pub(crate) fn with_leaf(edit: impl FnOnce(&mut Template)) -> Made {
    let mut guest = guest();
    let mut template = guest.template().clone();
    edit(&mut template);
    guest.certify(template).unwrap();
    Made::by(&guest)
}

/// Evidence with other certificates.
pub(crate) fn with_chain(edit: impl FnOnce(&mut Vec<Vec<u8>>)) -> Made {
    let mut guest = guest();
    let mut chain = guest.pck_chain().to_vec();
    edit(&mut chain);
    guest.set_pck_chain(chain);
    Made::by(&guest)
}

/// Evidence with collateral that was changed before signing.
pub(crate) fn with_collateral(edit: impl FnOnce(&mut CollateralTemplate)) -> Made {
    guest_with_collateral(&guest(), edit)
}

pub(crate) fn guest_with_collateral(guest: &TdxGuest, edit: impl FnOnce(&mut CollateralTemplate)) -> Made {
    let mut template = CollateralTemplate::for_platform(&guest.config().platform, now());
    edit(&mut template);
    Made { collateral: Some(template.sign().unwrap()), ..Made::by(guest) }
}

/// Evidence with collateral that was changed after signing.
pub(crate) fn with_signed_collateral(edit: impl FnOnce(&mut TdxCollateral)) -> Made {
    let mut made = Made::by(&guest());
    edit(made.collateral.as_mut().unwrap());
    made
}

pub(crate) fn new_key() -> SigningKey {
    SigningKey::generate(Curve::P256).unwrap()
}

/// What the root signs to make a PCK CA.
pub(crate) fn ca_template() -> Template {
    Template {
        serial: vec![0x51],
        extensions: vec![Extension::key_usage(0x06), Extension::authority(Some(0))],
        ..certificate(TdxAuthority::PckCa)
    }
}

/// What the root signs to make a TCB signer.
pub(crate) fn signer_template() -> Template {
    Template {
        serial: vec![0x52],
        extensions: vec![Extension::key_usage(0xc0), Extension::end_entity()],
        ..certificate(TdxAuthority::TcbSigner)
    }
}

fn certificate(authority: TdxAuthority) -> Template {
    Template {
        serial: Vec::new(),
        algorithm: Curve::P256.signature_algorithm(),
        issuer: intel_name(TdxAuthority::Root.common_name()),
        subject: intel_name(authority.common_name()),
        not_before: now().plus_seconds(-86_400),
        not_after: now().plus_seconds(86_400),
        public_key_info: authority.key().unwrap().key_info(),
        extensions: Vec::new(),
    }
}

/// The certificate for this template by the simulated root.
pub(crate) fn by_root(template: &Template) -> Vec<u8> {
    template.sign_ecdsa(&TdxAuthority::Root.key().unwrap()).unwrap()
}

/// PEM of these certificates.
pub(crate) fn pem(certificates: &[&[u8]]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let one = |der: &&[u8]| {
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der))
    };
    certificates.iter().map(one).collect()
}
