//! Addresses and edits: what is printed is read back, and nothing that is typed can bring the parser down.

use mechscope::address::{
    Address, Component, Direction, Edit, EditTarget, Extent, Numbered, Op, Part, Parts, Places, Positions, Span,
    TokenName,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[ a-zA-Z\"\\\\@*=<>+-]{0,12}", "[A-Za-z0-9_./-]{0,8}"]
}

fn any_named() -> impl Strategy<Value = Part> {
    proptest::sample::select(vec![Part::Attn, Part::Mlp, Part::ResidPre, Part::ResidMid, Part::ResidPost, Part::Error])
}

fn any_numbered() -> impl Strategy<Value = Numbered> {
    proptest::sample::select(Numbered::ALL.to_vec())
}

fn any_part() -> impl Strategy<Value = Part> {
    prop_oneof![(any_numbered(), any::<usize>()).prop_map(|(kind, n)| kind.part(n)), any_named()]
}

fn any_span() -> impl Strategy<Value = Span<usize>> {
    let ordered = |(first, last): (Option<usize>, Option<usize>)| match (first, last) {
        (Some(a), Some(b)) => Span { first: Some(a.min(b)), last: Some(a.max(b)) },
        _ => Span { first, last },
    };
    prop_oneof![any::<(Option<usize>, Option<usize>)>().prop_map(ordered), any::<usize>().prop_map(Span::one)]
}

fn any_positions() -> impl Strategy<Value = Positions> {
    let ordered = |(first, last): (Option<i64>, Option<i64>)| match (first, last) {
        // Only ends that count from the same side can be told to be in order.
        (Some(a), Some(b)) if (a < 0) == (b < 0) => Span { first: Some(a.min(b)), last: Some(a.max(b)) },
        _ => Span { first, last },
    };
    prop_oneof![
        any::<(Option<i64>, Option<i64>)>().prop_map(move |ends| Positions::Span(ordered(ends))),
        any::<i64>().prop_map(Positions::one),
        any_text().prop_map(Positions::Token),
        Just(Positions::FromPromptEnd),
    ]
}

fn any_target() -> impl Strategy<Value = EditTarget> {
    let parts = prop_oneof![
        any_named().prop_map(Parts::Only),
        (any_numbered(), any_span()).prop_map(|(kind, span)| Parts::Numbered(kind, span)),
    ];
    let readers = proptest::sample::select(vec![Numbered::Head, Numbered::Pattern]);
    let places = prop_oneof![
        Just(Places::Embed),
        any_text().prop_map(|text| Places::Logit(TokenName::Text(text))),
        (any_span(), parts).prop_map(|(layers, parts)| Places::Layers(layers, parts)),
    ];
    prop_oneof![
        any_address().prop_map(EditTarget::from),
        (places, any_positions()).prop_map(|(places, positions)| EditTarget { places, positions, keys: None }),
        (any_span(), readers, any_span(), any_positions(), any_positions()).prop_map(
            |(layers, kind, heads, positions, keys)| {
                let places = Places::Layers(layers, Parts::Numbered(kind, heads));
                EditTarget { places, positions, keys: Some(keys) }
            }
        ),
    ]
}

fn any_address() -> impl Strategy<Value = Address> {
    let place = prop_oneof![
        Just(Component::Embed),
        (any::<usize>(), any_part()).prop_map(|(layer, part)| Component::Unit { layer, part }),
        any_text().prop_map(|text| Component::Logit(TokenName::Text(text))),
        any::<u32>().prop_map(|id| Component::Logit(TokenName::Id(id))),
    ];
    (place, any::<Option<i64>>()).prop_map(|(place, position)| Address { place, position })
}

fn any_finite() -> impl Strategy<Value = f32> {
    any::<u32>().prop_map(f32::from_bits).prop_filter("finite", |value| value.is_finite())
}

