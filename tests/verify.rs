//! Tests by intervention: against plain interventions, against circuit-tracer's, against known circuits.

mod common;
mod gold;

use candle_core::{Device, Tensor};
use common::{open, references, shared, test_data};
use gold::{induction, two_hops};
use mechscope::address::Edit;
use mechscope::analysis::attribution_graph::{GraphSettings, LogitTarget, build, most_probable};
use mechscope::analysis::graph_run::demeaned;
use mechscope::analysis::next_token::NextToken;
use mechscope::analysis::verify::{Test, Verifier};
use mechscope::graph::format::json;
use mechscope::graph::verification::{Cause, Intervention, Subject, Summary};
use mechscope::graph::{Graph, Influence, NodeKind, Thresholds, prune};
use mechscope::model::Model;
use mechscope::model::dictionary::Dictionary;
use mechscope::model::forward::Logits;
use mechscope::model::open::Options;
use mechscope::model::site::{Site, Sites};
use mechscope::model::text::Bos;
use mechscope::model::trace::Trace;
use std::collections::HashMap;

fn builtin(name: &str) -> Model {
    Model::open(name, Options::default(), Box::new(|_, _| {})).unwrap()
}

fn graph(model: &Model, ids: &[u32], dictionary: Option<&Dictionary>, max: usize) -> Graph {
    let run = model.run(ids, &Sites::None, Logits::Last).unwrap();
    let targets = most_probable(model, &NextToken::new(run.last_logits(0).unwrap()), 0.95, 10);
    let settings = GraphSettings { max_nodes: Some(max), ..GraphSettings::default() };
    build(model, &model.pieces(ids), dictionary, &targets, settings, &mut |_, _| Ok(())).unwrap()
}

fn quiet(_: usize, _: usize) -> anyhow::Result<()> {
    Ok(())
}

/// The change of a target by a plain intervention.
fn intervened(model: &Model, ids: &[u32], edits: &[String], weights: &[(u32, f32)]) -> f32 {
    let edits: Vec<Edit> = edits.iter().map(|e| e.parse().unwrap_or_else(|x| panic!("{e}: {x:#}"))).collect();
    let (clean, edited) = model.intervene(ids, &edits, Bos::Auto, Logits::Last).unwrap();
    (demeaned(&edited.last_logits(0).unwrap(), weights) - demeaned(&clean.last_logits(0).unwrap(), weights)) as f32
}

/// The edit that a kind of test stands for.
fn edit(address: &str, with: &Intervention) -> String {
    match with {
        Intervention::Zero => format!("{address}=0"),
        Intervention::Mean => format!("{address}=mean"),
        Intervention::Resample(prompt) => format!("{address}=from:{prompt:?}"),
        Intervention::Scale(factor) => format!("{address}*={factor}"),
    }
}

const TWO_HOP: &str = "The capital of the state containing Dallas is";

#[test]
fn measured_effects_equal_plain_interventions() {
    let model = builtin("hello");
    let ids = model.encode(TWO_HOP, Bos::Auto).unwrap().ids();
    let graph = graph(&model, &ids, None, 300);
    let verifier = Verifier::new(&model, None, &graph, None).unwrap();
    let weights = graph.nodes[verifier.target() as usize].weights().unwrap();
    let other = "The capital of the state containing Seattle is".to_owned();
    for with in [Intervention::Zero, Intervention::Mean, Intervention::Resample(other), Intervention::Scale(-1.0)] {
        let mut tests = verifier.top(20, &with, 0).unwrap();
        assert_eq!(tests.len(), 20);
        tests.extend(verifier.heads(&with));
        let embed = (0..graph.nodes.len() as u32).filter(|n| graph.nodes[*n as usize].kind.is_input());
        let embed = embed.filter(|n| graph.nodes[*n as usize].address().is_some());
        tests.extend(embed.map(|n| Test { subject: verifier.node(n), with: with.clone(), watch: Vec::new() }));
        let found = verifier.run(&tests, &mut quiet).unwrap();
        let (mut large, mut worst) = (0, 0f32);
        for (test, found) in tests.iter().zip(&found) {
            assert_eq!(test.subject, found.subject);
            let address = match &test.subject {
                Subject::Node(id) => graph.nodes[graph.by_id()[id.as_str()]].name(),
                Subject::Unit(address) => address.clone(),
                Subject::Group { .. } => unreachable!(),
            };
            let want = intervened(&model, &ids, &[edit(&address, &with)], &weights);
            let effect = found.target().unwrap();
            let got = effect.measured;
            worst = worst.max((got - want).abs());
            // Some units in the last place of a logit of 18: copies that run together are rounded otherwise than one alone.
            assert!((got - want).abs() <= 1e-5, "{address} {with}: {got} for {want}");
            large += usize::from(want.abs() > 0.1);
        }
        eprintln!("{with}: {} tests, the measured effect within {worst:.1e} of an independent run", tests.len());
        assert!(large > 5, "{with}: {large} effects to speak of");
    }
}

