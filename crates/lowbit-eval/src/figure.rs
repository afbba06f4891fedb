//! A comparison as a drawing: the error after every block, and how divergence is distributed. SVG that reads on light
//! and on dark pages.

use crate::Comparison;
use lowbit_svg::{COLOURS, head, line, text};
use std::fmt::Write;

const WIDTH: f64 = 760.0;
/// Where the fields of the two charts begin and end, left and right.
const FIELD: (f64, f64) = (80.0, 730.0);
/// Height of a field.
const HEIGHT: f64 = 230.0;
const BLUE: &str = COLOURS[0];
const ORANGE: &str = COLOURS[1];

/// Bars of the distribution for each power of ten.
const BARS_PER_DECADE: usize = 4;
/// Divergences below this power of ten, in nats, are shown at it: they are those of rounding.
const LEAST_POWER: i32 = -6;

/// The whole file. `names` are those of the reference and of the other model.
pub fn figure(comparison: &Comparison, names: [&str; 2]) -> String {
    let layers = !comparison.layers.is_empty();
    let height = if layers { 700.0 } else { 370.0 };
    let mut svg = head((WIDTH, height), &format!("{} against {}", names[1], names[0]));
    distribution(&mut svg, comparison, 60.0);
    if layers {
        by_layer(&mut svg, comparison, 390.0);
    }
    svg + "</svg>\n"
}

/// Tokens by their divergence, in bars of a quarter of a power of ten.
fn distribution(svg: &mut String, comparison: &Comparison, top: f64) {
    let kl = &comparison.figures.kl;
    let most_power = (kl.max.log10().ceil() as i32).clamp(LEAST_POWER + 1, 3);
    let bars = (most_power - LEAST_POWER) as usize * BARS_PER_DECADE;
    let mut counts = vec![0usize; bars];
    for kl in &comparison.kl {
        let place = (kl.log10() - f64::from(LEAST_POWER)) * BARS_PER_DECADE as f64;
        // Nothing, and what rounding left of it below nothing, is in the first bar.
        counts[if place > 0.0 { (place as usize).min(bars - 1) } else { 0 }] += 1;
    }
    let total = comparison.kl.len().max(1) as f64;
    let most = counts.iter().copied().max().unwrap_or(0).max(1) as f64 / total;
    let frame =
        Frame { top, least: 0.0, most: nice(most), title: "share of tokens by KL divergence in nats" };
    frame.draw(svg, |share| format!("{:.0} %", 100.0 * share));
    let width = (FIELD.1 - FIELD.0) / bars as f64;
    for (i, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let (x, share) = (FIELD.0 + i as f64 * width, *count as f64 / total);
        let y = frame.y(share);
        let _ = writeln!(
            svg,
            "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{BLUE}\"><title>{count} tokens</title></rect>",
            x + 1.0,
            width - 2.0,
            frame.y(0.0) - y
        );
    }
    for power in LEAST_POWER..=most_power {
        let x = FIELD.0 + f64::from(power - LEAST_POWER) * BARS_PER_DECADE as f64 * width;
        let label = if power == LEAST_POWER { format!("≤ 1e{power}") } else { format!("1e{power}") };
        text(svg, (x, top + HEIGHT + 20.0), "middle", &label);
    }
    // One below the other, as they may be close.
    for (value, name, below) in [(kl.median, "median", 14.0), (kl.p99, "99 %", 31.0)] {
        let place = (value.log10() - f64::from(LEAST_POWER)).clamp(0.0, f64::from(most_power - LEAST_POWER));
        let x = FIELD.0 + place * BARS_PER_DECADE as f64 * width;
        let _ = writeln!(
            svg,
            "<line stroke=\"{ORANGE}\" x1=\"{x:.1}\" y1=\"{top}\" x2=\"{x:.1}\" y2=\"{:.1}\"/>",
            top + HEIGHT
        );
        text(svg, (x - 5.0, top + below), "end", &format!("{name} {value:.3}"));
    }
    text(svg, ((FIELD.0 + FIELD.1) / 2.0, top + HEIGHT + 40.0), "middle", "KL divergence, nats");
}

