//! Who a method is and where it comes from.

/// What reports and generated pages say of a method.
#[derive(Clone, Copy, Debug)]
pub struct Card {
    /// Name on the command line.
    pub name: &'static str,
    /// One line: what it does.
    pub summary: &'static str,
    /// Formats that it can make, in words.
    pub formats: &'static str,
    /// The format that is made where none is asked for, a label.
    pub default_format: &'static str,
    /// Where it was described; `None` for what everybody knows.
    pub paper: Option<Paper>,
    /// Figures it published, to hold ours against.
    pub claims: &'static [Claim],
}

/// A published figure beside that of the baseline in the same table.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// Model, format and text.
    pub setting: &'static str,
    /// What was measured, with its unit.
    pub metric: &'static str,
    /// The method's own.
    pub published: f64,
    /// The baseline's name and figure.
    pub baseline: (&'static str, f64),
    /// Where it stands in the paper.
    pub source: &'static str,
}

/// A publication.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Paper {
    pub title: &'static str,
    /// Where it can be read.
    pub source: &'static str,
    pub year: u16,
}
