//! Certificates and revocation lists of TDX with any fields, signed again by their issuers: a list that names the PCK
//! certificate or its CA, or that is not current, is never passed over, and no certificate does another one's work.
#![no_main]

use anchorhold_attester::software::certificate::Extension;
use anchorhold_attester::software::revocation::RevocationTemplate;
use anchorhold_attester::software::tdx::{CollateralTemplate, TdxAuthority, TdxGuest};
use anchorhold_fuzz::asn1::{self, Node};
use anchorhold_fuzz::edit::Script;
use anchorhold_fuzz::{accepted, assert_named, made, now};
use anchorhold_rats::{Der, TdxCollateral, Timestamp};
use anchorhold_verifier::der::SEQUENCE;
use anchorhold_verifier::tdx::{AuthenticQuote, Input, authenticate};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

struct Good {
    guest: TdxGuest,
    chain: Vec<Vec<u8>>,
    signed: Vec<u8>,
    quote: Vec<u8>,
    collateral: TdxCollateral,
    template: CollateralTemplate,
    claims: String,
}

static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let guest = made::tdx_guest();
    let signed = guest.fields(&made::REPORT_DATA).encode();
    let quote = guest.sign(&signed).expect("a quote");
    let template = CollateralTemplate::for_platform(&guest.config().platform, now());
    let collateral = template.sign().expect("collateral");
    let input = Input { quote: &quote, collateral: Some(&collateral) };
    let authentic = authenticate(&input, &made::ANCHORS, now()).expect("good evidence");
    let claims = claims(authentic.claims());
    Good { chain: guest.pck_chain().to_vec(), guest, signed, quote, collateral, template, claims }
});

/// The claims and the end of what was judged.
fn judge(quote: &[u8], collateral: &TdxCollateral) -> Option<(String, Timestamp)> {
    let input = Input { quote, collateral: Some(collateral) };
    let authentic = accepted(authenticate(&input, &made::ANCHORS, now()))?;
    assert_named(authentic.checks());
    assert!(authentic.expires() >= now(), "expired when it was judged");
    let pck = authentic.claims().pck();
    let platform = &GOOD.guest.config().platform;
    // Collateral is of one platform model, so that is what the certificate must be of.
    assert_eq!((pck.fmspc, pck.pce_id), (platform.fmspc, platform.pce_id), "collateral of another platform");
    Some((claims(authentic.claims()), authentic.expires()))
}

/// What was found out, without the signatures and certificates themselves.
fn claims(quote: &AuthenticQuote) -> String {
    format!("{:?}", (quote.body(), quote.pck(), quote.tcb()))
}

/// A quote with this PCK chain. It is made by hand, since the guest's own chain stays as it is.
fn quote_with(chain: Vec<Vec<u8>>) -> Vec<u8> {
    let pem: String = chain.iter().map(|der| made::pem(der)).collect();
    let enclave = GOOD.guest.enclave_report();
    let mut data = GOOD.guest.signature_data(&GOOD.signed, &enclave).expect("signatures");
    data.pck_data = pem.into_bytes();
    anchorhold_attester::software::tdx::assemble(&GOOD.signed, &data)
}

/// The serial numbers that the signed part of a list names: the entries are the one SEQUENCE after both times.
fn revoked(part: &Node) -> Vec<Vec<u8>> {
    let entries = part.nodes().get(5).filter(|node| node.tag == SEQUENCE);
    let entries = entries.map_or(&[][..], Node::nodes).iter();
    entries.filter_map(|entry| Some(entry.nodes().first()?.write())).collect()
}

fn serial_of(certificate: &[u8]) -> Vec<u8> {
    asn1::signed_part(certificate).nodes()[1].write()
}

fn key(authority: TdxAuthority) -> anchorhold_attester::software::SigningKey {
    authority.key().expect("a key")
}

