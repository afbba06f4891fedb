//! Keeping the files of a checkpoint inside its folder, whatever names and links say.
//!
//! An index may name only files beside itself. A name may still be a symbolic link: model hubs keep
//! `models--ORG--NAME/snapshots/REVISION/FILE` as links into `models--ORG--NAME/blobs/`. A link is followed where it
//! ends in the checkpoint's own folder or in the repository folder around it, and nowhere else.

use crate::IoError;
use std::path::{Component, Path, PathBuf};

/// Folders in which the files of a checkpoint in `folder` may really lie.
pub(crate) fn roots(folder: &Path) -> Result<Vec<PathBuf>, IoError> {
    let folder = folder.canonicalize().map_err(|e| IoError::os("open", e).in_file(folder))?;
    let mut roots = vec![folder.clone()];
    // snapshots/REVISION below models--ORG--NAME, and no deeper: another place of that name is no hub cache.
    let above = folder.parent().filter(|p| p.file_name().is_some_and(|n| n == "snapshots"));
    if let Some(repository) = above.and_then(Path::parent)
        && repository.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with("models--"))
    {
        roots.push(repository.to_owned());
    }
    Ok(roots)
}

/// As [`roots`], for files beside a file that the user named: also where that file itself really lies.
pub(crate) fn roots_beside(file: &Path) -> Result<Vec<PathBuf>, IoError> {
    let folder = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut roots = roots(folder)?;
    let real = file.canonicalize().map_err(|e| IoError::os("open", e).in_file(file))?;
    roots.extend(real.parent().map(Path::to_owned));
    Ok(roots)
}

/// Checks that `path` really lies in one of `roots`.
pub(crate) fn check_contained(path: &Path, roots: &[PathBuf]) -> Result<(), IoError> {
    let real = path.canonicalize().map_err(|e| IoError::os("open", e).in_file(path))?;
    if roots.iter().any(|root| real.starts_with(root)) {
        return Ok(());
    }
    Err(IoError::Escape {
        name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        what: "the checkpoint's folder",
        why: "is a link out of the folder",
    })
}

/// Checks that `name` is a plain file name: no separators, no `..`, no drive.
pub(crate) fn check_sibling(name: &str, what: &'static str) -> Result<(), IoError> {
    let refuse = |why| Err(IoError::Escape { name: name.to_owned(), what, why });
    if name.contains(['/', '\\']) {
        return refuse("has a path separator");
    }
    // The colon starts a drive or a stream on Windows; control characters would garble what is printed.
    if name.contains(':') || name.chars().any(char::is_control) {
        return refuse("has a character that no checkpoint file has");
    }
    let mut parts = Path::new(name).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(_)), None) => Ok(()),
        _ => refuse("is no file name"),
    }
}
