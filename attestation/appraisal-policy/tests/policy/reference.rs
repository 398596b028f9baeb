//! Reference values.

use crate::support::{HEADER, PARAVISOR, SNP, TDX};
use anchorhold_appraisal_policy::{
    AppraisalProfile, FileKind, MACHINE_LIST_TYPE, PolicyError, REFERENCE_VALUES_TYPE, Reader,
    ReferenceValues, SignedError, sign, verify_signed,
};
use anchorhold_dsse::{Error, SigningKey, TrustedSigners};

const VECTOR: &str = include_str!("../../../../tests/vectors/measure/reference-values.toml");

fn values() -> ReferenceValues {
    ReferenceValues::from_toml(VECTOR).unwrap()
}

/// The refusal of the vector with one text in the place of another.
fn refused(from: &str, to: &str) -> PolicyError {
    let changed = VECTOR.replacen(from, to, 1);
    assert_ne!(changed, VECTOR, "{from}");
    ReferenceValues::from_toml(&changed).unwrap_err()
}

fn path(error: &PolicyError) -> &str {
    match error {
        PolicyError::Value { path, .. }
        | PolicyError::Missing { path }
        | PolicyError::Unknown { path }
        | PolicyError::Empty { path } => path,
        other => panic!("{other}"),
    }
}

#[test]
fn are_written_as_they_are_read() {
    assert_eq!(values().to_toml(), VECTOR);
    assert_eq!(FileKind::of(VECTOR), Ok(FileKind::ReferenceValues));
    assert!(values().rules().iter().any(|rule| rule.value().contains("2 x EPYC-Genoa")));
}

#[test]
fn case_08_refuses_what_is_unknown_missing_malformed_or_there_twice() {
    for (from, to, at) in [
        ("kind = \"reference-values\"", "kind = \"allow\"", "kind"),
        ("[[file]]", "more = 1\n[[file]]", "more"),
        ("vcpus = 1\n", "", "snp[0].vcpus"),
        ("vcpus = 1\n", "vcpus = -1\n", "snp[0].vcpus"),
        ("vcpus = 1\n", "vcpus = 1\nsockets = 1\n", "snp[0].sockets"),
        ("vcpu_type = \"EPYC-Genoa\"", "vcpu_type = \"any model\"", "snp[0].vcpu_type"),
        ("measurement = \"sha384:3d", "measurement = \"sha384:3D", "snp[0].measurement"),
        ("mrtd = \"sha384:", "mrtd = \"sha256:", "tdx[0].mrtd"),
        ("rtmr1 = \"sha384:25", "rtmr1 = \"any\" # ", "tdx[0].rtmr1"),
        ("rtmr0 = \"any\"", "rtmr0 = \"none\"", "tdx[0].rtmr0"),
        ("sha256 = \"sha256:f9", "sha256 = \"sha256:", "file[0].sha256"),
        ("12 = \"sha256:00", "12 = \"sha256:0", "tpm.sha256.12"),
        ("14 = \"sha384:", "24 = \"sha384:", "tpm.sha384.24"),
    ] {
        assert_eq!(path(&refused(from, to)), at, "{from}");
    }
    let launch = VECTOR.find("[[snp]]").unwrap();
    let next = VECTOR[launch + 1..].find("[[snp]]").unwrap() + launch + 1;
    let twice = format!("{}{}{}", &VECTOR[..next], &VECTOR[launch..next], &VECTOR[next..]);
    assert_eq!(path(&ReferenceValues::from_toml(&twice).unwrap_err()), "snp[1]");
    let nothing = ReferenceValues::from_toml(&VECTOR[..VECTOR.find("[[snp]]").unwrap()]).unwrap_err();
    assert_eq!(path(&nothing), "snp|tdx|tpm");
    let empty = VECTOR[..VECTOR.find("2 = \"sha256:").unwrap()].to_owned() + "[tpm.sha384]\n";
    assert_eq!(path(&ReferenceValues::from_toml(&empty).unwrap_err()), "tpm.sha256.0..23");
}

