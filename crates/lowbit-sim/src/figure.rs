//! A roofline as a drawing: operations a second against operations a byte, both by powers of ten, with a point for every
//! operator. SVG that reads on light and on dark pages.

use crate::machines::Roofline;
use lowbit_svg::{escaped, head, line, mark as point, text};
use std::fmt::Write;

const SIZE: (f64, f64) = (860.0, 560.0);
/// Left, top, right and bottom of the field in which points lie.
const FIELD: (f64, f64, f64, f64) = (80.0, 60.0, 640.0, 490.0);
/// Points nearer than this share a list of names.
const NEAR: f64 = 14.0;
const CEILING: &str = "#888";

/// An operator in the drawing.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// What it is called.
    pub name: String,
    /// Which series it is of: marks of one have one colour.
    pub series: usize,
    /// Operations for each byte.
    pub intensity: f64,
    /// Operations a second.
    pub rate: f64,
}

/// The whole file. `series` are the names of the series, `ceilings` names and rates of the peaks that matter.
pub fn figure(
    title: &str,
    machine: &Roofline,
    ceilings: &[(&str, f64)],
    (series, marks): (&[&str], &[Mark]),
) -> String {
    let marks: Vec<&Mark> = marks.iter().filter(|mark| mark.intensity > 0.0 && mark.rate > 0.0).collect();
    let field = Field::of(machine, ceilings, &marks);
    let mut svg = head(SIZE, title);
    field.axes(&mut svg);
    field.roof(&mut svg, machine, ceilings);
    for mark in &marks {
        let title =
            format!("{}: {:.3} operations/byte, {} operations/s", mark.name, mark.intensity, si(mark.rate));
        point(&mut svg, mark.series, field.place(mark.intensity, mark.rate), &title);
    }
    labels(&mut svg, &field, &marks);
    for (i, name) in series.iter().enumerate() {
        let y = FIELD.1 + 20.0 * i as f64;
        point(&mut svg, i, (FIELD.2 + 60.0, y), name);
        text(&mut svg, (FIELD.2 + 75.0, y + 5.0), "start", name);
    }
    svg + "</svg>\n"
}

/// The names of points, those that lie together in one list beside them.
fn labels(svg: &mut String, field: &Field, marks: &[&Mark]) {
    let mut lists: Vec<((f64, f64), usize, Vec<&str>)> = Vec::new();
    for mark in marks {
        let at = field.place(mark.intensity, mark.rate);
        let near = |place: (f64, f64)| (place.0 - at.0).abs() < NEAR && (place.1 - at.1).abs() < NEAR;
        match lists.iter_mut().find(|(place, series, _)| *series == mark.series && near(*place)) {
            Some((.., names)) if names.contains(&mark.name.as_str()) => {}
            Some((.., names)) => names.push(&mark.name),
            None => lists.push((at, mark.series, vec![&mark.name])),
        }
    }
    // Every line of every list has a place of its own, from above to below.
    lists.sort_by(|a, b| a.0.1.total_cmp(&b.0.1));
    let mut taken: Vec<(f64, f64)> = Vec::new();
    for ((x, y), _, names) in lists {
        // On the right side of the field names stand to the left of their point.
        let left = x > (FIELD.0 + FIELD.2) / 2.0;
        let (x, anchor) = if left { (x - 9.0, "end") } else { (x + 9.0, "start") };
        let mut y = y + 4.0;
        for line in names.chunks(3) {
            while taken.iter().any(|(a, b)| (a - x).abs() < 130.0 && (b - y).abs() < 13.0) {
                y += 1.0;
            }
            taken.push((x, y));
            let _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"12\" text-anchor=\"{anchor}\">{}</text>",
                escaped(&line.join(", "))
            );
        }
    }
}

/// Powers of ten at the ends of the axes.
struct Field {
    x: (f64, f64),
    y: (f64, f64),
}

impl Field {
    fn of(machine: &Roofline, ceilings: &[(&str, f64)], marks: &[&Mark]) -> Self {
        let most = ceilings.iter().map(|(_, rate)| *rate).fold(1.0, f64::max);
        let ridge = most / machine.bytes_per_s;
        let ends = |values: &mut dyn Iterator<Item = f64>, most: f64| {
            let (mut low, mut high) = (most, most);
            values.for_each(|value| (low, high) = (low.min(value), high.max(value)));
            (low.log10().floor(), (high.log10() + 0.1).ceil())
        };
        let x = ends(&mut marks.iter().map(|mark| mark.intensity), ridge);
        let y = ends(&mut marks.iter().map(|mark| mark.rate), most);
        Self { x, y }
    }

    fn place(&self, intensity: f64, rate: f64) -> (f64, f64) {
        let (left, top, right, bottom) = FIELD;
        let share = |value: f64, (low, high): (f64, f64)| (value.log10() - low) / (high - low);
        (left + (right - left) * share(intensity, self.x), bottom - (bottom - top) * share(rate, self.y))
    }

