//! What is copied: rows, tables, addresses, expressions and commands, with the tokens' true texts.

use super::App;
use super::pane::PaneLine;
use crate::address::{Address, Component, Part};
use crate::report::filter::plain;
use crate::report::json::Printed;
use crate::report::{Body, Cell, CellKind, Column, Grid, Report, Table};
use anyhow::{Context, Result, bail};

/// What is copied of what is marked or selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// The row, its cells parted by tabs.
    Row,
    /// The whole table, as tab-separated values.
    Table,
    /// The address.
    Address,
    /// The row as JSON.
    Json,
    /// The table as Markdown.
    Markdown,
    /// The TransformerLens expression.
    Python,
    /// The command that prints what the tab shows.
    Command,
}

/// The text that is copied.
///
/// # Errors
/// There is nothing of the kind here.
pub fn text(app: &App, what: Copied) -> Result<String> {
    let pane = app.pane(app.focus());
    match what {
        Copied::Address => Ok(lines(app, |a| Ok(a.to_string()))?),
        Copied::Python => lines(app, python),
        Copied::Command => app.command(),
        Copied::Row => match pane.body().context("nothing is selected")? {
            (Body::Note(text), _) => Ok(text.clone()),
            _ => Ok(chosen(app)?.rows.iter().map(|row| cells(row)).collect::<Vec<_>>().join("\n")),
        },
        Copied::Table => tsv(app),
        Copied::Json => {
            let table = chosen(app)?;
            let objects = table.rows.iter().map(|row| {
                let fields = table.columns.iter().zip(row).map(|(c, cell)| (c.name.clone(), json(cell)));
                serde_json::Value::Object(fields.collect())
            });
            Ok(match objects.collect::<Vec<_>>() {
                mut one if one.len() == 1 => one.remove(0).to_string(),
                several => serde_json::Value::Array(several).to_string(),
            })
        }
        Copied::Markdown if !app.marks.is_empty() => Ok(markdown(&chosen(app)?)),
        Copied::Markdown => match pane.body().context("no table is selected")? {
            (Body::Table(table), _) => {
                let rows = shown_rows(app).into_iter().map(|row| table.rows[row].clone()).collect();
                Ok(markdown(&Table { columns: table.columns.clone(), rows }))
            }
            (Body::Grid(grid), _) => Ok(markdown(&as_table(grid))),
            (Body::Note(_), _) => bail!("a note is no table"),
        },
    }
}

/// A line for everything marked, or for what is selected.
fn lines(app: &App, line: impl Fn(&Address) -> Result<String>) -> Result<String> {
    if app.marks.is_empty() {
        return line(&app.address());
    }
    Ok(app.marks.iter().map(line).collect::<Result<Vec<_>>>()?.join("\n"))
}

/// What is marked of the table or grid under the cursor, else its row or cell.
fn chosen(app: &App) -> Result<Table> {
    let pane = app.pane(app.focus());
    match pane.body().context("nothing is selected")? {
        (Body::Table(table), row) => {
            let address = |row: usize| table.rows[row].iter().find_map(Cell::address);
            let mut rows = shown_rows(app);
            rows.retain(|row| address(*row).is_some_and(|a| app.marks.contains(a)));
            let rows = if rows.is_empty() { vec![row] } else { rows };
            let rows = rows.into_iter().map(|row| table.rows[row].clone()).collect();
            Ok(Table { columns: table.columns.clone(), rows })
        }
        (Body::Grid(grid), row) => {
            let width = grid.columns.labels.len();
            let here = row * width + pane.column.min(width.saturating_sub(1));
            let marked = |at: &usize| grid.addresses.get(*at).is_some_and(|a| app.marks.contains(a));
            let marked: Vec<usize> = (0..grid.values.len()).filter(marked).collect();
            cells_of(grid, &if marked.is_empty() { vec![here] } else { marked })
        }
        (Body::Note(_), _) => bail!("a note has no rows"),
    }
}

/// Cells of a grid as rows: where they are, or their row and column, and what they hold.
fn cells_of(grid: &Grid, cells: &[usize]) -> Result<Table> {
    let width = grid.columns.labels.len();
    let mut columns = match grid.addresses.is_empty() {
        false => vec![Column::address("address")],
        true => vec![Column::text(&grid.rows.name), Column::text(&grid.columns.name)],
    };
    columns.push(Column::number("value", grid.unit, grid.digits));
    columns.extend((!grid.tokens.is_empty()).then(|| Column::token("token")));
    let mut table = Table::new(columns);
    for &at in cells {
        let value = *grid.values.get(at).context("the grid is empty")?;
        let mut row: Vec<Cell> = match grid.addresses.get(at) {
            Some(address) => vec![address.clone().into()],
            None => vec![grid.rows.labels[at / width].clone().into(), grid.columns.labels[at % width].clone().into()],
        };
        row.push(value.into());
        row.extend(grid.tokens.get(at).map(Cell::token));
        table.push(row);
    }
    Ok(table)
}

/// A grid as a table: its row labels, then a column for each of its own.
fn as_table(grid: &Grid) -> Table {
    let columns = grid.columns.labels.iter().map(|label| match grid.tokens.is_empty() {
        true => Column::number(label, grid.unit, grid.digits),
        false => Column::token(label),
    });
    let mut table = Table::new(std::iter::once(Column::text(&grid.rows.name)).chain(columns));
    let width = grid.columns.labels.len();
    for (row, label) in grid.rows.labels.iter().enumerate() {
        let cells = (row * width..(row + 1) * width).map(|at| match grid.tokens.get(at) {
            Some(token) => Cell::token(token),
            None => grid.values[at].into(),
        });
        table.push(std::iter::once(label.clone().into()).chain(cells));
    }
    table
}

