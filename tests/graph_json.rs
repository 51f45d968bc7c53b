//! Graph files: round trips, both dialects, what real writers do, and files that are broken or meant to break.

mod graph_common;

use std::path::Path;

use graph_common::random_graph;
use mechscope::graph::format::json::{DEFAULT_MEMORY, Opened, open, read, write};
use mechscope::graph::{Certificate, Edge, Edges, Graph, GraphScores, Metadata, Node, NodeKind, Scores, Supernode};
use proptest::prelude::*;
use serde_json::{Value, json};

fn parse(value: &Value) -> anyhow::Result<Opened> {
    read(value.to_string().as_bytes(), DEFAULT_MEMORY)
}

fn error(text: &str) -> String {
    format!("{:#}", read(text.as_bytes(), DEFAULT_MEMORY).unwrap_err())
}

fn written(graph: &Graph) -> Value {
    let mut bytes = Vec::new();
    write(graph, &mut bytes).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// Equal, numbers as far as `f32` tells.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64().map(|x| x as f32) == b.as_f64().map(|x| x as f32),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

fn reference(name: &str) -> (Value, Opened) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("test_data/circuit-tracer");
    let path = folder.join(format!("{name}-graph.json"));
    let value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    (value, open(&path).unwrap())
}

#[test]
fn circuit_tracers_files_round_trip_to_the_last_key() {
    for name in ["tiny-gpt2", "tiny-llama-clt"] {
        let (original, opened) = reference(name);
        assert!(opened.warnings.is_empty(), "{name}: {:?}", opened.warnings);
        let again = written(&opened.graph);
        for key in ["metadata", "qParams", "nodes"] {
            assert!(same(&original[key], &again[key]), "{name}: {key} differs");
        }
        // Links may come in another order; nothing else may change.
        let sorted = |value: &Value| {
            let mut links = value["links"].as_array().unwrap().clone();
            links.sort_by_key(|link| (link["target"].to_string(), link["source"].to_string()));
            Value::from(links)
        };
        assert!(same(&sorted(&original), &sorted(&again)), "{name}: links differ");
        assert_eq!(again.as_object().unwrap().len(), 4, "{name}: keys added");
    }
}

#[test]
fn what_circuit_tracers_files_say_is_understood() {
    let (_, opened) = reference("tiny-gpt2");
    let graph = opened.graph;
    assert_eq!((graph.nodes.len(), graph.edges.len()), (52, 582));
    assert_eq!(graph.metadata.prompt_tokens[2], " k");
    assert_eq!(graph.metadata.node_threshold, Some(0.8));
    let by_id = graph.by_id();
    let node = &graph.nodes[by_id["2_25_7"]];
    assert_eq!(node.name(), "L2.F25@7");
    assert_eq!(node.kind, NodeKind::Feature);
    let logit = &graph.nodes[by_id["4_182_7"]];
    let kind = NodeKind::Logit { token: Some(182), probability: 0.324_469_7 };
    assert_eq!((&logit.kind, logit.label.as_str()), (&kind, "\u{fffd}"));
    assert_eq!(graph.nodes[by_id["0_1_2"]].name(), "L1.error@2");
    assert_eq!(graph.nodes[by_id["E_385_2"]].name(), "embed@2");
}

#[test]
fn an_id_shared_by_an_error_and_a_feature_is_said_and_not_guessed() {
    let (original, opened) = reference("tiny-gemma2");
    assert_eq!(opened.form.shared_ids, ["0_0_1", "0_1_7", "0_2_7"]);
    assert_eq!(opened.warnings.len(), 1, "{:?}", opened.warnings);
    let graph = &opened.graph;
    let links = original["links"].as_array().unwrap();
    let shared = |link: &&Value| {
        let source = link["source"].as_str().unwrap();
        opened.form.shared_ids.iter().any(|id| id == source)
    };
    // Every link is either an edge or listed as unresolved; links into a shared id mean the feature.
    assert_eq!(graph.unresolved.len(), links.iter().filter(shared).count());
    assert_eq!(graph.edges.len() + graph.unresolved.len(), links.len());
    for (i, node) in graph.nodes.iter().enumerate() {
        if node.kind == NodeKind::Error {
            assert!(graph.edges.row(i).is_empty(), "{} has inputs", node.name());
        }
    }
    // Writing tells the two apart and keeps the rest.
    let again = parse(&written(graph)).unwrap();
    assert!(again.form.shared_ids.is_empty());
    assert_eq!(again.graph.edges, graph.edges);
    assert_eq!(again.graph.unresolved, graph.unresolved);
    let ids: Vec<&str> = again.graph.nodes.iter().map(|node| &*node.id).collect();
    assert!(ids.contains(&"0_0_1") && ids.contains(&"0_error_mlp_1"));
}

