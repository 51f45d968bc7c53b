//! Logits of all positions, some at a time: those of the run that makes them at once.

mod common;

use mechscope::model::forward::Logits;
use mechscope::model::site::{BlockSite, Site, Sites};

#[test]
fn logits_come_in_order_and_are_those_of_the_whole_run() {
    // A plain one, one with a soft-cap, and one by tensor operations.
    for name in ["tiny-llama", "tiny-gemma2", "tiny-llama-bf16"] {
        let model = common::open(&common::test_data().join("models").join(name));
        let ids: Vec<u32> = (0..300).map(|i| (i * 37 + 5) % model.decoder.arch.d_vocab as u32).collect();
        let whole = model.run(&ids, &Sites::None, Logits::All).unwrap().numbers(Site::Logits).unwrap();
        let last = Site::Block(model.decoder.arch.n_layers - 1, BlockSite::ResidPost);
        let run = model.run(&ids, &Sites::only([last, Site::LnFinalScale]), Logits::None).unwrap();
        assert!(run.batched(Site::Logits).is_none(), "{name}: logits that nobody asked for");
        assert_eq!(run.get(Site::LnFinalScale).unwrap().dims(), [300, 1], "{name}");
        let mut some = Vec::new();
        let mut parts = 0;
        let mut each = |first: usize, rows: &[f32]| {
            assert_eq!(first * model.decoder.arch.d_vocab, some.len(), "{name}");
            some.extend_from_slice(rows);
            parts += 1;
            Ok(())
        };
        model.decoder.each_logits(&run.get(last).unwrap(), &mut each).unwrap();
        assert!(parts > 1, "{name}: {parts}");
        assert_eq!(some.len(), whole.len(), "{name}");
        let top = whole.iter().fold(0f32, |top, x| top.max(x.abs()));
        let bound = if name.ends_with("bf16") { 2e-2 } else { 1e-5 };
        for (at, (a, b)) in some.iter().zip(&whole).enumerate() {
            assert!((a - b).abs() <= bound * top, "{name} at {at}: {a} for {b}");
        }
    }
}
