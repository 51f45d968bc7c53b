//! The checker: one file for each trap, and none for clean files.

mod graph_common;

use std::path::Path;

use graph_common::seeded_graph;
use mechscope::graph::format::json::{DEFAULT_MEMORY, Opened, open, read, write};
use mechscope::graph::lint::{Finding, LintSeverity, Viewer, check};
use serde_json::{Value, json};

fn checked(file: &Value) -> Vec<Finding> {
    check(&read(file.to_string().as_bytes(), DEFAULT_MEMORY).unwrap())
}

/// A file that both viewers open.
fn clean() -> Value {
    let node = |id: &str, kind: &str, layer: &str, feature: i64, clerp: &str| json!({"node_id": id, "feature": feature, "layer": layer, "ctx_idx": 1, "feature_type": kind, "jsNodeId": id, "clerp": clerp, "token_prob": 0.0});
    let mut logit = node("3_9_1", "logit", "3", 9, "Output \" c\" (p=0.250)");
    logit["token_prob"] = json!(0.25);
    json!({
        "metadata": {"slug": "a", "scan": "gpt2", "prompt": "a b", "prompt_tokens": ["a", " b"], "schema_version": 1},
        "qParams": {"pinnedIds": [], "supernodes": [], "linkType": "both", "clickedId": "", "sg_pos": ""},
        "nodes": [
            node("E_5_1", "embedding", "E", 1, ""),
            node("2_4_1", "cross layer transcoder", "2", 25, ""),
            node("2_error_mlp_1", "mlp reconstruction error", "2", -1, ""),
            logit
        ],
        "links": [
            {"source": "E_5_1", "target": "2_4_1", "weight": 1.0},
            {"source": "2_4_1", "target": "3_9_1", "weight": 0.5},
            {"source": "2_error_mlp_1", "target": "3_9_1", "weight": 0.5}
        ]
    })
}

#[test]
fn a_clean_file_has_no_findings() {
    assert_eq!(checked(&clean()), []);
}

#[test]
fn each_trap_is_found_and_blamed_on_the_right_viewer() {
    use LintSeverity::{Error, Note, Warning};
    use Viewer::{Both, CircuitTracer, Neuronpedia};
    type Break = fn(&mut Value);
    let cases: [(u8, LintSeverity, Viewer, Break); 22] = [
        (1, Error, Both, |f| {
            f["nodes"][1]["node_id"] = json!("0_2_1");
            f["nodes"][2]["node_id"] = json!("0_2_1");
            f["links"] = json!([{"source": "E_5_1", "target": "3_9_1", "weight": 1.0}]);
        }),
        (2, Error, Both, |f| f["nodes"][3]["clerp"] = json!("Output c")),
        (2, Note, Both, |f| f["nodes"][3]["clerp"] = json!("Output \"say \"c\"\" (p=0.250)")),
        (3, Error, Neuronpedia, |f| {
            f["nodes"][1]["layer"] = json!("0");
            f["nodes"][2]["layer"] = json!("0");
        }),
        (4, Note, Both, |f| f["nodes"][3]["layer"] = json!("9")),
        (5, Error, Neuronpedia, |f| f["qParams"]["pinnedIds"] = json!("2_4_1")),
        (6, Warning, CircuitTracer, |f| f["qParams"]["supernodes"] = json!([["say c", "2_4_1"]])),
        (7, Error, Both, |f| f["qParams"] = json!(null)),
        (8, Warning, Neuronpedia, |f| f["nodes"][2]["feature_type"] = json!("bias")),
        (8, Warning, Neuronpedia, |f| f["nodes"][2]["feature_type"] = json!("unexplored node")),
        (8, Note, Neuronpedia, |f| f["nodes"][2]["feature_type"] = json!("lorsa error")),
        (9, Note, Neuronpedia, |f| f["metadata"]["feature_details"] = json!({"neuronpedia_source_set": "s"})),
        (9, Warning, Neuronpedia, |f| {
            f["metadata"]["feature_details"] = json!({"neuronpedia_source_set": "s"});
            f["nodes"][1]["mechscope"] = json!({"kind": "neuron"});
        }),
        (10, Note, Neuronpedia, |f| f["metadata"]["node_threshold"] = json!(0.8)),
        (11, Warning, CircuitTracer, |f| f["metadata"]["prompt_tokens"] = json!(["a b"])),
        (0, Error, Neuronpedia, |f| {
            f["metadata"].as_object_mut().unwrap().remove("scan");
        }),
        (0, Error, Neuronpedia, |f| {
            f["nodes"][1].as_object_mut().unwrap().remove("jsNodeId");
        }),
        (0, Warning, Neuronpedia, |f| f["metadata"]["slug"] = json!("my graph")),
        (0, Warning, Both, |f| f["links"][0]["source"] = json!("ghost")),
        (0, Warning, Both, |f| {
            f["nodes"][3]["token_prob"] = json!(0.0);
            f["nodes"][3]["clerp"] = json!("Output \" c\" (p=0.000)");
        }),
        (0, Error, Neuronpedia, |f| {
            f["nodes"][2]["feature_type"] = json!("cross layer transcoder");
            f["links"][0] = json!({"source": "2_4_1", "target": "2_error_mlp_1", "weight": 1.0});
            f["links"][1] = json!({"source": "2_error_mlp_1", "target": "2_4_1", "weight": 1.0});
        }),
        (0, Warning, Neuronpedia, |f| f["links"][2] = f["links"][1].clone()),
    ];
    for (i, (trap, severity, viewer, breaks)) in cases.into_iter().enumerate() {
        let mut file = clean();
        breaks(&mut file);
        let findings = checked(&file);
        let found = |finding: &Finding| (finding.trap, finding.severity, finding.viewer) == (trap, severity, viewer);
        assert!(findings.iter().any(found), "case {i}, trap {trap}: {findings:?}");
    }
}