#[test]
fn a_group_is_a_joint_edit_and_a_keep_only_run_edits_the_rest() {
    let model = builtin("hello");
    let ids = model.encode(TWO_HOP, Bos::Auto).unwrap().ids();
    let graph = graph(&model, &ids, None, 60);
    let verifier = Verifier::new(&model, None, &graph, None).unwrap();
    let weights = graph.nodes[verifier.target() as usize].weights().unwrap();
    let units: Vec<u32> =
        (0..graph.nodes.len() as u32).filter(|n| graph.nodes[*n as usize].kind == NodeKind::Neuron).collect();
    let group: Vec<u32> = units.iter().copied().step_by(4).collect();
    let edits = |nodes: &[u32], with: &Intervention| -> Vec<String> {
        nodes.iter().map(|n| edit(&graph.nodes[*n as usize].name(), with)).collect()
    };
    for with in [Intervention::Zero, Intervention::Mean, Intervention::Scale(0.5)] {
        let test = Test { subject: verifier.group("some", &group), with: with.clone(), watch: Vec::new() };
        let found = verifier.run(&[test], &mut quiet).unwrap();
        let want = intervened(&model, &ids, &edits(&group, &with), &weights);
        let got = found[0].target().unwrap().measured;
        assert!((got - want).abs() <= 1e-5 * want.abs().max(1.0), "{with}: {got} for {want}");
    }
    let kept = verifier.keep_only(&group, &mut quiet).unwrap();
    let others: Vec<u32> = units.iter().copied().filter(|n| !group.contains(n)).collect();
    assert_eq!((kept.kept, kept.ablated), (group.len(), others.len()));
    for (got, nodes) in [(kept.group, &others), (kept.rest, &group), (kept.empty, &units)] {
        let want = intervened(&model, &ids, &edits(nodes, &Intervention::Mean), &weights) + kept.whole;
        assert!((got - want).abs() <= 2e-5 * want.abs().max(1.0), "{got} for {want}");
    }
    // The whole graph is faithful and complete, by definition.
    let all = verifier.keep_only(&units, &mut quiet).unwrap();
    assert!((all.faithfulness().unwrap() - 1.0).abs() < 1e-4);
    assert!((all.completeness().unwrap() - 1.0).abs() < 1e-4);
    assert!(verifier.keep_only(&[verifier.target()], &mut quiet).is_err());
}

