//! Chat templates in the style of each family, rendered as transformers renders them (tests/vectors/models/templates.json).

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use anchorhold_model::{CallSyntax, ChatTemplate, SpecialTokens, TemplateError};

/// The second at which the clock stands in the goldens.
const NOW: u64 = 1_785_325_445;

#[test]
fn prompts_of_every_family_equal_transformers() {
    let goldens = common::goldens("templates.json");
    assert_eq!(goldens["now"], NOW);
    let none = serde_json::Value::Null;
    let chats = goldens["chats"].as_array().unwrap().iter();
    let chats: Vec<_> = chats.map(|chat| common::conversation(chat, &none)).collect();
    let special =
        SpecialTokens { bos: Some("<s>".into()), eos: Some("</s>".into()), ..SpecialTokens::default() };
    let (mut rendered, mut refused) = (0, 0);
    for row in goldens["templates"].as_array().unwrap() {
        let template = ChatTemplate::new(row["template"].as_str().unwrap(), special.clone());
        let template = template.unwrap_or_else(|error| panic!("{}: {error}", row["name"])).with_clock(|| NOW);
        for (chat, wanted) in chats.iter().zip(row["prompts"].as_array().unwrap()) {
            match (template.render(chat), wanted.as_str()) {
                (Ok(got), Some(wanted)) => {
                    assert_eq!(got, wanted, "{}", row["name"]);
                    rendered += 1;
                }
                (Err(TemplateError::Refused), None) => refused += 1,
                (got, wanted) => panic!("{}: {got:?} {wanted:?} {chat:?}", row["name"]),
            }
        }
    }
    assert!(rendered >= 120 && refused >= 20, "{rendered} {refused}");
}

#[test]
fn tools_and_calls_are_shown_as_transformers_shows_them() {
    let goldens = common::goldens("templates.json");
    let special =
        SpecialTokens { bos: Some("<s>".into()), eos: Some("</s>".into()), ..SpecialTokens::default() };
    let syntaxes = [
        ("qwen", CallSyntax::Hermes),
        ("hermes", CallSyntax::Hermes),
        ("llama 3.1", CallSyntax::Llama),
        ("mistral", CallSyntax::Mistral),
    ];
    let (mut rendered, mut refused) = (0, 0);
    for (row, (name, syntax)) in goldens["tool_templates"].as_array().unwrap().iter().zip(syntaxes) {
        assert_eq!(row["name"], name);
        let template = ChatTemplate::new(row["template"].as_str().unwrap(), special.clone()).unwrap();
        assert_eq!(template.calls(), Some(syntax), "{name}");
        let chats = goldens["tool_chats"].as_array().unwrap().iter();
        for (chat, wanted) in chats.zip(row["prompts"].as_array().unwrap()) {
            let chat = common::conversation(&chat["messages"], &chat["tools"]);
            match (template.render(&chat), wanted.as_str()) {
                (Ok(got), Some(wanted)) => {
                    assert_eq!(got, wanted, "{name}");
                    rendered += 1;
                }
                (Err(TemplateError::Refused), None) => refused += 1,
                (got, wanted) => panic!("{name}: {got:?} {wanted:?} {chat:?}"),
            }
        }
    }
    assert!(rendered >= 22 && refused >= 1, "{rendered} {refused}");
    // These show the model no tools, or no calls.
    for row in goldens["templates"].as_array().unwrap() {
        let template = ChatTemplate::new(row["template"].as_str().unwrap(), special.clone()).unwrap();
        assert_eq!(template.with_clock(|| NOW).calls(), None, "{}", row["name"]);
    }
}

#[test]
fn the_ids_of_any_caller_are_ids_for_mistral() {
    let source = "{% for t in tools or [] %}{{ t | tojson }}{% endfor %}{% for m in messages %}{% for c in m.tool_calls or [] %}[TOOL_CALLS] \
        [{{ c.function | tojson }}] {{ c.id }}{% endfor %}{{ m.tool_call_id }}{% endfor %}";
    let template = ChatTemplate::new(source, SpecialTokens::default()).unwrap();
    assert_eq!(template.calls(), Some(CallSyntax::Mistral));
    let call = serde_json::json!([
        {"role": "assistant", "tool_calls": [{"id": "call_0123456789", "function": {"name": "f", "arguments": {}}}]},
        {"role": "tool", "content": "", "name": "f", "tool_call_id": "call_0123456789"},
    ]);
    let prompt = template.render(&common::conversation(&call, &serde_json::Value::Null)).unwrap();
    assert_eq!(prompt.matches("123456789").count(), 2, "{prompt}");
    assert!(!prompt.contains("0123456789"), "{prompt}");
}
