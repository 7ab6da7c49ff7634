//! The floor of local coordination: a blocking ping-pong over a Unix socket, two processes.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode};

use crate::cpu;
use crate::record::BenchError;

/// The word that makes this binary the echo server.
pub(crate) const CHILD: &str = "child-unix-echo";

/// Echoes frames of `bytes` bytes to one client after the other until it is killed.
pub(crate) fn serve(path: &str, bytes: &str, processor: &str) -> ExitCode {
    let serve = || -> std::io::Result<()> {
        cpu::pin(processor.parse().map_err(std::io::Error::other)?)?;
        let size: usize = bytes.parse().map_err(std::io::Error::other)?;
        let mut buffer = vec![0; size];
        for stream in UnixListener::bind(path)?.incoming() {
            let mut stream = stream?;
            while stream.read_exact(&mut buffer).is_ok() {
                stream.write_all(&buffer)?;
            }
        }
        Ok(())
    };
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{CHILD}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// An echo server in its own process and a connection to it.
#[derive(Debug)]
pub(crate) struct Echo {
    server: Child,
    stream: UnixStream,
    buffer: Vec<u8>,
}

impl Echo {
    pub(crate) fn start(
        directory: &Path,
        bytes: usize,
        processor: usize,
    ) -> Result<Self, BenchError> {
        let path = directory.join(format!("echo-{processor}.sock"));
        let mut server = Command::new(std::env::current_exe()?)
            .args([CHILD, &path.to_string_lossy()])
            .args([bytes.to_string(), processor.to_string()])
            .spawn()?;
        // The socket appears when the server listens; a server that ended never will.
        let stream = loop {
            match UnixStream::connect(&path) {
                Ok(stream) => break stream,
                Err(error) => {
                    if let Some(status) = server.try_wait()? {
                        return Err(BenchError::new(format!("echo server: {status}, {error}")));
                    }
                    std::thread::yield_now();
                }
            }
        };
        Ok(Self {
            server,
            stream,
            buffer: vec![7; bytes],
        })
    }

    /// One round trip.
    pub(crate) fn ping(&mut self) -> std::io::Result<()> {
        self.stream.write_all(&self.buffer)?;
        self.stream.read_exact(&mut self.buffer)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // The server has no state: killing it is its normal end.
        if self.server.kill().is_ok() {
            drop(self.server.wait());
        }
    }
}
