//! The socket of `ifrd` under callers that lie, wait, vanish, or do not read.

use std::process::Command;
use std::time::Duration;

use hypermesh_testkit::{Random, until};
use rustix::process::Signal;

use super::{
    CANCEL, Client, ERROR, Frame, GET, GET_MANY, GOAWAY, HELLO, Ifrd, PING, PONG, PUT, PUT_MANY,
    REPLY, REQUEST, STATS, WAIT, batch_body, frame, key, key_body, put_body, value,
};
use crate::Outcome;

const DEADLINE: i32 = -9;
const BUSY: i32 = -10;
const CLOSED: i32 = -11;
const BAD_BODY: i32 = -113;
const UNEXPECTED_FRAME: i32 = -114;

fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

#[test]
fn calls_deadlines_cancels_and_pings() -> Outcome {
    let ifrd = Ifrd::start(&[])?;
    let mut client = ifrd.client()?;
    assert_eq!(client.ok(PUT, &put_body(&key(1), &value(1)))?, b"");
    assert_eq!(client.ok(PUT, &put_body(&key(1), &value(2)))?, value(1));
    assert_eq!(client.get(&key(1))?, Some(value(2)));
    // A deadline that has passed.
    client.send(&frame(REQUEST, GET, 5, now_ns() - 1, &key_body(&key(1))))?;
    assert!(matches!(
        client.read()?,
        Some(Frame {
            kind: ERROR,
            status: DEADLINE,
            id: 5,
            ..
        })
    ));
    // One that passes while the disk is waited for, or not: one answer either way.
    for id in 10..60 {
        client.send(&frame(
            REQUEST,
            PUT,
            id,
            now_ns() + 100_000,
            &put_body(&key(id), &value(id)),
        ))?;
        let answer = client.read()?.ok_or("closed")?;
        assert_eq!(answer.id, id);
        assert!(
            answer.kind == REPLY || answer.status == DEADLINE,
            "{answer:?}"
        );
    }
    // A cancel meets the put in flight or comes too late; the next answer is the ping's.
    client.send(&frame(REQUEST, PUT, 70, 0, &put_body(&key(70), &value(70))))?;
    client.send(&frame(CANCEL, 0, 70, 0, &[]))?;
    assert_eq!(client.read()?.ok_or("closed")?.id, 70);
    client.send(&frame(CANCEL, 0, 71, 0, &[]))?;
    client.send(&frame(PING, 0, 72, 0, &[]))?;
    assert!(matches!(
        client.read()?,
        Some(Frame {
            kind: PONG,
            id: 72,
            ..
        })
    ));
    let wrong = client.call(GET, &[1; 7])?;
    assert_eq!((wrong.kind, wrong.status), (ERROR, BAD_BODY));
    // A second HELLO ends the connection, with a reason.
    client.send(&frame(HELLO, 0, 0, 0, &[]))?;
    let last = client.read()?.ok_or("no reason")?;
    assert_eq!(
        (last.kind, last.status, last.id),
        (ERROR, UNEXPECTED_FRAME, 0)
    );
    assert!(client.read()?.is_none());
    Ok(())
}

#[test]
fn a_stop_answers_what_was_accepted() -> Outcome {
    let mut ifrd = Ifrd::start(&[])?;
    let mut client = ifrd.client()?;
    let mut idle = ifrd.client()?;
    let mut requests = Vec::new();
    for id in 1..=500 {
        requests.extend(frame(REQUEST, PUT, id, 0, &put_body(&key(id), &value(id))));
    }
    client.send(&requests)?;
    // The first answer shows that they have arrived.
    let mut answered = vec![client.read()?.ok_or("closed")?.id];
    ifrd.signal(Signal::TERM);
    let (mut leaving, mut farewell) = (false, false);
    while let Some(frame) = client.read()? {
        assert!(!farewell, "a frame after the last");
        match (frame.kind, frame.id) {
            (REPLY, id) => answered.push(id),
            (ERROR, id) => {
                assert_eq!(frame.status, CLOSED);
                // What is open then was not taken, although it was sent.
                farewell = id == 0;
            }
            (GOAWAY, _) => leaving = true,
            other => return Err(format!("a frame {other:?}")),
        }
    }
    assert!(leaving && farewell);
    assert!(matches!(idle.read()?, Some(Frame { kind: GOAWAY, .. })));
    let last = idle.read()?.ok_or("no farewell")?;
    assert_eq!((last.kind, last.status, last.id), (ERROR, CLOSED, 0));
    assert!(idle.read()?.is_none());
    let status = ifrd.wait()?;
    assert!(status.success(), "{status}\n{}", ifrd.log());
    assert!(!ifrd.socket().exists());
    ifrd.begin()?;
    let mut client = ifrd.client()?;
    for id in 1..=500 {
        let expected = answered.contains(&id).then(|| value(id));
        assert_eq!(client.get(&key(id))?, expected, "request {id}");
    }
    Ok(())
}

