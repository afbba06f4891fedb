//! A chart of a few lines, as SVG that reads on light and on dark pages.

use lowbit_svg::{head, line, text};
use std::fmt::Write;

const SIZE: (f64, f64) = (760.0, 560.0);
/// Left, top, right and bottom of the field in which points lie.
const FIELD: (f64, f64, f64, f64) = (70.0, 50.0, 590.0, 500.0);

/// Two for each of our series and one for each of others', distinct also for the colour-blind; the shapes differ too.
const OURS: [&str; 2] = ["#0072b2", "#009e73"];
const OTHERS: [&str; 3] = ["#d55e00", "#cc79a7", "#999999"];

/// Named points, joined by a line.
pub(super) struct Series {
    pub(super) name: String,
    /// Whether it is of this project: a thick line.
    pub(super) ours: bool,
    pub(super) points: Vec<(f64, f64)>,
}

/// What is drawn.
pub(super) struct Chart {
    pub(super) title: &'static str,
    pub(super) x: &'static str,
    pub(super) y: &'static str,
    pub(super) series: Vec<Series>,
}

impl Chart {
    /// The whole file.
    pub(super) fn draw(&self) -> String {
        let mut svg = head(SIZE, self.title);
        self.axes(&mut svg);
        let (mut ours, mut others) = (OURS.iter().cycle(), OTHERS.iter().cycle());
        for series in &self.series {
            let colour = if series.ours { ours.next() } else { others.next() };
            self.series(&mut svg, series, colour.unwrap_or(&"#222"));
        }
        svg + "</svg>\n"
    }

    fn axes(&self, svg: &mut String) {
        let (left, top, right, bottom) = FIELD;
        text(svg, ((left + right) / 2.0, bottom + 45.0), "middle", self.x);
        text(svg, (left - 10.0, top - 8.0), "end", self.y);
        let (most_x, most_y) = self.most();
        for bits in 0..=most_x as u32 {
            let (x, _) = place(self, (f64::from(bits), 0.0));
            text(svg, (x, bottom + 20.0), "middle", &bits.to_string());
        }
        let step = most_y / 6.0;
        for i in 0..=6 {
            let (_, y) = place(self, (0.0, f64::from(i) * step));
            let class = if i == 0 { "axis" } else { "grid" };
            line(svg, class, (left, y), (right, y));
            text(svg, (left - 10.0, y + 5.0), "end", &format!("{:.0}", f64::from(i) * step));
        }
    }

    fn series(&self, svg: &mut String, series: &Series, colour: &str) {
        let places: Vec<(f64, f64)> = series.points.iter().map(|point| place(self, *point)).collect();
        let line: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let width = if series.ours { 3 } else { 2 };
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" points=\"{}\"/>",
            line.join(" ")
        );
        for ((x, y), (_, value)) in places.iter().zip(&series.points) {
            let mark = if series.ours {
                format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"{colour}\">")
            } else {
                let (x, y) = (x - 4.5, y - 4.5);
                format!("<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"9\" height=\"9\" fill=\"{colour}\">")
            };
            let element = if series.ours { "circle" } else { "rect" };
            let _ = writeln!(svg, "{mark}<title>{}: {value:.0} {}</title></{element}>", series.name, self.y);
        }
        // The name stands at the last point, which no two series share here; a point alone is one of others' between our lines.
        if let (Some((x, y)), Some((_, value))) = (places.last(), series.points.last()) {
            let below = if series.points.len() > 1 { 5.0 } else { -1.0 };
            text(svg, (x + 12.0, y + below), "start", &format!("{} ({value:.0})", series.name));
        }
    }

    /// Ends of the axes: a bit more than the most bits, and a round number of microseconds.
    fn most(&self) -> (f64, f64) {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let x = points().fold(1.0, |most: f64, point| most.max(point.0)) + 0.5;
        let y = points().fold(1.0, |most: f64, point| most.max(point.1));
        (x, (y / 300.0).ceil() * 300.0)
    }
}

/// Where a point lies.
fn place(chart: &Chart, point: (f64, f64)) -> (f64, f64) {
    let (left, top, right, bottom) = FIELD;
    let most = chart.most();
    (left + (right - left) * point.0 / most.0, bottom - (bottom - top) * point.1 / most.1)
}
