//! An image folder: one subfolder per class.

use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageReader};

use super::super::manifest::{MAX_CLASS_BYTES, MAX_CLASSES};
use super::{Dtype, Error, MAX_SAMPLES, Rows, Source};

/// Widest and tallest image decoded, pixels.
const MAX_SIDE: u32 = 8192;

pub(super) fn open(folder: &Path, classes: Option<&[String]>) -> Result<Source, Error> {
    let found = subfolders(folder)?;
    let classes = match classes {
        Some(classes) => {
            if let Some(new) = found.iter().find(|name| !classes.contains(name)) {
                let what = format!(
                    "class {new:?} of the test set is not one of the train set's {}",
                    classes.len()
                );
                return Err(Error::input(folder, what));
            }
            classes.to_vec()
        }
        None => found.clone(),
    };
    let (mut paths, mut labels) = (Vec::new(), Vec::new());
    for (label, class) in (0u32..).zip(&classes).filter(|(_, class)| found.contains(class)) {
        let images = images(&folder.join(class))?;
        labels.extend(std::iter::repeat_n(label, images.len()));
        paths.extend(images);
        if paths.len() as u64 > MAX_SAMPLES {
            return Err(Error::input(folder, format!("more than {MAX_SAMPLES} images")));
        }
    }
    let Some(first) = paths.first() else {
        return Err(Error::input(
            folder,
            "no .png, .jpg, .jpeg or .bmp file in its subfolders",
        ));
    };
    let first = decode(first)?;
    let channels = if first.color().has_color() { 3 } else { 1 };
    let shape = vec![channels, first.height() as usize, first.width() as usize];
    Ok(Source {
        path: folder.to_path_buf(),
        shape,
        dtype: Dtype::U8,
        classes,
        labels,
        rows: Rows::Images(paths),
    })
}

/// Decodes one image to `[c, h, w]`.
pub(super) fn read(path: &Path, shape: &[usize], into: &mut Vec<u8>) -> Result<(), Error> {
    let image = decode(path)?;
    let (height, width) = (image.height() as usize, image.width() as usize);
    if shape[1..] != [height, width] {
        return Err(Error::input(
            path,
            format!(
                "{width} x {height} pixels, the folder's first image has {} x {}",
                shape[2], shape[1]
            ),
        ));
    }
    if shape[0] == 1 {
        if image.color().has_color() {
            return Err(Error::input(path, "a colour image, the folder's first image is grey"));
        }
        into.extend_from_slice(&image.into_luma8());
    } else {
        let interleaved = image.into_rgb8();
        for channel in 0..3 {
            into.extend(interleaved.iter().skip(channel).step_by(3));
        }
    }
    Ok(())
}

fn decode(path: &Path) -> Result<DynamicImage, Error> {
    let io = |e| Error::io(path, e);
    let mut reader = ImageReader::open(path).map_err(io)?.with_guessed_format().map_err(io)?;
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(1 << 30);
    reader.limits(limits);
    reader
        .decode()
        .map_err(|e| Error::input(path, format!("not a readable image: {e}")))
}

fn subfolders(folder: &Path) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for (path, is_dir) in entries(folder)? {
        if !is_dir {
            continue;
        }
        match path.file_name().and_then(|name| name.to_str()) {
            Some(name) if name.len() <= MAX_CLASS_BYTES => names.push(name.to_owned()),
            _ => {
                return Err(Error::input(
                    &path,
                    format!("a class name must be UTF-8 of at most {MAX_CLASS_BYTES} bytes"),
                ));
            }
        }
    }
    if names.is_empty() || names.len() > MAX_CLASSES {
        return Err(Error::input(
            folder,
            format!("{} class subfolders, outside 1..={MAX_CLASSES}", names.len()),
        ));
    }
    Ok(names)
}

fn images(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let is_image = |path: &Path| {
        let extension = path
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or("")
            .to_ascii_lowercase();
        matches!(extension.as_str(), "png" | "jpg" | "jpeg" | "bmp")
    };
    Ok(entries(folder)?
        .into_iter()
        .filter(|(path, is_dir)| !is_dir && is_image(path))
        .map(|(path, _)| path)
        .collect())
}

/// A folder's visible entries, by name, and whether each is a folder.
fn entries(folder: &Path) -> Result<Vec<(PathBuf, bool)>, Error> {
    let io = |e| Error::io(folder, e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            let path = entry.path();
            let is_dir = path.is_dir();
            found.push((path, is_dir));
        }
    }
    found.sort();
    Ok(found)
}
