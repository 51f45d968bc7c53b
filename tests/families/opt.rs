//! What only OPT-350M has is refused, with the field that says so.

use crate::{common, read_config, with_config};
use candle_core::Device;
use mechscope::model::Model;
use mechscope::model::device::DTypeChoice;
use mechscope::model::source::Source;
use serde_json::{Value, json};

fn refusal(field: &str, value: Value) -> String {
    let mut config = read_config(&common::test_data().join("models/opt-1"));
    config.insert(field.into(), value);
    let folder = with_config("opt-1", &config);
    let source = Source::Folder { name: "opt".into(), path: folder.path().into() };
    let opened = Model::open_source(source, &Device::Cpu, DTypeChoice::F32, Box::new(|_, _| {}));
    format!("{:#}", opened.err().expect("a refusal"))
}

#[test]
fn norms_on_the_stream_and_projected_embeddings_are_refused() {
    let said = refusal("do_layer_norm_before", json!(false));
    assert!(
        said.contains("config.json") && said.contains("do_layer_norm_before") && said.contains("accepted: true"),
        "{said}"
    );
    let said = refusal("word_embed_proj_dim", json!(20));
    assert!(said.contains("word_embed_proj_dim") && said.contains("20") && said.contains("accepted: 40"), "{said}");
    for field in ["_remove_final_layer_norm", "layer_norm_elementwise_affine"] {
        let said = refusal(field, json!(field == "_remove_final_layer_norm"));
        assert!(said.contains(field), "{said}");
    }
}