/// A file in the dialect of Neuronpedia's converter: integer layers, null features, missing keys, keys of its own.
fn neuronpedia() -> Value {
    json!({
        "metadata": {
            "slug": "crm", "scan": "qwen3-4b", "prompt": "a b", "prompt_tokens": ["a", " b"],
            "info": {"generator": {"name": "someone", "version": "2", "email": "x@y"}, "create_time_ms": 5},
            "pruning_settings": {"node_threshold": 0.7, "edge_threshold": 0.9, "other": 1},
            "feature_details": {"neuronpedia_source_set": "s"}, "node_threshold": 0.6, "schema_version": 1
        },
        "qParams": {},
        "nodes": [
            {"node_id": "E_5_0", "feature": null, "layer": "E", "ctx_idx": 0, "feature_type": "embedding", "jsNodeId": "E_5_0", "clerp": "Emb: \"a\"", "token": "a"},
            {"node_id": "3_cro_17_1", "feature": 227, "layer": 3, "ctx_idx": 1, "feature_type": "cross layer transcoder", "jsNodeId": "3_cro_17_1", "clerp": "F227", "activation": null, "influence": null},
            {"node_id": "3_lor_8_1", "feature": 74, "layer": 3, "ctx_idx": 1, "feature_type": "lorsa", "jsNodeId": "3_lor_8_1", "clerp": "", "qk_tracing_results": {"pair_wise_contributors": [["a", "b", 0.5]]}},
            {"node_id": "2_error_mlp_1", "feature": null, "layer": 2, "ctx_idx": 1, "feature_type": "mlp reconstruction error", "jsNodeId": "2_error_mlp_1", "clerp": "Err: mlp \" b\""},
            {"node_id": "2_error_attn_1", "feature": null, "layer": 2, "ctx_idx": 1, "feature_type": "lorsa error", "jsNodeId": "2_error_attn_1", "clerp": ""},
            {"node_id": "1_bias_attn_bO_1", "feature": null, "layer": 1, "ctx_idx": 1, "feature_type": "bias", "jsNodeId": "1_bias_attn_bO_1", "clerp": "L1 Bias (attn_bO)"},
            {"node_id": "1_unknown_x_1", "feature": null, "layer": 1, "ctx_idx": 1, "feature_type": "unknown", "jsNodeId": "1_unknown_x_1", "clerp": "x"},
            {"node_id": "4_9_1", "feature": 9, "layer": 4, "ctx_idx": 1, "feature_type": "logit", "jsNodeId": "4_9_1", "clerp": "Logit \" c\" (p=0.25)"}
        ],
        "links": [
            {"source": "E_5_0", "target": "3_cro_17_1", "weight": 1},
            {"source": "3_cro_17_1", "target": "4_9_1", "weight": -0.5, "note": "kept"},
            {"source": "1_bias_attn_bO_1", "target": "4_9_1", "weight": 0.1}
        ],
        "qk_only_nodes": {"q": {"layer": 1}}
    })
}

#[test]
fn neuronpedias_dialect_round_trips() {
    let original = neuronpedia();
    let opened = parse(&original).unwrap();
    assert!(opened.warnings.is_empty(), "{:?}", opened.warnings);
    let graph = &opened.graph;
    let kinds: Vec<&str> = graph.nodes.iter().map(|node| node.kind.name()).collect();
    let expected = ["embedding", "feature", "lorsa", "error", "error", "bias", "unknown", "logit"];
    assert_eq!(kinds, expected);
    assert_eq!(graph.nodes[1].name(), "L3.F17@1");
    assert_eq!(graph.metadata.edge_threshold, Some(0.9));
    assert_eq!(graph.metadata.generator.as_ref().unwrap().name, "someone");
    let NodeKind::Logit { probability, .. } = graph.nodes[7].kind else {
        panic!("{:?}", graph.nodes[7]);
    };
    assert_eq!((probability, graph.nodes[7].label.as_str()), (0.25, " c"));

    // Everything that was there is there again; only what the schema lets be absent is added.
    let again = written(graph);
    for (key, value) in original["metadata"].as_object().unwrap() {
        assert!(same(value, &again["metadata"][key]), "metadata.{key}");
    }
    let nodes = original["nodes"].as_array().unwrap();
    for (i, node) in nodes.iter().enumerate() {
        for (key, value) in node.as_object().unwrap() {
            assert!(same(value, &again["nodes"][i][key]), "nodes[{i}].{key}");
        }
    }
    assert_eq!(again["links"].as_array().unwrap().len(), 3);
    assert!(again["links"].to_string().contains("\"note\":\"kept\""));
    assert_eq!(again["qk_only_nodes"], original["qk_only_nodes"]);
    assert_eq!(parse(&again).unwrap().graph.nodes, graph.nodes);
}

