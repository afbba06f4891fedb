//! What drawings are made of: SVG that reads on light and on dark pages, with no markup but its own.
#![forbid(unsafe_code)]

use std::fmt::Write;

/// Colours of series, distinct for the colour-blind too (Okabe and Ito); the shapes of [`mark`] differ as well.
pub const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#999999", "#8a8a00"];

/// Colours of text, axes and grids.
const STYLE: &str = "text { fill: #222 } .axis { stroke: #888 } .grid { stroke: #8884 } .front { stroke: #888 }\n\
    @media (prefers-color-scheme: dark) { text { fill: #ddd } }";

/// The beginning of a drawing of a width and a height, with its title; `</svg>` ends it.
pub fn head((width, height): (f64, f64), title: &str) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" font-family=\"sans-serif\" font-size=\"14\">\n\
         <style>{STYLE}</style>\n<g font-size=\"16\" font-weight=\"600\">"
    );
    text(&mut svg, (20.0, 26.0), "start", title);
    svg + "</g>\n"
}

/// A line of words, whatever is in them. `anchor` is `start`, `middle` or `end`.
pub fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, content: &str) {
    let content = escaped(content);
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{content}</text>");
}

/// A line of a class: `axis` or `grid`.
pub fn line(svg: &mut String, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    let _ = writeln!(
        svg,
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
    );
}

/// A point of a series, in its colour and shape, with what is shown when it is pointed at.
pub fn mark(svg: &mut String, series: usize, (x, y): (f64, f64), note: &str) {
    let corners = |corners: &[(f64, f64)]| {
        let corners = corners.iter().map(|(a, b)| format!("{:.1},{:.1}", x + a, y + b));
        ("polygon", format!("points=\"{}\"", corners.collect::<Vec<_>>().join(" ")))
    };
    let (shape, place) = match series % 4 {
        0 => ("circle", format!("cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\"")),
        1 => ("rect", format!("x=\"{:.1}\" y=\"{:.1}\" width=\"9\" height=\"9\"", x - 4.5, y - 4.5)),
        2 => corners(&[(0.0, -6.0), (-6.0, 5.0), (6.0, 5.0)]),
        _ => corners(&[(0.0, -6.5), (6.5, 0.0), (0.0, 6.5), (-6.5, 0.0)]),
    };
    let (colour, note) = (COLOURS[series % COLOURS.len()], escaped(note));
    let _ = writeln!(svg, "<{shape} {place} fill=\"{colour}\"><title>{note}</title></{shape}>");
}

/// Text that is no markup, in SVG and HTML, without control characters.
pub fn escaped(text: &str) -> String {
    let kept: String = text.chars().filter(|c| !c.is_control()).collect();
    kept.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_written_is_markup() {
        let mut svg = head((10.0, 10.0), "a < b & \"c\"\u{7}");
        assert!(svg.contains(">a &lt; b &amp; &quot;c&quot;<"), "{svg}");
        (0..5).for_each(|series| mark(&mut svg, series, (1.0, 2.0), "<x>"));
        assert_eq!(svg.matches("<title>&lt;x&gt;</title>").count(), 5);
        assert_eq!(svg.matches("<polygon").count(), 2);
        // Every element that is opened is closed.
        for shape in ["circle", "rect", "polygon"] {
            assert_eq!(
                svg.matches(&format!("<{shape} ")).count(),
                svg.matches(&format!("</{shape}>")).count()
            );
        }
    }
}
