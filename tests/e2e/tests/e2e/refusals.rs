//! The same start with one thing wrong, each refused by the right party with the right code, and in each the port was
//! never open: [`Stand::start`](anchorhold_e2e::refusals::Stand::start) watches it.

use anchorhold_e2e::refusals::CASES;

macro_rules! cases {
    ($($test:ident, $name:literal;)*) => {
        /// The cases that have a test.
        const TESTED: &[&str] = &[$($name),*];
        $(#[test]
        fn $test() {
            let case = CASES.iter().find(|case| case.name == $name).unwrap();
            case.run().unwrap();
        })*
    };
}

cases! {
    case_05_refuses_wrong_measurement, "wrong measurement";
    case_01_refuses_replayed_nonce, "replayed nonce";
    case_05_refuses_debug_guest, "debug guest";
    case_03_refuses_swapped_release_key, "swapped release key";
    case_03_refuses_swapped_tls_key, "swapped TLS key";
    case_03_refuses_swapped_audit_key, "swapped audit key";
    case_05_production_broker_refuses_simulated_root, "production broker, simulated root";
    case_15_refuses_one_flipped_bit_in_the_weights, "one flipped bit in the weights";
    case_18_refuses_older_model_version, "older model version";
}

#[test]
fn every_refusal_that_the_demonstration_shows_has_a_test() {
    let shown: Vec<_> = CASES.iter().map(|case| case.name).collect();
    assert_eq!(shown, TESTED);
}
