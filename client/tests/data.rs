//! Every importer through `pack`, and back through `Manifest::open` and `read_shard`.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use npyz::WriterBuilder;
use npyz::zip::write::FileOptions;
use trainyard_client::data::{
    Dtype, Encryption, Error, Input, Inputs, LabelColumn, Manifest, Normalisation, PackOptions, Packed, PackedSplit,
    Pixels, Samples, pack, read_shard,
};

/// What was added, by an invented CID.
type Blocks = HashMap<String, Vec<u8>>;

fn run(options: &PackOptions) -> Result<(Packed, Blocks), Error> {
    let mut blocks = Blocks::new();
    let packed = pack(options, &mut |bytes| {
        let cid = format!("bafk{}", blocks.len());
        blocks.insert(cid.clone(), bytes.to_vec());
        Ok(cid)
    })?;
    Ok((packed, blocks))
}

fn refusal(options: &PackOptions) -> String {
    run(options).map(|_| ()).unwrap_err().to_string()
}

fn options(inputs: Inputs) -> PackOptions {
    PackOptions {
        name: "tiny".into(),
        inputs,
        seed: 1,
        encrypt_train: false,
        encrypt_test: false,
        normalisation: None,
        shape: None,
    }
}

fn fraction(input: Input) -> PackOptions {
    options(Inputs::Fraction { input, test: 0.25 })
}

/// Reads a split back the way a worker does.
fn open(split: &PackedSplit, blocks: &Blocks) -> (Manifest, Vec<Samples>) {
    assert_eq!(blocks[&split.cid], split.bytes);
    let manifest = Manifest::open(&split.bytes).unwrap();
    assert_eq!(manifest, split.manifest);
    let shards = (0..manifest.shards.len())
        .map(|i| read_shard(&manifest, i, &blocks[&manifest.shards[i].cid], split.key.as_ref()).unwrap())
        .collect();
    (manifest, shards)
}

fn labels(shards: &[Samples]) -> Vec<i64> {
    shards.iter().flat_map(|s| s.y.clone()).collect()
}

/// An IDX file of `u8`.
fn idx(path: &Path, dims: &[u32], data: &[u8], gzip: bool) -> PathBuf {
    let mut bytes = vec![0, 0, 8, u8::try_from(dims.len()).unwrap()];
    bytes.extend(dims.iter().flat_map(|d| d.to_be_bytes()));
    bytes.extend_from_slice(data);
    if gzip {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&bytes).unwrap();
        bytes = encoder.finish().unwrap();
    }
    fs::write(path, bytes).unwrap();
    path.to_path_buf()
}

/// `n` pictures of 2 × 3 whose pixels all equal the sample's number, with labels `i % 3`.
fn idx_input(folder: &Path, name: &str, n: u8, gzip: bool) -> Input {
    let pixels: Vec<u8> = (0..n).flat_map(|i| [i; 6]).collect();
    let classes: Vec<u8> = (0..n).map(|i| i % 3).collect();
    Input::Idx {
        images: idx(&folder.join(format!("{name}-images")), &[n.into(), 2, 3], &pixels, gzip),
        labels: idx(&folder.join(format!("{name}-labels")), &[n.into()], &classes, gzip),
    }
}

#[test]
fn idx_given_splits_encrypted_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let inputs = Inputs::Given {
        train: idx_input(dir.path(), "train", 20, true),
        test: idx_input(dir.path(), "test", 8, false),
    };
    let options = PackOptions {
        encrypt_train: true,
        encrypt_test: true,
        ..options(inputs)
    };
    let (packed, blocks) = run(&options).unwrap();
    assert_ne!(packed.train.key.unwrap(), packed.test.key.unwrap());

    let (manifest, shards) = open(&packed.train, &blocks);
    assert_eq!(
        (manifest.samples, manifest.shape.as_slice()),
        (20, [1, 2, 3].as_slice())
    );
    assert_eq!(
        (manifest.dtype, manifest.encryption),
        (Dtype::U8, Encryption::XChaCha20Poly1305)
    );
    assert_eq!(manifest.classes, ["0", "1", "2"]);
    let [shard] = shards.as_slice() else {
        panic!("{} shards", shards.len())
    };
    let Pixels::U8(x) = &shard.x else { panic!("floats") };
    let mut seen: Vec<u8> = Vec::new();
    for (pixels, label) in x.chunks(6).zip(&shard.y) {
        assert!(pixels.iter().all(|p| *p == pixels[0]));
        assert_eq!(*label, i64::from(pixels[0] % 3), "labels stay with their pictures");
        seen.push(pixels[0]);
    }
    assert_ne!(seen, (0..20).collect::<Vec<_>>(), "the order is shuffled");
    seen.sort_unstable();
    assert_eq!(seen, (0..20).collect::<Vec<_>>());
    let normalised = shard.normalised();
    assert!((normalised[0] - f32::from(x[0]) / 255.0).abs() < 1e-6);

    // Packing again gives the same plaintext and other ciphertexts.
    let (again, _) = run(&options).unwrap();
    assert_eq!(again.train.manifest.plaintext_root, manifest.plaintext_root);
    assert_ne!(again.train.manifest.shards[0].sha256, manifest.shards[0].sha256);
}

