//! Forms that are made to cost much: what they may cost is counted, in the library's own units of work.

use super::*;
use serde_json::json;

/// The tokens of [`Grammars::of_bytes`].
const VOCABULARY: usize = 257;
const END: TokenId = 256;
/// The longest walk through a form.
const STEPS: usize = 50;
/// A limit is looked at between two of the library's own steps, and one of them may still go over it.
const OVER: usize = 2;

fn schemas() -> Vec<Value> {
    let words: Vec<String> = (0..5_000).map(|number| format!("word number {number}")).collect();
    let merged: Vec<Value> = (0..12)
        .map(|at| json!({"anyOf": [{"minimum": at}, {"maximum": -at}, {"multipleOf": at + 1}]}))
        .collect();
    let patterns: Vec<Value> =
        (0..40).map(|at| json!({"type": "string", "pattern": format!("(a|b)*a(a|b){{{at}}}")})).collect();
    vec![
        json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}),
        json!({"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "array", "items": {"$ref": "#/$defs/a"}}]}}, "$ref": "#/$defs/a"}),
        json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}]}),
        json!({"enum": words}),
        json!({"allOf": merged}),
        json!({"anyOf": patterns}),
        json!({"type": "string", "pattern": "((a{1,300}){1,300}){1,300}"}),
        json!({"type": "string", "minLength": 1_000_000}),
        json!({"type": "array", "minItems": 1_000_000_000, "items": {}}),
        json!({"type": "number", "multipleOf": 1e-300, "minimum": -1e300, "maximum": 1e300}),
        json!({"type": "object", "minProperties": 4_000_000_000_u64}),
        json!({"type": "object", "patternProperties": {"(a+)+$": {}, "(a*)*b": {"type": "null"}}}),
    ]
}

fn regexes() -> Vec<String> {
    let short = [
        "(a+)+$",
        "((a{1000}){1000}){1000}",
        "(a|b|ab)*c(a|b){200}",
        "[a-z]{1,4000}x[a-z]{1,4000}",
        "(.*a){30}",
        "(.*[a-m].{200}[n-z])*",
        ".{4000}",
        "(((((((((((a*)*)*)*)*)*)*)*)*)*)*)*",
        "(?i)ſ{900}",
        "\\p{L}{500}\\P{L}{500}",
    ];
    let deep = format!("{}a{}", "(".repeat(2_000), ")".repeat(2_000));
    short.into_iter().map(str::to_owned).chain([deep, "a|".repeat(2_000) + "b"]).collect()
}

/// Compiles a form and walks through it, and counts. Whether it compiled.
fn check(grammars: &Grammars, structure: &Structure, choose: fn(&[TokenId]) -> TokenId) -> bool {
    let limits = limits();
    let Ok(parser) = grammars.parser(structure) else { return false };
    let compiled = parser.parser.lexer_stats();
    let most = usize::try_from(limits.initial_lexer_fuel).unwrap();
    assert!(compiled.total_fuel_spent <= OVER * most, "{structure:?}: {}", compiled.total_fuel_spent);
    assert!(compiled.num_states <= limits.max_lexer_states, "{structure:?}: {}", compiled.num_states);
    let mut grammar = Grammar::new(parser, len(structure)).unwrap();
    for _ in 0..STEPS {
        let mut logits = vec![0.0_f32; VOCABULARY];
        let restricted = grammar.restrict(&mut logits);
        let Ok(step) = grammar.matcher.last_step_stats() else { break };
        let fuel = usize::try_from(step.lexer_cost).unwrap();
        let most = usize::try_from(limits.step_lexer_fuel).unwrap();
        assert!(fuel <= OVER * most, "{structure:?}: {fuel} in a step");
        assert!(step.all_items <= OVER * limits.step_max_items, "{structure:?}: {} items", step.all_items);
        let allowed: Vec<TokenId> =
            (0..).zip(logits).filter(|(_, logit)| *logit == 0.0).map(|(token, _)| token).collect();
        if restricted.is_err() {
            break;
        }
        let token = choose(&allowed);
        if token == END || grammar.accept(token).is_err() {
            break;
        }
    }
    true
}

#[test]
fn case_38_hostile_forms_end_in_bounded_work() {
    let grammars = Grammars::of_bytes();
    let schemas = schemas().into_iter().map(|schema| Structure::JsonSchema(schema.to_string()));
    let all: Vec<Structure> = schemas.chain(regexes().into_iter().map(Structure::Regex)).collect();
    let walks: [fn(&[TokenId]) -> TokenId; 2] =
        [|allowed| *allowed.first().unwrap(), |allowed| *allowed.last().unwrap()];
    for choose in walks {
        let compiled = all.iter().filter(|structure| check(&grammars, structure, choose)).count();
        assert!(compiled > 5, "or nothing was walked through: {compiled}");
    }
    assert!(grammars.constraint(&Structure::Regex("ok".to_owned())).is_ok(), "others are served as before");
}
