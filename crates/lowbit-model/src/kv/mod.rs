//! Cached keys and values: what attention asks of a store, and the stores.

mod float;

pub use float::{Float, KvElement};

use crate::{ModelError, Profile, block::Work, rope::RopeTable};
use lowbit_kernels::{Isa, MatMut, MatRef};
use std::ops::Range;

/// Keys and values of one layer. Keys come rotated. Attention calls [`scores`](Self::scores) and [`mix`](Self::mix) for
/// different heads from different workers.
pub trait KvStore: Send + Sync {
    /// Adds tokens: a row each of all heads' keys and of all heads' values.
    ///
    /// # Panics
    /// Where the shapes are not those of the store.
    fn append(&mut self, keys: MatRef<'_>, values: MatRef<'_>);
    /// `out[m, t] = q[m, :] · key[tokens.start + t, :]` of one head.
    ///
    /// # Panics
    /// Where tokens are not in the store or the shapes do not fit.
    fn scores(&self, isa: Isa, head: usize, q: MatRef<'_>, tokens: Range<usize>, out: MatMut<'_>);
    /// `out[m, :] = Σ p[m, t] · value[tokens.start + t, :]` of one head.
    ///
    /// # Panics
    /// As [`Self::scores`].
    fn mix(&self, isa: Isa, head: usize, p: MatRef<'_>, tokens: Range<usize>, out: MatMut<'_>);
    /// Keys and values of one head as floats: what the two products are tested against.
    ///
    /// # Panics
    /// As [`Self::scores`].
    fn decode(&self, head: usize, tokens: Range<usize>, keys: MatMut<'_>, values: MatMut<'_>);
    /// Forgets all tokens from `len` on; nothing where there are no more than that.
    fn truncate(&mut self, len: usize);
    /// A store of its own with the first `len` tokens of this one, all of them where it has no more.
    fn prefix(&self, len: usize) -> Box<dyn KvStore>;
    /// Tokens held.
    fn len(&self) -> usize;
    /// Whether none are.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Bytes of memory taken.
    fn bytes(&self) -> usize;
}

/// What a cache must have in common with the model it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvGeometry {
    /// Number of layers.
    pub layers: usize,
    /// Key heads of each.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
}

impl std::fmt::Display for KvGeometry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { layers, kv_heads, head_dim } = self;
        write!(f, "{layers} layers of {kv_heads} heads of {head_dim} elements")
    }
}

/// The state of one sequence: a store for every layer, and the decoder's working memory.
pub struct KvCache {
    pub(crate) layers: Vec<Box<dyn KvStore>>,
    geometry: KvGeometry,
    pub(crate) capacity: usize,
    pub(crate) ropes: Vec<RopeTable>,
    pub(crate) work: Work,
    /// Filled by every pass over this cache while it is there.
    pub profile: Option<Profile>,
    /// The residual stream after every block of the last pass, while it is there: a row for each of its tokens, blocks
    /// one after the other. Of the last block only tokens whose logits were wanted have a row.
    pub streams: Option<Vec<f32>>,
}

impl KvCache {
    /// # Errors
    /// Where the stores are not one for each layer.
    pub(crate) fn new(
        layers: Vec<Box<dyn KvStore>>,
        geometry: KvGeometry,
        capacity: usize,
        ropes: Vec<RopeTable>,
    ) -> Result<Self, ModelError> {
        if layers.len() != geometry.layers {
            let found = KvGeometry { layers: layers.len(), ..geometry };
            return Err(ModelError::OtherCache { found, expected: geometry });
        }
        Ok(Self { layers, geometry, capacity, ropes, work: Work::default(), profile: None, streams: None })
    }

    /// Tokens held.
    pub fn len(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.len())
    }

    /// Whether none are.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens it was opened for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets all tokens from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.layers.iter_mut().for_each(|layer| layer.truncate(len));
    }

    /// A cache of its own that holds the first `len` tokens of this one, all of them where it has no more: for another
    /// sequence that begins alike.
    pub fn prefix(&self, len: usize) -> Self {
        let layers = self.layers.iter().map(|layer| layer.prefix(len)).collect();
        let Self { geometry, capacity, ref ropes, .. } = *self;
        let ropes = ropes.clone();
        Self { layers, geometry, capacity, ropes, work: Work::default(), profile: None, streams: None }
    }

    /// Bytes that keys and values take.
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(|layer| layer.bytes()).sum()
    }

    /// The stores, one for each layer.
    pub fn layers(&self) -> &[Box<dyn KvStore>] {
        &self.layers
    }

    /// Whether it fits the model and has room for `new` tokens.
    pub(crate) fn check(&self, expected: KvGeometry, new: usize) -> Result<(), ModelError> {
        let (held, capacity, found) = (self.len(), self.capacity, self.geometry);
        if found != expected {
            return Err(ModelError::OtherCache { found, expected });
        }
        if held.checked_add(new).is_none_or(|total| total > capacity) {
            return Err(ModelError::CacheFull { held, new, capacity });
        }
        Ok(())
    }
}
