//! Forms that an output must have, as grammars over a model's tokens.
//!
//! A form comes from a caller and is hostile: its size, its compilation, and each step under it have limits. Nothing is fetched: a
//! reference in a schema names a part of the same schema.

mod calls;
mod patterns;

pub use calls::Marks;

use crate::vocabulary::Vocabulary;
use anchorhold_engine::{Calling, Constraint, Structure, TokenId, TooComplex, Tool};
use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::InferenceCapabilities;
use llguidance::{JsonCompileOptions, Matcher, ParserFactory, TokenParser, regex_to_lark};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

/// The longest schema, regular expression, or list of choices, in bytes.
pub const MAX_STRUCTURE_LEN: usize = 64 * 1024;
/// The longest regular expression, in bytes.
pub const MAX_REGEX_LEN: usize = 4096;
/// The most texts of a choice.
pub const MAX_CHOICE_TEXTS: usize = 1024;
/// The deepest nesting of a schema.
const MAX_DEPTH: usize = 32;

/// Why a form cannot be kept to. Quotes nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// Not a schema, a regular expression or a list of texts, or one with parts that are not offered.
    #[error("the form cannot be read")]
    Malformed,
    /// No text has the form.
    #[error("no text has the form")]
    Unsatisfiable,
    /// It is longer, or takes more work, than is allowed.
    #[error("the form takes too much work")]
    TooComplex,
    /// The tokenizer does not tell which bytes a token stands for.
    #[error("the tokenizer does not offer forms")]
    NotOffered,
}

/// Makes constraints out of forms, for one model. Clones share everything.
#[derive(Clone)]
pub struct Grammars(Option<Arc<ParserFactory>>);

impl fmt::Debug for Grammars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Grammars({})", self.0.is_some())
    }
}

impl Grammars {
    pub(crate) fn new(vocabulary: Option<&Vocabulary>) -> Self {
        let factory = vocabulary.and_then(|vocabulary| {
            let slices = SlicedBiasComputer::general_slices();
            let caps = InferenceCapabilities::default();
            let mut factory = ParserFactory::new(&vocabulary.tree(), caps, &slices).ok()?;
            factory.quiet();
            *factory.limits_mut() = limits();
            Some(Arc::new(factory))
        });
        Self(factory)
    }

    /// Over a token for each byte, and the end, 256.
    #[cfg(any(test, fuzzing))]
    #[must_use]
    pub fn of_bytes() -> Self {
        Self::new(Some(&Vocabulary::of_bytes()))
    }

    /// The constraint that keeps one sequence to this form.
    ///
    /// JSON has no white space outside of texts, so that none runs away.
    ///
    /// # Errors
    /// [`GrammarError`].
    pub fn constraint(&self, structure: &Structure) -> Result<Box<dyn Constraint>, GrammarError> {
        Ok(Box::new(Grammar::new(self.parser(structure)?, len(structure))?))
    }

    fn parser(&self, structure: &Structure) -> Result<TokenParser, GrammarError> {
        let factory = self.0.as_ref().ok_or(GrammarError::NotOffered)?;
        let grammar = match structure {
            Structure::JsonObject => json(Value::from_iter([("type", "object")]))?,
            Structure::JsonSchema(schema) if schema.len() <= MAX_STRUCTURE_LEN => {
                json(serde_json::from_str(schema).map_err(|_| GrammarError::Malformed)?)?
            }
            Structure::Regex(regex) if regex.len() <= MAX_REGEX_LEN => matching(regex),
            Structure::Choice(texts) => choice(texts)?,
            Structure::JsonSchema(_) | Structure::Regex(_) => return Err(GrammarError::TooComplex),
        };
        Self::compiled(factory, grammar)
    }

    /// The constraint that makes one answer calls of these tools, or keeps those that it may make to their form; `None` where nothing is
    /// asked of it.
    ///
    /// # Errors
    /// [`GrammarError`].
    pub fn calls(
        &self,
        marks: Marks,
        tools: &[Tool],
        calling: &Calling,
    ) -> Result<Option<Box<dyn Constraint>>, GrammarError> {
        let Some(grammar) = calls::grammar(marks, tools, calling)? else { return Ok(None) };
        let factory = self.0.as_ref().ok_or(GrammarError::NotOffered)?;
        let constraint =
            Grammar::new(Self::compiled(factory, grammar)?, tools.iter().map(|tool| tool.json.len()).sum())?;
        Ok(Some(Box::new(constraint)))
    }

