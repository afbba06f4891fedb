//! `lowbit serve`: a model behind an HTTP interface.

use crate::{
    client_settings::ClientKind,
    open,
    options::{Compute, Context, Guesses},
    report,
};
use anyhow::{Context as _, Result};
use clap::Args;
use lowbit::{
    hub::Store,
    server::{Exposure, Limits, ModelEntry, Residency, SchedulerOptions, Server, ServerOptions, TlsFiles},
};
use std::io::Write;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Serve models over HTTP, as OpenAI's, Anthropic's and Ollama's APIs do.
///
/// Many clients are answered at once. Only programs of this machine reach the server unless --host says otherwise, and
/// then a key is needed. SIGTERM and Ctrl-C let it finish what it began. docs/serve.md says which fields are understood.
#[derive(Args)]
pub(crate) struct Serve {
    /// Models; fetched where they are not here. The first is loaded at once, others when they are asked for
    #[arg(value_name = "MODEL", required_unless_present = "models_dir")]
    models: Vec<String>,
    /// Folder of further models: files ending in .gguf or .lowbit, and folders with a config.json
    #[arg(long, value_name = "DIR")]
    models_dir: Option<PathBuf>,
    /// Memory for the weights of all models, in MiB; one that was not used the longest makes room for another
    /// [default: no limit]
    #[arg(long, value_name = "MIB", default_value_t = 0, hide_default_value = true)]
    model_memory: u32,
    /// Seconds after which a model that nobody asked for is unloaded [default: never]
    #[arg(long, value_name = "SECONDS", default_value_t = 0, hide_default_value = true)]
    unload_after: u32,
    /// Print settings with which a client uses this server, and do nothing else
    #[arg(long, value_name = "CLIENT", value_enum)]
    print_config: Option<ClientKind>,
    /// Address to listen at; another than a loopback address needs a key
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Port to listen at; 0: any that is free
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    port: u16,
    /// Key that clients must send as `Authorization: Bearer KEY`; visible to other users of this machine, who do not see
    /// that of --api-key-file
    #[arg(long, value_name = "KEY", conflicts_with = "api_key_file")]
    api_key: Option<String>,
    /// File with the key in its first line
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Listen to other machines without a key
    #[arg(long)]
    insecure_no_key: bool,
    /// Certificate in PEM, with those that lead to one that clients know: the server then speaks TLS
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Key of the certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Name by which clients may call this machine, beside addresses and localhost; may be repeated
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
    /// What clients call the first model [default: MODEL, of a path the file's name without its ending]
    #[arg(long, value_name = "NAME")]
    alias: Option<String>,
    /// Answers that are computed at once
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    parallel: u32,
    /// Requests that may wait for their turn; more are refused
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65536))]
    queue: u32,
    /// Memory for keys and values of all answers, in MiB; a text that is embedded takes its own beside it
    #[arg(long, value_name = "MIB", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..))]
    kv_memory: u32,
    /// Seconds that an answer may take, waiting included
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..))]
    timeout: u32,
    #[command(flatten)]
    context: Context,
    #[command(flatten)]
    compute: Compute,
    #[command(flatten)]
    guesses: Guesses,
}

impl Serve {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<()> {
        let api_key = self.api_key()?;
        if let Some(client) = self.print_config {
            let first = self.models.first();
            let model = self.alias.clone().or_else(|| first.map(|model| model_id(model)));
            let model = model.context("--print-config needs a MODEL or an --alias")?;
            let address = SocketAddr::new(self.host, self.port);
            out.write_all(client.settings(address, &model, api_key.is_some()).as_bytes())?;
            return Ok(());
        }
        let ctx = Arc::new(self.compute.ctx()?);
        let store = Store::from_env()?;
        let models = self.entries(&store)?;
        let exposure = if self.insecure_no_key { Exposure::Open } else { Exposure::Protected };
        let timeout = Duration::from_secs(u64::from(self.timeout));
        let options = ServerOptions {
            address: SocketAddr::new(self.host, self.port),
            exposure,
            tls: self
                .tls_cert
                .clone()
                .zip(self.tls_key.clone())
                .map(|(certificate, key)| TlsFiles { certificate, key }),
            api_key,
            hosts: self.allow_host.clone(),
            models,
            residency: Residency {
                bytes: u64::from(self.model_memory) << 20,
                idle: Duration::from_secs(u64::from(self.unload_after)),
            },
            scheduler: SchedulerOptions {
                context: self.context.ctx_size,
                element: self.context.cache_type.element(),
                kv_bytes: (self.kv_memory as usize).saturating_mul(1 << 20),
                parallel: self.parallel as usize,
                queue: self.queue as usize,
            },
            speculation: self.guesses.speculation(&ctx, &store, &self.compute)?,
            limits: Limits { answer: timeout, ..Limits::default() },
        };
        let names: Vec<&str> = options.models.iter().map(|entry| entry.id.as_str()).collect();
        let names = names.join(", ");
        let compute = self.compute.clone();
        let loader = move |ctx: &lowbit::Ctx, path: &Path| {
            open::load_at(ctx, &store, path, &compute).map_err(|error| format!("{error:#}"))
        };
        let server = Server::bind(Box::new(loader), ctx, options)?;
        eprintln!(
            "serving {names} at {}://{}/v1, with a context of {}",
            if self.tls_cert.is_some() { "https" } else { "http" },
            server.address(),
            report::count(server.context(), "token")
        );
        if self.insecure_no_key && !self.host.is_loopback() {
            eprintln!("note: every machine that reaches this address may use the model");
        }
        Ok(server.run()?)
    }

    /// The models by name, those of the folder after those named.
    fn entries(&self, store: &Store) -> Result<Vec<ModelEntry>> {
        let mut entries: Vec<ModelEntry> = Vec::new();
        for target in &self.models {
            let id = match &self.alias {
                Some(alias) if entries.is_empty() => alias.clone(),
                _ => model_id(target),
            };
            entries.push(ModelEntry { id, path: open::locate(store, target)?.path });
        }
        if let Some(folder) = &self.models_dir {
            let read =
                std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
            let mut paths: Vec<PathBuf> = read.flatten().map(|file| file.path()).collect();
            paths.sort();
            paths.retain(|path| {
                let ending = path.extension().and_then(|ending| ending.to_str());
                matches!(ending, Some("gguf" | "lowbit")) || path.join("config.json").is_file()
            });
            anyhow::ensure!(!paths.is_empty(), "{} has no model", folder.display());
            entries.extend(paths.into_iter().map(|path| ModelEntry { id: file_id(&path), path }));
        }
        for (place, entry) in entries.iter().enumerate() {
            let twice = entries[..place].iter().any(|other| other.id == entry.id);
            anyhow::ensure!(!twice, "two models are called {:?}; rename one", entry.id);
        }
        Ok(entries)
    }

    fn api_key(&self) -> Result<Option<String>> {
        let Some(path) = &self.api_key_file else { return Ok(self.api_key.clone()) };
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let key = text.lines().next().unwrap_or_default().trim();
        anyhow::ensure!(!key.is_empty(), "{} has no key in its first line", path.display());
        Ok(Some(key.to_owned()))
    }
}

/// What clients call a model that was named so on the command line.
fn model_id(target: &str) -> String {
    let path = Path::new(target);
    if path.exists() { file_id(path) } else { target.to_owned() }
}

fn file_id(path: &Path) -> String {
    let known =
        ["gguf", "lowbit"].iter().any(|ending| path.extension().is_some_and(|found| found == *ending));
    let name = if known && path.is_file() { path.file_stem() } else { path.file_name() };
    name.map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
