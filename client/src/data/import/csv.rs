//! CSV: one sample per row, one column of labels, the others f32 features.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use csv::{ByteRecord, ReaderBuilder};

use super::super::manifest::{MAX_CLASS_BYTES, MAX_CLASSES};
use super::{Dtype, Error, LabelColumn, MAX_SAMPLES, Source, Spool};

/// Longest line read, bytes.
const MAX_LINE: usize = 16 << 20;

pub(super) fn open(
    path: &Path,
    label: &LabelColumn,
    header: Option<bool>,
    classes: Option<&[String]>,
) -> Result<Source, Error> {
    let refuse = |what: String| Error::input(path, what);
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let mut reader = ReaderBuilder::new().has_headers(false).from_reader(LineLimit {
        inner: BufReader::new(file),
        line: 0,
    });
    let mut record = ByteRecord::new();
    let csv_error = |e: csv::Error| refuse(e.to_string());
    if !reader.read_byte_record(&mut record).map_err(csv_error)? {
        return Err(refuse("an empty file".into()));
    }
    let columns = record.len();
    let label_at = match label {
        LabelColumn::Index(at) => *at,
        LabelColumn::Name(name) => record.iter().position(|cell| cell == name.as_bytes()).ok_or_else(|| {
            refuse(format!(
                "no column is called {name:?}; the first row is {:?}",
                preview(&record)
            ))
        })?,
    };
    if label_at >= columns || columns < 2 {
        return Err(refuse(format!(
            "the label is column {label_at}, the first row has {columns} columns (at least 2)"
        )));
    }
    let number = |cell: &[u8]| {
        std::str::from_utf8(cell)
            .ok()
            .and_then(|text| text.trim().parse::<f32>().ok())
    };
    let looks_named = |row: &ByteRecord| {
        row.iter()
            .enumerate()
            .any(|(at, c)| at != label_at && number(c).is_none())
    };
    let named = matches!(label, LabelColumn::Name(_)) || header.unwrap_or_else(|| looks_named(&record));

    let mut spool = Spool::new(path)?;
    let mut names = Labels::default();
    let mut more = if named {
        reader.read_byte_record(&mut record).map_err(csv_error)?
    } else {
        true
    };
    while more {
        // Rows of another length were refused by the reader.
        let line = record.position().map_or(0, csv::Position::line);
        for (at, cell) in record.iter().enumerate() {
            if at == label_at {
                names
                    .push(cell)
                    .map_err(|what| refuse(format!("line {line}, label: {what}")))?;
                continue;
            }
            let value = number(cell).filter(|v| v.is_finite()).ok_or_else(|| {
                let cell = String::from_utf8_lossy(&cell[..cell.len().min(40)]);
                refuse(format!("line {line}, column {at}: {cell:?} is not a finite number"))
            })?;
            spool.write(&value.to_le_bytes())?;
        }
        if names.rows.len() as u64 > MAX_SAMPLES {
            return Err(refuse(format!("more than {MAX_SAMPLES} rows")));
        }
        more = reader.read_byte_record(&mut record).map_err(csv_error)?;
    }
    let (classes, labels) = names.resolve(classes).map_err(refuse)?;
    let rows = spool.finish()?;
    Ok(Source {
        path: path.to_path_buf(),
        shape: vec![columns - 1],
        dtype: Dtype::F32,
        classes,
        labels,
        rows,
    })
}

fn preview(record: &ByteRecord) -> String {
    let all = record.iter().map(String::from_utf8_lossy).collect::<Vec<_>>().join(",");
    all.chars().take(120).collect()
}

/// Labels as text, interned in order of appearance.
#[derive(Default)]
struct Labels {
    seen: std::collections::BTreeMap<String, u32>,
    rows: Vec<u32>,
}

impl Labels {
    fn push(&mut self, cell: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(cell).map_err(|_| "not UTF-8".to_owned())?.trim();
        if text.is_empty() || text.len() > MAX_CLASS_BYTES {
            return Err(format!("{} bytes long, outside 1..={MAX_CLASS_BYTES}", text.len()));
        }
        let id = match self.seen.get(text) {
            Some(id) => *id,
            None if self.seen.len() == MAX_CLASSES => return Err(format!("more than {MAX_CLASSES} different values")),
            None => {
                let id = u32::try_from(self.seen.len()).map_err(|e| e.to_string())?;
                self.seen.insert(text.to_owned(), id);
                id
            }
        };
        self.rows.push(id);
        Ok(())
    }

    /// Class names, sorted (as numbers if all are whole numbers), and each row's index into them.
    fn resolve(self, given: Option<&[String]>) -> Result<(Vec<String>, Vec<u32>), String> {
        let classes = if let Some(given) = given {
            given.to_vec()
        } else {
            let numeric: Option<BTreeSet<(u64, &String)>> =
                self.seen.keys().map(|name| Some((name.parse().ok()?, name))).collect();
            match numeric {
                Some(numbers) => numbers.into_iter().map(|(_, name)| name.clone()).collect(),
                None => self.seen.keys().cloned().collect(),
            }
        };
        let mut index = vec![0; self.seen.len()];
        for (name, id) in &self.seen {
            let at = classes.iter().position(|class| class == name);
            let at = at.ok_or_else(|| format!("label {name:?} of the test set is not one of the train set's"))?;
            index[*id as usize] = u32::try_from(at).map_err(|e| e.to_string())?;
        }
        Ok((classes, self.rows.into_iter().map(|id| index[id as usize]).collect()))
    }
}

/// Refuses a line longer than [`MAX_LINE`], which the CSV reader would hold in memory.
struct LineLimit<R> {
    inner: R,
    line: usize,
}

impl<R: Read> Read for LineLimit<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.line = match buffer[..n].iter().rposition(|&b| b == b'\n') {
            Some(at) => n - at,
            None => self.line + n,
        };
        if self.line > MAX_LINE {
            return Err(std::io::Error::other(format!("a line is longer than {MAX_LINE} bytes")));
        }
        Ok(n)
    }
}
