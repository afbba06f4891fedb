//! Settings with which other programs use `lowbit serve`.

use clap::ValueEnum;
use std::net::SocketAddr;

/// A client of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClientKind {
    /// Claude Code: variables of the environment
    ClaudeCode,
    /// Codex: a part of ~/.codex/config.toml
    Codex,
    /// OpenAI's packages: variables of the environment
    Openai,
    /// LangChain: Python
    Langchain,
    /// Ollama's packages and programs: variables of the environment
    Ollama,
    /// lm-eval: arguments
    LmEval,
}

impl ClientKind {
    /// The settings as text to copy. A key is named, not shown.
    pub(crate) fn settings(self, address: SocketAddr, model: &str, key: bool) -> String {
        let at = format!("http://{address}");
        let key = if key { "YOUR_KEY" } else { "none" };
        match self {
            Self::ClaudeCode => format!(
                "export ANTHROPIC_BASE_URL={at}\nexport ANTHROPIC_AUTH_TOKEN={key}\nexport ANTHROPIC_MODEL={model}\n\
                 export ANTHROPIC_DEFAULT_HAIKU_MODEL={model}\n"
            ),
            Self::Codex => format!(
                "# export LOWBIT_API_KEY={key}\nmodel = \"{model}\"\nmodel_provider = \"lowbit\"\n\n\
                 [model_providers.lowbit]\nname = \"lowbit\"\nbase_url = \"{at}/v1\"\nwire_api = \"responses\"\n\
                 env_key = \"LOWBIT_API_KEY\"\n"
            ),
            Self::Openai => {
                format!("export OPENAI_BASE_URL={at}/v1\nexport OPENAI_API_KEY={key}\n# model: {model}\n")
            }
            Self::Langchain => format!(
                "from langchain_openai import ChatOpenAI\n\nmodel = ChatOpenAI(base_url=\"{at}/v1\", api_key=\"{key}\", \
                 model=\"{model}\")\n"
            ),
            Self::Ollama => format!("export OLLAMA_HOST={at}\n# model: {model}\n"),
            Self::LmEval => format!(
                "lm_eval --model local-completions --tasks arc_easy --model_args \
                 model={model},base_url={at}/v1/completions,num_concurrent=8,tokenized_requests=False,tokenizer_backend=None\n"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ClientKind;
    use clap::ValueEnum;

    #[test]
    fn every_client_is_told_the_address_and_the_model_and_never_a_key() {
        let address = "127.0.0.1:8080".parse().unwrap();
        for client in ClientKind::value_variants() {
            let settings = client.settings(address, "coder", true);
            assert!(
                settings.contains("127.0.0.1:8080") && settings.contains("coder"),
                "{client:?}: {settings}"
            );
            assert!(settings.ends_with('\n'), "{client:?}");
        }
    }
}
