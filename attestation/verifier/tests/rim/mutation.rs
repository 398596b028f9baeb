//! Every byte of a signed manifest, changed.

use crate::support::*;
use anchorhold_verifier::nvidia::rim::authenticate;

#[test]
fn no_change_of_a_byte_changes_what_is_accepted() {
    let chain = Chain::new();
    let signed = sign(&body(), &chain);
    let anchors = chain.anchors();
    let original = authenticate(signed.as_bytes(), &anchors, now()).unwrap();
    let mut accepted = 0;
    for place in 0..signed.len() {
        let all = [signed.as_bytes()[place] ^ 1, b' ', b'<', b'"', 0x80];
        for with in all.into_iter().take(if place % 8 == 0 { all.len() } else { 1 }) {
            let mut changed = signed.clone().into_bytes();
            if changed[place] == with {
                continue;
            }
            changed[place] = with;
            // What Canonical XML holds equal, such as a space in the place of a line end in a tag, says the same.
            if let Ok(rim) = authenticate(&changed, &anchors, now()) {
                assert_eq!(rim.claims(), original.claims(), "byte {place}");
                accepted += 1;
            }
        }
        if place % 8 != 0 {
            continue;
        }
        let (before, after) = signed.split_at(place);
        assert!(authenticate(before.as_bytes(), &anchors, now()).is_err(), "cut at {place}");
        let doubled = format!("{before}{}{after}", &after[..1]);
        if let Ok(rim) = authenticate(doubled.as_bytes(), &anchors, now()) {
            assert_eq!(rim.claims(), original.claims(), "doubled {place}");
            accepted += 1;
        }
    }
    assert!(accepted < 100, "{accepted}");
}
