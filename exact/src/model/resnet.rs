//! Residual networks as for CIFAR (He et al., arXiv 1512.03385, section 4.2).

use super::writer::{DataType, Writer, float, ints};
use crate::onnx::Error;

/// A residual network: a convolution, stages of residual blocks of which each but the first halves the image, global
/// average pooling, one fully connected layer. With three stages its depth is `6 · blocks + 2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResNetSpec {
    /// Channels, height and width of one sample.
    pub sample: [usize; 3],
    /// Channels of each stage.
    pub widths: Vec<usize>,
    /// Number of blocks of each stage.
    pub blocks: usize,
    /// Number of classes.
    pub classes: usize,
    /// Seed of the initial weights.
    pub seed: u64,
}

impl Default for ResNetSpec {
    /// ResNet-8 for 32×32 colour images and 10 classes.
    fn default() -> Self {
        Self {
            sample: [3, 32, 32],
            widths: vec![16, 32, 64],
            blocks: 1,
            classes: 10,
            seed: 0,
        }
    }
}

/// The ONNX file of a residual network.
///
/// # Errors
/// When a dimension is 0, there is no stage or no block, or the default [`Limits`](crate::onnx::Limits) are broken.
pub fn resnet(spec: &ResNetSpec) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::new(spec.seed);
    writer.product("sample", &spec.sample)?;
    let Some(first) = spec.widths.first().filter(|_| spec.blocks > 0) else {
        let (stages, blocks) = (spec.widths.len(), spec.blocks);
        return Err(Error::Graph(format!(
            "{stages} stages of {blocks} blocks are no network: there must be at least one of each"
        )));
    };
    let stem = normalised(&mut writer, "stem", "input", [*first, spec.sample[0], 3], 1)?;
    let mut value = writer.node("Relu", "stem.relu", &[&stem], vec![]);
    let mut channels = *first;
    for (stage, width) in (1..).zip(&spec.widths) {
        for block in 1..=spec.blocks {
            let name = format!("stage{stage}.block{block}");
            let stride = if stage > 1 && block == 1 { 2 } else { 1 };
            value = residual(&mut writer, &name, &value, [*width, channels], stride)?;
            channels = *width;
        }
    }
    let pooled = writer.node("GlobalAveragePool", "pool", &[&value], vec![]);
    let flat = writer.node("Flatten", "flatten", &[&pooled], vec![]);
    writer.classifier(flat, channels, &[], spec.classes)?;
    writer.finish("resnet", (DataType::Float, &spec.sample), &[spec.classes])
}

/// A square convolution without bias that keeps the image's size, apart from its stride, then a normalisation.
fn normalised(
    writer: &mut Writer,
    name: &str,
    input: &str,
    [out, channels, kernel]: [usize; 3],
    stride: usize,
) -> Result<String, Error> {
    let fan_in = writer.product(name, &[channels, kernel, kernel])?;
    let bound = (6.0 / fan_in as f32).sqrt();
    let weight = writer.uniform(&format!("{name}.conv.weight"), &[out, channels, kernel, kernel], bound)?;
    let attributes = vec![
        ints("kernel_shape", &[kernel; 2]),
        ints("strides", &[stride; 2]),
        ints("pads", &[kernel / 2; 4]),
    ];
    let conv = writer.node("Conv", &format!("{name}.conv"), &[input, &weight], attributes);
    let mut inputs = vec![conv];
    for (part, value) in [
        ("weight", 1.0),
        ("bias", 0.0),
        ("running_mean", 0.0),
        ("running_var", 1.0),
    ] {
        inputs.push(writer.filled(&format!("{name}.norm.{part}"), &[out], value)?);
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let attributes = vec![float("epsilon", 1e-5), float("momentum", 0.9)];
    Ok(writer.node("BatchNormalization", &format!("{name}.norm"), &inputs, attributes))
}

/// Two convolutions; what came in is added, through a convolution of 1×1 where the shape changes.
fn residual(
    writer: &mut Writer,
    name: &str,
    input: &str,
    [out, channels]: [usize; 2],
    stride: usize,
) -> Result<String, Error> {
    let first = normalised(writer, &format!("{name}.1"), input, [out, channels, 3], stride)?;
    let first = writer.node("Relu", &format!("{name}.1.relu"), &[&first], vec![]);
    let second = normalised(writer, &format!("{name}.2"), &first, [out, out, 3], 1)?;
    let shortcut = if stride == 1 && out == channels {
        input.to_owned()
    } else {
        normalised(writer, &format!("{name}.shortcut"), input, [out, channels, 1], stride)?
    };
    let sum = writer.node("Add", &format!("{name}.add"), &[&second, &shortcut], vec![]);
    Ok(writer.node("Relu", &format!("{name}.relu"), &[&sum], vec![]))
}
