//! `model.safetensors.index.json`: which shard holds which tensor.

use super::contain::check_sibling;
use crate::IoError;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::{collections::BTreeMap, fmt};

/// Most tensors an index may list: the largest mixtures of experts have about a hundred thousand.
const MAX_ENTRIES: usize = 500_000;
/// Most shards of a model.
const MAX_SHARDS: usize = 4096;
/// Longest tensor or file name in bytes.
const MAX_NAME: usize = 512;

/// The index of a sharded safetensors model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardIndex {
    /// Names of the shard files, sorted; plain file names.
    pub shards: Vec<String>,
    /// For each tensor the shard that holds it, as an index into `shards`.
    pub tensors: BTreeMap<String, usize>,
}

impl ShardIndex {
    /// Reads the JSON of an index.
    ///
    /// # Errors
    /// Where it is no index, lists something twice, or names a file that is not beside it.
    pub fn parse(json: &[u8]) -> Result<Self, IoError> {
        let mut json = serde_json::Deserializer::from_slice(json);
        let index = json.deserialize_map(IndexVisitor).and_then(|index| json.end().map(|()| index));
        let index =
            index.map_err(|e| IoError::Json { what: "the safetensors index", error: e.to_string() })?;
        for name in &index.shards {
            check_sibling(name, "the safetensors index")?;
            if !name.ends_with(".safetensors") {
                return Err(IoError::Escape {
                    name: name.clone(),
                    what: "the safetensors index",
                    why: "is no .safetensors file",
                });
            }
        }
        Ok(index)
    }
}

struct IndexVisitor;

impl<'de> Visitor<'de> for IndexVisitor {
    type Value = ShardIndex;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a weight_map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ShardIndex, A::Error> {
        let mut index = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != "weight_map" {
                map.next_value::<IgnoredAny>()?;
            } else if index.is_some() {
                return Err(de::Error::custom("weight_map occurs twice"));
            } else {
                index = Some(map.next_value::<WeightMap>()?.0);
            }
        }
        index.ok_or_else(|| de::Error::missing_field("weight_map"))
    }
}

struct WeightMap(ShardIndex);

impl<'de> de::Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = WeightMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of file names by tensor name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WeightMap, A::Error> {
                let mut shards: BTreeMap<String, usize> = BTreeMap::new();
                let mut tensors = BTreeMap::new();
                while let Some((name, shard)) = map.next_entry::<String, String>()? {
                    if tensors.len() == MAX_ENTRIES {
                        return Err(de::Error::custom(format_args!("more than {MAX_ENTRIES} tensors")));
                    }
                    if name.len() > MAX_NAME || shard.len() > MAX_NAME {
                        return Err(de::Error::custom(format_args!("a name of more than {MAX_NAME} bytes")));
                    }
                    let next = shards.len();
                    let shard = *shards.entry(shard).or_insert(next);
                    if shards.len() > MAX_SHARDS {
                        return Err(de::Error::custom(format_args!("more than {MAX_SHARDS} files")));
                    }
                    if let Some(_twice) = tensors.insert(name.clone(), shard) {
                        return Err(de::Error::custom(format_args!("tensor {name:?} occurs twice")));
                    }
                }
                Ok(WeightMap(sorted(shards, tensors)))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// Numbers the shards by name instead of by first occurrence.
fn sorted(shards: BTreeMap<String, usize>, mut tensors: BTreeMap<String, usize>) -> ShardIndex {
    let mut order = vec![0; shards.len()];
    for (new, old) in shards.values().enumerate() {
        order[*old] = new;
    }
    tensors.values_mut().for_each(|shard| *shard = order[*shard]);
    ShardIndex { shards: shards.into_keys().collect(), tensors }
}