/// The relative error of the stream after each block.
fn by_layer(svg: &mut String, comparison: &Comparison, top: f64) {
    let layers = &comparison.layers;
    let finite = layers.iter().map(|layer| layer.relative_error).filter(|error| error.is_finite());
    let most = nice(finite.fold(1e-9, f64::max));
    let frame =
        Frame { top, least: 0.0, most, title: "relative error of the residual stream after each block" };
    let digits = if most < 0.05 { 3 } else { 0 };
    frame.draw(svg, |error| format!("{:.digits$} %", 100.0 * error));
    let step = (FIELD.1 - FIELD.0) / layers.len() as f64;
    let x = |i: usize| FIELD.0 + (i as f64 + 0.5) * step;
    let places = layers.iter().enumerate().filter(|(_, layer)| layer.relative_error.is_finite());
    let points: Vec<String> = places
        .clone()
        .map(|(i, layer)| format!("{:.1},{:.1}", x(i), frame.y(layer.relative_error)))
        .collect();
    let _ = writeln!(
        svg,
        "<polyline fill=\"none\" stroke=\"{BLUE}\" stroke-width=\"3\" points=\"{}\"/>",
        points.join(" ")
    );
    for (i, layer) in places {
        let _ = writeln!(
            svg,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"{BLUE}\"><title>block {}: {:.4} %</title></circle>",
            x(i),
            frame.y(layer.relative_error),
            layer.block,
            100.0 * layer.relative_error
        );
    }
    let every = layers.len().div_ceil(16).max(1);
    for (i, layer) in layers.iter().enumerate().step_by(every) {
        text(svg, (x(i), top + HEIGHT + 20.0), "middle", &layer.block.to_string());
    }
    text(svg, ((FIELD.0 + FIELD.1) / 2.0, top + HEIGHT + 40.0), "middle", "block");
}

/// The field of a chart, and the numbers at its lower and upper ends.
struct Frame {
    top: f64,
    least: f64,
    most: f64,
    title: &'static str,
}

impl Frame {
    fn y(&self, value: f64) -> f64 {
        self.top + HEIGHT * (1.0 - (value - self.least) / (self.most - self.least))
    }

    /// Lines across at fifths, with their numbers.
    fn draw(&self, svg: &mut String, label: impl Fn(f64) -> String) {
        text(svg, (20.0, self.top - 8.0), "start", self.title);
        for fifth in 0..=5 {
            let value = self.least + f64::from(fifth) * (self.most - self.least) / 5.0;
            let (y, class) = (self.y(value), if fifth == 0 { "axis" } else { "grid" });
            let (left, right) = FIELD;
            line(svg, class, (left, y), (right, y));
            text(svg, (left - 8.0, y + 5.0), "end", &label(value));
        }
    }
}

/// The next number up that is 1, 2 or 5 times a power of ten.
fn nice(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0].map(|digit| digit * power).into_iter().find(|nice| *nice >= value).unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LayerError, Pairs, Row};

    fn comparison(kl: &[f64], layers: usize) -> Comparison {
        let mut pairs = Pairs::default();
        kl.iter().for_each(|kl| pairs.add(Row { nats: [1.0, 1.5], kl: *kl, agree: true }));
        let layer = |block| LayerError { block, relative_error: 0.01 * (block + 1) as f64, worst: 0.1 };
        Comparison {
            figures: pairs.figures(),
            layers: (0..layers).map(layer).collect(),
            kl: kl.to_vec(),
            chunks: 1,
            of_chunks: 1,
            text_tokens: kl.len(),
        }
    }

    #[test]
    fn every_token_is_in_a_bar_and_every_block_has_a_point() {
        let kl = [0.0, -1e-17, 1e-9, 1e-3, 0.5, 0.6, 7.0, 1e5];
        let svg = figure(&comparison(&kl, 3), ["a", "b"]);
        let bars =
            svg.split("<title>").filter_map(|rest| rest.split_once(" tokens<")?.0.parse::<usize>().ok());
        assert_eq!(bars.sum::<usize>(), kl.len());
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn names_cannot_leave_their_place_and_without_blocks_there_is_one_chart() {
        let svg = figure(&comparison(&[0.0; 4], 0), ["<script>", "a&b\n"]);
        assert!(svg.contains("a&amp;b against &lt;script&gt;"), "{svg}");
        assert!(!svg.contains("<circle") && !svg.contains("NaN"));
    }

    #[test]
    fn axes_end_at_round_numbers() {
        for (value, expected) in [(0.013, 0.02), (1.0, 1.0), (3.0, 5.0), (70.0, 100.0)] {
            assert!((nice(value) / expected - 1.0).abs() < 1e-9, "{value}: {}", nice(value));
        }
    }
}
