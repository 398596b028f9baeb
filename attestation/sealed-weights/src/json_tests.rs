use super::*;

fn refusal(role: Role, text: &str) -> JsonRule {
    match check_file(role, text.as_bytes()).unwrap_err() {
        Error::Json { role: named, rule } if named == role => rule,
        other => panic!("{other}"),
    }
}

#[test]
fn accepts_what_models_bring() {
    for text in [
        r#"{"hidden_size":384,"layers":[1,-2,3.5,null,true,"x"],"nested":{"a":{"b":[]}}}"#,
        r#"[{"idx":0},{"idx":1}]"#,
        " {} \n",
        r#"{"auto_map":null,"trust_remote_code":false}"#,
    ] {
        check_file(Role::Config, text.as_bytes()).unwrap();
    }
    check_file(Role::ChatTemplate, b"{% for message in messages %}{").unwrap();
    check_file(Role::Tokenizer, br#"{"model":{"vocab":{"auto_map":1,"trust_remote_code":2}}}"#).unwrap();
    check_file(Role::Modules, br#"[{"type":"sentence_transformers.models.Pooling"}]"#).unwrap();
}

#[test]
fn case_22_refuses_other_than_one_value_of_utf8() {
    for text in ["", "{", "{}{}", "[1", "{'a':1}", "{\"a\":1,}", "nul", "\u{feff}{}", "{\"a\":\"\\ud800\"}"] {
        assert_eq!(refusal(Role::Config, text), JsonRule::Malformed, "{text}");
    }
    for role in [Role::Config, Role::ChatTemplate] {
        let refused = check_file(role, b"\x80\x04\x95").unwrap_err();
        assert_eq!(refused, Error::Json { role, rule: JsonRule::Utf8 });
    }
}

#[test]
fn case_22_refuses_depth_beyond_the_limit_wherever_it_is() {
    let lists = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let objects = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    for make in [&lists as &dyn Fn(usize) -> String, &objects] {
        check_file(Role::Config, make(MAX_JSON_DEPTH).as_bytes()).unwrap();
        assert_eq!(refusal(Role::Config, &make(MAX_JSON_DEPTH + 1)), JsonRule::TooDeep);
        assert_eq!(refusal(Role::Tokenizer, &make(100_000)), JsonRule::TooDeep);
    }
    assert_eq!(refusal(Role::Config, &"[".repeat(1 << 20)), JsonRule::TooDeep);
}

#[test]
fn case_22_refuses_repeated_keys_at_any_level() {
    for text in [r#"{"a":1,"a":1}"#, r#"[{"x":{"a":1,"b":2,"\u0061":3}}]"#] {
        assert_eq!(refusal(Role::Config, text), JsonRule::DuplicateKey, "{text}");
    }
    check_file(Role::Config, br#"{"a":{"a":1},"b":{"a":1}}"#).unwrap();
}

#[test]
fn case_22_refuses_keys_that_ask_for_code() {
    for key in ["auto_map", "custom_pipelines", "code_revision", "trust_remote_code"] {
        for value in ["true", "1", "0", "-1", "0.5", "\"\"", "{}", "[]", r#"{"AutoModel":"x.py"}"#] {
            for text in
                [format!(r#"{{"{key}":{value}}}"#), format!(r#"[{{"text_config":{{"{key}":{value}}}}}]"#)]
            {
                assert_eq!(refusal(Role::TokenizerConfig, &text), JsonRule::CodeKey, "{text}");
            }
        }
    }
    // Only the key's own value is meant, not what comes after it.
    check_file(Role::Config, br#"{"auto_map":null,"b":true}"#).unwrap();
}

#[test]
fn case_22_refuses_modules_of_the_models_own() {
    for value in ["\"custom_st.Module\"", "\"\"", "null", "1", "false", "[]", "{}"] {
        let text = format!(r#"[{{"idx":0,"type":{value}}}]"#);
        assert_eq!(refusal(Role::Modules, &text), JsonRule::ModuleType, "{text}");
        check_file(Role::Config, text.as_bytes()).unwrap();
    }
}
