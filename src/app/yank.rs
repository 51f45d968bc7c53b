//! What is copied: rows, tables, addresses, expressions and commands, with the tokens' true texts.

use super::filter::plain;
use super::pane::Line;
use super::{App, Tab};
use crate::action::Action;
use crate::address::{Address, Part, Place};
use crate::report::{Body, Cell, Kind, Report, Table};
use anyhow::{Context, Result, bail};

/// The text that a copying action copies.
///
/// # Errors
/// There is nothing of the kind here.
pub fn text(app: &App, action: Action) -> Result<String> {
    let pane = app.pane(app.focus());
    match action {
        Action::YankAddress => Ok(lines(app, |a| Ok(a.to_string()))?),
        Action::YankPython => lines(app, python),
        Action::YankCommand => command(app),
        Action::YankRow => match pane.body().context("nothing is selected")? {
            (Body::Table(table), row) => {
                let rows = marked_rows(app);
                let rows = if rows.is_empty() { vec![row] } else { rows };
                Ok(rows.into_iter().map(|row| cells(&table.rows[row])).collect::<Vec<_>>().join("\n"))
            }
            (Body::Grid(grid), row) => {
                let width = grid.columns.labels.len();
                let column = pane.column.min(width.saturating_sub(1));
                let value = grid.values.get(row * width + column).context("the grid is empty")?;
                let place = match pane.address() {
                    Some(address) => address.to_string(),
                    None => format!("{}\t{}", grid.rows.labels[row], grid.columns.labels[column]),
                };
                Ok(format!("{place}\t{value}"))
            }
            (Body::Note(text), _) => Ok(text.clone()),
        },
        Action::YankTable => tsv(app),
        Action::YankJson => {
            let (table, row) = pane.table().context("no row of a table is selected")?;
            let fields = table.columns.iter().zip(&table.rows[row]).map(|(c, cell)| (c.name.clone(), json(cell)));
            Ok(serde_json::Value::Object(fields.collect()).to_string())
        }
        Action::YankMarkdown => {
            let (table, _) = pane.table().context("no table is selected")?;
            Ok(markdown(table, shown_rows(app).into_iter()))
        }
        other => bail!("{other} copies nothing"),
    }
}

/// A line for everything marked, or for what is selected.
fn lines(app: &App, line: impl Fn(&Address) -> Result<String>) -> Result<String> {
    if app.marks.is_empty() {
        return line(&app.address());
    }
    Ok(app.marks.iter().map(line).collect::<Result<Vec<_>>>()?.join("\n"))
}

/// The rows shown of the table under the cursor that are marked.
fn marked_rows(app: &App) -> Vec<usize> {
    let pane = app.pane(app.focus());
    let Some((table, _)) = pane.table() else { return Vec::new() };
    let marked = |row: &usize| {
        let address = table.rows[*row].iter().find_map(|cell| match cell {
            Cell::Address(address) => Some(address),
            _ => None,
        });
        address.is_some_and(|a| app.marks.contains(a))
    };
    shown_rows(app).into_iter().filter(marked).collect()
}

/// The rows of the table under the cursor, as filtered and sorted.
fn shown_rows(app: &App) -> Vec<usize> {
    let pane = app.pane(app.focus());
    let Some(Line::Row(part, _)) = pane.lines.get(pane.cursor) else { return Vec::new() };
    let rows = pane.lines.iter().filter_map(|l| match l {
        Line::Row(p, row) if p == part => Some(*row),
        _ => None,
    });
    rows.collect()
}

fn tsv(app: &App) -> Result<String> {
    let pane = app.pane(app.focus());
    let Some(Line::Row(part, _)) = pane.lines.get(pane.cursor) else { bail!("no table is selected") };
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
        Cell::Number(_) | Cell::Series(_) => serde_json::to_value(cell).unwrap_or(serde_json::Value::Null),
        other => plain(other).into(),
    }
}

