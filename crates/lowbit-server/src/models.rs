//! The models of a server: which there are, which are loaded, and which make room for another.

use crate::{app::now, error::ApiError, served::Served};
use axum::http::StatusCode;
use lowbit_engine::{EngineError, Model, Speculation, scheduler::SchedulerOptions};
use lowbit_kernels::Ctx;
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Reads a model; called beside the connections.
pub type Loader = Box<dyn Fn(&Ctx, &Path) -> Result<Model, String> + Send + Sync>;

/// A model that a server has.
#[derive(Clone, Debug)]
pub struct ModelEntry {
    /// What clients call it.
    pub id: String,
    /// Where it lies.
    pub path: PathBuf,
}

/// How many models may be loaded, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Residency {
    /// Bytes of weights of all loaded models; 0: no limit. One model is loaded whatever its size.
    pub bytes: u64,
    /// A model that nobody asked for so long is unloaded; zero: never.
    pub idle: Duration,
}

/// How long a model stays that nobody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stay {
    /// For ever, or until another needs its memory.
    Always,
    /// For a time.
    For(Duration),
}

struct Place {
    entry: ModelEntry,
    file_bytes: u64,
    served: Option<Arc<Served>>,
    used: Instant,
    /// As the last client that said so wants it; else as the server was told.
    stay: Option<Stay>,
}

/// The models of a server.
pub(crate) struct Models {
    places: Mutex<Vec<Place>>,
    /// Held while a model is loaded: one at a time.
    loading: Arc<tokio::sync::Mutex<()>>,
    loader: Loader,
    ctx: Arc<Ctx>,
    options: SchedulerOptions,
    speculation: Option<Speculation>,
    residency: Residency,
    started: u64,
    draining: std::sync::atomic::AtomicBool,
}

impl Models {
    /// None of them is loaded yet.
    pub(crate) fn new(
        entries: Vec<ModelEntry>,
        loader: Loader,
        ctx: Arc<Ctx>,
        (options, speculation): (SchedulerOptions, Option<Speculation>),
        residency: Residency,
    ) -> Self {
        let place = |entry: ModelEntry| {
            let file_bytes = bytes_of(&entry.path);
            Place { entry, file_bytes, served: None, used: Instant::now(), stay: None }
        };
        Self {
            places: Mutex::new(entries.into_iter().map(place).collect()),
            loading: Arc::default(),
            loader,
            ctx,
            options,
            speculation,
            residency,
            started: now(),
            draining: false.into(),
        }
    }

    /// The model of a name, or the first without one; loaded where it is not.
    pub(crate) async fn get(self: &Arc<Self>, name: Option<&str>) -> Result<Arc<Served>, ApiError> {
        let index = self.index(name)?;
        if let Some(served) = self.loaded(index) {
            return Ok(served);
        }
        let turn = self.loading.clone().lock_owned().await;
        let models = self.clone();
        let loaded = tokio::task::spawn_blocking(move || {
            let served = models.load(index);
            drop(turn);
            served
        });
        loaded.await.map_err(|_| ApiError::internal())?
    }

    fn index(&self, name: Option<&str>) -> Result<usize, ApiError> {
        let Some(name) = name else { return Ok(0) };
        let places = self.places();
        // Ollama's clients add a tag to names that have none.
        let found = |wanted: &str| places.iter().position(|place| place.entry.id == wanted);
        found(name).or_else(|| found(name.strip_suffix(":latest")?)).ok_or_else(|| {
            let name: String = name.chars().take(80).collect();
            let known: Vec<&str> = places.iter().map(|place| place.entry.id.as_str()).take(20).collect();
            let message = format!("no model is called {name:?}; this server has {known:?}");
            let mut error = ApiError::field("model", message).with_code("model_not_found");
            error.status = StatusCode::NOT_FOUND;
            error
        })
    }

    fn loaded(&self, index: usize) -> Option<Arc<Served>> {
        let place = &mut self.places()[index];
        place.used = Instant::now();
        place.served.clone()
    }