/// A list of either CA with any fields.
fn list(script: &mut Script<'_>, collateral: &mut TdxCollateral) {
    let of_root = script.byte() & 1 == 0;
    let (good, issuer, subject) = if of_root {
        (&GOOD.template.root_crl, TdxAuthority::Root, &GOOD.chain[1])
    } else {
        (&GOOD.template.pck_crl, TdxAuthority::PckCa, &GOOD.chain[0])
    };
    let key = key(issuer);
    let mut list: RevocationTemplate = good.clone();
    let mut extensions = vec![Extension::crl_number(&[1]), Extension::authority_key(&key.key_identifier())];
    let seconds = |script: &mut Script<'_>| i64::from(i16::from_le_bytes([script.byte(), script.byte()]));
    let subject = serial_of(subject);
    for _ in 0..=script.byte() % 4 {
        match script.byte() % 6 {
            0 => list.this_update = now().plus_seconds(seconds(script)),
            1 => list.next_update = now().plus_seconds(seconds(script)),
            2 => list.revoked.push(script.take(21).to_vec()),
            3 => {
                let at = script.below(list.revoked.len() + 1);
                list.revoked.insert(at, subject[2..].to_vec());
            }
            4 => script.edit_once(&mut list.issuer),
            _ => {
                let at = script.below(extensions.len());
                extensions[at].critical = script.byte() & 1 == 1;
                script.edit_once(&mut extensions[at].id);
            }
        }
    }
    let signed = Der(list.sign_ecdsa(&key, &extensions).expect("a signature"));
    if of_root {
        collateral.root_ca_crl = signed;
    } else {
        collateral.pck_crl = signed;
    }
    let known = [&[0x55, 0x1d, 0x14][..], &[0x55, 0x1d, 0x23]];
    let unknown =
        extensions.iter().any(|extension| extension.critical && !known.contains(&extension.id.as_slice()));
    let names = list.revoked.iter().any(|serial| *serial == subject[2..]);
    let current = list.this_update <= now() && now() <= list.next_update;
    if let Some((claims, expires)) = judge(&GOOD.quote, collateral) {
        assert!(!names, "a certificate that the list names");
        assert!(current && expires <= list.next_update, "a list that is not current");
        assert!(list.issuer == good.issuer && !unknown, "a list of another issuer or kind");
        assert!(claims == GOOD.claims, "a list changes the claims");
    }
}

/// A list whose signed part was changed as a tree.
fn list_tree(script: &mut Script<'_>, collateral: &mut TdxCollateral) {
    let (list, issuer, subject) = match script.byte() & 1 {
        0 => (&mut collateral.root_ca_crl, TdxAuthority::Root, &GOOD.chain[1]),
        _ => (&mut collateral.pck_crl, TdxAuthority::PckCa, &GOOD.chain[0]),
    };
    let (part, signed) = asn1::resigned(&list.0, &key(issuer), script);
    *list = Der(signed);
    if let Some((claims, _)) = judge(&GOOD.quote, collateral) {
        assert!(!revoked(&part).contains(&serial_of(subject)), "a certificate that the list names");
        assert!(claims == GOOD.claims, "a list changes the claims");
    }
}

/// The signer of TCB info and QE identity, or the CA beside the PCK list, changed as a tree.
fn signer_tree(script: &mut Script<'_>, collateral: &mut TdxCollateral) {
    let root = TdxAuthority::Root;
    let which = script.byte() % 4;
    let authority = if which == 0 { TdxAuthority::PckCa } else { TdxAuthority::TcbSigner };
    let (part, signed) = asn1::resigned(authority.certificate_der(), &key(root), script);
    let pem = made::pem(&signed) + &made::pem(root.certificate_der());
    match which {
        0 => collateral.pck_crl_issuer_chain = pem,
        1 => collateral.tcb_info_issuer_chain = pem,
        2 => collateral.qe_identity_issuer_chain = pem,
        _ => (collateral.tcb_info_issuer_chain, collateral.qe_identity_issuer_chain) = (pem.clone(), pem),
    }
    if let Some((claims, _)) = judge(&GOOD.quote, collateral) {
        assert!(claims == GOOD.claims, "a signer changes the claims");
        let good = asn1::signed_part(authority.certificate_der());
        assert_eq!(part.nodes()[6], good.nodes()[6], "another key");
    }
}

/// PCK certificate or PCK CA, changed as a tree, and a quote with it.
fn chain_tree(script: &mut Script<'_>, collateral: &TdxCollateral) {
    let mut chain = GOOD.chain.clone();
    let (at, issuer) = match script.byte() & 1 {
        0 => (0, TdxAuthority::PckCa),
        _ => (1, TdxAuthority::Root),
    };
    let (part, signed) = asn1::resigned(&chain[at], &key(issuer), script);
    let good = asn1::signed_part(&chain[at]);
    chain[at] = signed;
    if let Some((claims, _)) = judge(&quote_with(chain), collateral) {
        assert_eq!(part.nodes()[6], good.nodes()[6], "another key");
        assert!(at == 0 || claims == GOOD.claims, "a CA changes the claims");
        // The names hold the chain together.
        assert_eq!(part.nodes()[3], good.nodes()[3], "another issuer");
        assert!(at == 0 || part.nodes()[5] == good.nodes()[5], "another CA");
    }
}

fuzz_target!(|input: &[u8]| {
    let mut script = Script(input);
    let mut collateral = GOOD.collateral.clone();
    match script.byte() % 5 {
        0 => list(&mut script, &mut collateral),
        1 => list_tree(&mut script, &mut collateral),
        2 => signer_tree(&mut script, &mut collateral),
        _ => chain_tree(&mut script, &collateral),
    }
});
