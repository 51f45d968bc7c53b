//! The numbers of the methods: equal to the reference's, and true to what they claim.

mod common;
mod frozen_common;

use candle_core::{DType, Tensor};
use common::{Reference, disagreement, references, shared, test_data};
use frozen_common::{Bump, frozen_target};
use mechscope::address::Edit;
use mechscope::model::Model;
use mechscope::model::edit::{EditPlan, Passes};
use mechscope::model::forward::{Logits, Start};
use mechscope::model::site::{BlockSite, Site, Sites};
use mechscope::model::text::Bos;
use mechscope::model::trace::Trace;
use mechscope::replacement::Gate;
use mechscope::replacement::backward::Gradients;

fn flat(t: &Tensor) -> Vec<f32> {
    t.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn run(model: &Model, ids: &[u32]) -> Trace {
    let start = [ids.to_vec()];
    let run =
        model.decoder.run(Start::Tokens(&start), &Sites::Standard, EditPlan::NONE, Logits::Last, &mut |_, _| Ok(()));
    run.unwrap()
}

fn relp(model: &Model, trace: &Trace, target: &[(u32, f32)], position: usize, gate: Gate) -> Gradients {
    model.decoder.relp(trace, target, position, gate, Passes::default(), &mut |_, _| Ok(())).unwrap()
}

fn tiny() -> Vec<Reference> {
    let mut all = references();
    all.retain(|r| r.name.starts_with("tiny-") && !r.name.ends_with("-sharded"));
    all.dedup_by(|a, b| a.name == b.name);
    all
}

#[test]
fn direct_effects_equal_the_reference_and_add_up() {
    for reference in references() {
        let (model, want) = (reference.model(), reference.tensors());
        let trace = run(&model, &reference.ids());
        let position = trace.n_pos() - 1;
        let targets: Vec<u32> =
            reference.about()["dla_targets"].as_array().unwrap().iter().map(|t| t.as_u64().unwrap() as u32).collect();
        for (k, target) in targets.iter().enumerate() {
            let direct = model.decoder.direct(&trace, position, &[(*target, 1.0)], true).unwrap();
            let per_layer = |f: fn(&mechscope::replacement::direct::LayerEffects) -> Vec<f32>| {
                direct.layers.iter().flat_map(f).collect()
            };
            let got: [(&str, Vec<f32>); 9] = [
                ("embed", vec![direct.embed]),
                ("pos_embed", direct.pos_embed.into_iter().collect()),
                ("heads", per_layer(|l| l.heads.clone())),
                ("attn_bias", per_layer(|l| vec![l.attn_bias])),
                ("mlp", per_layer(|l| vec![l.mlp])),
                ("neurons", per_layer(|l| l.neurons.clone())),
                ("mlp_bias", per_layer(|l| vec![l.mlp_bias])),
                ("norm_bias", vec![direct.norm_bias]),
                ("total", vec![direct.total - direct.unembed_bias]),
            ];
            for (name, got) in got {
                // The targets are the last dimension of every one of them.
                let Some(want) = want.get(&format!("dla.{name}")) else {
                    assert!(name == "pos_embed" && got.is_empty(), "{}: {name}", reference.name);
                    continue;
                };
                let want = want.narrow(want.rank() - 1, k, 1).unwrap();
                if let Some(what) = disagreement(&got, &flat(&want)) {
                    panic!("{}: dla.{name} onto {target}: {what}", reference.name);
                }
            }
            let size: f64 =
                direct.layers.iter().flat_map(|l| l.heads.iter().chain(&l.neurons)).map(|x| x.abs() as f64).sum();
            for direct in [&direct, &model.decoder.direct(&trace, position, &[(*target, 1.0)], false).unwrap()] {
                let off = (direct.sum() - direct.total as f64).abs();
                assert!(off <= 1e-5 * (size + 1.0), "{}: parts miss the logit by {off}", reference.name);
            }
        }
        // A difference of targets has the difference of the effects.
        let [a, b] = [targets[0], targets[1]];
        let one = |target: &[(u32, f32)]| {
            let direct = model.decoder.direct(&trace, position, target, true).unwrap();
            direct.layers.iter().flat_map(|l| l.heads.iter().chain(&l.neurons)).copied().collect::<Vec<f32>>()
        };
        let apart: Vec<f32> = one(&[(a, 1.0)]).iter().zip(&one(&[(b, 1.0)])).map(|(a, b)| a - b).collect();
        assert_eq!(disagreement(&one(&[(a, 1.0), (b, -1.0)]), &apart), None, "{}", reference.name);
    }
}

#[test]
fn the_lens_equals_the_reference_and_ends_at_the_logits() {
    for reference in references() {
        let (model, want) = (reference.model(), reference.tensors());
        let trace = run(&model, &reference.ids());
        let lens = &want["logit_lens"];
        for stream in 0..lens.dim(0).unwrap() {
            let site = if stream == 0 { (0, BlockSite::ResidPre) } else { (stream - 1, BlockSite::ResidPost) };
            let seen = model.decoder.read_out(&trace.block(site.0, site.1).unwrap()).unwrap();
            if let Some(what) = disagreement(&flat(&seen.logits), &flat(&lens.get(stream).unwrap())) {
                panic!("{}: lens at stream {stream}: {what}", reference.name);
            }
            if stream + 1 == lens.dim(0).unwrap() {
                let last = seen.logits.get(trace.n_pos() - 1).unwrap();
                assert_eq!(disagreement(&flat(&last), &trace.last_logits(0).unwrap()), None, "{}", reference.name);
            }
        }
    }
}

/// The reference's totals: `[logit, source]`, sources being embeddings, positions where they are learned, neurons by layer, position and number.
#[test]
fn relp_equals_the_reference() {
    let mut compared = 0;
    for root in std::iter::once(test_data()).chain(shared()) {
        let Ok(folder) = std::fs::read_dir(root.join("neuron-graphs")) else { continue };
        for numbers in folder.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "safetensors"))
        {
            let name = numbers.file_stem().unwrap().to_str().unwrap().to_owned();
            let reference = Reference { name: name.clone(), folder: root.clone(), numbers };
            let about = reference.about();
            let gate = match about["gated_rule"].as_str() {
                Some("full") => continue,
                Some("up") => Gate::Freeze,
                _ => Gate::Half,
            };
            let model = common::open(&root.join(about["model"].as_str().unwrap()));
            let trace = run(&model, &reference.ids());
            let want = reference.tensors();
            let rows: Vec<Vec<f32>> = want["total_logit_rows"].to_dtype(DType::F32).unwrap().to_vec2().unwrap();
            let logits: Vec<i64> = want["logit_ids"].to_vec1().unwrap();
            let vocabulary = model.decoder.arch.d_vocab as u32;
            let mean: Vec<(u32, f32)> = (0..vocabulary).map(|t| (t, 1.0 / vocabulary as f32)).collect();
            let one = logits.iter().map(|t| vec![(*t as u32, 1.0)]);
            let targets = one.zip(rows).chain([(mean, flat(&want["total_meanlogit_row"]))]);
            for (target, want) in targets {
                let gradients = relp(&model, &trace, &target, trace.n_pos() - 1, gate);
                let got = attributions(&model, &trace, &gradients);
                let size: f64 = want.iter().map(|x| x.abs() as f64).sum();
                assert_eq!(got.len(), want.len(), "{name}");
                let worst = got.iter().zip(&want).map(|(g, w)| (g - w).abs()).fold(0f32, f32::max);
                assert!(worst as f64 <= 1e-5 * size, "{name}: off by {worst:e}, all together {size}");
                compared += 1;
            }
        }
    }
    assert!(compared >= 4 * 6, "{compared} rows compared");
}

