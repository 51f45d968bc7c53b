//! How a prompt reaches the model: chat templates, BOS, what was decided about settings and lengths; and edits of features.

use crate::graph::{hello, node_name};
use crate::harness::Harness;
use mechscope::app::pane::RequestState;
use mechscope::app::session::Session;
use mechscope::app::{Slot, Tab};
use std::path::{Path, PathBuf};

/// A copy of a model of the tests whose tokenizer has a chat template and whose config.json has a field that nobody reads.
fn chatty() -> (tempfile::TempDir, PathBuf) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("test_data/models/tiny-gpt2");
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("chatty");
    std::fs::create_dir(&to).unwrap();
    for file in std::fs::read_dir(from).unwrap().flatten() {
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
    let change = |name: &str, key: &str, value: serde_json::Value| {
        let file = to.join(name);
        let text = std::fs::read_to_string(&file).unwrap_or_else(|_| "{}".into());
        let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
        json[key] = value;
        std::fs::write(file, json.to_string()).unwrap();
    };
    let template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:";
    change("tokenizer_config.json", "chat_template", template.into());
    change("config.json", "favourite_colour", "blue".into());
    (folder, to)
}

#[test]
fn a_prompt_goes_into_the_chat_template_and_out_again() {
    let (_folder, model) = chatty();
    let mut session = Session::new(&model.display().to_string());
    session.prompt = Some("The king".into());
    let mut h = Harness::of(session, 80, 24);
    assert_eq!(h.app.pane(Slot::Next).state, RequestState::Idle, "{:?}", h.app.message);
    let before = h.app.tokens();
    h.press("g t");
    assert_eq!(h.app.prompt.as_deref(), Some("user: The king\nassistant:"));
    assert!(h.app.tokens() > before && h.app.pane(Slot::Next).fresh);
    let said = h.app.message.as_deref().unwrap_or_default().to_owned();
    assert!(said.contains(&format!("{} tokens", h.app.tokens())) && said.contains("g t takes it out"), "{said}");
    assert!(h.screen().contains("us│er│:│·The"), "its tokens are shown: {}", h.screen());
    h.press("g t");
    assert_eq!((h.app.prompt.as_deref(), h.app.tokens()), (Some("The king"), before));
    h.press("g T");
    h.type_text("Be brief.");
    h.press("Enter");
    assert_eq!(h.app.prompt.as_deref(), Some("system: Be brief.\nuser: The king\nassistant:"));
    h.press("g t");
    assert_eq!(h.app.prompt.as_deref(), Some("The king"));
}

#[test]
fn a_model_without_a_template_says_so() {
    let mut h = Harness::new(80, 24);
    h.press("g t");
    let said = h.app.message.as_deref().unwrap_or_default();
    assert!(said.contains("has no chat template") && said.contains("accepted"), "{said}");
    assert_eq!(h.app.prompt.as_deref(), Some("qwertyuiopqwerty"));
}

#[test]
fn what_was_decided_about_a_prompt_stands_under_its_tokens() {
    let mut h = Harness::new(80, 24);
    assert!(h.screen().contains("BOS added (token"), "{}", h.screen());
    let (_folder, model) = chatty();
    let mut h = Harness::of(Session::new(&model.display().to_string()), 80, 24);
    let screen = h.screen();
    assert!(
        screen.contains("BOS") && screen.contains("config.json") && screen.contains("favourite_colour"),
        "{screen}"
    );
    // A prompt that begins with the BOS that is added.
    let mut h = Harness::of(Session::new("hello"), 80, 24);
    let bos = h.app.next.as_ref().unwrap().tokens[0].text.clone();
    h.press("i Ctrl-u");
    h.type_text(&format!("{bos}The capital of"));
    h.press("Enter");
    let next = h.app.next.as_ref().unwrap();
    assert_eq!(next.tokens.iter().filter(|token| token.text == bos).count(), 2, "{:?}", next.tokens);
    assert!(next.warnings[0].contains("begins with it"), "{:?}", next.warnings);
    assert!(h.app.message.as_deref().is_some_and(|m| m.contains("--bos never")), "{:?}", h.app.message);
    assert!(h.screen().contains("begins with it"));
}

#[test]
fn a_feature_is_edited_as_any_unit() {
    let mut h = hello(110, 30);
    h.press("b");
    let mut feature = String::new();
    for _ in 0..20 {
        h.press("J");
        feature = node_name(&h);
        if feature.contains(".F") {
            break;
        }
    }
    assert!(feature.contains(".F"), "{feature}");
    h.press("0");
    let edit = h.app.edits.on()[0].to_string();
    assert_eq!(edit, format!("{feature}=0"));
    assert_eq!(h.app.pane(Slot::Next).state, RequestState::Idle, "{:?}", h.app.message);
    let (before, after) = h.app.target_probability().expect("what the edit did");
    assert_ne!(before, after, "{edit}");
    assert!(h.app.message.as_deref().is_some_and(|m| m.contains(&edit)), "{:?}", h.app.message);
    // The heads of the edited run too, and the command that says the same.
    h.press("3");
    assert_eq!(h.app.pane(Slot::Heads).state, RequestState::Idle);
    h.press("1 c c");
    assert!(h.copied().starts_with("mechscope intervene ") && h.copied().contains(&edit), "{}", h.copied());
    h.press("u 5");
    assert_eq!((h.app.tab, h.app.edits.on().len()), (Tab::Graph, 0));
}
