//! The report of a study: one HTML file with everything in it, and its charts.

use super::{
    Recipe,
    chart::{Chart, Front, Scale, Series, bars},
    comparison::{HEADS, comparisons},
};
use lowbit_svg::escaped;
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// What was measured of one model of a study. What was not is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The source.
    pub model: String,
    /// What the method is called; `None` of the source itself.
    pub method: Option<String>,
    /// Label of the format.
    pub format: Option<String>,
    /// Bits of each weight that was rounded, scales included.
    pub block_bits: Option<f64>,
    /// Bits of each weight of the whole file.
    pub bits_per_weight: Option<f64>,
    /// Bytes of the file.
    pub bytes: Option<u64>,
    /// Mean divergence from the source in nats a token, and its standard error.
    pub kl: Option<(f64, f64)>,
    /// Perplexity and its standard error.
    pub perplexity: Option<(f64, f64)>,
    /// What tasks gave.
    pub tasks: Vec<TaskFigure>,
    /// Tokens written in a second.
    pub decode_tokens_per_s: Option<f64>,
    /// Tokens of a prompt read in a second.
    pub prompt_tokens_per_s: Option<f64>,
    /// Seconds that quantization took.
    pub quantize_s: Option<f64>,
    /// The most memory that it took, in bytes.
    pub peak_bytes: Option<u64>,
    /// What the method is held against: names of others.
    pub against: Vec<String>,
    /// What the paper says, in words.
    pub published: Vec<String>,
    /// What was run.
    pub commands: Vec<String>,
}

/// The main figure of a task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskFigure {
    /// The task.
    pub task: String,
    /// Its metric.
    pub metric: String,
    /// The value.
    pub value: f64,
    /// Standard error; `None` where there is none.
    pub stderr: Option<f64>,
    /// Documents.
    pub documents: usize,
    /// Whether it is a share of documents, of which more is better.
    pub is_share: bool,
}

impl Measured {
    /// How it is called in charts.
    pub(super) fn method(&self) -> &str {
        self.method.as_deref().unwrap_or("source")
    }

    fn is_source(&self) -> bool {
        self.method.is_none()
    }

    /// The task figures that are shares, on average.
    pub fn mean_accuracy(&self) -> Option<f64> {
        mean(self.tasks.iter().filter(|figure| figure.is_share).map(|figure| figure.value))
    }

