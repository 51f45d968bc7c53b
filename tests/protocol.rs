//! What is sent to the engine and what comes back is plain data: written down and read again it is the same. (tests/engine.rs does this with
//! everything that a running engine is asked and answers.)

mod graph_common;

use graph_common::random_graph;
use mechscope::analysis::attribution::{Attribution, Basis, GraphId, GraphRequest};
use mechscope::analysis::generate::Sampling;
use mechscope::analysis::loadings::{EdgeQuestion, OfHead};
use mechscope::analysis::verify_request::{Subjects, TestRequest};
use mechscope::engine::{Answer, Ask, JobId, PromptQuestion, Reply, Request, Said};
use mechscope::graph::verification::Intervention;
use mechscope::report::{Axis, Cell, Column, Grid, Report, Table};
use proptest::prelude::*;
use std::sync::Arc;

fn number() -> impl Strategy<Value = f32> {
    any::<u32>().prop_map(f32::from_bits).prop_filter("finite", |x| x.is_finite())
}

fn question() -> impl Strategy<Value = PromptQuestion> {
    let edits = ["L0.H1=0", "L*.mlp@-1*=0.5", "embed@2..5=from:\"a \\\"b\\\"\"", "L1.resid_post+=diff:\"x\"-\"y\"*4"];
    let edits = proptest::sample::subsequence(edits.to_vec(), 0..=edits.len());
    (any::<String>(), any::<Option<Vec<u32>>>(), edits, any::<i64>(), any::<(Option<String>, Option<String>)>())
        .prop_map(|(prompt, ids, edits, position, (target, contrast))| {
            let edits = edits.iter().map(|text| text.parse().unwrap()).collect();
            PromptQuestion { prompt, ids, edits, position, target, contrast, dictionary: None }
        })
}

fn subjects() -> impl Strategy<Value = Subjects> {
    prop_oneof![
        any::<Vec<u32>>().prop_map(Subjects::Nodes),
        any::<(u32, u32)>().prop_map(|(from, to)| Subjects::Edge(from, to)),
        any::<(String, Vec<u32>)>().prop_map(|(label, nodes)| Subjects::Group(label, nodes)),
        any::<(String, Vec<u32>)>().prop_map(|(label, nodes)| Subjects::KeepOnly(label, nodes)),
        any::<usize>().prop_map(Subjects::Top),
        Just(Subjects::Heads),
        any::<(u16, u16)>().prop_map(|(l, n)| Subjects::Unit(format!("L{l}.N{n}@3").parse().unwrap())),
        any::<(usize, usize)>().prop_map(|(layer, head)| Subjects::HeadPlaces(layer, head)),
    ]
}

fn intervention() -> impl Strategy<Value = Intervention> {
    prop_oneof![
        Just(Intervention::Zero),
        Just(Intervention::Mean),
        any::<String>().prop_map(Intervention::Resample),
        number().prop_map(Intervention::Scale),
    ]
}

fn ask() -> impl Strategy<Value = Ask> {
    let sampling =
        (any::<u64>(), number()).prop_map(|(seed, temperature)| Sampling { temperature, ..Sampling::seeded(seed) });
    let graph = (any::<(String, Option<String>, Option<String>, Option<usize>)>(), any::<bool>());
    prop_oneof![
        any::<String>().prop_map(Ask::Open),
        question().prop_map(Ask::Next),
        (question(), any::<usize>(), proptest::option::of(sampling))
            .prop_map(|(question, count, sampling)| Ask::Generate { question, count, sampling }),
        graph.prop_map(|((prompt, target, dictionary, max_nodes), features)| {
            let basis = if features { Basis::Features } else { Basis::Neurons };
            Ask::Graph(GraphRequest { prompt, target, dictionary, max_nodes, basis, ..GraphRequest::default() })
        }),
        any::<(u64, Option<String>, u32, u32)>().prop_map(|(graph, dictionary, source, target)| {
            Ask::Edge(EdgeQuestion { graph: GraphId(graph), dictionary, source, target })
        }),
        any::<(u64, (usize, usize), Vec<(u32, u32)>)>().prop_map(|(graph, head, edges)| {
            Ask::EdgesOf(OfHead { graph: GraphId(graph), dictionary: None, head, edges })
        }),
        (any::<(u64, Option<String>, u32)>(), subjects(), intervention()).prop_map(
            |((graph, dictionary, target), what, with)| {
                Ask::Test(TestRequest { graph: GraphId(graph), dictionary, target, what, with })
            }
        ),
        (any::<String>(), question(), any::<Vec<(String, String)>>())
            .prop_map(|(name, question, params)| Ask::Method { name, question, params }),
    ]
}

