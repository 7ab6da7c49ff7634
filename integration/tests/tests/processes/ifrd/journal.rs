//! What was acknowledged is there after a kill at any moment, and damage is told from a write that was cut short.

use hypermesh_testkit::Random;

use super::{
    Client, GET_MANY, Ifrd, PUT, PUT_MANY, REMOVE, REPLY, REQUEST, SNAPSHOT, batch_body, frame,
    key, key_body, put_body, value,
};
use crate::Outcome;

const KEYS: u64 = 300;
const ROUNDS: u64 = 60;
const IN_FLIGHT: u64 = 64;

/// States of one key since the daemon started: the first is what it held then, the others what it was told in order.
#[derive(Clone)]
struct History {
    states: Vec<Option<[u8; 16]>>,
    /// The newest that was acknowledged.
    acknowledged: usize,
}

/// What a request does: keys, and the state that each is in afterwards.
type Change = Vec<(u64, usize)>;

struct Model {
    keys: Vec<History>,
    /// By request id.
    sent: Vec<Change>,
    next_value: u64,
}

impl Model {
    fn new() -> Model {
        let empty = History {
            states: vec![None],
            acknowledged: 0,
        };
        Model {
            keys: vec![empty; KEYS as usize],
            sent: Vec::new(),
            next_value: 1,
        }
    }

    fn tell(&mut self, number: u64, state: Option<[u8; 16]>) -> (u64, usize) {
        let history = &mut self.keys[number as usize];
        history.states.push(state);
        (number, history.states.len() - 1)
    }

    fn fresh(&mut self) -> [u8; 16] {
        self.next_value += 1;
        value(self.next_value)
    }

    /// The next request: a put, a removal or a batch of puts, on keys that come again and again.
    fn request(&mut self, random: &mut Random) -> Vec<u8> {
        let mut change = Change::new();
        let (method, body) = match random.below(8) {
            0 => {
                let number = random.below(KEYS);
                change.push(self.tell(number, None));
                (REMOVE, key_body(&key(number)))
            }
            1 => {
                let first = random.below(KEYS);
                let mut items = Vec::new();
                for number in (first..KEYS).take(1 + random.below(100) as usize) {
                    let value = self.fresh();
                    change.push(self.tell(number, Some(value)));
                    items.push([value.as_slice(), &key(number)].concat());
                }
                (PUT_MANY, batch_body(items.iter().map(Vec::as_slice)))
            }
            _ => {
                let (number, value) = (random.below(KEYS), self.fresh());
                change.push(self.tell(number, Some(value)));
                (PUT, put_body(&key(number), &value))
            }
        };
        self.sent.push(change);
        frame(REQUEST, method, self.sent.len() as u64, 0, &body)
    }

    fn acknowledge(&mut self, id: u64) {
        let Some(change) = self.sent.get(id.wrapping_sub(1) as usize) else {
            return;
        };
        for (number, state) in change {
            let history = &mut self.keys[*number as usize];
            history.acknowledged = history.acknowledged.max(*state);
        }
    }

    /// Every key is in a state that it was told, not before the one that was acknowledged. What it holds is the start of
    /// what follows.
    fn check(&mut self, client: &mut Client, round: u64) -> Outcome {
        let keys: Vec<[u8; 32]> = (0..KEYS).map(key).collect();
        let body = client.ok(GET_MANY, &batch_body(keys.iter().map(<[u8; 32]>::as_slice)))?;
        let values = &body[8 + KEYS.div_ceil(64) as usize * 8..];
        for (number, history) in self.keys.iter_mut().enumerate() {
            let is_there = body[8 + number / 8] >> (number % 8) & 1 == 1;
            let found: Option<[u8; 16]> =
                is_there.then(|| values[16 * number..][..16].try_into().unwrap());
            let allowed = &history.states[history.acknowledged..];
            if !allowed.contains(&found) {
                return Err(format!(
                    "round {round}, key {number}: {found:?} is none of {allowed:?}"
                ));
            }
            *history = History {
                states: vec![found],
                acknowledged: 0,
            };
        }
        self.sent.clear();
        Ok(())
    }
}

