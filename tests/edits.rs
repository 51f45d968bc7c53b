//! What interventions must do, whatever the model.

mod common;

use candle_core::{Device, Tensor};
use common::{Reference, references};
use mechscope::address::Edit;
use mechscope::model::Model;
use mechscope::model::dictionary::Dictionary;
use mechscope::model::edit::{EditPlan, Reference as From, References, Scope, needs};
use mechscope::model::forward::{Logits, Start};
use mechscope::model::open::Options;
use mechscope::model::ops::Route;
use mechscope::model::site::{BlockSite, Site, Sites};
use mechscope::model::text::Bos;
use mechscope::model::trace::Trace;
use proptest::prelude::*;
use std::sync::Arc;

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
        units.extend(["L1.H2.q", "L1.KV0.k@3", "L2.KV*.v", "L1.H2.pattern", "L*.H*.pattern@2..4", "L0..1.H1.q@-2.."]);
        units.extend(["L*.N3..9@..2", "L1.H1.pattern@4<-3", "blocks.1.attn.hook_z[0, 1:3]", "L*.H*@*"]);
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

// Checks I5 of ARCHITECTURE.md.
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
        (&llama, PROMPT, "L0.H1@3<-2=0.5", "accepted: L0.H1.pattern@3<-2=0.5"),
        (&llama, PROMPT, "L0.H1.pattern=mean", "behind the query"),
        (&llama, PROMPT, "L0.H1.pattern=from:\"The king\"", "tokens"),
        (&llama, PROMPT, "L0.H1.pattern=ablate:dir:x", "no direction"),
        (&llama, PROMPT, "L0.N1=ablate:dir:x", "neuron"),
        (&llama, PROMPT, "L0.attn@\" queen\"=0", "no token of this prompt is \" queen\""),
        (&llama, PROMPT, "L0.resid_post=cap:dir:no_such_direction[0..1]", "no_such_direction"),
        (&llama, PROMPT, "L0.error=0", "no dictionary"),
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
    fn prompts(&mut self, set: &str) -> anyhow::Result<Vec<String>> {
        anyhow::bail!("{set} is not needed")
    }
    fn mean(&mut self, set: &str, _: bool, _: Site) -> anyhow::Result<Tensor> {
        anyhow::bail!("{set} is not needed")
    }
    fn draw(&mut self, set: &str, _: u64, _: bool) -> anyhow::Result<String> {
        anyhow::bail!("{set} is not needed")
    }
    fn direction(&mut self, name: &str, _: Option<usize>, _: usize) -> anyhow::Result<Vec<f32>> {
        anyhow::bail!("{name} is not needed")
    }
}

