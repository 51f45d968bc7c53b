//! Topological order of a graph whose nodes come in any order.

use anyhow::{Result, bail};

use super::Edges;
use crate::cast::short;

/// All nodes, every target before its sources. Edges of weight 0 do not count.
///
/// Errors with the number of a node that lies on a cycle, if there is one; `name` turns it into words. O(edges).
pub(crate) fn targets_first(edges: &Edges, name: impl Fn(usize) -> String) -> Result<Vec<u32>> {
    let n = edges.n_nodes();
    let mut waiting = vec![0u32; n];
    for t in 0..n {
        for (source, weight) in edges.row(t).iter() {
            waiting[source as usize] += u32::from(weight != 0.0);
        }
    }
    let mut order: Vec<u32> = Vec::with_capacity(n);
    // From the end: files and engines list sources first, so the order follows memory.
    order.extend((0..short(n)).rev().filter(|&i| waiting[i as usize] == 0));
    let mut done = 0;
    while let Some(&target) = order.get(done) {
        done += 1;
        for (source, weight) in edges.row(target as usize).iter() {
            if weight != 0.0 {
                waiting[source as usize] -= 1;
                if waiting[source as usize] == 0 {
                    order.push(source);
                }
            }
        }
    }
    if order.len() < n {
        let node = on_cycle(edges, &waiting);
        bail!("the graph has a cycle through {}: influence needs a graph without cycles", name(node));
    }
    Ok(order)
}

/// A node on a cycle, given how many targets each node still waits for (some wait for ever).
fn on_cycle(edges: &Edges, waiting: &[u32]) -> usize {
    // Every waiting node has a waiting target; following them must come back.
    let mut next = vec![usize::MAX; waiting.len()];
    for t in (0..waiting.len()).filter(|&t| waiting[t] > 0) {
        for (source, weight) in edges.row(t).iter() {
            if weight != 0.0 && waiting[source as usize] > 0 {
                next[source as usize] = t;
            }
        }
    }
    let mut at = waiting.iter().position(|&w| w > 0).unwrap_or(0);
    for _ in 0..waiting.len() {
        match next[at] {
            usize::MAX => break,
            target => at = target,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Edge;

    fn edges(n: usize, list: &[(u32, u32, f32)]) -> Edges {
        let list = list.iter().map(|&(target, source, weight)| Edge { target, source, weight }).collect();
        Edges::from_list(n, list).unwrap().0
    }

    #[test]
    fn targets_come_before_sources_whatever_the_numbering() {
        let graph = edges(5, &[(0, 4, 1.0), (4, 2, 1.0), (0, 2, 1.0), (2, 3, 1.0)]);
        let order = targets_first(&graph, |i| i.to_string()).unwrap();
        let rank = |i: u32| order.iter().position(|&o| o == i).unwrap();
        assert_eq!(order.len(), 5);
        for edge in graph.iter() {
            assert!(rank(edge.target) < rank(edge.source));
        }
    }

    #[test]
    fn a_cycle_names_a_node_on_it() {
        // 5 -> 4 -> 3 -> 4 is no path of the walk's start: node 5 only leads into the cycle.
        let graph = edges(6, &[(4, 5, 1.0), (3, 4, 1.0), (4, 3, 1.0), (2, 4, 1.0), (5, 1, 1.0)]);
        let error = targets_first(&graph, |i| format!("n{i}")).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("n3:") || text.contains("n4:"), "{text}");
        let own = edges(1, &[(0, 0, 1.0)]);
        assert!(targets_first(&own, |i| i.to_string()).is_err());
    }

    #[test]
    fn edges_of_weight_zero_make_no_cycle() {
        let graph = edges(2, &[(0, 1, 1.0), (1, 0, 0.0)]);
        assert_eq!(targets_first(&graph, |i| i.to_string()).unwrap(), [0, 1]);
    }
}