fn kill_again_and_again(options: &[&str], seed: u64) -> Outcome {
    let mut ifrd = Ifrd::start(options)?;
    let mut random = Random::new(seed);
    let mut model = Model::new();
    let mut answered = 0;
    for round in 0..ROUNDS {
        let mut client = ifrd.client()?;
        // Before, between and after answers; a snapshot is under way in every third round.
        let answers = random.below(200);
        if round % 3 == 0 {
            client.request(SNAPSHOT, 1 << 40, &[])?;
        }
        let (mut sent, mut got) = (0, 0);
        while got < answers {
            while sent - got < IN_FLIGHT {
                let request = model.request(&mut random);
                client.send(&request)?;
                sent += 1;
            }
            let closed = || format!("round {round}: it closed the connection\n{}", ifrd.log());
            let answer = client.read()?.ok_or_else(closed)?;
            if answer.kind != REPLY {
                return Err(format!("round {round}: {answer:?}"));
            }
            model.acknowledge(answer.id);
            got += 1;
        }
        answered += got;
        ifrd.kill();
        ifrd.begin()
            .map_err(|error| format!("seed {seed}, round {round}: {error}"))?;
        let mut client = ifrd.client()?;
        model
            .check(&mut client, round)
            .map_err(|error| format!("seed {seed}: {error}"))?;
    }
    assert!(answered > ROUNDS * 20, "{answered} answers");
    Ok(())
}

#[test]
fn nothing_acknowledged_is_lost_by_kills() -> Outcome {
    kill_again_and_again(&[], 61)
}

#[test]
fn a_kill_of_the_process_loses_nothing_without_syncs_either() -> Outcome {
    kill_again_and_again(&["--durability", "none"], 62)
}

#[test]
fn the_log_becomes_a_snapshot_while_changes_go_on() -> Outcome {
    let mut ifrd = Ifrd::start(&["--durability", "none"])?;
    let mut client = ifrd.client()?;
    // The same 4,096 keys until the log is some times as long as 16 MiB.
    for round in 0..400u64 {
        let items: Vec<Vec<u8>> = (0..4_096)
            .map(|number| [value(round * 4_096 + number).as_slice(), &key(number)].concat())
            .collect();
        client.ok(PUT_MANY, &batch_body(items.iter().map(Vec::as_slice)))?;
    }
    // The first may end one that is under way, which has all those changes behind its entries.
    client.ok(SNAPSHOT, &[])?;
    client.ok(SNAPSHOT, &[])?;
    drop(client);
    ifrd.kill();
    let snapshot = std::fs::metadata(ifrd.file("snapshot")).map_err(|error| error.to_string())?;
    assert!(snapshot.len() < 4 << 20, "{} bytes", snapshot.len());
    ifrd.begin()?;
    let mut client = ifrd.client()?;
    for number in [0, 1, 4_095] {
        assert_eq!(client.get(&key(number))?, Some(value(399 * 4_096 + number)));
    }
    Ok(())
}

/// A daemon that was stopped with a log of 50 puts, and where their records end.
fn with_log() -> Result<(Ifrd, Vec<u8>), String> {
    let mut ifrd = Ifrd::start(&[])?;
    let mut client = ifrd.client()?;
    for number in 0..50 {
        client.ok(PUT, &put_body(&key(number), &value(number)))?;
    }
    ifrd.kill();
    let log = std::fs::read(ifrd.file("log")).map_err(|error| error.to_string())?;
    Ok((ifrd, log))
}

#[test]
fn a_write_that_was_cut_short_is_cut_off() -> Outcome {
    let (mut ifrd, log) = with_log()?;
    let record_bytes = (log.len() - 24) / 50;
    for cut in [1, 7, record_bytes - 1, record_bytes, record_bytes + 1] {
        std::fs::write(ifrd.file("log"), &log[..log.len() - cut]).unwrap();
        ifrd.begin()?;
        let mut client = ifrd.client()?;
        let left = 50 - cut.div_ceil(record_bytes) as u64;
        assert_eq!(client.get(&key(left - 1))?, Some(value(left - 1)));
        assert_eq!(client.get(&key(left))?, None, "cut by {cut}");
        // It goes on from there.
        client.ok(PUT, &put_body(&key(99), &value(99)))?;
        ifrd.kill();
        ifrd.begin()?;
        assert_eq!(ifrd.client()?.get(&key(99))?, Some(value(99)));
        ifrd.kill();
    }
    Ok(())
}

