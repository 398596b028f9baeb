//! The lowest TCB of each product.

use crate::{PolicyError, Reader};
use anchorhold_verifier::snp::{GenoaTcb, MilanTcb, MinimumTcb, Product, TcbVersion, TurinTcb};
use toml::{Table, Value};

const SVN: &str = "a whole number from 0 to 255";
pub(super) const PRODUCTS: &str = "a list of \"milan\", \"genoa\", \"turin\"";

pub(super) fn product(text: &str) -> Result<Product, ()> {
    match text {
        "milan" => Ok(Product::Milan),
        "genoa" => Ok(Product::Genoa),
        "turin" => Ok(Product::Turin),
        _ => Err(()),
    }
}

/// One floor for each product that is allowed, and for no other.
pub(super) fn floors(mut reader: Reader, products: &[Product]) -> Result<MinimumTcb, PolicyError> {
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

/// The same floors as a table, in the words of the file.
pub(super) fn table(minimum: &MinimumTcb) -> Value {
    let mut table = Table::new();
    for (name, components) in [
        ("milan", minimum.milan.map(|tcb| tcb.components())),
        ("genoa", minimum.genoa.map(|tcb| tcb.components())),
        ("turin", minimum.turin.map(|tcb| tcb.components())),
    ] {
        let Some(components) = components else { continue };
        let word = |component: &str| match component {
            "bootloader" => "bl".to_owned(),
            "microcode" => "ucode".to_owned(),
            other => other.to_owned(),
        };
        let numbers = components.into_iter().map(|(name, svn)| (word(name), Value::from(i64::from(svn))));
        table.insert(name.to_owned(), Value::Table(numbers.collect()));
    }
    Value::Table(table)
}

/// The first microcode of each product whose loader checks signatures (`get_cutoff_revision` of Linux,
/// `arch/x86/kernel/cpu/microcode/amd.c`, names the last before it).
const CHECKED_MICROCODE: (u8, u8, u8) = (219, 84, 71);

/// Whether a product's floor lets in firmware below the fix of CVE-2024-56161.
pub(super) fn are_below_fixes(minimum: &MinimumTcb) -> bool {
    let (milan, genoa, turin) = CHECKED_MICROCODE;
    minimum.milan.is_some_and(|floor| floor.microcode < milan)
        || minimum.genoa.is_some_and(|floor| floor.microcode < genoa)
        || minimum.turin.is_some_and(|floor| floor.microcode < turin)
}

/// The products that have a floor.
pub(super) fn products(minimum: &MinimumTcb) -> Vec<&'static str> {
    [
        ("milan", minimum.milan.is_some()),
        ("genoa", minimum.genoa.is_some()),
        ("turin", minimum.turin.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, named)| named.then_some(name))
    .collect()
}