    /// The mean over tasks of its share by that of the source, in per cent.
    pub fn recovery(&self, source: &Self) -> Option<f64> {
        let of = |figure: &TaskFigure| {
            let theirs = source.tasks.iter().find(|other| other.task == figure.task)?;
            (figure.is_share && theirs.value > 0.0).then(|| 100.0 * figure.value / theirs.value)
        };
        mean(self.tasks.iter().filter_map(of))
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

/// A chart with a name for its file.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawing {
    /// The model that it is of.
    pub model: String,
    /// Without ending.
    pub name: String,
    /// The SVG.
    pub svg: String,
}

/// The charts that there are figures for, of each model in turn.
pub fn drawings(recipe: &Recipe, all: &[Measured]) -> Vec<Drawing> {
    let mut drawings = Vec::new();
    for model in &recipe.models {
        let cells: Vec<&Measured> = all.iter().filter(|cell| cell.model == *model).collect();
        let mut add = |name: &str, svg: Option<String>| {
            let letter = |c: char| if c.is_ascii_alphanumeric() || "-.".contains(c) { c } else { '_' };
            let name: String = format!("{model}-{name}").chars().map(letter).collect();
            drawings.extend(svg.map(|svg| Drawing { model: model.clone(), name, svg }));
        };
        let points = |x: &dyn Fn(&Measured) -> Option<f64>, y: &dyn Fn(&Measured) -> Option<f64>| {
            series(&cells, |cell| Some((x(cell)?, y(cell)?)))
        };
        let chart = |title: &str, (x, y): (&str, &str), y_scale, front, series| Chart {
            title: format!("{model}: {title}"),
            x: x.to_owned(),
            y: y.to_owned(),
            x_scale: Scale::Linear,
            y_scale,
            series,
            front: Some(front),
        };
        let bits: &dyn Fn(&Measured) -> Option<f64> = &|cell| cell.bits_per_weight;
        let megabytes: &dyn Fn(&Measured) -> Option<f64> = &|cell| Some(cell.bytes? as f64 / 1e6);
        let kl: &dyn Fn(&Measured) -> Option<f64> = &|cell| cell.kl.map(|kl| kl.0);
        let accuracy: &dyn Fn(&Measured) -> Option<f64> = &Measured::mean_accuracy;
        let labels = ("bits a weight, of the whole file", "KL divergence from the source, nats a token");
        let svg = chart("divergence by bits", labels, Scale::Log, Front::Least, points(bits, kl)).draw();
        add("kl-bits", svg);
        let labels = ("size of the file, MB", "KL divergence from the source, nats a token");
        let svg = chart("divergence by size", labels, Scale::Log, Front::Least, points(megabytes, kl)).draw();
        add("kl-size", svg);
        let labels = ("bits a weight, of the whole file", "mean over tasks");
        let quality = points(bits, accuracy);
        add("tasks-bits", chart("tasks by bits", labels, Scale::Linear, Front::Most, quality).draw());
        let labels = ("seconds a token", "mean over tasks");
        let speed = |cell: &Measured| cell.decode_tokens_per_s.map(|speed| 1.0 / speed);
        let svg = chart("tasks by time", labels, Scale::Linear, Front::Most, points(&speed, accuracy)).draw();
        add("tasks-speed", svg);
        add("tasks", by_task(model, &cells));
    }
    drawings
}

fn series(cells: &[&Measured], point: impl Fn(&Measured) -> Option<(f64, f64)>) -> Vec<Series> {
    let mut all: Vec<Series> = Vec::new();
    for cell in cells {
        let Some((x, y)) = point(cell) else { continue };
        let note =
            format!("{} {}: {y:.4} at {x:.4}", cell.method(), cell.format.as_deref().unwrap_or_default());
        match all.iter_mut().find(|series| series.name == cell.method()) {
            Some(series) => series.points.push((x, y, note)),
            None => all.push(Series { name: cell.method().to_owned(), points: vec![(x, y, note)] }),
        }
    }
    all
}

/// Bars for each task: the source, and every method in every format.
fn by_task(model: &str, cells: &[&Measured]) -> Option<String> {
    let tasks: Vec<String> = cells
        .first()?
        .tasks
        .iter()
        .filter(|figure| figure.is_share)
        .map(|figure| figure.task.clone())
        .collect();
    let series: Vec<Series> = cells
        .iter()
        .map(|cell| {
            let name = format!("{} {}", cell.method(), cell.format.as_deref().unwrap_or_default());
            let points = tasks.iter().enumerate().filter_map(|(i, task)| {
                let figure = cell.tasks.iter().find(|figure| figure.task == *task)?;
                let error = figure.stderr.map_or_else(String::new, |error| format!(" ± {error:.3}"));
                Some((i as f64, figure.value, format!("{name}, {task}: {:.3}{error}", figure.value)))
            });
            Series { name: name.trim_end().to_owned(), points: points.collect() }
        })
        .collect();
    bars(&format!("{model}: each task"), &tasks, &series)
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:68rem;margin:2rem auto;padding:0 1rem;\
color:#222;background:#fff}table{border-collapse:collapse;margin:1rem 0;display:block;overflow-x:auto}th,td{padding:.25rem .6rem;\
border-bottom:1px solid #8884;text-align:right;white-space:nowrap}th{white-space:normal;vertical-align:bottom}th:first-child,td:first-child,th:nth-child(2),td:nth-child(2){text-align:left}\
figure{margin:0}figure:last-child{grid-column:1/-1}\
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(26rem,100%),1fr));gap:1.5rem 1rem}svg{max-width:100%;height:auto}pre{overflow-x:auto;background:#8881;padding:.6rem}\
.source td{font-weight:600}@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}}";

