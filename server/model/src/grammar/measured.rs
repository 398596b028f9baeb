//! What forms cost over a real vocabulary. Run with a tokenizer of the size that is asked about:
//! `ANCHORHOLD_TOKENIZER=tokenizer.json cargo test --release -p anchorhold-model --lib -- --ignored --nocapture forms_over`.

#![allow(clippy::print_stdout, reason = "it tells what it measured")]

use super::*;
use crate::text::{Codec, Use};
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Steps of a walk through a form.
const STEPS: usize = 100;
const WALKS: u64 = 4;
/// Regular expressions that are made at random.
const MADE: u64 = 300;

/// The time that this thread has computed, so that others on the machine do not count.
struct Instant(Duration);

impl Instant {
    fn now() -> Self {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Self(Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap()))
    }

    fn elapsed(&self) -> Duration {
        Self::now().0 - self.0
    }
}

/// Numbers without an end, the same each time.
struct Dice(u64);

impl Dice {
    /// A number below `limit`.
    fn roll(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % limit
    }

    /// A regular expression of the parts that make automata large.
    fn regex(&mut self, depth: usize) -> String {
        if depth == 0 {
            return ["a", "b", "[a-z]", ".", "\\w", "[^a]", "é", "\\d", "[aeiou]"][self.roll(9)].to_owned();
        }
        let count = [2, 7, 30, 200][self.roll(4)];
        match self.roll(7) {
            0 => format!("({})*", self.regex(depth - 1)),
            1 => format!("({}){{0,{count}}}", self.regex(depth - 1)),
            2 => format!("({}){{{count}}}", self.regex(depth - 1)),
            3 => format!("({}|{})", self.regex(depth - 1), self.regex(depth - 1)),
            4 => format!("(.*{}.{{{count}}})", self.regex(depth - 1)),
            _ => format!("({}{})", self.regex(depth - 1), self.regex(depth - 1)),
        }
    }
}

