//! Names: paths of segments, such as `films/2026/dune`.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// Most segments of a name.
pub const NAME_SEGMENTS_MAX: usize = 16;

/// A name, which is also the prefix of all names below it. Names are equal when their bytes are; characters that make two
/// texts look the same are refused as far as a fixed table can tell ([`Name::new`]).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name(Arc<str>);

/// Why a text is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    #[error("a name has 1 to {NAME_BYTES_MAX} bytes, not {0}")]
    Length(usize),
    #[error("a name has at most {NAME_SEGMENTS_MAX} segments")]
    Segments,
    #[error("a segment is empty: no '/' at either end, none after another")]
    Empty,
    #[error("'.' and '..' are no segments")]
    Dots,
    #[error("a segment begins or ends with a space")]
    Space,
    #[error(
        "the character U+{0:04X} is not used in names: write it composed (NFC), and without what is invisible"
    )]
    Character(u32),
    #[error("it is not UTF-8")]
    Text,
}

impl Name {
    /// Checks a text: UTF-8, segments parted by `/`, none empty, `.` or `..`. No control, invisible, bidirectional, private or
    /// compatibility characters, no space but U+0020 inside a segment, and no combining marks of the common blocks, so that
    /// letters with accents have their composed form only. The table is fixed: it depends on no version of Unicode.
    ///
    /// # Errors
    /// Names the rule that it breaks.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() || text.len() > NAME_BYTES_MAX {
            return Err(NameError::Length(text.len()));
        }
        for (number, segment) in text.split('/').enumerate() {
            if number >= NAME_SEGMENTS_MAX {
                return Err(NameError::Segments);
            }
            match segment {
                "" => return Err(NameError::Empty),
                "." | ".." => return Err(NameError::Dots),
                _ if segment.starts_with(' ') || segment.ends_with(' ') => {
                    return Err(NameError::Space);
                }
                _ => {}
            }
        }
        match text.chars().find(|character| refused(*character)) {
            Some(character) => Err(NameError::Character(character.into())),
            None => Ok(Self(text.into())),
        }
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, NameError> {
        Self::new(std::str::from_utf8(bytes).map_err(|_| NameError::Text)?)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the other name, or one above it.
    pub fn covers(&self, other: &Self) -> bool {
        other
            .0
            .strip_prefix(&*self.0)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The name above, if there is one.
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(above, _)| Self(above.into()))
    }

    /// The longest name that covers both.
    pub(crate) fn common(&self, other: &Self) -> Option<Self> {
        let mut end = 0;
        let mut at = 0;
        for (mine, theirs) in self.0.split('/').zip(other.0.split('/')) {
            if mine != theirs {
                break;
            }
            end = at + mine.len();
            at = end + 1;
        }
        (end > 0).then(|| Self(self.0[..end].into()))
    }
}

/// By segments: what is below a name follows it directly.
/// Bytes that are compared at once.
const PIECE: usize = size_of::<u128>();

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        // No byte of a name is 0, so that the first byte that differs says it, whatever it is.
        let low = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
        let (mine, _) = self.0.as_bytes().as_chunks::<PIECE>();
        let (theirs, _) = other.0.as_bytes().as_chunks::<PIECE>();
        // Neighbours share most of their bytes.
        for (mine, theirs) in mine.iter().zip(theirs) {
            let differs = u128::from_le_bytes(*mine) ^ u128::from_le_bytes(*theirs);
            if differs != 0 {
                let first = differs.trailing_zeros() as usize / 8;
                return low(&mine[first]).cmp(&low(&theirs[first]));
            }
        }
        let shared = PIECE * mine.len().min(theirs.len());
        let (mine, theirs) = (&self.0.as_bytes()[shared..], &other.0.as_bytes()[shared..]);
        mine.iter().map(low).cmp(theirs.iter().map(low))
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({:?})", &*self.0)
    }
}

impl FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

/// Whether a line of text for people may not hold this character.
pub(crate) fn unprintable(character: char) -> bool {
    let code = u32::from(character);
    matches!(code, 0..=0x1f | 0x7f..=0x9f | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0xfeff)
}

fn refused(character: char) -> bool {
    let code = u32::from(character);
    unprintable(character)
        // Most are before the first of the table.
        || !character.is_ascii()
            && REFUSED
            .binary_search_by(|(first, last)| {
                if code < *first {
                    Ordering::Greater
                } else if code > *last {
                    Ordering::Less
                } else {
                    Ordering::Equal
                }
            })
            .is_ok()
}

