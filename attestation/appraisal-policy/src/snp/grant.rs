//! The table `[grant.snp]` of release policies.

use super::floors::{floors, product};
use super::{chip, signer};
use crate::{DEBUG, MIGRATION, PolicyError, Reader};
use anchorhold_rats::{Measurement, Sha256Digest};
use anchorhold_verifier::snp::{Flag, Policy};

/// Reads the table `[grant.snp]` of a release policy. Every key decides about security, so every key is mandatory. What a guest may be allowed, it
/// is allowed only where the word for it stands there.
///
/// # Errors
/// [`PolicyError`] with the path of the key.
pub fn grant_rules(mut reader: Reader, measurements: Vec<Measurement>) -> Result<Policy, PolicyError> {
    let products = reader.list("products", "a list of \"milan\", \"genoa\", \"turin\"", product)?;
    let minimum = floors(reader.table("min_tcb")?, &products)?;
    reader.must_be_false("debug", DEBUG)?;
    reader.must_be_false("migration", MIGRATION)?;
    let smt = flag(&mut reader, "smt", "off", Flag::Clear)?;
    let hiding = flag(&mut reader, "ciphertext_hiding", "on", Flag::Set)?;
    let alias_check = reader.truth("alias_check")?;
    let vmpl: u32 = reader.number("vmpl", "a whole number from 0 to 3")?;
    if vmpl > 3 {
        return Err(reader.wrong("vmpl", "a whole number from 0 to 3"));
    }
    let signers = reader.list("signer", "a list of \"vcek\", \"vlek\"", signer)?;
    let host_data = match reader.text("host_data")?.as_str() {
        "any" => None,
        text => {
            let digest = text.parse::<Sha256Digest>();
            let wrong = |_| reader.wrong("host_data", "\"any\" or 32 bytes in hex");
            Some(*digest.map_err(wrong)?.as_bytes())
        }
    };
    let chips = reader.list_or("chips", "any", "\"any\" or a list of CHIP_IDs in hex", chip)?;
    reader.finish()?;

    let mut policy = Policy::strict(measurements, minimum);
    // A platform below the floor when the guest was launched, or that can be rolled back below it, could have
    // read the guest's memory then.
    policy.min_committed_tcb = Some(minimum);
    policy.min_launch_tcb = Some(minimum);
    policy.guest_policy.smt_allowed = smt;
    policy.platform.ciphertext_hiding_enabled = hiding;
    policy.require_alias_check = alias_check;
    policy.allowed_vmpls = vec![vmpl];
    policy.allowed_signers = signers;
    policy.host_data = host_data;
    policy.allowed_chips = chips;
    Ok(policy)
}

fn flag(reader: &mut Reader, key: &str, word: &'static str, asked: Flag) -> Result<Flag, PolicyError> {
    match reader.text(key)?.as_str() {
        "any" => Ok(Flag::Either),
        text if text == word => Ok(asked),
        _ => {
            Err(reader
                .wrong(key, if asked == Flag::Set { "\"any\" or \"on\"" } else { "\"any\" or \"off\"" }))
        }
    }
}
