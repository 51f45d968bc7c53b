//! An index of half a gigabyte: how long it takes to open, and to read a neuron's page.
//!
//! `cargo bench --bench index`. It is made in a temporary folder, with the shape of a gated model of 30 layers of 1,536 neurons, and random examples.

#![allow(clippy::print_stdout, reason = "a bench prints its numbers")]

use mechscope::corpus::context::CorpusContext;
use mechscope::corpus::index::Index;
use mechscope::corpus::layer::Batch;
use mechscope::corpus::merge::write;
use mechscope::corpus::part::header::{CorpusFile, PartHeader, Segment};
use mechscope::corpus::plan::INDEX;
use mechscope::corpus::spec::Spec;
use mechscope::corpus::state::State;
use std::time::Instant;

const CONTEXTS: u64 = 40;
const TOKENS: usize = 64;

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(&state(), &folder.path().join(INDEX)).expect("the index is written");
    let size = std::fs::metadata(folder.path().join(INDEX)).expect("the index").len();
    let before = resident();
    let mut opened = Vec::new();
    for _ in 0..9 {
        let begun = Instant::now();
        let index = Index::open(folder.path()).expect("an index");
        opened.push((begun.elapsed(), index));
    }
    opened.sort_by_key(|(time, _)| *time);
    let (time, index) = opened.swap_remove(4);
    opened.clear();
    let mut pages: Vec<_> = (0..99)
        .map(|i| {
            let begun = Instant::now();
            let page = index.unit(i % 30, i * 15).expect("a neuron");
            let shown = page.examples(page.main_case(), 20).expect("its examples");
            assert_eq!(shown.len(), 20);
            page.tokens(page.main_case()).expect("its tokens");
            begun.elapsed()
        })
        .collect();
    pages.sort();
    println!(
        "index of {:.0} MB: opened in {time:.1?}, a page in {:.1?} (median; longest {:.1?})",
        size as f64 / 1e6,
        pages[49],
        pages[98]
    );
    println!("resident: {:.1} MB more than before", resident().saturating_sub(before) as f64 / 1e6);
}

/// Bytes of memory that this process has, on Linux; the index was made by it, so that only what comes on top says something.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) * 4096
}

fn state() -> State {
    let spec = Spec { corpus: vec!["corpus.txt".into()], ..Spec::default() };
    let header = PartHeader {
        format: mechscope::corpus::identity::FORMAT.to_owned(),
        spec_hash: "0123456789abcdef".to_owned(),
        spec,
        model_id: "0123456789abcdef".to_owned(),
        files: vec![CorpusFile { path: "corpus.txt".to_owned(), size: 1 << 20, id: "0123456789abcdef".to_owned() }],
        covered: vec![Segment { file: 0, from: 0, to: 1 << 20 }],
        n_docs: CONTEXTS,
        n_contexts: CONTEXTS,
        n_tokens: CONTEXTS * (TOKENS as u64 - 1),
        n_layers: 30,
        d_mlp: 1536,
        n_cases: 4,
        created_by: "a bench".to_owned(),
    };
    let (width, kept) = (header.d_mlp, header.spec.kept());
    let vocabulary = (0..50_000).map(|id| format!(" word{id}")).collect();
    let mut state = State::new(header, &[], vocabulary);
    let context = |doc: u64| CorpusContext {
        doc,
        start: 0,
        ids: (0..TOKENS as u32).map(|pos| (pos * 7919 + doc as u32 * 104_729) % 50_000).collect(),
        inner_bos: Vec::new(),
    };
    let contexts: Vec<CorpusContext> = (0..CONTEXTS).map(context).collect();
    let batch = Batch::new(&contexts, 0);
    // Anything that looks like activations.
    let mut seed = 1u32;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        seed as f32 / u32::MAX as f32 * 4.0 - 2.0
    };
    let gate: Vec<f32> = (0..contexts.len() * TOKENS * width).map(|_| random()).collect();
    let branch: Vec<f32> = gate.iter().rev().copied().collect();
    let post: Vec<f32> = gate.iter().zip(&branch).map(|(a, b)| a * b).collect();
    for layer in &mut state.layers {
        layer.observe(&post, Some((&gate, &branch)), &batch, &kept);
    }
    state.contexts = contexts.into_iter().map(|c| ((c.doc, c.start), c.ids)).collect();
    state
}