    /// Loads a model and makes room for it. Called with `loading` held, but for the first model.
    pub(crate) fn load(&self, index: usize) -> Result<Arc<Served>, ApiError> {
        // Somebody else may have waited for the same one.
        if let Some(served) = self.loaded(index) {
            return Ok(served);
        }
        self.make_room(index)?;
        let entry = self.places()[index].entry.clone();
        let failed = |why: String| {
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{} cannot be loaded: {why}", entry.id))
        };
        let model = (self.loader)(&self.ctx, &entry.path).map_err(failed)?;
        let served = self.start(&entry.id, model).map_err(|error| failed(error.to_string()))?;
        let mut places = self.places();
        places[index].served = Some(served.clone());
        // It was told to the others while this one was being loaded.
        if !self.is_open() {
            served.scheduler.drain();
        }
        Ok(served)
    }

    fn start(&self, id: &str, model: Model) -> Result<Arc<Served>, EngineError> {
        let how = (self.options, self.speculation.clone());
        Served::start(id, Arc::new(model), self.ctx.clone(), how).map(Arc::new)
    }

    /// Unloads what was not used the longest until a model fits.
    fn make_room(&self, index: usize) -> Result<(), ApiError> {
        let limit = self.residency.bytes;
        loop {
            let mut places = self.places();
            let loaded = places.iter().filter(|place| place.served.is_some());
            let held: u64 = loaded.map(|place| place.file_bytes).sum();
            if limit == 0 || held == 0 || held + places[index].file_bytes <= limit {
                return Ok(());
            }
            let free = places.iter_mut().filter(|place| place.is_free());
            let Some(oldest) = free.min_by_key(|place| place.used) else {
                let mut error = ApiError::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the models that answer now leave no memory for this one; try again",
                );
                error.retry_after_s = Some(5);
                return Err(error);
            };
            let unloaded = oldest.served.take();
            drop(places);
            drop(unloaded);
        }
    }

    /// How long a model stays after its last request, where a client says so.
    pub(crate) fn keep(&self, id: &str, stay: Option<Stay>) {
        if let Some(place) = self.places().iter_mut().find(|place| place.entry.id == id) {
            place.stay = stay.or(place.stay);
        }
    }

    /// Unloads models that nobody asked for.
    pub(crate) fn sweep(&self) {
        let usual = if self.residency.idle.is_zero() { Stay::Always } else { Stay::For(self.residency.idle) };
        let mut places = self.places();
        let mut unloaded = Vec::new();
        for place in places.iter_mut() {
            match place.stay.unwrap_or(usual) {
                _ if !place.is_free() => place.used = Instant::now(),
                Stay::For(time) if place.used.elapsed() >= time => unloaded.extend(place.served.take()),
                Stay::For(_) | Stay::Always => {}
            }
        }
        drop(places);
        drop(unloaded);
    }

    /// Those that are loaded.
    pub(crate) fn all_loaded(&self) -> Vec<Arc<Served>> {
        self.places().iter().filter_map(|place| place.served.clone()).collect()
    }

    /// Takes no more requests.
    pub(crate) fn drain(&self) {
        self.draining.store(true, std::sync::atomic::Ordering::Relaxed);
        self.all_loaded().iter().for_each(|served| served.scheduler.drain());
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.draining.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// What clients are told of the models, in OpenAI's form with a few facts more.
    pub(crate) fn describe(&self) -> Vec<Value> {
        let places = self.places();
        let one = |place: &Place| {
            let served = place.served.as_deref();
            json!({
                "id": place.entry.id,
                "object": "model",
                "created": self.started,
                "owned_by": "lowbit",
                "max_model_len": served.map(Served::context),
                "lowbit": {
                    "bytes": place.file_bytes,
                    "bits_per_weight": served.map(|served| served.bits_per_weight),
                    "loaded": served.is_some(),
                    "can_chat": served.map(|served| served.template.is_ok()),
                },
            })
        };
        places.iter().map(one).collect()
    }

    fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whether it is loaded and nobody is being answered.
    fn is_free(&self) -> bool {
        self.served.as_ref().is_some_and(|served| Arc::strong_count(served) == 1)
    }
}

/// Bytes of a file, or of the files right in a folder.
fn bytes_of(path: &Path) -> u64 {
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
    match std::fs::read_dir(path) {
        Ok(files) => files.flatten().map(|file| size(&file.path())).sum(),
        Err(_) => size(path),
    }
}