/// Activation times gradient in the reference's order of sources.
fn attributions(model: &Model, trace: &Trace, gradients: &Gradients) -> Vec<f32> {
    let embed = |site| {
        let products = (trace.get(site).unwrap() * &gradients.embed).unwrap();
        flat(&products.sum(1).unwrap())
    };
    let mut all = embed(Site::Embed);
    if model.decoder.pos_embed.is_some() {
        all.extend(embed(Site::PosEmbed));
    }
    for (l, gradient) in gradients.neurons.iter().enumerate() {
        all.extend(flat(&(trace.block(l, BlockSite::MlpPost).unwrap() * gradient).unwrap()));
    }
    all
}

/// In the frozen model, which is linear, any change of a source changes the target by exactly gradient times change.
#[test]
fn relp_predicts_the_frozen_model_of_every_family() {
    for reference in tiny() {
        let model = reference.model();
        let ids: Vec<u32> = reference.ids().into_iter().take(12).collect();
        let trace = run(&model, &ids);
        let position = ids.len() - 1;
        let target = [(ids[1], 1.0), (7, -1.0)];
        for gate in [Gate::Half, Gate::Freeze] {
            let value = |bump: Option<Bump>| frozen_target(&model, &trace, &target, position, gate, bump);
            let at_rest = value(None);
            let direct = model.decoder.direct(&trace, position, &target, false).unwrap();
            assert!((at_rest - direct.total as f64).abs() < 1e-4, "{}: {at_rest} for {}", reference.name, direct.total);
            let gradients = relp(&model, &trace, &target, position, gate);
            let mut biggest = 0f64;
            for (layer, at, neuron) in [(0, 0, 3), (0, 5, 17), (1, 2, 9), (1, 11, 40), (2, 3, 5), (2, 11, 21)] {
                let measured = value(Some(Bump::Neuron { layer, position: at, neuron, by: 2.0 })) - at_rest;
                let row: Vec<Vec<f32>> = gradients.neurons[layer].to_vec2().unwrap();
                let predicted = row[at][neuron] as f64 * 2.0;
                assert!(
                    (measured - predicted).abs() < 2e-5 * (1.0 + predicted.abs()),
                    "{} {gate:?} L{layer}.N{neuron}@{at}: measured {measured}, predicted {predicted}",
                    reference.name
                );
                biggest = biggest.max(predicted.abs());
            }
            assert!(biggest > 1e-2, "{}: nothing to see", reference.name);
            let embed: Vec<Vec<f32>> = gradients.embed.to_vec2().unwrap();
            for at in [0, 4, 11] {
                let measured = value(Some(Bump::Embed { position: at, column: 6, by: 1.0 })) - at_rest;
                assert!((measured - embed[at][6] as f64).abs() < 1e-4, "{} embed@{at}", reference.name);
            }
        }
    }
}

