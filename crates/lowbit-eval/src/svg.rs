//! What drawings are made of.

use std::fmt::Write;

/// Colours of text and axes, on light and on dark pages.
pub(crate) const STYLE: &str = "text { fill: #222 } .axis { stroke: #888 } .grid { stroke: #8884 }\n\
    @media (prefers-color-scheme: dark) { text { fill: #ddd } }";

/// A line of words, whatever is in them.
pub(crate) fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, content: &str) {
    let kept: String = content.chars().filter(|c| !c.is_control()).collect();
    let _ =
        writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escaped(&kept));
}

/// A line of a class of [`STYLE`].
pub(crate) fn line(svg: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(
        svg,
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
    );
}

/// Text that is no markup, in SVG and HTML.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
