//! llama.cpp as an [`Engine`].

use anyhow::Result;
use peers_protocol::{Description, Engine, LoadOptions, Logits, Tokens};

use crate::model::{Contents, Model, ParseSpecial, Weights, system_info, version};
use crate::session::{Session, SessionOptions};

/// llama.cpp with a model and a cache.
#[derive(Debug)]
pub struct LlamaCpp {
    session: Session,
    weights: Weights,
}

impl LlamaCpp {
    /// Loads with the weights laid out as told.
    pub fn load_as(options: &LoadOptions, weights: Weights) -> Result<Self> {
        let model = Model::load(&options.model, Contents::All(weights))?;
        let options = SessionOptions { context: options.context, threads: options.threads };
        Ok(Self { session: Session::new(model, options)?, weights })
    }
}

impl Engine for LlamaCpp {
    fn load(options: &LoadOptions) -> Result<Self> {
        Self::load_as(options, Weights::Repacked)
    }

    fn describe(&self) -> Description {
        let model = self.session.model();
        let weights = match self.weights {
            Weights::Repacked => "weights repacked where possible",
            Weights::AsStored => "weights as stored",
        };
        Description {
            engine: version(),
            system: format!("{}, {weights}", system_info()),
            architecture: model.metadata(c"general.architecture").unwrap_or_default(),
            vocabulary: model.vocabulary(),
        }
    }

    fn tokenize(&self, text: &[u8]) -> Result<Tokens> {
        self.session.model().tokenize(text, ParseSpecial::No)
    }

    fn reset(&mut self) -> Result<()> {
        self.session.clear();
        Ok(())
    }

    fn prefill(&mut self, ids: &[u32]) -> Result<()> {
        self.session.append(ids)
    }

    fn decode(&mut self, id: u32) -> Result<()> {
        self.session.append(&[id])
    }

    fn logits(&mut self, window: &[u32], first: usize) -> Result<Logits> {
        let vocabulary = self.session.model().vocabulary();
        let mut values = Vec::with_capacity((window.len() - first) * vocabulary);
        self.session.append_with_logits(window, first, &mut values)?;
        Ok(Logits { values, vocabulary })
    }
}
