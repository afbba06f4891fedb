//! Rules for names that come from outside: which may be used as a path, which is a repository, and which known
//! name was probably meant.

/// Whether `name` is a single ordinary file name on every platform.
pub(crate) fn is_file_name(name: &str) -> bool {
    const MAX_BYTES: usize = 200;
    let reserved = |c: char| c.is_control() || "/\\:*?\"<>|".contains(c);
    !name.is_empty() && name.len() <= MAX_BYTES && name != "." && name != ".." && !name.contains(reserved)
}

/// Whether `path` is a relative path of ordinary names separated by `/`, so that it cannot leave its directory.
pub(crate) fn is_relative_path(path: &str) -> bool {
    const MAX_BYTES: usize = 1024;
    path.len() <= MAX_BYTES && path.split('/').all(is_file_name)
}

/// Whether `id` is `user/repo` with the characters that hubs allow.
pub(crate) fn is_repo_id(id: &str) -> bool {
    const MAX_BYTES: usize = 192;
    let part = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
            // `--` separates the parts of a cache folder's name.
            && !text.contains("--")
            && !text.contains("..")
    };
    id.len() <= MAX_BYTES && id.split_once('/').is_some_and(|(user, repo)| part(user) && part(repo))
}

/// Whether `text` is a full commit id.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Known names that are close to `name`, nearest first, at most three: those that begin with it, and those within
/// an edit distance of a third of its length. Case does not count.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Vec<String> {
    const MIN_PREFIX: usize = 3;
    const SHOWN: usize = 3;
    let name = name.to_lowercase();
    let limit = (name.chars().count() / 3).max(1);
    let mut close: Vec<(usize, &str)> = known
        .filter_map(|candidate| {
            let is_prefix = name.len() >= MIN_PREFIX && candidate.to_lowercase().starts_with(&name);
            let distance = if is_prefix { 0 } else { strsim::levenshtein(&name, &candidate.to_lowercase()) };
            (distance <= limit).then_some((distance, candidate))
        })
        .collect();
    close.sort();
    close.into_iter().take(SHOWN).map(|(_, candidate)| candidate.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_could_leave_their_directory_are_refused() {
        for path in
            ["", "/etc/passwd", "..", "a/../b", "a//b", "a/", "./a", "C:/x", "a\\..\\b", "a\0b", "a/\n"]
        {
            assert!(!is_relative_path(path), "{path:?}");
        }
        for path in ["model.gguf", "Q4_K_M/model-00001-of-00002.gguf", "a b.txt", ".gitattributes"] {
            assert!(is_relative_path(path), "{path:?}");
        }
    }

    #[test]
    fn repository_ids_have_a_user_and_a_name() {
        for id in ["Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF", "a/b", "_x/y_z"] {
            assert!(is_repo_id(id), "{id}");
        }
        for id in ["gpt2", "a/b/c", "../b", "a/..", "-a/b", "a b/c", "a/", "/b", "a--b/c", "a/b?x"] {
            assert!(!is_repo_id(id), "{id}");
        }
    }
}
