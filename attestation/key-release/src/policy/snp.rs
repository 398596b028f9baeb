//! The table `[grant.snp]`, read into the verifier's own policy.

use super::reader::{PolicyError, Reader};
use anchorhold_rats::{Measurement, ReportData, Sha256Digest};
use anchorhold_verifier::snp::{
    ChipId, Flag, GenoaTcb, MilanTcb, MinimumTcb, Policy, Product, Signer, TurinTcb,
};

const DEBUG: &str = "a guest that can be debugged keeps no secret";
const MIGRATION: &str = "a migration agent can export the guest";
const SVN: &str = "a whole number from 0 to 255";

/// Reads the table. Every key decides about security, so every key is mandatory. What a guest may be allowed, it
/// is allowed only where the word for it stands there.
pub(super) fn rules(mut reader: Reader, measurements: Vec<Measurement>) -> Result<Policy, PolicyError> {
    let products = reader.list("products", "a list of \"milan\", \"genoa\", \"turin\"", product)?;
    let minimum = min_tcb(reader.table("min_tcb")?, &products)?;
    reader.must_be_false("debug", DEBUG)?;
    reader.must_be_false("migration", MIGRATION)?;
    let smt = flag(&mut reader, "smt", "off", Flag::Clear)?;
    let hiding = flag(&mut reader, "ciphertext_hiding", "on", Flag::Set)?;
    let alias_check = reader.truth("alias_check")?;
    let vmpl: u32 = reader.number("vmpl", "a whole number from 0 to 3")?;
    if vmpl > 3 {
        return Err(reader.wrong("vmpl", "a whole number from 0 to 3"));
    }
    let signers = reader.list("signer", "a list of \"vcek\", \"vlek\"", |text| match text {
        "vcek" => Ok(Signer::Vcek),
        "vlek" => Ok(Signer::Vlek),
        _ => Err(()),
    })?;
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

/// CHIP_ID: 64 bytes of lower-case hex, which is also the form of report data.
pub(super) fn chip(text: &str) -> Result<ChipId, anchorhold_rats::ParseHexError> {
    text.parse::<ReportData>().map(|bytes| ChipId(*bytes.as_bytes()))
}

fn product(text: &str) -> Result<Product, ()> {
    match text {
        "milan" => Ok(Product::Milan),
        "genoa" => Ok(Product::Genoa),
        "turin" => Ok(Product::Turin),
        _ => Err(()),
    }
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

/// One floor for each product that is allowed, and for no other.
fn min_tcb(mut reader: Reader, products: &[Product]) -> Result<MinimumTcb, PolicyError> {
    let mut minimum = MinimumTcb::default();
    for product in products {
        match product {
            Product::Milan => {
                let (bootloader, tee, snp, microcode) = components(reader.table("milan")?, Reader::finish)?;
                minimum.milan = Some(MilanTcb { bootloader, tee, snp, microcode });
            }
            Product::Genoa => {
                let (bootloader, tee, snp, microcode) = components(reader.table("genoa")?, Reader::finish)?;
                minimum.genoa = Some(GenoaTcb { bootloader, tee, snp, microcode });
            }
            Product::Turin => {
                let mut fmc = 0;
                let rest = |mut table: Reader| {
                    fmc = table.number("fmc", SVN)?;
                    table.finish()
                };
                let (bootloader, tee, snp, microcode) = components(reader.table("turin")?, rest)?;
                minimum.turin = Some(TurinTcb { fmc, bootloader, tee, snp, microcode });
            }
        }
    }
    reader.finish()?;
    Ok(minimum)
}

/// The four components that every product has; `rest` reads what it has beside them.
fn components(
    mut table: Reader,
    rest: impl FnOnce(Reader) -> Result<(), PolicyError>,
) -> Result<(u8, u8, u8, u8), PolicyError> {
    let four = (
        table.number("bl", SVN)?,
        table.number("tee", SVN)?,
        table.number("snp", SVN)?,
        table.number("ucode", SVN)?,
    );
    rest(table)?;
    Ok(four)
}
