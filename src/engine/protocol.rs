//! What is asked of the engine and what it answers: plain data, named by numbers, that can be written down and read back.

use crate::address::Edit;
use crate::analysis::attribution::{Attribution, GraphId, GraphRequest};
use crate::analysis::circuit::HeadPlace;
use crate::analysis::circuit_graph::{BranchPlace, CircuitBranch};
use crate::analysis::generate::{Longer, Sampling};
use crate::analysis::loadings::{EdgeQuestion, OfHead};
use crate::analysis::patch::PatchQuestion;
use crate::analysis::prediction::Next;
use crate::analysis::verify_request::{Subjects, TestRequest};
use crate::graph::verification::{Kept, TestedDrafts, Verification};
use crate::report::Report;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The number of a job; whoever asks gives it out, later jobs have larger ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub u64);

/// How long somebody is ready to wait for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// Somebody waits for it: it does not wait for what runs in the background.
    Interactive,
    /// It takes its time and steps back for what somebody waits for.
    Background,
}

/// What is counted while a job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkUnit {
    /// Hundredths of a model's files.
    Loading,
    /// Parts of a method's work: layers, or what its loops run over.
    Parts,
    /// Layers of a forward pass that something longer begins with.
    Layers,
    /// What a graph may hold is ranked: nothing is counted.
    Ranking,
    /// New tokens.
    Tokens,
    /// Rows of a graph.
    Rows,
    /// Tests, thrice: each has three runs.
    Tests,
    /// Edges of a head.
    Edges,
    /// Cells that are patched.
    Cells,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// What is counted.
    pub what: WorkUnit,
    /// Done so far.
    pub done: usize,
    /// In all.
    pub of: usize,
    /// Seconds until the end as the work went so far, time that others took left out; none before that can be told.
    pub seconds_left: Option<f32>,
}

/// What is asked about: a prompt with edits, a place in it, and what is to be explained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PromptQuestion {
    /// The prompt.
    pub prompt: String,
    /// Its tokens where they are not those of its text: some were generated.
    pub ids: Option<Vec<u32>>,
    /// The edits that are on.
    pub edits: Vec<Edit>,
    /// Where to look, negative from the end.
    pub position: i64,
    /// The token to explain as the user named it; none is the most probable one.
    pub target: Option<String>,
    /// The token to subtract.
    pub contrast: Option<String>,
    /// The transcoders that features in edits are of; none are the model's own.
    #[serde(default)]
    pub dictionary: Option<String>,
}

/// A request's content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Ask {
    /// Open a model by name; answered with [`Answer::Opened`].
    Open(String),
    /// Tokens, target and next-token table; answered with [`Answer::Next`].
    Next(PromptQuestion),
    /// The prompt with more tokens; answered with [`Answer::Prompt`].
    Generate {
        /// The prompt and its edits.
        question: PromptQuestion,
        /// How many.
        count: usize,
        /// Drawn by probability rather than the most probable.
        sampling: Option<Sampling>,
    },
    /// A prompt in the model's chat template; answered with [`Answer::Chat`].
    Chat {
        /// What the user says.
        prompt: String,
        /// What the system says before it.
        system: Option<String>,
    },
    /// The attribution graph of a prompt; answered with [`Answer::Graph`].
    Graph(GraphRequest),
    /// Which heads carried an edge; answered with [`Answer::Report`].
    Edge(EdgeQuestion),
    /// Which edges a head carried; answered with [`Answer::Report`].
    EdgesOf(OfHead),
    /// What stands below a place of a graph with attention inside, towards the node above it; answered with [`Answer::Branch`].
    Branch {
        /// The graph.
        graph: GraphId,
        /// The nodes that lead to the place from the target, which is left out.
        path: Vec<BranchPlace>,
    },
    /// Why a head of a graph with attention inside looks where it looks; answered with [`Answer::Report`].
    Looks {
        /// The graph.
        graph: GraphId,
        /// The head.
        head: HeadPlace,
    },
    /// Interventions on a graph's nodes; answered with [`Answer::Tested`].
    Test(TestRequest),
    /// Two prompts token under token; answered with [`Answer::Report`].
    Pair {
        /// The clean prompt.
        question: PromptQuestion,
        /// The corrupt one.
        corrupt: String,
    },
    /// Activation patching between two prompts, in a run without edits; answered with [`Answer::Report`].
    Patch {
        /// The clean prompt, and what is explained.
        question: PromptQuestion,
        /// The corrupt prompt.
        corrupt: String,
        /// What is patched.
        patch: PatchQuestion,
    },
    /// A method of the catalogue by name with parameters; answered with [`Answer::Report`].
    Method {
        /// The method.
        name: String,
        /// The question.
        question: PromptQuestion,
        /// Parameters that are not at their defaults.
        params: Vec<(String, String)>,
    },
}

