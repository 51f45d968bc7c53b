//! Writing: compact, one node or link a line, streamed.

use std::collections::HashSet;
use std::io::Write;

use anyhow::Result;
use serde_json::{Map, Value};

use super::private::{link, top};
use super::{PRIVATE, metadata, node, qparams};
use crate::graph::{Graph, NodeKind};

/// Writes a graph. Reading it back gives the same graph, except that ids shared by two nodes have become different.
pub fn write(graph: &Graph, out: &mut dyn Write) -> Result<()> {
    let names = names(graph);
    out.write_all(b"{\"metadata\":")?;
    serde_json::to_writer(&mut *out, &metadata::write(&graph.metadata))?;
    out.write_all(b",\n\"qParams\":")?;
    serde_json::to_writer(&mut *out, &qparams::write(&graph.view))?;
    out.write_all(b",\n\"nodes\":[")?;
    let mut lines = Lines::new(out);
    let mut first_target = true;
    for (node, name) in graph.nodes.iter().zip(&names) {
        if node::is_public(node) {
            let mut map = node::write(node, first_target);
            map.insert("node_id".to_owned(), Value::from(name.as_str()));
            lines.put(&map.into())?;
            first_target &= !node.kind.is_logit();
        }
    }
    out.write_all(b"],\n\"links\":[")?;
    let mut lines = Lines::new(out);
    let public = |i: u32| node::is_public(&graph.nodes[i as usize]);
    for edge in graph.edges.iter() {
        if public(edge.source) && public(edge.target) {
            let name = |i: u32| &names[i as usize];
            let mut link = link(name(edge.source), name(edge.target), edge.weight);
            let extras = graph.edge_extras.get(&(edge.target, edge.source));
            if let (Some(extras), Value::Object(map)) = (extras, &mut link) {
                map.extend(extras.clone());
            }
            lines.put(&link)?;
        }
    }
    out.write_all(b"]")?;
    let top = top::write(graph, &names);
    let rest = graph.extras.iter().filter(|(key, _)| *key != PRIVATE);
    let mut rest: Map<String, Value> = rest.map(|(k, v)| (k.clone(), v.clone())).collect();
    if !top.is_empty() {
        rest.insert(PRIVATE.to_owned(), top.into());
    }
    for (key, value) in &rest {
        out.write_all(b",\n")?;
        serde_json::to_writer(&mut *out, key)?;
        out.write_all(b":")?;
        serde_json::to_writer(&mut *out, value)?;
    }
    out.write_all(b"}\n")?;
    out.flush()?;
    Ok(())
}

/// Elements of a list, one a line.
struct Lines<'a> {
    out: &'a mut dyn Write,
    first: bool,
}

impl<'a> Lines<'a> {
    fn new(out: &'a mut dyn Write) -> Self {
        Lines { out, first: true }
    }

    fn put(&mut self, value: &Value) -> Result<()> {
        let separator: &[u8] = if self.first { b"\n" } else { b",\n" };
        self.out.write_all(separator)?;
        self.first = false;
        serde_json::to_writer(&mut *self.out, value)?;
        Ok(())
    }
}

/// The id each node is written under: its own, unless another node has it (trap 1).
fn names(graph: &Graph) -> Vec<String> {
    // Nodes that are no errors keep their ids, since links into a shared id mean them.
    let mut taken: HashSet<String> = HashSet::with_capacity(graph.nodes.len());
    let mut names = vec![String::new(); graph.nodes.len()];
    for errors in [false, true] {
        for (i, node) in graph.nodes.iter().enumerate() {
            if (node.kind == NodeKind::Error) != errors {
                continue;
            }
            let mut name = node.id.to_string();
            if taken.contains(&name)
                && let (NodeKind::Error, Some(layer), Some(position)) = (&node.kind, node.layer, node.position)
            {
                name = format!("{layer}_error_mlp_{position}");
            }
            while !taken.insert(name.clone()) {
                name.push('\'');
            }
            names[i] = name;
        }
    }
    names
}
