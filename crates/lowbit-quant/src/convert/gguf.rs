//! To a GGUF file, for programs that read these.

use super::{Converted, ConvertedTensor, Inexact, exact};
use crate::QuantError;
use lowbit_format::{FloatFormat, QuantTensor, TensorData, WeightSpec};
use lowbit_io::{
    Checkpoint, Config, Encoding, Payload, Spool, TensorInfo,
    gguf::{GgufWriter, Metadata, OwnedValue, can_hold},
};
use std::path::Path;

/// The version of block formats that current readers expect where there are any.
const QUANTIZATION_VERSION: &str = "general.quantization_version";
/// The most common type of the tensors, which is another one now; readers look at the tensors where it is absent.
const FILE_TYPE: &str = "general.file_type";

pub(super) fn write(
    checkpoint: &Checkpoint,
    source: &Path,
    out: &Path,
    inexact: Inexact,
) -> Result<Converted, QuantError> {
    let unsupported = |why| QuantError::Unsupported { path: source.display().to_string(), why };
    let Config::Gguf(metadata) = checkpoint.config() else {
        return Err(unsupported(
            "its hyper-parameters, vocabulary and tensor names are not those of a GGUF file, and are not translated; quantize a GGUF file of the model and convert that",
        ));
    };
    if checkpoint.activations().is_some() {
        return Err(unsupported(
            "it prescribes activations of 8 bits or fewer, which a GGUF file cannot say; quantize with another method, such as gptq",
        ));
    }
    let mut writer = GgufWriter::new();
    copy_metadata(&mut writer, metadata, matches!(checkpoint, Checkpoint::Gguf(_)))?;
    if !metadata.iter().any(|(key, _)| key == QUANTIZATION_VERSION) {
        writer.metadata(QUANTIZATION_VERSION, 2u32)?;
    }
    let spool = Spool::beside(out)?;
    let mut tensors = Vec::new();
    for info in checkpoint.tensors() {
        let from = checkpoint.format_label(info);
        if !checkpoint.input_ops(&info.name)?.is_empty() {
            let why =
                "its input is permuted, scaled or rotated first, which a GGUF file cannot say".to_owned();
            let next =
                "quantize with a method that does not do that, such as gptq without act-order, mse or hqq";
            return Err(QuantError::NotHeld { tensor: info.name.clone(), format: from, why, next });
        }
        let Place { encoding, payload, inexact } = place(checkpoint, info, inexact, &spool)?;
        writer.payload(&info.name, encoding, &info.dims, payload)?;
        let to = encoding.label().to_owned();
        tensors.push(ConvertedTensor { name: info.name.clone(), from, to, inexact });
    }
    writer.write(out)?;
    let bytes =
        std::fs::metadata(out).map_err(|error| lowbit_io::IoError::os("look at", error).in_file(out))?;
    Ok(Converted { tensors, bytes: bytes.len() })
}

/// All pairs but those that tell the files of a set apart, and the type of the file where tensors have others now.
fn copy_metadata(writer: &mut GgufWriter, metadata: &Metadata, same_types: bool) -> Result<(), QuantError> {
    for (key, value) in metadata.iter() {
        if !key.starts_with("split.") && (same_types || key != FILE_TYPE) {
            writer.metadata(key, OwnedValue::try_from(value?)?)?;
        }
    }
    Ok(())
}

/// What is written of a tensor, and why that is not exactly what it was.
struct Place {
    encoding: Encoding,
    payload: Payload,
    inexact: Option<String>,
}

fn place(
    checkpoint: &Checkpoint,
    info: &TensorInfo,
    inexact: Inexact,
    spool: &Spool,
) -> Result<Place, QuantError> {
    let scaled = shares_scale(checkpoint, info)?;
    if can_hold(info.encoding) && !scaled {
        let payload = checkpoint.raw(&info.name)?.bytes.into();
        return Ok(Place { encoding: info.encoding, payload, inexact: None });
    }
    let tensor = checkpoint.tensor(&info.name)?;
    let why = match tensor.data() {
        TensorData::Grouped(grouped) => match exact::blocks(grouped) {
            Ok(made) => return kept(&made, spool, None),
            Err(why) => why,
        },
        TensorData::Sum(_) => "something is added to its codes".to_owned(),
        _ if scaled => "its blocks share a scale, which lowbit does not write to GGUF files".to_owned(),
        _ => "its type is of one program only".to_owned(),
    };
    match inexact {
        Inexact::Decode(format) => kept(&decoded(info, &tensor, format)?, spool, Some(why)),
        Inexact::Refuse => Err(QuantError::NotHeld {
            tensor: info.name.clone(),
            format: checkpoint.format_label(info),
            why: format!("no type of GGUF holds it exactly: {why}"),
            next: "quantize with --format int4-sym-g32, or decode such tensors with --lossy f16",
        }),
    }
}

/// Whether all blocks of a tensor are scaled once more.
fn shares_scale(checkpoint: &Checkpoint, info: &TensorInfo) -> Result<bool, QuantError> {
    let Encoding::Blocks(format) = info.encoding else { return Ok(false) };
    if !format.layout().tensor_scale {
        return Ok(false);
    }
    let tensor = checkpoint.tensor(&info.name)?;
    Ok(matches!(tensor.data(), TensorData::Blocks { tensor_scale, .. } if *tensor_scale != 1.0))
}

/// Puts a tensor of blocks or floats away until the file is written.
fn kept(tensor: &QuantTensor, spool: &Spool, inexact: Option<String>) -> Result<Place, QuantError> {
    let (TensorData::Float { bytes, .. } | TensorData::Blocks { bytes, .. }) = tensor.data() else {
        unreachable!("{} is neither blocks nor floats", tensor.spec())
    };
    let encoding = match tensor.spec() {
        WeightSpec::Block(format) => Encoding::Blocks(format),
        WeightSpec::Float(format) => Encoding::Float(format),
        WeightSpec::Grouped(_) | WeightSpec::Sum(_) => Encoding::Grouped,
    };
    Ok(Place { encoding, payload: spool.keep(bytes.bytes())?, inexact })
}

/// The weights as floats.
fn decoded(info: &TensorInfo, tensor: &QuantTensor, format: FloatFormat) -> Result<QuantTensor, QuantError> {
    let shape = tensor.shape();
    let mut bytes = Vec::with_capacity(shape.weights() * format.bytes());
    let mut row = vec![0.0; shape.k];
    for n in 0..shape.n {
        tensor.decode_row(n, &mut row);
        let encoded = format.encode(&row);
        let mut back = vec![0.0; shape.k];
        format.decode(&encoded, &mut back);
        if let Some(i) = back.iter().position(|x| !x.is_finite()) {
            return Err(QuantError::NotHeld {
                tensor: info.name.clone(),
                format: tensor.spec().label(),
                why: format!("row {n}, weight {i} is {}, too large for {}", row[i], format.label()),
                next: "decode to a wider type with --lossy f32",
            });
        }
        bytes.extend(encoded);
    }
    Ok(QuantTensor::from_floats(format, shape, bytes.into())?)
}