fn markdown(table: &Table, rows: impl Iterator<Item = usize>) -> String {
    let escape = |text: &str| text.replace('\\', "\\\\").replace('|', "\\|").replace('\n', "\\n");
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = line(table.columns.iter().map(|c| escape(&c.name)).collect());
    let rule = table.columns.iter().map(|c| match c.kind {
        Kind::Integer | Kind::Number { .. } => "---:".to_owned(),
        _ => "---".to_owned(),
    });
    text += &line(rule.collect());
    for row in rows {
        let shown = table.rows[row].iter().map(|cell| match cell {
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
        Place::Embed => of("hook_embed", String::new()),
        Place::Logit(_) => bail!("{address} is a result: it is in no cache"),
        Place::Unit { layer, part } => {
            let block = |name: &str| format!("blocks.{layer}.{name}");
            match part {
                Part::Head(head) => of(&block("attn.hook_z"), format!(", {head}")),
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

/// The command that prints what the tab shows.
///
/// # Errors
/// There is no prompt yet.
pub fn command(app: &App) -> Result<String> {
    let prompt = app.prompt.as_deref().context("there is no prompt yet")?;
    let selection = &app.selection;
    let edits = app.edits.on();
    let last = selection.position == -1;
    let (layer, head) = selection.head;
    let mut words: Vec<String> = vec!["mechscope".into()];
    match app.tab {
        Tab::Prompt if edits.is_empty() => words.push("predict".into()),
        Tab::Prompt => words.push("intervene".into()),
        Tab::Lens => words.push("lens".into()),
        Tab::Heads if app.side => words.extend(["heads".into(), "--head".into(), format!("L{layer}.H{head}")]),
        Tab::Heads => words.push("heads".into()),
        Tab::Neurons if app.side => {
            let (layer, neuron) = app.selected_neuron().context("no neuron is selected")?;
            words.extend([
                "neurons".into(),
                "--neuron".into(),
                format!("L{layer}.N{neuron}"),
                "--tokens".into(),
                "10".into(),
            ]);
        }
        Tab::Neurons if app.all_layers => words.extend(["neurons", "--layer", "all"].map(String::from)),
        Tab::Neurons => words.extend(["neurons".into(), "--layer".into(), selection.layer.to_string()]),
        Tab::Graph => match &app.graph.file.clone().filter(|_| app.graph.of_file) {
            Some(file) => return Ok(format!("mechscope view {}", quoted(file))),
            None => words.extend(["graph".into(), "--nodes".into(), app.graph.basis.name().into()]),
        },
        Tab::Method => {
            words.push(app.method.unwrap_or("methods").into());
            let params = app.method_params.iter();
            words.extend(params.flat_map(|(name, value)| match value.as_str() {
                // A flag is there or not.
                "true" => vec![format!("--{name}")],
                "false" => Vec::new(),
                value => vec![format!("--{name}"), value.to_owned()],
            }));
        }
    }
    words.extend(["--model".into(), app.model_name.clone(), "--prompt".into(), prompt.into()]);
    if !last && !matches!(app.tab, Tab::Prompt | Tab::Graph) {
        words.extend(["--position".into(), selection.position.to_string()]);
    }
    if app.tab == Tab::Neurons && app.target_position() != "-1" {
        words.extend(["--target-position".into(), app.target_position()]);
    }
    for (option, token) in [("--target", &selection.target), ("--contrast", &selection.contrast)] {
        if let Some(token) = token {
            words.extend([option.into(), token.clone()]);
        }
    }
    // A graph is of the run without edits.
    for edit in edits.into_iter().filter(|_| app.tab != Tab::Graph) {
        words.extend(["--edit".into(), edit.to_string()]);
    }
    Ok(words.iter().map(|w| quoted(w)).collect::<Vec<_>>().join(" "))
}

/// A word as a POSIX shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        for word in ["plain", "", "two words", "it's", "$HOME \"x\" \\ `y`", "L7.N1042@5=0", "a\nb"] {
            let out = std::process::Command::new("sh").args(["-c", &format!("printf %s {}", quoted(word))]).output();
            assert_eq!(String::from_utf8(out.unwrap().stdout).unwrap(), word);
        }
    }

    #[test]
    fn expressions_name_transformer_lens_sites() {
        let python = |text: &str| python(&text.parse().unwrap()).unwrap();
        assert_eq!(python("L7.N1042@5"), "cache[\"blocks.7.mlp.hook_post\"][0, 5, 1042]");
        assert_eq!(python("L7.H3"), "cache[\"blocks.7.attn.hook_z\"][0, :, 3]");
        assert_eq!(python("L7.resid_post@-1"), "cache[\"blocks.7.hook_resid_post\"][0, -1]");
    }
}
