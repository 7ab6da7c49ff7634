//! Where sockets live: a directory that only its owner can enter.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::LocalError;

/// `$XDG_RUNTIME_DIR/hypermesh`, else `/run/hypermesh` for root, else `$TMPDIR/hypermesh-<uid>`.
pub fn default_base() -> PathBuf {
    let uid = rustix::process::geteuid();
    base(
        |name| std::env::var_os(name),
        uid.as_raw(),
        uid.is_root() && Path::new("/run").is_dir(),
    )
}

fn base(variable: impl Fn(&str) -> Option<OsString>, uid: u32, owns_run: bool) -> PathBuf {
    let directory = |name| {
        variable(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    if let Some(runtime) = directory("XDG_RUNTIME_DIR") {
        return runtime.join("hypermesh");
    }
    if owns_run {
        return PathBuf::from("/run/hypermesh");
    }
    directory("TMPDIR")
        .unwrap_or_else(|| PathBuf::from("/tmp"))
        .join(format!("hypermesh-{uid}"))
}

/// Makes the directory, or checks that the one there is ours and closed to others. Parents that are missing are made,
/// closed as well.
pub fn ensure(path: &Path) -> Result<(), LocalError> {
    let io = |what| {
        move |source| LocalError::Io {
            what,
            path: path.to_path_buf(),
            source,
        }
    };
    match fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
    {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(io("create")(error)),
    }
    // Not followed: in a directory that others can write, a link could lead anywhere.
    let there = fs::symlink_metadata(path).map_err(io("look at"))?;
    let wrong = |reason: String| LocalError::Unsafe {
        path: path.to_path_buf(),
        reason,
    };
    if !there.is_dir() {
        return Err(wrong("it is not a directory; move it away".into()));
    }
    if there.uid() != rustix::process::geteuid().as_raw() {
        return Err(wrong(format!(
            "it belongs to user {}, not to us; set XDG_RUNTIME_DIR",
            there.uid()
        )));
    }
    if there.mode() & 0o1000 != 0 {
        return Err(wrong(
            "others share it (its sticky bit is set), and closing it would lock them out; give a directory of its own".into(),
        ));
    }
    if there.mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .map_err(io("close to others"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_follows_the_environment() {
        let runtime =
            |name: &str| (name == "XDG_RUNTIME_DIR").then(|| OsString::from("/run/user/7"));
        assert_eq!(base(runtime, 7, false), Path::new("/run/user/7/hypermesh"));
        assert_eq!(base(|_| None, 0, true), Path::new("/run/hypermesh"));
        assert_eq!(base(|_| None, 7, false), Path::new("/tmp/hypermesh-7"));
        let relative = |name: &str| (name == "TMPDIR").then(|| OsString::from("here"));
        assert_eq!(base(relative, 7, false), Path::new("/tmp/hypermesh-7"));
    }

    #[test]
    fn an_open_directory_is_closed_and_a_link_refused() {
        let place = tempfile::tempdir().unwrap();
        let open = place.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        ensure(&open).unwrap();
        assert_eq!(fs::metadata(&open).unwrap().mode() & 0o777, 0o700);
        let link = place.path().join("link");
        std::os::unix::fs::symlink(&open, &link).unwrap();
        assert!(matches!(ensure(&link), Err(LocalError::Unsafe { .. })));
        let file = place.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(ensure(&file).is_err());
    }

    #[test]
    fn a_directory_that_others_share_is_refused_and_left_open() {
        let place = tempfile::tempdir().unwrap();
        let shared = place.path().join("shared");
        fs::create_dir(&shared).unwrap();
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(matches!(ensure(&shared), Err(LocalError::Unsafe { .. })));
        assert_eq!(fs::metadata(&shared).unwrap().mode() & 0o7777, 0o1777);
    }
}
