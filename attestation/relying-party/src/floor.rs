//! The lowest TCB of a product, as people say it.

use anchorhold_verifier::snp::{GenoaTcb, MilanTcb, TurinTcb};
use std::str::FromStr;

/// `genoa=10,0,23,84`: the components in the order of AMD's TCB_VERSION.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Floor {
    /// `milan=BL,TEE,SNP,UCODE`.
    Milan(MilanTcb),
    /// `genoa=BL,TEE,SNP,UCODE`.
    Genoa(GenoaTcb),
    /// `turin=FMC,BL,TEE,SNP,UCODE`.
    Turin(TurinTcb),
}

impl FromStr for Floor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str =
            "wanted genoa=BL,TEE,SNP,UCODE, milan=BL,TEE,SNP,UCODE or turin=FMC,BL,TEE,SNP,UCODE";
        let (product, numbers) = text.split_once('=').ok_or(WANTED)?;
        let numbers: Vec<u8> =
            numbers.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| WANTED)?;
        match (product, numbers.as_slice()) {
            ("milan", &[bootloader, tee, snp, microcode]) => {
                Ok(Self::Milan(MilanTcb { bootloader, tee, snp, microcode }))
            }
            ("genoa", &[bootloader, tee, snp, microcode]) => {
                Ok(Self::Genoa(GenoaTcb { bootloader, tee, snp, microcode }))
            }
            ("turin", &[fmc, bootloader, tee, snp, microcode]) => {
                Ok(Self::Turin(TurinTcb { fmc, bootloader, tee, snp, microcode }))
            }
            _ => Err(WANTED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_floors_and_refuses_what_is_none() {
        let genoa = GenoaTcb { bootloader: 1, tee: 2, snp: 3, microcode: 4 };
        assert_eq!("genoa=1,2,3,4".parse(), Ok(Floor::Genoa(genoa)));
        assert!(matches!("turin=1,2,3,4,5".parse(), Ok(Floor::Turin(TurinTcb { fmc: 1, microcode: 5, .. }))));
        assert!(matches!("milan=1,2,3,4".parse(), Ok(Floor::Milan(_))));
        for text in
            ["genoa", "genoa=1,2,3", "genoa=1,2,3,4,5", "genoa=1,2,3,256", "rome=1,2,3,4", "turin=1,2,3,4"]
        {
            assert!(text.parse::<Floor>().is_err(), "{text}");
        }
    }
}
