//! The script: what is tried in every cell, in words that know no language.

use std::collections::HashMap;

use mfn_wire::Status;

/// What the referee makes of the HELLO of both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Profile {
    /// Nothing: both speak the version of this tree.
    Current,
    /// The client says version 0.
    OldClient,
    /// The server says version 0.
    OldServer,
    /// Neither says anything of features or limits.
    Fewer,
    /// Both announce the smallest frames, the server two requests at a time.
    Small,
    /// Both announce features and entries that this tree does not know.
    More,
}

const PROFILES: &[(&str, Profile)] = &[
    ("1", Profile::Current),
    ("0-client", Profile::OldClient),
    ("0-server", Profile::OldServer),
    ("1-fewer", Profile::Fewer),
    ("1-small", Profile::Small),
    ("1-more", Profile::More),
];

/// One line.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) line: usize,
    pub(crate) words: Vec<String>,
    /// `name=value` words.
    pub(crate) options: HashMap<String, u64>,
    /// What stands behind the equals sign.
    pub(crate) expected: Vec<String>,
}

/// What is tried with one server and one client.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) name: String,
    pub(crate) profile: Profile,
    /// The server is `ifrd`; else one of the languages' servers.
    pub(crate) of_ifrd: bool,
    pub(crate) steps: Vec<Step>,
}

/// Reads a script.
pub(crate) fn parse(text: &str) -> Result<Vec<Section>, String> {
    let mut sections: Vec<Section> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line_number = index + 1;
        let line = line.split('#').next().unwrap_or_default().trim();
        let mut words = line.split_whitespace();
        match words.next() {
            None => {}
            Some("section") => {
                let wrong = || format!("line {line_number}: section NAME wire=VERSION [ifrd]");
                let name = words.next().ok_or_else(wrong)?;
                let wire = words.next().and_then(|word| word.strip_prefix("wire="));
                let profile = PROFILES.iter().find(|(name, _)| Some(*name) == wire);
                sections.push(Section {
                    name: name.to_owned(),
                    profile: profile.ok_or_else(wrong)?.1,
                    of_ifrd: match words.next() {
                        None => false,
                        Some("ifrd") => true,
                        Some(_) => return Err(wrong()),
                    },
                    steps: Vec::new(),
                });
            }
            Some(_) => {
                let section = sections.last_mut();
                let steps = &mut section.ok_or("a step before the first section")?.steps;
                steps.push(step(line_number, line)?);
            }
        }
    }
    Ok(sections)
}

fn step(line_number: usize, line: &str) -> Result<Step, String> {
    let (asked, expected) = line.split_once(" = ").unwrap_or((line, ""));
    let mut step = Step {
        line: line_number,
        words: Vec::new(),
        options: HashMap::new(),
        expected: expected.split_whitespace().map(str::to_owned).collect(),
    };
    for word in asked.split_whitespace() {
        match word.split_once('=') {
            Some((name, value)) => {
                let value = value.parse().map_err(|_| {
                    format!("line {line_number}: {word}: the value must be a number")
                })?;
                step.options.insert(name.to_owned(), value);
            }
            None => step.words.push(word.to_owned()),
        }
    }
    Ok(step)
}

impl Step {
    pub(crate) fn option(&self, name: &str) -> u64 {
        self.options.get(name).copied().unwrap_or_default()
    }

    pub(crate) fn word(&self, at: usize) -> Result<&str, String> {
        let word = self.words.get(at).map(String::as_str);
        word.ok_or_else(|| format!("line {}: a word is missing", self.line))
    }
}

/// The bytes that a word stands for: `-`, `hello`, or parts such as `u32:7,i32:-2,zeros:100,text:why`.
pub(crate) fn body(word: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    if word == "-" {
        return Ok(bytes);
    }
    for part in word.split(',') {
        let wrong = |_| format!("{part}: no such number");
        match part.split_once(':') {
            Some(("u32", number)) => {
                bytes.extend(number.parse::<u32>().map_err(wrong)?.to_le_bytes());
            }
            Some(("status", name)) => {
                bytes.extend(status(name)?.0.to_le_bytes());
            }
            Some(("zeros", number)) => {
                bytes.resize(bytes.len() + number.parse::<usize>().map_err(wrong)?, 0);
            }
            _ => bytes.extend(part.bytes()),
        }
    }
    Ok(bytes)
}

/// The words of a command about records, `key:N` as the 64 digits of a key that begins with N.
pub(crate) fn records(words: &[String]) -> Result<String, String> {
    let mut line = String::from("records");
    for word in words {
        line.push(' ');
        match word.strip_prefix("key:") {
            None => line.push_str(word),
            Some(first) => {
                let first: u8 = first.parse().map_err(|_| format!("{word}: no key"))?;
                let digits = (0..32u8).map(|at| format!("{:02x}", first.wrapping_add(at * 7)));
                line.extend(digits);
            }
        }
    }
    Ok(line)
}

/// Whether an answer about records is the expected one. `*` stands for any word, the name of a status behind `failed`, or
/// last behind `filled`, for its number; behind a failure stands the daemon's own text.
pub(crate) fn records_agree(answer: &str, expected: &[String]) -> Result<bool, String> {
    let expected = records(expected)?;
    let expected: Vec<&str> = expected.split(' ').skip(1).collect();
    let mut answer: Vec<&str> = answer.split_whitespace().collect();
    if answer.first() == Some(&"failed") {
        answer.truncate(2);
    }
    if answer.len() != expected.len() {
        return Ok(false);
    }
    for (found, wanted) in answer.iter().zip(&expected) {
        let is_name = wanted.starts_with(|letter: char| letter.is_ascii_uppercase());
        let agrees = if is_name {
            *found == status(wanted)?.0.to_string()
        } else {
            *wanted == "*" || found == wanted
        };
        if !agrees {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The status of a name, such as `DEADLINE`.
pub(crate) fn status(name: &str) -> Result<Status, String> {
    let all = (-255..=0).map(Status);
    all.into_iter()
        .find(|status| status.name() == name)
        .ok_or_else(|| format!("{name} is no status"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_read_as_it_is_written() {
        let text = "# words\nsection one wire=0-client\ncall 1 u32:7,ab within=20 = OK hello\n";
        let sections = parse(text).expect("it is well formed");
        let [section] = &sections[..] else {
            panic!("{sections:?}");
        };
        assert_eq!(section.profile, Profile::OldClient);
        let step = &section.steps[0];
        assert_eq!((step.line, step.option("within")), (3, 20));
        assert_eq!(step.words, ["call", "1", "u32:7,ab"]);
        assert_eq!(step.expected, ["OK", "hello"]);
        assert_eq!(body("u32:7,ab").expect("it is a body"), b"\x07\0\0\0ab");
        assert_eq!(status("DEADLINE"), Ok(Status::DEADLINE));
        let agree = |answer, expected: &str| {
            let expected: Vec<String> = expected.split(' ').map(str::to_owned).collect();
            records_agree(answer, &expected)
        };
        assert_eq!(agree("failed -9 too late", "failed DEADLINE"), Ok(true));
        assert_eq!(agree("stats 1 7", "stats 1 *"), Ok(true));
        assert_eq!(agree("stats 2 7", "stats 1 *"), Ok(false));
        assert_eq!(agree("stats 1", "stats 1 *"), Ok(false));
        assert!(parse("call 1 -").is_err() && parse("section one wire=7").is_err());
    }
}
