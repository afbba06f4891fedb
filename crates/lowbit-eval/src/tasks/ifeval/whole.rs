//! What holds for a response as a whole: how it begins and ends, and what it has none of.

use super::Check;
use lowbit_io::{IoError, texts::Row};

pub(super) fn repeated_prompt(arguments: &Row) -> Result<Option<Check>, IoError> {
    let prompt = arguments.text("prompt_to_repeat")?.trim().to_lowercase();
    Ok(Some(Box::new(move |text| text.trim().to_lowercase().starts_with(&prompt))))
}

/// Two different ones with six asterisks between them; what is before the first or after the last mark may be empty.
pub(super) fn two_responses(_: &Row) -> Result<Option<Check>, IoError> {
    Ok(Some(Box::new(|text| {
        let parts: Vec<&str> = text.split("******").map(str::trim).collect();
        let inner = parts.get(1..parts.len() - 1).unwrap_or_default();
        let full: Vec<&&str> = parts.iter().filter(|part| !part.is_empty()).collect();
        !inner.contains(&"") && full.len() == 2 && full[0] != full[1]
    })))
}

pub(super) fn no_comma(_: &Row) -> Result<Option<Check>, IoError> {
    Ok(Some(Box::new(|text| !text.contains(','))))
}

pub(super) fn end(arguments: &Row) -> Result<Option<Check>, IoError> {
    let phrase = arguments.text("end_phrase")?.trim().to_lowercase();
    Ok(Some(Box::new(move |text| text.trim().trim_matches('"').to_lowercase().ends_with(&phrase))))
}

pub(super) fn quotation(_: &Row) -> Result<Option<Check>, IoError> {
    Ok(Some(Box::new(|text| {
        let text = text.trim();
        text.len() > 1 && text.starts_with('"') && text.ends_with('"')
    })))
}
