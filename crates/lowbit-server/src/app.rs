//! What all routes share.

use crate::{error::ApiError, fields::Fields, models::Models, served::Served, server::Limits};
use lowbit_text::chat::LocalTime;
use std::{
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

/// The models, and the rules.
pub(crate) struct App {
    pub(crate) models: Arc<Models>,
    pub(crate) api_key: Option<String>,
    pub(crate) hosts: Vec<String>,
    pub(crate) limits: Limits,
    /// Held while a vector is computed: one takes all cores, and answers go on between two.
    pub(crate) embedding: Mutex<()>,
}

/// Whether a request has to name the model.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Required {
    Yes,
    No,
}

impl App {
    /// The model that a request asks for, loaded where it is not.
    pub(crate) async fn model(
        &self,
        fields: &mut Fields,
        required: Required,
    ) -> Result<Arc<Served>, ApiError> {
        let name = fields.text("model")?;
        if name.is_none() && required == Required::Yes {
            return Err(ApiError::field("model", "missing; GET /v1/models lists them"));
        }
        self.models.get(name.as_deref()).await
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Now, as `2026-11-29T20:15:00Z`.
pub(crate) fn timestamp() -> String {
    let LocalTime { year, month, day, hour, minute, second, .. } =
        LocalTime::from_unix_seconds(now().cast_signed());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}
