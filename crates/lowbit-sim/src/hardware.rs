//! Machines by name: the data of `hardware.toml` beside this crate's manifest, embedded at build time and checked by a test.

use crate::{
    Precision, SimError,
    machines::{Peaks, Roofline},
};
use lowbit_format::suggest;
use serde::Deserialize;

static TABLE: &str = include_str!("../hardware.toml");

/// The name of the machine that the program runs on, measured.
pub const MEASURED: &str = "measured";

/// A machine as its vendor describes it.
#[derive(Clone, Debug, PartialEq, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct Hardware {
    /// The name that is typed.
    pub name: String,
    /// What it is, in a line.
    pub what: String,
    /// Bandwidth of the memory that holds the weights, in 10⁹ bytes a second.
    pub memory_gb_per_s: f64,
    /// Memory that can hold a model; the largest where there are several.
    pub memory_gib: f64,
    /// Last cache, where the vendor says.
    pub cache_mib: Option<f64>,
    /// Peak in single precision, in 10¹² operations a second.
    pub f32: f64,
    /// In half precision.
    pub f16: Option<f64>,
    /// In 8-bit integers.
    pub int8: Option<f64>,
    /// In 4-bit integers.
    pub int4: Option<f64>,
    /// Numbers in which activations usually meet weights there.
    pub activations: Precision,
    /// Where the figures are from.
    pub source: String,
}

impl Hardware {
    /// Bandwidth and peaks in units of one.
    pub fn roofline(&self) -> Roofline {
        let tera = |peak: f64| 1e12 * peak;
        Roofline {
            name: self.name.clone(),
            bytes_per_s: 1e9 * self.memory_gb_per_s,
            cache_bytes: self.cache_mib.map(|mib| mib * f64::from(1 << 20)),
            peaks: Peaks {
                f32: tera(self.f32),
                f16: self.f16.map(tera),
                int8: self.int8.map(tera),
                int4: self.int4.map(tera),
            },
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    machine: Vec<Hardware>,
}

/// All machines.
pub fn all() -> Vec<Hardware> {
    match toml::from_str::<Table>(TABLE) {
        Ok(table) => table.machine,
        Err(error) => panic!("hardware.toml: {error}"),
    }
}

/// The machine of a name.
///
/// # Errors
/// Where there is none, with the nearest name.
pub fn named(name: &str) -> Result<Hardware, SimError> {
    let mut all = all();
    match all.iter().position(|machine| machine.name == name) {
        Some(at) => Ok(all.swap_remove(at)),
        None => {
            let known: Vec<String> = all.into_iter().map(|machine| machine.name).collect();
            let names = || known.iter().map(String::as_str).chain([MEASURED]);
            // Who types a beginning means what begins so.
            let begins = |known: &&str| !name.is_empty() && known.starts_with(&name.to_lowercase());
            let nearest = names().find(begins).or_else(|| suggest::nearest(name, names())).map(str::to_owned);
            Err(SimError::UnknownMachine { name: name.to_owned(), nearest, known })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_machine_is_plausible_and_no_name_is_there_twice() {
        let all = all();
        for (i, machine) in all.iter().enumerate() {
            let name = &machine.name;
            assert!(all[..i].iter().all(|other| other.name != *name), "{name} twice");
            assert!(!machine.source.is_empty() && !machine.what.is_empty(), "{name}");
            assert!(machine.memory_gb_per_s > 0.0 && machine.memory_gib > 0.0 && machine.f32 > 0.0, "{name}");
            // Narrower numbers are never slower.
            let peaks = [Some(machine.f32), machine.f16, machine.int8, machine.int4];
            assert!(peaks.into_iter().flatten().is_sorted(), "{name}: {peaks:?}");
        }
    }

    #[test]
    fn an_unknown_name_suggests_the_nearest() {
        assert_eq!(named("h100-sxm").unwrap().memory_gib, 80.0);
        let error = named("H100").unwrap_err().to_string();
        assert!(error.contains("did you mean h100-sxm?") && error.contains("measured"), "{error}");
        assert!(!named("toaster-of-my-aunt").unwrap_err().to_string().contains("did you mean"));
    }
}