/// Names of sets, with and without what needs quotes.
fn any_set() -> impl Strategy<Value = String> {
    prop_oneof![any_text(), "(builtin:)?[a-z][a-z_./-]{0,8}", Just("builtin:".to_owned())]
}

fn any_edit() -> impl Strategy<Value = Edit> {
    let direction = prop_oneof![
        any_text().prop_map(Direction::File),
        (any_text(), any_text()).prop_map(|(plus, minus)| Direction::Difference { plus, minus }),
    ];
    let op = prop_oneof![
        any_finite().prop_map(Op::Set),
        Just(Op::Mean),
        any_text().prop_map(Op::MeanOf),
        any_text().prop_map(Op::From),
        (any_set(), any::<bool>()).prop_map(|(set, by_position)| Op::MeanOfSet { set, by_position }),
        (any_set(), any::<u64>()).prop_map(|(set, seed)| Op::Resample { set, seed }),
        any_finite().prop_map(Op::Scale),
        any_finite().prop_map(Op::Add),
        (direction, any_finite()).prop_map(|(direction, factor)| Op::Steer { direction, factor }),
        any_text().prop_map(Op::Ablate),
        (any_text(), any_finite(), any_finite(), 0..3usize).prop_map(|(name, a, b, open)| Op::Cap {
            name,
            min: (open != 1).then_some(a.min(b)),
            max: (open != 2).then_some(a.max(b)),
        }),
    ];
    (any_target(), op).prop_map(|(target, op)| Edit { target, op })
}

/// The bits of an operation's number: `==` cannot tell 0 from -0.
fn bits(op: &Op) -> Vec<u32> {
    match op {
        Op::Set(value) | Op::Scale(value) | Op::Add(value) | Op::Steer { factor: value, .. } => vec![value.to_bits()],
        Op::Cap { min, max, .. } => min.iter().chain(max).map(|x| x.to_bits()).collect(),
        _ => Vec::new(),
    }
}

fn runner() -> TestRunner {
    TestRunner::new(Config { cases: 100_000, failure_persistence: None, ..Config::default() })
}

// Checks I4 of ARCHITECTURE.md.
#[test]
fn every_address_is_read_back_as_printed() {
    runner()
        .run(&any_address(), |address| {
            let printed = address.to_string();
            prop_assert_eq!(&printed.parse::<Address>().map_err(|e| TestCaseError::fail(e.to_string()))?, &address);
            let json = serde_json::to_string(&address).unwrap();
            prop_assert_eq!(serde_json::from_str::<Address>(&json).unwrap(), address);
            Ok(())
        })
        .unwrap();
}

#[test]
fn every_edit_is_read_back_as_printed() {
    runner()
        .run(&any_edit(), |edit| {
            let read = edit.to_string().parse::<Edit>().map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(bits(&read.op), bits(&edit.op));
            prop_assert_eq!(read, edit);
            Ok(())
        })
        .unwrap();
}

const SEEDS: [&str; 33] = [
    "embed@3",
    "L7.N1042@5=0",
    "L7.H3=mean",
    "L7.H3=mean:\"reference prompt\"",
    "L7.H3@5=from:\"The other prompt\"",
    "L7.N1042*=2",
    "L7.N1042@-1+=0.5e-3",
    "L9.resid_post@-1+=steer:happy*4",
    "L9.resid_mid+=steer:\"sad mood\"",
    "L9.resid_post+=diff:\"I love\"-\"I hate\"*4",
    "L5.H1@7<-3=0",
    "logit:\" Aus\\u0074in\"@2",
    "logit:1234",
    "L3.F16383@0",
    "L2.error@4",
    "L0.resid_pre+=1",
    "L7.H3.q@5=0",
    "L7.KV1.k=from:\"Other\"",
    "L*.H0..3.pattern@*<-0=0.5",
    "L3..5.H*@2..-1<-\" Dallas\"=0",
    "L1..2.N3..@..3*=2",
    "L7.H3.z@-3..=mean",
    "L*.resid_post=ablate:dir:refusal",
    "L9.resid_post=cap:dir:\"a b\"[-1.5..2e3]",
    "blocks.1.attn.hook_z[0, 5, 2]=0",
    "blocks.3..4.hook_resid_post[:, 2:-1]*=2",
    "blocks.*.attn.hook_pattern[0, 1, -1, :3]+=0.1",
    "hook_embed[0]=mean",
    "blocks.1.attn.hook_q[0, 5, 2]",
    "blocks.3.hook_resid_post[0, -1]",
    "L7.KV1.v@3",
    "L7.H3.pattern@5",
    "L2.N7",
];

