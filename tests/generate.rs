//! Generation: the cache changes no number, edits act where they are said to, text is put together from ids.

mod common;

use common::{Reference, references};
use mechscope::address::Edit;
use mechscope::analysis::generate::{Ended, GenerateSettings, Generated, Sampling, generate, longer};
use mechscope::analysis::input::Input;
use mechscope::model::Model;
use mechscope::model::cache::Cache;
use mechscope::model::edit::EditPlan;
use mechscope::model::forward::{Logits, Start};
use mechscope::model::ops::Route;
use mechscope::model::site::Sites;
use mechscope::model::text::Bos;

fn models() -> Vec<Reference> {
    let mut all = references();
    all.retain(|r| r.name.starts_with("tiny-") && !r.name.ends_with("-sharded"));
    all.dedup_by(|a, b| a.name == b.name);
    all
}

/// Ids that no model has seen together, the same in every run.
fn ids(model: &Model, n: usize) -> Vec<u32> {
    let rows = model.decoder.arch.d_vocab as u32;
    (0..n as u32).map(|i| (i * 37 + i * i * 11 + 5) % rows).collect()
}

fn whole(model: &Model, ids: &[u32], route: Route) -> Vec<Vec<f32>> {
    let prompt = [ids.to_vec()];
    let run =
        model
            .decoder
            .run_by(route, Start::Tokens(&prompt), &Sites::None, EditPlan::NONE, Logits::All, &mut |_, _| Ok(()));
    run.unwrap().logits().unwrap().to_vec2().unwrap()
}

fn extend(model: &Model, cache: &mut Cache, ids: &[u32]) -> Vec<Vec<f32>> {
    let logits = model.decoder.extend(cache, ids, EditPlan::NONE, Logits::All, &mut |_, _| Ok(()));
    logits.unwrap().to_vec2().unwrap()
}

fn close(got: &[Vec<f32>], want: &[Vec<f32>], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let top = want.iter().flatten().fold(0f32, |m, x| m.max(x.abs()));
    for (p, (got, want)) in got.iter().zip(want).enumerate() {
        let off = got.iter().zip(want).fold(0f32, |m, (g, w)| m.max((g - w).abs()));
        assert!(off <= 1e-5 * top, "{what}: row {p} is off by {off:e}, the largest logit is {top}");
    }
}

#[test]
fn a_run_in_pieces_has_the_logits_of_the_whole() {
    for reference in models() {
        let model = reference.model();
        let n = model.decoder.arch.n_ctx.min(150);
        let ids = ids(&model, n);
        for route in [Route::Kernels, Route::Portable] {
            let want = whole(&model, &ids, route);
            let what = format!("{} {route:?}", reference.name);
            let mut cache = Cache::by(route, &model.decoder);
            // A prompt, single tokens, a few together, past every window.
            let mut got = extend(&model, &mut cache, &ids[..7]);
            while cache.len() < n {
                let more = [1, 1, 2, 1, 6, 1, 19][cache.len() % 7].min(n - cache.len());
                let from = cache.len();
                got.extend(extend(&model, &mut cache, &ids[from..from + more]));
            }
            close(&got, &want, &what);
            assert_eq!(cache.tokens(), ids, "{what}");
            // Some steps back, and all of them.
            for back in [1, 3, n - 2] {
                cache.truncate(n - back);
                let from = cache.len();
                assert!(from == n - back || from == 0, "{what}: {from}");
                close(&extend(&model, &mut cache, &ids[from..]), &want[from..], &format!("{what} {back} back"));
            }
        }
    }
}

#[test]
fn a_run_that_was_ended_leaves_the_cache_as_it_was() {
    for reference in models() {
        let model = reference.model();
        let ids = ids(&model, 12);
        let mut cache = Cache::new(&model.decoder);
        extend(&model, &mut cache, &ids[..8]);
        let ended = model.decoder.extend(&mut cache, &ids[8..], EditPlan::NONE, Logits::Last, &mut |layer, _| {
            anyhow::ensure!(layer == 0, "ended");
            Ok(())
        });
        assert!(ended.is_err());
        assert_eq!(cache.len(), 8);
        let want = whole(&model, &ids, Route::Kernels);
        close(&extend(&model, &mut cache, &ids[8..]), &want[8..], &reference.name);
    }
}

