//! Marks that `mechscope view` puts into a graph: labels, groups, pins, as the explorer does.

use crate::graph::{Graph, Supernode};
use anyhow::{Context, Result, ensure};
use clap::Args;

/// What is marked.
#[derive(Args, Debug)]
pub struct Marks {
    /// Name a node; no text takes the name away; repeatable
    #[arg(long, value_name = "NODE=TEXT")]
    label: Vec<String>,
    /// Put nodes into a group of this name; repeatable
    #[arg(long, value_name = "NAME=NODE,NODE")]
    group: Vec<String>,
    /// Pin a node, or take its pin away; repeatable
    #[arg(long, value_name = "NODE")]
    pin: Vec<String>,
}

impl Marks {
    /// Whether nothing is marked.
    pub fn is_empty(&self) -> bool {
        self.label.is_empty() && self.group.is_empty() && self.pin.is_empty()
    }

    /// Puts the marks into a graph.
    ///
    /// # Errors
    /// A mark without its parts; a node that the graph does not have.
    pub fn put(&self, graph: &mut Graph) -> Result<()> {
        for mark in &self.label {
            let (name, text) = parts(mark).context("--label")?;
            let at = find(graph, name).context("--label")?;
            graph.nodes[at].relabel(text);
        }
        for mark in &self.group {
            let (label, members) = mark.rsplit_once('=').filter(|(label, _)| !label.is_empty()).with_context(|| {
                format!("--group {mark:?}; accepted: NAME=NODE,NODE with addresses or ids of nodes")
            })?;
            let ids = members.split(',').map(|name| Ok(graph.nodes[find(graph, name)?].id.to_string()));
            let ids: Vec<String> = ids.collect::<Result<_>>().context("--group")?;
            let groups = &mut graph.view.supernodes;
            // As in the explorer: a node is in one group.
            groups.iter_mut().for_each(|group| group.members.retain(|member| !ids.contains(member)));
            groups.retain(|group| !group.members.is_empty() && group.label != label);
            groups.push(Supernode { label: label.to_owned(), members: ids });
        }
        for name in &self.pin {
            let id = graph.nodes[find(graph, name).context("--pin")?].id.to_string();
            let pinned = &mut graph.view.pinned;
            match pinned.iter().position(|pin| *pin == id) {
                Some(at) => drop(pinned.remove(at)),
                None => pinned.push(id),
            }
        }
        Ok(())
    }
}

fn parts(mark: &str) -> Result<(&str, &str)> {
    let parts = mark.split_once('=').with_context(|| format!("found {mark:?}; accepted: NODE=TEXT"))?;
    ensure!(!parts.0.is_empty(), "found {mark:?}; accepted: NODE=TEXT");
    Ok(parts)
}

fn find(graph: &Graph, name: &str) -> Result<usize> {
    let found = graph.node_called(name);
    found.with_context(|| {
        format!("the graph has no node {name:?}; accepted: an address or an id of its {} nodes", graph.nodes.len())
    })
}
