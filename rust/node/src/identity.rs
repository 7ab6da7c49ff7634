//! Keeps the node's Ed25519 key in a file that only its owner can read.
//!
//! The file is two lines of text: the format's name with the secret key in hex, and the node id that belongs to it,
//! so that a damaged key is noticed instead of becoming another node.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use hypermesh_id::NodeId;
use zeroize::Zeroizing;

use crate::files;

const FORMAT: &str = "hypermesh-ed25519-key-1";
/// Two lines of known length; anything much longer is another file.
const FILE_BYTES_MAX: u64 = 1_024;

/// Why the identity could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("there is no identity at {}: run `hypermesh init` first", .0.display())]
    Missing(PathBuf),
    #[error("{} already holds an identity; it was left as it is", .0.display())]
    Exists(PathBuf),
    #[error("{} belongs to user {owner}, not to you ({me}): run as that user, or `chown` it", path.display())]
    Owner { path: PathBuf, owner: u32, me: u32 },
    #[error(
        "{} is readable by others (mode {mode:04o}): run `chmod 600 {}`, and make a new node if someone may have \
         copied the key", path.display(), path.display()
    )]
    Mode { path: PathBuf, mode: u32 },
    #[error("{} is not an identity file ({reason}): restore it from a backup; a new key is a new node", path.display())]
    Damaged { path: PathBuf, reason: &'static str },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// The node id that belongs to a key.
pub fn node_id(key: &SigningKey) -> NodeId {
    NodeId(key.verifying_key().to_bytes())
}

/// Makes a new key from the operating system's random source and writes it to `path`, on disk when this returns.
///
/// # Errors
/// [`IdentityError::Exists`] when the file is there already: a key is never replaced.
pub(crate) fn create(path: &Path) -> Result<NodeId, IdentityError> {
    let io = |source| IdentityError::Io {
        path: path.into(),
        source,
    };
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(|error| io(io::Error::other(error)))?;
    let key = SigningKey::from_bytes(&seed);
    let id = node_id(&key);
    let mut text = Zeroizing::new(String::with_capacity(256));
    text.push_str(FORMAT);
    text.push(' ');
    push_hex(&seed, &mut text);
    text.push('\n');
    text.push_str(&id.to_string());
    text.push('\n');
    files::create(path, text.as_bytes()).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => IdentityError::Exists(path.into()),
        _ => io(source),
    })?;
    Ok(id)
}

/// Reads the key, after checking that it is ours and nobody else can read it.
///
/// # Errors
/// Each says what is wrong with the file and how to repair it.
pub fn load(path: &Path) -> Result<SigningKey, IdentityError> {
    let io = |source| IdentityError::Io {
        path: path.into(),
        source,
    };
    let metadata = fs::metadata(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => IdentityError::Missing(path.into()),
        _ => io(source),
    })?;
    let me = rustix::process::geteuid().as_raw();
    if metadata.uid() != me {
        return Err(IdentityError::Owner {
            path: path.into(),
            owner: metadata.uid(),
            me,
        });
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(IdentityError::Mode {
            path: path.into(),
            mode,
        });
    }
    let content = Zeroizing::new(files::read_bounded(path, FILE_BYTES_MAX).map_err(io)?);
    parse(&content).map_err(|reason| IdentityError::Damaged {
        path: path.into(),
        reason,
    })
}

fn parse(content: &[u8]) -> Result<SigningKey, &'static str> {
    let text = std::str::from_utf8(content).map_err(|_| "it is not text")?;
    let mut lines = text.lines();
    let (format, hex) = lines
        .next()
        .and_then(|line| line.split_once(' '))
        .ok_or("its first line is not a key")?;
    if format != FORMAT {
        return Err("its first line does not name a known format");
    }
    let id: NodeId = lines
        .next()
        .and_then(|line| line.parse().ok())
        .ok_or("its second line is not a node id")?;
    let hex = hex.as_bytes();
    if hex.len() != 64 {
        return Err("the key does not have 64 hex digits");
    }
    let mut seed = Zeroizing::new([0_u8; 32]);
    for (byte, pair) in seed.iter_mut().zip(hex.chunks_exact(2)) {
        let high = char::from(pair[0])
            .to_digit(16)
            .ok_or("the key is not hex")?;
        let low = char::from(pair[1])
            .to_digit(16)
            .ok_or("the key is not hex")?;
        *byte = (high * 16 + low) as u8;
    }
    let key = SigningKey::from_bytes(&seed);
    if node_id(&key) != id {
        return Err("the key does not belong to the node id beside it");
    }
    Ok(key)
}

fn push_hex(bytes: &[u8; 32], text: &mut String) {
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(u32::from(nibble), 16));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_and_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.key");
        assert!(matches!(load(&path), Err(IdentityError::Missing(_))));
        let id = create(&path).unwrap();
        assert_eq!(node_id(&load(&path).unwrap()), id);
        assert!(matches!(create(&path), Err(IdentityError::Exists(_))));
        assert_eq!(node_id(&load(&path).unwrap()), id);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.key");
        create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = load(&path).unwrap_err();
        assert!(matches!(error, IdentityError::Mode { mode: 0o640, .. }));
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }

    #[test]
    fn damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.key");
        create(&path).unwrap();
        let whole = fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[FORMAT.len() + 1] = if whole[FORMAT.len() + 1] == b'0' {
            b'1'
        } else {
            b'0'
        };
        for content in [&b""[..], b"\xff\n", b"hello\n", &whole[..40], &flipped] {
            fs::write(&path, content).unwrap();
            assert!(
                matches!(load(&path), Err(IdentityError::Damaged { .. })),
                "{content:?}"
            );
        }
        fs::write(&path, vec![b'a'; 4_096]).unwrap();
        assert!(load(&path).is_err());
    }
}
