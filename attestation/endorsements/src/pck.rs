//! What the PCK certificate in a TDX quote names: the kind of platform and the CA that issued the certificate.
//!
//! It reads as much of the quote as leads to the certificate (Intel, *TDX DCAP Quoting Library API*, appendix A.3) and
//! judges nothing.

use crate::error::Unplannable;
use crate::item::{Fmspc, PckCa};
use anchorhold_verifier::pem;
use anchorhold_verifier::tdx::Pck;
use anchorhold_verifier::x509::Certificate;

const HEADER_LEN: usize = 48;
/// The body of TD 1.0, the only one in version 4.
const TD_BODY_LEN: usize = 584;
/// Signature and attestation key, 64 bytes each.
const SIGNATURE_AND_KEY_LEN: usize = 128;
/// QE report and its signature.
const QE_REPORT_LEN: usize = 384 + 64;
/// Certification data that holds a QE report, and one that holds a PEM chain.
const QE_REPORT_DATA: u16 = 6;
const PCK_CHAIN: u16 = 5;
/// PCK certificate, its CA and the root.
const MAX_CHAIN: usize = 4;

/// The kind of platform and the CA of its PCK certificate.
pub(crate) fn platform(quote: &[u8]) -> Result<(Fmspc, PckCa), Unplannable> {
    let pem = pck_chain(quote).ok_or(Unplannable::Quote("PCK certificate chain"))?;
    let text = std::str::from_utf8(pem).map_err(|_| Unplannable::Quote("PCK certificate chain as text"))?;
    let chain = pem::read(text, MAX_CHAIN).map_err(|_| Unplannable::Quote("PCK certificate chain as PEM"))?;
    let chain: Vec<_> = chain.iter().map_while(|bytes| Certificate::parse(bytes).ok()).collect();
    let leaf = chain.first().ok_or(Unplannable::Quote("readable PCK certificate"))?;
    let pck = Pck::read(leaf).map_err(|_| Unplannable::Quote("PCK certificate with Intel's extension"))?;
    let issuer = chain.iter().find(|certificate| certificate.subject == leaf.issuer);
    let ca = match issuer.and_then(Certificate::common_name) {
        Some("Intel SGX PCK Platform CA") => PckCa::Platform,
        Some("Intel SGX PCK Processor CA") => PckCa::Processor,
        _ => return Err(Unplannable::Quote("PCK CA among its certificates")),
    };
    Ok((Fmspc(pck.fmspc), ca))
}

/// The PEM text in the certification data.
fn pck_chain(quote: &[u8]) -> Option<&[u8]> {
    let mut rest = quote;
    let version = take_u16(&mut rest)?;
    take(&mut rest, HEADER_LEN - 2)?;
    let body = match version {
        4 => TD_BODY_LEN,
        5 => {
            take_u16(&mut rest)?;
            take_u32(&mut rest)?
        }
        _ => return None,
    };
    take(&mut rest, body)?;
    let signature_data = take_u32(&mut rest)?;
    let mut rest = take(&mut rest, signature_data)?;
    take(&mut rest, SIGNATURE_AND_KEY_LEN)?;
    if take_u16(&mut rest)? != QE_REPORT_DATA {
        return None;
    }
    let certification_data = take_u32(&mut rest)?;
    let mut rest = take(&mut rest, certification_data)?;
    take(&mut rest, QE_REPORT_LEN)?;
    let authentication_data = usize::from(take_u16(&mut rest)?);
    take(&mut rest, authentication_data)?;
    if take_u16(&mut rest)? != PCK_CHAIN {
        return None;
    }
    let chain = take_u32(&mut rest)?;
    take(&mut rest, chain)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

fn take_u16(rest: &mut &[u8]) -> Option<u16> {
    take(rest, 2)?.try_into().ok().map(u16::from_le_bytes)
}

fn take_u32(rest: &mut &[u8]) -> Option<usize> {
    let value = take(rest, 4)?.try_into().ok().map(u32::from_le_bytes)?;
    usize::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_quotes_that_end_early_or_are_of_another_version() {
        for quote in [&[][..], &[4, 0], &[4; 700], &[3; 6000], &[5; 6000], &[0xff; 6000]] {
            assert_eq!(platform(quote), Err(Unplannable::Quote("PCK certificate chain")), "{}", quote.len());
        }
    }
}