/// A small generator (xorshift64*), so that the million strings are the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize) % n
    }

    fn char(&mut self) -> char {
        const OF_THE_GRAMMAR: &[u8] = b"LHNFKV.@-<>=*+:[],\"\\ue0123456789dimnorstqkvz_ ";
        match self.below(4) {
            0 => char::from(self.below(256) as u8),
            1 => char::from_u32(self.below(0x11_0000) as u32).unwrap_or('\u{fffd}'),
            _ => char::from(OF_THE_GRAMMAR[self.below(OF_THE_GRAMMAR.len())]),
        }
    }

    fn noise(&mut self) -> String {
        (0..self.below(24)).map(|_| self.char()).collect()
    }

    /// One of the valid texts with up to three characters lost, changed, put in, or spliced with another.
    fn mutated(&mut self) -> String {
        let mut text: Vec<char> = SEEDS[self.below(SEEDS.len())].chars().collect();
        for _ in 0..self.below(4) {
            let at = self.below(text.len() + 1);
            match self.below(4) {
                0 if at < text.len() => drop(text.remove(at)),
                1 if at < text.len() => text[at] = self.char(),
                2 => text.insert(at, self.char()),
                _ => {
                    let other: Vec<char> = SEEDS[self.below(SEEDS.len())].chars().collect();
                    text.truncate(at);
                    text.extend(&other[self.below(other.len())..]);
                }
            }
        }
        text.into_iter().collect()
    }
}

#[test]
fn a_million_random_strings_never_panic() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let (mut addresses, mut edits) = (0, 0);
    for i in 0..1_000_000 {
        let text = if i % 3 == 0 { random.noise() } else { random.mutated() };
        match text.parse::<Address>() {
            Ok(address) => {
                addresses += 1;
                assert_eq!(address.to_string().parse::<Address>().unwrap(), address, "from {text:?}");
            }
            Err(error) => assert!(error.to_string().contains("expected"), "{text:?} gave {error}"),
        }
        match text.parse::<Edit>() {
            Ok(edit) => {
                edits += 1;
                let read = edit.to_string().parse::<Edit>().unwrap();
                assert_eq!((bits(&read.op), &read), (bits(&edit.op), &edit), "from {text:?}");
            }
            Err(error) => assert!(error.to_string().contains("expected"), "{text:?} gave {error}"),
        }
    }
    // Were (nearly) all refused, the test would say little about what is accepted.
    assert!(addresses > 50_000 && edits > 100_000, "{addresses} addresses, {edits} edits");
}

#[test]
fn the_printed_forms_are_those_of_the_manual() {
    for text in
        ["embed", "embed@0", "L7.N1042@5", "L7.H3", "L7.N1042@-1", "L0.resid_pre", "logit:\" Austin\"", "logit:1234@-1"]
    {
        assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
    }
    for text in [
        "L7.N1042@5=0",
        "L7.H3=mean",
        "L7.H3=mean:\"reference prompt\"",
        "L7.H3@5=from:\"The other prompt\"",
        "L7.N1042*=2",
        "L7.N1042+=0.5",
        "L9.resid_post@-1+=steer:happy*4",
        "L9.resid_post+=diff:\"I love\"-\"I hate\"*4",
        "L5.H1@7<-3=0",
        "L5.H1@-1<--2=0",
    ] {
        assert_eq!(text.parse::<Edit>().unwrap().to_string(), text);
    }
    let unit: Edit = "L9.attn+=steer:\"happy\"".parse().unwrap();
    assert_eq!(unit.to_string(), "L9.attn+=steer:happy*1");
}

