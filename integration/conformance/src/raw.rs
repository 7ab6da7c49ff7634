//! The runner's own connection to a server: frames as they are, good and bad.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use mfn_wire::{ContentType, Header, Kind, Service, Status};

/// An answer takes no longer, or the test has failed.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(crate) struct Raw {
    stream: UnixStream,
    bytes: Vec<u8>,
    next_id: u64,
}

/// A frame that arrived.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) kind: Kind,
    pub(crate) status: Status,
    pub(crate) request_id: u64,
    pub(crate) body: Vec<u8>,
}

impl Raw {
    /// Connects and exchanges HELLO.
    pub(crate) fn greet(path: &Path) -> io::Result<Self> {
        let mut raw = Self::connect(path)?;
        raw.send(&Header::new(Kind::Hello, Service::State), &[])?;
        match raw.hear()? {
            Some(heard) if heard.kind == Kind::Hello => Ok(raw),
            other => Err(io::Error::other(format!("no HELLO but {other:?}"))),
        }
    }

    pub(crate) fn connect(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            bytes: Vec::new(),
            next_id: 1,
        })
    }

    pub(crate) fn send(&mut self, header: &Header, body: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::new();
        mfn_wire::encode(header, &[], body, &mut bytes).map_err(io::Error::other)?;
        self.stream.write_all(&bytes)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a request of that method; its id.
    pub(crate) fn ask(&mut self, method: u16, body: &[u8], deadline_ns: u64) -> io::Result<u64> {
        let request_id = self.next_id;
        self.next_id += 1;
        let header = Header {
            content_type: if body.is_empty() {
                ContentType::None
            } else {
                ContentType::Bytes
            },
            method,
            request_id,
            deadline_ns,
            ..Header::new(Kind::Request, Service::State)
        };
        self.send(&header, body)?;
        Ok(request_id)
    }

    /// Asks and waits for the answer.
    pub(crate) fn call(&mut self, method: u16, body: &[u8], deadline_ns: u64) -> io::Result<Heard> {
        let id = self.ask(method, body, deadline_ns)?;
        loop {
            match self.hear()? {
                Some(heard) if heard.request_id == id => return Ok(heard),
                Some(_) => {}
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    /// The next frame; `None` at the end.
    pub(crate) fn hear(&mut self) -> io::Result<Option<Heard>> {
        let mut room = [0; 16 << 10];
        loop {
            let length = mfn_wire::frame_length(&self.bytes).map_err(io::Error::other)?;
            if let Some(frame) = length.and_then(|length| self.bytes.get(..length)) {
                let length = frame.len();
                let frame = mfn_wire::decode(frame).map_err(io::Error::other)?;
                let heard = Heard {
                    kind: frame.header.kind,
                    status: frame.header.status,
                    request_id: frame.header.request_id,
                    body: frame.body.to_vec(),
                };
                self.bytes.drain(..length);
                return Ok(Some(heard));
            }
            match self.stream.read(&mut room) {
                Ok(0) => return Ok(None),
                Ok(count) => self
                    .bytes
                    .extend_from_slice(room.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}