#[test]
fn damaged_or_misplaced_shards_are_refused_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let options = PackOptions {
        encrypt_train: true,
        ..fraction(idx_input(dir.path(), "all", 20, false))
    };
    let (packed, blocks) = run(&options).unwrap();
    let (manifest, key) = (&packed.train.manifest, packed.train.key.unwrap());
    let good = &blocks[&manifest.shards[0].cid];

    let mut bad = good.clone();
    bad[17] ^= 1;
    let error = read_shard(manifest, 0, &bad, Some(&key)).unwrap_err();
    assert!(matches!(error, Error::ShardHash { .. }));
    assert!(error.to_string().contains("tiny/train/0"), "{error}");
    assert!(
        read_shard(manifest, 0, &good[1..], Some(&key))
            .unwrap_err()
            .to_string()
            .contains("the manifest says")
    );
    assert!(
        read_shard(manifest, 0, good, None)
            .unwrap_err()
            .to_string()
            .contains("no key")
    );
    assert!(
        read_shard(manifest, 1, good, Some(&key))
            .unwrap_err()
            .to_string()
            .contains("the manifest has 1")
    );
    assert!(matches!(
        read_shard(manifest, 0, good, Some(&[0; 32])),
        Err(Error::WrongKey { .. })
    ));

    // The same ciphertext under another dataset's name does not open.
    let moved = Manifest {
        name: "other".into(),
        ..manifest.clone()
    };
    assert!(matches!(
        read_shard(&moved, 0, good, Some(&key)),
        Err(Error::WrongKey { .. })
    ));
    // A manifest that promises fewer classes than the labels use.
    let narrow = Manifest {
        classes: vec!["only".into()],
        ..manifest.clone()
    };
    assert!(
        read_shard(&narrow, 0, good, Some(&key))
            .unwrap_err()
            .to_string()
            .contains("labels are 0..1")
    );
    // The test split was not encrypted.
    assert_eq!(packed.test.key, None);
    assert_eq!(open(&packed.test, &blocks).0.samples, 5);
}

#[test]
fn large_inputs_become_several_shards() {
    let dir = tempfile::tempdir().unwrap();
    let n = 9000u32;
    let input = Input::Idx {
        images: idx(&dir.path().join("x"), &[n, 1, 1], &vec![7; n as usize], false),
        labels: idx(&dir.path().join("y"), &[n], &vec![0; n as usize], true),
    };
    let (packed, blocks) = run(&options(Inputs::Fraction { input, test: 0.01 })).unwrap();
    let (manifest, shards) = open(&packed.train, &blocks);
    assert_eq!(
        manifest.shards.iter().map(|s| s.samples).collect::<Vec<_>>(),
        [4096, 4096, 718]
    );
    assert_eq!(labels(&shards).len(), 8910);
    assert_eq!(packed.test.manifest.samples, 90);
}

