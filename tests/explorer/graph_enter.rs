//! Into the graph from any unit, or why it is not there.

use crate::graph::{hello, node_name, shown};
use crate::harness::Harness;
use mechscope::address::{Address, Edit};
use mechscope::analysis::graph_run::GraphRun;
use mechscope::app::graph::Beside;
use mechscope::app::session::Session;
use mechscope::app::{Effect, Slot, Tab};
use mechscope::graph::NodeKind;
use mechscope::graph::verification::{Cause, Intervention, Subject};
use mechscope::keymap::Keymap;
use mechscope::model::Model;
use mechscope::model::edit::Passes;
use mechscope::model::forward::Logits;
use mechscope::model::open::Options;
use mechscope::model::site::Sites;
use mechscope::model::text::Bos;
use mechscope::replacement::Gate;
use mechscope::report::{Body, Cell};

/// Goes to an address and from there into the graph; returns what is said.
fn into_graph(h: &mut Harness, unit: &str) -> String {
    h.press("g a");
    h.press("Ctrl-u");
    h.type_text(unit);
    h.press("Enter g r");
    h.app.message.clone().unwrap_or_default().text
}

/// The note that says why a unit is no node.
fn why(h: &Harness) -> String {
    let report = h.app.pane(Slot::GraphSide).report.clone().expect("a report");
    let note = report.parts.iter().find(|p| p.name == "why").map(|p| p.body.clone());
    let Some(Body::Note(text)) = note else { panic!("no reason is given") };
    text
}

/// The measured change of the target's demeaned logit under an edit, by an independent run.
fn change(prompt: &str, edit: &str, token: usize) -> f64 {
    let model = Model::open("hello", Options::default(), Box::new(|_, _| {})).unwrap();
    let ids = model.encode(prompt, Bos::Auto).unwrap().ids();
    let clean = model.run(&ids, &Sites::Standard, Logits::Last).unwrap();
    let edit: Edit = edit.parse().unwrap();
    let run = model.run_edited(&clean, &[edit], Bos::Auto, &Sites::None, Logits::Last, &mut |_, _| Ok(())).unwrap();
    let value = |logits: Vec<f32>| {
        let mean = logits.iter().map(|x| f64::from(*x)).sum::<f64>() / logits.len() as f64;
        f64::from(logits[token]) - mean
    };
    value(run.last_logits(0).unwrap()) - value(clean.last_logits(0).unwrap())
}

