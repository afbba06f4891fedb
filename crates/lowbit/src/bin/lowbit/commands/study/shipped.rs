//! Recipes that come with lowbit.

const SHIPPED: &[(&str, &str)] = &[
    ("code-bits", include_str!("../../../../../studies/code-bits.toml")),
    ("give-me-bf16", include_str!("../../../../../studies/give-me-bf16.toml")),
    ("knowledge", include_str!("../../../../../studies/knowledge.toml")),
    ("low-bit-models", include_str!("../../../../../studies/low-bit-models.toml")),
    ("methods-by-bits", include_str!("../../../../../studies/methods-by-bits.toml")),
    ("methods-integer", include_str!("../../../../../studies/methods-integer.toml")),
    ("r-and-racket", include_str!("../../../../../studies/r-and-racket.toml")),
    ("trust", include_str!("../../../../../studies/trust.toml")),
];

/// The text of the recipe of a name.
pub(super) fn named(name: &str) -> Option<&'static str> {
    SHIPPED.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    SHIPPED.iter().map(|(name, _)| *name)
}

/// A line for each.
pub(super) fn list() -> String {
    let line = |(name, text): &(&str, &str)| {
        let title = lowbit::eval::study::Recipe::parse(text).map(|recipe| recipe.title).unwrap_or_default();
        format!("  {name}: {title}")
    };
    SHIPPED.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use lowbit::{
        WeightSpec,
        eval::{study::Recipe, tasks::Task},
        quant::method,
    };

    #[test]
    fn every_recipe_names_methods_formats_and_tasks_that_there_are() {
        for (name, text) in SHIPPED {
            let recipe = Recipe::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(recipe.methods.iter().all(|one| method(one.method()).is_ok()), "{name}");
            let own = recipe.methods.iter().filter_map(|one| one.formats()).flatten();
            assert!(own.chain(&recipe.formats).all(|label| WeightSpec::parse(label).is_ok()), "{name}");
            assert!(recipe.tasks.iter().all(|task| Task::named(task).is_some()), "{name}");
        }
        assert!(SHIPPED.is_sorted_by_key(|(name, _)| *name));
    }
}