/// First and last of the ranges that names do not use, ascending.
const REFUSED: &[(u32, u32)] = &[
    // No-break space and soft hyphen.
    (0x00a0, 0x00a0),
    (0x00ad, 0x00ad),
    // Combining marks; the grapheme joiner is among them.
    (0x0300, 0x036f),
    (0x061c, 0x061c),
    // Conjoining Hangul letters: syllables have one character each.
    (0x1100, 0x11ff),
    (0x1680, 0x1680),
    (0x180b, 0x180f),
    (0x1ab0, 0x1aff),
    (0x1dc0, 0x1dff),
    // Spaces and invisible marks.
    (0x2000, 0x200f),
    (0x2028, 0x202f),
    (0x205f, 0x206f),
    (0x20d0, 0x20ff),
    // Ohm, kelvin and angstrom: other characters' doubles.
    (0x2126, 0x2126),
    (0x212a, 0x212b),
    (0x3000, 0x3000),
    // The marks of kana, and Hangul fillers and letters.
    (0x3099, 0x309a),
    (0x3164, 0x3164),
    (0xa960, 0xa97f),
    (0xd7b0, 0xd7ff),
    // Private use, compatibility ideographs and presentation forms.
    (0xe000, 0xfaff),
    (0xfb00, 0xfdff),
    (0xfe00, 0xfe0f),
    (0xfe20, 0xfe2f),
    (0xfe70, 0xffff),
    (0x2f800, 0x2fa1f),
    // Tags, variation selectors, private planes.
    (0xe0000, 0x0010_ffff),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn paths_are_names() {
        for good in [
            "a",
            "a/b",
            "films/2026/Dune: part 2",
            "größe",
            "日本/東京",
            "한국",
            "a.b/..c",
        ] {
            assert_eq!(name(good).as_str(), good);
        }
        let long = "a/".repeat(16) + "a";
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            ".",
            "a/../b",
            " a",
            "a /b",
            "a\nb",
            "a\u{200b}",
            &long,
        ] {
            assert!(Name::new(bad).is_err(), "{bad:?}");
        }
        assert!(Name::new(&"a".repeat(255)).is_ok());
        assert!(Name::new(&"a".repeat(256)).is_err());
    }

    #[test]
    fn a_letter_has_one_form() {
        assert!(Name::new("gr\u{f6}\u{df}e").is_ok());
        assert!(Name::new("gro\u{308}\u{df}e").is_err());
        for bad in [
            "\u{212b}",
            "\u{ff21}",
            "\u{1100}\u{1161}",
            "\u{f900}",
            "\u{fb01}",
            "\u{e0041}a",
            "a\u{a0}b",
            "\u{202e}a",
        ] {
            assert!(Name::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_below_follows() {
        let mut names: Vec<Name> = ["b", "a/c", "a-b", "a", "a/b/c", "a/b", "a/b-"]
            .map(name)
            .into();
        names.sort();
        let texts: Vec<&str> = names.iter().map(Name::as_str).collect();
        assert_eq!(texts, ["a", "a/b", "a/b/c", "a/b-", "a/c", "a-b", "b"]);
        assert!(name("a").covers(&name("a/b")) && name("a").covers(&name("a")));
        assert!(!name("a").covers(&name("a-b")) && !name("a/b").covers(&name("a")));
        assert_eq!(name("a/b/c").common(&name("a/b-/c")), Some(name("a")));
        assert_eq!(name("a/b/c").common(&name("a/b")), Some(name("a/b")));
        assert_eq!(name("ab").common(&name("a")), None);
    }

    proptest! {
        #[test]
        fn names_are_ordered_by_segments(
            shared in "[a/]{0,40}",
            (one, other) in ("[ab/ !é]{0,20}", "[ab/ !é]{0,20}"),
        ) {
            let name = |text: &str| Name::new(&format!("{shared}{text}"));
            if let (Ok(one), Ok(other)) = (name(&one), name(&other)) {
                let by_segments = one.as_str().split('/').cmp(other.as_str().split('/'));
                prop_assert_eq!(one.cmp(&other), by_segments);
            }
        }
    }
}
