//! Answers that are calls of tools, as grammars: in the syntax of a model, with arguments that fit the schemas of their tools.

use super::{GrammarError, MAX_STRUCTURE_LEN, check_depth, patterns};
use crate::calls::CallSyntax;
use anchorhold_engine::{Calling, MustCall, TokenId, Tool};
use llguidance::JsonCompileOptions;
use llguidance::api::TopLevelGrammar;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// The most tools of one grammar.
const MAX_TOOLS: usize = 128;

/// How a model begins and ends a call.
#[derive(Debug, Clone, Copy)]
pub struct Marks {
    /// The syntax.
    pub syntax: CallSyntax,
    /// The special token that the opening is, if it is one.
    pub opening: Option<TokenId>,
    /// The special token that the closing is, if it is one.
    pub closing: Option<TokenId>,
}

/// The grammar of an answer that may call these tools. `None` where the model may say what it likes.
pub(super) fn grammar(
    marks: Marks,
    tools: &[Tool],
    calling: &Calling,
) -> Result<Option<TopLevelGrammar>, GrammarError> {
    let must = calling.must != MustCall::No;
    if !must && !tools.iter().any(|tool| tool.strict) {
        return Ok(None);
    }
    if tools.len() > MAX_TOOLS || tools.iter().map(|tool| tool.json.len()).sum::<usize>() > MAX_STRUCTURE_LEN
    {
        return Err(GrammarError::TooComplex);
    }
    let offered = tools.iter().filter(|tool| match &calling.must {
        MustCall::Named(name) => *name == tool.name,
        MustCall::No | MustCall::Any => true,
    });
    let (mut rules, mut names) = (String::new(), Vec::new());
    for (at, tool) in offered.enumerate() {
        // The name goes into a literal of the grammar.
        if !tool.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')) {
            return Err(GrammarError::Malformed);
        }
        let schema = arguments(tool, must || tool.strict)?;
        let key = marks.syntax.arguments();
        // Writing to a string does not fail.
        let _ = writeln!(
            rules,
            "call_{at}: \"{{\\\"name\\\": \\\"{}\\\", \\\"{key}\\\": \" arguments_{at} \"}}\"\narguments_{at}: %json {schema}",
            tool.name
        );
        names.push(format!("call_{at}"));
    }
    if names.is_empty() {
        return Err(GrammarError::Malformed);
    }
    let once = calling.once || calling.must_be_named() || marks.syntax.calls_once();
    let _ = writeln!(rules, "call: {}", names.join(" | "));
    rules.push_str(&marks.around(must, once));
    Ok(Some(TopLevelGrammar::from_lark(rules)))
}

impl Marks {
    /// The special tokens among them, with their texts.
    #[must_use]
    pub fn shown(self) -> Vec<(TokenId, &'static str)> {
        let pairs = [(self.opening, self.syntax.opening()), (self.closing, self.syntax.closing())];
        pairs.into_iter().filter_map(|(token, text)| token.zip(text)).collect()
    }

    /// The rules from the whole answer to `call`.
    fn around(self, must: bool, once: bool) -> String {
        let special = |token: Option<TokenId>| token.map(|token| format!("<[{token}]>"));
        let opening = self.syntax.opening().unwrap_or_default();
        let open = special(self.opening).unwrap_or_else(|| format!("\"{opening}\""));
        let close = special(self.closing)
            .unwrap_or_else(|| format!("\"{}\"", self.syntax.closing().unwrap_or_default()));
        // What the first opening is followed by, and what text may come instead of calls or before them.
        let (first, text) = match self.syntax {
            CallSyntax::Hermes => {
                let end = format!("\"\\n\" call \"\\n\" {close}");
                let more = if once { String::new() } else { format!(" (\"\\n\" {open} {end})*") };
                (format!("{end}{more}"), "/(?s:.*)/")
            }
            CallSyntax::Mistral => {
                let more = if once { "" } else { " (\", \" call)*" };
                (format!("\"[\" call{more} \"]\""), "/(?s:.*)/")
            }
            // What begins with a brace would be read as a call.
            CallSyntax::Llama => ("call".to_owned(), "/[ \\t\\r\\n]*([^ \\t\\r\\n{](?s:.*))?/"),
        };
        if must {
            let open = if self.syntax.opening().is_some() { open } else { String::new() };
            return format!("start: {open} {first}\n");
        }
        match (self.syntax.opening(), self.opening) {
            (None, _) => format!("start: TEXT | {first}\nTEXT: {text}\n"),
            (Some(_), Some(_)) => format!("start: TEXT | TEXT {open} {first}\nTEXT: {text}\n"),
            // The text that ends in the opening is one lexeme, which ends as soon as it can.
            (Some(_), None) => {
                let escaped: String = opening.chars().map(super::literal_of).collect();
                format!("start: TEXT | lead {first}\nTEXT: {text}\nlead[lazy]: /(?s:.*){escaped}/\n")
            }
        }
    }
}