#[test]
fn what_is_malformed_is_named() {
    for (text, part, found) in [
        ("", "place", "nothing"),
        ("l7.N3", "place", "\"l7.N3\""),
        ("L.N3", "layer", "\".N3\""),
        ("L7", "after the layer", "nothing"),
        ("L7.N", "neuron", "nothing"),
        ("L7.heads", "part", "\"heads\""),
        ("L99999999999999999999.N1", "layer", "\"99999999999999999999.N1\""),
        ("L7.N1@", "position", "nothing"),
        ("L7.N1@+1", "position", "\"+1\""),
        ("L7.N1 ", "after the address", "\" \""),
        ("logit:Austin", "token", "\"Austin\""),
        ("logit:4294967296", "token id", "\"4294967296\""),
        ("logit:\"Austin", "token", "\"\\\"Austin\""),
        ("logit:\"\\ud800\"", "token", "\"\\\"\\\\ud800\\\"\""),
    ] {
        let error = text.parse::<Address>().unwrap_err().to_string();
        let expected = format!("{text:?}: {part}: found {found}, expected ");
        assert!(error.starts_with(&expected), "{text:?} gave {error}");
    }
    for (text, part, found) in [
        ("L7.H3", "operation", "nothing"),
        ("L7.H3==0", "value", "\"=0\""),
        ("L7.H3=inf", "value", "\"inf\""),
        ("L7.H3=1e39", "value", "\"1e39\""),
        ("L7.H3*=", "factor", "nothing"),
        ("L7.H3+=steer:", "direction", "nothing"),
        ("L7.H3+=steer:a*b", "factor", "\"b\""),
        ("L7.H3+=diff:\"a\"", "direction", "nothing"),
        ("L7.H3=mean:", "reference prompt", "nothing"),
        ("L7.H3=from:x", "source prompt", "\"x\""),
        ("L7.H3=mean:\"a\"b", "after the edit", "\"b\""),
        ("L7.H3<-1=0", "attention edge", "\"<-1=0\""),
        ("L7.N3@4<-1=0", "attention edge", "\"<-1=0\""),
        ("L7.H3@4<-k=0", "key position", "\"k=0\""),
    ] {
        let error = text.parse::<Edit>().unwrap_err().to_string();
        let expected = format!("{text:?}: {part}: found {found}, expected ");
        assert!(error.starts_with(&expected), "{text:?} gave {error}");
    }
}

const SMALL: Extent =
    Extent { n_layers: 4, n_heads: 2, n_kv_heads: 1, d_mlp: 96, d_vocab: 512, n_pos: 5, n_features: Some(8) };

fn refusal(text: &str, extent: &Extent) -> Option<String> {
    let edit: Edit = text.parse().unwrap();
    edit.check(extent).err().map(|error| format!("{error:#}"))
}

#[test]
fn the_last_of_each_is_in_range() {
    for text in ["L3.H1@4=0", "L3.N95@-5=0", "L3.F7=0", "L3.error=0", "logit:511=0", "L0.H0@4<-4=0", "embed=0"] {
        assert_eq!(refusal(text, &SMALL), None, "{text}");
    }
}