#[test]
fn their_lines_make_profiles_that_accept_them_and_nothing_else() {
    let rest = |table: &str| {
        table.lines().filter(|line| !line.starts_with('[')).skip(1).collect::<Vec<_>>().join("\n")
    };
    let lines = values().profile_lines();
    let (snp, others) = lines.split_once("[tdx]").unwrap();
    let rest =
        rest(SNP).lines().filter(|line| !line.starts_with("measurements")).collect::<Vec<_>>().join("\n");
    let profile = AppraisalProfile::from_toml(&format!("{HEADER}{snp}{rest}\n[tdx]{others}")).unwrap();
    let measurements: Vec<_> = values().snp.iter().map(|launch| launch.measurement).collect();
    assert_eq!(profile.snp().unwrap().measurements, measurements);
    let tdx = profile.tdx().unwrap();
    assert_eq!(tdx.mrtds, values().tdx.iter().map(|boot| boot.mrtd).collect::<Vec<_>>());
    assert_eq!(tdx.rtmrs, [None, Some(values().tdx[0].rtmr1), Some(values().tdx[0].rtmr2), None]);
    let pcrs = &profile.paravisor().unwrap().pcrs;
    assert_eq!(pcrs.len(), 10);
    assert_eq!(pcrs[&4], vec![values().tpm.unwrap().sha256[&4]]);
    // Neither table has a key that a hand would have written.
    assert!(!TDX.contains("rtmr0") && !PARAVISOR.contains("11 ="));
}

#[test]
fn a_boot_with_other_registers_does_not_slip_into_a_profile() {
    let mut values = values();
    values.tdx[1].rtmr1 = [9; 48];
    let lines = values.profile_lines();
    assert!(lines.contains(&values.tdx[0].mrtd.to_string()));
    assert!(!lines.contains(&values.tdx[1].mrtd.to_string()));
}

#[test]
fn the_lines_of_a_grant_name_every_launch_and_boot() {
    let lines = values().grant_lines();
    let mut file = Reader::of_file(&lines.replace("[grant.image]", "[image]")).unwrap();
    let mut image = file.table("image").unwrap();
    let launches =
        image.list("measurements", "launch digests", anchorhold_appraisal_policy::measurement).unwrap();
    assert_eq!(launches, values().snp.iter().map(|launch| launch.measurement).collect::<Vec<_>>());
    let boots = image.tables("tdx").unwrap();
    assert_eq!(boots.len(), 2);
    for (mut table, boot) in boots.into_iter().zip(values().tdx) {
        assert_eq!(table.text("mrtd").unwrap(), format!("sha384:{}", boot.mrtd));
        for key in ["rtmr0", "rtmr1", "rtmr2", "rtmr3"] {
            assert!(!table.text(key).unwrap().is_empty());
        }
        table.finish().unwrap();
    }
    image.finish().unwrap();
}

#[test]
fn case_08_a_signature_on_another_kind_of_file_is_none_on_these() {
    let key = SigningKey::from_seed(&[1; 32]).unwrap();
    let trusted = TrustedSigners::one(&key.public_key());
    let at = "2026-12-01T00:00:00Z".parse().unwrap();
    let signed = sign::<ReferenceValues>(VECTOR, &[&key]).unwrap();
    assert_eq!(*verify_signed::<ReferenceValues>(&signed, &trusted, at).unwrap().document(), values());
    let other = anchorhold_dsse::sign(MACHINE_LIST_TYPE, VECTOR.as_bytes(), &[&key]).unwrap();
    assert_eq!(
        verify_signed::<ReferenceValues>(&other, &trusted, at).unwrap_err(),
        SignedError::Envelope(Error::PayloadType { wanted: REFERENCE_VALUES_TYPE })
    );
    let late = "2027-11-01T00:00:00Z".parse().unwrap();
    assert!(matches!(
        verify_signed::<ReferenceValues>(&signed, &trusted, late).unwrap_err(),
        SignedError::NotInForce(_)
    ));
}