#[test]
fn grouped_queries_equal_heads_with_their_own_keys_and_values() {
    let reference = tiny().into_iter().find(|r| r.name == "tiny-llama").unwrap();
    let (grouped, mut expanded) = (reference.model(), reference.model());
    let arch = &mut expanded.decoder.arch;
    let (group, width) = (arch.n_heads / arch.n_kv_heads, arch.d_head);
    assert!(group > 1);
    arch.n_kv_heads = arch.n_heads;
    for block in &mut expanded.decoder.blocks {
        for linear in [&mut block.attention.k, &mut block.attention.v] {
            let heads =
                (0..grouped.decoder.arch.n_heads).map(|h| linear.weight.narrow(0, h / group * width, width).unwrap());
            linear.weight = Tensor::cat(&heads.collect::<Vec<_>>(), 0).unwrap();
        }
    }
    let ids = reference.ids();
    let (one, other) = (run(&grouped, &ids), run(&expanded, &ids));
    let target = [(5, 1.0)];
    let direct = |m: &Model, t: &Trace| {
        let direct = m.decoder.direct(t, ids.len() - 1, &target, true).unwrap();
        direct.layers.into_iter().flat_map(|l| l.heads).collect::<Vec<_>>()
    };
    assert_eq!(disagreement(&direct(&grouped, &one), &direct(&expanded, &other)), None);
    let [a, b] = [(&grouped, &one), (&expanded, &other)].map(|(m, t)| relp(m, t, &target, ids.len() - 1, Gate::Half));
    for (a, b) in a.neurons.iter().zip(&b.neurons).chain([(&a.embed, &b.embed)]) {
        assert_eq!(disagreement(&flat(a), &flat(b)), None);
    }
}

