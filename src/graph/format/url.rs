//! Parameters of a viewer's address: circuit-tracer's page takes supernodes from there and ignores those in the file.

use serde_json::json;

use crate::graph::Graph;

/// What to put after `?` in the viewer's address so that it shows this graph (by its slug) with its pins and supernodes.
///
/// ```
/// use mechscope::graph::{Edges, Graph, Metadata, Supernode, format::url};
/// let mut graph = Graph::new(Metadata::default(), Vec::new(), Edges::empty(0))?;
/// graph.metadata.slug = "two hops".to_owned();
/// graph.view.pinned = vec!["0_1_2".to_owned(), "E_5_0".to_owned()];
/// graph.view.supernodes = vec![Supernode { label: "Texas & co".to_owned(), members: vec!["0_1_2".to_owned()] }];
/// assert_eq!(
///     url::query(&graph),
///     "slug=two%20hops&pinnedIds=0_1_2%2CE_5_0&supernodes=%5B%5B%22Texas%20%26%20co%22%2C%220_1_2%22%5D%5D"
/// );
/// # anyhow::Ok(())
/// ```
pub fn query(graph: &Graph) -> String {
    let groups = graph.view.supernodes.iter();
    let groups: Vec<Vec<&str>> =
        groups.map(|group| std::iter::once(&group.label).chain(&group.members).map(String::as_str).collect()).collect();
    let mut query = format!("slug={}", encoded(&graph.metadata.slug));
    if !graph.view.pinned.is_empty() {
        query.push_str(&format!("&pinnedIds={}", encoded(&graph.view.pinned.join(","))));
    }
    if !groups.is_empty() {
        query.push_str(&format!("&supernodes={}", encoded(&json!(groups).to_string())));
    }
    query
}

/// Percent-encoding of everything but letters, digits and `-_.~` (RFC 3986).
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
