//! Addresses and edits: what is printed is read back, and nothing that is typed can bring the parser down.

use mechscope::address::{Address, Direction, Edit, Extent, Op, Part, Place, Target, Token};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[ a-zA-Z\"\\\\@*=<>+-]{0,12}", "[A-Za-z0-9_./-]{0,8}"]
}

fn any_part() -> impl Strategy<Value = Part> {
    prop_oneof![
        any::<usize>().prop_map(Part::Head),
        any::<usize>().prop_map(Part::Neuron),
        any::<usize>().prop_map(Part::Feature),
        proptest::sample::select(vec![
            Part::Attn,
            Part::Mlp,
            Part::ResidPre,
            Part::ResidMid,
            Part::ResidPost,
            Part::Error
        ]),
    ]
}

fn any_address() -> impl Strategy<Value = Address> {
    let place = prop_oneof![
        Just(Place::Embed),
        (any::<usize>(), any_part()).prop_map(|(layer, part)| Place::Unit { layer, part }),
        any_text().prop_map(|text| Place::Logit(Token::Text(text))),
        any::<u32>().prop_map(|id| Place::Logit(Token::Id(id))),
    ];
    (place, any::<Option<i64>>()).prop_map(|(place, position)| Address { place, position })
}

fn any_finite() -> impl Strategy<Value = f32> {
    any::<u32>().prop_map(f32::from_bits).prop_filter("finite", |value| value.is_finite())
}

fn any_edit() -> impl Strategy<Value = Edit> {
    let target = prop_oneof![
        any_address().prop_map(Target::Unit),
        (any::<usize>(), any::<usize>(), any::<i64>(), any::<i64>())
            .prop_map(|(layer, head, query, key)| Target::AttentionEdge { layer, head, query, key }),
    ];
    let direction = prop_oneof![
        any_text().prop_map(Direction::File),
        (any_text(), any_text()).prop_map(|(plus, minus)| Direction::Difference { plus, minus }),
    ];
    let op = prop_oneof![
        any_finite().prop_map(Op::Set),
        Just(Op::Mean),
        any_text().prop_map(Op::MeanOf),
        any_text().prop_map(Op::From),
        any_finite().prop_map(Op::Scale),
        any_finite().prop_map(Op::Add),
        (direction, any_finite()).prop_map(|(direction, factor)| Op::Steer { direction, factor }),
    ];
    (target, op).prop_map(|(target, op)| Edit { target, op })
}

/// The bits of an operation's number: `==` cannot tell 0 from -0.
fn bits(op: &Op) -> Option<u32> {
    match op {
        Op::Set(value) | Op::Scale(value) | Op::Add(value) | Op::Steer { factor: value, .. } => Some(value.to_bits()),
        Op::Mean | Op::MeanOf(_) | Op::From(_) => None,
    }
}

fn runner() -> TestRunner {
    TestRunner::new(Config { cases: 100_000, failure_persistence: None, ..Config::default() })
}

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

const SEEDS: [&str; 16] = [
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
        const OF_THE_GRAMMAR: &[u8] = b"LHNF.@-<>=*+:\"\\ue0123456789dimnorst_ ";
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

const SMALL: Extent = Extent { n_layers: 4, n_heads: 2, d_mlp: 96, d_vocab: 512, n_pos: 5, n_features: Some(8) };

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
