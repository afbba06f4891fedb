//! llama.cpp as an [`Engine`].

use anyhow::Result;
use peers_protocol::{Description, Engine, LoadOptions, Logits, Tokens};

use crate::model::{Contents, Model, ParseSpecial, Weights, system_info, version};
use crate::session::{Attention, Session, SessionOptions};

/// llama.cpp with a model and a cache.
#[derive(Debug)]
pub struct LlamaCpp {
    session: Session,
    setting: Setting,
}

/// What llama.cpp's tools let their user choose and what is compared here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// How weights lie in memory.
    pub weights: Weights,
    /// How attention is computed.
    pub attention: Attention,
}

impl Setting {
    /// llama.cpp as it comes.
    pub const DEFAULT: Self = Self { weights: Weights::Repacked, attention: Attention::Auto };
}

impl LlamaCpp {
    /// Loads in a setting.
    pub fn load_as(options: &LoadOptions, setting: Setting) -> Result<Self> {
        let model = Model::load(&options.model, Contents::All(setting.weights))?;
        let options = SessionOptions {
            context: options.context,
            threads: options.threads,
            attention: setting.attention,
        };
        Ok(Self { session: Session::new(model, options)?, setting })
    }
}

impl Engine for LlamaCpp {
    fn load(options: &LoadOptions) -> Result<Self> {
        Self::load_as(options, Setting::DEFAULT)
    }

    fn describe(&self) -> Description {
        let model = self.session.model();
        let weights = match self.setting.weights {
            Weights::Repacked => "weights repacked where possible",
            Weights::AsStored => "weights as stored",
        };
        let attention = match self.setting.attention {
            Attention::Auto => "flash attention auto",
            Attention::Plain => "flash attention off",
            Attention::Single => "flash attention off, f32 cache",
        };
        Description {
            engine: version(),
            system: format!("{}, {weights}, {attention}", system_info()),
            architecture: model.metadata(c"general.architecture").unwrap_or_default(),
            vocabulary: model.vocabulary(),
            caveat: None,
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
