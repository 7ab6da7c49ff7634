//! Redis over its Unix socket, without persistence or with a log that is synced, asked in pipelines, as its users do for
//! speed.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::record::BenchError;

/// A server of its own, which ends with this.
pub(crate) struct Redis {
    process: Child,
    stream: BufReader<UnixStream>,
    out: Vec<u8>,
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It has no state: killing it is its normal end.
        if self.process.kill().is_ok() {
            drop(self.process.wait());
        }
    }
}

impl Redis {
    /// Starts `redis-server` on one processor; `None` when it is not installed. Durable: each pipeline waits for the disk.
    pub(crate) fn start(
        place: &Path,
        processor: usize,
        durable: bool,
    ) -> Result<Option<Self>, BenchError> {
        let path = place.join("redis.sock");
        let log = if durable { "yes" } else { "no" };
        let spawned = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendfsync", "always"])
            .args(["--appendonly", log])
            .arg("--unixsocket")
            .arg(&path)
            .current_dir(place)
            .stdout(Stdio::null())
            .spawn();
        let process = match spawned {
            Ok(process) => process,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        pin(&process, processor)?;
        let until = Instant::now() + Duration::from_secs(10);
        let stream = loop {
            match UnixStream::connect(&path) {
                Ok(stream) => break stream,
                // It is still starting.
                Err(_) if Instant::now() < until => std::thread::yield_now(),
                Err(error) => return Err(error.into()),
            }
        };
        Ok(Some(Self {
            process,
            stream: BufReader::with_capacity(256 << 10, stream),
            out: Vec::new(),
        }))
    }

    /// Sets all keys to one value, in pipelines.
    pub(crate) fn load(&mut self, keys: &[[u8; 32]], value: &[u8]) -> Result<(), BenchError> {
        for keys in keys.chunks(128) {
            for key in keys {
                self.command(&[b"SET", key, value])?;
            }
            self.send()?;
            for _ in keys {
                let mut line = String::new();
                self.stream.read_line(&mut line)?;
                if line != "+OK\r\n" {
                    return Err(BenchError::new(format!("redis answers {line}")));
                }
            }
        }
        Ok(())
    }

    /// One GET per key, `depth` of them per write; answers how many were found.
    pub(crate) fn get(&mut self, keys: &[[u8; 32]], depth: usize) -> Result<usize, BenchError> {
        let mut found = 0;
        for keys in keys.chunks(depth) {
            for key in keys {
                self.command(&[b"GET", key])?;
            }
            self.send()?;
            for _ in keys {
                found += usize::from(self.value()?);
            }
        }
        Ok(found)
    }

    /// One MGET per `count` keys.
    pub(crate) fn get_many(
        &mut self,
        keys: &[[u8; 32]],
        count: usize,
    ) -> Result<usize, BenchError> {
        let mut found = 0;
        for keys in keys.chunks(count) {
            let mut words: Vec<&[u8]> = vec![b"MGET"];
            words.extend(keys.iter().map(|key| key.as_slice()));
            self.command(&words)?;
            self.send()?;
            self.head(b'*')?;
            for _ in keys {
                found += usize::from(self.value()?);
            }
        }
        Ok(found)
    }

    fn command(&mut self, words: &[&[u8]]) -> Result<(), BenchError> {
        write!(self.out, "*{}\r\n", words.len())?;
        for word in words {
            write!(self.out, "${}\r\n", word.len())?;
            self.out.extend(*word);
            self.out.extend(b"\r\n");
        }
        Ok(())
    }

    fn send(&mut self) -> Result<(), BenchError> {
        self.stream.get_mut().write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// The number after a type byte; −1 is "nothing".
    fn head(&mut self, kind: u8) -> Result<i64, BenchError> {
        let (mut number, mut negative) = (0, false);
        let mut first = [0];
        self.stream.read_exact(&mut first)?;
        loop {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            match byte[0] {
                b'-' => negative = true,
                b'\r' => {}
                b'\n' => break,
                digit => number = number * 10 + i64::from(digit.wrapping_sub(b'0')),
            }
        }
        if first != [kind] {
            return Err(BenchError::new("redis answers something else"));
        }
        Ok(if negative { -number } else { number })
    }

    fn value(&mut self) -> Result<bool, BenchError> {
        let length = self.head(b'$')?;
        if length < 0 {
            return Ok(false);
        }
        let mut value = [0; 64];
        let wanted = usize::try_from(length)? + 2;
        let room = value
            .get_mut(..wanted)
            .ok_or_else(|| BenchError::new("redis answers a longer value"))?;
        self.stream.read_exact(room)?;
        Ok(true)
    }
}

/// Keeps a process on one processor.
pub(crate) fn pin(process: &Child, processor: usize) -> Result<(), BenchError> {
    let mut set = CpuSet::new();
    set.set(processor);
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
    Ok(sched_setaffinity(pid, &set)?)
}
