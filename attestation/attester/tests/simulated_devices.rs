//! Simulated GPUs, switches and manifests go through the real verifier, and only where a caller names the simulated roots.

#[cfg(test)]
mod tests {
    use anchorhold_attester::software::gpu::{
        Board, Chip, Edition, GpuConfig, GpuDevice, RimSigner, RimTemplate, simulated_nvidia_device_root_der,
        simulated_nvidia_rim_root_der,
    };
    use anchorhold_rats::{Checks, GpuEvidence, Nonce, Timestamp};
    use anchorhold_verifier::nvidia::{Input, Kind, OpaqueFields, Pdi, authenticate, rim};
    use anchorhold_verifier::{TrustAnchors, dangerous};

    const NONCE: Nonce = Nonce::new([0xab; 32]);

    fn now() -> Timestamp {
        "2026-07-25T00:00:00Z".parse().unwrap()
    }

    fn simulated() -> TrustAnchors {
        let roots = dangerous::SimulatedRoots {
            nvidia_device: Some(simulated_nvidia_device_root_der()),
            nvidia_rim: Some(simulated_nvidia_rim_root_der()),
            ..Default::default()
        };
        dangerous::simulated_anchors(&roots).unwrap()
    }

    fn input(devices: &[GpuEvidence]) -> Input<'_> {
        Input { devices, rims: &[], ocsp: &[] }
    }

    #[test]
    fn every_chip_is_authentic_under_the_named_roots_and_matches_its_manifests() {
        for (chip, editions) in [
            (Chip::Gh100, &[Edition::Driver, Edition::Vbios][..]),
            (Chip::Gb100, &[Edition::Driver, Edition::Vbios]),
            (Chip::Ls10, &[Edition::SwitchBios]),
        ] {
            let device = GpuDevice::make(GpuConfig::new(chip, [7; 8])).unwrap();
            let evidence = [device.evidence(&NONCE).unwrap()];
            let devices = authenticate(&input(&evidence), &simulated(), now())
                .unwrap_or_else(|refusal| panic!("{chip:?}: {refusal}"));
            let [found] = &devices.claims()[..] else { panic!("{chip:?}") };
            assert_eq!(found.report().nonce, NONCE);
            assert_eq!(found.pdi(), Pdi([7; 8]));
            assert_eq!(found.report().measurements.len(), usize::from(chip.blocks()));

            let signer = RimSigner::make(chip, now()).unwrap();
            let rims: Vec<_> = editions
                .iter()
                .map(|edition| {
                    let xml = signer.sign(&RimTemplate::of(device.config(), *edition).document()).unwrap();
                    rim::authenticate(&xml, &simulated(), now())
                        .unwrap_or_else(|refusal| panic!("{chip:?} {edition:?}: {refusal}"))
                })
                .collect();
            let rims: Vec<_> = rims.iter().map(|rim| rim.claims()).collect();
            let measured = |report: &anchorhold_verifier::nvidia::Report| rim::Measured {
                blocks: report.measurements.iter().map(|(index, value)| (*index, value.to_vec())).collect(),
                nvdec0_disabled: false,
            };
            assert!(rim::compare(&rims, &measured(found.report()), &mut Checks::new()), "{chip:?}");
            let mut other = measured(found.report());
            other.blocks.insert(8, vec![0; 48]);
            assert!(!rim::compare(&rims, &other, &mut Checks::new()), "{chip:?}");
        }
    }

    #[test]
    fn a_board_names_its_own_devices() {
        let board = Board::make().unwrap();
        let evidence = board.evidence(&NONCE).unwrap();
        let devices = authenticate(&input(&evidence), &simulated(), now()).unwrap();
        let pdis = |kind: Kind| {
            let of_kind = devices.claims().iter().filter(|device| device.kind() == kind);
            let mut pdis: Vec<[u8; 8]> = of_kind.map(|device| device.pdi().0).collect();
            pdis.sort_unstable();
            pdis
        };
        let (gpus, switches) = (pdis(Kind::Gpu), pdis(Kind::Switch));
        assert_eq!((gpus.len(), switches.len()), (8, 4));
        let mut links_to_gpus = 0;
        for device in devices.claims() {
            match device.fields() {
                OpaqueFields::Gpu(fields) => {
                    let mut linked = fields.switches.unwrap().map(|pdi| pdi.0).to_vec();
                    linked.iter_mut().for_each(|pdi| pdi.reverse());
                    linked.sort_unstable();
                    linked.dedup();
                    assert_eq!(linked, switches);
                }
                OpaqueFields::Switch(fields) => {
                    let mut linked = fields.gpus.map(|pdi| pdi.0).to_vec();
                    linked.sort_unstable();
                    assert_eq!(linked, gpus);
                    links_to_gpus += fields.ports.iter().filter(|port| **port != 0xff).count();
                }
            }
        }
        assert_eq!(links_to_gpus, 8 * 18);
    }

    #[test]
    fn case_05_refuses_simulated_devices_and_manifests_under_production_anchors() {
        let device = GpuDevice::make(GpuConfig::new(Chip::Gh100, [7; 8])).unwrap();
        let evidence = [device.evidence(&NONCE).unwrap()];
        let refusal = authenticate(&input(&evidence), &TrustAnchors::production(), now()).unwrap_err();
        assert_eq!(refusal.code(), "nvidia_no_trust_anchor");
        let signer = RimSigner::make(Chip::Gh100, now()).unwrap();
        let xml = signer.sign(&RimTemplate::of(device.config(), Edition::Driver).document()).unwrap();
        let refusal = rim::authenticate(&xml, &TrustAnchors::production(), now()).unwrap_err();
        assert_eq!(refusal.code(), "rim_certificate_root");
    }
}
