use super::*;
use Change::{Narrower, Same, Shifted, Wider};

fn value(text: &str) -> Value {
    format!("value = {text}").parse::<Table>().unwrap()["value"].clone()
}

/// What a change does, and that going back does the reverse.
fn both(kind: Kind, old: &str, new: &str) -> Change {
    let (old, new) = (value(old), value(new));
    let there = between(kind, &old, &new);
    let back = match there {
        Same => Same,
        Narrower => Wider,
        Wider => Narrower,
        Shifted => Shifted,
    };
    assert_eq!(between(kind, &new, &old), back, "{new} to {old}");
    assert_eq!(between(kind, &old, &old), Same);
    there
}

#[test]
fn lists_of_what_is_accepted() {
    for (old, new, change) in [
        (r#"["a", "b"]"#, r#"["b", "a"]"#, Same),
        (r#"["a"]"#, r#"["a", "b"]"#, Wider),
        (r#"["a"]"#, r#"["b"]"#, Shifted),
        (r#"["a"]"#, r#""any""#, Wider),
        (r#"[]"#, r#"["a"]"#, Wider),
        (r#""none""#, r#"["a"]"#, Wider),
        (r#""none""#, "[]", Same),
        (r#""set""#, r#""any""#, Wider),
        (r#""set""#, r#""clear""#, Shifted),
        ("8", "4", Shifted),
        (r#""listed""#, r#""any""#, Wider),
        // Who is on the lists is not known here.
        (r#""listed""#, r#"["a"]"#, Shifted),
        (r#"[{ a = 1, b = 2 }]"#, r#"[{ a = 1, b = 2 }, { a = 1, b = 3 }]"#, Wider),
    ] {
        assert_eq!(both(Kind::Accepts, old, new), change, "{old} to {new}");
    }
}

#[test]
fn lists_that_restrict_and_truths() {
    assert_eq!(both(Kind::Restricts, r#""none""#, r#"["a"]"#), Narrower);
    assert_eq!(both(Kind::Restricts, r#"["a", "b"]"#, r#"["a"]"#), Wider);
    assert_eq!(both(Kind::Restricts, r#"["a"]"#, r#"["b"]"#), Shifted);
    assert_eq!(both(Kind::Permits, "false", "true"), Wider);
    assert_eq!(both(Kind::Demands, "false", "true"), Narrower);
    assert_eq!(both(Kind::Says, r#""a""#, r#""b""#), Same);
}

#[test]
fn floors() {
    for (old, new, change) in [
        ("18", "19", Narrower),
        (r#""any""#, "0", Narrower),
        (r#""1.55.43""#, r#""1.60.2""#, Narrower),
        (r#""580.95""#, r#""1000.1""#, Narrower),
        (r#""580.95""#, r#""580.95.05""#, Narrower),
        (r#""96.00.5E.00.01""#, r#""96.00.A5.00.01""#, Narrower),
        (r#""1.9""#, r#""1.55""#, Narrower),
        ("{ genoa = { bl = 10, snp = 23 } }", "{ genoa = { bl = 10, snp = 24 } }", Narrower),
        ("{ genoa = { bl = 10, snp = 23 } }", "{ genoa = { bl = 9, snp = 24 } }", Shifted),
        // A product without a floor is refused.
        ("{ genoa = { bl = 10 } }", "{ genoa = { bl = 10 }, turin = { bl = 1 } }", Wider),
        ("{ genoa = { bl = 10 } }", "{ genoa = { bl = 11 }, turin = { bl = 1 } }", Shifted),
        ("{ genoa = { bl = 10 } }", r#""any""#, Wider),
    ] {
        assert_eq!(both(Kind::AtLeast, old, new), change, "{old} to {new}");
    }
}

#[test]
fn ceilings_bits_grace_and_registers() {
    assert_eq!(both(Kind::AtMost, "60", "61"), Wider);
    assert_eq!(both(Kind::AtMost, "60", r#""any""#), Wider);
    assert_eq!(both(Kind::AtMost, r#""2027-01-31T00:00:00Z""#, r#""2026-12-31T00:00:00Z""#), Narrower);
    assert_eq!(both(Kind::Bits, "{ launch = 1, current = 1 }", "{ launch = 3, current = 1 }"), Narrower);
    assert_eq!(both(Kind::Bits, "{ launch = 1, current = 1 }", "{ launch = 2, current = 1 }"), Shifted);
    let grace = r#"{ statuses = ["OutOfDate"], seconds = 60 }"#;
    assert_eq!(both(Kind::Within, r#""none""#, grace), Wider);
    assert_eq!(both(Kind::Within, grace, r#"{ statuses = ["OutOfDate"], seconds = 61 }"#), Wider);
    let other = r#"{ statuses = ["ConfigurationNeeded"], seconds = 60 }"#;
    assert_eq!(both(Kind::Within, grace, other), Shifted);
    let pcrs = r#"{ 4 = ["a"] }"#;
    assert_eq!(both(Kind::Registers, pcrs, r#"{ 4 = ["a"], 7 = ["b"] }"#), Narrower);
    assert_eq!(both(Kind::Registers, pcrs, r#"{ 4 = ["a", "c"] }"#), Wider);
    assert_eq!(both(Kind::Registers, pcrs, r#"{ 4 = ["a", "c"], 7 = ["b"] }"#), Shifted);
}