/// The planted path is linear as long as its neurons stay on: what is predicted of a group must be what the same edits do together.
#[test]
fn predictions_of_groups_are_those_of_joint_edits() {
    let model = two_hops::model();
    let ids = two_hops::ids(two_hops::DALLAS);
    // A contrast with what nothing writes: the mean over the vocabulary, to which Olympia may wake up, is not in it.
    let weights = vec![(two_hops::AUSTIN, 1.0), (2, -1.0)];
    let targets = vec![LogitTarget { name: "Austin".into(), weights, probability: 1.0 }];
    let graph = build(&model, &model.pieces(&ids), None, &targets, GraphSettings::default(), &mut quiet).unwrap();
    let node = |name: &str| graph.nodes.iter().position(|n| n.name() == name).unwrap() as u32;
    let verifier = Verifier::new(&model, None, &graph, None).unwrap();
    let group = |label: &str, members: &[&str], with: Intervention, want: f32| {
        let members: Vec<u32> = members.iter().map(|m| node(m)).collect();
        let test = Test { subject: verifier.group(label, &members), with, watch: vec![] };
        let found = verifier.run(&[test], &mut quiet).unwrap();
        let target = found[0].target().unwrap();
        assert!((target.measured - want).abs() < 1e-5, "{label}: {target:?}, not {want}");
        assert!((target.predicted.unwrap() - want).abs() < 1e-5, "{label}: {target:?}, not {want}");
    };
    // Half of relu(0.5 + 1 - 1) instead of 1.
    group("both scaled", &["L0.N0@3", "L1.N0@3"], Intervention::Scale(0.5), -0.75);
    group("in another order", &["L1.N0@3", "L0.N0@3"], Intervention::Scale(0.5), -0.75);
    group("and its input", &["embed@2", "L0.N0@3", "L1.N0@3"], Intervention::Scale(0.8), 0.8 * 0.64 - 1.0);
    group("one twice", &["L0.N0@3", "L0.N0@3"], Intervention::Scale(0.5), -0.5);
    // The mean of Texas is 7/12 in place of 1 whatever the token is, and that of the tokens puts a quarter of a capital there.
    group("means", &["embed@2", "L0.N0@3"], Intervention::Mean, 7.0 / 12.0 + 0.25 - 1.0);
}

/// What the graph's paths add up to is the frozen model's total effect when every neuron is a node.
#[test]
fn predictions_of_complete_graphs_are_relp() {
    for reference in
        references().into_iter().filter(|r| ["tiny-gpt2", "tiny-qwen2", "tiny-gpt-neox"].contains(&&*r.name))
    {
        let model = reference.model();
        let ids = &reference.ids()[..4];
        let graph = graph(&model, ids, None, usize::MAX);
        let verifier = Verifier::new(&model, None, &graph, None).unwrap();
        let tests = verifier.top(200, &Intervention::Zero, 0).unwrap();
        let by_paths = verifier.run(&tests, &mut quiet).unwrap();
        let as_units = |test: &Test| {
            let Subject::Node(id) = &test.subject else { unreachable!() };
            let name = graph.nodes[graph.by_id()[id.as_str()]].name();
            Test { subject: Subject::Unit(name), ..test.clone() }
        };
        let by_gradient = verifier.run(&tests.iter().map(as_units).collect::<Vec<_>>(), &mut quiet).unwrap();
        let scale = by_gradient.iter().filter_map(|v| v.target()?.predicted).fold(0f32, |m, p| m.max(p.abs()));
        assert!(scale > 0.01, "{}", reference.name);
        for (paths, gradient) in by_paths.iter().zip(&by_gradient) {
            let (paths, gradient) = (paths.target().unwrap(), gradient.target().unwrap());
            assert_eq!(paths.measured, gradient.measured);
            let (got, want) = (paths.predicted.unwrap(), gradient.predicted.unwrap());
            assert!((got - want).abs() <= 2e-5 * scale, "{}: {got} for {want}", reference.name);
        }
    }
}

/// Above the MLP of the last layer there is the final norm alone: with its scale held a neuron's effect is its edge, in every family.
#[test]
fn with_patterns_and_norms_held_the_last_neurons_do_what_is_predicted() {
    for reference in references().into_iter().filter(|r| r.name.starts_with("tiny-") && !r.name.ends_with("-sharded")) {
        let model = reference.model();
        let ids = &reference.ids()[..10];
        let graph = graph(&model, ids, None, 60);
        let verifier = Verifier::new(&model, None, &graph, None).unwrap();
        let last = model.decoder.arch.n_layers as u32 - 1;
        let is_last = |n: &u32| {
            let node = &graph.nodes[*n as usize];
            node.kind == NodeKind::Neuron && node.layer == Some(last) && node.position == Some(9)
        };
        let units: Vec<u32> = (0..graph.nodes.len() as u32).filter(is_last).collect();
        assert!(units.len() > 2, "{}", reference.name);
        let test = |n: &u32| Test { subject: verifier.node(*n), with: Intervention::Scale(-1.0), watch: Vec::new() };
        for found in verifier.run(&units.iter().map(test).collect::<Vec<_>>(), &mut quiet).unwrap() {
            let effect = found.target().unwrap();
            let (got, want) = (effect.norms_held, effect.predicted.unwrap());
            // A post-norm below the last norm is held too.
            assert!((got - want).abs() <= 1e-4 * want.abs().max(1.0), "{}: {got} for {want}", reference.name);
            assert!(effect.cause() != Some(Cause::Nonlinear), "{}: {effect:?}", reference.name);
        }
    }
}