/// Generation without a cache: every token by a run of everything before it.
fn slowly(model: &Model, prompt: &[u32], edits: &[Edit], count: usize) -> Vec<(u32, f32)> {
    let mut ids = prompt.to_vec();
    let mut all = Vec::new();
    for _ in 0..count {
        let (_, run) = model.intervene(&ids, edits, Bos::Auto, Logits::Last).unwrap();
        let next = mechscope::analysis::next_token::NextToken::new(run.last_logits(0).unwrap());
        let id = next.top(1)[0];
        all.push((id, next.logprob(id)));
        ids.push(id);
    }
    all
}

fn quickly(model: &Model, prompt: &[u32], edits: &[Edit], settings: &GenerateSettings) -> (Vec<Generated>, Ended) {
    let mut all = Vec::new();
    let ended = generate(model, prompt, edits, Bos::Auto, settings, &mut |_, _| Ok(()), &mut |token| {
        all.push(token.clone());
        Ok(true)
    });
    (all, ended.unwrap_or_else(|e| panic!("{edits:?}: {e:#}")))
}

#[test]
fn edits_act_as_without_a_cache() {
    for reference in models() {
        let model = reference.model();
        let prompt = ids(&model, 9);
        let lists: [&[&str]; 11] = [
            &[],
            &["L1.mlp*=0.5"],
            &["L0.resid_post@-1*=3"],
            &["L1.H1@-3=0", "L1.attn@2*=-2"],
            &["embed@0*=2", "L1.N3@-1=4"],
            &["L1.H0@-1<--4=0"],
            &["L1.H0@-1<--2=0", "L0.H1@4<-1=0"],
            &["L0.mlp@-2=0", "L1.mlp@-1+=0.5", "L1.attn*=2"],
            &["L0.H0=0", "L1.resid_pre@8*=2"],
            &["L1.mlp@8..*=2", "L0.attn@-3..-2=0"],
            &["L1.H0.pattern@-1<--2=0.5"],
        ];
        for list in lists {
            let edits: Vec<Edit> = list.iter().map(|e| e.parse().unwrap()).collect();
            let (got, ended) =
                quickly(&model, &prompt, &edits, &GenerateSettings { count: 12, ..GenerateSettings::default() });
            assert_eq!(ended, Ended::Count);
            let want = slowly(&model, &prompt, &edits, 12);
            for (n, (got, want)) in got.iter().zip(&want).enumerate() {
                assert_eq!(got.id, want.0, "{} {list:?}: token {n}", reference.name);
                assert!(
                    (got.logprob - want.1).abs() < 1e-4,
                    "{} {list:?}: token {n}: {got:?} {want:?}",
                    reference.name
                );
            }
        }
    }
}

#[test]
fn an_edit_at_the_end_may_act_from_there_on() {
    let model = models().remove(0).model();
    let prompt = ids(&model, 9);
    let write = |edit: &str, onward| {
        let settings = GenerateSettings { count: 8, onward, ..GenerateSettings::default() };
        quickly(&model, &prompt, &[edit.parse().unwrap()], &settings).0
    };
    assert_eq!(write("L1.mlp@-1*=-3", true), write("L1.mlp@8..*=-3", false));
    assert_ne!(write("L1.mlp@-1*=-3", true), write("L1.mlp@-1*=-3", false));
    assert_eq!(write("L1.mlp@4*=-3", true), write("L1.mlp@4*=-3", false));
    for onward in [false, true] {
        assert_eq!(write("L1.mlp@prompt-end..*=-3", onward), write("L1.mlp@8..*=-3", false));
        assert_eq!(write("L1.H1@prompt-end..<-2=0", onward), write("L1.H1@8..<-2=0", false));
    }
}