#[test]
fn one_past_the_last_names_the_range() {
    let none = Extent { n_features: None, n_pos: 0, ..SMALL };
    for (text, extent, expected) in [
        ("L4.attn=0", &SMALL, "layer 4: this model has layers 0..=3"),
        ("L3.H2=0", &SMALL, "head 2: each layer has heads 0..=1"),
        ("L3.N96=0", &SMALL, "neuron 96: each layer has neurons 0..=95"),
        ("L3.F8=0", &SMALL, "feature 8: each layer has features 0..=7"),
        ("logit:512=0", &SMALL, "token id 512: this model has token ids 0..=511"),
        ("embed@5=0", &SMALL, "position 5: this prompt has positions 0..=4, or -5..=-1 from the end"),
        ("embed@-6=0", &SMALL, "position -6: this prompt has positions 0..=4, or -5..=-1 from the end"),
        ("L0.H0@2<-5=0", &SMALL, "key: position 5: this prompt has positions 0..=4, or -5..=-1 from the end"),
        ("L0.H0@2<--1=0", &SMALL, "key 4: query 2 can only read keys 0..=2"),
        ("L4.H0@2<-1=0", &SMALL, "layer 4: this model has layers 0..=3"),
        ("L0.F0=0", &none, "feature 0: no dictionary is loaded"),
        ("L0.error=0", &none, "error: no dictionary is loaded"),
        ("embed@0=0", &none, "position 0: this prompt has no tokens"),
    ] {
        assert_eq!(refusal(text, extent), Some(format!("{text}: {expected}")));
    }
    let far = format!("embed@{}=0", i64::MIN);
    assert!(refusal(&far, &SMALL).unwrap().contains("positions 0..=4"));
}

/// What a text is read as, printed; or the error.
fn read(text: &str) -> String {
    text.parse::<EditTarget>().map_or_else(|e| e.to_string(), |t| t.to_string())
}

#[test]
fn names_of_transformer_lens_are_read_as_addresses() {
    for (hook, address) in [
        ("blocks.1.attn.hook_z[0, 5, 2]", "L1.H2@5"),
        ("blocks.1.attn.hook_z[0,-1,2]", "L1.H2@-1"),
        ("blocks.1.attn.hook_z[:, :, 2]", "L1.H2"),
        ("blocks.1.attn.hook_z", "L1.H*"),
        ("blocks.1.attn.hook_q[0, 5, 2]", "L1.H2.q@5"),
        ("blocks.1.attn.hook_k[0, 5, 2]", "L1.KV2.k@5"),
        ("blocks.1.attn.hook_v[0, 2:5, 0:2]", "L1.KV0..1.v@2..4"),
        ("blocks.1.attn.hook_pattern[0, 3]", "L1.H3.pattern"),
        ("blocks.1.attn.hook_pattern[0, 3, 7]", "L1.H3.pattern@7"),
        ("blocks.1.attn.hook_pattern[0, 3, 7, 2]", "L1.H3.pattern@7<-2"),
        ("blocks.1.attn.hook_pattern[0, :, -1, 0]", "L1.H*.pattern@-1<-0"),
        ("blocks.3.hook_resid_pre", "L3.resid_pre"),
        ("blocks.3.hook_resid_mid[0, 4]", "L3.resid_mid@4"),
        ("blocks.3.hook_resid_post", "L3.resid_post"),
        ("blocks.*.hook_attn_out[0, -3:]", "L*.attn@-3.."),
        ("blocks.2..3.hook_mlp_out[0, :-2]", "L2..3.mlp@..-3"),
        ("blocks.1.mlp.hook_post[0, 5, 300]", "L1.N300@5"),
        ("hook_embed[0, 1]", "embed@1"),
    ] {
        assert_eq!(read(hook), address);
    }
    assert_eq!("blocks.1.attn.hook_z[0, 5, 2]".parse::<Address>().unwrap(), Address::unit(1, Part::Head(2)).at(5));
    for (hook, says) in [
        ("blocks.1.attn.hook_z[1, 5, 2]", "batch index: found \"1, 5, 2]\", expected 0"),
        ("blocks.1.attn.hook_z[0, 5, 2, 7]", "a head is changed as a whole"),
        ("blocks.1.hook_resid_post[0, 5, 7]", "a vector is changed as a whole"),
        ("blocks.1.attn.hook_z[0, 5, -2]", "not negative"),
        ("blocks.1.attn.hook_z[0, 5:5, 2]", "a slice that takes something in"),
        ("blocks.1.attn.hook_result", "activation: found \"attn.hook_result\", expected hook_resid_pre"),
        ("blocks.1.attn.hook_z[0, 5", "a comma or ]"),
    ] {
        assert!(read(hook).contains(says), "{hook}: {}", read(hook));
    }
}

