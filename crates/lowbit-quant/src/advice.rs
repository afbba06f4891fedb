//! What is worth saying before a model is quantized: formats that models of the ordinary kind do not survive.

use crate::Formats;
use lowbit_format::{ElementFormat, WeightSpec};

/// Whether a method sees what goes through the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// It sees the weights only.
    None,
    /// It is given texts.
    Calibration,
}

/// A sentence for every format that was asked for and suits few models; empty where there is nothing to say.
pub fn advice(formats: &Formats, data: Data) -> Vec<String> {
    let roles = formats.roles.iter().map(|(_, spec)| spec);
    let tensors = formats.tensors.iter().map(|(_, spec)| spec);
    let mut said: Vec<String> = Vec::new();
    for spec in std::iter::once(&formats.default).chain(roles).chain(tensors) {
        let WeightSpec::Grouped(grouped) = spec else { continue };
        let why = match grouped.element() {
            ElementFormat::Ternary => {
                "rounding to ternary breaks models that were not trained so; take int3 or int4 for an ordinary model"
            }
            ElementFormat::Int { bits, .. } if bits.get() == 1 => {
                "rounding to one bit breaks models that were not trained so; take int3 or int4 for an ordinary model"
            }
            ElementFormat::Int { bits, .. } if bits.get() == 2 && data == Data::None => {
                "two bits without calibration data break most models below some 10 billion weights; take int3 or int4, or a method with calibration data"
            }
            ElementFormat::Int { .. } | ElementFormat::Codebook(_) => continue,
        };
        let sentence = format!("{}: {why}", spec.label());
        if !said.contains(&sentence) {
            said.push(sentence);
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(default: &str, role: &str, data: Data) -> Vec<String> {
        let spec = |label: &str| WeightSpec::parse(label).unwrap();
        let mut formats = Formats { default: spec(default), roles: vec![], tensors: vec![] };
        formats.set_role("down", role).unwrap();
        advice(&formats, data)
    }

    #[test]
    fn formats_that_few_models_survive_are_named_once_and_others_are_not() {
        assert!(of("int4-asym-g128", "int3-sym-g32", Data::None).is_empty());
        assert!(of("int4-asym-g128", "f16", Data::None).is_empty());
        for (label, data, count) in [
            ("ternary-row", Data::Calibration, 1),
            ("int1-sym-g32", Data::Calibration, 1),
            ("int2-asym-g128", Data::None, 1),
            ("int2-asym-g128", Data::Calibration, 0),
        ] {
            let said = of(label, label, data);
            assert_eq!(said.len(), count, "{label}: {said:?}");
            assert!(said.iter().all(|said| said.starts_with(&format!("{label}: "))), "{said:?}");
        }
        assert_eq!(of("int2-asym-g128", "ternary-row", Data::None).len(), 2);
    }
}
