//! With the feature `archive`: builds the Go archive of layer 3, or takes one that is built, and links it.
//!
//! `MFN_ALM_LIB_DIR` names a directory with `libmfn_alm.a`. Else Go builds it: `$GO`, else `go` on the PATH, with cgo and
//! therefore a C compiler. Cargo asks again only when a Go source or the header changed.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const ARCHIVE: &str = "libmfn_alm.a";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("mfn-alm-sys: {text}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_ARCHIVE").is_none() {
        return Ok(());
    }
    for name in ["MFN_ALM_LIB_DIR", "GO"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let directory = match env::var_os("MFN_ALM_LIB_DIR") {
        Some(given) => {
            let directory = PathBuf::from(given);
            let archive = directory.join(ARCHIVE);
            println!("cargo::rerun-if-changed={}", archive.display());
            if !archive.is_file() {
                return Err(format!(
                    "MFN_ALM_LIB_DIR: {} is not there",
                    archive.display()
                ));
            }
            directory
        }
        None => build()?,
    };
    println!("cargo::rustc-link-search=native={}", directory.display());
    println!("cargo::rustc-link-lib=static=mfn_alm");
    Ok(())
}

/// Runs `go build` into cargo's own output directory and answers where the archive is.
fn build() -> Result<PathBuf, String> {
    let go_dir = workspace()?.join("go");
    for input in ["go.mod", "go.sum", "cmd/libalm", "internal"] {
        println!("cargo::rerun-if-changed={}", go_dir.join(input).display());
    }
    let by_hand = "install Go and a C compiler, or name a built archive in MFN_ALM_LIB_DIR";
    let variable = |name: &str| env::var(name).map_err(|error| format!("{name}: {error}"));
    if variable("TARGET")? != variable("HOST")? {
        return Err(format!(
            "Go is not asked to build for another machine: {by_hand}"
        ));
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let go = env::var_os("GO")
        .filter(|value| !value.is_empty())
        .unwrap_or_else(|| "go".into());
    let done = Command::new(&go)
        .current_dir(&go_dir)
        // The Go that is here builds; it fetches no other one. The archive does not depend on the state of the checkout.
        .env("GOTOOLCHAIN", "local")
        .env("CGO_ENABLED", "1")
        .args(["build", "-buildvcs=false", "-trimpath", "-tags", "libalm"])
        .args(["-buildmode=c-archive", "-o"])
        .arg(out.join(ARCHIVE))
        .arg("./cmd/libalm")
        .output()
        .map_err(|error| format!("{}: {error}; {by_hand}", Path::new(&go).display()))?;
    if !done.status.success() {
        return Err(format!(
            "{} build in {} failed; {by_hand}\n{}",
            Path::new(&go).display(),
            go_dir.display(),
            String::from_utf8_lossy(&done.stderr)
        ));
    }
    Ok(out)
}

/// The directory of the workspace: this crate's grandparent.
fn workspace() -> Result<PathBuf, String> {
    let here = env::var_os("CARGO_MANIFEST_DIR").ok_or("CARGO_MANIFEST_DIR is not set")?;
    let here = PathBuf::from(here);
    here.ancestors()
        .nth(2)
        .map(Path::to_path_buf)
        .ok_or_else(|| format!("{} is not in the workspace", here.display()))
}