#[test]
fn values_from_the_end_of_a_longer_prompt_are_those_of_its_end() {
    let model = models().remove(0).model();
    let prompt = model.encode("The king said", Bos::Auto).unwrap().ids();
    let longer = "And so it was that the queen said";
    let there = model.encode(longer, Bos::Auto).unwrap().ids().len();
    assert_ne!(there, prompt.len());
    let settings = GenerateSettings { count: 1, ..GenerateSettings::default() };
    let first = |edits: &[Edit]| quickly(&model, &prompt, edits, &settings).0.remove(0);
    for positions in ["-2..", "prompt-end..", "-1"] {
        let edits: Vec<Edit> = vec![format!("L1.mlp@{positions}=from:{longer:?}").parse().unwrap()];
        let want = slowly(&model, &prompt, &edits, 1)[0];
        let got = first(&edits);
        assert!(got.id == want.0 && (got.logprob - want.1).abs() < 1e-4, "{positions}: {got:?} {want:?}");
    }
    let refused = |edit: String| {
        let edits = [edit.parse().unwrap()];
        let found = generate(&model, &prompt, &edits, Bos::Auto, &settings, &mut |_, _| Ok(()), &mut |_| Ok(true));
        format!("{:#}", found.unwrap_err())
    };
    assert!(refused(format!("L1.mlp=from:{longer:?}")).contains("accepted: equal lengths"));
    // Nothing at all would change.
    assert!(refused("L1.mlp*=1".into()).contains("changes nothing"));
    assert!(refused("L1.mlp=from:\"The king said\"".into()).contains("changes nothing"));
}

#[test]
fn values_of_runs_are_those_of_the_prompt() {
    let model = models().remove(0).model();
    let text = "The king said to the people";
    let prompt = model.encode(text, Bos::Auto).unwrap().ids();
    let settings = GenerateSettings { count: 6, ..GenerateSettings::default() };
    let edit = |e: String| vec![e.parse::<Edit>().unwrap()];
    let ids = |all: &[Generated]| all.iter().map(|t| t.id).collect::<Vec<_>>();
    let write = |e: String| ids(&quickly(&model, &prompt, &edit(e), &settings).0);
    // As many tokens, and another one in the middle.
    let other = |text: &str| model.encode(text, Bos::Auto).unwrap().ids();
    let texts = ["The kin", "The sing", "The ring", "The wing"].map(|begin| format!("{begin} said to the people"));
    let twin = texts.iter().find(|t| other(t).len() == prompt.len()).expect("a prompt of the same length");
    let parted = (0..prompt.len()).find(|p| other(twin)[*p] != prompt[*p]).unwrap();
    // What is patched before they part changes nothing, however many tokens follow.
    let (plain, _) = quickly(&model, &prompt, &[], &settings);
    assert_eq!(ids(&plain), write(format!("L1.resid_post@..{}=from:{twin:?}", parted - 1)));
    // All positions are those of the prompt: of rows, of a token, of patterns, from the end.
    let (last, n) = (prompt.len() - 1, prompt.len());
    let all = write(format!("L1.resid_post@0..{last}=from:{twin:?}"));
    assert_eq!(all, write(format!("L1.resid_post=from:{twin:?}")));
    assert_eq!(all, write(format!("L1.resid_post@-{n}..=from:{twin:?}")));
    let token = model.piece(prompt[last]);
    let at_last = write(format!("L1.resid_post@{last}=from:{twin:?}"));
    assert_eq!(at_last, write(format!("L1.resid_post@{token:?}=from:{twin:?}")));
    assert_eq!(at_last, write(format!("L1.resid_post@prompt-end..=from:{twin:?}")));
    let rows = |positions: &str| write(format!("L1.H0.pattern@{positions}=from:{twin:?}"));
    assert_eq!(rows("*"), rows(&format!("0..{last}")));
    // The mean over the prompt, set by hand, is the mean.
    let (mean, _) = quickly(&model, &prompt, &edit("L1.N3=mean".into()), &settings);
    let run = model.run(&prompt, &Sites::Standard, Logits::Last).unwrap();
    let site = mechscope::model::site::Site::Block(1, mechscope::model::site::BlockSite::MlpPost);
    let width = model.decoder.arch.d_mlp;
    let column = run.numbers(site).unwrap().chunks(width).map(|row| row[3] as f64).sum::<f64>() / prompt.len() as f64;
    let (set, _) = quickly(&model, &prompt, &edit(format!("L1.N3={}", column as f32)), &settings);
    assert_eq!(mean, set);
}

