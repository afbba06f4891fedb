//! `lowbit serve`: a model behind an HTTP interface.

use crate::{
    open,
    options::{Compute, Context},
    report,
};
use anyhow::{Context as _, Result};
use clap::Args;
use lowbit::{
    hub::Store,
    server::{Exposure, Limits, SchedulerOptions, Server, ServerOptions},
};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Serve a model over HTTP, as OpenAI's API does.
///
/// Many clients are answered at once. Only programs of this machine reach the server unless --host says otherwise, and
/// then a key is needed. SIGTERM and Ctrl-C let it finish what it began. docs/serve.md says which fields are understood.
#[derive(Args)]
pub(crate) struct Serve {
    /// The model; fetched where it is not here
    model: String,
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
    /// Name by which clients may call this machine, beside addresses and localhost; may be repeated
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
    /// What clients call the model [default: MODEL, of a path the file's name without its ending]
    #[arg(long, value_name = "NAME")]
    alias: Option<String>,
    /// Answers that are computed at once
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    parallel: u32,
    /// Requests that may wait for their turn; more are refused
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65536))]
    queue: u32,
    /// Memory for keys and values of all answers, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..))]
    kv_memory: u32,
    /// Seconds that an answer may take, waiting included
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..))]
    timeout: u32,
    #[command(flatten)]
    context: Context,
    #[command(flatten)]
    compute: Compute,
}

impl Serve {
    pub(crate) fn run(&self) -> Result<()> {
        let api_key = self.api_key()?;
        let ctx = Arc::new(self.compute.ctx()?);
        let model = Arc::new(open::load_from(&ctx, &Store::from_env()?, &self.model, &self.compute)?);
        let exposure = if self.insecure_no_key { Exposure::Open } else { Exposure::Protected };
        let timeout = Duration::from_secs(u64::from(self.timeout));
        let options = ServerOptions {
            address: SocketAddr::new(self.host, self.port),
            exposure,
            api_key,
            hosts: self.allow_host.clone(),
            model_id: self.alias.clone().unwrap_or_else(|| model_id(&self.model)),
            scheduler: SchedulerOptions {
                context: self.context.ctx_size,
                element: self.context.cache_type.element(),
                kv_bytes: (self.kv_memory as usize).saturating_mul(1 << 20),
                parallel: self.parallel as usize,
                queue: self.queue as usize,
            },
            limits: Limits { answer: timeout, ..Limits::default() },
        };
        let name = options.model_id.clone();
        let server = Server::bind(model, ctx, options)?;
        eprintln!(
            "serving {name} at http://{}/v1, with a context of {}",
            server.address(),
            report::count(server.context(), "token")
        );
        if self.insecure_no_key && !self.host.is_loopback() {
            eprintln!("note: every machine that reaches this address may use the model");
        }
        Ok(server.run()?)
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
    let stem = path.file_stem().filter(|_| path.exists()).and_then(|stem| stem.to_str());
    stem.unwrap_or(target).to_owned()
}