/// The whole file. `setting` are lines that say what the figures were measured with.
pub fn html(recipe: &Recipe, all: &[Measured], setting: &[String]) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{0}</title>\
         <style>{STYLE}</style></head><body>\n<h1>{0}</h1>\n",
        escaped(&recipe.title)
    );
    for text in [&recipe.about, &recipe.paper] {
        if !text.is_empty() {
            let _ = writeln!(page, "<p>{}</p>", escaped(text));
        }
    }
    let items: Vec<String> = setting.iter().map(|line| format!("<li>{}</li>", escaped(line))).collect();
    let _ = writeln!(page, "<h2>Setting</h2><ul>{}</ul>", items.join(""));
    let drawings = drawings(recipe, all);
    for model in &recipe.models {
        let cells: Vec<&Measured> = all.iter().filter(|cell| cell.model == *model).collect();
        let _ = writeln!(page, "<h2>{}</h2>", escaped(model));
        tables(&mut page, &cells);
        held_against(&mut page, &cells);
        page += "<div class=\"charts\">\n";
        for drawing in drawings.iter().filter(|drawing| drawing.model == *model) {
            let _ = writeln!(page, "<figure id=\"{}\">{}</figure>", drawing.name, drawing.svg);
        }
        page += "</div>\n";
    }
    let _ = writeln!(page, "<h2>Commands</h2><p>Every figure came of one of these.</p>");
    for cell in all {
        let commands: Vec<String> = cell.commands.iter().map(|command| escaped(command)).collect();
        let _ = writeln!(
            page,
            "<details><summary>{} {} {}</summary><pre>{}</pre></details>",
            escaped(&cell.model),
            escaped(cell.method()),
            escaped(cell.format.as_deref().unwrap_or_default()),
            commands.join("\n")
        );
    }
    page + "</body></html>\n"
}

/// Size, distance from the source and speed in one table, tasks in another: together they are wider than a page.
fn tables(page: &mut String, cells: &[&Measured]) {
    let Some(source) = cells.iter().find(|cell| cell.is_source()) else { return };
    let heads = [
        "bits a weight",
        "in blocks",
        "MB",
        "KL",
        "perplexity",
        "decode t/s",
        "prompt t/s",
        "quantize s",
        "peak MB",
    ];
    table(page, &heads.map(str::to_owned), cells, |cell| {
        let plain = |value: Option<f64>, digits: usize| value.map(|value| format!("{value:.digits$}"));
        vec![
            plain(cell.bits_per_weight, 3),
            plain(cell.block_bits, 3),
            plain(cell.bytes.map(|bytes| bytes as f64 / 1e6), 0),
            cell.kl.map(|kl| with_error(kl, 4)),
            cell.perplexity.map(|perplexity| with_error(perplexity, 2)),
            plain(cell.decode_tokens_per_s, 1),
            plain(cell.prompt_tokens_per_s, 0),
            plain(cell.quantize_s, 0),
            plain(cell.peak_bytes.map(|bytes| bytes as f64 / 1e6), 0),
        ]
    });
    if source.tasks.is_empty() {
        return;
    }
    let of_task = |figure: &TaskFigure| format!("{} {}, n {}", figure.task, figure.metric, figure.documents);
    let mut heads: Vec<String> = source.tasks.iter().map(of_task).collect();
    heads.push("recovery, %".to_owned());
    table(page, &heads, cells, |cell| {
        let value = |figure: &TaskFigure| match figure.stderr {
            Some(error) => with_error((figure.value, error), 3),
            None => format!("{:.3}", figure.value),
        };
        let own = |task: &str| cell.tasks.iter().find(|own| own.task == task).map(value);
        let mut row: Vec<Option<String>> = source.tasks.iter().map(|figure| own(&figure.task)).collect();
        let recovery = if cell.is_source() { None } else { cell.recovery(source) };
        row.push(recovery.map(|recovery| format!("{recovery:.1}")));
        row
    });
}

/// Every model beside that of the method that it is held against.
fn held_against(page: &mut String, cells: &[&Measured]) {
    let pairs = comparisons(cells);
    if pairs.is_empty() {
        return;
    }
    let _ = writeln!(page, "<h3>Held against</h3>");
    let heads = HEADS.iter().map(|head| escaped(head)).collect::<Vec<_>>().join("</th><th>");
    let _ = writeln!(page, "<table><thead><tr><th>{heads}</th></tr></thead><tbody>");
    for pair in &pairs {
        let texts: Vec<String> = pair.row().iter().map(|text| escaped(text)).collect();
        let _ = writeln!(page, "<tr><td>{}</td></tr>", texts.join("</td><td>"));
    }
    let _ = writeln!(page, "</tbody></table>");
}