/// The rows of the table under the cursor, as filtered and sorted.
fn shown_rows(app: &App) -> Vec<usize> {
    let pane = app.pane(app.focus());
    let Some(PaneLine::Row(part, _)) = pane.lines.get(pane.cursor) else { return Vec::new() };
    let rows = pane.lines.iter().filter_map(|l| match l {
        PaneLine::Row(p, row) if p == part => Some(*row),
        _ => None,
    });
    rows.collect()
}

fn tsv(app: &App) -> Result<String> {
    let pane = app.pane(app.focus());
    let Some(PaneLine::Row(part, _)) = pane.lines.get(pane.cursor) else { bail!("no table is selected") };
    let report = pane.report.as_ref().context("there is no report yet")?;
    let part = report.parts.get(*part).context("there is no report yet")?;
    let mut part = part.clone();
    if let Body::Table(table) = &mut part.body {
        table.rows = shown_rows(app).into_iter().map(|row| table.rows[row].clone()).collect();
    }
    let report = Report { facts: Vec::new(), parts: vec![part] };
    let mut bytes = Vec::new();
    crate::report::tsv::write(&report, &mut bytes)?;
    let text = String::from_utf8(bytes)?;
    // The part's name is for files with several of them.
    Ok(text.split_once('\n').map_or(text.clone(), |(_, rest)| rest.to_owned()))
}

fn cells(row: &[Cell]) -> String {
    row.iter().map(plain).collect::<Vec<_>>().join("\t")
}

fn json(cell: &Cell) -> serde_json::Value {
    match cell {
        Cell::Empty => serde_json::Value::Null,
        Cell::Integer(value) => (*value).into(),
        Cell::Number(_) | Cell::Series(_) | Cell::Tokens(_) => {
            serde_json::to_value(Printed(cell)).unwrap_or(serde_json::Value::Null)
        }
        other => plain(other).into(),
    }
}

fn markdown(table: &Table) -> String {
    let escape = |text: &str| text.replace('\\', "\\\\").replace('|', "\\|").replace('\n', "\\n");
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = line(table.columns.iter().map(|c| escape(&c.name)).collect());
    let rule = table.columns.iter().map(|c| match c.kind {
        CellKind::Integer | CellKind::Number { .. } => "---:".to_owned(),
        _ => "---".to_owned(),
    });
    text += &line(rule.collect());
    for row in &table.rows {
        let shown = row.iter().map(|cell| match cell {
            Cell::Token(token) => {
                format!("`{}`", serde_json::Value::from(token.as_str()).to_string().replace('|', "\\|"))
            }
            other => escape(&plain(other)),
        });
        text += &line(shown.collect());
    }
    text
}

/// The TransformerLens expression of a unit's value.
fn python(address: &Address) -> Result<String> {
    let position = address.position.map_or_else(|| ":".to_owned(), |p| p.to_string());
    let of = |site: &str, index: String| format!("cache[\"{site}\"][0, {position}{index}]");
    Ok(match &address.place {
        Component::Embed => of("hook_embed", String::new()),
        Component::Logit(_) => bail!("{address} is a result: it is in no cache"),
        Component::Unit { layer, part } => {
            let block = |name: &str| format!("blocks.{layer}.{name}");
            match part {
                Part::Head(head) => of(&block("attn.hook_z"), format!(", {head}")),
                Part::Query(head) => of(&block("attn.hook_q"), format!(", {head}")),
                Part::Key(head) | Part::SharedKey(head) => of(&block("attn.hook_k"), format!(", {head}")),
                Part::Value(head) | Part::SharedValue(head) => of(&block("attn.hook_v"), format!(", {head}")),
                Part::Pattern(head) => format!("cache[\"{}\"][0, {head}, {position}]", block("attn.hook_pattern")),
                Part::Neuron(neuron) => of(&block("mlp.hook_post"), format!(", {neuron}")),
                Part::Attn => of(&block("hook_attn_out"), String::new()),
                Part::Mlp => of(&block("hook_mlp_out"), String::new()),
                Part::ResidPre => of(&block("hook_resid_pre"), String::new()),
                Part::ResidMid => of(&block("hook_resid_mid"), String::new()),
                Part::ResidPost => of(&block("hook_resid_post"), String::new()),
                Part::Feature(_) | Part::Error => bail!("{address} is in no TransformerLens cache"),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_name_transformer_lens_sites() {
        let python = |text: &str| python(&text.parse().unwrap()).unwrap();
        assert_eq!(python("L7.N1042@5"), "cache[\"blocks.7.mlp.hook_post\"][0, 5, 1042]");
        assert_eq!(python("L7.H3"), "cache[\"blocks.7.attn.hook_z\"][0, :, 3]");
        assert_eq!(python("L7.KV3.k@2"), "cache[\"blocks.7.attn.hook_k\"][0, 2, 3]");
        assert_eq!(python("L7.H3.pattern@2"), "cache[\"blocks.7.attn.hook_pattern\"][0, 3, 2]");
        assert_eq!(python("L7.resid_post@-1"), "cache[\"blocks.7.hook_resid_post\"][0, -1]");
    }
}
