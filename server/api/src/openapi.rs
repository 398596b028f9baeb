//! The OpenAPI 3.1 document of the API, made of the schemas that stand beside the parsers.

mod answers;
mod routes;
pub(crate) mod schema;

use serde_json::{Value, json};

/// The document, as JSON: every route of the gateway, what it takes, what it answers, and what it refuses.
#[must_use]
pub fn openapi() -> Vec<u8> {
    serde_json::to_vec_pretty(&document()).expect("a value is always JSON")
}

fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Anchorhold",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Models out of a confidential virtual machine, in the shapes of OpenAI's API. Every field that is \
                named works or is refused by its name; fields that are not named are passed over. What a limit says of \
                characters holds for bytes of UTF-8. Verify the server before the first request: see \
                `/.well-known/anchorhold-attestation`.",
            "license": {"name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT"},
        },
        "security": [{"key": []}],
        "paths": routes::paths(),
        "components": {
            "schemas": answers::schemas(),
            "responses": routes::refusals(),
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "An API key of a tenant"},
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::taken;
    use crate::openapi::schema::Schema;
    use crate::{
        ChatRequest, CompletionRequest, DetokenizeRequest, EmbeddingRequest, RerankRequest, ResponsesRequest,
        TokenizeRequest,
    };
    use std::collections::BTreeSet;

    /// The paths of all fields below a schema, as [`taken`] writes them.
    fn fields(schema: &Value, place: &str, found: &mut BTreeSet<String>) {
        for word in ["anyOf", "oneOf"] {
            for one in schema[word].as_array().into_iter().flatten() {
                fields(one, place, found);
            }
        }
        if schema["items"].is_object() {
            fields(&schema["items"], &format!("{}[].", place.trim_end_matches('.')), found);
        }
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            found.insert(format!("{place}{name}"));
            fields(field, &format!("{place}{name}."), found);
        }
    }

    /// Holds the fields of a schema against those that the parser asks for in these bodies.
    fn check<T>(schema: Schema, bodies: &[Value], parse: fn(&[u8]) -> Result<T, crate::ApiError>) {
        taken::take();
        for body in bodies {
            assert!(parse(body.to_string().as_bytes()).is_ok(), "{body}");
        }
        let mut documented = BTreeSet::new();
        fields(&schema.value(), "", &mut documented);
        let known = taken::take();
        let differ: Vec<_> = documented.symmetric_difference(&known).collect();
        assert!(differ.is_empty(), "in one and not in the other: {differ:?}");
    }

    fn generation(change: Value) -> Vec<Value> {
        let schema = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {}}});
        let forms = [
            json!({"response_format": schema}),
            json!({"response_format": {"type": "json_object"}}),
            json!({"structured_outputs": {"json": {}}}),
            json!({"stream": true, "stream_options": {"include_usage": true}}),
        ];
        let with = |form: Value| {
            let mut body = change.clone();
            for (key, value) in form.as_object().into_iter().flatten() {
                body[key] = value.clone();
            }
            body
        };
        forms.into_iter().map(with).collect()
    }

    #[test]
    fn every_documented_field_is_known_to_its_parser_and_the_other_way_round() {
        let function = json!({"name": "f"});
        let messages = json!([
            {"role": "user", "content": [{"type": "text", "text": "x"}]},
            {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": function}]},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "x"}]},
        ]);
        let chat_tool = json!({"type": "function", "function": function});
        let mut bodies = generation(json!({"model": "m", "messages": messages}));
        bodies.push(
            json!({"model": "m", "messages": messages, "tools": [chat_tool], "tool_choice": chat_tool}),
        );
        check(ChatRequest::schema(), &bodies, ChatRequest::parse);
        let tool = json!({"type": "function", "name": "f"});
        let input = json!([
            {"role": "user", "content": [{"type": "input_text", "text": "x"}, {"type": "refusal", "refusal": "x"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "x"}, {"type": "refusal", "refusal": "x"}]},
        ]);
        let format = json!({"type": "json_schema", "name": "x", "schema": {}});
        check(
            ResponsesRequest::schema(),
            &[
                json!({"model": "m", "input": input, "tools": [tool], "tool_choice": tool, "stream": true, "stream_options": {}}),
                json!({"model": "m", "input": "x", "text": {"format": format}}),
                json!({"model": "m", "input": "x", "text": {"format": {"type": "json_object"}}}),
                json!({"model": "m", "input": "x", "structured_outputs": {"json": {}}}),
            ],
            ResponsesRequest::parse,
        );
        check(
            CompletionRequest::schema(),
            &generation(json!({"model": "m", "prompt": "x"})),
            CompletionRequest::parse,
        );
        check(EmbeddingRequest::schema(), &[json!({"model": "m", "input": "x"})], EmbeddingRequest::parse);
        check(
            RerankRequest::schema(),
            &[json!({"model": "m", "query": "x", "documents": [{"text": "x"}]})],
            RerankRequest::parse,
        );
        check(
            TokenizeRequest::schema(),
            &[
                json!({"model": "m", "prompt": "x"}),
                json!({"model": "m", "messages": messages, "tools": [chat_tool], "tool_choice": chat_tool}),
            ],
            TokenizeRequest::parse,
        );
        check(DetokenizeRequest::schema(), &[json!({"model": "m", "tokens": []})], DetokenizeRequest::parse);
    }
}
