//! What interventions must do, whatever the model.

mod common;

use candle_core::{Device, Tensor};
use common::{Reference, references};
use mechscope::address::Edit;
use mechscope::model::Model;
use mechscope::model::edit::{Plan, Reference as From, References, needs};
use mechscope::model::forward::{Logits, Start};
use mechscope::model::site::{BlockSite, Site, Sites};
use mechscope::model::text::Bos;
use mechscope::model::trace::Trace;
use proptest::prelude::*;

const PROMPT: &str = "The king said to the people";
const OTHER: &str = "The people said to the king";

fn families() -> Vec<Reference> {
    let mut all = references();
    all.retain(|r| r.name.starts_with("tiny-") && !r.name.ends_with("-sharded"));
    all.dedup_by(|a, b| a.name == b.name);
    all
}

fn edits(list: &[&str]) -> Vec<Edit> {
    list.iter().map(|e| e.parse().unwrap_or_else(|x| panic!("{e}: {x:#}"))).collect()
}

fn logits(t: &Trace) -> Vec<f32> {
    t.logits().unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn clean(model: &Model, prompt: &str) -> Trace {
    let ids = model.encode(prompt, Bos::Auto).unwrap().ids();
    model.run(&ids, &Sites::Standard, Logits::All).unwrap()
}

fn edited(model: &Model, clean: &Trace, list: &[&str]) -> Vec<f32> {
    let run = model.run_edited(clean, &edits(list), Bos::Auto, &Sites::None, Logits::All, &mut |_, _| Ok(()));
    logits(&run.unwrap_or_else(|e| panic!("{list:?}: {e:#}")))
}

#[test]
fn patching_a_run_from_itself_changes_nothing_bit_for_bit() {
    for reference in families() {
        let model = reference.model();
        let clean = clean(&model, PROMPT);
        let mut units =
            vec!["embed", "L0.resid_pre", "L1.resid_post", "L1.H2", "L0.N5", "L1.attn", "L2.mlp", "L1.H0@3"];
        if !model.decoder.arch.parallel {
            units.push("L2.resid_mid@-1");
        }
        for unit in units {
            let edit = format!("{unit}=from:{PROMPT:?}");
            assert_eq!(edited(&model, &clean, &[&edit]), logits(&clean), "{}: {edit}", reference.name);
        }
    }
}

#[test]
fn patching_everything_from_another_prompt_gives_that_prompts_logits() {
    for reference in families() {
        let model = reference.model();
        let (one, other) = (clean(&model, PROMPT), clean(&model, OTHER));
        assert_ne!(logits(&one), logits(&other));
        let whole_stream = format!("L0.resid_pre=from:{OTHER:?}");
        assert_eq!(edited(&model, &one, &[&whole_stream]), logits(&other), "{}", reference.name);
        let mut everything = vec![format!("embed=from:{OTHER:?}")];
        for l in 0..model.decoder.arch.n_layers {
            everything.extend(["attn", "mlp"].map(|part| format!("L{l}.{part}=from:{OTHER:?}")));
        }
        let everything: Vec<&str> = everything.iter().map(String::as_str).collect();
        assert_eq!(edited(&model, &one, &everything), logits(&other), "{}", reference.name);
    }
}

#[test]
fn zeroing_a_head_equals_deleting_its_output_weights() {
    for reference in families() {
        let mut model = reference.model();
        let before = clean(&model, PROMPT);
        let ablated = edited(&model, &before, &["L1.H2=0"]);
        let width = model.decoder.arch.d_head;
        let o = &mut model.decoder.blocks[1].attention.o;
        let mut rows: Vec<Vec<f32>> = o.weight.to_vec2().unwrap();
        rows.iter_mut().for_each(|r| r[2 * width..3 * width].fill(0.0));
        o.weight = Tensor::new(rows, &Device::Cpu).unwrap();
        assert_eq!(ablated, logits(&clean(&model, PROMPT)), "{}", reference.name);
        assert_ne!(ablated, logits(&before), "{}", reference.name);
    }
}

#[test]
fn a_neuron_set_scaled_and_added_to() {
    for reference in families() {
        let model = reference.model();
        let clean = clean(&model, PROMPT);
        let post = clean.block(1, BlockSite::MlpPost).unwrap().to_vec2::<f32>().unwrap();
        let (was, last) = (post[2][7], post.len() - 1);
        let set = format!("L1.N7@2={}", was * 3.0);
        assert_eq!(edited(&model, &clean, &["L1.N7@2*=3"]), edited(&model, &clean, &[&set]), "{}", reference.name);
        let mean = post.iter().map(|r| r[7] as f64).sum::<f64>() / post.len() as f64;
        let by_mean = edited(&model, &clean, &[&format!("L1.N7@{last}={}", mean as f32)]);
        assert_eq!(edited(&model, &clean, &["L1.N7@-1=mean"]), by_mean, "{}", reference.name);
        let of_itself = format!("L1.N7@-1=mean:{PROMPT:?}");
        assert_eq!(edited(&model, &clean, &[&of_itself]), by_mean, "{}", reference.name);
        let nothing = edited(&model, &clean, &["L1.N7+=0"]);
        assert_eq!(nothing, logits(&clean), "{}", reference.name);
    }
}

#[test]
fn a_cut_edge_leaves_the_rest_of_the_row_renormalised() {
    for reference in families() {
        let model = reference.model();
        let clean = clean(&model, PROMPT);
        let cut = edits(&["L1.H1@4<-3=0"]);
        let sites = Sites::only([Site::Block(1, BlockSite::Pattern)]);
        let run = model.run_edited(&clean, &cut, Bos::Auto, &sites, Logits::All, &mut |_, _| Ok(())).unwrap();
        let pattern = |t: &Trace| t.block(1, BlockSite::Pattern).unwrap().to_vec3::<f32>().unwrap();
        let (before, after) = (pattern(&clean), pattern(&run));
        let rest = 1.0 - before[1][4][3];
        for k in 0..=4 {
            let want = if k == 3 { 0.0 } else { before[1][4][k] / rest };
            assert!((after[1][4][k] - want).abs() < 1e-5, "{}: key {k}", reference.name);
        }
        assert_eq!(before[0], after[0], "{}: other heads", reference.name);
        assert_eq!(before[1][3], after[1][3], "{}: other queries", reference.name);
        // The first position sees nothing but itself.
        let alone = edited(&model, &clean, &["L1.H1@0<-0=0"]);
        assert!(alone.iter().all(|x| x.is_finite()), "{}", reference.name);
    }
}

#[test]
fn steering_adds_the_difference_of_two_prompts_at_their_last_positions() {
    let reference = &families()[0];
    let model = reference.model();
    let (one, other) = (clean(&model, PROMPT), clean(&model, OTHER));
    let last = |t: &Trace| t.block(1, BlockSite::ResidPost).unwrap().get(t.n_pos() - 1).unwrap();
    let vector = ((last(&one) - last(&other)).unwrap() * 2.5).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("way.safetensors");
    candle_core::safetensors::save(&[("v", vector)].into_iter().collect(), &file).unwrap();
    let by_name = format!("L1.resid_post@-1+=steer:{:?}*2", file.display().to_string());
    let by_prompts = format!("L1.resid_post@-1+=diff:{PROMPT:?}-{OTHER:?}*5");
    let (a, b) = (edited(&model, &one, &[&by_name]), edited(&model, &one, &[&by_prompts]));
    assert!(common::disagreement(&a, &b).is_none());
    assert_ne!(a, logits(&one));
}

#[test]
fn an_edit_that_touches_nothing_is_an_error_that_says_why() {
    let all = families();
    let by_name = |name: &str| all.iter().find(|r| r.name == name).unwrap().model();
    let (llama, neox, mistral) = (by_name("tiny-llama"), by_name("tiny-gpt-neox"), by_name("tiny-mistral"));
    let long = "king ".repeat(12);
    for (model, prompt, edit, says) in [
        (&llama, PROMPT, "L9.H0=0", "layers 0..=2"),
        (&llama, PROMPT, "L0.H4=0", "heads 0..=3"),
        (&llama, PROMPT, "L0.N128=0", "neurons 0..=127"),
        (&llama, PROMPT, "L0.N1@99=0", "positions 0..="),
        (&llama, PROMPT, "L0.F1=0", "no dictionary"),
        (&llama, PROMPT, "L0.H0@1<-3=0", "keys 0..=1"),
        (&llama, PROMPT, "L0.H0=from:\"The king\"", "tokens"),
        (&llama, PROMPT, "L0.N3+=diff:\"a\"-\"b\"*1", "neuron"),
        (&llama, PROMPT, "L0.attn+=steer:no_such_direction*1", "no_such_direction"),
        (&neox, PROMPT, "L0.resid_mid=0", "resid_mid"),
        (&mistral, &long, "L0.H0@11<-1=0", "window"),
    ] {
        let clean = clean(model, prompt);
        let run = model.run_edited(&clean, &edits(&[edit]), Bos::Auto, &Sites::None, Logits::Last, &mut |_, _| Ok(()));
        let error = format!("{:#}", run.err().unwrap_or_else(|| panic!("{edit} was accepted")));
        assert!(error.contains(says) && error.contains(edit.split('=').next().unwrap()), "{edit}: {error}");
    }
}

struct Unused;
impl References for Unused {
    fn site(&mut self, _: From, site: Site) -> anyhow::Result<Tensor> {
        anyhow::bail!("{site} is not needed")
    }
    fn direction(&mut self, name: &str, _: usize) -> anyhow::Result<Vec<f32>> {
        anyhow::bail!("{name} is not needed")
    }
}

#[test]
fn a_batch_of_edits_equals_one_run_for_each() {
    for reference in families() {
        let model = reference.model();
        let one = clean(&model, PROMPT);
        let lists = [edits(&["L1.H2=0"]), edits(&["L2.N3@1=2"]), edits(&["L1.H1@4<-3=0", "L0.mlp*=2"]), vec![]];
        let lists: Vec<&[Edit]> = lists.iter().map(Vec::as_slice).collect();
        let plan = Plan::batch(&model.decoder, &lists, one.n_pos(), &mut Unused).unwrap();
        let prompts = vec![one.tokens().to_vec(); lists.len()];
        let step = &mut |_: usize, _: usize| Ok(());
        let run = model.decoder.run(Start::Tokens(&prompts), &Sites::None, &plan, Logits::All, step).unwrap();
        for (b, list) in lists.iter().enumerate() {
            let alone = model.run_edited(&one, list, Bos::Auto, &Sites::None, Logits::All, &mut |_, _| Ok(())).unwrap();
            let of: Vec<f32> = run.of(b, Site::Logits).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            assert!(common::disagreement(&of, &logits(&alone)).is_none(), "{}: {list:?}", reference.name);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_run_from_the_first_edited_layer_equals_the_full_edited_run(
        family in 0usize..11,
        list in prop::collection::vec((0usize..3, 0usize..5, 0usize..4, 0i64..5, -2f32..2.0), 1..4),
    ) {
        let all = families();
        let model = all[family % all.len()].model();
        let clean = clean(&model, PROMPT);
        let list: Vec<Edit> = list.into_iter().map(|(l, kind, n, p, v)| match kind {
            0 => format!("L{l}.H{n}*={v}"),
            1 => format!("L{l}.N{n}@{p}={v}"),
            2 => format!("L{l}.mlp@{p}=mean"),
            3 => format!("L{l}.H{n}@4<-{}=0", p.min(4)),
            _ => format!("L{l}.resid_pre@{p}=from:{OTHER:?}"),
        }.parse().unwrap()).collect();
        let step = || |_: usize, _: usize| Ok(());
        let short = model.run_edited(&clean, &list, Bos::Auto, &Sites::Standard, Logits::All, &mut step()).unwrap();
        // A clean run without sites has nothing to start from.
        let bare = model.run(clean.tokens(), &Sites::None, Logits::All).unwrap();
        let full = model.run_edited(&bare, &list, Bos::Auto, &Sites::Standard, Logits::All, &mut step()).unwrap();
        prop_assert_eq!(short.sites().count(), full.sites().count());
        for ((site, a), (_, b)) in short.sites().zip(full.sites()) {
            let numbers = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            prop_assert_eq!(numbers(a), numbers(b), "{}", site);
        }
        prop_assert!(!needs(&model.decoder, &list, clean.n_pos()).unwrap().is_empty());
    }
}
