//! What evidence leads to, without a network.

use crate::simulated::{Snp, at};
use anchorhold_attester::software::{LaunchConfig, Product as Line, Signer as By, SoftwareGuest};
use anchorhold_endorsements::{Config, Intermediates, Item, RimId, Unplannable, Wanted, follow_up, plan};
use anchorhold_rats::{Evidence, Measurement, ReportData};
use anchorhold_verifier::snp::{Product, Signer};

fn attest(config: LaunchConfig) -> Evidence {
    SoftwareGuest::launch(config, at(0)).unwrap().attest(&ReportData::new([2; 64])).unwrap()
}

fn of_line(line: Line) -> LaunchConfig {
    LaunchConfig::for_product(Measurement::new([1; 48]), line)
}

fn items(evidence: &Evidence, config: &Config) -> Result<Vec<Item>, Unplannable> {
    Ok(plan(evidence, &[], config)?.into_iter().map(|wanted| wanted.item).collect())
}

/// The same report as of version 2, which states no CPUID. Nobody signed it.
fn as_version_2(mut evidence: Evidence) -> Evidence {
    evidence.report[0] = 2;
    evidence.report[0x188..0x18b].fill(0);
    evidence.report[0x1f8..0x208].fill(0);
    evidence
}

#[test]
fn a_leaf_that_accompanies_the_report_is_not_asked_for() {
    for (line, product) in
        [(Line::Milan, Product::Milan), (Line::Genoa, Product::Genoa), (Line::Turin, Product::Turin)]
    {
        let evidence = attest(of_line(line));
        let wanted = [Item::AmdCrl { product, signer: Signer::Vcek }];
        assert_eq!(items(&evidence, &Config::production()).unwrap(), wanted);
        assert_eq!(items(&as_version_2(evidence), &Config::production()).unwrap(), wanted);
    }
}

#[test]
fn an_issuer_alone_is_no_leaf() {
    let full = attest(of_line(Line::Turin));
    let issuer = Evidence::snp(full.report, full.certificates[1..].to_vec());
    let planned = items(&issuer, &Config::production()).unwrap();
    assert!(matches!(planned[..], [Item::Vcek { .. }, Item::AmdCrl { product: Product::Turin, .. }]));
}

#[test]
fn intermediates_are_asked_for_only_when_they_are_wanted() {
    let config = Config { intermediates: Intermediates::Fetched, ..Config::production() };
    let chain = Item::AmdChain { product: Product::Genoa, signer: Signer::Vcek };
    assert!(items(&Snp::new().evidence, &config).unwrap().contains(&chain));
    assert!(!items(&Snp::new().evidence, &Config::production()).unwrap().contains(&chain));
}

#[test]
fn a_report_of_version_2_without_a_leaf_leaves_the_product_open() {
    let full = attest(of_line(Line::Genoa));
    let bare = as_version_2(Evidence::snp(full.report, vec![]));
    let planned = plan(&bare, &[], &Config::production()).unwrap();
    let [Wanted { item, otherwise }] = &planned[..] else { panic!("{planned:?}") };
    assert!(item.path().starts_with("/vcek/v1/Milan/"));
    assert!(matches!(&otherwise[..], [other] if other.path().starts_with("/vcek/v1/Genoa/")));
    let assumed = Config { assumed_product: Some(Product::Genoa), ..Config::production() };
    let planned = plan(&bare, &[], &assumed).unwrap();
    assert_eq!(planned[0].item, otherwise[0]);
    assert_eq!(planned[1].item, Item::AmdCrl { product: Product::Genoa, signer: Signer::Vcek });
}

#[test]
fn refuses_reports_that_name_nothing_published() {
    let bare = |config| Evidence::snp(attest(config).report, vec![]);
    let config = Config::production();
    let vlek = LaunchConfig { signer: By::Vlek, ..of_line(Line::Milan) };
    assert_eq!(items(&bare(vlek), &config), Err(Unplannable::Vlek));
    let masked = LaunchConfig { chip_id: Some([0; 64]), ..of_line(Line::Milan) };
    assert_eq!(items(&bare(masked), &config), Err(Unplannable::ChipIdMasked));
    let mut unsigned = bare(of_line(Line::Milan));
    unsigned.report[0x48] |= 7 << 2;
    assert_eq!(items(&unsigned, &config), Err(Unplannable::Unsigned));
    let mut unknown = bare(of_line(Line::Milan));
    unknown.report[0x188] = 0x17;
    assert_eq!(items(&unknown, &config), Err(Unplannable::Product));
    let mut reserved = bare(of_line(Line::Milan));
    reserved.report[0x182] = 1;
    assert_eq!(items(&reserved, &config), Err(Unplannable::Tcb));
    let cut = Evidence::snp(vec![2; 100], vec![]);
    assert_eq!(items(&cut, &config), Err(Unplannable::Report("snp_report_length".into())));
    let quote = Evidence::tdx(vec![4; 100]);
    assert_eq!(items(&quote, &config), Err(Unplannable::Quote("PCK certificate chain")));
}

#[test]
fn a_vlek_with_its_certificate_has_a_list_of_its_own() {
    let vlek = LaunchConfig { signer: By::Vlek, ..of_line(Line::Milan) };
    let planned = items(&attest(vlek), &Config::production()).unwrap();
    assert_eq!(planned, [Item::AmdCrl { product: Product::Milan, signer: Signer::Vlek }]);
}

#[test]
fn refuses_rim_ids_that_are_none_or_too_many() {
    let evidence = attest(of_line(Line::Milan));
    let ids = |count: usize| (0..count).map(|n| format!("NV_{n}")).collect::<Vec<_>>();
    let planned = |ids: &[String]| plan(&evidence, ids, &Config::production());
    assert_eq!(planned(&ids(32)).unwrap().len(), 33);
    assert_eq!(planned(&ids(33)), Err(Unplannable::Limit { what: "reference manifests", limit: 32 }));
    assert_eq!(planned(&["NV_A".into(), "../x".into()]), Err(Unplannable::RimId { index: 1 }));
    let twice = planned(&["NV_A".into(), "NV_A".into()]).unwrap();
    let manifest = Item::Rim(RimId::new("NV_A").unwrap());
    assert_eq!(twice.iter().filter(|wanted| wanted.item == manifest).count(), 1);
}

#[test]
fn nothing_follows_from_what_was_planned_already() {
    let snp = Snp::new();
    let config = Config::production();
    let planned = plan(&snp.evidence, &[], &config).unwrap();
    let vcek = anchorhold_endorsements::Endorsement::Certificate { der: anchorhold_rats::Der(snp.vcek) };
    let found = [(planned[0].item.clone(), vcek)];
    assert_eq!(follow_up(&planned, &found, &config), Ok(vec![]));
    let list = Item::AmdCrl { product: Product::Genoa, signer: Signer::Vcek };
    assert_eq!(follow_up(&planned[..1], &found, &config), Ok(vec![Wanted::from(list)]));
}