#[test]
fn a_batch_of_edits_equals_one_run_for_each() {
    for reference in families() {
        let model = reference.model();
        let one = clean(&model, PROMPT);
        let lists = [
            edits(&["L1.H2=0"]),
            edits(&["L2.N3@1=2"]),
            edits(&["L1.H1@4<-3=0", "L0.mlp*=2"]),
            vec![],
            edits(&["L1.H2.pattern@3=0.25", "L1.KV0.k@2+=1"]),
            edits(&["L*.H*.q*=0.5", "L0.KV*.v@2..3=0"]),
            edits(&["L1..2.H0.pattern@*<-0*=0.5"]),
        ];
        let lists: Vec<&[Edit]> = lists.iter().map(Vec::as_slice).collect();
        let plan = EditPlan::batch(&Scope::new(&model.decoder, one.n_pos()), &lists, &mut Unused).unwrap();
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

/// A saved direction, and its name as edits write it.
fn saved(folder: &tempfile::TempDir, name: &str, vector: &Tensor) -> String {
    let file = folder.path().join(format!("{name}.safetensors"));
    candle_core::safetensors::save(&[("v", vector.clone())].into_iter().collect(), &file).unwrap();
    format!("{:?}", file.display().to_string())
}

fn stream(model: &Model, clean: &Trace, list: &[&str], layer: usize) -> Vec<Vec<f32>> {
    let sites = Sites::only([Site::Block(layer, BlockSite::ResidPost)]);
    let run = model.run_edited(clean, &edits(list), Bos::Auto, &sites, Logits::All, &mut |_, _| Ok(())).unwrap();
    run.block(layer, BlockSite::ResidPost).unwrap().to_vec2().unwrap()
}

#[test]
fn a_direction_is_projected_out_and_capped() {
    for reference in families() {
        let model = reference.model();
        let clean = clean(&model, PROMPT);
        let folder = tempfile::tempdir().unwrap();
        let rows: Vec<Vec<f32>> = clean.block(1, BlockSite::ResidPost).unwrap().to_vec2().unwrap();
        let along: Vec<f32> = rows[3].iter().zip(&rows[1]).map(|(a, b)| a + 0.5 * b).collect();
        let length = along.iter().map(|x| x * x).sum::<f32>().sqrt();
        let part = |row: &[f32]| row.iter().zip(&along).map(|(x, a)| x * a / length).sum::<f32>();
        let tensor = Tensor::new(along.as_slice(), &Device::Cpu).unwrap();
        let name = saved(&folder, "one", &tensor);
        let out = format!("L1.resid_post=ablate:dir:{name}");
        for (p, row) in stream(&model, &clean, &[&out], 1).iter().enumerate() {
            assert!(part(row).abs() < 1e-4 * length, "{}: {}", reference.name, part(row));
            let by = part(&rows[p]);
            let want: Vec<f32> = rows[p].iter().zip(&along).map(|(x, a)| x - by * a / length).collect();
            assert!(common::disagreement(row, &want).is_none(), "{}: position {p}", reference.name);
        }
        let (once, twice) = (edited(&model, &clean, &[&out]), edited(&model, &clean, &[&out, &out]));
        assert!(common::disagreement(&once, &twice).is_none(), "{}", reference.name);
        assert_ne!(once, logits(&clean), "{}", reference.name);
        // Bounds that nothing reaches change no bit; others hold.
        let wide = format!("L1.resid_post=cap:dir:{name}[-1e30..1e30]");
        assert_eq!(edited(&model, &clean, &[&wide]), logits(&clean), "{}", reference.name);
        let (low, high) = (part(&rows[1]).min(0.0), 0.5 * part(&rows[3]));
        let capped = format!("L1.resid_post=cap:dir:{name}[{low}..{high}]");
        for (row, before) in stream(&model, &clean, &[&capped], 1).iter().zip(&rows) {
            let want = part(before).max(low).min(high);
            assert!((part(row) - want).abs() < 1e-4 * length, "{}: {} {want}", reference.name, part(row));
        }
        // The same file as one row, and as one for each layer of which another is not looked at.
        let n = model.decoder.arch.n_layers;
        let one = tensor.unsqueeze(0).unwrap();
        let layers: Vec<Tensor> = (0..n).map(|l| if l == 1 { one.clone() } else { (&one * 0.0).unwrap() }).collect();
        for shaped in [one.clone(), Tensor::cat(&layers, 0).unwrap()] {
            let name = saved(&folder, "shaped", &shaped);
            let same = edited(&model, &clean, &[&format!("L1.resid_post=ablate:dir:{name}")]);
            assert_eq!(same, once, "{}", reference.name);
        }
        let by_layer = saved(&folder, "layers", &Tensor::cat(&layers, 0).unwrap());
        let refused = |edit: String| {
            let run =
                model.run_edited(&clean, &edits(&[&edit]), Bos::Auto, &Sites::None, Logits::All, &mut |_, _| Ok(()));
            format!("{:#}", run.err().unwrap_or_else(|| panic!("{edit} was accepted")))
        };
        assert!(refused(format!("embed=ablate:dir:{by_layer}")).contains("one row for each layer"));
        assert!(refused(format!("L2.resid_post=ablate:dir:{by_layer}")).contains("zero everywhere"));
        assert!(refused(format!("L1.H0=ablate:dir:{name}")).contains("accepted: ["));
    }
}

#[test]
fn a_key_or_value_head_patched_is_patched_for_all_that_share_it() {
    for reference in families() {
        let model = reference.model();
        let a = &model.decoder.arch;
        let (one, other) = (clean(&model, PROMPT), clean(&model, OTHER));
        // With keys and queries of another run, attention looks as it does there; with the values too, heads mix the same.
        let (pattern, z) = (Site::Block(1, BlockSite::Pattern), Site::Block(1, BlockSite::Z));
        let run = |list: &[&str]| {
            let sites = Sites::only([pattern, z]);
            model.run_edited(&one, &edits(list), Bos::Auto, &sites, Logits::All, &mut |_, _| Ok(())).unwrap()
        };
        let from = |unit: &str| format!("{unit}=from:{OTHER:?}");
        let looks = run(&[&from("L1.H*.q"), &from("L1.KV*.k")]);
        assert_eq!(looks.numbers(pattern).unwrap(), other.numbers(pattern).unwrap(), "{}", reference.name);
        let mixes = run(&[&from("L1.H*.q"), &from("L1.KV*.k"), &from("L1.KV*.v")]);
        assert_eq!(mixes.numbers(z).unwrap(), other.numbers(z).unwrap(), "{}", reference.name);
        // One key/value head touches its own group and no other.
        let group = a.n_heads / a.n_kv_heads;
        let kv = a.n_kv_heads - 1;
        let one_kv = run(&[&format!("L1.KV{kv}.v=0")]);
        let rows = |t: &Trace| t.block(1, BlockSite::Z).unwrap().to_vec3::<f32>().unwrap();
        for (after, before) in rows(&one_kv).iter().zip(rows(&one)) {
            for h in 0..a.n_heads {
                let touched = h / group == kv;
                assert_eq!(after[h].iter().all(|x| *x == 0.0), touched, "{}: head {h}", reference.name);
                assert!(touched || after[h] == before[h], "{}: head {h}", reference.name);
            }
        }
        let of_head = format!("L1.H{}.v=0", a.n_heads - 1);
        if group == 1 {
            assert_eq!(rows(&run(&[&of_head])), rows(&one_kv), "{}", reference.name);
        } else {
            let refused = edits(&[&of_head])[0].check(&model.scope(one.tokens()).extent()).unwrap_err();
            assert!(format!("{refused:#}").contains(&format!("accepted: L1.KV{kv}.v")), "{refused:#}");
        }
    }
}

#[test]
fn a_pattern_is_what_values_are_mixed_with() {
    for reference in families() {
        let model = reference.model();
        let (one, other) = (clean(&model, PROMPT), clean(&model, OTHER));
        let sites = Sites::only([BlockSite::Pattern, BlockSite::Z].map(|s| Site::Block(1, s)));
        let run = |list: &[&str]| {
            model.run_edited(&one, &edits(list), Bos::Auto, &sites, Logits::All, &mut |_, _| Ok(())).unwrap()
        };
        let pattern = |t: &Trace| t.block(1, BlockSite::Pattern).unwrap().to_vec3::<f32>().unwrap();
        let row = pattern(&run(&["L1.H1.pattern@3=0.25"]));
        assert_eq!(row[1][3][..4], [0.25; 4], "{}", reference.name);
        assert!(row[1][3][4..].iter().all(|x| *x == 0.0), "nothing behind the query is seen");
        assert_eq!((&row[0], &row[1][4]), (&pattern(&one)[0], &pattern(&one)[1][4]), "{}", reference.name);
        let entry = pattern(&run(&["L1.H1.pattern@4<-2=0.5"]));
        let mut want = pattern(&one)[1][4].clone();
        want[2] = 0.5;
        assert_eq!(entry[1][4], want, "an entry is not renormalised");
        let patched = run(&[&format!("L1.H2.pattern=from:{OTHER:?}")]);
        assert_eq!(pattern(&patched)[2], pattern(&other)[2], "{}", reference.name);
        let nothing = run(&["L1.H1.pattern=0"]).block(1, BlockSite::Z).unwrap().to_vec3::<f32>().unwrap();
        assert!(nothing.iter().all(|p| p[1].iter().all(|x| *x == 0.0)), "{}", reference.name);
        assert_eq!(
            edited(&model, &one, &["L1.H1.pattern=0"]),
            edited(&model, &one, &["L1.H1=0"]),
            "{}",
            reference.name
        );
    }
}

#[test]
fn ranges_are_all_their_units() {
    let model = families()[0].model();
    let clean = clean(&model, PROMPT);
    let token = model.piece(clean.tokens()[2]);
    let at: Vec<usize> = (0..clean.n_pos()).filter(|p| clean.tokens()[*p] == clean.tokens()[2]).collect();
    let by_token = format!("L1.attn@{}=0", serde_json::to_string(&token).unwrap());
    let each: Vec<String> = at.iter().map(|p| format!("L1.attn@{p}=0")).collect();
    for (range, each) in [
        ("L0..1.H1..2@-3..=0", {
            let n = clean.n_pos();
            let one = |l, h, p| format!("L{l}.H{h}@{p}=0");
            let all = (0..2).flat_map(|l| (1..3).flat_map(move |h| (n - 3..n).map(move |p| one(l, h, p))));
            all.collect::<Vec<_>>()
        }),
        (by_token.as_str(), each),
        ("L1.H*@*<-0=0", (0..4).flat_map(|h| (0..clean.n_pos()).map(move |q| format!("L1.H{h}@{q}<-0=0"))).collect()),
        ("blocks.2.mlp.hook_post[0, 1, 3:6]*=3", (3..6).map(|n| format!("L2.N{n}@1*=3")).collect()),
    ] {
        let each: Vec<&str> = each.iter().map(String::as_str).collect();
        assert_eq!(edited(&model, &clean, &[range]), edited(&model, &clean, &each), "{range}");
        assert_ne!(edited(&model, &clean, &[range]), logits(&clean), "{range}");
    }
}

#[test]
fn both_routes_edit_alike() {
    for reference in families() {
        let model = reference.model();
        let one = clean(&model, PROMPT);
        let list =
            edits(&["L0.H1.q*=2", "L1.KV0.k@2+=1", "L1.KV0.v@1=0", "L1.H0.pattern@3=0.25", "L2.H1.pattern@*<-0*=0.5"]);
        let plan = EditPlan::new(&model.scope(one.tokens()), &list, &mut Unused).unwrap();
        let run = |route| {
            let prompts = [one.tokens().to_vec()];
            let step = &mut |_: usize, _: usize| Ok(());
            let start = Start::Tokens(&prompts);
            logits(&model.decoder.run_by(route, start, &Sites::None, &plan, Logits::All, step).unwrap())
        };
        let (kernels, portable) = (run(Route::Kernels), run(Route::Portable));
        assert!(common::disagreement(&kernels, &portable).is_none(), "{}", reference.name);
        assert_ne!(kernels, logits(&one), "{}", reference.name);
    }
}

/// Every command that takes edits, those that write files and streams too.
#[test]
fn every_command_refuses_an_edit_that_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    for command in ["predict", "lens", "attribute", "heads", "intervene", "generate", "trace"] {
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_mechscope"));
        program.args([command, "-p", PROMPT, "--edit", "L0.mlp*=1", "-o"]).arg(&out);
        let run = program.output().unwrap();
        let said = String::from_utf8(run.stderr).unwrap();
        assert!(run.status.code() == Some(1) && said.contains("changes nothing"), "{command}: {said}");
        assert!(!out.exists(), "{command} wrote a file");
    }
}

/// A difference that is 0 in every run explains nothing.
#[test]
fn every_command_refuses_a_contrast_that_is_the_target() {
    for command in ["attribute", "heads", "neurons", "graph"] {
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_mechscope"));
        let run = program.args([command, "-p", PROMPT, "-t", "300", "-c", "300"]).output().unwrap();
        let said = String::from_utf8(run.stderr).unwrap();
        assert!(run.status.code() == Some(1) && said.contains("is the target itself"), "{command}: {said}");
    }
}

// Checks I5 of ARCHITECTURE.md.
#[test]
fn an_edit_that_changes_nothing_at_all_is_refused() {
    let model = families()[0].model();
    let tokens = model.encode(PROMPT, Bos::Auto).unwrap().ids();
    let refused = |edit: &str| model.refuse_idle(&tokens, &edits(&[edit]), Bos::Auto).err().map(|e| e.to_string());
    for (edit, why) in [
        ("L1.H0*=1".to_owned(), "a factor of 1"),
        ("L1.N3+=0".to_owned(), "0 is added"),
        ("L1.N3+=-0".to_owned(), "0 is added"),
        ("L1.attn+=steer:x*0".to_owned(), "0 times"),
        ("L1.attn+=diff:\"a\"-\"a\"*4".to_owned(), "the same"),
        (format!("L1.H0@2=from:{PROMPT:?}"), "from the prompt itself"),
    ] {
        let said = refused(&edit).unwrap_or_else(|| panic!("{edit} was accepted"));
        assert!(
            said.starts_with(edit.split('@').next().unwrap().split('+').next().unwrap().split('*').next().unwrap()),
            "{said}"
        );
        assert!(said.contains("changes nothing") && said.contains(why), "{said}");
    }
    for edit in ["L1.H0*=1.5", "L1.H0=0", "L1.H0=mean", "L1.attn+=steer:x"] {
        assert_eq!(refused(edit), None, "{edit}");
    }
    assert_eq!(refused(&format!("L1.H0=from:{OTHER:?}")), None);
}

/// Models with dictionaries of every kind: of one layer, across layers, with a skip, read and written before and after norms.
fn with_dictionaries() -> Vec<(String, Model)> {
    let mut all = vec![("hello".to_owned(), "hello".to_owned(), None)];
    if let Some(root) = common::shared() {
        for name in ["tiny-llama", "tiny-llama-clt", "tiny-llama-skip", "tiny-gpt2", "tiny-gemma2"] {
            let base = name.trim_end_matches("-clt").trim_end_matches("-skip");
            let model = root.join("models").join(base).display().to_string();
            all.push((name.to_owned(), model, Some(root.join("transcoders").join(name).display().to_string())));
        }
    }
    let open = |(name, model, folder): (String, String, Option<String>)| {
        let model = Model::open(&model, Options::default(), Box::new(|_, _| {})).unwrap();
        model.use_dictionary(Arc::new(Dictionary::of(&model, folder.as_deref()).unwrap()));
        (name, model)
    };
    all.into_iter().map(open).collect()
}

#[test]
fn a_feature_writes_what_its_new_activation_adds() {
    for (name, model) in with_dictionaries() {
        let dictionary = model.dictionary().unwrap();
        let clean = clean(&model, PROMPT);
        let input = |run: &Trace, l| dictionary.input(l, model.decoder.arch.parallel, run).unwrap();
        let active = dictionary.encode(1, &input(&clean, 1)).unwrap();
        let (f, p) = active.iter().find(|a| a.activation > 0.0).map(|a| (a.feature, a.position)).unwrap();
        let was = active.iter().find(|a| (a.feature, a.position) == (f, p)).unwrap().activation;
        // As it is, from the prompt itself: no bit changes.
        for same in
            [format!("L1.F{f}@{p}=from:{PROMPT:?}"), format!("L1.F{f}@{p}={was}"), format!("L1.F*=from:{PROMPT:?}")]
        {
            assert_eq!(edited(&model, &clean, &[&same]), logits(&clean), "{name}: {same}");
        }
        let run = |list: &[&str]| {
            let list = edits(list);
            model.run_edited(&clean, &list, Bos::Auto, &Sites::Standard, Logits::All, &mut |_, _| Ok(())).unwrap()
        };
        let before = Site::Block(1, BlockSite::MlpOutPrePostNorm);
        let early = dictionary.writes_before_post_norm() && model.decoder.has_site(before);
        let site = if early { before } else { Site::Block(1, BlockSite::MlpOut) };
        let row = &dictionary.decoder_rows(1, f).unwrap()[0];
        let wrote = |after: &Trace, base: &Trace, by: f32| {
            let (a, b) = (after.row(site, p).unwrap(), base.row(site, p).unwrap());
            let want: Vec<f32> = b.iter().zip(row).map(|(x, r)| x + by * r).collect();
            assert!(common::disagreement(&a, &want).is_none(), "{name}: by {by}");
        };
        wrote(&run(&[&format!("L1.F{f}@{p}=0")]), &clean, -was);
        wrote(&run(&[&format!("L1.F{f}@{p}*=3")]), &clean, 2.0 * was);
        wrote(&run(&[&format!("L1.F{f}+=2")]), &clean, 2.0);
        wrote(&run(&[&format!("L1.F{f}@{p}=0"), &format!("L1.F{f}@{p}+=5")]), &clean, 5.0 - was);
        // After an edit upstream it is the activation of the edited run that is taken out.
        let upstream = "L0.mlp*=0.5";
        let half = run(&[upstream]);
        let now = dictionary.over(1, f, &input(&half, 1)).unwrap()[p].1;
        wrote(&run(&[upstream, &format!("L1.F{f}@{p}=0")]), &half, -now);
        // A batch is its single runs, from its first layer or from the start.
        let lists =
            [edits(&[&format!("L1.F{f}@{p}=0")]), vec![], edits(&["L0.F0..40@2=1.5", &format!("L1.F{f}=mean")])];
        let each: Vec<&[Edit]> = lists.iter().map(Vec::as_slice).collect();
        let plan = model.plan(&clean, &each, Bos::Auto).unwrap();
        let batch = model.run_copies(&clean, 3, &plan, &Sites::None, Logits::All, &mut |_, _| Ok(())).unwrap();
        let bare = model.run(clean.tokens(), &Sites::None, Logits::All).unwrap();
        for (b, list) in each.iter().enumerate() {
            let of: Vec<f32> = batch.of(b, Site::Logits).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            for start in [&clean, &bare] {
                let alone = model.run_edited(start, list, Bos::Auto, &Sites::None, Logits::All, &mut |_, _| Ok(()));
                assert!(common::disagreement(&of, &logits(&alone.unwrap())).is_none(), "{name}: {list:?}");
            }
        }
        let beyond = dictionary.n_features[1];
        let refused = edits(&[&format!("L1.F{beyond}=0")])[0].check(&model.scope(clean.tokens()).extent());
        assert!(format!("{:#}", refused.unwrap_err()).contains(&format!("features 0..={}", beyond - 1)));
    }
}

#[test]
fn a_run_that_leaves_the_range_says_where() {
    for reference in families() {
        let model = reference.model();
        let clean = clean(&model, PROMPT);
        for (edit, site) in [
            ("L1.attn@2*=1e38", "blocks.1.hook_attn_out at position 2"),
            ("L1.N3@4*=1e38", "blocks.1.mlp.hook_post at position 4"),
            ("L2.resid_pre@1*=1e38", "blocks.2.hook_resid_pre at position 1"),
        ] {
            // Twice, so that no number of the run is small enough.
            let list = edits(&[edit, edit, edit]);
            let run = model.run_edited(&clean, &list, Bos::Auto, &Sites::None, Logits::All, &mut |_, _| Ok(()));
            let said = run.err().unwrap_or_else(|| panic!("{}: {edit}", reference.name)).to_string();
            let want = format!("with the edits the run left the range of f32: {site} is the first site");
            assert!(said.starts_with(&want), "{}: {edit}: {said}", reference.name);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_run_from_the_first_edited_layer_equals_the_full_edited_run(
        family in 0usize..11,
        list in prop::collection::vec((0usize..3, 0usize..10, 0usize..4, 0i64..5, -2f32..2.0), 1..4),
    ) {
        let all = families();
        let model = all[family % all.len()].model();
        let clean = clean(&model, PROMPT);
        let list: Vec<Edit> = list.into_iter().map(|(l, kind, n, p, v)| match kind {
            0 => format!("L{l}.H{n}*={v}"),
            1 => format!("L{l}.N{n}@{p}={v}"),
            2 => format!("L{l}.mlp@{p}=mean"),
            3 => format!("L{l}.H{n}@4<-{}=0", p.min(4)),
            4 => format!("L{l}.H{n}.q@{p}*={v}"),
            5 => format!("L{l}.KV0.k@{p}..={v}"),
            6 => format!("L{l}.KV*.v=mean"),
            7 => format!("L{l}.H{n}.pattern@{p}..=from:{OTHER:?}"),
            8 => format!("L{l}..2.H*.pattern@{p}*={v}"),
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
        prop_assert!(!needs(&model.scope(clean.tokens()), &list).unwrap().is_empty());
    }
}