/// The schema of a tool's arguments: any object where they are not kept to it.
fn arguments(tool: &Tool, kept: bool) -> Result<Value, GrammarError> {
    let tool: Value = serde_json::from_str(&tool.json).map_err(|_| GrammarError::Malformed)?;
    let any = || json!({"type": "object"});
    let mut schema = match tool.pointer("/function/parameters") {
        Some(schema) if kept => schema.clone(),
        _ => any(),
    };
    check_depth(&schema)?;
    patterns::check(&schema)?;
    let Value::Object(object) = &mut schema else { return Err(GrammarError::Malformed) };
    // What the library reads its options from is not the caller's to set. Arguments are an object, whatever the schema leaves open.
    object.remove("x-guidance");
    match object.get("type") {
        None => drop(object.insert("type".to_owned(), Value::from("object"))),
        Some(kind) if kind == "object" => {}
        Some(_) => return Err(GrammarError::Malformed),
    }
    let options = JsonCompileOptions { whitespace_flexible: false, ..JsonCompileOptions::default() };
    options.apply_to(&mut schema);
    Ok(schema)
}

#[cfg(test)]
mod tests {
    use super::super::Grammars;
    use super::*;
    use crate::calls::{CallStream, Said};

    fn tool(name: &str, parameters: &Value, strict: bool) -> Tool {
        let json = json!({"type": "function", "function": {"name": name, "parameters": parameters}});
        Tool { name: name.to_owned(), json: json.to_string(), strict }
    }

    fn tools(strict: bool) -> Vec<Tool> {
        let schema = json!({
            "type": "object", "properties": {"city": {"$ref": "#/$defs/city"}, "days": {"type": "integer", "minimum": 1, "maximum": 3}},
            "required": ["city", "days"], "additionalProperties": false, "$defs": {"city": {"enum": ["Oslo", "Köln"]}},
        });
        vec![
            tool("get_weather", &schema, strict),
            tool(
                "clock",
                &json!({"type": "object", "properties": {}, "additionalProperties": false}),
                strict,
            ),
        ]
    }

    fn marks(syntax: CallSyntax) -> Marks {
        Marks { syntax, opening: None, closing: None }
    }

    fn calling(must: MustCall, once: bool) -> Calling {
        Calling { must, once }
    }

    /// A text of pure chance under a grammar of bytes, which ends as soon as it may.
    fn text(marks: Marks, tools: &[Tool], calling: &Calling, seed: u64) -> String {
        let mut constraint = Grammars::of_bytes().calls(marks, tools, calling).unwrap().unwrap();
        let (mut bytes, mut state) = (Vec::new(), seed);
        while bytes.len() < 2_000 {
            let mut logits = vec![0.0_f32; 257];
            constraint.restrict(&mut logits).unwrap();
            let allowed: Vec<u32> =
                (0..257).zip(&logits).filter(|(_, logit)| **logit == 0.0).map(|(token, _)| token).collect();
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let token = if allowed.contains(&256) && state >> 62 == 0 {
                256
            } else {
                allowed[(state >> 33) as usize % allowed.len()]
            };
            constraint.accept(token).unwrap();
            match u8::try_from(token) {
                Ok(byte) => bytes.push(byte),
                Err(_) => return String::from_utf8(bytes).unwrap(),
            }
        }
        panic!("without an end");
    }

    fn said(syntax: CallSyntax, answer: &str) -> Vec<Said> {
        let mut stream = CallStream::new(syntax, vec!["get_weather".into(), "clock".into()], false);
        let mut said = stream.push(answer);
        said.extend(stream.finish());
        said
    }

    #[test]
    fn an_answer_that_must_be_calls_is_calls_that_fit_their_schemas() {
        for syntax in [CallSyntax::Hermes, CallSyntax::Llama, CallSyntax::Mistral] {
            let mut counts = [0; 3];
            for seed in 0..40 {
                let answer = text(marks(syntax), &tools(false), &calling(MustCall::Any, false), seed);
                let said = said(syntax, &answer);
                for pair in said.chunks(2) {
                    let [Said::Call(name), Said::Arguments(arguments)] = pair else {
                        panic!("{answer}: {said:?}")
                    };
                    let arguments: Value = serde_json::from_str(arguments).unwrap();
                    if name == "clock" {
                        assert_eq!(arguments, json!({}));
                    } else {
                        assert!(
                            ["Oslo", "Köln"].contains(&arguments["city"].as_str().unwrap()),
                            "{arguments}"
                        );
                        assert!((1..=3).contains(&arguments["days"].as_u64().unwrap()));
                    }
                }
                counts[(said.len() / 2).min(2)] += 1;
            }
            assert_eq!(counts[0], 0);
            assert_eq!(counts[2] > 0, syntax != CallSyntax::Llama, "{syntax:?} {counts:?}");
            let named = calling(MustCall::Named("clock".into()), false);
            let answer = text(marks(syntax), &tools(false), &named, 7);
            assert_eq!(said(syntax, &answer), [Said::Call("clock".into()), Said::Arguments("{}".into())]);
            let once = text(marks(syntax), &tools(false), &calling(MustCall::Any, true), 3);
            assert_eq!(said(syntax, &once).len(), 2);
        }
    }