fn target(h: &Harness) -> usize {
    match shown(h).graph.nodes[shown(h).first_target() as usize].kind {
        NodeKind::Logit { token: Some(token), .. } => token as usize,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn from_a_cell_of_the_lens_to_the_nodes_that_write_into_it() {
    let mut h = hello(80, 24);
    for (cell, layers, embedding) in
        [("L1.resid_post@7", 0..=1, true), ("L3.resid_post@8", 0..=3, true), ("L0.resid_post@2", 0..=0, true)]
    {
        let said = into_graph(&mut h, cell);
        assert_eq!((h.app.tab, shown(&h).flat), (Tab::Graph, true), "{cell}: {said}");
        assert!(said.starts_with(&format!("{cell} is no node")), "{said}");
        let position = cell.parse::<Address>().unwrap().position.unwrap() as u32;
        let graph = shown(&h);
        let writes = |n: &mechscope::graph::Node| match n.kind {
            NodeKind::Logit { .. } => false,
            NodeKind::Embedding { .. } | NodeKind::PositionalEmbedding => embedding,
            _ => n.layer.is_some_and(|l| layers.contains(&l)),
        };
        let expected: Vec<usize> = (0..graph.graph.nodes.len())
            .filter(|at| graph.pruned.nodes()[*at])
            .filter(|at| graph.graph.nodes[*at].position == Some(position) && writes(&graph.graph.nodes[*at]))
            .collect();
        let mut rows: Vec<usize> = graph.rows.iter().map(|r| r.node().unwrap() as usize).collect();
        let influence = |at: &usize| graph.influence.values()[*at];
        assert!(rows.is_sorted_by(|a, b| influence(a) >= influence(b)), "{cell}: by influence");
        assert_eq!(h.app.graph_node().map(|n| n as usize), rows.first().copied(), "{cell}: the strongest");
        rows.sort_unstable();
        assert!(!rows.is_empty());
        assert_eq!(rows, expected, "{cell}");
        let screen = h.screen();
        assert!(screen.contains(&format!("what writes into {cell}")), "{screen}");
    }
    // The list leads back to the tree, and from there to all nodes again.
    let node = h.app.graph_node();
    h.press("L");
    assert_eq!((shown(&h).flat, h.app.graph_node()), (false, node));
    h.press("L");
    assert_eq!(shown(&h).rows.len(), shown(&h).pruned.n_nodes());
    h.press("Ctrl-o");
    assert_ne!(h.app.tab, Tab::Graph, "back to where it was asked");
}

/// On a head that was tested the key of edges turns round: the edges that it carried, each as much as the edge itself says.
#[test]
fn a_head_leads_to_the_edges_that_it_carries() {
    let mut h = hello(160, 50);
    h.press("3 g r x");
    let (layer, head) = h.app.selection.head;
    assert_eq!((h.app.graph.beside, h.app.side), (Beside::Edge, true));
    let screen = h.screen();
    assert!(screen.contains(&format!("L{layer}.H{head}, of the 40 strongest edges")), "{screen}");
    let report = h.app.pane(Slot::GraphSide).report.clone().expect("a report");
    let part = report.parts.iter().find(|p| p.name == "edges").expect("the edges");
    let Body::Table(table) = &part.body else { panic!("no table") };
    assert!(table.rows.len() >= 3, "{}", table.rows.len());
    let graph = &shown(&h).graph;
    let model = Model::open("hello", Options::default(), Box::new(|_, _| {})).unwrap();
    let graph_run = GraphRun::new(&model, None, graph).unwrap();
    // Positional embeddings have no address.
    let at = |cell: &Cell| {
        let found = match cell {
            Cell::Address(address) => graph.nodes.iter().position(|n| n.address().as_ref() == Some(address)),
            Cell::Text(name) => graph.nodes.iter().position(|n| n.name() == *name),
            other => panic!("{other:?}"),
        };
        found.unwrap_or_else(|| panic!("{cell:?} is no node")) as u32
    };
    let mut before = f32::INFINITY;
    for row in &table.rows {
        let (source, target) = (at(&row[0]), at(&row[1]));
        let (Cell::Number(through), Cell::Number(edge)) = (&row[2], &row[3]) else { panic!("{row:?}") };
        let weight = graph.edges.weight(target as usize, source).expect("an edge of the graph");
        assert!((weight - edge).abs() < 1e-4 * weight.abs().max(1.0), "{weight} and {edge}");
        let loadings = graph_run.loadings(source, target, Gate::default()).unwrap();
        let of = (0..loadings.through.len()).find(|at| loadings.head(*at) == (layer, head)).unwrap();
        assert!((loadings.through[of] - through).abs() < 1e-5, "{} and {through}", loadings.through[of]);
        assert!(through.abs() <= before, "the most first");
        before = through.abs();
    }
    // Its ends are nodes to go to.
    let end = table.rows[0].iter().find_map(|cell| if let Cell::Address(a) = cell { Some(a.clone()) } else { None });
    let end = end.expect("an end with an address");
    h.press("Enter");
    let there = shown(&h).graph.nodes[h.app.graph_node().unwrap() as usize].address();
    assert_eq!((there, h.app.tab, h.app.side), (Some(end), Tab::Graph, false));
}

/// The rows of a method are units too: an MLP leads to what it is made of.
#[test]
fn from_an_mlp_to_its_own_nodes() {
    let mut h = hello(80, 24);
    h.press("M");
    h.type_text("attribute");
    h.press("Enter /");
    h.type_text("L2.mlp");
    h.press("Enter g r");
    assert!(shown(&h).flat, "{:?}", h.app.message);
    for row in &shown(&h).rows {
        let node = &shown(&h).graph.nodes[row.node().unwrap() as usize];
        assert_eq!((node.layer, node.position), (Some(2), Some(8)), "{}", node.name());
    }
    // Where the thresholds leave nothing of it, that is said.
    h.press(":");
    h.type_text("thresholds 0.01");
    h.press("Enter Ctrl-o g r");
    let said = h.app.message.clone().unwrap();
    assert!(said.contains("nodes that write into L2.mlp@8 are below the threshold: > keeps more"), "{said}");
}

#[test]
fn a_head_is_no_node_and_its_test_says_why() {
    let mut h = hello(80, 24);
    h.press("3 g r");
    let (layer, head) = h.app.selection.head;
    let unit = format!("L{layer}.H{head}");
    let said = h.app.message.clone().unwrap();
    assert!(said.starts_with(&format!("{unit} is no node: measured ")), "{said}");
    assert_eq!((h.app.graph.beside, h.app.side), (Beside::Tests, true));
    assert_eq!(h.app.pane(Slot::GraphSide).address(), unit.parse().ok(), "the cursor is on it");
    // Every head was tested: as a list to go on from.
    let heads = shown(&h).graph.verified.iter().filter(|t| matches!(t.subject, Subject::Unit(_))).count();
    assert_eq!(heads, 16);
    assert!(why(&h).contains("heads carry edges (x says which)"), "{}", why(&h));
    let test = shown(&h).graph.verified.iter().find(|t| t.subject == Subject::Unit(unit.clone())).unwrap();
    let (measured, prompt) = (f64::from(test.target().unwrap().measured), h.app.prompt.clone().unwrap());
    let independent = change(&prompt, &format!("{unit}=0"), target(&h));
    assert!((measured - independent).abs() < 1e-4, "{measured} and {independent}");
    // A second time it is known.
    h.press("Ctrl-o g r");
    assert!(h.app.message.clone().unwrap().starts_with(&format!("{unit} is no node: measured ")));
    h.press("R");
    assert_ne!(h.app.graph.beside, Beside::Tests);
}

#[test]
fn keys_in_messages_are_those_of_the_keymap() {
    let mut h = hello(80, 24);
    let mine = "[graph]\n\"x\" = \"\"\n\"Z\" = \"explain_edge\"\n\"b\" = \"\"\n\"C\" = \"\"\n\"v\" = \"\"\n".to_owned();
    h.app.keymap = Keymap::load(&[], &[("mine.toml".into(), mine)]).unwrap();
    h.press("D");
    assert!(h.app.message.as_ref().unwrap().contains(":basis makes the other"), "{:?}", h.app.message);
    h.press("R");
    assert!(h.screen().contains(":test_node tests a node"), "{}", h.screen());
    h.press("3 g r");
    assert!(why(&h).contains("(Z says which)"), "{}", why(&h));
}

#[test]
fn a_neuron_below_the_threshold_is_shown() {
    let mut h = hello(80, 24);
    let graph = shown(&h);
    let below = graph.graph.nodes.iter().zip(graph.pruned.nodes());
    let below: Vec<String> =
        below.filter(|(n, kept)| n.kind == NodeKind::Neuron && !**kept).map(|(n, _)| n.name()).collect();
    let (first, before) = (below.first().expect("a pruned neuron").clone(), graph.pruned.thresholds().node());
    let said = into_graph(&mut h, &first);
    assert!(said.contains("was below the threshold") && said.contains("(0.8 before)"), "{said}");
    assert_eq!((h.app.tab, node_name(&h)), (Tab::Graph, first.clone()));
    let after = shown(&h).pruned.thresholds().node();
    assert!(after > before && after < 1.0, "{after}: no more than it takes");
    let at = h.app.graph_node().unwrap() as usize;
    assert!(shown(&h).influence.cumulative()[at] <= after);
}

#[test]
fn a_neuron_outside_the_graph_is_measured() {
    let mut h = hello(80, 24);
    // The neurons with the smallest attribution are in no graph.
    h.press("4");
    let prompt = h.app.prompt.clone().unwrap();
    let graph = shown(&h);
    let absent = |n: usize| !graph.graph.nodes.iter().any(|node| node.name() == format!("L2.N{n}@8"));
    let neuron = (0..512).find(|n| absent(*n)).expect("a neuron that is no node");
    let unit = format!("L2.N{neuron}@8");
    let said = into_graph(&mut h, &unit);
    assert!(said.starts_with(&format!("{unit} is no node: measured ")), "{said}");
    let test = shown(&h).graph.verified.last().unwrap();
    assert_eq!((&test.subject, &test.with), (&Subject::Unit(unit.clone()), &Intervention::Zero));
    let (effect, text) = (test.target().unwrap().clone(), why(&h));
    let independent = change(&prompt, &format!("{unit}=0"), target(&h));
    assert!((f64::from(effect.measured) - independent).abs() < 1e-4, "{} and {independent}", effect.measured);
    // Its attribution is activation times gradient of the target less the mean of all logits.
    let model = Model::open("hello", Options::default(), Box::new(|_, _| {})).unwrap();
    let ids = model.encode(&prompt, Bos::Auto).unwrap().ids();
    let trace = model.run(&ids, &Sites::Standard, Logits::Last).unwrap();
    let (n, target) = (model.decoder.arch.d_vocab, target(&h));
    let weight = |id: usize| f32::from(u8::from(id == target)) - 1.0 / n as f32;
    let weights: Vec<(u32, f32)> = (0..n).map(|id| (id as u32, weight(id))).collect();
    let relp = model.decoder.relp(&trace, &weights, 8, Gate::Half, Passes::default(), &mut |_, _| Ok(())).unwrap();
    let gradient: Vec<f32> = relp.neurons[2].get(8).unwrap().to_vec1().unwrap();
    let activation = trace.row("blocks.2.mlp.hook_post".parse().unwrap(), 8).unwrap()[neuron];
    let attribution = gradient[neuron] * activation;
    assert!((attribution + effect.predicted.unwrap()).abs() < 1e-4, "{attribution} and {:?}", effect.predicted);
    assert!(text.contains("RelP attribution to the target is "), "{text}");
    assert!(text.contains("is not among the graph's ") && text.contains(" units"), "{text}");
    assert!(text.contains("That is little of the target's +19.11"), "{text}");
    // The same test by hand, from its row.
    let before = shown(&h).graph.verified.len();
    h.press("m v");
    let again = shown(&h).graph.verified.last().unwrap();
    assert_eq!((&again.subject, &again.with), (&Subject::Unit(unit), &Intervention::Mean));
    assert_eq!(shown(&h).graph.verified.len(), before + 1);
    h.press("Ctrl-o");
    assert_eq!(h.app.tab, Tab::Neurons);
}

#[test]
fn a_neuron_that_acts_through_patterns_is_said_to() {
    let mut h = Harness::of(Session::new("hello"), 80, 24);
    h.press("i Ctrl-u");
    h.type_text("When Anna and Tom went to the store, Tom gave a drink to");
    h.press("Enter 5");
    // A graph of the strongest few: this neuron is not among them, and what it does goes through patterns.
    h.press(":");
    h.type_text("thresholds 0.3");
    h.press("Enter");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("few.json");
    h.press("w");
    h.type_text(&file.display().to_string());
    h.press("Enter");
    let Some(Effect::Write { bytes, .. }) = h.effects.last() else { panic!("nothing to write") };
    std::fs::write(&file, bytes).unwrap();
    h.press(":");
    h.type_text(&format!("open_graph {}", file.display()));
    h.press("Enter");
    let said = into_graph(&mut h, "L0.N14@14");
    assert!(said.contains("acts through attention patterns"), "{said}");
    let effect = shown(&h).graph.verified.last().unwrap().target().unwrap().clone();
    assert_eq!(effect.cause(), Some(Cause::Patterns));
    assert!(effect.measured.abs() > 0.4 && effect.predicted.unwrap().abs() < 0.1, "{effect:?}");
    assert!(why(&h).contains("no edge can show it"), "{}", why(&h));
}
