//! Which graph is asked for.

/// What the nodes of a graph are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// Heads, MLPs and their strongest neurons: attention is inside.
    #[default]
    Circuit,
    /// MLP neurons, with effects through attention.
    Neurons,
    /// Features of the model's dictionary.
    Features,
}

impl Basis {
    /// What its nodes are, in words; of neurons and features as `--nodes` calls them.
    pub fn name(self) -> &'static str {
        match self {
            Basis::Circuit => "heads and MLPs",
            Basis::Neurons => "neurons",
            Basis::Features => "features",
        }
    }

    /// The one that a graph is compared with.
    pub fn other(self) -> Self {
        match self {
            Basis::Circuit | Basis::Neurons => Basis::Features,
            Basis::Features => Basis::Neurons,
        }
    }

    /// The next of all.
    pub fn next(self) -> Self {
        match self {
            Basis::Circuit => Basis::Neurons,
            Basis::Neurons => Basis::Features,
            Basis::Features => Basis::Circuit,
        }
    }
}

/// Which attribution graph is asked for; the default is of heads and MLPs.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct GraphRequest {
    /// The prompt.
    pub prompt: String,
    /// Its tokens where they are not those of its text: some were generated.
    pub ids: Option<Vec<u32>>,
    /// The token to explain as the user named it; none are the most probable ones.
    pub target: Option<String>,
    /// The token to subtract; of heads and MLPs none is the most probable other token, and `none` nothing.
    pub contrast: Option<String>,
    /// What its nodes are.
    pub basis: Basis,
    /// The folder of transcoders; none are the model's own.
    pub dictionary: Option<String>,
    /// At most this many units; with features, none takes every active one.
    pub max_nodes: Option<usize>,
    /// A file to read instead.
    pub file: Option<String>,
}

impl GraphRequest {
    /// The graph of a file.
    pub fn of_file(file: String) -> Self {
        GraphRequest { file: Some(file), ..GraphRequest::default() }
    }

    /// Whether both ask about the same prompt and target.
    pub fn explains_the_same(&self, other: &GraphRequest) -> bool {
        let what = |w: &GraphRequest| {
            (w.file.is_some(), w.prompt.clone(), w.ids.clone(), w.target.clone(), w.contrast.clone())
        };
        what(self) == what(other)
    }
}