    fn compiled(factory: &ParserFactory, grammar: TopLevelGrammar) -> Result<TokenParser, GrammarError> {
        // Panics of the library are errors of it; none of its texts is used, since they quote the form.
        factory.create_parser(grammar).map_err(|error| fault(&error.to_string()))
    }
}

/// Far below the library's own, whose compilation may take seconds and whose step tens of milliseconds.
fn limits() -> ParserLimits {
    ParserLimits {
        max_items_in_row: 1000,
        initial_lexer_fuel: 500_000,
        step_lexer_fuel: 50_000,
        step_max_items: 20_000,
        max_lexer_states: 20_000,
        max_grammar_size: 100_000,
        precompute_large_lexemes: false,
        verbose_errors: false,
    }
}

fn json(mut schema: Value) -> Result<TopLevelGrammar, GrammarError> {
    check_depth(&schema)?;
    patterns::check(&schema)?;
    let Value::Object(object) = &mut schema else { return Err(GrammarError::Malformed) };
    // What the library reads its options from is not the caller's to set.
    object.remove("x-guidance");
    let options = JsonCompileOptions { whitespace_flexible: false, ..JsonCompileOptions::default() };
    options.apply_to(&mut schema);
    Ok(TopLevelGrammar::from_json_schema(schema))
}

/// The parser of JSON has a limit of its own, which is higher.
fn check_depth(schema: &Value) -> Result<(), GrammarError> {
    let mut left = vec![(schema, 0)];
    while let Some((value, depth)) = left.pop() {
        if depth > MAX_DEPTH {
            return Err(GrammarError::TooComplex);
        }
        match value {
            Value::Array(items) => left.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(entries) => left.extend(entries.values().map(|item| (item, depth + 1))),
            _ => {}
        }
    }
    Ok(())
}

fn choice(texts: &[String]) -> Result<TopLevelGrammar, GrammarError> {
    if texts.is_empty() || texts.iter().any(String::is_empty) {
        return Err(GrammarError::Malformed);
    }
    if texts.len() > MAX_CHOICE_TEXTS || texts.iter().map(String::len).sum::<usize>() > MAX_STRUCTURE_LEN {
        return Err(GrammarError::TooComplex);
    }
    let literals: Vec<String> = texts.iter().map(|text| literal(text)).collect();
    Ok(matching(&literals.join("|")))
}

/// What this regular expression matches; a digit or a word is of ASCII, as in the patterns of a schema.
fn matching(regex: &str) -> TopLevelGrammar {
    TopLevelGrammar::from_lark(format!("start: /{}/", regex_to_lark(regex, "dw")))
}

/// A regular expression that matches this text alone.
fn literal(text: &str) -> String {
    text.chars().map(literal_of).collect()
}

fn literal_of(character: char) -> String {
    match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' => character.to_string(),
        _ => format!("\\x{{{:X}}}", u32::from(character)),
    }
}

/// How long the caller's text is, in bytes.
fn len(structure: &Structure) -> usize {
    match structure {
        Structure::JsonObject => 0,
        Structure::JsonSchema(text) | Structure::Regex(text) => text.len(),
        Structure::Choice(texts) => texts.iter().map(String::len).sum(),
    }
}

/// What the library's text says, as far as it can be told: its errors of compiling are texts alone.
///
/// The guess only chooses among constant sentences for the caller. Whatever it says the form is refused, and a text that nothing here
/// knows reads as that of a form which cannot be read. Tests have a form for each answer, so that other words in a later version of
/// the library are found out.
fn fault(text: &str) -> GrammarError {
    const TOO_MUCH: [&str; 7] =
        ["fuel", "too large", "too big", "too many", "exceeded", "limit", "Unable to determine"];
    if text.contains("nsatisfiable") {
        GrammarError::Unsatisfiable
    } else if TOO_MUCH.iter().any(|word| text.contains(word)) {
        GrammarError::TooComplex
    } else {
        GrammarError::Malformed
    }
}

