//! No step of verification can be skipped: programs that try do not compile.

#[test]
fn case_05_verified_values_come_only_from_the_verifier() {
    let tests = trybuild::TestCases::new();
    tests.pass("tests/compile_fail/pass_both_steps.rs");
    tests.compile_fail("tests/compile_fail/refuses_*.rs");
}
