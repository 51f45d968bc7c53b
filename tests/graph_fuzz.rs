//! Mutated graph files: each gives a graph or one error, never a panic, and whatever is read can be pruned, drawn, checked and
//! written again.
//!
//! `MECHSCOPE_FUZZ` sets the number of inputs; a million takes some minutes on two cores.

mod graph_common;

use std::time::Instant;

use graph_common::seeded_graph;
use mechscope::graph::format::json::{read, write};
use mechscope::graph::format::{dot, text, tsv};
use mechscope::graph::group::{collapse, groups};
use mechscope::graph::lint::check;
use mechscope::graph::tree::{Limits, strongest_paths};
use mechscope::graph::{Influence, Supernode, Thresholds, prune};

/// xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
}

/// Small valid files to start from: our own, and one in the other dialect.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = (0..4)
        .map(|seed| {
            let mut graph = seeded_graph(6 + 2 * seed as usize, seed, 0.5);
            graph.metadata.prompt_tokens = vec!["a".to_owned(), "\u{202e}b".to_owned()];
            graph.view.pinned = vec![graph.nodes[0].id.to_string()];
            let members = graph.nodes[1..3].iter().map(|node| node.id.to_string());
            graph.view.supernodes = vec![Supernode { label: "g".to_owned(), members: members.collect() }];
            let mut file = Vec::new();
            write(&graph, &mut file).unwrap();
            file
        })
        .collect();
    seeds.push(
        br#"{"metadata":{"slug":"s","scan":"m","prompt":"a","prompt_tokens":["a"],"node_threshold":0.6,"info":{"generator":{"name":"x"}}},
"qParams":{"pinnedIds":"E_1_0","supernodes":"[[\"g\",\"2_cro_3_0\"]]","clerps":"[[18,\"l\"]]"},
"nodes":[{"node_id":"E_1_0","feature":null,"layer":"E","ctx_idx":0,"feature_type":"embedding","clerp":"Emb: \"a\"","token":"a"},
{"node_id":"2_cro_3_0","feature":18,"layer":2,"ctx_idx":0,"feature_type":"cross layer transcoder","clerp":"","activation":0.5},
{"node_id":"0_1_0","feature":-1,"layer":"1","ctx_idx":0,"feature_type":"mlp reconstruction error"},
{"node_id":"0_1_0","feature":2,"layer":"0","ctx_idx":0,"feature_type":"cross layer transcoder"},
{"node_id":"1_bias_tc_bD_0","layer":1,"ctx_idx":0,"feature_type":"bias"},
{"node_id":"3_4_0","feature":4,"layer":3,"ctx_idx":0,"feature_type":"logit","clerp":"Logit \"b\" (p=0.5)"}],
"links":[{"source":"E_1_0","target":"2_cro_3_0","weight":1},{"source":"2_cro_3_0","target":"3_4_0","weight":-2.5,"x":[1]},
{"source":"0_1_0","target":"3_4_0","weight":1e-3}],"qk_only_nodes":{}}"#
            .to_vec(),
    );
    seeds
}

/// What is put in place of something else: values that are at home elsewhere, or nowhere.
const PIECES: [&str; 31] = [
    "null",
    "-1",
    "0",
    "3e38",
    "-3e38",
    "1e39",
    "1e400",
    "-0.0",
    "NaN",
    "1e-46",
    "\"4294967295\"",
    "4294967296",
    "18446744073709551615",
    "\"\"",
    "[]",
    "{}",
    "[[]]",
    "\"E\"",
    "\"0_1_0\"",
    "\"(p=\"",
    "\"(p=nan)\"",
    "\"\\\" (p=\"",
    "\"\\ud800\"",
    "\"\\u0000\\u001b\"",
    "true",
    ",",
    ":",
    "\"mechscope\"",
    "\"logit\"",
    "\"bias\"",
    "\"cross layer transcoder\"",
];

