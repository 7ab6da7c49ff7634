//! Builds the Zig archive of layer 1, or takes one that is built, and links it.
//!
//! `MFN_IFR_LIB_DIR` names a directory with `libmfn_ifr.a`. Else Zig builds it: `$ZIG`, else `.tools/bin/zig` of the
//! workspace, else `zig` on the PATH. Cargo asks again only when a Zig source or the header changed.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const ARCHIVE: &str = "libmfn_ifr.a";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("mfn-ifr-sys: {text}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    // Not PATH: it changes with every shell, and build.zig refuses another version anyway.
    for name in ["MFN_IFR_LIB_DIR", "ZIG"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let directory = match env::var_os("MFN_IFR_LIB_DIR") {
        Some(given) => {
            let directory = PathBuf::from(given);
            let archive = directory.join(ARCHIVE);
            println!("cargo::rerun-if-changed={}", archive.display());
            if !archive.is_file() {
                return Err(format!(
                    "MFN_IFR_LIB_DIR: {} is not there",
                    archive.display()
                ));
            }
            directory
        }
        None => build()?,
    };
    println!("cargo::rustc-link-search=native={}", directory.display());
    println!("cargo::rustc-link-lib=static=mfn_ifr");
    // Tests of the C border link the same archive: DEP_MFN_IFR_LIB_DIR for build scripts of dependents.
    println!("cargo::metadata=lib_dir={}", directory.display());
    Ok(())
}

/// Runs `zig build` into cargo's own output directory and answers where the archive is.
fn build() -> Result<PathBuf, String> {
    let root = workspace()?;
    let zig_dir = root.join("zig");
    for input in ["build.zig", "src"] {
        println!("cargo::rerun-if-changed={}", zig_dir.join(input).display());
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let zig = compiler(&root);
    let mut command = Command::new(&zig);
    command
        .current_dir(&zig_dir)
        .arg("build")
        .arg("--prefix")
        .arg(&out)
        .arg("--cache-dir")
        .arg(out.join("zig-cache"));
    if env::var_os("ZIG_GLOBAL_CACHE_DIR").is_none() {
        command
            .arg("--global-cache-dir")
            .arg(out.join("zig-global-cache"));
    }
    if let Some(target) = cross_target()? {
        command.arg(format!("-Dtarget={target}"));
    }
    let by_hand =
        "run ./make setup, or name a zig 0.16.0 in ZIG, or a built archive in MFN_IFR_LIB_DIR";
    let done = command
        .output()
        .map_err(|error| format!("{}: {error}; {by_hand}", zig.display()))?;
    if !done.status.success() {
        return Err(format!(
            "{} build in {} failed; {by_hand}\n{}",
            zig.display(),
            zig_dir.display(),
            String::from_utf8_lossy(&done.stderr)
        ));
    }
    Ok(out.join("lib"))
}

fn compiler(root: &Path) -> PathBuf {
    if let Some(given) = env::var_os("ZIG").filter(|value| !value.is_empty()) {
        return given.into();
    }
    let fetched = root.join(".tools/bin/zig");
    if fetched.is_file() {
        return fetched;
    }
    "zig".into()
}

/// Zig's name of cargo's target, or `None` if it is this machine.
fn cross_target() -> Result<Option<String>, String> {
    let variable = |name: &str| env::var(name).map_err(|error| format!("{name}: {error}"));
    if variable("TARGET")? == variable("HOST")? {
        return Ok(None);
    }
    let architecture = variable("CARGO_CFG_TARGET_ARCH")?;
    let system = variable("CARGO_CFG_TARGET_OS")?;
    let abi = variable("CARGO_CFG_TARGET_ENV")?;
    Ok(Some(format!("{architecture}-{system}-{abi}")))
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
