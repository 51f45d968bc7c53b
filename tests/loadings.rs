//! Which heads carry an edge, and what a head's query and key read: exact sums on every family.

mod common;
mod gold;

use candle_core::Tensor;
use common::{Reference, open, references, shared};
use gold::induction;
use mechscope::analysis::attribution_graph::{GraphSettings, build, most_probable};
use mechscope::analysis::graph_run::GraphRun;
use mechscope::analysis::next_token::NextToken;
use mechscope::graph::{Graph, NodeKind};
use mechscope::model::Model;
use mechscope::model::dictionary::Dictionary;
use mechscope::model::edit::Passes;
use mechscope::model::forward::Logits;
use mechscope::model::qk::Summand;
use mechscope::model::site::{BlockSite as S, Site, Sites};
use mechscope::replacement::Gate;

fn families() -> Vec<Reference> {
    let mut all = references();
    all.retain(|r| r.name.starts_with("tiny-") && !r.name.ends_with("-sharded"));
    all.dedup_by(|a, b| a.name == b.name);
    assert!(all.len() >= 11, "{} families", all.len());
    all
}

fn graph(model: &Model, ids: &[u32], dictionary: Option<&Dictionary>, gate: Gate) -> Graph {
    let run = model.run(ids, &Sites::None, Logits::Last).unwrap();
    let targets = most_probable(model, &NextToken::new(run.last_logits(0).unwrap()), 0.95, 2);
    let settings = GraphSettings { max_nodes: Some(40), gate, ..GraphSettings::default() };
    build(model, &model.pieces(ids), dictionary, &targets, settings, &mut |_, _| Ok(())).unwrap()
}

/// Loadings of some edges of every kind of source add up, and so do their own edges.
fn check(name: &str, on: &GraphRun, gate: Gate) -> usize {
    let graph = on.graph;
    let (mut checked, mut by_heads) = (0, 0);
    for (i, edge) in graph.edges.iter().enumerate() {
        let source = &graph.nodes[edge.source as usize];
        // The remainder of a neuron graph is no vector of its own.
        if i % 7 != 0 || (source.kind == NodeKind::Error && on.dictionary.is_none()) {
            continue;
        }
        let found = on.loadings(edge.source, edge.target, gate).unwrap();
        let scale = graph.nodes[edge.target as usize].certificate.unwrap().abs_sum;
        let target = graph.nodes[edge.target as usize].name();
        let name = format!("{name}: {} -> {target}", source.name());
        assert!((found.edge - edge.weight).abs() <= 1e-5 * scale, "{name}: {} for {}", found.edge, edge.weight);
        let rest = found.edge - found.direct;
        for (account, heads) in [("delivered", &found.delivered), ("picked up", &found.picked_up)] {
            let sum: f64 = heads.iter().map(|x| f64::from(*x)).sum();
            assert!((sum - f64::from(rest)).abs() <= 1e-5 * f64::from(scale), "{name}, {account}: {sum} for {rest}");
        }
        if source.position != graph.nodes[edge.target as usize].position {
            assert!(found.direct.abs() <= 1e-6 * scale, "{name}: the residual stream stays at its position");
        }
        checked += 1;
        by_heads += usize::from(found.delivered.iter().any(|x| x.abs() > 1e-3 * scale));
    }
    assert!(by_heads > 3, "{name}: {by_heads} of {checked} edges by heads");
    checked
}

#[test]
fn head_loadings_sum_to_the_edge_without_its_direct_part() {
    for reference in families() {
        for gate in [Gate::Half, Gate::Freeze] {
            let (model, ids) = (reference.model(), reference.ids());
            let graph = graph(&model, &ids[..12], None, gate);
            let on = GraphRun::new(&model, None, &graph).unwrap();
            assert!(check(&reference.name, &on, gate) > 20, "{}", reference.name);
        }
    }
}

/// Loadings explain the edge that the graph shows, by the rule it was made with, or say that they cannot.
#[test]
fn the_gate_rule_is_the_graphs_own() {
    let reference = families().into_iter().find(|r| r.name == "tiny-llama").unwrap();
    let (model, ids) = (reference.model(), reference.ids());
    let mut graph = graph(&model, &ids[..12], None, Gate::Freeze);
    // An edge that the rule changes, between two neurons or from an embedding to one.
    let edge = {
        let on = GraphRun::new(&model, None, &graph).unwrap();
        assert_eq!(on.gate().unwrap(), Gate::Freeze);
        let unit = |e: &mechscope::graph::Edge| graph.nodes[e.target as usize].is_unit();
        let vector = |e: &mechscope::graph::Edge| graph.nodes[e.source as usize].kind != NodeKind::Error;
        let differ = |e: &mechscope::graph::Edge| {
            let half = on.loadings(e.source, e.target, Gate::Half).unwrap().edge;
            (half - e.weight).abs() > 0.2 * graph.edges.row(e.target as usize).abs_sum() as f32
        };
        let edge = graph.edges.iter().find(|e| unit(e) && vector(e) && differ(e)).expect("an edge that differs");
        let found = on.edge(edge.source, edge.target).unwrap();
        assert!((found.edge - edge.weight).abs() <= 1e-5 * graph.edges.row(edge.target as usize).abs_sum() as f32);
        edge
    };
    let settings = graph.metadata.extras.get_mut("generation_settings").unwrap();
    settings["gate"] = "half".into();
    let on = GraphRun::new(&model, None, &graph).unwrap();
    let error = on.edge(edge.source, edge.target).unwrap_err().to_string();
    assert!(error.contains("the graph says") && error.contains("with the gate rule half it is"), "{error}");
    // A file that does not say was made with the half rule.
    graph.metadata.extras.shift_remove("generation_settings");
    assert_eq!(GraphRun::new(&model, None, &graph).unwrap().gate().unwrap(), Gate::Half);
}