#[test]
fn damage_is_refused_and_named() -> Outcome {
    let (mut ifrd, log) = with_log()?;
    let record_bytes = (log.len() - 24) / 50;
    for at in [3, 9, 23, 24, 30, 40, 24 + 10 * record_bytes] {
        let mut damaged = log.clone();
        damaged[at] ^= 4;
        std::fs::write(ifrd.file("log"), &damaged).unwrap();
        let (status, text) = ifrd.begin_in_vain()?;
        assert_eq!(status.code(), Some(1), "{text}");
        let record = if at < 24 {
            0
        } else {
            24 + (at - 24) / record_bytes * record_bytes
        };
        let named = format!("file=log offset={record} ");
        assert!(text.contains(&named), "{at}: no '{named}' in {text}");
        // It is left as it was.
        assert_eq!(std::fs::read(ifrd.file("log")).unwrap(), damaged);
    }
    std::fs::write(ifrd.file("log"), &log).unwrap();
    ifrd.begin()?;
    ifrd.client()?.ok(SNAPSHOT, &[])?;
    ifrd.kill();
    let snapshot = std::fs::read(ifrd.file("snapshot")).unwrap();
    for length in [0, 10, snapshot.len() - 8, snapshot.len() - 1] {
        std::fs::write(ifrd.file("snapshot"), &snapshot[..length]).unwrap();
        let (status, text) = ifrd.begin_in_vain()?;
        assert_eq!(status.code(), Some(1), "{text}");
        assert!(text.contains("file=snapshot"), "{length}: {text}");
    }
    // A log without the snapshot that came before it.
    std::fs::remove_file(ifrd.file("snapshot")).unwrap();
    let (status, text) = ifrd.begin_in_vain()?;
    assert_eq!(status.code(), Some(1));
    assert!(text.contains("newer than the snapshot"), "{text}");
    // A crash between the two renames leaves the old log beside the new snapshot.
    std::fs::write(ifrd.file("snapshot"), &snapshot).unwrap();
    std::fs::write(ifrd.file("log"), &log).unwrap();
    std::fs::write(ifrd.file("log.tmp"), b"half").unwrap();
    ifrd.begin()?;
    assert_eq!(ifrd.client()?.get(&key(49))?, Some(value(49)));
    Ok(())
}

#[test]
fn one_directory_has_one_user() -> Outcome {
    let ifrd = Ifrd::start(&[])?;
    let (status, text) = ifrd.begin_in_vain()?;
    assert_eq!(status.code(), Some(1));
    assert!(text.contains("another process serves the socket"), "{text}");
    // The first one is undisturbed.
    ifrd.client().map(drop)
}

#[test]
fn a_full_disk_changes_nothing_and_ends_nothing() -> Outcome {
    // Its directory is on a disk of 2 MiB, in a name space of its own.
    let mount = "mount -t tmpfs -o size=2m,mode=700 tmpfs";
    let may = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-c", &format!("{mount} /mnt")])
        .output();
    if !may.is_ok_and(|output| output.status.success()) {
        return crate::could_not("a small disk cannot be mounted here");
    }
    let shell = format!(
        "mkdir -p \"$4\"; exec unshare --mount sh -c '{mount} \"$4\"; exec \"$0\" \"$@\"' \"$0\" \"$@\""
    );
    let ifrd = Ifrd::start_under(&shell, &[])?;
    let mut client = ifrd.client()?;
    let mut done = Vec::new();
    let mut refused = None;
    for first in (0..200_000u64).step_by(1_000) {
        let items: Vec<Vec<u8>> = (first..first + 1_000)
            .map(|number| [value(number).as_slice(), &key(number)].concat())
            .collect();
        let answer = client.call(PUT_MANY, &batch_body(items.iter().map(Vec::as_slice)))?;
        if answer.kind != REPLY {
            refused = Some((answer.status, first));
            break;
        }
        done.push(first);
    }
    let (status, first) = refused.ok_or("the disk is never full")?;
    assert_eq!(status, -17, "QUOTA");
    assert!(done.len() > 10, "{}", done.len());
    // Nothing of that batch is there, all of the others is, and no snapshot fits.
    assert_eq!(client.get(&key(first))?, None);
    for number in done {
        assert_eq!(client.get(&key(number + 999))?, Some(value(number + 999)));
    }
    assert_eq!(client.call(SNAPSHOT, &[])?.status, -14, "IO");
    assert_eq!(client.get(&key(0))?, Some(value(0)));
    Ok(())
}
