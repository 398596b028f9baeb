//! The runtime claims. Report and quote are made for the changed claims.

use super::Made;
use crate::writer::{Case, Suite};
use anchorhold_attester::software::SoftwareParavisor;

pub(super) fn write(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let with = |edit: &dyn Fn(&str) -> String, code: &'static str| -> anyhow::Result<Case> {
        let mut paravisor = SoftwareParavisor::new()?;
        paravisor.claims = edit(&paravisor.claims);
        made.snp_below(&paravisor)?.refused("parse", code)
    };
    let replaced = |from: &'static str, to: &'static str| move |claims: &str| claims.replacen(from, to, 1);
    for (id, from, to, why) in [
        ("no-object", "{\"keys\"", "[\"keys\"", "no JSON"),
        ("keys-twice", "{\"keys\"", "{\"keys\":[],\"keys\"", "a documented member is there twice"),
        ("no-configuration", "\"vm-configuration\"", "\"other\"", "a documented member is missing"),
        ("secure-boot-text", "\"secure-boot\":true", "\"secure-boot\":\"true\"", "a text for a truth value"),
        ("vm-id", "51513C1A7ED0", "51513C1A7ED", "the id of the machine is no GUID"),
        ("user-data", "\"user-data\":\"00", "\"user-data\":\"0", "user data of another length"),
    ] {
        let case = with(&replaced(from, to), "azure_claims_json")?;
        suite.add(format!("azure-claims-{id}"), case, why)?;
    }
    for (id, from, to, why) in [
        ("no-key", "\"kid\":\"HCLAkPub\"", "\"kid\":\"HCLEkPub\"", "there is no HCLAkPub"),
        (
            "two-keys",
            "\"keys\":[",
            "\"keys\":[{\"kid\":\"HCLAkPub\",\"kty\":\"RSA\"},",
            "there are two HCLAkPub",
        ),
        ("key-type", "\"kty\":\"RSA\"", "\"kty\":\"EC\"", "a key of another type"),
        ("exponent", "\"e\":\"AQAB\"", "\"e\":\"Aw\"", "the exponent is 3"),
        ("modulus", "\"n\":\"", "\"n\":\"AAAA", "a modulus that begins with zero bytes"),
        ("no-modulus", "\"n\":\"", "\"m\":\"", "a key without a modulus"),
    ] {
        let case = with(&replaced(from, to), "azure_claims_key")?;
        suite.add(format!("azure-claims-{id}"), case, why)?;
    }
    Ok(())
}