#[test]
fn hostile_idx_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    let labels = idx(&dir.path().join("y"), &[4], &[0; 4], false);
    let cases: [(&[u32], &[u8], bool, &str); 5] = [
        (
            &[4, 2, 2],
            &[0; 15],
            false,
            "15 bytes of elements, its header promises 16",
        ),
        (
            &[4, 2, 2],
            &[0; 17],
            true,
            "17 bytes of elements, its header promises 16",
        ),
        (&[u32::MAX, 2, 2], &[0; 4], false, "4294967295 samples, outside"),
        (&[4, u32::MAX, u32::MAX], &[0; 4], false, "larger than 67108864 bytes"),
        (&[5, 1, 1], &[0; 5], false, "4 labels for 5 samples"),
    ];
    for (dims, data, gzip, needle) in cases {
        let images = idx(&path, dims, data, gzip);
        let error = refusal(&fraction(Input::Idx {
            images,
            labels: labels.clone(),
        }));
        assert!(error.contains(needle), "{error:?} should say {needle:?}");
    }
    fs::write(&path, b"PK\x03\x04").unwrap();
    let error = refusal(&fraction(Input::Idx {
        images: path,
        labels: labels.clone(),
    }));
    assert!(error.contains("it starts with 504b0304"), "{error}");
    let error = refusal(&fraction(Input::Idx {
        images: dir.path().join("none"),
        labels,
    }));
    assert!(error.contains("none"), "{error}");
}

#[test]
fn a_test_label_beyond_the_train_classes_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let test = Input::Idx {
        images: idx(&dir.path().join("x"), &[1, 2, 3], &[0; 6], false),
        labels: idx(&dir.path().join("y"), &[1], &[9], false),
    };
    let error = refusal(&options(Inputs::Given {
        train: idx_input(dir.path(), "train", 6, false),
        test,
    }));
    assert!(error.contains("label 9"), "{error}");
}

#[test]
fn image_folders_take_classes_from_their_subfolders() {
    let dir = tempfile::tempdir().unwrap();
    let image = |class: &str, name: &str, width: u32, red: u8| {
        let folder = dir.path().join(class);
        fs::create_dir_all(&folder).unwrap();
        let pixel = image::Rgb([red, 1, 2]);
        image::RgbImage::from_pixel(width, 2, pixel)
            .save(folder.join(name))
            .unwrap();
    };
    for i in 0..4u8 {
        image("cat", &format!("{i}.png"), 3, 10 + i);
        image("dog", &format!("{i}.bmp"), 3, 20 + i);
    }
    fs::write(dir.path().join("cat/notes.txt"), "not an image").unwrap();
    let input = Input::Images {
        folder: dir.path().into(),
    };
    let (packed, blocks) = run(&fraction(input.clone())).unwrap();
    let (manifest, shards) = open(&packed.train, &blocks);
    assert_eq!((manifest.samples, manifest.shape.as_slice()), (6, [3, 2, 3].as_slice()));
    assert_eq!(manifest.classes, ["cat", "dog"]);
    let Pixels::U8(x) = &shards[0].x else { panic!("floats") };
    for (pixels, label) in x.chunks(18).zip(&shards[0].y) {
        assert_eq!(i64::from(pixels[0] / 10) - 1, *label);
        assert_eq!(
            (&pixels[6..12], &pixels[12..]),
            ([1; 6].as_slice(), [2; 6].as_slice()),
            "channels are planes"
        );
    }

    image("dog", "wide.png", 5, 20);
    let error = refusal(&fraction(input.clone()));
    assert!(error.contains("wide.png") && error.contains("5 x 2"), "{error}");
    fs::write(dir.path().join("dog/wide.png"), b"garbage").unwrap();
    let error = refusal(&fraction(input));
    assert!(
        error.contains("wide.png") && error.contains("not a readable image"),
        "{error}"
    );
}