/// No edit names the positional embedding, but its vector can be taken out of the token's, beside which it is added.
#[test]
fn positional_embeddings_are_taken_out_where_they_are_added() {
    let model = open(&test_data().join("models/tiny-gpt2"));
    let ids: Vec<u32> = vec![3, 60, 9, 120, 33];
    let graph = graph(&model, &ids, None, 60);
    let verifier = Verifier::new(&model, None, &graph, None).unwrap();
    let weights = graph.nodes[verifier.target() as usize].weights().unwrap();
    let run = model.run(&ids, &Sites::only([Site::PosEmbed]), Logits::Last).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut large = 0;
    for (n, node) in graph.nodes.iter().enumerate().filter(|(_, n)| n.kind == NodeKind::PositionalEmbedding) {
        let position = node.position.unwrap() as usize;
        let row = run.row(Site::PosEmbed, position).unwrap();
        let file = folder.path().join(format!("{position}.safetensors"));
        let row = Tensor::from_slice(&row, row.len(), &Device::Cpu).unwrap();
        candle_core::safetensors::save(&HashMap::from([("direction", row)]), &file).unwrap();
        for (with, factor) in [(Intervention::Zero, -1.0), (Intervention::Scale(3.0), 2.0)] {
            let test = Test { subject: verifier.node(n as u32), with, watch: vec![] };
            let found = verifier.run(&[test], &mut quiet).unwrap();
            let got = found[0].target().unwrap().measured;
            let edit = format!("embed@{position}+=steer:{:?}*{factor}", file.display().to_string());
            let want = intervened(&model, &ids, &[edit], &weights);
            assert!((got - want).abs() <= 1e-5 * want.abs().max(1.0), "{} {factor}: {got} for {want}", node.name());
            large += usize::from(want.abs() > 0.01);
        }
    }
    assert!(large >= 4, "{large} effects to speak of");
}

/// Other prompts begin as the graph's does, however that came to be: else their positions would stand for other tokens.
#[test]
fn resampled_prompts_begin_as_the_graphs_does() {
    let model = builtin("induction");
    let other = "asdfghasdf";
    for bos in [Bos::Never, Bos::Always, Bos::Auto] {
        let encoded = model.encode("qwertyqwer", bos).unwrap();
        let ids = encoded.ids();
        let mut graph = graph(&model, &ids, None, 60);
        graph.metadata.prompt = "qwertyqwer".into();
        let verifier = Verifier::new(&model, None, &graph, None).unwrap();
        let weights = graph.nodes[verifier.target() as usize].weights().unwrap();
        let with = Intervention::Resample(other.into());
        let mut tests = verifier.top(5, &with, 0).unwrap();
        let embed = graph.nodes.iter().position(|n| n.name() == "embed@8").unwrap();
        tests.push(Test { subject: verifier.node(embed as u32), with: with.clone(), watch: vec![] });
        for found in verifier.run(&tests, &mut quiet).unwrap() {
            let Subject::Node(id) = &found.subject else { unreachable!() };
            let edits = [edit(&graph.nodes[graph.by_id()[id.as_str()]].name(), &with).parse().unwrap()];
            let (clean, edited) = model.intervene(&ids, &edits, bos, Logits::Last).unwrap();
            let of = |run: &Trace| demeaned(&run.last_logits(0).unwrap(), &weights);
            let (got, want) = (found.target().unwrap().measured, (of(&edited) - of(&clean)) as f32);
            assert!((got - want).abs() <= 1e-4 * want.abs().max(1.0), "{bos} {id}: {got} for {want}");
        }
    }
}

