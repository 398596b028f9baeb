use super::*;
use aws_lc_rs::agreement::ECDH_P256;
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeySize, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use serde_json::{Value, json};

const RESOURCE: &[u8] = b"a weights key";

fn key() -> TeeKey {
    TeeKey::generate().unwrap()
}

fn sealed(key: &TeeKey) -> Value {
    serde_json::from_slice(&seal(RESOURCE, &key.public_key()).unwrap()).unwrap()
}

fn opened(value: &Value, key: &TeeKey) -> Result<Zeroizing<Vec<u8>>, JweError> {
    open(&serde_json::to_vec(value).unwrap(), key)
}

fn header(value: &Value) -> Value {
    let bytes = URL_SAFE_NO_PAD.decode(value["protected"].as_str().unwrap()).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn with_header(mut value: Value, change: impl FnOnce(&mut Value)) -> Value {
    let mut header = header(&value);
    change(&mut header);
    value["protected"] = URL_SAFE_NO_PAD.encode(header.to_string()).into();
    value
}

#[test]
fn what_is_sealed_to_a_key_opens_with_it_and_with_no_other() {
    let (one, other) = (key(), key());
    let value = sealed(&one);
    assert_eq!(opened(&value, &one).unwrap().as_slice(), RESOURCE);
    assert_eq!(opened(&value, &other), Err(JweError::Open));
    assert_ne!(value, sealed(&one));
    let empty = seal(&[], &one.public_key()).unwrap();
    assert!(open(&empty, &one).unwrap().is_empty());
}

/// guest-components writes the header again before it computes the additional data, so the bytes must be these.
#[test]
fn the_header_has_trustee_s_order_and_no_spaces() {
    let value = sealed(&key());
    let bytes = URL_SAFE_NO_PAD.decode(value["protected"].as_str().unwrap()).unwrap();
    let (x, y) = (header(&value)["epk"]["x"].clone(), header(&value)["epk"]["y"].clone());
    let wanted = format!(
        r#"{{"alg":"ECDH-ES+A256KW","enc":"A256GCM","epk":{{"crv":"P-256","kty":"EC","x":{x},"y":{y}}}}}"#
    );
    assert_eq!(String::from_utf8(bytes).unwrap(), wanted);
}

#[test]
fn concat_kdf_gives_the_key_of_rfc_7518_appendix_c() {
    // Appendix C derives 128 bits for direct use; with that length the same input gives its key.
    let z = [
        158, 86, 217, 29, 129, 113, 53, 211, 114, 131, 66, 131, 191, 132, 38, 156, 251, 49, 110, 163, 218,
        128, 106, 72, 246, 218, 167, 121, 140, 254, 144, 196,
    ];
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [
        &[0, 0, 0, 1][..],
        &z,
        &[0, 0, 0, 7],
        b"A128GCM",
        &[0, 0, 0, 5],
        b"Alice",
        &[0, 0, 0, 3],
        b"Bob",
        &[0, 0, 0, 128],
    ] {
        context.update(part);
    }
    assert_eq!(URL_SAFE_NO_PAD.encode(&context.finish().as_ref()[..16]), "VqqN6vgjbSBcIijNcacQGg");
    // Ours is the same layout with empty parties and 256 bits.
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [&[0, 0, 0, 1][..], &z, &[0, 0, 0, 14], b"ECDH-ES+A256KW", &[0; 4], &[0; 4], &[0, 0, 1, 0]] {
        context.update(part);
    }
    let ours = concat_kdf(&z, b"ECDH-ES+A256KW");
    assert_eq!(ours.expose().as_slice(), context.finish().as_ref());
}

/// RFC 3394, section 4.6: a 256-bit key wrapped under a 256-bit key.
#[test]
fn key_wrap_gives_the_vector_of_rfc_3394() {
    let unhex = |text: &str| -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    let kek = unhex("000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F");
    let data = unhex("00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F");
    let wrapped = unhex("28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21");
    let kek = Secret::copy_from(&kek).unwrap();
    assert_eq!(unwrap(&wrapped, &kek).unwrap().expose().as_slice(), data);
    let mut out = vec![0; WRAPPED_KEY_BYTES];
    wrapper(&kek).unwrap().wrap(&data, &mut out).unwrap();
    assert_eq!(out, wrapped);
}

#[test]
fn refuses_every_changed_byte() {
    let key = key();
    let value = sealed(&key);
    for member in ["encrypted_key", "iv", "ciphertext", "tag"] {
        let mut bytes = URL_SAFE_NO_PAD.decode(value[member].as_str().unwrap()).unwrap();
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            let mut changed = value.clone();
            changed[member] = URL_SAFE_NO_PAD.encode(&bytes).into();
            bytes[at] ^= 1;
            assert_eq!(opened(&changed, &key), Err(JweError::Open), "{member} {at}");
        }
    }
    // The same header with a space in it is another header.
    let bytes = URL_SAFE_NO_PAD.decode(value["protected"].as_str().unwrap()).unwrap();
    let spaced = String::from_utf8(bytes).unwrap().replacen(':', ": ", 1);
    let mut changed = value;
    changed["protected"] = URL_SAFE_NO_PAD.encode(spaced).into();
    assert_eq!(opened(&changed, &key), Err(JweError::Open));
}

