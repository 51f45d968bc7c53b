//! Work on graphs that are not at hand: put aside before a graph goes, taken up when it is there again.

use super::{Origin, Shown};
use crate::analysis::attribution::GraphRequest;
use crate::app::App;
use crate::app::work::GraphWork;

impl App {
    /// The work on every graph, those that are not looked at too.
    pub(in crate::app) fn works(&self) -> Vec<GraphWork> {
        let model = self.model_at_hand();
        let shown = self.graph.at_hand().filter_map(|(wanted, shown)| GraphWork::of(model, wanted, &shown.work()?));
        self.graph.kept.iter().cloned().chain(shown).collect()
    }

    /// Puts the work on a graph aside before the graph goes.
    pub(in crate::app) fn put_aside(&mut self, origin: Origin) {
        let model = self.model_at_hand();
        let work = self.graph.graph_of(origin).and_then(|(wanted, shown)| GraphWork::of(model, wanted, &shown.work()?));
        self.graph.kept.extend(work);
    }

    /// Gives a graph that arrived whole the work that was done on it before.
    pub(in crate::app) fn take_up(&mut self, wanted: &GraphRequest, shown: &mut Shown) {
        if shown.graph.metadata.partial {
            return;
        }
        let model = self.model_at_hand().to_owned();
        self.graph.kept.retain(|work| {
            // What cannot be read stays where it is: a later version may know it.
            let graph = work.answers(&model, wanted).then(|| work.read()).flatten();
            graph.as_ref().inspect(|graph| shown.take_up(graph)).is_none()
        });
    }

    /// The open model as `--model` names it; the one that is being opened may be another already.
    fn model_at_hand(&self) -> &str {
        self.model.as_ref().map_or(&self.model_name, |model| &model.name)
    }
}
