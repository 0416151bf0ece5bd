//! From DAG nodes to files: CIDs, dag-pb and UnixFS file nodes, read defensively.
//!
//! See the [UnixFS](https://specs.ipfs.tech/unixfs/) and [DAG-PB](https://ipld.io/specs/codecs/dag-pb/spec/)
//! specifications. Building files is left to `rust-unixfs`.

use bytes::Bytes;
use cid::Cid;
use cid::multihash::Multihash;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::Error;

/// Multicodec of a raw block.
pub(crate) const RAW: u64 = 0x55;
/// Multicodec of a dag-pb node.
pub(crate) const DAG_PB: u64 = 0x70;
/// Multihash code of SHA2-256.
pub(crate) const SHA2_256: u64 = 0x12;
/// The largest block taken from or sent to a peer, as in Kubo.
pub(crate) const MAX_BLOCK: usize = 2 << 20;

#[derive(Clone, PartialEq, prost::Message)]
struct PbLink {
    #[prost(bytes = "vec", optional, tag = "1")]
    hash: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PbNode {
    #[prost(message, repeated, tag = "2")]
    links: Vec<PbLink>,
    #[prost(bytes = "bytes", optional, tag = "1")]
    data: Option<Bytes>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PbUnixFs {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(bytes = "bytes", optional, tag = "2")]
    data: Option<Bytes>,
    #[prost(uint64, optional, tag = "3")]
    filesize: Option<u64>,
    #[prost(uint64, repeated, tag = "4")]
    blocksizes: Vec<u64>,
}

/// A node of a file: `data`, then the children in order. Sizes are bytes of file content.
pub(crate) struct FileNode {
    pub(crate) size: u64,
    pub(crate) data: Bytes,
    pub(crate) children: Vec<(Cid, u64)>,
}

/// Refuses a CID whose hash or codec this store does not handle.
pub(crate) fn check_cid(cid: &Cid) -> Result<(), Error> {
    let refuse = |cause: String| {
        Err(Error::Cid {
            cid: cid.to_string(),
            cause,
        })
    };
    if cid.hash().code() != SHA2_256 || cid.hash().size() != 32 {
        return refuse(format!(
            "hash 0x{:x} of {} bytes; only sha2-256 of 32 is supported",
            cid.hash().code(),
            cid.hash().size()
        ));
    }
    if cid.codec() != RAW && cid.codec() != DAG_PB {
        return refuse(format!(
            "codec 0x{:x}; only raw (0x55) and dag-pb (0x70) are supported",
            cid.codec()
        ));
    }
    Ok(())
}

/// Reads a CID from text.
pub(crate) fn parse_cid(text: &str) -> Result<Cid, Error> {
    let cid = Cid::try_from(text).map_err(|e| Error::Cid {
        cid: text.chars().take(128).collect(),
        cause: e.to_string(),
    })?;
    check_cid(&cid)?;
    Ok(cid)
}

/// The CIDv1 of a block under `codec`.
pub(crate) fn cid_of(codec: u64, block: &[u8]) -> Result<Cid, Error> {
    let hash = Multihash::<64>::wrap(SHA2_256, Sha256::digest(block).as_slice()).map_err(|e| Error::Cid {
        cid: String::new(),
        cause: e.to_string(),
    })?;
    Ok(Cid::new_v1(codec, hash))
}

fn bad(cid: &Cid, cause: impl Into<String>) -> Error {
    Error::UnixFs {
        cid: Box::new(*cid),
        cause: cause.into(),
    }
}

fn pb_node(cid: &Cid, block: &Bytes) -> Result<PbNode, Error> {
    PbNode::decode(block.clone()).map_err(|e| bad(cid, format!("not a dag-pb node: {e}")))
}

fn child(cid: &Cid, nth: usize, link: &PbLink) -> Result<Cid, Error> {
    Cid::try_from(link.hash.as_deref().unwrap_or_default())
        .map_err(|e| bad(cid, format!("link {nth} holds no CID: {e}")))
}

/// The CIDs a block links to.
pub(crate) fn links(cid: &Cid, block: &Bytes) -> Result<Vec<Cid>, Error> {
    if cid.codec() != DAG_PB {
        return Ok(vec![]);
    }
    pb_node(cid, block)?
        .links
        .iter()
        .enumerate()
        .map(|(nth, link)| child(cid, nth, link))
        .collect()
}

/// Reads a block as a node of a file.
pub(crate) fn file_node(cid: &Cid, block: &Bytes) -> Result<FileNode, Error> {
    if cid.codec() == RAW {
        return Ok(FileNode {
            size: block.len() as u64,
            data: block.clone(),
            children: vec![],
        });
    }
    let node = pb_node(cid, block)?;
    let file = PbUnixFs::decode(node.data.unwrap_or_default())
        .map_err(|e| bad(cid, format!("dag-pb node without UnixFS data: {e}")))?;
    match file.kind {
        0 | 2 => {}
        1 | 5 => return Err(bad(cid, "a directory, where a file is expected")),
        other => return Err(bad(cid, format!("UnixFS type {other}, where a file (2) is expected"))),
    }
    if node.links.len() != file.blocksizes.len() {
        return Err(bad(
            cid,
            format!("{} links but {} block sizes", node.links.len(), file.blocksizes.len()),
        ));
    }
    let data = file.data.unwrap_or_default();
    let mut size = data.len() as u64;
    let mut children = Vec::with_capacity(node.links.len());
    for (nth, (link, &blocksize)) in node.links.iter().zip(&file.blocksizes).enumerate() {
        let cid_of_child = child(cid, nth, link)?;
        if blocksize == 0 {
            return Err(bad(cid, format!("link {nth} has size 0")));
        }
        size = size
            .checked_add(blocksize)
            .ok_or_else(|| bad(cid, "sizes overflow 64 bits"))?;
        children.push((cid_of_child, blocksize));
    }
    match file.filesize {
        Some(claimed) if claimed != size => Err(bad(cid, format!("says {claimed} bytes but its parts make {size}"))),
        _ => Ok(FileNode { size, data, children }),
    }
}

/// Walks a file's DAG in the order of its bytes, holding every node to the size its parent gave it.
pub(crate) struct Walk {
    root: Cid,
    max_bytes: u64,
    /// What is still to visit, last first: CID, size if known, depth.
    stack: Vec<(Cid, Option<u64>, u8)>,
    blocks: u64,
    /// Content bytes in the whole file, known after the root.
    pub(crate) size: u64,
}

/// Kubo's trees are about three deep at a terabyte.
const MAX_DEPTH: u8 = 32;

impl Walk {
    pub(crate) fn new(root: Cid, max_bytes: u64) -> Walk {
        Walk {
            root,
            max_bytes,
            stack: vec![(root, None, 0)],
            blocks: 0,
            size: 0,
        }
    }

