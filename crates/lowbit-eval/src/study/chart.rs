//! Charts of a study, as SVG that reads on light and on dark pages.

use lowbit_svg::{COLOURS, escaped, head, line, mark, text};
use std::fmt::Write;

/// Of the whole drawing.
const SIZE: (f64, f64) = (760.0, 460.0);
/// Left, top, right and bottom of the field in which points lie.
const FIELD: (f64, f64, f64, f64) = (70.0, 70.0, 590.0, 400.0);

/// Named points.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What the legend says.
    pub name: String,
    /// Where they lie, with what is shown when they are pointed at.
    pub points: Vec<(f64, f64, String)>,
}

/// How numbers are laid along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    Linear,
    /// By their logarithms.
    Log,
}

/// Which points of a chart none is better than: fewer along x, and this along y.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// More.
    Most,
    /// Less.
    Least,
}

/// Points of several series.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// Above it.
    pub title: String,
    /// What x is, with its unit.
    pub x: String,
    /// What y is, with its unit.
    pub y: String,
    /// How x is laid out.
    pub x_scale: Scale,
    /// How y is laid out.
    pub y_scale: Scale,
    /// The points.
    pub series: Vec<Series>,
    /// Whether a line joins those points that none is better than.
    pub front: Option<Front>,
}

impl Chart {
    /// The whole drawing; `None` where there is no point.
    pub fn draw(&self) -> Option<String> {
        let all = || self.series.iter().flat_map(|series| &series.points);
        let x = Axis::of(self.x_scale, all().map(|point| point.0))?;
        let y = Axis::of(self.y_scale, all().map(|point| point.1))?;
        let (left, top, right, bottom) = FIELD;
        let place =
            |a: f64, b: f64| (left + x.share(a) * (right - left), bottom - y.share(b) * (bottom - top));
        let mut svg = head(SIZE, &self.title);
        text(&mut svg, ((left + right) / 2.0, bottom + 45.0), "middle", &self.x);
        text(&mut svg, (20.0, top - 18.0), "start", &self.y);
        for mark in x.marks() {
            let (px, _) = place(mark, y.least);
            line(&mut svg, "grid", (px, top), (px, bottom));
            text(&mut svg, (px, bottom + 20.0), "middle", &number(mark));
        }
        for mark in y.marks() {
            let (_, py) = place(x.least, mark);
            line(&mut svg, "grid", (left, py), (right, py));
            text(&mut svg, (left - 8.0, py + 5.0), "end", &number(mark));
        }
        if let Some(front) = self.front {
            let points: Vec<(f64, f64)> = all().map(|point| (point.0, point.1)).collect();
            let path: Vec<String> = pareto(&points, front)
                .into_iter()
                .map(|(a, b)| place(a, b))
                .map(|(px, py)| format!("{px:.1},{py:.1}"))
                .collect();
            let _ = writeln!(
                svg,
                "<polyline class=\"front\" fill=\"none\" stroke-dasharray=\"5 4\" points=\"{}\"/>",
                path.join(" ")
            );
        }
        for (i, series) in self.series.iter().enumerate() {
            for (a, b, note) in
                series.points.iter().filter(|point| point.0.is_finite() && point.1.is_finite())
            {
                mark(&mut svg, i, place(*a, *b), note);
            }
            let at = top + 10.0 + 20.0 * i as f64;
            mark(&mut svg, i, (right + 20.0, at), &series.name);
            text(&mut svg, (right + 32.0, at + 5.0), "start", &series.name);
        }
        Some(svg + "</svg>\n")
    }
}

/// Bars of several series for each of several names, values from 0 to 1.
pub fn bars(title: &str, names: &[String], series: &[Series]) -> Option<String> {
    if names.is_empty() || series.is_empty() {
        return None;
    }
    let group = 18.0 + 11.0 * series.len() as f64;
    let (left, top) = (60.0, 50.0);
    let (right, bottom) = (left + group * names.len() as f64, 300.0);
    let legend = bottom + 60.0;
    let height = legend + 20.0 * series.len().div_ceil(2) as f64 + 10.0;
    let mut svg = head(((right + 20.0).max(760.0), height), title);
    for fifth in 0..=5 {
        let y = bottom - f64::from(fifth) / 5.0 * (bottom - top);
        line(&mut svg, if fifth == 0 { "axis" } else { "grid" }, (left, y), (right, y));
        text(&mut svg, (left - 8.0, y + 5.0), "end", &format!("{}", f64::from(fifth) / 5.0));
    }
    for (g, name) in names.iter().enumerate() {
        let start = left + group * g as f64 + 9.0;
        text(&mut svg, (start + (group - 18.0) / 2.0, bottom + 20.0), "middle", name);
        for (i, one) in series.iter().enumerate() {
            let Some((_, value, note)) = one.points.iter().find(|point| point.0 == g as f64) else {
                continue;
            };
            let tall = value.clamp(0.0, 1.0) * (bottom - top);
            let _ = writeln!(
                svg,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"9\" height=\"{tall:.1}\" fill=\"{}\"><title>{}</title></rect>",
                start + 11.0 * i as f64,
                bottom - tall,
                COLOURS[i % COLOURS.len()],
                escaped(note)
            );
        }
    }
    for (i, one) in series.iter().enumerate() {
        let at = (left + 360.0 * (i % 2) as f64, legend + 20.0 * (i / 2) as f64);
        let _ = writeln!(
            svg,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"12\" height=\"12\" fill=\"{}\"/>",
            at.0,
            at.1 - 11.0,
            COLOURS[i % COLOURS.len()]
        );
        text(&mut svg, (at.0 + 18.0, at.1), "start", &one.name);
    }
    Some(svg + "</svg>\n")
}