#[test]
fn a_head_without_output_weights_does_nothing() {
    for reference in tiny() {
        let mut model = reference.model();
        let width = model.decoder.arch.d_head;
        let o = &mut model.decoder.blocks[1].attention.o;
        let mut rows: Vec<Vec<f32>> = o.weight.to_vec2().unwrap();
        rows.iter_mut().for_each(|r| r[2 * width..3 * width].fill(0.0));
        o.weight = Tensor::new(rows, &candle_core::Device::Cpu).unwrap();
        let ids = reference.ids();
        let trace = run(&model, &ids);
        let direct = model.decoder.direct(&trace, ids.len() - 1, &[(5, 1.0)], false).unwrap();
        assert_eq!(direct.layers[1].heads[2], 0.0, "{}", reference.name);
        let gradients = relp(&model, &trace, &[(5, 1.0)], ids.len() - 1, Gate::Half);
        let to_head = gradients.heads[1].narrow(1, 2 * width, width).unwrap();
        assert!(flat(&to_head).iter().all(|x| *x == 0.0), "{}", reference.name);
        let (clean, edited) = model.intervene(&ids, &["L1.H2=0".parse().unwrap()], Bos::Auto, Logits::Last).unwrap();
        assert_eq!(disagreement(&edited.last_logits(0).unwrap(), &clean.last_logits(0).unwrap()), None);
    }
}

/// What was set depends on nothing below; what was scaled does so the more.
#[test]
fn relp_of_an_edited_run_stops_where_a_value_was_set() {
    for reference in tiny() {
        let model = reference.model();
        let ids = reference.ids();
        let position = ids.len() - 1;
        let clean = run(&model, &ids);
        let edited = |list: &[&str]| -> (Trace, Gradients) {
            let edits: Vec<Edit> = list.iter().map(|e| e.parse().unwrap()).collect();
            let sites = Sites::Standard;
            let trace = model.run_edited(&clean, &edits, Bos::Auto, &sites, Logits::Last, &mut |_, _| Ok(())).unwrap();
            let passes =
                Passes::new(&model.scope(&ids), &edits, &mut |name, l, width| model.direction(name, l, width)).unwrap();
            let gradients =
                model.decoder.relp(&trace, &[(5, 1.0)], position, Gate::Half, passes, &mut |_, _| Ok(())).unwrap();
            (trace, gradients)
        };
        let (_, set) = edited(&["L1.resid_post=0.5"]);
        assert!(flat(&set.neurons[2]).iter().any(|x| *x != 0.0), "{}: above", reference.name);
        for below in [&set.neurons[1], &set.neurons[0], &set.embed] {
            assert!(flat(below).iter().all(|x| *x == 0.0), "{}: below", reference.name);
        }
        // Without values heads mix nothing: as if they were set to 0.
        let ((_, values), (_, heads)) = (edited(&["L1.KV*.v=0"]), edited(&["L1.H*=0"]));
        assert_eq!(disagreement(&flat(&values.embed), &flat(&heads.embed)), None, "{}", reference.name);
        // Doubling all a layer's MLP writes, by its output or by its residual part, doubles what reaches it.
        let (trace, doubled) = edited(&["L1.mlp*=2"]);
        let plain =
            model.decoder.relp(&trace, &[(5, 1.0)], position, Gate::Half, Passes::default(), &mut |_, _| Ok(()));
        let want: Vec<f32> = flat(&plain.unwrap().neurons[1]).iter().map(|x| 2.0 * x).collect();
        assert_eq!(disagreement(&flat(&doubled.neurons[1]), &want), None, "{}", reference.name);
    }
}