/// One sequence's place in a grammar.
struct Grammar {
    matcher: Matcher,
    /// What it took when it was compiled, of which the forks share the first part.
    shared_bytes: usize,
    own_bytes: usize,
}

impl Grammar {
    /// `len` is the length of the form.
    fn new(parser: TokenParser, len: usize) -> Result<Self, GrammarError> {
        // The library counts its automaton alone. What deriving it left behind grows with the work, and the rules with the form;
        // `tests/form_memory.rs` measures both.
        const OF_WORK: usize = 8;
        const OF_LEXEMES: usize = 32;
        const OF_RULES: usize = 512;
        let stats = parser.parser.lexer_stats();
        let derived = stats.total_fuel_spent.saturating_mul(OF_WORK);
        let own_bytes =
            stats.num_bytes.saturating_add(derived).saturating_add(len.saturating_mul(OF_LEXEMES));
        let shared_bytes = len.saturating_mul(OF_RULES);
        let matcher = Matcher::new(Ok(parser));
        if matcher.is_error() {
            return Err(GrammarError::TooComplex);
        }
        Ok(Self { matcher, shared_bytes, own_bytes })
    }
}

impl fmt::Debug for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Grammar")
    }
}

impl Constraint for Grammar {
    fn restrict(&mut self, logits: &mut [f32]) -> Result<(), TooComplex> {
        let allowed = self.matcher.compute_mask_or_eos().map_err(|_| TooComplex)?;
        if allowed.len() < logits.len() {
            return Err(TooComplex);
        }
        allowed.iter_unset_entries(|token| {
            if let Some(logit) = logits.get_mut(token) {
                *logit = f32::NEG_INFINITY;
            }
        });
        Ok(())
    }

    fn accept(&mut self, token: TokenId) -> Result<(), TooComplex> {
        // Once the form is complete, only the token that ends the sequence comes.
        if self.matcher.is_stopped() && !self.matcher.is_error() {
            return Ok(());
        }
        self.matcher.consume_token(token).map_err(|_| TooComplex)
    }

    fn bytes(&self, forks: usize) -> usize {
        self.shared_bytes.saturating_add(self.own_bytes.saturating_mul(forks.saturating_add(1)))
    }

    fn fork(&self) -> Box<dyn Constraint> {
        Box::new(Self { matcher: self.matcher.deep_clone(), ..*self })
    }
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod measured;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const END: TokenId = 256;

    /// What may come after these bytes, one token each.
    fn after(structure: &Structure, bytes: &[u8]) -> Vec<TokenId> {
        let mut constraint = Grammars::of_bytes().constraint(structure).unwrap();
        let mut restrict = |came: Option<u8>| {
            let mut logits = vec![0.0_f32; 257];
            if let Some(byte) = came {
                constraint.accept(byte.into()).unwrap();
            }
            constraint.restrict(&mut logits).unwrap();
            (0..).zip(logits).filter(|(_, logit)| *logit == 0.0).map(|(token, _)| token).collect()
        };
        bytes.iter().fold(restrict(None), |_, byte| restrict(Some(*byte)))
    }

    fn bytes(text: &str) -> Vec<TokenId> {
        text.bytes().map(TokenId::from).collect()
    }

    #[test]
    fn the_end_comes_where_the_text_is_complete_and_there_only() {
        let choice = Structure::Choice(vec!["a/b".into(), "a/b\n".into(), "a.".into()]);
        assert_eq!(after(&choice, b""), bytes("a"));
        assert_eq!(after(&choice, b"a"), bytes("./"));
        assert_eq!(after(&choice, b"a/b"), [10, END]);
        assert_eq!(after(&choice, b"a/b\n"), [END]);
        let regex = Structure::Regex("a{2,3}".into());
        assert_eq!(after(&regex, b"a"), bytes("a"));
        assert_eq!(after(&regex, b"aa"), [97, END]);
        assert_eq!(after(&Structure::Regex("\\d".into()), b""), bytes("0123456789"));
        assert_eq!(after(&Structure::Regex("é".into()), &[0xC3]), [0xA9]);
    }

