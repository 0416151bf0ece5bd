//! NPZ: NumPy arrays in a zip archive.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use npyz::npz::NpzArchive;
use npyz::{DType, Deserialize, NpyFile, Order, TypeChar};

use super::super::manifest::check_shape;
use super::{Dtype, Error, MAX_SAMPLES, Source, Spool, numeric_classes, with_channel};

type Archive = NpzArchive<BufReader<File>>;

pub(super) fn open(path: &Path, x: &str, y: &str, classes: Option<&[String]>) -> Result<Source, Error> {
    let mut archive: Archive = NpzArchive::open(path).map_err(|e| Error::io(path, e))?;
    let refuse = |what: String| Error::input(path, what);

    let labels = read_labels(&mut archive, path, y)?;
    let array = array(&mut archive, path, x)?;
    let dims = array.shape().to_vec();
    if dims.first() != Some(&(labels.len() as u64)) {
        return Err(refuse(format!(
            "array {x:?} has shape {dims:?}, array {y:?} has {} labels",
            labels.len()
        )));
    }
    if array.order() != Order::C {
        return Err(refuse(format!(
            "array {x:?} is in Fortran order; save it with numpy.ascontiguousarray"
        )));
    }
    let shape: Result<Vec<usize>, _> = dims[1..].iter().map(|&d| usize::try_from(d)).collect();
    let shape = with_channel(shape.map_err(|e| refuse(e.to_string()))?);
    let shape = if shape.is_empty() { vec![1] } else { shape };
    let (kind, size) = element(&array.dtype()).ok_or_else(|| {
        refuse(format!(
            "array {x:?} has elements {}, only numbers are read",
            array.dtype().descr()
        ))
    })?;
    let dtype = if (kind, size) == (TypeChar::Uint, 1) {
        Dtype::U8
    } else {
        Dtype::F32
    };
    check_shape(&shape, dtype).map_err(refuse)?;

    let mut spool = Spool::new(path)?;
    let name = |e: Error| match e {
        Error::Input { file, what } => Error::Input {
            file,
            what: format!("array {x:?}: {what}"),
        },
        other => other,
    };
    let to = &mut spool;
    match (kind, size) {
        (TypeChar::Uint, 1) => each(array, path, |v: u8| to.write(&[v])),
        (TypeChar::Uint, 2) => each(array, path, |v: u16| to.write(&f32::from(v).to_le_bytes())),
        (TypeChar::Int, 1) => each(array, path, |v: i8| to.write(&f32::from(v).to_le_bytes())),
        (TypeChar::Int, 2) => each(array, path, |v: i16| to.write(&f32::from(v).to_le_bytes())),
        (TypeChar::Int, 4) => each(array, path, |v: i32| to.write(&(v as f32).to_le_bytes())),
        (TypeChar::Int, 8) => each(array, path, |v: i64| to.write(&(v as f32).to_le_bytes())),
        (TypeChar::Float, 4) => each(array, path, |v: f32| to.write(&v.to_le_bytes())),
        // Rounding to the nearest f32 is what is wanted; what overflows becomes infinite and is refused when read.
        #[allow(clippy::cast_possible_truncation)]
        (TypeChar::Float, 8) => each(array, path, |v: f64| to.write(&(v as f32).to_le_bytes())),
        _ => Err(refuse(
            "elements of this type are not read (u8, u16, i8 to i64, f32, f64 are)".to_owned(),
        )),
    }
    .map_err(name)?;

    let classes = numeric_classes(path, &labels, classes)?;
    Ok(Source {
        path: path.to_path_buf(),
        shape,
        dtype,
        classes,
        labels,
        rows: spool.finish()?,
    })
}

fn array<'a>(archive: &'a mut Archive, path: &Path, name: &str) -> Result<NpyFile<impl Read + use<'a>>, Error> {
    let names: Vec<String> = archive.array_names().map(str::to_owned).collect();
    archive
        .by_name(name)
        .map_err(|e| Error::io(path, e))?
        .ok_or_else(|| Error::input(path, format!("no array {name:?}, the file has {}", names.join(", "))))
}

/// A scalar type's kind and size in bytes.
fn element(dtype: &DType) -> Option<(TypeChar, usize)> {
    match dtype {
        DType::Plain(plain) => Some((plain.type_char(), usize::try_from(plain.size_field()).ok()?)),
        _ => None,
    }
}

fn each<T: Deserialize, R: Read>(
    array: NpyFile<R>,
    path: &Path,
    mut sink: impl FnMut(T) -> Result<(), Error>,
) -> Result<(), Error> {
    let values = array.data::<T>().map_err(|e| Error::input(path, e.to_string()))?;
    for value in values {
        sink(value.map_err(|e| Error::io(path, e))?)?;
    }
    Ok(())
}

fn read_labels(archive: &mut Archive, path: &Path, name: &str) -> Result<Vec<u32>, Error> {
    let array = array(archive, path, name)?;
    let n = array.len();
    // A column vector [n, 1] is as good as [n].
    if array.shape().first() != Some(&n) || n == 0 || n > MAX_SAMPLES {
        let what = format!(
            "array {name:?} has shape {:?}, labels are [n] with n in 1..={MAX_SAMPLES}",
            array.shape()
        );
        return Err(Error::input(path, what));
    }
    let mut labels = Vec::new();
    let mut push = |value: i64| {
        let label = u32::try_from(value)
            .map_err(|_| Error::input(path, format!("array {name:?}: label {value} is outside 0..2^32")))?;
        labels.push(label);
        Ok(())
    };
    match element(&array.dtype()) {
        Some((TypeChar::Uint, 1)) => each(array, path, |v: u8| push(v.into())),
        Some((TypeChar::Uint, 2)) => each(array, path, |v: u16| push(v.into())),
        Some((TypeChar::Uint, 4)) => each(array, path, |v: u32| push(v.into())),
        Some((TypeChar::Int, 1)) => each(array, path, |v: i8| push(v.into())),
        Some((TypeChar::Int, 2)) => each(array, path, |v: i16| push(v.into())),
        Some((TypeChar::Int, 4)) => each(array, path, |v: i32| push(v.into())),
        Some((TypeChar::Int, 8)) => each(array, path, &mut push),
        _ => Err(Error::input(
            path,
            format!(
                "array {name:?} has elements {}, labels are integers",
                array.dtype().descr()
            ),
        )),
    }?;
    Ok(labels)
}
