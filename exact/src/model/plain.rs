//! Multi-layer perceptrons and convolutional networks.

use super::writer::{DataType, Writer, ints};
use crate::onnx::Error;

/// A multi-layer perceptron: fully connected layers with `Relu` between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MlpSpec {
    /// Shape of one sample; flattened if it has several dimensions.
    pub sample: Vec<usize>,
    /// Width of each hidden layer.
    pub hidden: Vec<usize>,
    /// Number of classes.
    pub classes: usize,
    /// Seed of the initial weights.
    pub seed: u64,
}

impl Default for MlpSpec {
    /// 28×28 grey images, one hidden layer of 128, 10 classes.
    fn default() -> Self {
        Self {
            sample: vec![1, 28, 28],
            hidden: vec![128],
            classes: 10,
            seed: 0,
        }
    }
}

/// A convolutional network: blocks of a convolution that keeps the image's size, `Relu` and 2×2 max pooling, then fully
/// connected layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CnnSpec {
    /// Channels, height and width of one sample.
    pub sample: [usize; 3],
    /// Number of filters of each block.
    pub filters: Vec<usize>,
    /// Height and width of the filters; odd.
    pub kernel: usize,
    /// Width of each hidden fully connected layer.
    pub hidden: Vec<usize>,
    /// Number of classes.
    pub classes: usize,
    /// Seed of the initial weights.
    pub seed: u64,
}

impl Default for CnnSpec {
    /// 28×28 grey images, 16 and 32 filters of 3×3, one hidden layer of 128, 10 classes.
    fn default() -> Self {
        Self {
            sample: [1, 28, 28],
            filters: vec![16, 32],
            kernel: 3,
            hidden: vec![128],
            classes: 10,
            seed: 0,
        }
    }
}

/// The ONNX file of a multi-layer perceptron.
///
/// # Errors
/// When a dimension is 0 or the default [`Limits`](crate::onnx::Limits) are broken.
pub fn mlp(spec: &MlpSpec) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::new(spec.seed);
    let width = writer.product("sample", &spec.sample)?;
    let flat = if spec.sample.len() > 1 {
        writer.node("Flatten", "flatten", &["input"], vec![])
    } else {
        "input".into()
    };
    writer.classifier(flat, width, &spec.hidden, spec.classes)?;
    writer.finish("mlp", (DataType::Float, &spec.sample), &[spec.classes])
}

/// The ONNX file of a convolutional network.
///
/// # Errors
/// When a dimension is 0, the kernel is even, the image is too small for its pooling layers or the default [`Limits`](crate::onnx::Limits) are
/// broken.
pub fn cnn(spec: &CnnSpec) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::new(spec.seed);
    let kernel = spec.kernel;
    if kernel.is_multiple_of(2) || kernel > 15 {
        return Err(Error::Graph(format!(
            "the kernel is {kernel}, expected an odd number up to 15"
        )));
    }
    let [mut channels, mut height, mut width] = spec.sample;
    writer.product("sample", &spec.sample)?;
    let mut value = "input".to_owned();
    for (i, filters) in (1..).zip(&spec.filters) {
        let pads = ints("pads", &[kernel / 2; 4]);
        let shape = ints("kernel_shape", &[kernel; 2]);
        value = writer.layer(
            "Conv",
            &format!("conv{i}"),
            &value,
            &[*filters, channels, kernel, kernel],
            vec![shape, pads],
        )?;
        value = writer.node("Relu", &format!("relu{i}"), &[&value], vec![]);
        if height < 2 || width < 2 {
            return Err(Error::Graph(format!(
                "the image is {height}×{width} before pool{i}, too small to be halved"
            )));
        }
        let window = vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])];
        value = writer.node("MaxPool", &format!("pool{i}"), &[&value], window);
        (channels, height, width) = (*filters, height / 2, width / 2);
    }
    let flat = writer.node("Flatten", "flatten", &[&value], vec![]);
    let features = writer.product("features", &[channels, height, width])?;
    writer.classifier(flat, features, &spec.hidden, spec.classes)?;
    writer.finish("cnn", (DataType::Float, &spec.sample), &[spec.classes])
}