    /// What may come after these bytes.
    fn after(marks: Marks, answer: &str) -> Vec<u32> {
        let mut constraint =
            Grammars::of_bytes().calls(marks, &tools(true), &calling(MustCall::No, false)).unwrap().unwrap();
        for byte in answer.bytes() {
            let mut logits = vec![0.0_f32; 257];
            constraint.restrict(&mut logits).unwrap();
            assert_eq!(logits[usize::from(byte)], 0.0, "{answer}: {byte}");
            constraint.accept(byte.into()).unwrap();
        }
        let mut logits = vec![0.0_f32; 257];
        constraint.restrict(&mut logits).unwrap();
        (0..257).zip(logits).filter(|(_, logit)| *logit == 0.0).map(|(token, _)| token).collect()
    }

    #[test]
    fn strict_tools_leave_text_free_and_bind_calls() {
        let hermes = marks(CallSyntax::Hermes);
        assert!(after(hermes, "").len() > 150, "any text");
        assert!(after(hermes, "I <tool_cal").contains(&256));
        assert_eq!(after(hermes, "I look. <tool_call>"), [10]);
        assert_eq!(after(hermes, "<tool_call>\n{\"name\": \""), [u32::from(b'c'), u32::from(b'g')]);
        assert_eq!(after(hermes, "<tool_call>\n{\"name\": \"clock\", \"arguments\": {"), [u32::from(b'}')]);
        assert_eq!(
            after(hermes, "<tool_call>\n{\"name\": \"clock\", \"arguments\": {}}\n</tool_call>"),
            [10, 256]
        );
        let mistral = marks(CallSyntax::Mistral);
        assert_eq!(after(mistral, "so [TOOL_CALLS]"), [u32::from(b'[')]);
        let llama = marks(CallSyntax::Llama);
        assert_eq!(after(llama, "{"), [u32::from(b'"')]);
        assert_eq!(after(llama, "{\"name\": \"clock\", \"parameters\": {}}"), [256]);
        assert!(after(llama, " x{").len() > 150);
        assert!(!after(llama, " ").contains(&u32::from(b'{')));
    }

    #[test]
    fn a_special_token_can_be_the_opening() {
        let marks = Marks { opening: Some(256), ..marks(CallSyntax::Mistral) };
        let mut constraint =
            Grammars::of_bytes().calls(marks, &tools(false), &calling(MustCall::Any, true)).unwrap().unwrap();
        let mut allowed = || {
            let mut logits = vec![0.0_f32; 257];
            constraint.restrict(&mut logits).unwrap();
            let allowed: Vec<u32> =
                (0..257).zip(logits).filter(|(_, logit)| *logit == 0.0).map(|(token, _)| token).collect();
            constraint.accept(allowed[0]).unwrap();
            allowed
        };
        assert_eq!(allowed(), [256]);
        assert_eq!(allowed(), [u32::from(b'[')]);
    }

    #[test]
    fn without_a_demand_nothing_is_asked_of_the_answer() {
        let free = Grammars::of_bytes().calls(marks(CallSyntax::Hermes), &tools(false), &Calling::default());
        assert!(free.unwrap().is_none());
    }

    #[test]
    fn refuses_tools_that_cannot_be_kept_to() {
        let any = calling(MustCall::Any, false);
        let refusal =
            |tools: &[Tool]| Grammars::of_bytes().calls(marks(CallSyntax::Hermes), tools, &any).unwrap_err();
        let deep = (0..40).fold(json!({"type": "null"}), |inner, _| json!({"items": inner}));
        for (parameters, wanted) in [
            (json!({"type": "string"}), GrammarError::Malformed),
            (json!({"type": "object", "properties": {"a": {"type": "canary"}}}), GrammarError::Malformed),
            (
                json!({"type": "object", "properties": {"a": {"$ref": "https://example.com/x.json"}}}),
                GrammarError::Malformed,
            ),
            (json!({"type": "object", "properties": {"a": deep}}), GrammarError::TooComplex),
            (
                json!({"type": "object", "properties": {"a": {"description": "x".repeat(MAX_STRUCTURE_LEN)}}}),
                GrammarError::TooComplex,
            ),
        ] {
            assert_eq!(refusal(&[tool("f", &parameters, true)]), wanted);
        }
        assert_eq!(refusal(&[tool("f\" | \"", &json!({}), true)]), GrammarError::Malformed);
        assert_eq!(refusal(&[]), GrammarError::Malformed);
        let many: Vec<Tool> = (0..129).map(|at| tool(&format!("f{at}"), &json!({}), true)).collect();
        assert_eq!(refusal(&many), GrammarError::TooComplex);
    }
}
