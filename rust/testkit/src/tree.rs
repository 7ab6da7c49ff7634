//! Trees on disk: written from a seed, compared byte for byte.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::{Random, Result, at};

/// What two copies of a tree have in common.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub files: u64,
    pub directories: u64,
    pub symlinks: u64,
    /// Bytes of the files' content.
    pub bytes: u64,
}

/// Writes `files` files of up to `bytes_max` bytes, with symlinks, empty files and directories, and odd modes.
///
/// # Errors
/// What the file system says.
pub fn write(path: &Path, random: &mut Random, files: u64, bytes_max: u64) -> Result<()> {
    let fail = || at(path.display());
    fs::create_dir_all(path.join("empty")).map_err(fail())?;
    fs::write(path.join("nothing"), []).map_err(fail())?;
    symlink("../gone", path.join("dangling")).map_err(fail())?;
    for number in 0..files {
        let directory = path.join(format!("d{}", random.below(8)));
        fs::create_dir_all(&directory).map_err(fail())?;
        let file = directory.join(format!("f{number}"));
        let length = usize::try_from(random.below(bytes_max)).unwrap_or_default();
        fs::write(&file, random.bytes(length)).map_err(fail())?;
        let mode = [0o644, 0o600, 0o755, 0o444][usize::try_from(number % 4).unwrap_or_default()];
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).map_err(fail())?;
        if number % 8 == 0 {
            symlink(format!("f{number}"), directory.join(format!("l{number}"))).map_err(fail())?;
        }
    }
    Ok(())
}

/// Writes one version of a tree of `files` texts: the same seed makes the same texts, and each version adds a line to
/// every one of them. A store keeps the later ones as deltas.
///
/// # Errors
/// What the file system says.
pub fn write_version(
    path: &Path,
    seed: u64,
    version: u64,
    files: u64,
    bytes_max: u64,
) -> Result<()> {
    fs::create_dir_all(path).map_err(at(path.display()))?;
    for number in 0..files {
        let mut random = Random::new(seed.wrapping_mul(1_000) + number);
        let length = usize::try_from(random.below(bytes_max)).unwrap_or_default();
        let text = |bytes: Vec<u8>| -> String {
            bytes.iter().map(|byte| format!("{byte:02x}\n")).collect()
        };
        let mut content = text(random.bytes(length / 3));
        for change in 0..version {
            let place = random.below(content.len() as u64 + 1);
            let place = usize::try_from(place).unwrap_or_default();
            content.insert_str(place, &format!("line of version {change}\n"));
        }
        let file = path.join(format!("f{number}"));
        fs::write(&file, content).map_err(at(file.display()))?;
    }
    Ok(())
}

/// Compares names, kinds, modes, targets and content. Sockets, devices and pipes of the source are left out, as
/// `put` leaves them out.
///
/// # Errors
/// The first difference.
pub fn compare(source: &Path, copy: &Path) -> Result<Counts> {
    let mut counts = Counts::default();
    let mut pairs = vec![(source.to_owned(), copy.to_owned())];
    while let Some((ours, theirs)) = pairs.pop() {
        let a = fs::symlink_metadata(&ours).map_err(at(ours.display()))?;
        let b = fs::symlink_metadata(&theirs).map_err(at(theirs.display()))?;
        if a.file_type() != b.file_type() {
            return Err(format!("{} is of another kind in the copy", ours.display()));
        }
        if a.is_symlink() {
            let (a, b) = (fs::read_link(&ours), fs::read_link(&theirs));
            if a.map_err(at(ours.display()))? != b.map_err(at(theirs.display()))? {
                return Err(format!("{} leads elsewhere in the copy", ours.display()));
            }
            counts.symlinks += 1;
            continue;
        }
        let modes = (
            a.permissions().mode() & 0o777,
            b.permissions().mode() & 0o777,
        );
        if modes.0 != modes.1 {
            let text = format!(
                "{}: mode {:o}, in the copy {:o}",
                ours.display(),
                modes.0,
                modes.1
            );
            return Err(text);
        }
        if a.is_dir() {
            counts.directories += 1;
            let (a, b) = (names(&ours)?, names(&theirs)?);
            if let Some(name) = a.keys().find(|name| !b.contains_key(*name)) {
                return Err(format!("{} is not in the copy", ours.join(name).display()));
            }
            if let Some(name) = b.keys().find(|name| !a.contains_key(*name)) {
                return Err(format!(
                    "{} is in the copy only",
                    theirs.join(name).display()
                ));
            }
            pairs.extend(a.into_iter().map(|(name, path)| (path, theirs.join(name))));
        } else {
            counts.files += 1;
            counts.bytes += same_content(&ours, &theirs)?;
        }
    }
    Ok(counts)
}