#[test]
fn graphs_that_other_programs_wrote_are_tested_by_their_units() {
    let model = builtin("induction");
    let ids = model.encode("qwertyqwe", Bos::Auto).unwrap().ids();
    let mut graph = graph(&model, &ids, None, 20);
    for node in graph.nodes.iter_mut().filter(|n| n.kind != NodeKind::Neuron) {
        node.activation = Some(7.0);
    }
    let verifier = Verifier::new(&model, None, &graph, None).unwrap();
    assert_eq!(verifier.run(&verifier.top(3, &Intervention::Zero, 0).unwrap(), &mut quiet).unwrap().len(), 3);
    drop(verifier);
    let target = graph.targets().next().unwrap();
    graph.nodes[target].kind = NodeKind::Logit { token: Some(70_000), probability: 1.0 };
    let error = format!("{:#}", Verifier::new(&model, None, &graph, None).err().unwrap());
    assert!(error.contains("token id 70000; accepted: the ") && error.contains("vocabulary of induction"), "{error}");
}

/// circuit-tracer's own interventions: attention recomputed and attention held.
#[test]
fn features_are_changed_as_circuit_tracer_does() {
    let mut compared = 0;
    for root in std::iter::once(test_data()).chain(shared()) {
        for name in ["tiny-gpt2", "tiny-llama-clt"] {
            let file = root.join("circuit-tracer").join(format!("{name}-interventions.safetensors"));
            let reference = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
            let about: serde_json::Value = serde_json::from_slice(
                &std::fs::read(root.join("circuit-tracer").join(format!("{name}.json"))).unwrap(),
            )
            .unwrap();
            let model = open(&root.join(about["model"].as_str().unwrap()));
            let dictionary = Dictionary::open(&root.join("transcoders").join(name), &model.decoder).unwrap();
            let tensors = candle_core::safetensors::load(
                root.join("circuit-tracer").join(format!("{name}.safetensors")),
                &Device::Cpu,
            );
            let ids: Vec<u32> =
                tensors.unwrap()["input_tokens"].to_vec1::<i64>().unwrap().into_iter().map(|i| i as u32).collect();
            let graph = graph(&model, &ids, Some(&dictionary), 100_000);
            let verifier = Verifier::new(&model, Some(&dictionary), &graph, None).unwrap();
            let weights = graph.nodes[verifier.target() as usize].weights().unwrap();
            let numbers = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let base = demeaned(&numbers(&reference["base_logits"]), &weights);
            for (f, place) in reference["features"].to_vec2::<i64>().unwrap().iter().enumerate() {
                let id = format!("{}_{}_{}", place[0], place[2], place[1]);
                for (v, with) in [Intervention::Zero, Intervention::Scale(2.0)].into_iter().enumerate() {
                    let test = Test { subject: Subject::Node(id.clone()), with, watch: Vec::new() };
                    let effect = verifier.run(&[test], &mut quiet).unwrap()[0].effects[0].clone();
                    let logits = |mode: usize| reference["logits"].get(f).unwrap().get(v).unwrap().get(mode).unwrap();
                    for (mode, got) in [(0, effect.held), (1, effect.measured)] {
                        let want = (demeaned(&numbers(&logits(mode)), &weights) - base) as f32;
                        assert!((got - want).abs() < 2e-4, "{name} {id} mode {mode}: {got} for {want}");
                        compared += usize::from(want.abs() > 1e-3);
                    }
                }
            }
        }
    }
    assert!(compared >= 16, "{compared} effects to speak of");
}