/// What a graph says that heads carry to a target: activation times gradient, where MLPs write nothing so that no path leads through them.
#[test]
fn heads_carry_to_a_target_what_their_gradient_says() {
    for reference in families() {
        let (mut model, ids) = (reference.model(), reference.ids());
        let ids = &ids[..10];
        for block in &mut model.decoder.blocks {
            let output = &mut block.mlp.output;
            output.weight = output.weight.zeros_like().unwrap();
        }
        let graph = graph(&model, ids, None, Gate::Half);
        let (decoder, arch) = (&model.decoder, &model.decoder.arch);
        let mut sites = decoder.relp_sites();
        sites.extend((0..arch.n_layers).map(|l| Site::Block(l, S::Z)));
        let run = model.run(ids, &Sites::Only(sites), Logits::Last).unwrap();
        for target in graph.targets().map(|t| &graph.nodes[t]) {
            let NodeKind::Logit { token: Some(token), .. } = target.kind else { panic!("{target:?}") };
            // The logit less the mean of all.
            let share = -1.0 / arch.d_vocab as f32;
            let mut weights: Vec<(u32, f32)> = (0..arch.d_vocab as u32).map(|id| (id, share)).collect();
            weights[token as usize].1 += 1.0;
            let (gate, passes) = (Gate::Half, Passes::default());
            let found = decoder.relp(&run, &weights, ids.len() - 1, gate, passes, &mut |_, _| Ok(())).unwrap();
            let heads = target.heads();
            assert_eq!(heads.len(), arch.n_layers * arch.n_heads, "{}", reference.name);
            let scale = heads[0].effect.abs();
            assert!(scale > 1e-3, "{}: {heads:?}", reference.name);
            for head in heads {
                let numbers = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                let z = numbers(run.block(head.layer, S::Z).unwrap());
                let gradient = numbers(found.heads[head.layer].clone());
                let of_head = |i: &usize| i / arch.d_head % arch.n_heads == head.head;
                let product = |i: usize| f64::from(z[i]) * f64::from(gradient[i]);
                let want: f64 = (0..z.len()).filter(of_head).map(product).sum();
                let off = (f64::from(head.effect) - want).abs();
                assert!(off <= 2e-5 * f64::from(scale), "{} {head:?}, not {want}", reference.name);
            }
        }
    }
}

#[test]
fn loadings_of_features_and_of_skips_add_up_too() {
    let mut cases = vec![("tiny-gpt2", common::test_data()), ("tiny-llama-clt", common::test_data())];
    cases.push(("tiny-gemma2", common::test_data()));
    cases.extend(shared().map(|root| ("tiny-llama-skip", root)));
    for (name, root) in cases {
        let about: serde_json::Value =
            serde_json::from_slice(&std::fs::read(root.join("circuit-tracer").join(format!("{name}.json"))).unwrap())
                .unwrap();
        let model = open(&root.join(about["model"].as_str().unwrap()));
        let dictionary = Dictionary::open(&root.join("transcoders").join(name), &model.decoder).unwrap();
        let ids: Vec<u32> = (0..8).map(|i| 20 + 31 * i).collect();
        let graph = graph(&model, &ids, Some(&dictionary), Gate::Half);
        let on = GraphRun::new(&model, Some(&dictionary), &graph).unwrap();
        assert!(check(name, &on, Gate::Half) > 20, "{name}");
    }
}

#[test]
fn paths_of_one_head_are_told_alike_by_all_accounts() {
    // In a model of one attention layer every path passes at most one head.
    let reference = families().into_iter().find(|r| r.name == "tiny-llama").unwrap();
    let (mut model, ids) = (reference.model(), reference.ids());
    model.decoder.blocks.truncate(1);
    model.decoder.arch.n_layers = 1;
    let graph = graph(&model, &ids[..9], None, Gate::Half);
    let on = GraphRun::new(&model, None, &graph).unwrap();
    let logit = graph.targets().next().unwrap() as u32;
    for embedding in (0..graph.nodes.len() as u32).filter(|n| graph.nodes[*n as usize].kind.is_input()) {
        let found = on.loadings(embedding, logit, Gate::Half).unwrap();
        for ((a, b), c) in found.delivered.iter().zip(&found.picked_up).zip(&found.through) {
            assert!((a - b).abs() < 1e-5 && (a - c).abs() < 1e-5, "{a} {b} {c}");
        }
    }
}

