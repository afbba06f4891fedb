//! What a container says of how it was made. No time and no path: the same input gives the same bytes.

use serde_json::{Value, json};

/// What `lowbit.x-provenance` says.
pub(crate) fn text(
    method: &str,
    settings: &Value,
    formats: &crate::Formats,
    calibration: Option<&crate::Calibration>,
    source_sha256: &str,
) -> Value {
    let roles: Vec<_> = formats.roles.iter().map(|(role, spec)| format!("{}={spec}", role.name())).collect();
    let tensors: Vec<_> = formats.tensors.iter().map(|(p, spec)| format!("{}={spec}", p.0)).collect();
    let mut text = json!({
        "program": concat!("lowbit ", env!("CARGO_PKG_VERSION")),
        "method": method,
        "settings": settings,
        "format": formats.default.to_string(),
        "roles": roles,
        "tensors": tensors,
        "source_sha256": source_sha256,
    });
    if let Some(calibration) = calibration {
        text["calibration"] = calibration.about();
    }
    text
}