#[test]
fn generation_ends_where_it_should() {
    for reference in models() {
        let model = reference.model();
        let limit = model.decoder.arch.n_ctx;
        if limit <= 256 {
            let prompt = ids(&model, limit - 3);
            let (all, ended) =
                quickly(&model, &prompt, &[], &GenerateSettings { count: 9, ..GenerateSettings::default() });
            // What was written fits as a prompt.
            assert_eq!((all.len(), ended), (3, Ended::Context(limit)), "{}", reference.name);
            // A prompt beyond the length that a rotary model was trained on goes on; learned positions end.
            if model.decoder.pos_embed.is_none() {
                let longer = ids(&model, limit + 2);
                let settings = GenerateSettings { count: 4, ..GenerateSettings::default() };
                let (all, ended) = quickly(&model, &longer, &[], &settings);
                assert_eq!((all.len(), ended), (4, Ended::Count), "{}", reference.name);
            }
        }
        let prompt = ids(&model, 5);
        let (all, _) = quickly(&model, &prompt, &[], &GenerateSettings { count: 5, ..GenerateSettings::default() });
        let ends = vec![all[2].id];
        let first = all.iter().position(|t| t.id == ends[0]).unwrap();
        let settings = GenerateSettings { count: 5, ends, alternatives: 3, ..GenerateSettings::default() };
        let (cut, ended) = quickly(&model, &prompt, &[], &settings);
        assert_eq!((cut.len(), ended), (first + 1, Ended::End(all[2].id)));
        assert_eq!(cut[0].alternatives.len(), 3);
        assert_eq!(cut[0].alternatives[0], (cut[0].id, cut[0].logprob));
    }
}

#[test]
fn the_same_seed_draws_the_same_tokens() {
    let model = models().remove(0).model();
    let prompt = ids(&model, 5);
    let drawn = |seed| {
        let sampling = Some(Sampling { seed, temperature: 1.5, top_k: Some(40), top_p: Some(0.95) });
        let (all, _) =
            quickly(&model, &prompt, &[], &GenerateSettings { count: 10, sampling, ..GenerateSettings::default() });
        all.iter().map(|t| t.id).collect::<Vec<_>>()
    };
    assert_eq!(drawn(3), drawn(3));
    assert_ne!(drawn(3), drawn(4));
}

#[test]
fn every_token_that_was_written_is_read_again() {
    let mut partial = 0;
    for reference in models() {
        let model = reference.model();
        for seed in 0..12 {
            // Far from what the model would write: parts of characters too.
            let sampling = Some(Sampling { temperature: 50.0, ..Sampling::seeded(seed) });
            let mut input = Input::of_prompt(&model, "Zażółć 語".into(), Bos::Auto).unwrap();
            for _ in 0..3 {
                let before = input.ids();
                let longer = longer(&model, &input, &[], (4, sampling), &mut |_, _| Ok(()), &mut |_| ()).unwrap();
                let after = match &longer.ids {
                    Some(ids) => Input::of_tokens(&model, longer.prompt.clone(), ids, Bos::Auto).unwrap(),
                    None => Input::of_prompt(&model, longer.prompt.clone(), Bos::Auto).unwrap(),
                };
                assert_eq!(after.ids()[..before.len()], before, "{} {:?}", reference.name, longer.prompt);
                assert_eq!(after.ids().len(), before.len() + 4, "{} {:?}", reference.name, longer.prompt);
                partial += usize::from(longer.ids.is_some());
                input = after;
            }
        }
    }
    assert!(partial > 20, "only {partial} texts were not their tokens");
}

