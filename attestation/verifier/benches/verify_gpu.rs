//! Time of one verification of GPUs with everything in force: reports, chains, both manifests of each device and the OCSP
//! answers about every certificate. One GH100, and a board of eight with four switches, each beside its distinct
//! ECDSA P-384 verifications alone.
//!
//! What is alone measured is one certificate's signature by ring, as many times as the evidence has distinct signatures.

use anchorhold_attester::software::gpu::{
    Board, Chip, Edition, GpuConfig, GpuDevice, RimSigner, RimTemplate, simulated_nvidia_device_root_der,
    simulated_nvidia_rim_root_der,
};
use anchorhold_rats::{Der, GpuEvidence, Nonce, Timestamp};
use anchorhold_verifier::TrustAnchors;
use anchorhold_verifier::dangerous::{self, SimulatedRoots};
use anchorhold_verifier::nvidia::{Architecture, BoardSize, Input, Mode, Policy, appraise, authenticate};
use anchorhold_verifier::x509::Certificate;
use rounds::{Comparison, Run, medians_ns, report};
use std::collections::BTreeSet;
use std::error::Error;
use std::hint::black_box;

mod rounds;

const ROUNDS: usize = 50;
const BOARD_ROUNDS: usize = 10;
const NONCE: Nonce = Nonce::new([5; 32]);
/// From a manifest's signer to the root.
const RIM_LINKS: usize = 3;

struct Subject {
    devices: Vec<GpuEvidence>,
    rims: Vec<Der>,
    ocsp: Vec<Der>,
    /// How many signers the manifests have.
    signers: usize,
    anchors: TrustAnchors,
    policy: Policy,
    at: Timestamp,
}

impl Subject {
    /// How many distinct signatures there are. Each OCSP response has two: the responder's, and its certificate's.
    fn signatures(&self) -> usize {
        let links: BTreeSet<&[u8]> = self
            .devices
            .iter()
            .flat_map(|device| device.certificates.split_last().map_or(&[][..], |(_, below)| below))
            .map(|certificate| certificate.0.as_slice())
            .collect();
        self.devices.len() + links.len() + self.rims.len() + RIM_LINKS * self.signers + 2 * self.ocsp.len()
    }

    fn verify<'a>(&'a self, name: &'static str) -> Run<'a> {
        let run = move || {
            let Self { devices, rims, ocsp, anchors, .. } = black_box(self);
            let authentic = authenticate(&Input { devices, rims, ocsp }, anchors, self.at)?;
            black_box(appraise(authentic, &self.policy, Some(&NONCE))?);
            Ok(())
        };
        (name, Box::new(run))
    }

    fn signatures_alone<'a>(&'a self, name: &'static str) -> Result<Run<'a>, Box<dyn Error>> {
        let chain = &self.devices.first().ok_or("a device")?.certificates;
        let [_, certificate, issuer, ..] = chain.as_slice() else { return Err("a chain".into()) };
        let (certificate, issuer) = (Certificate::parse(&certificate.0)?, Certificate::parse(&issuer.0)?);
        let count = self.signatures();
        let run = move || {
            let valid = (0..count).all(|_| black_box(&certificate).verify_signature(&issuer.public_key));
            if valid { Ok(()) } else { Err("a signature".into()) }
        };
        Ok((name, Box::new(run)))
    }
}

fn anchors() -> Result<TrustAnchors, Box<dyn Error>> {
    Ok(dangerous::simulated_anchors(&SimulatedRoots {
        nvidia_device: Some(simulated_nvidia_device_root_der()),
        nvidia_rim: Some(simulated_nvidia_rim_root_der()),
        ..SimulatedRoots::default()
    })?)
}

fn one(at: Timestamp) -> Result<Subject, Box<dyn Error>> {
    let device = GpuDevice::make(GpuConfig::new(Chip::Gh100, [7; 8]))?;
    let signer = RimSigner::make(Chip::Gh100, at)?;
    let mut rims = Vec::new();
    for edition in [Edition::Driver, Edition::Vbios] {
        rims.push(Der(signer.sign(&RimTemplate::of(device.config(), edition).document())?));
    }
    let board = BoardSize { gpus: 1, switches: 0 };
    let policy = Policy::strict(Mode::SinglePassthrough, board, vec![Architecture::Hopper]);
    let ocsp = [device.ocsp(at)?, signer.ocsp(at)?].concat();
    let devices = vec![device.evidence(&NONCE)?];
    let policy = dangerous::allow_simulated(policy);
    Ok(Subject { devices, rims, ocsp, signers: 1, anchors: anchors()?, policy, at })
}

fn whole_board(at: Timestamp) -> Result<Subject, Box<dyn Error>> {
    let board = Board::make()?;
    let (rims, mut ocsp) = board.rims(at)?;
    ocsp.extend(board.ocsp(at)?);
    let architectures = vec![Architecture::Hopper, Architecture::Ls10];
    let policy = Policy::strict(Mode::ProtectedPcie, BoardSize { gpus: 8, switches: 4 }, architectures);
    let policy = dangerous::allow_simulated(policy);
    Ok(Subject { devices: board.evidence(&NONCE)?, rims, ocsp, signers: 2, anchors: anchors()?, policy, at })
}

fn main() -> Result<(), Box<dyn Error>> {
    let at: Timestamp = "2026-07-25T00:00:00Z".parse()?;
    let (one, board) = (one(at)?, whole_board(at)?);
    let runs = [one.verify("verify_gpu"), one.signatures_alone("verify_gpu_signatures")?];
    let one_ns = medians_ns(&runs, ROUNDS)?;
    let runs = [board.verify("verify_gpu_board"), board.signatures_alone("verify_gpu_board_signatures")?];
    let board_ns = medians_ns(&runs, BOARD_ROUNDS)?;
    let ([whole, alone], [board_whole, board_alone]) = (one_ns.as_slice(), board_ns.as_slice()) else {
        return Err("four medians".into());
    };
    let compare = |name, median_ns: &u128, peer, peer_ns: &u128| Comparison {
        name,
        median_ns: *median_ns,
        peer,
        peer_ns: *peer_ns,
    };
    report(&[
        compare("verify_gpu_median", whole, "its distinct signatures", alone),
        compare("verify_gpu_board_of_12_median", board_whole, "its distinct signatures", board_alone),
    ])
}
