//! `trainyard data …`

use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use color_eyre::eyre::{Result, WrapErr as _, bail};
use serde_json::{Value, json};
use trainyard_client::data::{
    Encryption, Input, Inputs, KeyVault, LabelColumn, MAX_MANIFEST_BYTES, Manifest, Normalisation, PackOptions,
    PackedSplit, pack,
};
use trainyard_overlay::BlockStore;

use super::Global;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Turn data into shards and two manifests in the local block store
    ///
    /// Inputs are written as
    ///   idx:IMAGES,LABELS          MNIST's format, also gzip-compressed
    ///   images:FOLDER              one subfolder of png, jpg or bmp files per class
    ///   csv:FILE,label=COLUMN      a column by name, or by number from 0; header=yes|no where it is not clear
    ///   npz:FILE,x=NAME,y=NAME     arrays of samples and labels
    #[command(verbatim_doc_comment)]
    Pack(Box<Pack>),
    /// Show a manifest: a file, or the CID of one that was packed here
    Inspect {
        /// The manifest
        manifest: String,
    },
    /// Offer what was packed here to the network until stopped, or until others hold it
    Serve(super::job::Serve),
}

#[derive(Debug, clap::Args)]
pub(super) struct Pack {
    /// The dataset's name: a-z 0-9 . _ -
    name: String,
    /// Input of the train split
    #[arg(long, value_parser = input, requires = "test", conflicts_with = "all")]
    train: Option<Input>,
    /// Input of the test split
    #[arg(long, value_parser = input, requires = "train")]
    test: Option<Input>,
    /// Input of both splits
    #[arg(long, value_parser = input, required_unless_present = "train", value_name = "INPUT")]
    all: Option<Input>,
    /// The test split's share of --all
    #[arg(long, default_value_t = 0.2, value_name = "SHARE")]
    test_fraction: f64,
    /// Draws the order of samples and the splits of --all
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Which splits are encrypted, each under a key of its own
    #[arg(long, default_value = "none", num_args = 0..=1, default_missing_value = "both")]
    encrypt: Encrypt,
    /// Shape of a sample if not the input's own, as 1,28,28
    #[arg(long, value_delimiter = ',')]
    shape: Option<Vec<usize>>,
    /// Elements are multiplied by this [default: 1/255 for bytes, 1 for floats]
    #[arg(long)]
    scale: Option<String>,
    /// Then this is subtracted [default: 0]
    #[arg(long, allow_negative_numbers = true)]
    mean: Option<String>,
    /// Then they are divided by this [default: 1]
    #[arg(long)]
    std: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Encrypt {
    None,
    Train,
    Test,
    Both,
}

pub(super) fn run(global: &Global, command: Command) -> Result<()> {
    match command {
        Command::Pack(options) => run_pack(global, *options),
        Command::Inspect { manifest } => {
            let bytes = read_manifest(&global.home()?, &manifest)?;
            global.print(&Manifest::open(&bytes)?)
        }
        Command::Serve(options) => super::block_on(super::job::serve(global, &options)),
    }
}

/// The block store of a home folder, which `data serve` serves from.
pub(super) fn block_store(home: &Path) -> Result<BlockStore> {
    BlockStore::open(home.join("ipfs")).wrap_err("cannot open the block store")
}

fn run_pack(global: &Global, options: Pack) -> Result<()> {
    let home = global.home()?;
    let inputs = match (options.train, options.test, options.all) {
        (Some(train), Some(test), None) => Inputs::Given { train, test },
        (None, None, Some(input)) => Inputs::Fraction {
            input,
            test: options.test_fraction,
        },
        _ => bail!("give --train and --test, or --all"),
    };
    let normalisation = normalisation(&inputs, options.scale, options.mean, options.std)?;
    let options = PackOptions {
        name: options.name,
        inputs,
        seed: options.seed,
        encrypt_train: matches!(options.encrypt, Encrypt::Train | Encrypt::Both),
        encrypt_test: matches!(options.encrypt, Encrypt::Test | Encrypt::Both),
        normalisation,
        shape: options.shape,
    };
    let store = block_store(&home)?;
    let packed = pack(&options, &mut |bytes| Ok(store.add_bytes(bytes)?.cid.to_string()))?;
    let vault = KeyVault::open(&home);
    for split in [&packed.train, &packed.test] {
        if let Some(key) = &split.key {
            vault.put(&split.cid, key)?;
        }
        let path = manifest_path(&home, &split.cid)?;
        let written =
            std::fs::create_dir_all(home.join("manifests")).and_then(|()| std::fs::write(&path, &split.bytes));
        written.wrap_err_with(|| path.display().to_string())?;
    }
    global.print(&json!({
        "name": options.name,
        "train": view(&packed.train),
        "test": view(&packed.test),
    }))
}

/// All three numbers where one is given; `pack` chooses otherwise.
fn normalisation(
    inputs: &Inputs,
    scale: Option<String>,
    mean: Option<String>,
    std: Option<String>,
) -> Result<Option<Normalisation>> {
    if scale.is_none() && mean.is_none() && std.is_none() {
        return Ok(None);
    }
    let input = match inputs {
        Inputs::Given { train, .. } => train,
        Inputs::Fraction { input, .. } => input,
    };
    let bytes = matches!(input, Input::Images { .. });
    let floats = matches!(input, Input::Csv { .. });
    let scale = match scale {
        Some(scale) => scale,
        None if bytes => Normalisation::default_for(trainyard_client::data::Dtype::U8).scale,
        None if floats => "1".into(),
        None => bail!("--mean and --std need --scale here: 0.003921568627451 takes bytes to [0, 1], 1 leaves floats"),
    };
    Ok(Some(Normalisation {
        scale,
        mean: mean.unwrap_or("0".into()),
        std: std.unwrap_or("1".into()),
    }))
}

fn view(split: &PackedSplit) -> Value {
    json!({
        "manifest_cid": split.cid,
        "plaintext_root": hex::encode(split.manifest.plaintext_root),
        "samples": split.manifest.samples,
        "shape": split.manifest.shape,
        "classes": split.manifest.classes.len(),
        "shards": split.manifest.shards.len(),
        "bytes": split.manifest.shards.iter().map(|s| s.bytes).sum::<u64>(),
        "encrypted": split.manifest.encryption != Encryption::None,
    })
}

/// A manifest's bytes: from a file or, by CID, from those packed here.
pub(super) fn read_manifest(home: &Path, manifest: &str) -> Result<Vec<u8>> {
    let file = PathBuf::from(manifest);
    let path = if file.exists() {
        file
    } else {
        manifest_path(home, manifest)?
    };
    let length = path.metadata().wrap_err_with(|| path.display().to_string())?.len();
    if length > MAX_MANIFEST_BYTES as u64 {
        bail!(
            "{}: {length} bytes, a manifest has at most {MAX_MANIFEST_BYTES}",
            path.display()
        );
    }
    std::fs::read(&path).wrap_err_with(|| path.display().to_string())
}

/// Where `pack` leaves a copy of a manifest.
fn manifest_path(home: &Path, cid: &str) -> Result<PathBuf> {
    if cid.is_empty() || !cid.bytes().all(|b| b.is_ascii_alphanumeric()) {
        bail!("{cid:?} is neither a file nor a CID");
    }
    Ok(home.join("manifests").join(format!("{cid}.json")))
}

fn input(text: &str) -> Result<Input, String> {
    let (kind, rest) = text.split_once(':').ok_or("it should look like idx:IMAGES,LABELS")?;
    let mut parts = rest.split(',');
    let path = parts
        .next()
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .ok_or("a path is missing")?;
    let mut options = Vec::new();
    for part in parts {
        options.push(part.split_once('=').unwrap_or(("", part)));
    }
    let mut take = |name: &str| {
        let at = options.iter().position(|(option, _)| *option == name)?;
        Some(options.remove(at).1.to_owned())
    };
    let input = match kind {
        "idx" => Input::Idx {
            images: path,
            labels: take("").ok_or("the labels' file is missing")?.into(),
        },
        "images" => Input::Images { folder: path },
        "csv" => {
            let label = take("label").ok_or("label=COLUMN is missing")?;
            let label = label.parse().map_or(LabelColumn::Name(label), LabelColumn::Index);
            let header = match take("header").as_deref() {
                None => None,
                Some("yes") => Some(true),
                Some("no") => Some(false),
                Some(other) => return Err(format!("header={other} is neither yes nor no")),
            };
            Input::Csv { path, label, header }
        }
        "npz" => Input::Npz {
            path,
            x: take("x").unwrap_or("x".into()),
            y: take("y").unwrap_or("y".into()),
        },
        other => return Err(format!("{other:?} is not idx, images, csv or npz")),
    };
    match options.first() {
        None => Ok(input),
        Some((name, value)) => Err(format!("{kind} has no option {name:?} (={value:?})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_written_in_one_line() {
        assert!(matches!(input("idx:a,b").unwrap(), Input::Idx { images, labels }
            if images == Path::new("a") && labels == Path::new("b")));
        assert!(matches!(
            input("csv:f.csv,label=3,header=no").unwrap(),
            Input::Csv {
                label: LabelColumn::Index(3),
                header: Some(false),
                ..
            }
        ));
        assert!(matches!(input("csv:f.csv,label=kind").unwrap(),
            Input::Csv { label: LabelColumn::Name(name), header: None, .. } if name == "kind"));
        assert!(matches!(input("npz:f.npz,y=labels").unwrap(), Input::Npz { x, y, .. } if x == "x" && y == "labels"));
        for bad in [
            "",
            "idx",
            "idx:",
            "idx:a",
            "tar:a",
            "csv:f",
            "csv:f,label=1,header=maybe",
            "images:a,b",
        ] {
            assert!(input(bad).is_err(), "{bad:?}");
        }
    }
}