/// Entries of a directory that a copy has too.
fn names(path: &Path) -> Result<BTreeMap<OsString, PathBuf>> {
    let mut names = BTreeMap::new();
    for entry in fs::read_dir(path).map_err(at(path.display()))? {
        let entry = entry.map_err(at(path.display()))?;
        let kind = entry.file_type().map_err(at(entry.path().display()))?;
        if kind.is_file() || kind.is_dir() || kind.is_symlink() {
            names.insert(entry.file_name(), entry.path());
        }
    }
    Ok(names)
}

fn same_content(ours: &Path, theirs: &Path) -> Result<u64> {
    let mut a = File::open(ours).map_err(at(ours.display()))?;
    let mut b = File::open(theirs).map_err(at(theirs.display()))?;
    let (mut left, mut right) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut total = 0;
    loop {
        let n = fill(&mut a, &mut left).map_err(at(ours.display()))?;
        let m = fill(&mut b, &mut right).map_err(at(theirs.display()))?;
        if n != m || left.get(..n) != right.get(..m) {
            return Err(format!("{} has other content in the copy", ours.display()));
        }
        if n == 0 {
            return Ok(total);
        }
        total += n as u64;
    }
}

fn fill(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest)? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

/// Makes a second version: about one file in `one_in` gets a changed middle, a longer end, or goes away; one is new.
/// How many files changed.
///
/// # Errors
/// What the file system says.
pub fn edit(path: &Path, random: &mut Random, one_in: u64) -> Result<u64> {
    let mut files = Vec::new();
    let mut directories = vec![path.to_owned()];
    while let Some(directory) = directories.pop() {
        for (_, path) in names(&directory)? {
            let meta = fs::symlink_metadata(&path).map_err(at(path.display()))?;
            if meta.is_dir() {
                directories.push(path);
            } else if meta.is_file() {
                files.push(path);
            }
        }
    }
    files.sort();
    let mut changed = 1;
    fs::write(path.join("a-new-file"), random.bytes(10_000)).map_err(at(path.display()))?;
    for (number, file) in files.iter().enumerate() {
        // The first always changes: a second version that is the first is no test.
        if number > 0 && random.below(one_in) != 0 {
            continue;
        }
        changed += 1;
        if number > 0 && random.below(8) == 0 {
            fs::remove_file(file).map_err(at(file.display()))?;
            continue;
        }
        let mode = fs::metadata(file)
            .map_err(at(file.display()))?
            .permissions();
        let mut content = fs::read(file).map_err(at(file.display()))?;
        let middle = content.len() / 2;
        if let Some(byte) = content.get_mut(middle) {
            *byte = byte.wrapping_add(1);
        }
        content.extend_from_slice(b"\nedited\n");
        // Written anew: a file that nobody may write can still be replaced.
        fs::remove_file(file).map_err(at(file.display()))?;
        fs::write(file, content).map_err(at(file.display()))?;
        fs::set_permissions(file, mode).map_err(at(file.display()))?;
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (directory.path().join("a"), directory.path().join("b"));
        for path in [&a, &b] {
            write(path, &mut Random::new(1), 20, 2_000).unwrap();
        }
        let counts = compare(&a, &b).unwrap();
        assert_eq!(counts.files, 21);
        assert_eq!(counts.symlinks, 4);
        fs::set_permissions(b.join("nothing"), fs::Permissions::from_mode(0o600)).unwrap();
        assert!(compare(&a, &b).unwrap_err().contains("mode"));
        fs::set_permissions(b.join("nothing"), fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(a.join("nothing"), "x").unwrap();
        assert!(compare(&a, &b).unwrap_err().contains("content"));
    }

    #[test]
    fn an_edit_changes_something() {
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (directory.path().join("a"), directory.path().join("b"));
        for path in [&a, &b] {
            write(path, &mut Random::new(2), 20, 2_000).unwrap();
        }
        assert!(edit(&b, &mut Random::new(3), 5).unwrap() > 1);
        assert!(compare(&a, &b).is_err());
    }
}
