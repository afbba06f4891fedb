//! Where unsafe code may be: the last column of the crate table, against the sources.

use super::dependencies;
use crate::tree;
use anyhow::Result;

pub(super) fn broken() -> Result<Vec<String>> {
    let mut broken = Vec::new();
    for row in dependencies::table()? {
        let source = format!("crates/{}/src", row.name);
        let files: Vec<String> =
            tree::files(&source)?.into_iter().filter(|path| path.ends_with(".rs")).collect();
        let text = |path: &String| tree::read(path);
        let roots = files.iter().filter(|path| path.ends_with("src/lib.rs") || path.ends_with("main.rs"));
        match row.unsafety.as_str() {
            "forbid" => {
                for path in roots {
                    if !text(path)?.contains("\n#![forbid(unsafe_code)]\n") {
                        broken.push(format!("{path}: no `#![forbid(unsafe_code)]`"));
                    }
                }
            }
            "one module" => {
                for path in roots {
                    if !text(path)?.contains("\n#![deny(unsafe_code)]\n") {
                        broken.push(format!("{path}: no `#![deny(unsafe_code)]`"));
                    }
                }
                let mut allowing = 0;
                for path in &files {
                    allowing += text(path)?.matches("[allow(unsafe_code)]").count();
                }
                if allowing != 1 {
                    broken.push(format!("{source}: {allowing} places allow unsafe code, expected one"));
                }
            }
            "none" => {
                for path in &files {
                    if text(path)?.lines().any(is_unsafe) {
                        broken.push(format!("{path}: unsafe code"));
                    }
                }
            }
            "yes" => {}
            other => broken.push(format!("{}: `{other}` is no policy on unsafe code", row.name)),
        }
    }
    Ok(broken)
}

/// Whether a line of code, comments left out, opens something unsafe.
fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    ["unsafe {", "unsafe fn", "unsafe impl", "unsafe trait", "unsafe extern"]
        .iter()
        .any(|word| code.contains(word))
}

#[cfg(test)]
mod tests {
    use super::is_unsafe;

    #[test]
    fn unsafe_code_is_told_from_talk_of_it() {
        assert!(is_unsafe("    let x = unsafe { f() };"));
        assert!(is_unsafe("pub unsafe fn f() {}"));
        assert!(!is_unsafe("// an unsafe { block }"));
        assert!(!is_unsafe("#![deny(unsafe_code)]"));
    }
}
