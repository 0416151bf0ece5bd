//! Messages on a stream: each a protobuf behind its length as an unsigned varint (7 bits a byte, lowest first).

use std::io::{self, Read, Write};

use prost::Message;
use prost::bytes::{Bytes, BytesMut};
use tendermint_proto::v0_38::abci::{Request, Response, request, response};

/// The longest request accepted, bytes: CometBFT's largest block (100 MiB) and what comes with it.
pub const MAX_REQUEST: usize = 128 << 20;
/// No length up to [`MAX_REQUEST`] needs more bytes than this.
const MAX_PREFIX: usize = 4;
/// How much is read at a time, bytes.
const CHUNK: usize = 64 << 10;

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum CodecError {
    #[error("a request says it is {length} bytes long; at most {MAX_REQUEST} are accepted")]
    TooLong { length: u64 },
    #[error("the length of a request takes more than {MAX_PREFIX} bytes")]
    LongPrefix,
    #[error("a request of {length} bytes does not decode: {error}")]
    Garbage { length: usize, error: prost::DecodeError },
    #[error("a request of {length} bytes names no call of ABCI 2.0 (CometBFT 0.38)")]
    NoCall { length: usize },
    #[error("the connection ended inside a request, after {received} bytes of it")]
    Truncated { received: usize },
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}

/// Requests coming in on a stream.
pub(super) struct Requests<R> {
    stream: R,
    buffer: BytesMut,
    chunk: Box<[u8]>,
}

impl<R: Read> Requests<R> {
    pub(super) fn new(stream: R) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            chunk: vec![0; CHUNK].into_boxed_slice(),
        }
    }

    /// The next request and its length, if all of it has been read.
    pub(super) fn buffered(&mut self) -> Result<Option<(usize, request::Value)>, CodecError> {
        let Some((prefix, length)) = length(&self.buffer)? else {
            return Ok(None);
        };
        if self.buffer.len() < prefix + length {
            return Ok(None);
        }
        let body: Bytes = self.buffer.split_to(prefix + length).freeze().slice(prefix..);
        let request = Request::decode(body).map_err(|error| CodecError::Garbage { length, error })?;
        Ok(Some((length, request.value.ok_or(CodecError::NoCall { length })?)))
    }

    /// Waits for more input; `false` at its end. Memory grows with what arrives, not with what is announced.
    pub(super) fn fill(&mut self) -> Result<bool, CodecError> {
        loop {
            match self.stream.read(&mut self.chunk) {
                Ok(0) if self.buffer.is_empty() => return Ok(false),
                Ok(0) => {
                    return Err(CodecError::Truncated {
                        received: self.buffer.len(),
                    });
                }
                Ok(count) => {
                    self.buffer.extend_from_slice(&self.chunk[..count]);
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Decodes the length at the front of `bytes`: how many bytes it takes itself, and the length.
fn length(bytes: &[u8]) -> Result<Option<(usize, usize)>, CodecError> {
    let mut length = 0_u64;
    for (i, &byte) in bytes.iter().take(MAX_PREFIX).enumerate() {
        length |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            let fits = usize::try_from(length).ok().filter(|&length| length <= MAX_REQUEST);
            return Ok(Some((i + 1, fits.ok_or(CodecError::TooLong { length })?)));
        }
    }
    if bytes.len() < MAX_PREFIX {
        Ok(None)
    } else {
        Err(CodecError::LongPrefix)
    }
}

/// Writes a reply behind its length.
pub(super) fn write(stream: &mut impl Write, reply: response::Value) -> io::Result<()> {
    stream.write_all(&Response { value: Some(reply) }.encode_length_delimited_to_vec())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use tendermint_proto::v0_38::abci::RequestEcho;

    use super::*;

    /// A stream that hands out its bytes in pieces.
    struct Pieces(Vec<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some(piece) = self.0.pop() else { return Ok(0) };
            buffer[..piece.len()].copy_from_slice(&piece);
            Ok(piece.len())
        }
    }

    fn read_all(mut pieces: Vec<Vec<u8>>) -> Result<Vec<request::Value>, CodecError> {
        pieces.retain(|piece| !piece.is_empty());
        pieces.reverse();
        let mut requests = Requests::new(Pieces(pieces));
        let mut read = Vec::new();
        loop {
            while let Some((_, request)) = requests.buffered()? {
                read.push(request);
            }
            if !requests.fill()? {
                return Ok(read);
            }
        }
    }

    proptest! {
        #[test]
        fn requests_arrive_however_they_are_cut(
            messages in vec(".{0,300}", 0..10), mut cuts in vec(any::<proptest::sample::Index>(), 0..20),
        ) {
            let values: Vec<_> =
                messages.into_iter().map(|message| request::Value::Echo(RequestEcho { message })).collect();
            let encode = |value: &request::Value| Request { value: Some(value.clone()) }.encode_length_delimited_to_vec();
            let bytes: Vec<u8> = values.iter().flat_map(encode).collect();
            let mut cuts: Vec<usize> = cuts.drain(..).map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|cut| bytes[cut[0]..cut[1]].to_vec()).collect();
            prop_assert_eq!(read_all(pieces).unwrap(), values);
        }

        #[test]
        fn no_bytes_panic(bytes in vec(any::<u8>(), 0..200)) {
            let _ = read_all(vec![bytes]);
        }
    }

    #[test]
    fn lengths_have_bounds() {
        assert_eq!(length(&[]).unwrap(), None);
        assert_eq!(length(&[0x80, 0x80, 0x80]).unwrap(), None);
        assert_eq!(length(&[0x00]).unwrap(), Some((1, 0)));
        assert_eq!(length(&[0xac, 0x02, 7]).unwrap(), Some((2, 300)));
        // 2^27 and one more.
        assert_eq!(length(&[0x80, 0x80, 0x80, 0x40]).unwrap(), Some((4, MAX_REQUEST)));
        let error = length(&[0x81, 0x80, 0x80, 0x40]).unwrap_err().to_string();
        assert_eq!(
            error,
            "a request says it is 134217729 bytes long; at most 134217728 are accepted"
        );
        assert!(matches!(length(&[0xff; 10]), Err(CodecError::LongPrefix)));
    }
}
