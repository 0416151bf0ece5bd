//! IDX (the format of MNIST): `0 0 type rank`, the dimensions as big-endian u32, the elements big-endian.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::{Dtype, Error, MAX_SAMPLES, Rows, Source, Spool, numeric_classes, with_channel};

const U8: u8 = 0x08;
const F32: u8 = 0x0d;

struct Header {
    kind: u8,
    samples: u64,
    shape: Vec<usize>,
    bytes: u64,
}

pub(super) fn open(images: &Path, labels: &Path, classes: Option<&[String]>) -> Result<Source, Error> {
    let (mut reader, plain) = reader(images)?;
    let header = header(&mut reader, images)?;
    let dtype = match header.kind {
        U8 => Dtype::U8,
        F32 => Dtype::F32,
        kind => {
            return Err(Error::input(
                images,
                format!("IDX element type 0x{kind:02x}, only u8 and f32 are read"),
            ));
        }
    };
    let shape = if header.shape.is_empty() {
        vec![1]
    } else {
        with_channel(header.shape)
    };
    let row = super::super::manifest::check_shape(&shape, dtype).map_err(|e| Error::input(images, e))?;
    let expected = row as u64 * header.samples;

    let rows = match plain {
        Some(file) if dtype == Dtype::U8 => {
            let length = file.metadata().map_err(|e| Error::io(images, e))?.len();
            if length != header.bytes + expected {
                return Err(size_error(images, length.saturating_sub(header.bytes), expected));
            }
            Rows::File {
                file,
                offset: header.bytes,
            }
        }
        _ => spool(reader, images, dtype, expected)?,
    };
    let labels = read_labels(labels, header.samples)?;
    let classes = numeric_classes(images, &labels, classes)?;
    Ok(Source {
        path: images.to_path_buf(),
        shape,
        dtype,
        classes,
        labels,
        rows,
    })
}

/// A reader over the content, and the file itself where that is not compressed.
fn reader(path: &Path) -> Result<(Box<dyn Read>, Option<File>), Error> {
    let io = |e| Error::io(path, e);
    let mut file = File::open(path).map_err(io)?;
    let mut magic = [0; 2];
    let gzip = file.read(&mut magic).map_err(io)? == 2 && magic == [0x1f, 0x8b];
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    if gzip {
        return Ok((Box::new(MultiGzDecoder::new(BufReader::new(file))), None));
    }
    let copy = file.try_clone().map_err(io)?;
    Ok((Box::new(BufReader::new(copy)), Some(file)))
}

fn header(reader: &mut impl Read, path: &Path) -> Result<Header, Error> {
    let mut magic = [0; 4];
    reader.read_exact(&mut magic).map_err(|e| Error::io(path, e))?;
    let [0, 0, kind, rank @ 1..=8] = magic else {
        return Err(Error::input(
            path,
            format!("not an IDX file: it starts with {}", hex::encode(magic)),
        ));
    };
    let mut dims = Vec::new();
    for _ in 0..rank {
        let mut word = [0; 4];
        reader.read_exact(&mut word).map_err(|e| Error::io(path, e))?;
        dims.push(u32::from_be_bytes(word));
    }
    let samples = u64::from(dims[0]);
    if samples == 0 || samples > MAX_SAMPLES {
        return Err(Error::input(
            path,
            format!("{samples} samples, outside 1..={MAX_SAMPLES}"),
        ));
    }
    let shape = dims[1..].iter().map(|&d| d as usize).collect();
    Ok(Header {
        kind,
        samples,
        shape,
        bytes: 4 + 4 * u64::from(rank),
    })
}

fn size_error(path: &Path, found: u64, expected: u64) -> Error {
    Error::input(
        path,
        format!("{found} bytes of elements, its header promises {expected}"),
    )
}

/// Copies the elements to a spool, little-endian.
fn spool(reader: impl Read, path: &Path, dtype: Dtype, expected: u64) -> Result<Rows, Error> {
    let mut spool = Spool::new(path)?;
    // One byte more than promised shows an overlong file; a bomb is not unpacked further.
    let mut reader = BufReader::new(reader.take(expected + 1));
    let mut found = 0;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let filled = fill(&mut reader, &mut buffer).map_err(|e| Error::io(path, e))?;
        if filled == 0 {
            break;
        }
        found += filled as u64;
        let chunk = &mut buffer[..filled];
        if dtype == Dtype::F32 {
            for word in chunk.as_chunks_mut::<4>().0 {
                word.reverse();
            }
        }
        spool.write(chunk)?;
    }
    if found != expected {
        return Err(size_error(path, found, expected));
    }
    spool.finish()
}

/// Reads until the buffer is full or the input ends.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

fn read_labels(path: &Path, samples: u64) -> Result<Vec<u32>, Error> {
    let (mut reader, _) = reader(path)?;
    let header = header(&mut reader, path)?;
    if header.kind != U8 || !header.shape.is_empty() {
        return Err(Error::input(
            path,
            format!(
                "labels are u8 of rank 1, found type 0x{:02x} of rank {}",
                header.kind,
                header.shape.len() + 1
            ),
        ));
    }
    if header.samples != samples {
        return Err(Error::input(
            path,
            format!("{} labels for {samples} samples", header.samples),
        ));
    }
    let mut labels = Vec::new();
    reader
        .take(samples + 1)
        .read_to_end(&mut labels)
        .map_err(|e| Error::io(path, e))?;
    if labels.len() as u64 != samples {
        return Err(size_error(path, labels.len() as u64, samples));
    }
    Ok(labels.into_iter().map(u32::from).collect())
}
