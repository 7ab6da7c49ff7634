//! Frames on QUIC streams.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quinn::{Connection, ReadExactError, RecvStream, SendStream};
use stoq_proto::{FRAME_HEADER_BYTES, Frame, Message};

use crate::error::StoqError;

/// Reads one frame; `None` at the end of the stream.
pub(crate) async fn read(stream: &mut RecvStream) -> Result<Option<Message>, StoqError> {
    Ok(read_counted(stream).await?.map(|(message, _)| message))
}

/// As [`read`], with the bytes that the frame took.
pub(crate) async fn read_counted(
    stream: &mut RecvStream,
) -> Result<Option<(Message, u64)>, StoqError> {
    let mut header = [0; FRAME_HEADER_BYTES];
    match stream.read_exact(&mut header).await {
        Ok(()) => {}
        Err(ReadExactError::FinishedEarly(0)) => return Ok(None),
        Err(error) => return Err(early(error)),
    }
    let frame = Frame::decode(header)?;
    // The length is within the bound of its type, at most a block and its proof.
    let length = frame.length as usize;
    let mut body = BytesMut::with_capacity(length);
    while body.len() < length {
        let chunk = stream.read_chunk(length - body.len(), true).await?;
        // Copied, so that a frame does not hold on to the datagrams that brought it.
        body.extend_from_slice(&chunk.ok_or_else(cut_short)?.bytes);
    }
    let bytes = (FRAME_HEADER_BYTES + length) as u64;
    Ok(Some((Message::decode(frame.kind, body.freeze())?, bytes)))
}

fn early(error: ReadExactError) -> StoqError {
    match error {
        ReadExactError::FinishedEarly(_) => cut_short(),
        ReadExactError::ReadError(error) => error.into(),
    }
}

fn cut_short() -> StoqError {
    StoqError::Broken("a frame was cut short".into())
}

/// Writes one frame.
pub(crate) async fn write(stream: &mut SendStream, message: &Message) -> Result<(), StoqError> {
    let (head, tail) = message.encode();
    let mut parts: [Bytes; 2] = [head, tail];
    let count = if parts[1].is_empty() { 1 } else { 2 };
    stream
        .write_all_chunks(parts.get_mut(..count).unwrap_or_default())
        .await?;
    Ok(())
}

/// Writes the last frame.
pub(crate) async fn write_last(
    stream: &mut SendStream,
    message: &Message,
) -> Result<(), StoqError> {
    write(stream, message).await?;
    // It can only be finished already.
    let _ = stream.finish();
    Ok(())
}

/// Opens a stream with a request on it.
pub(crate) async fn open(
    connection: &Connection,
    request: &Message,
) -> Result<RecvStream, StoqError> {
    let (mut send, receive) = connection.open_bi().await?;
    write_last(&mut send, request).await?;
    Ok(receive)
}

/// Asks, and waits for the one frame of the answer.
pub(crate) async fn ask(
    connection: &Connection,
    request: &Message,
    timeout: Duration,
) -> Result<Message, StoqError> {
    let answer = async {
        let mut receive = open(connection, request).await?;
        match read(&mut receive).await? {
            Some(Message::Error { status, text }) => Err(StoqError::Refused { status, text }),
            Some(message) => Ok(message),
            None => Err(StoqError::Broken("an answer without a frame".into())),
        }
    };
    tokio::time::timeout(timeout, answer)
        .await
        .unwrap_or(Err(StoqError::Timeout))
}