/// What is wrong, what is done to a clean file, and words of the finding.
type Case = (LintSeverity, Viewer, fn(&mut Value), &'static str);

#[test]
fn each_field_is_checked_for_type_range_and_what_it_names() {
    use LintSeverity::{Error, Warning};
    use Viewer::{Both, Neuronpedia};
    let cases: [Case; 15] = [
        (
            Error,
            Neuronpedia,
            |f| {
                f["nodes"][1]["node_id"] = json!(7);
                f["links"][0]["target"] = json!("7");
                f["links"][1]["source"] = json!("7");
            },
            "1 nodes have a node_id that is no text (first 7)",
        ),
        (Error, Neuronpedia, |f| f["links"][0]["source"] = json!(5), "1 ends of links are no text"),
        (Error, Both, |f| f["nodes"][1]["layer"] = json!(null), "layer that is no number (first \"2_4_1\": null)"),
        (Error, Both, |f| f["nodes"][1]["layer"] = json!("E"), "layer that is no number (first \"2_4_1\": \"E\")"),
        (Error, Both, |f| f["nodes"][3]["layer"] = json!(null), "layer that is no number (first \"3_9_1\": null)"),
        (Error, Both, |f| f["nodes"][1]["ctx_idx"] = json!(null), "ctx_idx that is no position (first \"2_4_1\")"),
        (Warning, Both, |f| f["nodes"][1]["feature"] = json!(-7), "(first \"2_4_1\": -7): another feature is shown"),
        (Warning, Both, |f| f["nodes"][1]["feature"] = json!(1e30), "1 features have a number that contradicts"),
        (Warning, Both, |f| f["nodes"][1]["feature"] = json!(26), "(first \"2_4_1\": 26)"),
        (Warning, Both, |f| f["nodes"][3]["token_prob"] = json!(5.0), "token_prob outside 0 to 1 (first \"3_9_1\": 5)"),
        (
            Warning,
            Both,
            |f| f["metadata"]["node_threshold"] = json!(7),
            "node_threshold 7: expected a share from 0 to 1",
        ),
        (
            Warning,
            Both,
            |f| f["metadata"]["pruning_settings"] = json!({"edge_threshold": -0.5}),
            "edge_threshold -0.5: expected a share from 0 to 1",
        ),
        (
            Warning,
            Both,
            |f| f["metadata"]["prompt_tokens"] = json!(["a b"]),
            "4 nodes are past the end of prompt_tokens, 1 long (first \"E_5_1\": ctx_idx 1)",
        ),
        (
            Warning,
            Both,
            |f| f["qParams"]["pinnedIds"] = json!(["E_5_1", "ghost"]),
            "1 pins name nodes that are not there",
        ),
        (
            Warning,
            Neuronpedia,
            |f| f["qParams"]["supernodes"] = json!([["g", "2_4_1", "ghost"]]),
            "1 members of supernodes are not there (first \"ghost\")",
        ),
    ];
    for (i, (severity, viewer, breaks, words)) in cases.into_iter().enumerate() {
        let mut file = clean();
        breaks(&mut file);
        let findings = checked(&file);
        let found = |finding: &Finding| {
            (finding.trap, finding.severity, finding.viewer) == (0, severity, viewer) && finding.message.contains(words)
        };
        assert!(findings.iter().any(found), "case {i}: {findings:?}");
    }
    // What older files and other writers do is no contradiction.
    for feature in [json!(200_004), json!(null), json!(25)] {
        let mut file = clean();
        file["nodes"][1]["feature"] = feature;
        assert_eq!(checked(&file), []);
    }
}

#[test]
fn size_is_judged_by_the_file_and_by_its_links() {
    let mut opened: Opened = read(clean().to_string().as_bytes(), DEFAULT_MEMORY).unwrap();
    opened.form.bytes = 101 << 20;
    let findings = check(&opened);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!((findings[0].trap, findings[0].severity), (12, LintSeverity::Error));
    assert!(findings[0].to_string().starts_with("error    Neuronpedia     [12] 105 MB"), "{}", findings[0]);
}

#[test]
fn circuit_tracers_own_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("test_data/circuit-tracer");
    let errors = |name: &str| {
        let findings = check(&open(&folder.join(name)).unwrap());
        let errors = findings.into_iter().filter(|finding| finding.severity == LintSeverity::Error);
        errors.map(|finding| finding.trap).collect::<Vec<_>>()
    };
    assert_eq!(errors("tiny-gpt2-graph.json"), [0u8; 0]);
    assert_eq!(errors("tiny-gemma2-graph.json"), [1]);
}

#[test]
fn what_we_write_has_no_errors_and_no_warnings() {
    for seed in 0..20 {
        let mut graph = seeded_graph(60, seed, 0.5);
        graph.metadata.prompt_tokens = vec!["x".to_owned(); 60];
        let mut file = Vec::new();
        write(&graph, &mut file).unwrap();
        let findings = check(&read(file.as_slice(), DEFAULT_MEMORY).unwrap());
        let bad: Vec<_> = findings.iter().filter(|finding| finding.severity < LintSeverity::Note).collect();
        assert!(bad.is_empty(), "{bad:?}");
    }
}
