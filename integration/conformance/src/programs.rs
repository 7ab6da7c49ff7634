//! The programs of every language, and how they are started.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One side in one language.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) language: &'static str,
    /// The program and what comes before its own arguments.
    command: Vec<String>,
}

impl Program {
    fn new(language: &'static str, command: &[&Path]) -> Self {
        let command = command.iter().map(|part| part.display().to_string());
        Self {
            language,
            command: command.collect(),
        }
    }

    /// The same, run by something else.
    pub(crate) fn inside(&self, runner: &[&str]) -> Self {
        let runner = runner.iter().map(|word| (*word).to_owned());
        Self {
            language: self.language,
            command: runner.chain(self.command.iter().cloned()).collect(),
        }
    }

    /// Ready to be started with pipes.
    pub(crate) fn command(&self) -> Command {
        let (name, arguments) = self
            .command
            .split_first()
            .map_or(("", &[][..]), |(name, rest)| (name.as_str(), rest));
        let mut command = Command::new(name);
        command
            .args(arguments)
            // What a sanitizer finds ends the program, and is on its standard error.
            .env("ASAN_OPTIONS", "exitcode=99")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        command
    }

    /// Files that must be there.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        let paths = self.command.iter().map(Path::new);
        paths.filter(|path| path.is_absolute())
    }
}

/// Where the programs are.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// Of cargo's debug build.
    pub(crate) built: PathBuf,
    /// Of the tree.
    pub(crate) root: PathBuf,
}

impl Places {
    pub(crate) fn servers(&self) -> Vec<Program> {
        vec![
            Program::new("rust", &[&self.built.join("conformance-server")]),
            Program::new("go", &[&self.built.join("conformance-go/server")]),
            Program::new("zig", &[&self.built.join("conformance-zig-server")]),
        ]
    }

    /// The daemon of layer 1, for sections about its records.
    pub(crate) fn ifrd(&self) -> Vec<Program> {
        vec![Program::new("ifrd", &[&self.built.join("ifrd")])]
    }

    pub(crate) fn clients(&self) -> Vec<Program> {
        vec![
            Program::new("rust", &[&self.built.join("conformance-client")]),
            Program::new("go", &[&self.built.join("conformance-go/client")]),
            Program::new("zig", &[&self.built.join("conformance-zig-client")]),
            Program::new(
                "c",
                &[
                    &self.built.join("ffi/ffi-tests-conformance"),
                    Path::new("serve-stdin"),
                ],
            ),
            Program::new(
                "python",
                &[
                    Path::new("python3"),
                    &self.root.join("integration/conformance/python/client.py"),
                ],
            ),
        ]
    }

    /// The golden vectors; those of records are beside them.
    pub(crate) fn vectors(&self) -> PathBuf {
        self.root.join("integration/vectors/wire.txt")
    }
}