#[test]
fn garbage_and_lies_harm_nobody_else() -> Outcome {
    let ifrd = Ifrd::start(&[])?;
    let mut good = ifrd.client()?;
    let mut random = Random::new(63);
    let mut held = Vec::new();
    for number in 0..3_000u64 {
        let mut client = Client::silent(&ifrd.socket())?;
        let mut bytes = match number % 4 {
            0 => Vec::new(),
            1 => frame(HELLO, 0, 0, 0, &[]),
            // A frame that promises 16 MiB and brings little.
            2 => [
                frame(HELLO, 0, 0, 0, &[]),
                (16u32 << 20).to_le_bytes().to_vec(),
            ]
            .concat(),
            // A body that lies about its count.
            _ => {
                let mut body = batch_body([key(1)].iter().map(<[u8; 32]>::as_slice));
                body[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
                [
                    frame(HELLO, 0, 0, 0, &[]),
                    frame(REQUEST, GET_MANY, 1, 0, &body),
                ]
                .concat()
            }
        };
        let count = random.below(200) as usize;
        bytes.extend(random.bytes(count));
        // It may be sent away before it has said all.
        let _ = client.send(&bytes);
        if number % 20 == 0 {
            held.push(client);
        }
        if number % 500 == 0 {
            good.ok(PUT, &put_body(&key(number), &value(number)))?;
        }
    }
    assert_eq!(good.get(&key(500))?, Some(value(500)));
    let resident = ifrd.resident_bytes();
    assert!(resident < 64 << 20, "{resident} bytes resident");
    Ok(())
}

#[test]
fn who_does_not_read_is_not_read_either() -> Outcome {
    let ifrd = Ifrd::start(&["--durability", "none"])?;
    let mut good = ifrd.client()?;
    let keys: Vec<[u8; 32]> = (0..4_096).map(key).collect();
    let body = batch_body(keys.iter().map(<[u8; 32]>::as_slice));
    // Each answer has 64 KiB and more; 256 MiB are asked for, and nothing is read meanwhile.
    let mut slow = ifrd.client()?;
    let mut writer = Client {
        stream: slow.stream.try_clone().map_err(|error| error.to_string())?,
        input: Vec::new(),
    };
    let sender = std::thread::spawn(move || {
        for id in 1..=4_000 {
            writer.request(GET_MANY, id, &body)?;
        }
        Ok::<(), String>(())
    });
    let mut most = 0;
    for number in 0..2_000 {
        good.ok(PUT, &put_body(&key(number), &value(number)))?;
        most = most.max(ifrd.resident_bytes());
    }
    assert!(most < 64 << 20, "{most} bytes resident");
    let mut next = 1;
    while next <= 4_000 {
        let answer = slow.read()?.ok_or("closed")?;
        assert_eq!((answer.kind, answer.id), (REPLY, next));
        next += 1;
    }
    sender.join().map_err(|_| "the sender failed")?
}

#[test]
fn it_survives_without_descriptors() -> Outcome {
    let ifrd = Ifrd::start_under("ulimit -n 24", &[])?;
    let mut clients = Vec::new();
    let mut turned_away = 0;
    for _ in 0..40 {
        let mut client = Client::silent(&ifrd.socket())?;
        let _ = client.send(&frame(HELLO, 0, 0, 0, &[]));
        client
            .stream
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        match client.read() {
            Ok(Some(Frame { kind: HELLO, .. })) => clients.push(client),
            Ok(Some(Frame {
                kind: ERROR,
                status: BUSY,
                ..
            })) => turned_away += 1,
            // It waits in the queue.
            _ => {}
        }
    }
    assert!(
        turned_away > 0 && clients.len() > 5,
        "{turned_away} {}",
        clients.len()
    );
    // Those that are in are served; those that come later, when some have left.
    clients[0].ok(PUT, &put_body(&key(1), &value(1)))?;
    clients.clear();
    until("a connection again", WAIT, || {
        let Ok(mut client) = ifrd.client() else {
            return Ok(None);
        };
        Ok(client.get(&key(1)).ok())
    })?;
    Ok(())
}

#[test]
fn a_thousand_connections_are_served() -> Outcome {
    let ifrd = Ifrd::start(&[])?;
    let mut clients: Vec<Client> = (0..1_000)
        .map(|_| ifrd.client())
        .collect::<Result<_, _>>()?;
    for (number, client) in clients.iter_mut().enumerate() {
        client.request(PUT, 1, &put_body(&key(number as u64), &value(7)))?;
    }
    for client in &mut clients {
        let answer = client.read()?.ok_or("closed")?;
        assert_eq!((answer.kind, answer.id), (REPLY, 1));
    }
    let resident = ifrd.resident_bytes();
    assert!(resident < 48 << 20, "{resident} bytes resident");
    Ok(())
}

#[test]
fn it_says_how_it_is_used() -> Outcome {
    let ifrd = Ifrd::start(&["--connections-max", "3"])?;
    let run = |arguments: &[&str]| {
        Command::new(&ifrd.program)
            .args(arguments)
            .output()
            .unwrap()
    };
    let help = run(&["--help"]);
    assert!(help.status.success());
    assert!(String::from_utf8_lossy(&help.stdout).contains("--durability none"));
    for wrong in [
        &["--socket"][..],
        &["--colour"],
        &["--socket", "a"],
        &["--socket=a", "--dir=b", "--bytes-max=7X"],
    ] {
        let output = run(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("ifrd --help"));
    }
    // Whoever started it may still count: a process that another test starts holds its descriptors for a moment.
    let mut clients = Vec::new();
    until("three connections", WAIT, || {
        clients.extend(ifrd.client().ok());
        Ok((clients.len() == 3).then_some(()))
    })?;
    let mut fourth = Client::silent(&ifrd.socket())?;
    assert!(matches!(
        fourth.read()?,
        Some(Frame {
            kind: ERROR,
            status: BUSY,
            id: 0,
            ..
        })
    ));
    drop(clients);
    Ok(())
}

#[test]
fn a_full_table_says_how_far_it_came() -> Outcome {
    let mut ifrd = Ifrd::start(&["--bytes-max", "256K"])?;
    let mut client = ifrd.client()?;
    let items: Vec<Vec<u8>> = (0..4_096)
        .map(|number| [value(number).as_slice(), &key(number)].concat())
        .collect();
    let done = client.ok(PUT_MANY, &batch_body(items.iter().map(Vec::as_slice)))?;
    let count = u64::from(u32::from_le_bytes(done[..4].try_into().unwrap()));
    assert!(count > 1_000 && count < 4_096, "{count}");
    assert_eq!(i32::from_le_bytes(done[8..12].try_into().unwrap()), -5);
    assert_eq!(client.get(&key(count - 1))?, Some(value(count - 1)));
    assert_eq!(client.get(&key(count))?, None);
    let stats = client.ok(STATS, &[])?;
    assert_eq!(u64::from_le_bytes(stats[..8].try_into().unwrap()), count);
    // The log has what was done and no more; other seeds may need a little more room.
    ifrd.kill();
    ifrd.options = vec!["--bytes-max".into(), "512K".into()];
    ifrd.begin()?;
    let stats = ifrd.client()?.ok(STATS, &[])?;
    assert_eq!(u64::from_le_bytes(stats[..8].try_into().unwrap()), count);
    Ok(())
}

#[test]
fn examples_put_and_get() -> Outcome {
    let ifrd = Ifrd::start(&[])?;
    let built = ifrd.program.parent().unwrap();
    for program in ["ifr-example", "examples/ifrd", "ffi/ffi-examples-ifrd"] {
        let path = built.join(program);
        if !path.is_file() {
            crate::could_not(&format!(
                "{program} is not built: ./make test-ffi and build-zig build them"
            ))?;
            continue;
        }
        let output = Command::new(&path)
            .arg(ifrd.socket())
            .output()
            .map_err(|error| error.to_string())?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(output.status.success(), "{program}: {text}");
        assert!(
            text.contains("route/7: by way of node 4"),
            "{program}: {text}"
        );
        assert!(
            text.contains("1 of 2 digests: segment 3, off 9"),
            "{program}: {text}"
        );
    }
    Ok(())
}

#[test]
fn examples_of_records_say_the_same() -> Outcome {
    let ifrd = Ifrd::start(&[])?;
    let built = ifrd.program.parent().unwrap();
    for program in [
        "examples/ifrd",
        "records",
        "ifr-flow-example",
        "ffi/ffi-examples-ifr_flow",
    ] {
        let path = built.join(program);
        if !path.is_file() {
            crate::could_not(&format!(
                "{program} is not built: ./make test-ffi, build-go and build-zig build them"
            ))?;
            continue;
        }
        let output = Command::new(&path)
            .arg(ifrd.socket())
            .output()
            .map_err(|error| error.to_string())?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(output.status.success(), "{program}: {text}");
        for line in [
            "record: 4096 bytes",
            "no record: ask ",
            "1 record in 8388608 bytes at most",
        ] {
            assert!(text.contains(line), "{program}: {text}");
        }
    }
    Ok(())
}
