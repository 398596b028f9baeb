use super::*;

/// What two ends of a connection share whose exported secrets are made of `seed`.
fn connection(hash: Hash, seed: u8) -> Exporters {
    Exporters {
        hash,
        handshake_context: vec![seed; hash.len()],
        finished_key: hmac::Key::new(hash.hmac(), &[seed; 32]),
    }
}

struct Exchange {
    key: AuthenticatorKey,
    request: Request,
    connection: Exporters,
    answer: Vec<u8>,
}

fn exchange(hash: Hash) -> Exchange {
    let key = AuthenticatorKey::generate().unwrap();
    let request = Request::new(&Nonce::new([7; 32]));
    let connection = connection(hash, 1);
    let unsigned = Unsigned::new(&connection, &request, key.certificate());
    let signature = key.sign(&unsigned.transcript_hash()).unwrap();
    let answer = unsigned.finish(&signature);
    Exchange { key, request, connection, answer }
}

#[test]
fn accepts_the_answer_to_its_own_request_on_its_own_connection() {
    for hash in [Hash::Sha256, Hash::Sha384] {
        let Exchange { key, request, connection, answer } = exchange(hash);
        let read = Request::parse(request.to_bytes()).unwrap();
        assert_eq!(read, request);
        assert_eq!(verify(&connection, &request, &answer, &key.public_key()), Ok(()));
    }
}

#[test]
fn case_04_refuses_an_authenticator_of_another_connection() {
    let Exchange { key, request, answer, .. } = exchange(Hash::Sha384);
    let other = connection(Hash::Sha384, 2);
    assert_eq!(verify(&other, &request, &answer, &key.public_key()), Err(Error::OtherConnection));
    // The signature alone is not enough either: the tag is under a key of the connection too.
    let same_context = Exporters { handshake_context: vec![1; 48], ..connection(Hash::Sha384, 2) };
    assert_eq!(verify(&same_context, &request, &answer, &key.public_key()), Err(Error::OtherConnection));
}

#[test]
fn refuses_the_answer_to_another_request_and_a_key_that_was_not_attested() {
    let Exchange { key, connection, answer, request } = exchange(Hash::Sha256);
    let other = Request::new(&Nonce::new([8; 32]));
    assert_eq!(verify(&connection, &other, &answer, &key.public_key()), Err(Error::OtherRequest));
    let stranger = AuthenticatorKey::generate().unwrap().public_key();
    assert_eq!(verify(&connection, &request, &answer, &stranger), Err(Error::OtherKey));
}

#[test]
fn refuses_every_change_of_one_byte_and_every_cut() {
    let Exchange { key, request, connection, answer } = exchange(Hash::Sha256);
    let judge = |bytes: &[u8]| verify(&connection, &request, bytes, &key.public_key());
    for at in 0..answer.len() {
        let mut changed = answer.clone();
        changed[at] ^= 1;
        assert!(judge(&changed).is_err(), "byte {at}");
        assert_eq!(judge(&answer[..at]), Err(Error::Malformed), "cut at {at}");
    }
    assert_eq!(judge(&[&answer[..], &[0]].concat()), Err(Error::Malformed));
    assert_eq!(judge(&vec![0; MAX_AUTHENTICATOR_BYTES + 1]), Err(Error::Malformed));
}

#[test]
fn reads_requests_with_extensions_it_does_not_know_and_refuses_those_without_ed25519() {
    let with = |algorithms: &[u16]| {
        let mut list = Vec::new();
        let bytes: Vec<u8> = algorithms.iter().flat_map(|algorithm| algorithm.to_be_bytes()).collect();
        prefixed(&mut list, 2, &bytes);
        let mut extensions = vec![0xab, 0xcd, 0, 1, 9];
        extensions.extend(SIGNATURE_ALGORITHMS.to_be_bytes());
        prefixed(&mut extensions, 2, &list);
        let mut body = Vec::new();
        prefixed(&mut body, 1, &[1, 2, 3]);
        prefixed(&mut body, 2, &extensions);
        message(CLIENT_CERTIFICATE_REQUEST, &body)
    };
    assert!(Request::parse(&with(&[0x0403, ED25519])).is_ok());
    assert_eq!(Request::parse(&with(&[0x0403])), Err(Error::Algorithm));
    assert_eq!(Request::parse(&with(&[])), Err(Error::Algorithm));
    let whole = with(&[ED25519]);
    for at in 0..whole.len() {
        assert_eq!(Request::parse(&whole[..at]), Err(Error::Malformed), "cut at {at}");
    }
    assert_eq!(Request::parse(&[&whole[..], &[0]].concat()), Err(Error::Malformed));
    assert_eq!(Request::parse(&[0; MAX_REQUEST_BYTES + 1]), Err(Error::Malformed));
}

#[test]
fn signs_hashes_alone_and_within_the_text_of_rfc_9261() {
    let key = AuthenticatorKey::generate().unwrap();
    for len in [0, 31, 33, 47, 64, 512] {
        assert!(key.sign(&vec![0; len]).is_none(), "{len}");
    }
    let content = signed_content(&[9; 32]);
    assert_eq!(content.len(), 64 + 22 + 1 + 32);
    assert!(content.starts_with(&[b' '; 64]) && content[64..].starts_with(b"Exported Authenticator\0"));
    let signature = key.sign(&[9; 32]).unwrap();
    let public = signature::UnparsedPublicKey::new(&signature::ED25519, *key.public_key().as_bytes());
    public.verify(&content, &signature).unwrap();
}
