//! Which format every weight matrix gets.

use crate::QuantError;
use lowbit_format::{FormatError, GroupedSpec, QuantTensor, WeightSpec};
use lowbit_model::Role;

/// Formats by tensor. Of what applies to a tensor the most particular counts: the last pattern that its name matches,
/// else its role, else the default. Embedding and head stay as they are stored where nothing is said of them, and so
/// does the router of a mixture of experts.
#[derive(Clone, Debug)]
pub struct Formats {
    /// Of the linear layers of blocks.
    pub default: WeightSpec,
    /// By role; the last of a role counts.
    pub roles: Vec<(Role, WeightSpec)>,
    /// By name.
    pub tensors: Vec<(Pattern, WeightSpec)>,
}

impl Formats {
    /// The format of a tensor, `None` where it stays as it is stored.
    pub fn of(&self, name: &str, role: Role) -> Option<&WeightSpec> {
        let by_name = self.tensors.iter().rev().find(|(pattern, _)| pattern.matches(name));
        let by_role = || self.roles.iter().rev().find(|(of, _)| *of == role).map(|(_, spec)| spec);
        let kept = matches!(role, Role::Embed | Role::Head | Role::Router);
        by_name.map(|(_, spec)| spec).or_else(by_role).or((!kept).then_some(&self.default))
    }
}

/// Chooses the format of a matrix of a block that would have the default one, from its weights.
pub trait ChooseFormat: Send + Sync {
    /// What it is called where the parts of a method are listed.
    fn name(&self) -> &'static str;
    /// The format; the same for any number of `threads`.
    ///
    /// # Errors
    /// Weights that are not finite.
    fn choose(
        &self,
        weight: &QuantTensor,
        default: &GroupedSpec,
        threads: usize,
    ) -> Result<GroupedSpec, FormatError>;
}

/// The role of a name.
fn role(name: &str) -> Result<Role, QuantError> {
    Role::ALL
        .into_iter()
        .find(|role| role.name() == name)
        .ok_or_else(|| QuantError::unknown("role", name, Role::ALL.into_iter().map(Role::name)))
}

impl Formats {
    /// Adds `ROLE=FORMAT`.
    ///
    /// # Errors
    /// Where there is no such role or format.
    pub fn set_role(&mut self, name: &str, label: &str) -> Result<(), QuantError> {
        self.roles.push((role(name)?, WeightSpec::parse(label)?));
        Ok(())
    }

    /// Adds `PATTERN=FORMAT`.
    ///
    /// # Errors
    /// Where there is no such format.
    pub fn set_tensor(&mut self, pattern: &str, label: &str) -> Result<(), QuantError> {
        self.tensors.push((Pattern(pattern.to_owned()), WeightSpec::parse(label)?));
        Ok(())
    }
}

/// A tensor name in which `*` stands for any letters.
#[derive(Clone, Debug)]
pub struct Pattern(pub String);

impl Pattern {
    /// Whether a whole name is like it.
    pub fn matches(&self, name: &str) -> bool {
        let (first, rest) = self.0.split_once('*').map_or((self.0.as_str(), None), |(f, r)| (f, Some(r)));
        let Some(mut left) = name.strip_prefix(first) else { return false };
        let Some(rest) = rest else { return left.is_empty() };
        let mut pieces: Vec<&str> = rest.split('*').collect();
        let last = pieces.pop().unwrap_or_default();
        for piece in pieces {
            // The first place is the best one: it leaves the most for the others.
            let Some(at) = left.find(piece) else { return false };
            left = &left[at + piece.len()..];
        }
        left.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_letters() {
        let like = |pattern: &str, name: &str| Pattern(pattern.into()).matches(name);
        assert!(like("blk.*.ffn_down.weight", "blk.12.ffn_down.weight"));
        assert!(like("*", "anything") && like("a*b*c", "a-b-b-c") && like("a", "a") && like("a**b", "ab"));
        assert!(!like("a", "ab") && !like("a*b", "ba") && !like("ab*b", "ab") && !like("", "a"));
    }

    #[test]
    fn the_most_particular_format_counts() {
        let spec = |label: &str| WeightSpec::parse(label).unwrap();
        let mut formats = Formats { default: spec("int2-sym-g32"), roles: vec![], tensors: vec![] };
        formats.set_role("down", "int4-sym-g32").unwrap();
        formats.set_tensor("blk.0.*", "int8-sym-g32").unwrap();
        assert_eq!(formats.of("blk.1.ffn_up.weight", Role::Up), Some(&spec("int2-sym-g32")));
        assert_eq!(formats.of("blk.1.ffn_down.weight", Role::Down), Some(&spec("int4-sym-g32")));
        assert_eq!(formats.of("blk.0.ffn_down.weight", Role::Down), Some(&spec("int8-sym-g32")));
        assert_eq!(formats.of("output.weight", Role::Head), None);
        let error = formats.set_role("dwn", "int4-sym-g32").unwrap_err().to_string();
        assert!(error.contains("did you mean `down`?"), "{error}");
    }
}
