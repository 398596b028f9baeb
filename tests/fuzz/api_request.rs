//! Request bodies. What is refused is a client error in ASCII; what is accepted is within its ranges.
#![no_main]

use anchorhold_api::{
    ApiError, ChatRequest, CompletionRequest, DetokenizeRequest, EmbeddingRequest, Generation,
    MAX_DETOKENIZED, MAX_DOCUMENTS, MAX_INPUTS, MAX_MESSAGES, MAX_PROMPTS, MAX_STOPS, MAX_TOOLS,
    RerankRequest, ResponsesRequest, Source, TokenizeRequest, Tools,
};
use libfuzzer_sys::fuzz_target;

fn check_error(error: &ApiError) {
    assert!((400..500).contains(&error.status()));
    // Every text is our own, and ours are ASCII.
    assert!(error.to_json().is_ascii());
}

fn check_generation(generation: &Generation) {
    assert!((0.0..=2.0).contains(&generation.temperature));
    assert!(generation.top_p > 0.0 && generation.top_p <= 1.0);
    assert!((0.0..=1.0).contains(&generation.min_p));
    assert!(generation.stop.len() <= MAX_STOPS && generation.stop.iter().all(|stop| !stop.is_empty()));
    assert!(generation.logit_bias.iter().all(|(_, bias)| (-100.0..=100.0).contains(bias)));
    assert!(generation.max_tokens.is_none_or(|tokens| tokens > 0));
}

fn check_tools(tools: &Tools) {
    assert!(tools.list.len() <= MAX_TOOLS);
    for tool in &tools.list {
        let json: serde_json::Value = serde_json::from_str(&tool.chat_json()).expect("a tool is JSON");
        assert_eq!(json["function"]["name"], tool.name.as_str());
        assert!(json["function"]["parameters"].is_object());
    }
}

fuzz_target!(|body: &[u8]| {
    match ChatRequest::parse(body) {
        Ok(request) => {
            assert!((1..=MAX_MESSAGES).contains(&request.messages.len()));
            check_generation(&request.generation);
            check_tools(&request.tools);
        }
        Err(error) => check_error(&error),
    }
    match ResponsesRequest::parse(body) {
        Ok(request) => {
            assert!((1..=MAX_MESSAGES + 1).contains(&request.messages.len()));
            check_generation(&request.generation);
            check_tools(&request.tools);
        }
        Err(error) => check_error(&error),
    }
    match CompletionRequest::parse(body) {
        Ok(request) => {
            assert!((1..=MAX_PROMPTS).contains(&request.prompts.len()));
            check_generation(&request.generation);
        }
        Err(error) => check_error(&error),
    }
    match EmbeddingRequest::parse(body) {
        Ok(request) => assert!((1..=MAX_INPUTS).contains(&request.inputs.len())),
        Err(error) => check_error(&error),
    }
    match RerankRequest::parse(body) {
        Ok(request) => {
            assert!((1..=MAX_DOCUMENTS).contains(&request.documents.len()) && request.top_n > 0);
            assert!(!request.query.is_empty() && request.documents.iter().all(|text| !text.is_empty()));
        }
        Err(error) => check_error(&error),
    }
    match TokenizeRequest::parse(body) {
        Ok(request) => match request.source {
            Source::Text { text, .. } => assert!(!text.contains('\0')),
            Source::Conversation { messages, .. } => assert!((1..=MAX_MESSAGES).contains(&messages.len())),
        },
        Err(error) => check_error(&error),
    }
    match DetokenizeRequest::parse(body) {
        Ok(request) => assert!(request.tokens.len() <= MAX_DETOKENIZED),
        Err(error) => check_error(&error),
    }
});