/// One cell of every kind of column.
fn cells() -> [BoxedStrategy<Cell>; 6] {
    let empty = || Just(Cell::Empty);
    let address = any::<(u16, u16)>().prop_map(|(l, h)| Cell::Address(format!("L{l}.H{h}@-1").parse().unwrap()));
    [
        prop_oneof![empty(), any::<String>().prop_map(Cell::Text)].boxed(),
        prop_oneof![empty(), any::<String>().prop_map(Cell::Token)].boxed(),
        prop_oneof![empty(), any::<String>().prop_map(Cell::Text), address].boxed(),
        prop_oneof![empty(), any::<i64>().prop_map(Cell::Integer)].boxed(),
        prop_oneof![empty(), number().prop_map(Cell::Number), Just(Cell::Number(f32::NEG_INFINITY))].boxed(),
        prop_oneof![empty(), proptest::collection::vec(number(), 0..5).prop_map(Cell::Series)].boxed(),
    ]
}

fn report() -> impl Strategy<Value = Report> {
    let rows = proptest::collection::vec(cells().to_vec(), 0..6);
    (any::<(String, String)>(), proptest::strategy::Union::new(cells()), rows, proptest::collection::vec(number(), 6))
        .prop_map(|((name, note), fact, rows, values)| {
            let mut table = Table::new([
                Column::text(&name),
                Column::token("token"),
                Column::address("unit"),
                Column::integer("rank"),
                Column::number("effect", "logit", 3),
                Column::series("activations"),
            ]);
            rows.into_iter().for_each(|row| table.push(row));
            let axis = |name, n: usize| Axis::new(name, (0..n).map(|i| i.to_string()));
            let grid = Grid::new(axis("query", 2), axis("key", 3), values, "", 2).unwrap();
            let mut report = Report::default();
            report.fact("fact", fact).table("table", &name, table).grid("grid", &note, grid).note("note", note);
            report
        })
}

fn said() -> impl Strategy<Value = Said> {
    let graph = (random_graph(30), any::<u64>(), any::<Vec<String>>()).prop_map(|(graph, id, warnings)| {
        let words = vec![vec!["\"é\"".to_owned()]; graph.nodes.len()];
        let drivers = vec![Vec::new(); graph.nodes.len()];
        Answer::Graph(Arc::new(Attribution { id: GraphId(id), graph, promoted: words, drivers, warnings }))
    });
    let answer = prop_oneof![report().prop_map(|report| Answer::Report(Arc::new(report))), graph];
    prop_oneof![
        (answer.clone(), any::<u64>()).prop_map(|(answer, passes)| Said::Done(answer, passes)),
        answer.prop_map(Said::Partial),
        any::<String>().prop_map(Said::Failed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn requests_are_read_back_as_they_were(job in any::<u64>(), ask in ask()) {
        let request = Request { job: JobId(job), ask };
        let text = serde_json::to_string(&request).unwrap();
        prop_assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
    }

    #[test]
    fn replies_are_read_back_as_they_were(job in any::<u64>(), said in said()) {
        let reply = Reply { job: JobId(job), said };
        let text = serde_json::to_string(&reply).unwrap();
        prop_assert_eq!(serde_json::from_str::<Reply>(&text).unwrap(), reply);
    }
}