/// A request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Which job of all it is; replies carry it back.
    pub job: JobId,
    /// What for.
    pub ask: Ask,
}

/// What is known of an open model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// What `--model` calls it.
    pub name: String,
    /// Where it computes.
    pub device: String,
    /// In what numbers.
    pub dtype: String,
    /// Layers.
    pub n_layers: usize,
    /// Query heads in a layer.
    pub n_heads: usize,
    /// Neurons in a layer.
    pub d_mlp: usize,
    /// A prompt it was made for, if it names one.
    pub example: Option<String>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Ask::Open`].
    Opened(ModelInfo),
    /// To [`Ask::Next`].
    Next(Next),
    /// To [`Ask::Generate`].
    Prompt(Longer),
    /// To [`Ask::Chat`]: the prompt in the template, and its tokens.
    Chat(String, Vec<u32>),
    /// To [`Ask::Method`], [`Ask::Pair`] and [`Ask::Patch`].
    Report(#[serde(with = "crate::report::shared")] Arc<Report>),
    /// To [`Ask::Graph`].
    Graph(#[serde(with = "crate::report::shared")] Arc<Attribution>),
    /// To [`Ask::Branch`].
    Branch(CircuitBranch),
    /// To [`Ask::Test`].
    Tested(Vec<Verification>),
    /// To an [`Ask::Test`] of a group that is kept alone.
    Kept(Kept),
    /// To an [`Ask::Test`] of drafted groups.
    Drafted(TestedDrafts),
}

/// What the engine says of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// Which job.
    pub job: JobId,
    /// What of it.
    pub said: Said,
}

/// How a job goes on or ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Said {
    /// So much of the work is done.
    Progress(Progress),
    /// The answer so far; the work goes on.
    Partial(Answer),
    /// The answer, and how many forward passes from tokens it took: none where the runs were kept from before.
    Done(Answer, u64),
    /// There is none: why.
    Failed(String),
}

/// Tokens that somebody waits for; more of them are made in the background.
const FEW_TOKENS: usize = 32;

impl Ask {
    /// How long somebody is ready to wait for it.
    pub fn lane(&self) -> Lane {
        match self {
            Ask::Graph(wanted) if wanted.file.is_none() => Lane::Background,
            Ask::Generate { count, .. } if *count > FEW_TOKENS => Lane::Background,
            Ask::Patch { .. } => Lane::Background,
            Ask::Test(tests) => match tests.what {
                Subjects::Top(_) | Subjects::Heads | Subjects::HeadPlaces(..) | Subjects::Drafts(_) => Lane::Background,
                Subjects::Nodes(_)
                | Subjects::Edge(..)
                | Subjects::Group(..)
                | Subjects::KeepOnly(..)
                | Subjects::Unit(_) => Lane::Interactive,
            },
            _ => Lane::Interactive,
        }
    }

    /// What is counted while it runs.
    pub fn work(&self) -> WorkUnit {
        match self {
            Ask::Open(_) => WorkUnit::Loading,
            Ask::Generate { .. } => WorkUnit::Tokens,
            Ask::Graph(_) => WorkUnit::Rows,
            Ask::Test(_) => WorkUnit::Tests,
            Ask::EdgesOf(_) => WorkUnit::Edges,
            Ask::Patch { .. } => WorkUnit::Cells,
            Ask::Next(_)
            | Ask::Chat { .. }
            | Ask::Edge(_)
            | Ask::Branch { .. }
            | Ask::Looks { .. }
            | Ask::Pair { .. }
            | Ask::Method { .. } => WorkUnit::Parts,
        }
    }

    /// The graph that it is about.
    pub(super) fn graph(&self) -> Option<GraphId> {
        match self {
            Ask::Edge(edge) => Some(edge.graph),
            Ask::EdgesOf(head) => Some(head.graph),
            Ask::Branch { graph, .. } | Ask::Looks { graph, .. } => Some(*graph),
            Ask::Test(tests) => Some(tests.graph),
            _ => None,
        }
    }

    /// Its place among those that wait in one lane: the model first, then the prompt, then the others as they were asked.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Ask::Open(_) => 0,
            Ask::Next(_) => 1,
            _ => 2,
        }
    }
}