#[test]
fn refuses_headers_that_ask_for_something_else() {
    let key = key();
    type Change = fn(&mut Value);
    let changes: [Change; 10] = [
        |header| header["alg"] = "ECDH-ES".into(),
        |header| header["alg"] = "dir".into(),
        |header| header["alg"] = "RSA-OAEP-256".into(),
        |header| header["enc"] = "A128GCM".into(),
        |header| header["crit"] = json!(["exp"]),
        |header| header["zip"] = "DEF".into(),
        |header| header["apu"] = "QQ".into(),
        |header| header["epk"]["crv"] = "P-521".into(),
        |header| header["epk"]["kty"] = "OKP".into(),
        |header| drop(header.as_object_mut().unwrap().remove("epk")),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let value = with_header(sealed(&key), change);
        assert_eq!(opened(&value, &key), Err(JweError::Unsupported), "{at}");
    }
}

#[test]
fn refuses_other_members_lengths_and_encodings() {
    let key = key();
    let good = sealed(&key);
    let set = |member: &str, to: &str| {
        let mut value = good.clone();
        value[member] = to.into();
        value
    };
    let longer = |member: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(good[member].as_str().unwrap()).unwrap();
        set(member, &URL_SAFE_NO_PAD.encode([bytes, vec![0]].concat()))
    };
    let without = {
        let mut value = good.clone();
        value.as_object_mut().unwrap().remove("tag");
        value
    };
    for value in [
        set("aad", "AA"),
        set("unprotected", "AA"),
        set("iv", "AA"),
        set("iv", "####"),
        set("protected", "e30="),
        set("encrypted_key", ""),
        longer("iv"),
        longer("tag"),
        longer("encrypted_key"),
        without,
        with_header(good.clone(), |header| header["epk"]["x"] = "AA".into()),
        json!([]),
    ] {
        assert_eq!(opened(&value, &key), Err(JweError::Malformed), "{value}");
    }
    let text = good.to_string().replace("\"iv\"", "\"iv\":\"AAAAAAAAAAAAAAAA\",\"iv\"");
    assert_eq!(open(text.as_bytes(), &key), Err(JweError::Malformed));
}

#[test]
fn refuses_what_is_too_long() {
    let key = key();
    let longest = seal(&vec![7; MAX_RESOURCE_BYTES], &key.public_key()).unwrap();
    assert!(longest.len() <= MAX_JWE_BYTES);
    assert_eq!(open(&longest, &key).unwrap().len(), MAX_RESOURCE_BYTES);
    assert_eq!(seal(&vec![7; MAX_RESOURCE_BYTES + 1], &key.public_key()), Err(JweError::TooLong));
    assert_eq!(open(&vec![b' '; MAX_JWE_BYTES + 1], &key), Err(JweError::TooLong));
}

#[test]
fn seals_to_rsa_keys() {
    let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
    let spki = private.public_key().as_der().unwrap().as_ref().to_vec();
    // SubjectPublicKeyInfo of a 2048-bit key ends in INTEGER n (256 bytes), INTEGER 65537 (5 bytes with its header).
    let modulus = &spki[spki.len() - 5 - 256..spki.len() - 5];
    let jwk =
        json!({ "alg": "RSA-OAEP-256", "e": "AQAB", "kty": "RSA", "n": URL_SAFE_NO_PAD.encode(modulus) });
    let public = TeePublicKey::from_json(jwk.to_string().as_bytes()).unwrap();
    let value: Value = serde_json::from_slice(&seal(RESOURCE, &public).unwrap()).unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(value["protected"].as_str().unwrap()).unwrap();
    assert_eq!(bytes, br#"{"alg":"RSA-OAEP-256","enc":"A256GCM"}"#);

    let private = OaepPrivateDecryptingKey::new(private).unwrap();
    let wrapped = URL_SAFE_NO_PAD.decode(value["encrypted_key"].as_str().unwrap()).unwrap();
    let mut out = vec![0; private.min_output_size()];
    let content_key = private.decrypt(&OAEP_SHA256_MGF1SHA256, &wrapped, &mut out, None).unwrap();
    let content_key = Secret::copy_from(content_key).unwrap();
    let part = |member: &str| URL_SAFE_NO_PAD.decode(value[member].as_str().unwrap()).unwrap();
    let mut content = [part("ciphertext"), part("tag")].concat();
    let nonce = Nonce::assume_unique_for_key(part("iv").try_into().unwrap());
    let aad = Aad::from(value["protected"].as_str().unwrap().as_bytes());
    assert_eq!(
        content_cipher(&content_key).unwrap().open_in_place(nonce, aad, &mut content).unwrap(),
        RESOURCE
    );
    // The client of this crate has no RSA key, so such an answer is not for it.
    assert_eq!(opened(&value, &key()), Err(JweError::Unsupported));
}

#[test]
fn seals_to_p_521_keys() {
    let theirs = PrivateKey::generate(Curve::P521.agreement()).unwrap();
    let point = theirs.compute_public_key().unwrap().as_ref().to_vec();
    let public = TeePublicKey::Ec(EcPublicKey::new(Curve::P521, point).unwrap());
    let value: Value = serde_json::from_slice(&seal(RESOURCE, &public).unwrap()).unwrap();
    let epk = &header(&value)["epk"];
    assert_eq!(epk["crv"], "P-521");
    let epk =
        EcPublicKey::of_coordinates(Curve::P521, epk["x"].as_str().unwrap(), epk["y"].as_str().unwrap())
            .unwrap();
    let wrapped = URL_SAFE_NO_PAD.decode(value["encrypted_key"].as_str().unwrap()).unwrap();
    assert!(unwrap(&wrapped, &agreed_key(&theirs, &epk).unwrap()).is_ok());
    let other = PrivateKey::generate(&ECDH_P256).unwrap();
    assert!(agreed_key(&other, &epk).is_none());
}
