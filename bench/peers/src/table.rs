//! Text tables: the first column to the left, numbers to the right.

use std::fmt::{self, Display};

/// A head and rows. A row may end early.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(str::to_owned).to_vec()] }
    }

    pub(crate) fn push(&mut self, row: Vec<String>) {
        assert!(row.len() <= self.rows[0].len(), "a row longer than the head: {row:?}");
        self.rows.push(row);
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows[0].len();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                line += &if column == 0 { format!("{cell:<width$}") } else { format!("  {cell:>width$}") };
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_by_characters_not_bytes() {
        let mut table = Table::new(["engine", "±", "t/s"]);
        table.push(vec!["a".into(), "12%".into(), "7.5".into()]);
        table.push(vec!["longest".into(), "1%".into()]);
        assert_eq!(table.to_string(), "engine     ±  t/s\na        12%  7.5\nlongest   1%\n");
    }
}