#[test]
fn legacy_numbers_and_ids_give_the_index() {
    let index = |id: &str, feature: Value| {
        let mut file = neuronpedia();
        let node = &mut file["nodes"][1];
        node["node_id"] = json!(id);
        node["feature"] = feature;
        file["links"] = json!([]);
        parse(&file).unwrap().graph.nodes[1].index
    };
    assert_eq!(index("3_17_1", json!(300_017)), Some(17));
    assert_eq!(index("whatever", json!(300_017)), Some(17));
    assert_eq!(index("whatever", json!(227)), Some(17));
    assert_eq!(index("whatever", json!(-1)), None);
}

#[test]
fn saved_parameters_as_strings_become_lists() {
    let mut file = neuronpedia();
    file["qParams"] = json!({
        "pinnedIds": "E_5_0,4_9_1", "supernodes": "[[\"state\",\"3_cro_17_1\"]]", "clerps": "[[\"3_lor_8_1\",\"my label\"]]",
        "linkType": "either", "pruningThreshold": 0.4
    });
    let opened = parse(&file).unwrap();
    assert_eq!(opened.form.qparams_strings, ["pinnedIds", "supernodes", "clerps"]);
    let view = &opened.graph.view;
    assert_eq!(view.pinned, ["E_5_0", "4_9_1"]);
    let group = Supernode { label: "state".to_owned(), members: vec!["3_cro_17_1".to_owned()] };
    assert_eq!(view.supernodes, [group]);
    assert_eq!(opened.graph.nodes[2].label, "my label");
    let again = written(&opened.graph);
    let expected = json!({
        "pinnedIds": ["E_5_0", "4_9_1"], "supernodes": [["state", "3_cro_17_1"]], "clerps": [["3_lor_8_1", "my label"]],
        "linkType": "either", "pruningThreshold": 0.4, "clickedId": "", "sg_pos": ""
    });
    assert_eq!(again["qParams"], expected);
}

/// A graph with everything of our own: neurons, positional embeddings, a bias, certificates, quotes in a token, a contrast.
fn ours() -> Graph {
    let mut nodes = vec![
        Node::bias(),
        Node::embedding(7, 0),
        Node::positional_embedding(0),
        Node::neuron(0, 5, 0, 0.25),
        Node::error(0, 0),
        Node::logit(9, "say \"hi\"", 0.5, 2, 0),
        Node::contrast("\" a\" - \" b\"", 2, 0),
    ];
    nodes[3].certificate = Some(Certificate { value: 0.25, bias: 0.1, residual: 1e-8, abs_sum: 0.4, unexplained: 0.0 });
    nodes[3].label = "a label".to_owned();
    let edge = |target, source, weight| Edge { target, source, weight };
    let list = vec![
        edge(3, 1, 0.1),
        edge(3, 2, 1.0 / 3.0),
        edge(3, 0, -0.5),
        edge(5, 3, 2.0),
        edge(5, 0, 0.125),
        edge(6, 4, -1e-7),
    ];
    let (edges, _) = Edges::from_list(7, list).unwrap();
    let metadata = Metadata {
        slug: "ours".to_owned(),
        prompt: "x".to_owned(),
        prompt_tokens: vec!["x".to_owned()],
        prompt_ids: vec![7],
        model: Some("./models/x".to_owned()),
        dictionary: Some("./transcoders".to_owned()),
        target: Some("\" a\" - \" b\"".to_owned()),
        scores: Some(GraphScores {
            whole: Some(Scores { replacement: Some(f64::from(0.1f32)), completeness: None }),
            pruned: None,
        }),
        partial: true,
        schema_version: Some(1),
        ..Metadata::default()
    };
    Graph::new(metadata, nodes, edges).unwrap()
}

#[test]
fn our_own_graphs_come_back_whole() {
    let graph = ours();
    let file = written(&graph);
    let opened = parse(&file).unwrap();
    assert!(opened.warnings.is_empty(), "{:?}", opened.warnings);
    let mut expected = graph;
    // What the writer adds for the viewers' sake comes back as parameters like any others.
    expected.view.extras = opened.graph.view.extras.clone();
    expected.metadata.extras = opened.graph.metadata.extras.clone();
    assert_eq!(opened.graph, expected);
    assert_eq!(written(&opened.graph), file);
}

