//! Rotary frequencies against formulas written down independently, in f64.

use mechscope::model::config::ModelConfig;
use mechscope::model::rope::{Beyond, Rope, Rotary};
use serde_json::{Value, json};

fn rope(config: Value, rotary: Rotary) -> Rope {
    let mut config = ModelConfig::parse("config.json", config.to_string().as_bytes()).unwrap();
    Rope::from_config(&mut config, rotary).unwrap_or_else(|e| panic!("{e:#}"))
}

fn close(got: &[f32], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((f64::from(*g) - w).abs() <= 2e-6 * w.abs(), "frequency {i}: {g} for {w}");
    }
}

fn unscaled(theta: f64, width: usize) -> Vec<f64> {
    (0..width / 2).map(|i| (-(2.0 * i as f64 / width as f64) * theta.ln()).exp()).collect()
}

/// Llama 3.1 as Meta published it: long waves are stretched by the factor, short ones are not, those between are blended
/// by how many of them the original context holds.
#[test]
fn llama3_stretches_long_waves_only() {
    let scaling = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192});
    let got = rope(json!({"rope_theta": 500000.0, "rope_scaling": scaling}), Rotary::whole(128, 10000.0));
    let base = unscaled(500000.0, 128);
    let want: Vec<f64> = base
        .iter()
        .map(|f| {
            let waves = 8192.0 * f / std::f64::consts::TAU;
            let kept = ((waves - 1.0) / (4.0 - 1.0)).clamp(0.0, 1.0);
            f * (kept + (1.0 - kept) / 8.0)
        })
        .collect();
    close(&got.frequencies, &want);
    assert_eq!((got.amplitude, got.beyond), (1.0, None));
    let whole = want.iter().zip(&base).filter(|(w, b)| w == b).count();
    let stretched = want.iter().zip(&base).filter(|(w, b)| (*w * 8.0 - *b).abs() < 1e-12).count();
    assert!(whole > 20 && stretched > 20 && whole + stretched < 64, "{whole} whole, {stretched} stretched of 64");
}

#[test]
fn linear_scaling_slows_positions_down() {
    let scaling = json!({"type": "linear", "factor": 4.0});
    let slow = rope(json!({"rope_scaling": scaling}), Rotary::whole(16, 10000.0));
    let plain = rope(json!({}), Rotary::whole(16, 10000.0));
    close(&plain.frequencies, &unscaled(10000.0, 16));
    let (slow, plain) = (slow.tables(41), plain.tables(11));
    for (slow, plain) in [(slow.0, plain.0), (slow.1, plain.1)] {
        for position in 0..11 {
            for pair in 0..8 {
                let (s, p) = (slow[position * 4 * 8 + pair], plain[position * 8 + pair]);
                assert!((s - p).abs() < 2e-6, "position {position}, pair {pair}: {s} for {p}");
            }
        }
    }
}

