//! Run large language models of 1 to 8 bits a weight on ordinary CPUs.
//!
//! This crate is the one stable surface over the crates below it; what it does not name may change. The `lowbit`
//! command is made of the same parts.
//!
//! # From a name to an answer
//!
//! A [`hub::Store`] knows where models are and fetches those that are not here, a [`Model`] is one that is loaded, a
//! [`Ctx`] the workers it runs on, and a [`Session`] one text with the keys and values the model remembers of it:
//!
//! ```no_run
//! use lowbit::{Ctx, GenerateRequest, Isa, KvElement, LoadOptions, Message, Model, Session, hub};
//! use std::ops::ControlFlow;
//!
//! let store = hub::Store::from_env()?;
//! let file = store.pull("smollm2", &hub::PullOptions::default(), &mut ())?;
//!
//! let ctx = Ctx::new(Isa::detect(), 2);
//! let model = Model::load(&ctx, &file.path, LoadOptions::default())?;
//! let mut session = Session::new(&model, &ctx, 2048, KvElement::F16)?;
//!
//! let question = [Message::new("user", "What is the capital of France?")];
//! let prompt = model.encode_chat(&model.chat_template()?, &question)?;
//! let request = GenerateRequest { prompt, ..GenerateRequest::default() };
//! let answer = session.generate(&request, |_event| ControlFlow::Continue(()))?;
//! println!("{} ({:.0} tokens/s)", answer.text, answer.timing.generated_tokens_per_s());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Sampling
//!
//! [`sampler::SamplingParams`] is plain data, by default what llama.cpp does; the same seed gives the same text,
//! whatever the number of threads. Values out of range are refused by name:
//!
//! ```
//! use lowbit::sampler::SamplingParams;
//!
//! let params = SamplingParams { top_p: 1.5, ..SamplingParams::default() };
//! assert_eq!(params.validate().unwrap_err().to_string(), "top_p is 1.5, expected above 0 and at most 1");
//! ```
//!
//! # Looking into a file
//!
//! [`Model::inspect`] reads what a checkpoint holds without loading it. Formats have labels that parse back:
//!
//! ```
//! use lowbit::WeightSpec;
//!
//! let spec = WeightSpec::parse("int2-asym-g128")?;
//! assert_eq!(spec.label(), "int2-asym-g128");
//! assert!(WeightSpec::parse("q4k").unwrap_err().to_string().contains("q4_k"));
//! # Ok::<(), lowbit::FormatError>(())
//! ```
//!
//! # Measuring
//!
//! [`eval::perplexity`] scores a text as llama.cpp or the papers on quantization do, [`eval::compare`] tells how far two models
//! are apart on it, [`read_bandwidth`] measures what bounds decoding.
#![forbid(unsafe_code)]

pub use lowbit_engine::{
    EngineError, Event, Finish, GenerateRequest, Generated, Layer, LoadOptions, LoadStats, Model, Session,
    Speculation, TensorSummary, Timing, pack, sampler, synth, tuning,
};
pub use lowbit_eval as eval;
pub use lowbit_format::{FormatError, NK, SpecInfo, SpecSource, WeightSpec, all_specs, suggest};
pub use lowbit_hub as hub;
pub use lowbit_io::{Access, container::annotate, texts, write_file};
pub use lowbit_kernels::{
    ActPrecision, ActRounding, ArrangedFormat, Cache, Candidate, Ctx, DotPeak, Explanation, ForkJoin, Isa,
    IsaLevel, KERNELS, KernelCard, Machine, Method, Plan, PlanKey, Planner, Query, ReadBandwidth, Record,
    Refusal, Source, Subject, Timing as KernelTiming, TokenBucket, WeightLayout, arranged_formats, dot_peak,
    float_peak, fork_join, kernel_set, read_bandwidth,
};
pub use lowbit_model::{
    ARCHITECTURES, Architecture, BlockSpec, Ffn, KvElement, LinearOp, Linears, Logits, ModelSpec, Part,
    Profile, Role, Stored, WeightCoding,
};
pub use lowbit_quant as quant;
pub use lowbit_sandbox as sandbox;
pub use lowbit_server as server;
pub use lowbit_sim as sim;
pub use lowbit_text::{
    Affixes, ChatTemplate, Grammar, GrammarSource, Message, SpecialText, SpecialTokens, Tokenizer,
};

/// SHA-256 of the files that hold a checkpoint's tensors, one after the other, in hexadecimal: it tells models apart,
/// whatever they are called.
///
/// # Errors
/// Where there is no checkpoint, or it cannot be read.
pub fn sha256(path: &std::path::Path) -> Result<String, lowbit_io::IoError> {
    lowbit_io::Checkpoint::open(path, Access::Map)?.sha256()
}
