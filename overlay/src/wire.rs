//! Bitswap 1.2 messages and their framing: an unsigned varint of the length, then protobuf.
//!
//! See <https://specs.ipfs.tech/bitswap-protocol/>.

use std::io;

use bytes::Bytes;
use cid::{Cid, Version};
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use prost::Message as _;

use crate::unixfs;

/// The protocol every Kubo of the last years speaks.
pub(crate) const BITSWAP: libp2p::StreamProtocol = libp2p::StreamProtocol::new("/ipfs/bitswap/1.2.0");
/// The largest message taken, as in Kubo.
const MAX_WIRE: usize = 4 << 20;
/// Wants taken from one message.
pub(crate) const MAX_ENTRIES: usize = 1024;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Entry {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) block: Vec<u8>,
    #[prost(int32, tag = "2")]
    pub(crate) priority: i32,
    #[prost(bool, tag = "3")]
    pub(crate) cancel: bool,
    /// 0 wants the block, 1 only to know whether it is held.
    #[prost(int32, tag = "4")]
    pub(crate) want_type: i32,
    #[prost(bool, tag = "5")]
    pub(crate) send_dont_have: bool,
}

impl Entry {
    pub(crate) fn want(cid: &Cid, have_only: bool) -> Entry {
        Entry {
            block: cid.to_bytes(),
            priority: 1,
            cancel: false,
            want_type: i32::from(have_only),
            send_dont_have: true,
        }
    }

    pub(crate) fn cancel(cid: &Cid) -> Entry {
        Entry {
            block: cid.to_bytes(),
            cancel: true,
            ..Entry::default()
        }
    }

    pub(crate) fn have_only(&self) -> bool {
        self.want_type == 1
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Wantlist {
    #[prost(message, repeated, tag = "1")]
    pub(crate) entries: Vec<Entry>,
    #[prost(bool, tag = "2")]
    pub(crate) full: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Payload {
    /// The CID without its digest: version, codec, hash code, hash length.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) prefix: Vec<u8>,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) data: Bytes,
}

impl Payload {
    pub(crate) fn new(cid: &Cid, data: Bytes) -> Payload {
        let (version, codec) = (u64::from(cid.version()), cid.codec());
        let mut prefix = Vec::with_capacity(8);
        for part in [version, codec, cid.hash().code(), u64::from(cid.hash().size())] {
            put_varint(&mut prefix, part);
        }
        Payload { prefix, data }
    }

    /// The CID of the data, computed; `None` if it is not one we could have asked for.
    pub(crate) fn cid(&self) -> Option<Cid> {
        let mut prefix = self.prefix.as_slice();
        let mut part = || {
            let value = prost::encoding::decode_varint(&mut prefix).ok()?;
            Some(value)
        };
        let (version, codec, hash, size) = (part()?, part()?, part()?, part()?);
        if hash != unixfs::SHA2_256 || size != 32 || self.data.len() > unixfs::MAX_BLOCK {
            return None;
        }
        let v1 = unixfs::cid_of(codec, &self.data).ok()?;
        match Version::try_from(version).ok()? {
            Version::V0 => Cid::new_v0(*v1.hash()).ok(),
            Version::V1 => Some(v1),
        }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Presence {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) cid: Vec<u8>,
    /// 0 have, 1 don't have.
    #[prost(int32, tag = "2")]
    pub(crate) kind: i32,
}

impl Presence {
    pub(crate) fn new(cid: &Cid, have: bool) -> Presence {
        Presence {
            cid: cid.to_bytes(),
            kind: i32::from(!have),
        }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Message {
    #[prost(message, optional, tag = "1")]
    pub(crate) wantlist: Option<Wantlist>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) payload: Vec<Payload>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) presences: Vec<Presence>,
    #[prost(int32, tag = "5")]
    pub(crate) pending_bytes: i32,
}

impl Message {
    pub(crate) fn wants(entries: Vec<Entry>) -> Message {
        Message {
            wantlist: Some(Wantlist { entries, full: false }),
            ..Message::default()
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.wantlist.is_none() && self.payload.is_empty() && self.presences.is_empty()
    }
}

fn put_varint(buffer: &mut Vec<u8>, value: u64) {
    prost::encoding::encode_varint(value, buffer);
}

/// Writes one message and flushes.
pub(crate) async fn write(stream: &mut (impl AsyncWrite + Unpin), message: &Message) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(message.encoded_len() + 5);
    message.encode_length_delimited(&mut buffer).map_err(io::Error::other)?;
    stream.write_all(&buffer).await?;
    stream.flush().await
}

/// Reads one message; `None` when the peer has closed the stream between two.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Message>> {
    let mut length = 0usize;
    for shift in [0, 7, 14, 21] {
        let mut byte = [0];
        if stream.read(&mut byte).await? == 0 {
            return if shift == 0 {
                Ok(None)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
        }
        length |= usize::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            break;
        }
        if shift == 21 {
            return Err(io::Error::other(format!("message length is over {MAX_WIRE} bytes")));
        }
    }
    if length > MAX_WIRE {
        return Err(io::Error::other(format!(
            "message of {length} bytes is over the bound of {MAX_WIRE}"
        )));
    }
    let mut buffer = vec![0; length];
    stream.read_exact(&mut buffer).await?;
    Message::decode(Bytes::from(buffer)).map(Some).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_survives_the_wire_and_an_oversized_one_is_refused() {
        let cid = unixfs::cid_of(unixfs::RAW, b"hello").unwrap();
        let message = Message {
            payload: vec![Payload::new(&cid, Bytes::from_static(b"hello"))],
            presences: vec![Presence::new(&cid, false)],
            ..Message::wants(vec![Entry::want(&cid, true), Entry::cancel(&cid)])
        };
        let mut wire = Vec::new();
        write(&mut wire, &message).await.unwrap();
        let mut reader = wire.as_slice();
        let back = read(&mut reader).await.unwrap().unwrap();
        assert_eq!(back, message);
        assert_eq!(back.payload[0].cid(), Some(cid));
        assert_eq!(read(&mut reader).await.unwrap(), None);

        let mut oversized = Vec::new();
        put_varint(&mut oversized, MAX_WIRE as u64 + 1);
        assert!(
            read(&mut oversized.as_slice())
                .await
                .unwrap_err()
                .to_string()
                .contains("4194305")
        );
        assert!(read(&mut [0xff; 9].as_slice()).await.is_err());
    }

    #[test]
    fn a_payload_with_another_hash_or_codec_is_not_mistaken_for_ours() {
        let cid = unixfs::cid_of(unixfs::RAW, b"hello").unwrap();
        let mut payload = Payload::new(&cid, Bytes::from_static(b"hullo"));
        assert_ne!(payload.cid(), Some(cid));
        payload.prefix = vec![1, 0x55, 0x13, 64];
        assert_eq!(payload.cid(), None);
        payload.prefix = vec![0x80; 12];
        assert_eq!(payload.cid(), None);
    }
}
