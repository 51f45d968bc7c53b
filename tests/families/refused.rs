//! Relatives of supported models that compute something else are refused by name.

use mechscope::model::config::ModelConfig;
use mechscope::model::families;
use serde_json::{Value, json};

fn refusal(config: Value) -> String {
    let mut config = ModelConfig::parse("config.json", config.to_string().as_bytes()).unwrap();
    format!("{:#}", families::of(&mut config).err().expect("a refusal"))
}

#[test]
fn mixtures_of_experts_are_refused_by_their_family() {
    for (model_type, name) in
        [("mixtral", "Mixtral"), ("qwen3_moe", "Qwen3-MoE"), ("gpt_oss", "gpt-oss"), ("olmoe", "OLMoE")]
    {
        let said = refusal(json!({"model_type": model_type, "num_experts": 8}));
        assert!(said.contains(model_type) && said.contains(name) && said.contains("mixture of experts"), "{said}");
    }
}

#[test]
fn other_families_are_refused_with_the_list_of_those_that_are_read() {
    let said = refusal(json!({"model_type": "never_heard_of"}));
    for family in families::ALL {
        family.model_types.iter().for_each(|t| assert!(said.contains(t), "{t} is not in {said}"));
    }
}

#[test]
fn known_families_are_refused_with_what_they_lack() {
    for (model_type, name, lacks) in [
        ("mamba", "Mamba", "no attention"),
        ("gemma3n", "Gemma 3n", "AltUp"),
        ("bloom", "BLOOM", "ALiBi"),
        ("bert", "BERT", "does not predict the next token"),
    ] {
        let said = refusal(json!({"model_type": model_type}));
        assert!(said.contains(model_type) && said.contains(name) && said.contains(lacks), "{said}");
    }
}
