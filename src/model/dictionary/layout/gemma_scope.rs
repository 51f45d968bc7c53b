//! Gemma Scope: JumpReLU, `layer_{i}/width_{w}/average_l0_{n}/params.npz`, encoders `[d_model, features]`, without a config of its own.
//! Lieberum et al. 2024 (arXiv 2408.05147).

use super::{Folder, Layout, TOP_CONFIGS};
use crate::model::arch::Decoder;
use crate::model::dictionary::layer::TranscoderForm;
use crate::model::dictionary::opened::{Candidate, Opened, one_each};
use crate::model::dictionary::settings::{Nonlinearity, ReadPoint, WritePoint};
use anyhow::{Context, Result, bail};

/// Gemma Scope.
pub(super) const LAYOUT: Layout =
    Layout { name: "Gemma Scope", known_by: WEIGHTS, configs: TOP_CONFIGS, endings: &[".npz"], recognises, open };

/// The arrays of a layer.
const WEIGHTS: &str = "params.npz";

fn recognises(folder: &Folder) -> Result<bool> {
    let ours = match folder.circuit_tracer()? {
        // A list leads to some of the files, and says itself to which.
        Some(settings) => !folder.cross_layer(&settings) && settings.transcoders.is_none(),
        None => folder.config.is_none(),
    };
    Ok(ours && !folder.place.find(WEIGHTS).is_empty())
}

fn open(folder: &Folder, model: &Decoder) -> Result<Opened> {
    let place = folder.place;
    let settings = folder.circuit_tracer()?;
    // Its files say nothing of their points; these are those that Gemma Scope was trained at.
    let trained = (ReadPoint::Unweighted, WritePoint::Residual);
    let points = settings.as_ref().map_or(trained, |settings| settings.points);
    if let Some((name, what)) = sae(&place.whole()) {
        bail!(
            "{}: {name} is by its name a sparse autoencoder of {what}, not a transcoder, though its files look the same; accepted: transcoders \
             (gemma-scope-2b-pt-transcoders)",
            place.whole()
        );
    }
    let candidate = |file: String| -> Result<Candidate> {
        let named = file.split('/').find_map(|part| part.strip_prefix("layer_")?.parse().ok());
        let layer = named.with_context(|| {
            format!("{}: no folder above says the layer; accepted: layer_0, layer_1, ...", place.name(&file))
        })?;
        Ok(Candidate { layer, file, points, nonlinearity: Nonlinearity::JumpRelu, skip: None })
    };
    let found = place.find(WEIGHTS).into_iter().map(candidate).collect::<Result<_>>()?;
    let opened = one_each(place, found, model, TranscoderForm::sae_lens)?;
    Ok(Opened { model: settings.and_then(|settings| settings.model), ..opened })
}

/// The repository's name and what its features are of, where the name says that they are those of an autoencoder.
fn sae(place: &str) -> Option<(&str, &'static str)> {
    let of = |name: &str| {
        let name = name.strip_suffix("-canonical").unwrap_or(name);
        let ends = [("-res", "the residual stream"), ("-mlp", "the MLP's output"), ("-att", "attention's output")];
        ends.iter().find(|(end, _)| name.ends_with(end)).map(|(_, what)| *what)
    };
    place.split(['/', '@']).find_map(|part| Some((part, of(part)?)))
}

#[cfg(test)]
mod tests {
    use super::sae;

    #[test]
    fn autoencoders_are_known_by_their_repositories() {
        let what = |place| sae(place).map(|(_, what)| what);
        assert_eq!(what("google/gemma-scope-2b-pt-res@main"), Some("the residual stream"));
        assert_eq!(what("/x/models--google--gemma-scope-9b-it-mlp/snapshots/abc"), Some("the MLP's output"));
        assert_eq!(what("gemma-scope-2b-pt-att-canonical"), Some("attention's output"));
        assert_eq!(what("google/gemma-scope-2b-pt-transcoders"), None);
        assert_eq!(what("/models/mlp/restored"), None);
    }
}
