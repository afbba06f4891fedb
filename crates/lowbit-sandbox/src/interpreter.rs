//! What runs programs of a language: found on the PATH, asked where it keeps its files.

use crate::{Language, SandboxError};
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// An interpreter or a compiler of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interpreter {
    /// Its language.
    pub language: Language,
    /// The program itself, links and wrappers followed.
    pub program: PathBuf,
    /// Folders that it reads.
    pub readable: Vec<PathBuf>,
}

impl Interpreter {
    /// Looks for that of a language in the folders of `path`, which is written as the variable `PATH` is.
    ///
    /// # Errors
    /// Where it is not there, with what to install, or does not answer.
    pub fn find(language: Language, path: &OsStr) -> Result<Self, SandboxError> {
        let located = |program| locate(language, program, path);
        let (program, mut readable) = match language {
            Language::Python => {
                // Of a virtual environment, what it was made from.
                let ask = "import sys; print(sys._base_executable); print(sys.base_prefix)";
                let told = ask_it(&located("python3")?, &["-I", "-c", ask], path)?;
                let mut lines = told.lines().map(PathBuf::from);
                (lines.next().unwrap_or_default(), lines.collect())
            }
            Language::R => {
                let program = located("Rscript")?;
                let home = ask_it(&program, &["--vanilla", "-e", "cat(R.home())"], path)?;
                (program, vec![PathBuf::from(home)])
            }
            Language::Racket => (located("racket")?, Vec::new()),
            Language::Rust => {
                located("cc")?;
                let root = PathBuf::from(ask_it(&located("rustc")?, &["--print", "sysroot"], path)?);
                (root.join("bin/rustc"), vec![root])
            }
        };
        let unreadable =
            |why: std::io::Error| SandboxError::Interpreter { path: program.clone(), why: why.to_string() };
        let program = program.canonicalize().map_err(unreadable)?;
        // A Racket that was unpacked somewhere has everything beside its `bin`.
        let prefix =
            program.parent().and_then(Path::parent).filter(|prefix| prefix.join("collects").is_dir());
        readable.extend(prefix.filter(|_| language == Language::Racket).map(Path::to_owned));
        readable.extend(program.parent().map(Path::to_owned));
        readable.retain(|path| path.is_absolute() && path.parent().is_some());
        Ok(Self { language, program, readable })
    }
}

fn locate(language: Language, program: &'static str, path: &OsStr) -> Result<PathBuf, SandboxError> {
    let found = std::env::split_paths(path).map(|folder| folder.join(program)).find(|file| file.is_file());
    let packages = match (language, program) {
        (_, "cc") => "gcc libc6-dev",
        (Language::Python, _) => "python3",
        (Language::R, _) => "r-base-core",
        (Language::Racket, _) => "racket",
        (Language::Rust, _) => "rustc",
    };
    found.ok_or(SandboxError::NoInterpreter { program, language, packages })
}

/// What a program of this machine prints.
fn ask_it(program: &Path, arguments: &[&str], path: &OsStr) -> Result<String, SandboxError> {
    let failed = |why: String| SandboxError::Interpreter { path: program.to_owned(), why };
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", path)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(failed(format!("{}, {}", output.status, said.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_named_with_what_to_install() {
        for (language, package) in [
            (Language::Python, "python3"),
            (Language::R, "r-base-core"),
            (Language::Racket, "racket"),
            (Language::Rust, "gcc"),
        ] {
            let error = Interpreter::find(language, OsStr::new("/nowhere")).unwrap_err().to_string();
            assert!(error.contains(package) && error.contains(&language.to_string()), "{error}");
        }
    }
}