    fn axes(&self, svg: &mut String) {
        let (left, top, right, bottom) = FIELD;
        for power in self.x.0 as i32..=self.x.1 as i32 {
            let (x, _) = self.place(10f64.powi(power), 1.0);
            line(svg, "grid", (x, top), (x, bottom));
            text(svg, (x, bottom + 20.0), "middle", &plain(power));
        }
        for power in self.y.0 as i32..=self.y.1 as i32 {
            let (_, y) = self.place(1.0, 10f64.powi(power));
            line(svg, if power == self.y.0 as i32 { "axis" } else { "grid" }, (left, y), (right, y));
            text(svg, (left - 8.0, y + 5.0), "end", &si(10f64.powi(power)));
        }
        text(svg, ((left + right) / 2.0, bottom + 45.0), "middle", "operations for a byte");
        text(svg, (20.0, top - 12.0), "start", "operations a second");
    }

    /// The slope of memory up to the highest peak, and every peak from where it begins.
    fn roof(&self, svg: &mut String, machine: &Roofline, ceilings: &[(&str, f64)]) {
        let most = ceilings.iter().map(|(_, rate)| *rate).fold(1.0, f64::max);
        let bandwidth = machine.bytes_per_s;
        // From where the slope enters the field, at its left or at its lower end.
        let start = 10f64.powf(self.x.0).max(10f64.powf(self.y.0) / bandwidth);
        let (from, to) = (self.place(start, start * bandwidth), self.place(most / bandwidth, most));
        roof_line(svg, from, to);
        for (name, rate) in ceilings {
            let (from, to) = (self.place(rate / bandwidth, *rate), self.place(10f64.powf(self.x.1), *rate));
            roof_line(svg, from, to);
            text(svg, (FIELD.2 + 8.0, to.1 + 5.0), "start", &format!("{name} {}/s", si(*rate)));
        }
        let label = format!("{:.1} GB/s", bandwidth / 1e9);
        // Above the slope, where no point can lie, towards its upper end.
        let at = (from.0 + 0.7 * (to.0 - from.0) - 8.0, from.1 + 0.7 * (to.1 - from.1));
        text(svg, at, "end", &label);
    }
}

fn roof_line(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        svg,
        "<line stroke=\"{CEILING}\" stroke-width=\"2\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
        from.0, from.1, to.0, to.1
    );
}

/// A number with the letter of its thousands.
fn si(value: f64) -> String {
    const LETTERS: [&str; 6] = ["", "k", "M", "G", "T", "P"];
    let step = ((value.max(1.0).log10() + 1e-9) / 3.0).floor().min(5.0);
    let scaled = value / 1000f64.powf(step);
    let digits = if scaled < 9.995 && scaled.fract().abs() > 0.005 { 1 } else { 0 };
    format!("{scaled:.digits$} {}", LETTERS[step as usize]).trim_end().to_owned()
}

fn plain(power: i32) -> String {
    if (-3..0).contains(&power) {
        format!("{:.*}", -power as usize, 10f64.powi(power))
    } else if (0..=4).contains(&power) {
        format!("{:.0}", 10f64.powi(power))
    } else {
        format!("1e{power}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machines::Peaks;

    #[test]
    fn every_operator_has_a_point_and_names_cannot_leave_their_place() {
        let peaks = Peaks { f32: 1e11, f16: None, int8: Some(4e11), int4: None };
        let machine = Roofline { name: "toy".into(), bytes_per_s: 3e10, cache_bytes: None, peaks };
        let mark = |name: &str, series, intensity, rate| Mark { name: name.into(), series, intensity, rate };
        let marks = [mark("a<b", 0, 4.0, 1e11), mark("c", 1, 600.0, 3e11), mark("none", 0, 0.0, 0.0)];
        let ceilings = [("f32", 1e11), ("int8", 4e11)];
        let svg = figure("m & n", &machine, &ceilings, (&["decode", "prefill"], &marks));
        // One of each series, and its sign in the legend.
        assert_eq!((svg.matches("<circle").count(), svg.matches("<rect").count()), (2, 2));
        assert!(svg.contains("a&lt;b") && svg.contains("m &amp; n") && !svg.contains("none"), "{svg}");
        assert!(svg.contains("30.0 GB/s") && svg.contains("int8 400 G/s"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn a_point_on_the_slope_lies_on_its_line() {
        let peaks = Peaks { f32: 1e3, f16: None, int8: None, int4: None };
        let machine = Roofline { name: "toy".into(), bytes_per_s: 10.0, cache_bytes: None, peaks };
        let field = Field::of(&machine, &[("f32", 1e3)], &[]);
        let (a, b, c) = (field.place(1.0, 10.0), field.place(10.0, 100.0), field.place(100.0, 1000.0));
        let slope = |from: (f64, f64), to: (f64, f64)| (to.1 - from.1) / (to.0 - from.0);
        assert!((slope(a, b) - slope(b, c)).abs() < 1e-9);
    }

    #[test]
    fn rates_are_written_with_the_letter_of_their_thousands() {
        for (value, expected) in [(1.0, "1"), (1e9, "1 G"), (4.6e11, "460 G"), (1.97e15, "2.0 P")] {
            assert_eq!(si(value), expected);
        }
    }
}