#[test]
fn longrope_has_two_sets_of_frequencies_and_an_amplitude() {
    let short: Vec<f64> = (0..4).map(|i| 1.0 + 0.1 * f64::from(i)).collect();
    let long: Vec<f64> = (0..4).map(|i| 2.0 + 3.0 * f64::from(i)).collect();
    let config = |amplitude: Value| {
        json!({"max_position_embeddings": 256, "original_max_position_embeddings": 32, "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5, "rope_scaling": {"type": "longrope", "short_factor": short,
            "long_factor": long, "attention_factor": amplitude}})
    };
    let rotary = Rotary { d_head: 16, share: Some(1.0), theta: 1.0 };
    let got = rope(config(Value::Null), rotary);
    let by = |factors: &[f64]| unscaled(10000.0, 8).iter().zip(factors).map(|(f, b)| f / b).collect::<Vec<_>>();
    close(&got.frequencies, &by(&short));
    let Some((limit, Beyond::Fixed(beyond))) = got.beyond.clone() else {
        panic!("longrope has other frequencies beyond")
    };
    assert_eq!(limit, 32);
    close(&beyond, &by(&long));
    // Ding et al. 2024 (LongRoPE, arXiv 2402.13753): sqrt(1 + ln(256 / 32) / ln(32)) = sqrt(1 + 3 / 5).
    assert!((got.amplitude - 1.6f32.sqrt()).abs() < 1e-6);
    assert_eq!(rope(config(json!(1.25)), rotary).amplitude, 1.25);

    for (n_pos, factors) in [(32, &short), (33, &long)] {
        let (cos, sin) = got.tables(n_pos);
        assert_eq!((cos.len(), sin.len()), (n_pos * 4, n_pos * 4));
        for (i, f) in by(factors).iter().enumerate() {
            let at = (n_pos - 1) * 4 + i;
            let angle = (n_pos - 1) as f64 * f;
            let amplitude = 1.6f64.sqrt();
            assert!((f64::from(cos[at]) - amplitude * angle.cos()).abs() < 1e-5, "{n_pos} positions, pair {i}");
            assert!((f64::from(sin[at]) - amplitude * angle.sin()).abs() < 1e-5, "{n_pos} positions, pair {i}");
        }
    }
}

/// Peng et al. 2023 (arXiv 2309.00071): waves that turn more than `beta_fast` times over the original context are kept, those that turn less than
/// `beta_slow` times are stretched by the factor; the amplitude is `0.1 ln(factor) + 1`.
#[test]
fn yarn_keeps_short_waves_and_stretches_long_ones() {
    let scaling = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768});
    let config = json!({"rope_theta": 1e6, "max_position_embeddings": 131_072, "rope_scaling": scaling});
    let got = rope(config, Rotary::whole(128, 10000.0));
    let base = unscaled(1e6, 128);
    for (i, f) in base.iter().enumerate() {
        let turns = 32768.0 * f / std::f64::consts::TAU;
        let (g, whole, stretched) = (f64::from(got.frequencies[i]), *f, f / 4.0);
        assert!(g <= whole * 1.000_01 && g >= stretched * 0.999_99, "frequency {i}: {g}");
        // The ramp's ends are rounded outwards to whole pairs.
        if turns > 32.0 * 1.3 {
            assert!((g - whole).abs() <= 2e-6 * whole, "frequency {i} is kept: {g} for {whole}");
        }
        if turns < 1.0 / 1.3 {
            assert!((g - stretched).abs() <= 2e-6 * stretched, "frequency {i} is stretched: {g} for {stretched}");
        }
    }
    assert!((f64::from(got.amplitude) - (0.1 * 4f64.ln() + 1.0)).abs() < 1e-6);
    let falling = got.frequencies.windows(2).all(|pair| pair[1] < pair[0]);
    assert!(falling, "{:?}", got.frequencies);
}

/// Up to the limit dynamic rope changes nothing; beyond it the base grows so that the longest wave is stretched with the prompt.
#[test]
fn dynamic_rope_changes_nothing_below_its_limit() {
    let plain = rope(json!({}), Rotary::whole(16, 10000.0));
    let scaling = json!({"type": "dynamic", "factor": 2.0});
    let got = rope(json!({"max_position_embeddings": 32, "rope_scaling": scaling}), Rotary::whole(16, 10000.0));
    assert_eq!(got.tables(32), plain.tables(32));
    let base = 10000.0 * (2.0f64 * 48.0 / 32.0 - 1.0).powf(16.0 / 14.0);
    let (cos, sin) = got.tables(48);
    for (i, f) in unscaled(base, 16).iter().enumerate() {
        let angle = 47.0 * f;
        let at = 47 * 8 + i;
        assert!((f64::from(cos[at]) - angle.cos()).abs() < 1e-4, "pair {i}");
        assert!((f64::from(sin[at]) - angle.sin()).abs() < 1e-4, "pair {i}");
    }
}