#[expect(clippy::too_many_lines, reason = "one table")]
fn forms() -> Vec<(&'static str, Structure)> {
    let schema = |value: Value| Structure::JsonSchema(value.to_string());
    let regex = |text: &str| Structure::Regex(text.to_owned());
    let text = |value: &str| serde_json::json!({"type": "string", "pattern": value});
    let each = |count: usize, make: &dyn Fn(usize) -> Value| -> Value {
        Value::Object((0..count).map(|at| (format!("p{at}"), make(at))).collect())
    };
    let record = serde_json::json!({"type": "object", "additionalProperties": false,
        "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "mail": {"type": "string", "format": "email"}, "tags": {"type": "array", "items": {"type": "string"}},
            "kind": {"enum": ["red", "green", "blue"]}},
        "required": ["name", "age", "mail", "tags", "kind"]});
    let tree = serde_json::json!({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object",
        "properties": {"value": {"type": "number"}, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}}}}});
    let any = Value::from_iter([(
        "anyOf",
        Value::from((0..200).map(|at| text(&format!("[a-z]*{at}[a-z]{{0,20}}"))).collect::<Vec<_>>()),
    )]);
    let all = |count: usize| {
        let past = |at| text(&format!("[a-m]*.{{{at}}}[n-z].*"));
        Value::from_iter([("allOf", Value::from((1..=count).map(past).collect::<Vec<_>>()))])
    };
    let many = |count: usize, choices: usize| {
        let one = |at: usize| {
            (0..choices).map(|other| format!(".*{}a{at}", other % 10)).collect::<Vec<_>>().join("|")
        };
        Value::from_iter([("allOf", Value::from((0..count).map(|at| text(&one(at))).collect::<Vec<_>>()))])
    };
    let either = |at: usize| {
        let kinds = (0..20).map(|other| text(&format!("a{at}b{other}c.*")));
        Value::from_iter([("anyOf", Value::from(kinds.collect::<Vec<_>>()))])
    };
    let both =
        |count: usize| Value::from_iter([("allOf", Value::from((0..count).map(either).collect::<Vec<_>>()))]);
    let wide = |at: usize| (0..400).map(|other| format!("[a-z]{at}w{other}.*")).collect::<Vec<_>>().join("|");
    let two_wide = Value::from_iter([("allOf", Value::from(vec![text(&wide(1)), text(&wide(2))]))]);
    vec![
        ("any object", Structure::JsonObject),
        ("a record", schema(record)),
        ("a tree", schema(tree)),
        (
            "500 optional properties",
            schema(serde_json::json!({"type": "object", "properties": each(500, &|_| text("[a-z]+")) })),
        ),
        (
            "1300 optional properties",
            schema(serde_json::json!({"type": "object", "properties": each(1300, &|_| text("[a-z]+")) })),
        ),
        (
            "1300 properties of any kind",
            schema(
                serde_json::json!({"type": "object", "properties": each(1300, &|_| serde_json::json!({})) }),
            ),
        ),
        (
            "1300 numbers",
            schema(
                serde_json::json!({"type": "array", "prefixItems": (0..1300).map(|at| serde_json::json!({"type": "number", "minimum": at, "maximum": at * 77_777})).collect::<Vec<_>>() }),
            ),
        ),
        ("a thousand counted", regex("((a|bc|d){0,1000}e){0,1000}")),
        ("a million counted", regex("((([a-z]{0,100}x){0,100}y){0,100}z){0,100}")),
        ("long gaps", regex(".{4000}x.{4000}y.{4000}")),
        ("wide gaps", regex(&(0..100).map(|at| format!("(.*{at}.{{{at}}}x)")).collect::<Vec<_>>().join("|"))),
        (
            "words of the alphabet",
            regex(
                &(0..40)
                    .map(|at| format!("\\w{{{at}}}\\W\\s*[^\\d]{{0,{at}}}"))
                    .collect::<Vec<_>>()
                    .join("|"),
            ),
        ),
        ("2 of 60 branches at once", schema(many(2, 31))),
        ("2 of 60 choices at once", schema(many(2, 60))),
        ("3 of 15 branches at once", schema(many(3, 7))),
        ("4 of 8 branches at once", schema(many(4, 3))),
        ("6 of 4 branches at once", schema(many(6, 1))),
        ("2 of 300 branches at once", schema(many(2, 150))),
        (
            "500 patterns of properties",
            schema(serde_json::json!({"type": "object",
            "patternProperties": each(500, &|at| serde_json::json!({"type": "string", "maxLength": at})) })),
        ),
        ("200 alternatives", schema(any)),
        ("2 patterns at once", schema(all(2))),
        ("3 patterns at once", schema(all(3))),
        ("4 patterns at once", schema(all(4))),
        ("6 patterns at once", schema(all(6))),
        ("8 patterns at once", schema(all(8))),
        ("2 wide patterns at once", schema(two_wide)),
        ("2 alternatives at once", schema(both(2))),
        ("3 alternatives at once", schema(both(3))),
        (
            "a text of 60000",
            schema(serde_json::json!({"type": "string", "minLength": 50_000, "maxLength": 60_000})),
        ),
        (
            "a list of 10000",
            schema(serde_json::json!({"type": "array", "items": {"type": "number"}, "minItems": 10_000})),
        ),
        ("a multiple", schema(serde_json::json!({"type": "integer", "multipleOf": 99_991, "minimum": 1}))),
        ("1024 texts", Structure::Choice((0..1024).map(|at| format!("{at:x} is {}", at * at)).collect())),
        ("letters", regex("[a-z]+")),
        ("counted twice", regex("([a-z]{1,200}){1,200}")),
        ("a past of 12", regex("(.*a.{12}b)*")),
        ("a past of 200", regex("(.*[a-m].{200}[n-z])*")),
        ("words of words", regex("((\\w+\\s)*\\w+[.!?] )*")),
        ("a long list", regex(&(0..400).map(|at| format!("w{at}.*")).collect::<Vec<_>>().join("|"))),
    ]
}