// Checks T8 of ARCHITECTURE.md.
#[test]
fn our_own_files_avoid_the_traps() {
    let file = written(&ours());
    let nodes = file["nodes"].as_array().unwrap();
    let known = ["cross layer transcoder", "mlp reconstruction error", "embedding", "logit"];
    for node in nodes {
        let kind = node["feature_type"].as_str().unwrap();
        assert!(known.contains(&kind), "trap 8: {kind}");
        for key in ["node_id", "feature", "layer", "ctx_idx", "jsNodeId", "clerp"] {
            assert!(node.get(key).is_some(), "{key} of {node}");
        }
        if kind == "logit" {
            let clerp = node["clerp"].as_str().unwrap();
            assert_eq!(clerp.matches('"').count(), 2, "trap 2: {clerp}");
            assert!(clerp.contains("(p="), "trap 2: {clerp}");
        }
    }
    assert_eq!(nodes.len(), 6, "the bias is kept apart");
    assert_eq!(nodes[3]["node_id"], "0_error_mlp_0");
    assert!(file["qParams"]["pinnedIds"].is_array(), "traps 5 and 7");
    assert_eq!(nodes[2]["feature"], 20, "Cantor(0, 5)");
    assert_eq!(file["metadata"].get("feature_details"), None, "trap 9");
}