    /// The next blocks, at most `n`, the very next first.
    pub(crate) fn upcoming(&self, n: usize) -> impl Iterator<Item = Cid> + '_ {
        self.stack.iter().rev().take(n).map(|(cid, ..)| *cid)
    }

    /// Takes the bytes of the next block and gives back the file content in it.
    pub(crate) fn visit(&mut self, block: &Bytes) -> Result<Bytes, Error> {
        let Some((cid, expected, depth)) = self.stack.pop() else {
            return Ok(Bytes::new());
        };
        self.blocks += 1;
        // One-byte leaves would cost a round trip each; Kubo's chunks are a quarter of a MiB.
        let most = 1024 + self.max_bytes / 512;
        if self.blocks > most {
            return Err(bad(
                &self.root,
                format!("more than {most} blocks for at most {} bytes", self.max_bytes),
            ));
        }
        let node = file_node(&cid, block)?;
        match expected {
            Some(expected) if expected != node.size => {
                return Err(bad(
                    &cid,
                    format!("{} bytes where its parent says {expected}", node.size),
                ));
            }
            Some(_) => {}
            None if node.size > self.max_bytes => {
                return Err(Error::TooLarge {
                    what: format!("the file {}", self.root),
                    found: node.size,
                    bound: self.max_bytes,
                });
            }
            None => self.size = node.size,
        }
        if !node.children.is_empty() && depth >= MAX_DEPTH {
            return Err(bad(&self.root, format!("its tree is deeper than {MAX_DEPTH}")));
        }
        for (child, size) in node.children.into_iter().rev() {
            check_cid(&child)?;
            self.stack.push((child, Some(size), depth + 1));
        }
        Ok(node.data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A dag-pb node of the given UnixFS type over children with the sizes said of them.
    fn node(kind: i32, filesize: Option<u64>, children: &[(Cid, u64)]) -> (Cid, Bytes) {
        let file = PbUnixFs {
            kind,
            data: None,
            filesize,
            blocksizes: children.iter().map(|(_, size)| *size).collect(),
        };
        let links = children
            .iter()
            .map(|(cid, _)| PbLink {
                hash: Some(cid.to_bytes()),
            })
            .collect();
        let block: Bytes = PbNode {
            links,
            data: Some(file.encode_to_vec().into()),
        }
        .encode_to_vec()
        .into();
        (cid_of(DAG_PB, &block).unwrap(), block)
    }

    fn leaf(content: &'static [u8]) -> (Cid, Bytes) {
        (cid_of(RAW, content).unwrap(), Bytes::from_static(content))
    }

    /// Walks the blocks in the order asked for.
    fn walk(root: Cid, max_bytes: u64, blocks: &[(Cid, Bytes)]) -> Result<Vec<u8>, String> {
        let (mut walk, mut content) = (Walk::new(root, max_bytes), Vec::new());
        loop {
            let Some(cid) = walk.upcoming(1).next() else {
                return Ok(content);
            };
            let (_, block) = blocks.iter().find(|(c, _)| *c == cid).expect("a block of the test");
            content.extend(walk.visit(block).map_err(|e| e.to_string())?);
        }
    }

    #[test]
    fn files_are_read_in_order() {
        let (a, b) = (leaf(b"ab"), leaf(b"cde"));
        let inner = node(2, Some(5), &[(a.0, 2), (b.0, 3)]);
        let root = node(2, None, &[(inner.0, 5), (a.0, 2)]);
        let blocks = [a, b, inner, root.clone()];
        assert_eq!(walk(root.0, 7, &blocks).unwrap(), b"abcdeab");
        assert!(
            walk(root.0, 6, &blocks)
                .unwrap_err()
                .contains("is 7 bytes, more than the bound of 6")
        );
        assert_eq!(links(&root.0, &root.1).unwrap().len(), 2);
    }

    #[test]
    fn hostile_trees_are_refused() {
        let a = leaf(b"ab");
        let refused = |root: (Cid, Bytes), text: &str| {
            let error = walk(root.0, 1 << 20, &[root, a.clone()]).unwrap_err();
            assert!(error.contains(text), "{error}");
        };
        refused(node(1, None, &[]), "a directory");
        refused(node(4, None, &[]), "UnixFS type 4");
        refused(node(2, Some(9), &[(a.0, 2)]), "says 9 bytes but its parts make 2");
        refused(node(2, None, &[(a.0, 0)]), "link 0 has size 0");
        refused(node(2, None, &[(a.0, 3)]), "2 bytes where its parent says 3");
        refused(node(2, None, &[(a.0, u64::MAX), (a.0, 2)]), "overflow");
        refused(node(2, None, &[(Cid::new_v1(0x71, *a.0.hash()), 2)]), "codec 0x71");
        let garbage = Bytes::from_static(&[0xff; 40]);
        refused((cid_of(DAG_PB, &garbage).unwrap(), garbage), "not a dag-pb node");

        // A chain of nodes, each with one child.
        let mut blocks = vec![a.clone()];
        for _ in 0..=MAX_DEPTH {
            let child = blocks.last().unwrap().0;
            blocks.push(node(2, None, &[(child, 2)]));
        }
        let root = blocks.last().unwrap().0;
        assert!(walk(root, 100, &blocks).unwrap_err().contains("deeper than 32"));

        // Many tiny leaves.
        let root = node(2, None, &[(a.0, 2); 1200]);
        let error = walk(root.0, 10_000, &[root, a]).unwrap_err();
        assert!(error.contains("more than 1043 blocks"), "{error}");
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut state = 1u64;
        for len in (0..2000).map(|n| n % 97) {
            let block: Vec<u8> = (0..len)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    // Small values look like protobuf more often.
                    (state >> 59).to_le_bytes()[0]
                })
                .collect();
            let cid = cid_of(DAG_PB, &block).unwrap();
            let block = Bytes::from(block);
            let _ = (links(&cid, &block), file_node(&cid, &block));
        }
    }
}
