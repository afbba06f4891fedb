//! Rows as they are kept: `DIR/<processor>/<date>.csv`.

use super::report::{Report, Row};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

const HEAD: &str = "isa,threads,n,k,format,bits_per_weight,activations,tokens,cache,kernel,min_us,median_us,\
    gb_per_s,bandwidth_gb_per_s,g_mac_per_s,peak_g_mac_per_s,nmse,lowbit";

/// Appends the rows to the file of this processor and day, in UTC, and returns its path.
pub(super) fn write(folder: &Path, report: &Report) -> Result<PathBuf> {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86400);
    let cpu = report.machine.cpu.as_deref().unwrap_or("unknown");
    let folder = folder.join(slug(cpu));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join(format!("{}.csv", date(days as i64)));
    let mut text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(_) if !path.exists() => format!("{HEAD}\n"),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let same = text.lines().next() == Some(HEAD);
    ensure!(same, "{} has other columns than are written now: move it away", path.display());
    let isa = report.isa.level().name();
    report.rows.iter().for_each(|row| text += &line(isa, row));
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn line(isa: &str, row: &Row) -> String {
    let Row { shape, format, bits_per_weight, activations, tokens, threads, kernel, .. } = row;
    format!(
        "{isa},{threads},{},{},{format},{bits_per_weight:.4},{},{tokens},{},{kernel},{:.2},{:.2},{:.3},{:.3},{:.3},{:.3},{:.3e},{}\n",
        shape.n,
        shape.k,
        activations.name(),
        row.cache(),
        row.min_us,
        row.median_us,
        row.gb_per_s,
        row.bandwidth_gb_per_s,
        row.g_mac_per_s,
        row.peak_g_mac_per_s,
        row.nmse,
        env!("CARGO_PKG_VERSION"),
    )
}

/// A name in lower case, other characters than letters and digits as dashes.
fn slug(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-")
}

/// The date of a day since 1970, in the calendar of Gregory: eras of 400 years that begin in March.
fn date(days: i64) -> String {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = year + 400 * era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_dates() {
        for (days, text) in
            [(0, "1970-01-01"), (59, "1970-03-01"), (11_016, "2000-02-29"), (20_454, "2026-01-01")]
        {
            assert_eq!(date(days), text);
        }
        assert_eq!(slug("AMD EPYC 9R14 (TM)"), "amd-epyc-9r14-tm");
    }

    #[test]
    fn a_line_has_the_columns_of_the_head() {
        let row = Row {
            shape: lowbit_format::NK { n: 1, k: 2 },
            format: "q4_0".into(),
            bits_per_weight: 4.5,
            activations: crate::options::Activations::Int8,
            tokens: 1,
            threads: 1,
            cold: false,
            kernel: "packed-int8-avx2".into(),
            min_us: 1.0,
            median_us: 2.0,
            gb_per_s: 1.0,
            bandwidth_gb_per_s: 1.0,
            g_mac_per_s: 1.0,
            peak_g_mac_per_s: 1.0,
            nmse: 1e-5,
            joules: None,
        };
        assert_eq!(line("avx2", &row).split(',').count(), HEAD.split(',').count());
    }
}
