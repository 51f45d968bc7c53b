//! Interventions: the catalogue's entry. Edits are [`crate::model::edit`], their command is `mechscope intervene`.

use super::{About, Evidence, MethodCommand, MethodDirection};

/// The entry of `mechscope intervene`.
pub static INTERVENE: MethodCommand = MethodCommand {
    about: About {
        name: "intervene",
        title: "intervention (ablation, patching, steering)",
        question: "What does the model say when these units are changed?",
        direction: MethodDirection::BottomUp,
        unit: "any address, attention edge",
        evidence: Evidence::Intervention,
        assumes: "the changed values are ones that the rest of the model can read: zeros and large factors may be far from any run; all that comes \
                  after the change is computed anew, so other parts may make up for it",
        cost: "2 forward passes, and one for every other prompt that values are taken from",
        reference: "Wang et al. 2022, Interpretability in the Wild; Turner et al. 2023, Activation Addition",
        params: &[],
    },
    run: "mechscope intervene --prompt PROMPT --edit EDIT",
};
