//! Once its buffers have grown, a sampler allocates nothing for a token.

use std::borrow::Cow;

use lowbit_engine::sampler::{STAGES, Sampler, SamplingParams, Vocab};

struct Size(usize);

impl Vocab for Size {
    fn size(&self) -> usize {
        self.0
    }

    fn piece(&self, _: u32) -> Cow<'_, [u8]> {
        Cow::Borrowed(b"w")
    }

    fn encode(&self, _: &str) -> Vec<u32> {
        Vec::new()
    }
}

fn with(fields: &str) -> SamplingParams {
    let mut json = serde_json::to_value(SamplingParams::unmodified()).unwrap();
    let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(fields).unwrap();
    for (field, value) in fields {
        json[field] = value;
    }
    serde_json::from_value(json).unwrap()
}

#[test]
fn a_step_allocates_nothing() {
    let logits: Vec<f32> = (0..5000).map(|i| ((i * 7919) % 5003) as f32 / 700.0).collect();
    let mut cases: Vec<(&str, SamplingParams)> =
        STAGES.iter().map(|entry| (entry.name, with(entry.example))).collect();
    cases.push(("defaults", SamplingParams::default()));
    cases.push(("greedy", SamplingParams::greedy()));
    cases.push(("mirostat", with(r#"{"mirostat": {}}"#)));
    for (name, params) in cases {
        let mut sampler = Sampler::new(&params, &Size(logits.len())).unwrap();
        // 600 tokens with repetitions: the history has room up to 1024, and the maps have seen many tokens.
        (0..600).for_each(|i| sampler.accept(i % 97));
        (0..20).for_each(|_| drop(sampler.sample(&logits).unwrap()));
        let during = allocation_counter::measure(|| {
            (0..20).for_each(|_| drop(sampler.sample(&logits).unwrap()));
        });
        assert!(during.count_total <= GROWTH_OF_MAPS, "{name}: {} allocations", during.count_total);
    }
}

/// New tokens may make the map of counts grow, which happens once for each doubling.
const GROWTH_OF_MAPS: u64 = 1;
