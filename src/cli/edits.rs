//! Interventions on the command line: `--edit`, and the dictionary whose features edits name.

use super::graph::warn_of_another_model;
use super::hub::HubArgs;
use crate::address::Edit;
use crate::model::Model;
use crate::model::dictionary::Dictionary;
use crate::report::{Column, Report, Table};
use anyhow::Result;
use clap::Args;
use std::sync::Arc;

/// Interventions.
#[derive(Args, Debug)]
pub struct EditArgs {
    /// An intervention, repeatable: L7.N1042@5=0  L7.H3=mean  L7.N1042*=2  L7.H3@5=from:"Other prompt"  L5.H1@7<-3=0
    /// L9.resid_post@-1+=steer:NAME*4  L9.resid_post+=diff:"I love"-"I hate"*4  L*.resid_post=ablate:dir:NAME; all that is accepted: mechscope
    /// intervene --help
    #[arg(short, long = "edit", value_name = "EDIT", allow_hyphen_values = true)]
    pub edits: Vec<Edit>,
}

/// The dictionary of edits.
#[derive(Args, Debug, Default)]
pub struct EditDictionary {
    /// The transcoders whose features edits name (L7.F877@5=0): a folder or a name in the Hugging Face cache; those that travel with the model
    /// when not given
    #[arg(long, value_name = "DIR")]
    pub dictionary: Option<String>,
}

impl EditArgs {
    /// Adds the edits to a report, as they were understood.
    pub fn list(&self, report: &mut Report) {
        if !self.edits.is_empty() {
            let mut table = Table::new([Column::text("edit")]);
            self.edits.iter().for_each(|e| table.push([e.to_string().into()]));
            report.table("edits", "Edits", table);
        }
    }
}

impl EditDictionary {
    /// Has the transcoders at hand that features in edits are of.
    ///
    /// # Errors
    /// There are none, or they do not fit the model.
    pub fn open(&self, model: &Model, edits: &EditArgs, hub: HubArgs) -> Result<()> {
        if self.dictionary.is_none() && !edits.edits.iter().any(Edit::names_a_feature) {
            return Ok(());
        }
        let dictionary = match &self.dictionary {
            Some(name) => hub.dictionary(name, || Dictionary::find(name, &model.decoder))?,
            None => Dictionary::of(model, None)?,
        };
        warn_of_another_model(Some(&dictionary), model);
        model.use_dictionary(Arc::new(dictionary));
        Ok(())
    }
}
