//! Writes generated files, or says which are stale.
//!
//! Each file is generated in memory first, so `--check` compares and never writes.

mod bindings;
mod breaker_vectors;
mod c;
mod constants;
mod go;
mod header;
mod ifr_vectors;
mod messages;
mod python;
mod rust;
mod vectors;
mod zig;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Outcome;

/// A generated file: its path below the root, and what belongs in it.
pub(crate) struct Generated {
    pub path: PathBuf,
    pub text: String,
}

pub(crate) type Files = Result<Vec<Generated>, Box<dyn std::error::Error>>;

/// `gen`: writes what differs. `gen --check`: fails and names what differs.
pub(crate) fn run(args: &[String]) -> Outcome {
    let check = match args {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => return Err("gen: only --check is known".into()),
    };
    let root = crate::root();
    let constants = constants::load(&root)?;
    let mut files = vec![rust::file(&constants)?, go::file(&constants)?];
    files.push(zig::file(&constants)?);
    files.push(python::file(&constants));
    files.extend(c::files(&constants));
    files.extend(messages::files(&root)?);
    files.extend(bindings::files(&root)?);
    files.extend(header::files(&root)?);
    files.extend(vectors::files(&constants)?);
    files.extend(ifr_vectors::files(&constants)?);
    files.extend(breaker_vectors::files(&constants)?);

    let mut stale = Vec::new();
    for file in &files {
        let path = root.join(&file.path);
        if std::fs::read_to_string(&path).is_ok_and(|there| there == file.text) {
            continue;
        }
        stale.push(file.path.display().to_string());
        if !check {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(&path, &file.text)?;
        }
    }
    match (check, stale.is_empty()) {
        (true, false) => Err(format!("stale: {}; run ./make gen", stale.join(", ")).into()),
        (false, false) => {
            println!("gen: wrote {}", stale.join(", "));
            Ok(())
        }
        (_, true) => {
            println!("gen: {} files are up to date", files.len());
            Ok(())
        }
    }
}

/// Runs a filter (a formatter, a generator) over the input and gives its output.
pub(crate) fn filter(
    program: &str,
    args: &[&str],
    directory: &Path,
    input: &[u8],
) -> Result<Vec<u8>, String> {
    let failed = |reason: String| format!("{program}: {reason}");
    let mut child = Command::new(program)
        .args(args)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("{error}; is it installed? ./make setup brings it")))?;
    let mut stdin = child
        .stdin
        .take()
        .ok_or_else(|| failed("no standard input".into()))?;
    let input = input.to_vec();
    // From its own thread: a filter that writes before it has read all would otherwise wait for us for ever.
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child
        .wait_with_output()
        .map_err(|error| failed(error.to_string()))?;
    let written = writer
        .join()
        .map_err(|_| failed("the writing thread failed".into()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    written.map_err(|error| failed(error.to_string()))?;
    Ok(output.stdout)
}

/// The same for text.
pub(crate) fn filter_text(program: &str, args: &[&str], input: &str) -> Result<String, String> {
    let output = filter(program, args, &crate::root(), input.as_bytes())?;
    String::from_utf8(output).map_err(|error| format!("{program}: {error}"))
}
