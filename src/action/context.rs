//! Where keys are read, and where an action is done.

/// Where keys are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Context {
    /// Everywhere but in text entry.
    Normal,
    /// On the Prompt tab, before [`Context::Normal`].
    Prompt,
    /// On the Lens tab, before [`Context::Normal`].
    Lens,
    /// On the Heads tab, before [`Context::Normal`].
    Heads,
    /// On the Neurons tab, before [`Context::Normal`].
    Neurons,
    /// On the Graph tab, before [`Context::Normal`].
    Graph,
    /// On the Patch tab, before [`Context::Normal`].
    Patch,
    /// In the list of edits, before [`Context::Normal`].
    Edits,
}

impl Context {
    /// Every context.
    pub const ALL: [Context; 8] = [
        Context::Normal,
        Context::Prompt,
        Context::Lens,
        Context::Heads,
        Context::Neurons,
        Context::Graph,
        Context::Patch,
        Context::Edits,
    ];

    /// Its table in a keymap file.
    pub fn name(self) -> &'static str {
        match self {
            Context::Normal => "normal",
            Context::Prompt => "prompt",
            Context::Lens => "lens",
            Context::Heads => "heads",
            Context::Neurons => "neurons",
            Context::Graph => "graph",
            Context::Patch => "patch",
            Context::Edits => "edits",
        }
    }
}
