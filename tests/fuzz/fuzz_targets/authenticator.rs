//! Authenticators of connections: a request that is read is answered so that its own client accepts it and no other does, and of
//! anything else as an authenticator nothing is accepted.
#![no_main]

use anchorhold_channel::authenticator::{AuthenticatorKey, Exporters, Request, Unsigned, verify};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static KEY: LazyLock<AuthenticatorKey> = LazyLock::new(|| AuthenticatorKey::generate().unwrap());

fuzz_target!(|input: &[u8]| {
    let key = KEY.public_key();
    let (connection, other) = (Exporters::of_secret(b"one"), Exporters::of_secret(b"other"));
    let own = Request::new(&[7; 32].into());
    assert!(verify(&connection, &own, input, &key).is_err(), "nobody signed this");
    let Ok(request) = Request::parse(input) else { return };
    let unsigned = Unsigned::new(&connection, &request, KEY.certificate());
    let signature = KEY.sign(&unsigned.transcript_hash()).unwrap();
    let answer = unsigned.finish(&signature);
    verify(&connection, &request, &answer, &key).unwrap();
    assert!(verify(&other, &request, &answer, &key).is_err());
});