#[test]
fn csv_labels_by_name_or_index() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("iris.csv");
    let csv = |label, header| {
        fraction(Input::Csv {
            path: path.clone(),
            label,
            header,
        })
    };
    let by_name = || csv(LabelColumn::Name("species".into()), None);

    fs::write(
        &path,
        "a,species,b\n1,setosa,2.5\n3,virginica,-4e-1\n5,setosa,6\n7,\"setosa\",8\n",
    )
    .unwrap();
    let (packed, blocks) = run(&by_name()).unwrap();
    let (manifest, shards) = open(&packed.train, &blocks);
    assert_eq!(
        (manifest.dtype, manifest.shape.as_slice()),
        (Dtype::F32, [2].as_slice())
    );
    assert_eq!(manifest.classes, ["setosa", "virginica"]);
    let Pixels::F32(x) = &shards[0].x else { panic!("bytes") };
    for (row, label) in x.chunks(2).zip(&shards[0].y) {
        assert_eq!(*label == 1, row == [3.0, -0.4]);
    }
    // The header is found without being announced, and numeric labels sort as numbers.
    fs::write(&path, "a,l,b\n1,10,2\n3,9,4\n5,9,6\n7,10,8\n").unwrap();
    let (packed, _) = run(&csv(LabelColumn::Index(1), None)).unwrap();
    assert_eq!(
        (packed.train.manifest.samples, packed.train.manifest.classes),
        (3, vec!["9".into(), "10".into()])
    );

    for (text, needle) in [
        (
            "a,species\n1,x\nNaN,y\n",
            "line 3, column 0: \"NaN\" is not a finite number",
        ),
        ("a,species\n1,x\n1,2,3\n", "record 2"),
        ("a,species\n1,\n", "label: 0 bytes long"),
        ("a,b\n1,2\n", "no column is called \"species\""),
        ("species\nx\n", "at least 2"),
        ("a,species\n", "0 samples"),
        ("", "an empty file"),
    ] {
        fs::write(&path, text).unwrap();
        let error = refusal(&by_name());
        assert!(error.contains(needle), "{error:?} should say {needle:?}");
    }
    fs::write(&path, vec![b'1'; 20 << 20]).unwrap();
    assert!(refusal(&by_name()).contains("longer than 16777216 bytes"));
}

fn npz(path: &Path, x: &[f32], shape: &[u64], y: &[i64]) {
    let mut file = npyz::npz::NpzWriter::create(path).unwrap();
    let samples = file
        .array("x", FileOptions::default())
        .unwrap()
        .default_dtype()
        .shape(shape);
    let mut samples = samples.begin_nd().unwrap();
    samples.extend(x.iter().copied()).unwrap();
    samples.finish().unwrap();
    let labels = file
        .array("y", FileOptions::default())
        .unwrap()
        .default_dtype()
        .shape(&[y.len() as u64]);
    let mut labels = labels.begin_nd().unwrap();
    labels.extend(y.iter().copied()).unwrap();
    labels.finish().unwrap();
}

#[test]
fn npz_arrays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("set.npz");
    let input = |x: &str| {
        fraction(Input::Npz {
            path: path.clone(),
            x: x.into(),
            y: "y".into(),
        })
    };
    let values: Vec<f32> = (0..16u8).map(f32::from).collect();
    npz(&path, &values, &[4, 2, 2], &[0, 1, 0, 1]);
    let normalisation = Normalisation {
        scale: "0.5".into(),
        mean: "1".into(),
        std: "2".into(),
    };
    let options = PackOptions {
        normalisation: Some(normalisation),
        shape: Some(vec![4]),
        ..input("x")
    };
    let (packed, blocks) = run(&options).unwrap();
    let (manifest, shards) = open(&packed.train, &blocks);
    assert_eq!((manifest.samples, manifest.shape.as_slice()), (3, [4].as_slice()));
    let Pixels::F32(x) = &shards[0].x else { panic!("bytes") };
    let expected: Vec<f32> = x.iter().map(|v| (v * 0.5 - 1.0) / 2.0).collect();
    assert_eq!(shards[0].normalised(), expected);

    assert!(refusal(&input("z")).contains("no array \"z\""));
    assert!(
        refusal(&PackOptions {
            shape: Some(vec![5]),
            ..input("x")
        })
        .contains("[5]")
    );
    npz(&path, &values, &[4, 2, 2], &[0, 1, 0]);
    assert!(refusal(&input("x")).contains("has 3 labels"));
    npz(&path, &values, &[4, 2, 2], &[0, 1, 0, -1]);
    assert!(refusal(&input("x")).contains("label -1"));
    let mut bad = values.clone();
    bad[5] = f32::NAN;
    npz(&path, &bad, &[4, 2, 2], &[0, 1, 0, 1]);
    assert!(refusal(&input("x")).contains("element 1 is NaN"));
    fs::write(&path, b"not a zip").unwrap();
    assert!(refusal(&input("x")).contains("set.npz"));
}

#[test]
fn a_failing_store_ends_the_packing() {
    let dir = tempfile::tempdir().unwrap();
    let options = fraction(idx_input(dir.path(), "all", 8, false));
    let error = pack(&options, &mut |_| Err("disk full".into()))
        .unwrap_err()
        .to_string();
    assert_eq!(error, "adding to IPFS: disk full");
}