#[test]
fn broken_files_are_told_apart_in_one_line() {
    let node = r#"{"node_id":"a","layer":"0","ctx_idx":0,"feature_type":"embedding"}"#;
    let file =
        |nodes: &str, links: &str| format!(r#"{{"metadata":{{}},"qParams":{{}},"nodes":[{nodes}],"links":[{links}]}}"#);
    let cases = [
        ("", "the file is cut short: EOF"),
        ("[1, 2]", "invalid type: sequence, expected an object with metadata, qParams, nodes and links"),
        ("{}", "no \"nodes\""),
        (r#"{"nodes":[]}"#, "no \"links\""),
        (r#"{"nodes":[],"nodes":[],"links":[]}"#, "key \"nodes\" is there twice"),
        (r#"{"nodes":[],"links":[]} x"#, "trailing characters"),
        (r#"{"metadata":{"slug":3},"nodes":[],"links":[]}"#, "metadata: slug: found 3, expected a string"),
        (r#"{"metadata":[],"nodes":[],"links":[]}"#, "metadata: invalid type: sequence, expected an object"),
        (r#"{"qParams":[],"nodes":[],"links":[]}"#, "qParams: found [], expected an object"),
        (r#"{"qParams":{"supernodes":[3]},"nodes":[],"links":[]}"#, "qParams: supernodes: found 3, expected a list"),
        (r#"{"mechscope":3,"nodes":[],"links":[]}"#, "mechscope: expected an object"),
        (&file(node, "")[..60], "nodes[0]"),
        (&file("{}", ""), "nodes[0]: node_id: missing"),
        (&file(r#"{"node_id":"a"}"#, ""), "nodes[0]: feature_type: missing"),
        (&file(&format!("{node},{node}"), ""), "nodes 0 and 1 have the same id \"a\""),
        (&file(&node.replace("\"0\"", "[]"), ""), "nodes[0]: layer: found [], expected a string or a whole number"),
        (&file(&node.replace("\"0\"", "-3"), ""), "nodes[0]: layer: found -3, expected a whole number from 0"),
        (
            &file(&node.replace("\"0\"", "\"4294967295\""), ""),
            "nodes[0]: layer: found \"4294967295\", expected at most 1000000",
        ),
        (&file(&node.replace("\"0\"", "99999999999"), ""), "nodes[0]: layer: found 99999999999, expected at most"),
        (&file(&node.replace(":0", ":1e99"), ""), "nodes[0]: ctx_idx: found 1e+99"),
        (
            &file(&node.replace("\"node_id\"", "\"activation\":1e99,\"node_id\""), ""),
            "activation: found 1e+99, expected a 32-bit number or null",
        ),
        (&file(&node.replace("\"node_id\"", "\"node_id\":\"b\",\"node_id\""), ""), "key \"node_id\" is there twice"),
        (&file(node, r#"{"source":"a","target":"a","weight":1}"#), "links[0]: from \"a\" to itself"),
        (&file(node, r#"{"source":"a","weight":1}"#), "links[0].target: missing"),
        (&file(node, r#"{"source":"a","target":"a","weight":NaN}"#), "links[0].weight: expected value"),
        (
            &file(node, r#"{"source":"a","target":"a","weight":null}"#),
            "links[0].weight: invalid type: null, expected a finite number",
        ),
        (&file(node, r#"{"source":"a","target":"a","weight":1e39}"#), "links[0].weight: found 1"),
        (&file(node, r#"{"source":"a","target":"a","weight":1e400}"#), "links[0].weight: number out of range"),
        (
            &file(
                &format!("{node},{}", node.replace("\"a\"", "\"b\"")),
                &[r#"{"source":"a","target":"b","weight":3e38}"#; 3].join(","),
            ),
            "links \"a\" -> \"b\": their weights add up to more than a 32-bit number holds",
        ),
        (
            &file(node, r#"{"source":[],"target":"a","weight":1}"#),
            "links[0].source: invalid type: sequence, expected the id of a node",
        ),
    ];
    for (text, expected) in cases {
        let found = error(text);
        assert!(found.contains(expected), "{text}\n  gives {found}\n  expected {expected}");
        assert!(!found.contains('\n'), "{found}");
    }
}

#[test]
fn a_file_on_disk_names_itself_and_shows_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.json");
    std::fs::write(&path, "{\"nodes\":[],\n\"links\":[{\"source\":\"a\",\"target\":\"b\",\"weight\":NaN}]}").unwrap();
    let text = format!("{:#}", open(&path).unwrap_err());
    assert!(text.contains("bad.json") && text.contains("NaN") && text.contains("links[0].weight"), "{text}");
    let text = format!("{:#}", open(&folder.path().join("none.json")).unwrap_err());
    assert!(text.contains("none.json"), "{text}");
    assert!(open(folder.path()).is_err());
    for (bytes, expected) in [(&b"PK\x03\x04zip"[..], "circuit-tracer write JSON"), (b"\x1f\x8b\x08\0", "gzip")] {
        std::fs::write(&path, bytes).unwrap();
        let text = format!("{:#}", open(&path).unwrap_err());
        assert!(text.contains("bad.json") && text.contains(expected), "{text}");
    }
}

#[test]
fn contradictions_that_can_be_lived_with_are_warnings() {
    let mut file = neuronpedia();
    let links = file["links"].as_array_mut().unwrap();
    links.push(json!({"source": "ghost", "target": "4_9_1", "weight": 1.0}));
    links.push(json!({"source": "E_5_0", "target": "3_cro_17_1", "weight": 0.5}));
    file["nodes"][1]["ctx_idx"] = json!(99);
    let opened = parse(&file).unwrap();
    let text: Vec<String> = opened.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(text.len(), 3, "{text:?}");
    assert!(text[0].contains("\"ghost\" -> \"4_9_1\""), "{text:?}");
    assert!(text[1].contains("more than once"), "{text:?}");
    assert!(text[2].contains("past the prompt's 2 tokens"), "{text:?}");
    assert_eq!((opened.form.lost_links, opened.form.repeated_links), (1, 1));
    assert_eq!(opened.graph.edges.weight(1, 0), Some(1.5));
}

#[test]
fn depth_length_and_size_are_bounded() {
    let deep = format!("{{\"x\":{}", "[".repeat(100_000));
    assert!(error(&deep).contains("recursion limit"), "{}", error(&deep));

    let long = format!("{{\"x\":\"{}", "a".repeat(17 << 20));
    assert!(error(&long).contains("a string of more than 16 MiB"), "{}", error(&long));

    // A list of numbers takes far more memory than its text: refused at the limit, not after.
    let many = format!("{{\"x\":[{}0]}}", "0,".repeat(1 << 20));
    let text = format!("{:#}", read(many.as_bytes(), 8 << 20).unwrap_err());
    assert!(text.contains("needs more than 8 MiB of memory: refused"), "{text}");

    let node = "{\"node_id\":\"a\",\"feature_type\":\"logit\"},";
    let nodes = format!("{{\"nodes\":[{}", node.repeat(100_000));
    let text = format!("{:#}", read(nodes.as_bytes(), 8 << 20).unwrap_err());
    assert!(text.contains("refused"), "{text}");

    let link = "{\"source\":\"a\",\"target\":\"b\",\"weight\":1},";
    let links = format!("{{\"links\":[{}", link.repeat(1 << 20));
    let text = format!("{:#}", read(links.as_bytes(), 8 << 20).unwrap_err());
    assert!(text.contains("refused") && text.contains("links["), "{text}");
}

proptest! {
    // Checks T8 of ARCHITECTURE.md.
    #[test]
    fn any_graph_comes_back(graph in random_graph(40)) {
        let opened = parse(&written(&graph)).unwrap();
        prop_assert!(opened.warnings.is_empty());
        prop_assert_eq!(opened.graph.nodes, graph.nodes);
        prop_assert_eq!(opened.graph.edges, graph.edges);
    }
}