/// ALGORITHMS.md's hand-built induction head: the head before it does all by patterns.
#[test]
fn a_planted_induction_head_is_seen_by_intervention_only() {
    let model = induction::model();
    let targets = vec![induction::target()];
    let settings = GraphSettings { max_nodes: Some(10), ..GraphSettings::default() };
    let tokens = model.pieces(&induction::IDS);
    let graph = build(&model, &tokens, None, &targets, settings, &mut quiet).unwrap();
    let logit = graph.targets().next().unwrap();
    for (source, weight) in graph.edges.row(logit).iter() {
        let node = &graph.nodes[source as usize];
        let want = if node.position == Some(2) && !matches!(node.kind, NodeKind::PositionalEmbedding) {
            5.0 / 6.0
        } else {
            0.0
        };
        assert!((weight - want).abs() < 1e-6, "{} {weight}", node.name());
    }
    let verifier = Verifier::new(&model, None, &graph, None).unwrap();
    let found = verifier.run(&verifier.heads(&Intervention::Zero), &mut quiet).unwrap();
    let (before, mover) = (found[0].target().unwrap(), found[1].target().unwrap());
    assert!((before.before - 5.0 / 6.0).abs() < 1e-6);
    // The logit falls from 1 to 1/6, and with it the mean of all logits stays: demeaned, from 5/6 to 0.
    assert_eq!(before.predicted, Some(0.0));
    assert!(before.held.abs() < 1e-6 && (before.measured + 5.0 / 6.0).abs() < 1e-6, "{before:?}");
    assert_eq!(before.cause(), Some(Cause::Patterns));
    assert_eq!(before.verdict(), "measured -0.83, predicted +0.00: acts through attention patterns");
    assert!((mover.predicted.unwrap() + 5.0 / 6.0).abs() < 1e-6 && mover.cause().is_none(), "{mover:?}");
    assert!((mover.measured + 5.0 / 6.0).abs() < 1e-6);
    let edits = ["L0.H0=0".parse::<Edit>().unwrap()];
    let (_, edited) = model.intervene(&induction::IDS, &edits, Bos::Auto, Logits::Last).unwrap();
    let want = [1.0 / 6.0, 1.0 / 3.0, 1.0 / 6.0, 1.0 / 6.0, 1.0 / 6.0, 0.0];
    for (got, want) in edited.last_logits(0).unwrap().iter().zip(want) {
        assert!((got - want).abs() < 1e-6, "{got} for {want}");
    }
}

#[test]
fn the_built_in_induction_model_has_a_head_that_acts_through_patterns() {
    let model = builtin("induction");
    let ids = model.encode("qwertyqwe", Bos::Auto).unwrap().ids();
    let graph = graph(&model, &ids, None, 200);
    let verifier = Verifier::new(&model, None, &graph, None).unwrap();
    let found = verifier.run(&verifier.heads(&Intervention::Zero), &mut quiet).unwrap();
    let by_patterns = found.iter().filter_map(|v| v.target()).filter(|e| {
        e.measured.abs() > 0.5 && e.held.abs() < 0.5 * e.measured.abs() && e.cause() == Some(Cause::Patterns)
    });
    assert!(by_patterns.count() >= 1, "{found:#?}");
    // Heads of the last layer have no pattern above them to act through.
    for last in &found[found.len() / 2..] {
        let effect = last.target().unwrap();
        assert!(effect.through_patterns().abs() <= 1e-4 * effect.before.abs().max(1.0), "{last:?}");
    }
}

#[test]
fn what_was_measured_travels_with_the_file_and_survives_pruning() {
    let model = builtin("induction");
    let ids = model.encode("qwertyqwer", Bos::Auto).unwrap().ids();
    let targets = vec![LogitTarget { name: "t - w".into(), weights: vec![(20, 1.0), (23, -1.0)], probability: 1.0 }];
    let settings = GraphSettings { max_nodes: Some(50), ..GraphSettings::default() };
    let mut graph = build(&model, &model.pieces(&ids), None, &targets, settings, &mut quiet).unwrap();
    let verifier = Verifier::new(&model, None, &graph, None).unwrap();
    let mut tests = verifier.top(5, &Intervention::Zero, 2).unwrap();
    let is_neuron = |n: u32| graph.nodes[n as usize].kind == NodeKind::Neuron;
    let edge = graph.edges.iter().find(|e| is_neuron(e.target) && is_neuron(e.source)).unwrap();
    tests.push(verifier.edge(edge.source, edge.target, Intervention::Scale(0.5)));
    tests.extend(verifier.heads(&Intervention::Scale(0.1)).into_iter().take(1));
    tests.push(Test {
        subject: verifier.group("a \"pair\"", &[0, 1]),
        with: Intervention::Resample("qwertyqwes".into()),
        watch: vec![],
    });
    let found = verifier.run(&tests, &mut quiet).unwrap();
    assert!(Summary::of_targets(&found).n >= 6);
    let watched = found[5].on(&graph.nodes[edge.target as usize].id).unwrap();
    assert!(watched.predicted.is_some_and(|p| p != 0.0) && watched.measured != 0.0, "{watched:?}");
    found.into_iter().for_each(|v| graph.record(v));
    let mut bytes = Vec::new();
    json::write(&graph, &mut bytes).unwrap();
    let read = json::read(&bytes[..], json::DEFAULT_MEMORY).unwrap().graph;
    assert_eq!(read.verified, graph.verified);
    // The file says which logits the contrast weighs up, so it can be tested again.
    let again = Verifier::new(&model, None, &read, None).unwrap().run(&tests, &mut quiet).unwrap();
    assert_eq!(again, read.verified);
    let influence = Influence::of(&read).unwrap();
    let pruned = prune(&read, &influence, Thresholds::new(0.5, 0.9).unwrap()).unwrap();
    assert_eq!(read.pruned(&influence, &pruned).unwrap().verified, graph.verified);
}