/// Of numbers that are beyond telling apart by digits, the power of ten.
pub(super) fn with_error((value, error): (f64, f64), digits: usize) -> String {
    if value.abs() < 1e4 {
        return format!("{value:.digits$} ± {error:.digits$}");
    }
    let power = value.abs().log10().floor() as i32;
    let unit = 10f64.powi(power);
    format!("({:.2} ± {:.2})·10^{power}", value / unit, error / unit)
}

/// A row for each model, which begins with method and format.
fn table(
    page: &mut String,
    heads: &[String],
    cells: &[&Measured],
    row: impl Fn(&Measured) -> Vec<Option<String>>,
) {
    let heads: Vec<String> =
        ["method", "format"].into_iter().chain(heads.iter().map(String::as_str)).map(escaped).collect();
    let _ = writeln!(page, "<table><thead><tr><th>{}</th></tr></thead><tbody>", heads.join("</th><th>"));
    for cell in cells {
        let class = if cell.is_source() { " class=\"source\"" } else { "" };
        let start = [Some(cell.method().to_owned()), cell.format.clone()];
        let texts = start.into_iter().chain(row(cell)).map(|text| escaped(&text.unwrap_or_default()));
        let texts: Vec<String> = texts.collect();
        let _ = writeln!(page, "<tr{class}><td>{}</td></tr>", texts.join("</td><td>"));
    }
    let _ = writeln!(page, "</tbody></table>");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(value: f64) -> TaskFigure {
        TaskFigure {
            task: "piqa".to_owned(),
            metric: "acc".to_owned(),
            value,
            stderr: Some(0.1),
            documents: 50,
            is_share: true,
        }
    }

    fn recipe() -> Recipe {
        let text =
            "title = \"A <study>\"\nmodels = [\"a\"]\nmethods = [\"rtn\"]\nformats = [\"int4-sym-g32\"]";
        Recipe::parse(text).unwrap()
    }

    fn cells() -> Vec<Measured> {
        let source = Measured {
            model: "a".to_owned(),
            bits_per_weight: Some(16.0),
            bytes: Some(2_000_000),
            perplexity: Some((20.0, 0.5)),
            tasks: vec![figure(0.8)],
            ..Measured::default()
        };
        let made = Measured {
            method: Some("rtn".to_owned()),
            format: Some("int4-sym-g32".to_owned()),
            bits_per_weight: Some(4.5),
            kl: Some((0.05, 0.01)),
            tasks: vec![figure(0.6)],
            commands: vec!["lowbit quantize a".to_owned()],
            ..source.clone()
        };
        vec![source, made]
    }

    #[test]
    fn recovery_is_the_share_of_the_source_that_is_left() {
        let cells = cells();
        assert!((cells[1].recovery(&cells[0]).unwrap() - 75.0).abs() < 1e-9);
        assert_eq!(cells[1].mean_accuracy(), Some(0.6));
        assert_eq!(Measured::default().mean_accuracy(), None);
    }

    #[test]
    fn a_model_whose_name_begins_like_another_s_has_its_own_charts_only() {
        let text =
            "title = \"t\"\nmodels = [\"a\", \"a-b\"]\nmethods = [\"rtn\"]\nformats = [\"int4-sym-g32\"]";
        let mut all = cells();
        all.extend(cells().into_iter().map(|cell| Measured { model: "a-b".to_owned(), ..cell }));
        let page = html(&Recipe::parse(text).unwrap(), &all, &[]);
        assert_eq!(page.matches("id=\"a-b-kl-bits\"").count(), 1);
        assert_eq!(page.matches("<figure").count(), 8);
    }

    #[test]
    fn a_page_has_tables_charts_and_commands_and_loads_nothing() {
        let page = html(&recipe(), &cells(), &["activations int16".to_owned()]);
        for part in
            ["A &lt;study&gt;", "75.0", "0.0500 ± 0.0100", "lowbit quantize a", "<svg", "activations int16"]
        {
            assert!(page.contains(part), "{part}");
        }
        // The name of SVG is the only address.
        assert_eq!(page.matches("http").count(), page.matches("http://www.w3.org/2000/svg").count());
        let names: Vec<String> = drawings(&recipe(), &cells()).into_iter().map(|one| one.name).collect();
        assert_eq!(names, ["a-kl-bits", "a-kl-size", "a-tasks-bits", "a-tasks"]);
    }
}