    #[test]
    fn json_has_no_white_space_and_keeps_the_order_of_properties() {
        let schema = r#"{"type":"object","properties":{"z":{"const":1},"a":{"const":2}},"required":["z","a"],"additionalProperties":false}"#;
        let schema = Structure::JsonSchema(schema.into());
        assert_eq!(after(&schema, b""), bytes("{"));
        assert_eq!(after(&schema, b"{"), bytes("\""));
        assert_eq!(after(&schema, b"{\""), bytes("z"));
        assert_eq!(after(&schema, b"{\"z\":1,\""), bytes("a"));
        assert_eq!(after(&schema, b"{\"z\":1,\"a\":2}"), [END]);
        assert_eq!(after(&Structure::JsonObject, b""), bytes("{"));
    }

    fn refusal(schema: &Value) -> Option<GrammarError> {
        Grammars::of_bytes().constraint(&Structure::JsonSchema(schema.to_string())).err()
    }

    #[test]
    fn refuses_more_patterns_of_one_text_than_can_be_computed() {
        let text = |at: usize| json!({"type": "string", "pattern": format!("[a-m]*.{{{at}}}[n-z]")});
        let texts = |count| (0..count).map(text).collect::<Vec<_>>();
        let property = |at: usize| json!({"properties": {"x": text(at)}});
        let chain = |at: usize| match at {
            19 => json!({"pattern": "19"}),
            at => json!({"pattern": at.to_string(), "$ref": format!("#/$defs/{}", at + 1)}),
        };
        let defs: serde_json::Map<String, Value> = (0..20).map(|at| (at.to_string(), chain(at))).collect();
        // Each part refers to the whole that it is a part of.
        let names = |at: usize| {
            (
                format!("a{at}"),
                json!({"pattern": format!("{at}"), "allOf": [{"$ref": format!("#/$defs/b{at}")}]}),
            )
        };
        let knots =
            |at: usize| (format!("b{at}"), json!({"properties": {"x": {"$ref": format!("#/$defs/a{at}")}}}));
        let knotted: serde_json::Map<String, Value> = (0..20).map(names).chain((0..20).map(knots)).collect();
        let each =
            |name: &str| (0..20).map(|at| json!({"$ref": format!("#/$defs/{name}{at}")})).collect::<Vec<_>>();
        for schema in [
            json!({"allOf": texts(20)}),
            json!({"allOf": (0..20).map(property).collect::<Vec<_>>()}),
            json!({"items": {"allOf": texts(9)}}),
            json!({"patternProperties": {"a": text(0), "b": text(1), "c": {"allOf": texts(6)}}}),
            json!({"$ref": "#/$defs/0", "$defs": defs}),
            json!({"oneOf": each("a"), "allOf": each("b"), "$defs": knotted}),
            json!({"allOf": vec![json!({"anyOf": vec![json!({"const": 1}); 9]}); 3]}),
            json!({"allOf": vec![json!({"items": {"oneOf": vec![json!(true); 23]}}); 2]}),
            json!({"allOf": vec![json!({"anyOf": texts(2)}); 7]}),
        ] {
            assert_eq!(refusal(&schema), Some(GrammarError::TooComplex), "{schema}");
        }
        for name in ["other.json", "#/$defs/none", "#name"] {
            assert_eq!(refusal(&json!({"$ref": name})), Some(GrammarError::Malformed), "{name}");
        }
        let most = json!({"type": "string", "pattern": "[a-z]+@.*", "format": "email", "minLength": 3, "maxLength": 30});
        assert_eq!(refusal(&most), None);
        assert_eq!(refusal(&json!({"anyOf": texts(20)})), None);
        let people =
            json!({"type": "array", "items": {"type": "object", "properties": {"a": most, "b": most}}});
        assert_eq!(refusal(&people), None);
    }

    #[test]
    fn a_tokenizer_that_does_not_tell_its_bytes_offers_no_forms() {
        let refused = Grammars::new(None).constraint(&Structure::JsonObject);
        assert_eq!(refused.unwrap_err(), GrammarError::NotOffered);
    }
}