/// Points that no other is at least as good as in both and better in one, by x.
fn pareto(points: &[(f64, f64)], front: Front) -> Vec<(f64, f64)> {
    let good = |y: f64| if front == Front::Most { y } else { -y };
    let mut sorted: Vec<(f64, f64)> =
        points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(good(b.1).total_cmp(&good(a.1))));
    let mut best = f64::NEG_INFINITY;
    sorted.retain(|(_, y)| {
        let better = good(*y) > best;
        best = best.max(good(*y));
        better
    });
    sorted
}

/// The numbers along an axis.
struct Axis {
    scale: Scale,
    least: f64,
    most: f64,
}

impl Axis {
    fn of(scale: Scale, values: impl Iterator<Item = f64>) -> Option<Self> {
        let usable = |value: &f64| value.is_finite() && (scale == Scale::Linear || *value > 0.0);
        let (least, most) = values
            .filter(usable)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), value| (a.min(value), b.max(value)));
        if least > most {
            return None;
        }
        Some(match scale {
            Scale::Linear => {
                let margin = ((most - least) * 0.06).max(most.abs() * 0.02).max(1e-9);
                Self {
                    scale,
                    least: (least - margin).max(if least >= 0.0 { 0.0 } else { f64::MIN }),
                    most: most + margin,
                }
            }
            Scale::Log => Self { scale, least: least / 1.3, most: most * 1.3 },
        })
    }

    fn share(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => (value - self.least) / (self.most - self.least),
            Scale::Log => (value / self.least).ln() / (self.most / self.least).ln(),
        }
    }

    /// Round numbers along it.
    fn marks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let rough = (self.most - self.least) / 6.0;
                let power = 10f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(|step| *step >= rough);
                let step = step.unwrap_or(rough);
                let first = (self.least / step).ceil() as i64;
                (first..).map(|i| i as f64 * step).take_while(|mark| *mark <= self.most).collect()
            }
            Scale::Log => {
                let powers = self.least.log10().floor() as i32..=self.most.log10().ceil() as i32;
                let marks = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|n| n * 10f64.powi(power)));
                marks.filter(|mark| (self.least..=self.most).contains(mark)).collect()
            }
        }
    }
}

/// A number of an axis, in as few digits as it needs.
fn number(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() || text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_is_of_points_that_none_is_better_than() {
        let points =
            [(4.0, 0.1), (3.0, 0.5), (3.5, 0.6), (4.5, 0.1), (2.0, 2.0), (5.0, f64::NAN), (5.0, 0.05)];
        let least = pareto(&points, Front::Least);
        assert_eq!(least, [(2.0, 2.0), (3.0, 0.5), (4.0, 0.1), (5.0, 0.05)]);
        assert_eq!(pareto(&points, Front::Most), [(2.0, 2.0)]);
    }

    #[test]
    fn axes_have_round_numbers_within_them() {
        let axis = Axis::of(Scale::Linear, [2.2, 4.6].into_iter()).unwrap();
        assert_eq!(axis.marks(), [2.5, 3.0, 3.5, 4.0, 4.5]);
        let axis = Axis::of(Scale::Log, [0.03, 2.0].into_iter()).unwrap();
        assert_eq!(axis.marks().first(), Some(&0.05));
        assert_eq!(axis.marks().last(), Some(&2.0));
        assert!(Axis::of(Scale::Log, [0.0, -1.0].into_iter()).is_none());
        assert_eq!([number(0.05), number(2.0), number(10.0)], ["0.05", "2", "10"]);
    }

    #[test]
    fn drawings_say_what_they_show_and_nothing_of_it_is_markup() {
        let points = vec![(4.0, 0.1, "4 <bits>".to_owned())];
        let chart = Chart {
            title: "a < b".to_owned(),
            x: "bits".to_owned(),
            y: "KL".to_owned(),
            x_scale: Scale::Linear,
            y_scale: Scale::Log,
            series: vec![Series { name: "gptq".to_owned(), points: points.clone() }],
            front: Some(Front::Least),
        };
        let svg = chart.draw().unwrap();
        assert!(svg.contains("a &lt; b") && svg.contains("4 &lt;bits&gt;") && svg.contains(">gptq<"));
        assert!(svg.contains("<title>") && svg.trim_end().ends_with("</svg>"));
        assert_eq!(Chart { series: Vec::new(), ..chart }.draw(), None);
        let series = [Series { name: "x".to_owned(), points: vec![(0.0, 0.5, "half".to_owned())] }];
        assert!(bars("t", &["piqa".to_owned()], &series).unwrap().contains("half"));
    }
}