fn resident_mib() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).unwrap().parse::<usize>().unwrap() / 256
}

/// How long each mask took.
fn walk(constraint: &mut dyn Constraint, size: usize, dice: &mut Dice, masks: &mut Vec<Duration>) {
    for _ in 0..STEPS {
        let mut logits = vec![0.0_f32; size];
        let begun = Instant::now();
        let done = constraint.restrict(&mut logits);
        let allowed: Vec<usize> =
            logits.iter().enumerate().filter(|(_, logit)| **logit == 0.0).map(|(token, _)| token).collect();
        let token =
            if done.is_ok() && !allowed.is_empty() { allowed[dice.roll(allowed.len())] } else { size };
        let went_on = token < size && constraint.accept(token.try_into().unwrap()).is_ok();
        masks.push(begun.elapsed());
        if !went_on {
            return;
        }
    }
}

/// Compiles a form and walks through it; what it took to compile, and the sorted times of the masks.
fn measure(grammars: &Grammars, form: &Structure, size: usize) -> (Duration, String, Vec<Duration>) {
    let begun = Instant::now();
    let constraint = grammars.constraint(form);
    let compiled = begun.elapsed();
    let mut masks = Vec::new();
    let told = match &constraint {
        Ok(constraint) => {
            for seed in 1..=WALKS {
                walk(constraint.fork().as_mut(), size, &mut Dice(seed * 7919), &mut masks);
            }
            String::new()
        }
        Err(error) => format!("{error:?}"),
    };
    masks.sort();
    (compiled, told, masks)
}

#[test]
#[ignore = "measures; needs a tokenizer of the reader's choice"]
fn forms_over_a_real_vocabulary() {
    let path = std::env::var_os("ANCHORHOLD_TOKENIZER").expect("ANCHORHOLD_TOKENIZER names a tokenizer.json");
    let codec = Codec::read(&std::fs::read(path).unwrap(), 1 << 20, Use::Chat).unwrap();
    let (size, before, begun) = (151_936, resident_mib(), Instant::now());
    let vocabulary = codec.vocabulary(size, &[151_643]).unwrap();
    println!("vocabulary: {:?}, {} MiB", begun.elapsed(), resident_mib() - before);
    let begun = Instant::now();
    let grammars = Grammars::new(Some(&vocabulary));
    println!("slices: {:?}, {} MiB", begun.elapsed(), resident_mib() - before);
    let tell = |name: &str, (compiled, told, masks): (Duration, String, Vec<Duration>)| {
        let at = |share: usize| masks.get((masks.len() * share / 100).min(masks.len().saturating_sub(1)));
        let [middle, late, last] = [50, 99, 100].map(|share| at(share).copied().unwrap_or_default());
        println!(
            "{name}: compiled {compiled:.1?} {told}, {} masks, p50 {middle:.1?} p99 {late:.1?} most {last:.1?}",
            masks.len()
        );
    };
    for (name, form) in forms() {
        tell(name, measure(&grammars, &form, size));
    }
    let (mut slowest, mut longest) = (Duration::ZERO, Duration::ZERO);
    for seed in 1..=MADE {
        let mut dice = Dice(seed * 104_729);
        let depth = 2 + dice.roll(6);
        let regex = dice.regex(depth);
        let (compiled, told, masks) = measure(&grammars, &Structure::Regex(regex.clone()), size);
        let most = masks.last().copied().unwrap_or_default();
        if most > slowest || compiled > longest {
            (slowest, longest) = (slowest.max(most), longest.max(compiled));
            tell(regex.get(..100).unwrap_or(&regex), (compiled, told, masks));
        }
    }
    println!(
        "{MADE} made: compiled within {longest:.1?}, masks within {slowest:.1?}, {} MiB",
        resident_mib() - before
    );
}
