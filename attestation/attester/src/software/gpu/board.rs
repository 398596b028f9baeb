//! A whole simulated HGX board: eight GPUs and the four switches between them; or one GPU alone.

use super::device::delegated;
use super::{Chip, Edition, GpuConfig, GpuDevice, GpuHierarchy, RimSigner, RimTemplate, SwitchLinks};
use crate::software::Error;
use anchorhold_rats::{Der, GpuEvidence, Nonce, Timestamp};
use ring::rand::{SecureRandom as _, SystemRandom};
use std::sync::Arc;

const GPUS: usize = 8;
const SWITCHES: usize = 4;
/// How many of a GPU's 18 links go to each switch.
const LINKS: [usize; SWITCHES] = [5, 4, 5, 4];
const ON: u8 = 0xaa;
const PROTECTED_PCIE: u16 = 2;

/// Eight GPUs and four switches that name each other, or one GPU.
#[derive(Debug)]
pub struct Board {
    /// The GPUs.
    pub gpus: Vec<GpuDevice>,
    /// The switches.
    pub switches: Vec<GpuDevice>,
}

impl Board {
    /// A Hopper board in protected PCIe mode with random identities.
    ///
    /// # Errors
    /// [`Error`] when there is no randomness or a fixture is damaged.
    pub fn make() -> Result<Self, Error> {
        let mut identities = [[0; 8]; GPUS + SWITCHES];
        SystemRandom::new().fill(identities.as_flattened_mut()).map_err(|_| Error::Random)?;
        let (gpu_pdis, switch_pdis) = identities.split_at(GPUS);
        let (of_gpus, of_switches) =
            (Arc::new(GpuHierarchy::make(Chip::Gh100)?), Arc::new(GpuHierarchy::make(Chip::Ls10)?));
        let gpu = |pdi: &[u8; 8]| {
            let mut config = GpuConfig::new(Chip::Gh100, *pdi);
            config.protected_pcie = Some(ON);
            config.feature = Some(PROTECTED_PCIE);
            config.links = Some(gpu_links(switch_pdis));
            GpuDevice::make_below(&of_gpus, config)
        };
        let switch = |(position, pdi): (u16, &[u8; 8])| {
            let mut config = GpuConfig::new(Chip::Ls10, *pdi);
            config.switch = Some(switch_links(position, gpu_pdis));
            GpuDevice::make_below(&of_switches, config)
        };
        Ok(Self {
            gpus: gpu_pdis.iter().map(gpu).collect::<Result<_, _>>()?,
            switches: (0..).zip(switch_pdis).map(switch).collect::<Result<_, _>>()?,
        })
    }

    /// One GPU in confidential mode, on no board, with a random identity.
    ///
    /// # Errors
    /// [`Error`] when there is no randomness or a fixture is damaged.
    pub fn single(chip: Chip) -> Result<Self, Error> {
        let mut identity = [0; 8];
        SystemRandom::new().fill(&mut identity).map_err(|_| Error::Random)?;
        Ok(Self { gpus: vec![GpuDevice::make(GpuConfig::new(chip, identity))?], switches: Vec::new() })
    }

    /// All devices, GPUs first.
    pub fn devices(&self) -> impl Iterator<Item = &GpuDevice> {
        self.gpus.iter().chain(&self.switches)
    }

    /// Evidence of all devices for one nonce, GPUs first.
    ///
    /// # Errors
    /// [`Error`] when there is no randomness or ring does not sign.
    pub fn evidence(&self, nonce: &Nonce) -> Result<Vec<GpuEvidence>, Error> {
        self.devices().map(|device| device.evidence(nonce)).collect()
    }

    /// The manifests that the devices match, of driver, VBIOS and switch BIOS, with good OCSP responses about their signers.
    ///
    /// # Errors
    /// [`Error`] when there is no randomness, ring does not sign or a fixture is damaged.
    pub fn rims(&self, at: Timestamp) -> Result<(Vec<Der>, Vec<Der>), Error> {
        let mut rims = Vec::new();
        let mut ocsp = Vec::new();
        let gpu_editions: &[Edition] = &[Edition::Driver, Edition::Vbios];
        let kinds = [(self.gpus.first(), gpu_editions), (self.switches.first(), &[Edition::SwitchBios])];
        for (device, editions) in kinds {
            let Some(device) = device else { continue };
            let signer = RimSigner::make(device.config().chip, at)?;
            for edition in editions {
                let document = RimTemplate::of(device.config(), *edition).document();
                rims.push(Der(signer.sign(&document)?));
            }
            ocsp.extend(signer.ocsp(at)?);
        }
        Ok((rims, ocsp))
    }

    /// OCSP responses that are good at the time `at` about every certificate of the devices between leaf and root, each once.
    ///
    /// # Errors
    /// [`Error`] when ring does not sign or a fixture is damaged.
    pub fn ocsp(&self, at: Timestamp) -> Result<Vec<Der>, Error> {
        let mut seen = Vec::new();
        let mut responses = Vec::new();
        for device in self.devices() {
            for (answer, key) in device.ocsp_templates(at)? {
                let about: Vec<_> = answer.entries.iter().map(|entry| entry.serial.clone()).collect();
                if !seen.contains(&about) {
                    responses.push(delegated(answer, &key)?);
                    seen.push(about);
                }
            }
        }
        Ok(responses)
    }
}

/// The switch at each link of a GPU, its bytes in the other order than in its certificate.
fn gpu_links(switches: &[[u8; 8]]) -> [[u8; 8]; 18] {
    let mut links = [[0; 8]; 18];
    let ends = switches.iter().zip(LINKS).flat_map(|(pdi, count)| std::iter::repeat_n(pdi, count));
    for (link, pdi) in links.iter_mut().zip(ends) {
        *link = *pdi;
        link.reverse();
    }
    links
}

/// The GPUs of a switch, and the GPU behind each port: each as often as it has links to this switch.
fn switch_links(position: u16, gpus: &[[u8; 8]]) -> SwitchLinks {
    let mut list = [[0; 8]; GPUS];
    list.iter_mut().zip(gpus).for_each(|(place, pdi)| *place = *pdi);
    let count = LINKS.into_iter().nth(position.into()).unwrap_or_default();
    let mut ports = [0xff; 64];
    let ends = (0..8).flat_map(|gpu| std::iter::repeat_n(gpu, count));
    ports.iter_mut().zip(ends).for_each(|(port, gpu)| *port = gpu);
    SwitchLinks { gpus: list, ports, position }
}