#[test]
fn a_character_is_completed_by_the_next_token() {
    let model = models().into_iter().find(|r| r.name == "tiny-gpt2").unwrap().model();
    let text = model.text().unwrap();
    let ids = |t: &str| text.encode(t, Bos::Never).unwrap().ids();
    // Three tokens, one a byte.
    let parts = ids("語");
    assert!(parts.len() > 1, "{parts:?}");
    let prompt: Vec<u32> = ids("ab").into_iter().chain(parts[..1].iter().copied()).collect();
    let shown = format!("ab{}", text.piece(parts[0]));
    let input = Input::of_tokens(&model, shown, &prompt, Bos::Never).unwrap();
    // What follows is set by hand: every logit but one token's is far away.
    let wanted = parts[1];
    let edits: Vec<Edit> = Vec::new();
    let mut found = None;
    for seed in 0..20_000 {
        let sampling = Some(Sampling { temperature: 1e6, ..Sampling::seeded(seed) });
        let longer = longer(&model, &input, &edits, (1, sampling), &mut |_, _| Ok(()), &mut |_| ()).unwrap();
        if longer.ids.as_ref().is_some_and(|ids| ids.last() == Some(&wanted)) {
            found = Some(longer);
            break;
        }
    }
    let bytes: String = "語".bytes().take(2).map(|b| format!("\\x{b:02X}")).collect();
    assert_eq!(found.expect("the second byte").prompt, format!("ab{bytes}"));
}

fn program(args: &[&str]) -> (bool, String, String) {
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_mechscope")).arg("generate").args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.success(), text(out.stdout), text(out.stderr))
}

#[test]
fn the_command_prints_text_tables_and_json() {
    let prompt = ["-p", "The capital of the state containing Dallas is", "-n", "6"];
    let with = |more: &[&str]| program(&[&prompt[..], more].concat());
    let (done, text, said) = with(&[]);
    assert!(done, "{said}");
    let (_, json, _) = with(&["--format", "json", "-k", "2"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(text, format!("{}\n", json["text"].as_str().unwrap()));
    let generated = json["generated"].as_array().unwrap();
    assert!(said.starts_with(&format!("{} tokens", generated.len())), "{said}");
    for token in generated {
        let first = &token["alternatives"][0];
        assert_eq!(
            (&first["id"], &first["logprob"], &first["text"]),
            (&token["id"], &token["logprob"], &token["text"])
        );
        assert_eq!(token["alternatives"].as_array().unwrap().len(), 2);
    }
    // What predict says comes next is the first token.
    let predict = ["predict", "-p", prompt[1], "--format", "json", "--top", "1"];
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_mechscope")).args(predict).output().unwrap();
    let predict: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(predict["top"][0]["id"], generated[0]["id"]);
    let (_, tsv, _) = with(&["--format", "tsv"]);
    assert!(tsv.contains(&format!("{}\t", generated[1]["id"])), "{tsv}");
    // A stop text is not part of the text.
    let stop = generated[1]["text"].as_str().unwrap();
    let (_, stopped, said) = with(&["--stop", stop]);
    assert_eq!(stopped, format!("{}\n", generated[0]["text"].as_str().unwrap()));
    assert!(said.contains("a stop text came"), "{said}");
    // Drawn twice with a seed is drawn alike; an edit changes what is written.
    let drawn = |seed| with(&["--temperature", "1.5", "--top-k", "50", "--top-p", "0.99", "--seed", seed]).1;
    assert_eq!(drawn("4"), drawn("4"));
    let (done, edited, said) = with(&["--edit", "L2.mlp*=-3"]);
    assert!(done && edited != text, "{edited} {said}");
    for wrong in [["--temperature", "-1"], ["--top-p", "0"], ["--top-k", "0"], ["--edit", "L99.H0=0"]] {
        let (done, _, said) = with(&wrong);
        assert!(!done && said.starts_with("error: "), "{wrong:?}: {said}");
    }
}
