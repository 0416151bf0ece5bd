//! Importers: each turns an input into a [`Source`], rows of one size that can be read in any order.
//!
//! Random access is what lets `pack` shuffle in bounded memory. Plain IDX files are read in place; what is compressed
//! or text is first spooled to an unnamed temporary file as rows of fixed size.

mod csv;
mod idx;
mod images;
mod npz;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::manifest::{MAX_CLASSES, MAX_SAMPLES};
use super::{Dtype, Error};

/// Where samples come from.
#[derive(Clone, Debug)]
pub enum Input {
    /// IDX files as MNIST's, gzip-compressed or not. Samples `[h, w]` become `[1, h, w]`.
    Idx {
        /// Elements `u8` or `f32`, `[n, ...]`.
        images: PathBuf,
        /// Labels `u8`, `[n]`.
        labels: PathBuf,
    },
    /// A folder with one subfolder of PNG, JPEG or BMP files per class; all images have one size. `u8 [c, h, w]`.
    Images {
        /// The folder.
        folder: PathBuf,
    },
    /// A CSV file; every column but the label's is an f32 feature. `f32 [columns]`.
    Csv {
        /// The file.
        path: PathBuf,
        /// Which column holds the label.
        label: LabelColumn,
        /// Whether the first row names the columns; if not given, it does when a feature in it is not a number.
        header: Option<bool>,
    },
    /// An NPZ file with one array of samples `[n, ...]` (u8 stays u8, other numbers become f32) and one of labels `[n]`.
    Npz {
        /// The file.
        path: PathBuf,
        /// The samples' array.
        x: String,
        /// The labels' array, integers.
        y: String,
    },
}

/// A CSV file's label column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelColumn {
    /// By position, from 0.
    Index(usize),
    /// By its name in the header.
    Name(String),
}

/// Samples as rows of equal size, readable in any order.
pub(super) struct Source {
    /// The input's path, for errors.
    pub(super) path: PathBuf,
    /// Shape of one sample.
    pub(super) shape: Vec<usize>,
    /// Element type.
    pub(super) dtype: Dtype,
    /// Class names.
    pub(super) classes: Vec<String>,
    /// One label per sample, each an index into `classes`.
    pub(super) labels: Vec<u32>,
    rows: Rows,
}

enum Rows {
    /// Row `i` is at `offset + i * row bytes`.
    File { file: File, offset: u64 },
    /// Row `i` is an image file.
    Images(Vec<PathBuf>),
}

impl Source {
    /// Opens an input. Given `classes` (a train split's), labels must fit them; otherwise they are found here.
    pub(super) fn open(input: &Input, classes: Option<&[String]>) -> Result<Self, Error> {
        let source = match input {
            Input::Idx { images, labels } => idx::open(images, labels, classes),
            Input::Images { folder } => images::open(folder, classes),
            Input::Csv { path, label, header } => csv::open(path, label, *header, classes),
            Input::Npz { path, x, y } => npz::open(path, x, y, classes),
        }?;
        let n = source.labels.len() as u64;
        if n == 0 || n > MAX_SAMPLES {
            return Err(Error::input(
                &source.path,
                format!("{n} samples, outside 1..={MAX_SAMPLES}"),
            ));
        }
        super::manifest::check_shape(&source.shape, source.dtype).map_err(|e| Error::input(&source.path, e))?;
        Ok(source)
    }

    /// Bytes of one row.
    pub(super) fn row_bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size()
    }

    /// Appends row `index` (little-endian elements) to `into`.
    pub(super) fn read(&self, index: usize, into: &mut Vec<u8>) -> Result<(), Error> {
        match &self.rows {
            Rows::File { file, offset } => {
                let bytes = self.row_bytes();
                let start = into.len();
                into.resize(start + bytes, 0);
                file.read_exact_at(&mut into[start..], offset + index as u64 * bytes as u64)
                    .map_err(|e| Error::io(&self.path, e))?;
                if self.dtype == Dtype::F32 {
                    let (words, _) = into[start..].as_chunks::<4>();
                    if let Some(at) = words.iter().position(|w| !f32::from_le_bytes(*w).is_finite()) {
                        let value = f32::from_le_bytes(words[at]);
                        let what = format!("sample {index}, element {at} is {value}, elements must be finite");
                        return Err(Error::input(&self.path, what));
                    }
                }
                Ok(())
            }
            Rows::Images(paths) => images::read(&paths[index], &self.shape, into),
        }
    }
}

/// A temporary file of rows under construction. It has no name, so it vanishes with the process.
struct Spool<'a> {
    path: &'a Path,
    out: BufWriter<File>,
}

impl<'a> Spool<'a> {
    fn new(path: &'a Path) -> Result<Self, Error> {
        let file = tempfile::tempfile().map_err(|e| Error::io(&std::env::temp_dir(), e))?;
        Ok(Self {
            path,
            out: BufWriter::with_capacity(1 << 18, file),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(|e| Error::io(self.path, e))
    }

    fn finish(self) -> Result<Rows, Error> {
        let file = self
            .out
            .into_inner()
            .map_err(|e| Error::io(self.path, e.into_error()))?;
        Ok(Rows::File { file, offset: 0 })
    }
}

/// Class names for numeric labels: the given ones, or `0` up to the largest label.
fn numeric_classes(path: &Path, labels: &[u32], classes: Option<&[String]>) -> Result<Vec<String>, Error> {
    let largest = labels.iter().copied().max().unwrap_or(0) as usize;
    match classes {
        Some(classes) if largest >= classes.len() => {
            let what = format!(
                "label {largest} in the test set, the train set's labels are 0..{}",
                classes.len()
            );
            Err(Error::input(path, what))
        }
        Some(classes) => Ok(classes.to_vec()),
        None if largest >= MAX_CLASSES => Err(Error::input(
            path,
            format!("label {largest}, labels must be below {MAX_CLASSES}"),
        )),
        None => Ok((0..=largest).map(|c| c.to_string()).collect()),
    }
}

/// A sample's shape as networks expect it: pictures without a channel dimension get one.
fn with_channel(shape: Vec<usize>) -> Vec<usize> {
    if let [height, width] = shape[..] {
        vec![1, height, width]
    } else {
        shape
    }
}
