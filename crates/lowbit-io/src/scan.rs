//! Looking through every weight for numbers that no model has.

use crate::{Checkpoint, IoError};
use lowbit_format::QuantTensor;

/// A tensor with weights that are not finite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorFault {
    /// The tensor.
    pub name: String,
    /// How many of its weights decode to NaN or an infinity.
    pub weights: usize,
    /// Row and column of the first.
    pub first: (usize, usize),
}

impl std::fmt::Display for TensorFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (row, column) = self.first;
        write!(
            f,
            "tensor {:?} has {} weights that are NaN or infinite, the first in row {row}, column {column}",
            self.name, self.weights
        )
    }
}

/// Counts the weights of a tensor that are NaN or infinite once decoded, which a scale that is not finite makes of
/// all its group.
pub fn scan_tensor(name: &str, tensor: &QuantTensor) -> Option<TensorFault> {
    let shape = tensor.shape();
    let mut row = vec![0.0; shape.k];
    let mut fault: Option<TensorFault> = None;
    for n in 0..shape.n {
        tensor.decode_row(n, &mut row);
        let mut bad = row.iter().enumerate().filter(|(_, w)| !w.is_finite()).map(|(k, _)| k);
        if let Some(k) = bad.next() {
            let new = TensorFault { name: name.to_owned(), weights: 0, first: (n, k) };
            fault.get_or_insert(new).weights += 1 + bad.count();
        }
    }
    fault
}

impl Checkpoint {
    /// Decodes every tensor of weights once and reports those with NaN or infinite values. Reads the whole file.
    ///
    /// # Errors
    /// Where a tensor cannot be read at all.
    pub fn check_tensors(&self) -> Result<Vec<TensorFault>, IoError> {
        let mut faults = Vec::new();
        for info in self.tensors() {
            match self.tensor(&info.name) {
                Ok(tensor) => faults.extend(scan_tensor(&info.name, &tensor)),
                // Integers have no NaN.
                Err(IoError::NotWeights { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(faults)
    }
}
