//! Chat templates make the prompts that transformers makes of them.

mod common;

use common::test_data;
use mechscope::model::text::chat::{Chat, ChatMessage};
use serde_json::{Value, json};

fn role(name: &str) -> &'static str {
    ["system", "user", "assistant"].into_iter().find(|r| *r == name).unwrap()
}

#[test]
fn prompts_equal_those_of_transformers() {
    let known: Value =
        serde_json::from_slice(&std::fs::read(test_data().join("chat_templates.json")).unwrap()).unwrap();
    let special: Vec<(String, String)> = known["special"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned()))
        .collect();
    let cases = known["cases"].as_array().unwrap();
    assert!(cases.len() >= 80);
    for case in cases {
        let name = case["template"].as_str().unwrap();
        let chat = Chat::new("here", known["templates"][name].as_str().unwrap().to_owned(), special.clone());
        let message =
            |m: &Value| ChatMessage { role: role(m[0].as_str().unwrap()), content: m[1].as_str().unwrap().to_owned() };
        let messages: Vec<ChatMessage> = case["messages"].as_array().unwrap().iter().map(message).collect();
        let made = chat.prompt(&messages, case["add_generation_prompt"].as_bool().unwrap());
        match case.get("error") {
            Some(said) => {
                let error = format!("{:#}", made.unwrap_err());
                assert!(error.contains(said.as_str().unwrap()) && error.starts_with("here"), "{name}: {error}");
            }
            None => assert_eq!(made.unwrap(), case["prompt"], "{name}, {}", case["chat"]),
        }
    }
}

#[test]
fn a_template_is_found_in_each_of_its_files() {
    let user = [ChatMessage { role: "user", content: "x".into() }];
    let prompt = |jinja: Option<&str>, config: Value, map: Option<&str>| {
        let config = config.to_string();
        let chat = Chat::from_files("m", jinja.map(str::as_bytes), Some(config.as_bytes()), map.map(str::as_bytes));
        chat.map(|chat| chat.map(|chat| chat.prompt(&user, true).unwrap()))
    };
    let config = json!({"chat_template": "{{ bos_token }}1", "bos_token": {"content": "<b>"}});
    assert_eq!(prompt(None, config.clone(), None).unwrap().unwrap(), "<b>1");
    // As transformers 4.57: the file by itself goes first, and the map of special tokens overrules a config without added_tokens_decoder.
    assert_eq!(
        prompt(Some("{{ bos_token }}2"), config.clone(), Some(r#"{"bos_token": "<c>"}"#)).unwrap().unwrap(),
        "<c>2"
    );
    let list = json!({"chat_template": [{"name": "tool", "template": "t"}, {"name": "default", "template": "d"}]});
    assert_eq!(prompt(None, list, None).unwrap().unwrap(), "d");
    assert_eq!(prompt(None, json!({}), None).unwrap(), None);
    assert!(prompt(None, json!({"chat_template": 3}), None).is_err());
    let broken = Chat::new("m: chat_template.jinja", "{% if %}".into(), Vec::new());
    let error = format!("{:#}", broken.prompt(&user, true).unwrap_err());
    assert!(error.starts_with("m: chat_template.jinja, line 1"), "{error}");
}