fn mutate(file: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut file = file.to_vec();
    for _ in 0..1 + random.below(4) {
        let at = random.below(file.len());
        match random.below(8) {
            0 => file.truncate(at),
            1 => {
                if let Some(byte) = file.get_mut(at) {
                    *byte = random.below(256) as u8;
                }
            }
            2 => drop(file.drain(at..(at + random.below(24)).min(file.len()))),
            3 => {
                let from = random.below(other.len());
                let piece = &other[from..(from + random.below(200)).min(other.len())];
                file.splice(at..at, piece.iter().copied());
            }
            4 => {
                let piece = PIECES[random.below(PIECES.len())];
                file.splice(at..at, piece.bytes());
            }
            // Most of the time something that JSON allows: one value for another.
            _ => replace_value(&mut file, at, random),
        }
    }
    file
}

/// Replaces the value after the next colon by a piece or by another value of the same file.
fn replace_value(file: &mut Vec<u8>, at: usize, random: &mut Random) {
    let value_at = |at: usize, file: &[u8]| {
        let start = at + file.get(at..)?.iter().position(|&b| b == b':')? + 1;
        let length = file.get(start..)?.iter().position(|b| b",}]\n".contains(b))?;
        Some(start..start + length)
    };
    let Some(range) = value_at(at, file) else {
        return;
    };
    let piece = match value_at(random.below(file.len()), file) {
        Some(other) if random.below(2) == 0 => file[other].to_vec(),
        _ => PIECES[random.below(PIECES.len())].as_bytes().to_vec(),
    };
    file.splice(range, piece);
}

/// Reads and uses one input; whether it was a graph.
fn exercise(input: &[u8]) -> bool {
    let Ok(opened) = read(input, 1 << 20) else {
        return false;
    };
    let graph = &opened.graph;
    assert!(graph.edges.iter().all(|edge| edge.weight.is_finite()));
    check(&opened);
    let mut file = Vec::new();
    write(graph, &mut file).expect("writing to memory");
    let again = read(file.as_slice(), 4 << 20);
    let again = again.unwrap_or_else(|error| panic!("what was written cannot be read: {error:#}"));
    assert_eq!(again.graph.nodes.len(), graph.nodes.len());
    assert_eq!(again.graph.edges, graph.edges);
    assert_eq!(again.graph.unresolved, graph.unresolved);
    if let Ok(influence) = Influence::of(graph) {
        let pruned = prune(graph, &influence, Thresholds::default()).expect("one graph");
        let small = graph.pruned(&influence, &pruned).expect("one graph");
        let mut out = Vec::new();
        text::write(&small, &influence, &Limits::default(), text::ASCII, &mut out).expect("writing to memory");
        tsv::write(graph, &mut out).expect("writing to memory");
        dot::write(graph, &mut out).expect("writing to memory");
        if let Some(target) = graph.targets().next() {
            strongest_paths(graph, &influence, target as u32, 3, |node| node.kind.is_input());
        }
    }
    let (groups, _) = groups(graph);
    let _ = collapse(graph, &groups, None);
    true
}

#[test]
fn mutated_files_never_panic() {
    let count = std::env::var("MECHSCOPE_FUZZ").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000u64);
    let seeds = seeds();
    assert!(seeds.iter().all(|seed| exercise(seed)), "the files to start from are graphs");
    let start = Instant::now();
    let mut graphs = 0;
    for i in 0..count {
        let mut random = Random((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (file, other) = (random.below(seeds.len()), random.below(seeds.len()));
        let input = mutate(&seeds[file], &seeds[other], &mut random);
        let outcome = std::panic::catch_unwind(|| exercise(&input));
        match outcome {
            Ok(graph) => graphs += u64::from(graph),
            Err(_) => panic!("input {i} panics:\n{}", String::from_utf8_lossy(&input)),
        }
    }
    eprintln!("{count} inputs, {graphs} of them graphs, in {:.1?}", start.elapsed());
    // Mutations that only ever break the syntax would test little.
    assert!(graphs > count / 20, "{graphs} of {count} were graphs");
}