#[test]
fn qk_attributions_sum_to_the_score() {
    let mut all = families();
    let seeded = references().into_iter().filter(|r| !r.about()["seed"].is_null());
    all.extend(seeded);
    assert!(all.len() >= 11 + 2 * 13, "{} models", all.len());
    for reference in all {
        let (model, ids) = (reference.model(), reference.ids());
        let ids = &ids[..20.min(ids.len())];
        let arch = &model.decoder.arch;
        let mut sites = model.decoder.qk_sites(0);
        for l in 0..arch.n_layers {
            sites.extend(model.decoder.qk_sites(l));
            sites.extend([Site::Block(l, S::AttnScores), Site::Block(l, S::ResidPre), Site::Block(l, S::MlpPost)]);
        }
        let run = model.run(ids, &Sites::Only(sites), Logits::Last).unwrap();
        let mut checked = 0;
        for l in 0..arch.n_layers {
            let scores = run.block(l, S::AttnScores).unwrap().to_vec3::<f32>().unwrap();
            for (h, scores) in scores.iter().enumerate() {
                let last = ids.len() - 1;
                for (query, key) in [(last, last - 1), (last, last), (last - 4, last - 7), (3, 0), (0, 0)] {
                    let recorded = f64::from(scores[query][key]);
                    if recorded == f64::NEG_INFINITY {
                        continue;
                    }
                    let found = model.decoder.qk_score(&run, l, h, query, key).unwrap();
                    let capped = match model.decoder.blocks[l].attention.softcap {
                        Some(cap) => f64::from(cap) * (found.total() / f64::from(cap)).tanh(),
                        None => found.total(),
                    };
                    let name = format!("{} L{l}.H{h} {query} <- {key}", reference.name);
                    assert!((capped - recorded).abs() < 1e-4, "{name}: {capped} for {recorded}");
                    for (side, sums) in [("query", found.by_query()), ("key", found.by_key())] {
                        let sum: f64 = sums.iter().sum();
                        assert!((sum - found.total()).abs() < 1e-9, "{name} by {side}");
                    }
                    // The gradient at either side times the whole stream is all but the constants of that side.
                    let stream = |p| run.row(Site::Block(l, S::ResidPre), p).unwrap();
                    for (p, gradient, parts, sums) in [
                        (query, &found.to_query, &found.query, found.by_query()),
                        (key, &found.to_key, &found.key, found.by_key()),
                    ] {
                        let dot: f64 = stream(p).iter().zip(gradient).map(|(x, g)| f64::from(*x) * g).sum();
                        let own = parts.iter().position(|p| *p == Summand::Bias).unwrap();
                        assert!((dot + sums[own] - found.total()).abs() < 1e-4, "{name}: {dot} + {}", sums[own]);
                    }
                    checked += 1;
                }
            }
            let parts = model.decoder.stream_parts(&run, l, 7).unwrap();
            let stream = run.row(Site::Block(l, S::ResidPre), 7).unwrap();
            let top = stream.iter().fold(0f32, |m, x| m.max(x.abs()));
            for (i, x) in stream.iter().enumerate() {
                let sum: f64 = parts.iter().map(|(_, v)| v[i]).sum();
                assert!((sum - f64::from(*x)).abs() <= f64::from(2e-5 * top + 1e-5), "{} L{l}", reference.name);
            }
        }
        assert!(checked > 20, "{}: {checked}", reference.name);
    }
}

#[test]
fn a_planted_head_looks_for_its_token_where_the_head_before_wrote_it() {
    let model = induction::model();
    let mut sites = model.decoder.qk_sites(1);
    sites.insert(Site::Block(1, S::ResidPre));
    let run = model.run(&induction::IDS, &Sites::Only(sites), Logits::Last).unwrap();
    let found = model.decoder.qk_score(&run, 1, 0, 5, 2).unwrap();
    assert!((found.total() - 40.0).abs() < 1e-6);
    let (embed, head) = (
        found.query.iter().position(|p| *p == Summand::Embed).unwrap(),
        found.key.iter().position(|p| *p == Summand::Head(0, 0)).unwrap(),
    );
    assert!((found.term(embed, head) - 40.0).abs() < 1e-6, "{found:?}");
    assert!(model.decoder.qk_score(&run, 1, 0, 2, 5).is_err() && model.decoder.qk_score(&run, 2, 0, 1, 0).is_err());
}