#[test]
fn what_cannot_be_tested_is_refused_with_a_reason() {
    let model = builtin("induction");
    let ids = model.encode("qwertyqwe", Bos::Auto).unwrap().ids();
    let graph = graph(&model, &ids, None, 20);
    let verifier = Verifier::new(&model, None, &graph, None).unwrap();
    let of = |kind: fn(&NodeKind) -> bool| graph.nodes.iter().find(|n| kind(&n.kind)).unwrap().id.to_string();
    let (logit, error) = (of(NodeKind::is_logit), of(|k| *k == NodeKind::Error));
    let neuron = of(|k| *k == NodeKind::Neuron);
    for (subject, with, says) in [
        (Subject::Node(logit), Intervention::Zero, "the target is the answer itself"),
        (Subject::Node(error), Intervention::Zero, "what the neurons shown leave"),
        (Subject::Node("x".into()), Intervention::Zero, "no node \"x\""),
        (Subject::Unit("L9.H0".into()), Intervention::Zero, "layer 9"),
        (Subject::Node(neuron), Intervention::Resample("q".into()), "has 2 tokens"),
        (Subject::Group { label: "g".into(), members: vec![] }, Intervention::Zero, "no members"),
    ] {
        let test = Test { subject, with, watch: Vec::new() };
        let error = format!("{:#}", verifier.run(&[test], &mut quiet).unwrap_err());
        assert!(error.contains(says), "{error}");
    }
    let stop = &mut |_: usize, _: usize| anyhow::bail!("enough");
    let tests = verifier.top(3, &Intervention::Zero, 0).unwrap();
    assert_eq!(verifier.run(&tests, stop).unwrap_err().to_string(), "enough");
    let other = builtin("hello");
    let error = Verifier::new(&other, None, &graph, None).err().unwrap();
    assert!(format!("{error:#}").contains("the graph was made from another model"), "{error:#}");
}

#[test]
fn features_of_the_built_in_dictionary_can_be_tested_in_every_way() {
    let model = builtin("hello");
    let dictionary = Dictionary::built_in(mechscope::builtin::get("hello").unwrap(), &model.decoder).unwrap().unwrap();
    let ids = model.encode(TWO_HOP, Bos::Auto).unwrap().ids();
    let graph = graph(&model, &ids, Some(&dictionary), 100);
    let verifier = Verifier::new(&model, Some(&dictionary), &graph, None).unwrap();
    let other = "The capital of the state containing Seattle is".to_owned();
    let error = graph.nodes.iter().position(|n| n.kind == NodeKind::Error && n.position == Some(7)).unwrap();
    let mut by_way = HashMap::new();
    for with in [Intervention::Zero, Intervention::Mean, Intervention::Resample(other), Intervention::Scale(0.0)] {
        let mut tests = verifier.top(10, &with, 2).unwrap();
        if with == Intervention::Zero || with == Intervention::Scale(0.0) {
            tests.push(Test { subject: verifier.node(error as u32), with: with.clone(), watch: Vec::new() });
        }
        by_way.insert(with.to_string(), verifier.run(&tests, &mut quiet).unwrap());
    }
    for (zero, scaled) in by_way["zero"].iter().zip(&by_way["scale 0"]) {
        assert_eq!((&zero.subject, &zero.effects), (&scaled.subject, &scaled.effects));
    }
    // Taking out the error of a dictionary is a change too, and a small one beside that of a feature.
    let error = by_way["zero"].last().unwrap().target().unwrap();
    assert!(error.measured != 0.0 && error.predicted.is_some(), "{error:?}");
}
