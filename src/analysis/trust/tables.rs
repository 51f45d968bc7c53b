//! Trials as tables: of one prompt unit by unit, of a set in means.

use super::{Ablation, MissedPrediction, TargetTrial, UnitAgreement, UnitKind, score, strongest};
use crate::cast::single;
use crate::report::statistics::mean_and_error;
use crate::report::{Column, Table};

/// How one prompt's totals agree with what was measured.
pub fn agreements(of: &[UnitAgreement]) -> Table {
    let mut columns = vec![Column::text("units"), Column::text("against"), Column::integer("n")];
    columns.extend([Column::integer("left_the_range"), Column::integer("top")]);
    columns.extend(scores().map(|name| Column::number(&name, "", 2)));
    columns.push(Column::number("found_by_chance", "", 1));
    let mut table = Table::new(columns);
    for one in of {
        let mut row = vec![one.kind.name().into(), one.against.name().into(), one.units.into(), one.lost.into()];
        row.push(score::top(one.units).into());
        row.extend(numbers(one).map(|x| x.map(single).into()));
        row.push(single(score::by_chance(one.units)).into());
        table.push(row);
    }
    table
}

/// Every unit, those first that matter most by any of the three numbers; `top` of each kind and way of silencing, 0 for all.
pub fn effects(tried: &TargetTrial, top: usize) -> Table {
    let mut table = Table::new([
        Column::address("unit"),
        Column::text("units"),
        Column::text("against"),
        Column::number("writes", "logit", 4),
        Column::number("counts", "logit", 4),
        Column::number("measured", "logit", 4),
    ]);
    for effect in strongest(&tried.effects, top) {
        table.push([
            effect.unit.clone().into(),
            effect.kind.name().into(),
            effect.against.name().into(),
            effect.writes.into(),
            effect.counts.into(),
            effect.measured.into(),
        ]);
    }
    table
}

/// Measured effects that are not what was predicted, with the part of the model that made the difference and what it wrote before and after.
pub fn misses(misses: &[MissedPrediction]) -> Table {
    let mut table = Table::new([
        Column::address("unit"),
        Column::text("against"),
        Column::address("culprit"),
        Column::number("culprit_before", "logit", 4),
        Column::number("culprit_after", "logit", 4),
        Column::text("why"),
    ]);
    for miss in misses {
        let culprit = miss.culprit.as_ref();
        table.push([
            miss.effect.unit.clone().into(),
            miss.effect.against.name().into(),
            culprit.map(|c| c.unit.clone()).into(),
            culprit.map(|c| c.before).into(),
            culprit.map(|c| c.after).into(),
            miss.sentence().into(),
        ]);
    }
    table
}

/// One prompt of a set with one of its targets.
#[derive(Clone, Debug)]
pub struct SetTrial {
    /// The prompt.
    pub id: String,
    /// What it is one of.
    pub label: Option<String>,
    /// Whether the target is a difference of two logits.
    pub contrast: bool,
    /// How its totals agree with what was measured.
    pub agreements: Vec<UnitAgreement>,
}

/// Every prompt of a set.
pub fn rows(set: &[SetTrial]) -> Table {
    let mut columns = vec![Column::text("prompt"), Column::text("label"), Column::text("target")];
    let mut rows = Vec::new();
    for one in set {
        let table = agreements(&one.agreements);
        if columns.len() == 3 {
            columns.extend(table.columns);
        }
        for row in table.rows {
            let mut cells = vec![one.id.clone().into(), one.label.clone().into(), target(one.contrast).into()];
            cells.extend(row);
            rows.push(cells);
        }
    }
    Table { columns, rows }
}

/// Means over a set's prompts, of each kind of unit, target and way of silencing; with `labels` also by what the prompts are of.
pub fn means(set: &[SetTrial], labels: bool) -> Table {
    let mut columns = vec![Column::text("of"), Column::text("units"), Column::text("target"), Column::text("against")];
    columns.extend([Column::integer("prompts"), Column::number("n", "", 1), Column::number("top", "", 1)]);
    for name in scores() {
        columns.push(Column::number(&name, "", 2));
        if name.ends_with("rank") {
            columns.push(Column::number(&format!("{name}_se"), "", 2));
        }
    }
    columns.push(Column::number("found_by_chance", "", 1));
    let mut table = Table::new(columns);
    let mut groups: Vec<Option<&str>> = vec![None];
    if labels {
        for label in set.iter().filter_map(|one| one.label.as_deref()) {
            if !groups.contains(&Some(label)) {
                groups.push(Some(label));
            }
        }
    }
    for group in groups {
        for kind in UnitKind::ALL {
            for contrast in [false, true] {
                for against in Ablation::ALL {
                    let of: Vec<&UnitAgreement> = set
                        .iter()
                        .filter(|one| one.contrast == contrast && (group.is_none() || one.label.as_deref() == group))
                        .flat_map(|one| &one.agreements)
                        .filter(|a| a.kind == kind && a.against == against)
                        .collect();
                    if of.is_empty() {
                        continue;
                    }
                    let name = group.unwrap_or("all").to_owned();
                    let mut row = vec![name.into(), kind.name().into(), target(contrast).into()];
                    row.extend([against.name().into(), of.len().into()]);
                    let mean =
                        |x: &dyn Fn(&UnitAgreement) -> f64| of.iter().map(|a| x(a)).sum::<f64>() / of.len() as f64;
                    row.push(single(mean(&|a| a.units as f64)).into());
                    row.push(single(mean(&|a| score::top(a.units) as f64)).into());
                    for (i, name) in scores().enumerate() {
                        let (mean, error) = mean_and_error(of.iter().filter_map(|a| numbers(a).nth(i)?));
                        row.push(mean.map(single).into());
                        if name.ends_with("rank") {
                            row.push(error.map(single).into());
                        }
                    }
                    row.push(single(mean(&|a| score::by_chance(a.units))).into());
                    table.push(row);
                }
            }
        }
    }
    table
}

fn target(contrast: bool) -> &'static str {
    if contrast { "contrast" } else { "single" }
}

/// The columns of both totals' scores.
fn scores() -> impl Iterator<Item = String> {
    let of = ["rank", "signs", "signs_top", "found"];
    of.into_iter().flat_map(|score| ["writes", "counts"].map(|total| format!("{total}_{score}")))
}

/// The same, in numbers.
fn numbers(one: &UnitAgreement) -> impl Iterator<Item = Option<f64>> {
    let (w, c) = (one.writes, one.counts);
    let found = |s: score::Score| Some(s.found as f64);
    [w.rank, c.rank, w.signs, c.signs, w.signs_top, c.signs_top, found(w), found(c)].into_iter()
}
