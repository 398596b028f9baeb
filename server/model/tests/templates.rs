//! Chat templates in the style of each family, rendered as transformers renders them (tests/vectors/models/templates.json).

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use anchorhold_engine::ChatMessage;
use anchorhold_model::{ChatTemplate, SpecialTokens, TemplateError};

/// The second at which the clock stands in the goldens.
const NOW: u64 = 1_785_325_445;

#[test]
fn prompts_of_every_family_equal_transformers() {
    let goldens = common::goldens("templates.json");
    assert_eq!(goldens["now"], NOW);
    let chats: Vec<Vec<ChatMessage>> = serde_json::from_value(goldens["chats"].clone()).unwrap();
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
