//! Reports: every format says the same, exactly for programs and safely for eyes.

use mechscope::address::{Address, Part, TokenName};
use mechscope::report::text::{escape, number};
use mechscope::report::{Axis, Cell, Column, Format, Grid, Report, Table};
use proptest::prelude::*;
use serde_json::{Value, json};

fn written(report: &Report, format: Format) -> String {
    let mut out = Vec::new();
    report.write(format, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn sample() -> Report {
    let mut top = Table::new([
        Column::integer("rank"),
        Column::token("token"),
        Column::address("address"),
        Column::number("logit", "", 2),
        Column::number("prob", "%", 3),
        Column::text("what"),
    ]);
    let logit = |text: &str| Cell::from(Address::logit(TokenName::Text(text.to_owned())));
    top.push([1_usize.into(), Cell::token(" 語\t"), logit(" 語\t"), 12.5_f32.into(), 0.1_f32.into(), "likely".into()]);
    top.push([
        10_usize.into(),
        Cell::token("a\\b"),
        Address::unit(7, Part::Head(3)).at(-1).into(),
        f32::NEG_INFINITY.into(),
        4e-5_f32.into(),
        Cell::Empty,
    ]);
    let grid = Grid::new(
        Axis::new("query", ["0 The", "1 king"]),
        Axis::new("key", ["0", "1"]),
        vec![1.0, 0.0, 0.25, f32::NAN],
        "",
        3,
    )
    .unwrap();
    let mut report = Report::default();
    report.fact("model", "tiny").fact("edit", None::<String>).fact("n", 3_u32);
    report.table("top", "What comes next", top).grid("pattern", "Attention", grid).note("note", "One.\nTwo.");
    report
}

#[test]
fn text_is_aligned_by_what_it_shows() {
    let expected = concat!(
        "model  tiny\n",
        "edit\n",
        "n      3\n",
        "\n",
        "What comes next\n",
        "rank  token    address        logit  prob (%)  what\n",
        "   1  \" 語\\t\"  logit:\" 語\\t\"  12.50     0.100  likely\n",
        "  10  \"a\\b\"    L7.H3@-1        -inf    4.0e-5\n",
        "\n",
        "Attention\n",
        "query \\ key      0      1\n",
        "0 The        1.000  0.000\n",
        "1 king       0.250    NaN\n",
        "\n",
        "One.\n",
        "Two.\n",
    );
    assert_eq!(written(&sample(), Format::Text), expected);
}

#[test]
fn tsv_has_as_many_cells_in_every_line() {
    let expected = concat!(
        "# model\ttiny\n",
        "# edit\t\n",
        "# n\t3\n",
        "\n",
        "# top\n",
        "rank\ttoken\taddress\tlogit\tprob\twhat\n",
        "1\t 語\\t\tlogit:\" 語\\\\t\"\t12.5\t0.1\tlikely\n",
        "10\ta\\\\b\tL7.H3@-1\t-inf\t0.00004\t\n",
        "\n",
        "# pattern\n",
        "query\t0\t1\n",
        "0 The\t1\t0\n",
        "1 king\t0.25\tNaN\n",
        "\n",
        "# note\n",
        "One.\\nTwo.\n",
    );
    assert_eq!(written(&sample(), Format::Tsv), expected);
}

#[test]
fn json_is_one_object_with_the_facts_and_parts() {
    let text = written(&sample(), Format::Json);
    assert_eq!(text.lines().count(), 1);
    let expected = json!({
        "model": "tiny", "edit": null, "n": 3,
        "top": [
            {"rank": 1, "token": " 語\t", "address": "logit:\" 語\\t\"", "logit": 12.5, "prob": 0.1, "what": "likely"},
            {"rank": 10, "token": "a\\b", "address": "L7.H3@-1", "logit": "-Infinity", "prob": 4e-5, "what": null},
        ],
        "pattern": {
            "rows": {"name": "query", "labels": ["0 The", "1 king"]}, "columns": {"name": "key", "labels": ["0", "1"]},
            "values": [[1.0, 0.0], [0.25, "NaN"]],
        },
        "note": "One.\nTwo.",
    });
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
    assert!(text.find("\"model\"") < text.find("\"top\""), "in the order given: {text}");
}

#[test]
fn grids_carry_addresses_in_their_own_shape() {
    let axes = || (Axis::new("layer", ["0", "1"]), Axis::new("pos", ["0"]));
    let address = |layer| Address::unit(layer, Part::ResidPost).at(0);
    let grid = |values| Grid::new(axes().0, axes().1, values, "logit", 1);
    let placed = grid(vec![1.0, 2.0]).unwrap().with_addresses(vec![address(0), address(1)]).unwrap();
    let mut report = Report::default();
    report.grid("lens", "", placed);
    let read: Value = serde_json::from_str(&written(&report, Format::Json)).unwrap();
    assert_eq!(read["lens"]["addresses"], json!([["L0.resid_post@0"], ["L1.resid_post@0"]]));
    assert_eq!(read["lens"]["values"], json!([[1.0], [2.0]]));
    assert!(written(&report, Format::Text).starts_with("layer \\ pos (logit)    0\n"));

    let error = grid(vec![1.0]).unwrap_err().to_string();
    assert_eq!(error, "a grid of 2 rows and 1 columns holds 2 values, not 1");
    let error = grid(vec![1.0, 2.0]).unwrap().with_addresses(vec![address(0)]).unwrap_err().to_string();
    assert_eq!(error, "a grid of 2 values has as many addresses, not 1");
}

#[test]
fn empty_reports_and_parts_are_written() {
    let mut report = Report::default();
    assert_eq!(written(&report, Format::Text), "");
    assert_eq!(written(&report, Format::Json), "{}\n");
    report.table("rows", "", Table::new([Column::text("name")]));
    report.grid("grid", "", Grid::new(Axis::new("r", ["0"]), Axis::new("c", [""; 0]), vec![], "", 1).unwrap());
    assert_eq!(written(&report, Format::Text), "name\n\nr \\ c\n0\n");
    let read: Value = serde_json::from_str(&written(&report, Format::Json)).unwrap();
    assert_eq!((&read["rows"], &read["grid"]["values"]), (&json!([]), &json!([[]])));
}

#[test]
fn a_closed_pipe_is_told_as_one() {
    struct Closed;
    impl std::io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    for format in [Format::Text, Format::Tsv, Format::Json] {
        assert_eq!(sample().write(format, &mut Closed).unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    }
}

#[test]
fn formats_are_typed_and_printed() {
    for format in [Format::Text, Format::Tsv, Format::Json] {
        assert_eq!(format.to_string().parse::<Format>().unwrap(), format);
    }
    let error = "xml".parse::<Format>().unwrap_err().to_string();
    assert_eq!(error, "format: found \"xml\", expected text, tsv or json");
}

#[test]
fn what_hides_or_moves_is_escaped() {
    for (raw, shown) in [
        ("\0\u{7f}\u{9b}", "\\u{0}\\u{7f}\\u{9b}"),
        ("\r\n", "\\r\\n"),
        ("\u{202e}x\u{2066}", "\\u{202e}x\\u{2066}"),
        ("\u{200b}\u{200d}\u{feff}\u{ad}", "\\u{200b}\\u{200d}\\u{feff}\\u{ad}"),
        ("\u{2028}\u{2029}", "\\u{2028}\\u{2029}"),
        ("\u{301}a\u{301}\u{302}", "\\u{301}a\u{301}\u{302}"),
        (" \u{301}", " \\u{301}"),
        ("\u{e000}\u{10ffff}\u{ffff}", "\\u{e000}\\u{10ffff}\\u{ffff}"),
        ("\u{e0041}", "\\u{e0041}"),
        ("C:\\n", "C:\\n"),
        ("naïve 語 🙂 ½ א", "naïve 語 🙂 ½ א"),
    ] {
        assert_eq!(escape(raw), shown, "{raw:?}");
    }
}

#[test]
fn numbers_never_show_as_nothing() {
    for (value, digits, shown) in [
        (1.25, 1, "1.2"),
        (-0.0, 2, "0.00"),
        (-0.004, 2, "-4.0e-3"),
        (0.0051, 2, "0.01"),
        (1e9, 2, "1.0e9"),
        (-123_456.0, 0, "-123456"),
        (0.4, 0, "4.0e-1"),
        (f32::MIN_POSITIVE, 6, "1.2e-38"),
        (f32::NAN, 2, "NaN"),
        (f32::INFINITY, 2, "inf"),
    ] {
        assert_eq!(number(value, digits), shown);
    }
}

fn runner(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn table_of(cells: impl IntoIterator<Item = Cell>, column: Column) -> Report {
    let mut table = Table::new([column]);
    cells.into_iter().for_each(|cell| table.push([cell]));
    let mut report = Report::default();
    report.table("t", "", table);
    report
}

proptest! {
    #![proptest_config(runner(500))]

    /// Whether a reader has single or double precision.
    #[test]
    fn json_numbers_read_back_as_the_same_f32(bits in proptest::collection::vec(any::<u32>(), 400)) {
        let values: Vec<f32> = bits.into_iter().map(f32::from_bits).filter(|value| value.is_finite()).collect();
        let text = written(&table_of(values.iter().map(|v| Cell::Number(*v)), Column::number("x", "", 2)), Format::Json);
        #[derive(serde::Deserialize)]
        struct Rows<T> { t: Vec<Row<T>> }
        #[derive(serde::Deserialize)]
        struct Row<T> { x: T }
        let double: Rows<f64> = serde_json::from_str(&text).unwrap();
        let single: Vec<f32> = text.split("\"x\":").skip(1).map(|rest| rest.split('}').next().unwrap().parse().unwrap()).collect();
        for ((value, single), double) in values.iter().zip(single).zip(double.t) {
            prop_assert_eq!(value.to_bits(), single.to_bits());
            prop_assert_eq!(value.to_bits(), (double.x as f32).to_bits());
        }
    }

    #[test]
    fn any_text_keeps_to_its_line_and_its_column(words in proptest::collection::vec(any::<String>(), 1..20)) {
        let report = table_of(words.iter().map(|word| Cell::from(word.as_str())), Column::text("x"));
        let text = written(&report, Format::Text);
        prop_assert_eq!(text.lines().count(), words.len() + 1);
        prop_assert!(!text.replace('\n', "").chars().any(char::is_control));
        let tsv = written(&report, Format::Tsv);
        prop_assert_eq!(tsv.split_terminator('\n').count(), words.len() + 2);
        prop_assert!(!tsv.contains(['\t', '\r']));
        let read: Value = serde_json::from_str(&written(&report, Format::Json)).unwrap();
        let back: Vec<&str> = read["t"].as_array().unwrap().iter().map(|row| row["x"].as_str().unwrap()).collect();
        prop_assert_eq!(back, words);
    }
}