#[test]
fn ranges_are_read_and_other_spellings_have_one_printed_form() {
    for (text, printed) in [
        ("L*.attn", "L*.attn"),
        ("L3..5.H*", "L3..5.H*"),
        ("L3..3.H0", "L3.H0"),
        ("L1.H0..3.q@2..5", "L1.H0..3.q@2..5"),
        ("L1.H2.z@*", "L1.H2"),
        ("L1.H2@5..", "L1.H2@5.."),
        ("embed@..3", "embed@..3"),
        ("embed@\" Dallas\"", "embed@\" Dallas\""),
        ("L1.H2@*<-0", "L1.H2@*<-0"),
        ("L1.H2.pattern@7<-..3", "L1.H2.pattern@7<-..3"),
    ] {
        assert_eq!(read(text), printed);
    }
    for (text, says) in [
        ("L5..3.H0", "layer: found \"5..3.H0\", expected a range whose first is not behind its last"),
        ("embed@-1..-3", "position: found \"-1..-3\""),
        ("embed@..", "expected an end of the range; * is all"),
        ("L1.H2.w", "part of a head: found \"w\", expected q, k, v, z or pattern"),
        ("L1.KV2", "after the key/value head: found nothing, expected .k or .v"),
        ("L1.H2.q@4<-3", "attention edge"),
    ] {
        assert!(read(text).contains(says), "{text}: {}", read(text));
    }
    let several = "L*.H0".parse::<Address>().unwrap_err().to_string();
    assert!(several.contains("expected one unit"), "{several}");
}

#[test]
fn a_range_takes_in_what_a_model_and_a_prompt_have_of_it() {
    let tokens: Vec<String> = ["<s>", " a", " b", " a", " c"].map(str::to_owned).to_vec();
    let reach = |text: &str| {
        let target: EditTarget = text.parse().unwrap();
        target.resolve(&SMALL, Some(&tokens)).map(|r| (r.layers, r.numbers, r.positions)).map_err(|e| format!("{e:#}"))
    };
    let every = vec![0, 1, 2, 3, 4];
    assert_eq!(reach("L*.N90.."), Ok((0..4, 90..96, every.clone())));
    assert_eq!(reach("L2..3.H*@-2.."), Ok((2..4, 0..2, vec![3, 4])));
    assert_eq!(reach("L1.KV*.v@..1"), Ok((1..2, 0..1, vec![0, 1])));
    assert_eq!(reach("L1.attn@\" a\""), Ok((1..2, 0..0, vec![1, 3])));
    assert_eq!(reach("embed"), Ok((0..0, 0..0, every)));
    for (text, says) in [
        ("L2..9.attn", "layer 9: this model has layers 0..=3"),
        ("L0.H1..7", "head 7: each layer has heads 0..=1"),
        ("embed@3..9", "position 9"),
        ("embed@4..-3", "position 4 lies behind position 2"),
        ("embed@\"b\"", "no token of this prompt is \"b\"; its tokens are [\"<s>\", \" a\""),
        ("L0.H*.k", "2 query heads share 1 key/value heads here; accepted: L0.KV0.k, which changes it for heads 0..1"),
        ("L0.H1@..1<-3..=0", "every key lies behind every query"),
    ] {
        let text = text.strip_suffix("=0").unwrap_or(text);
        assert!(reach(text).unwrap_err().contains(says), "{text}: {:?}", reach(text));
    }
    let edges: EditTarget = "L0.H0@3..<-2..3".parse().unwrap();
    assert_eq!(edges.resolve(&SMALL, None).unwrap().edges, Some(vec![(3, 2), (3, 3), (4, 2), (4, 3)]));
}
