//! Tools that a model may call: how it is told of them, and what a call has to look like.

use crate::{
    error::ApiError,
    fields::{Fields, each, expected},
    parts::{ARGUMENTS, CALL, END_OF_CALL, NAME},
};
use lowbit_text::{Message, one_line};
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// A function that the model may ask for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tool {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    /// JSON schema of its arguments.
    pub(crate) parameters: Value,
    /// Where the request says so, for messages.
    pub(crate) path: String,
}

/// Whether tools are called.
#[derive(Clone, Debug, PartialEq, Default)]
pub(crate) enum ToolChoice {
    None,
    #[default]
    Auto,
    Required,
    Named(String),
}

/// How a model is told of tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// By its own template, which uses the marks that are read here.
    Template,
    /// By text in the system message.
    System,
}

impl Dialect {
    pub(crate) fn of(template: Option<&str>) -> Self {
        match template {
            Some(source) if source.contains("tools") && source.contains(CALL) => Self::Template,
            _ => Self::System,
        }
    }
}

/// Most tools of a request.
const MOST_TOOLS: usize = 128;

/// The tools of a request, each read in the words of its API.
pub(crate) fn tools(
    value: Option<Value>,
    one: impl Fn(&str, Fields) -> Result<Tool, ApiError>,
) -> Result<Vec<Tool>, ApiError> {
    match value {
        None => Ok(Vec::new()),
        Some(Value::Array(list)) if list.len() <= MOST_TOOLS => {
            each("tools", list, |path, tool| one(path, Fields::object(path, tool)?))
        }
        Some(other) => Err(expected("tools", &format!("a list of at most {MOST_TOOLS} tools"), &other)),
    }
}

/// Arguments of a call; what is no JSON, as that of a call that broke off, stays the text that it is.
pub(crate) fn arguments(text: String) -> Value {
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

/// A function, whose arguments are described by the field `schema`; arguments always follow the schema, so `strict` changes nothing.
pub(crate) fn function(path: &str, fields: &mut Fields, schema: &str) -> Result<Tool, ApiError> {
    fields.flag("strict")?;
    let (name, description) = (fields.text("name")?, fields.text("description")?);
    let tool = Tool::new(path, name, description, fields.take(schema))?;
    fields.nothing_left()?;
    Ok(tool)
}

/// What OpenAI's APIs say of it.
pub(crate) fn tool_choice(value: Option<Value>) -> Result<ToolChoice, ApiError> {
    match value {
        None => Ok(ToolChoice::Auto),
        Some(Value::String(word)) if word == "none" => Ok(ToolChoice::None),
        Some(Value::String(word)) if word == "auto" => Ok(ToolChoice::Auto),
        Some(Value::String(word)) if word == "required" => Ok(ToolChoice::Required),
        Some(Value::Object(map)) => {
            // Chats name it inside of `function`, responses beside `type`.
            let name =
                map.get("function").and_then(|function| function.get("name")).or_else(|| map.get("name"));
            match name.and_then(Value::as_str) {
                Some(name) if map["type"] == "function" && map.len() == 2 => {
                    Ok(ToolChoice::Named(name.to_owned()))
                }
                _ => Err(expected("tool_choice", "a function's name", &Value::Object(map))),
            }
        }
        Some(other) => Err(expected("tool_choice", "none, auto, required or a function", &other)),
    }
}

impl Tool {
    /// # Errors
    /// Where the name is none that a call could have.
    pub(crate) fn new(
        path: &str,
        name: Option<String>,
        description: Option<String>,
        parameters: Option<Value>,
    ) -> Result<Self, ApiError> {
        let name = name.ok_or_else(|| ApiError::field(format!("{path}.name"), "missing"))?;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if name.is_empty() || name.len() > 64 || !name.bytes().all(fits) {
            let what = "expected 1 to 64 letters, digits, _ or -";
            return Err(ApiError::field(format!("{path}.name"), what));
        }
        let parameters = match parameters {
            None => json!({ "type": "object", "properties": {} }),
            Some(schema @ Value::Object(_)) => schema,
            Some(_) => return Err(ApiError::field(path, "expected a JSON schema of the arguments")),
        };
        Ok(Self { name, description, parameters, path: path.to_owned() })
    }

    /// As templates expect it.
    pub(crate) fn describe(&self) -> Value {
        let mut function = Map::new();
        function.insert("name".into(), self.name.clone().into());
        if let Some(description) = &self.description {
            function.insert("description".into(), description.clone().into());
        }
        function.insert("parameters".into(), self.parameters.clone());
        json!({ "type": "function", "function": function })
    }
}

/// The grammar of an answer that may, or has to, call tools. `content` is what an answer without a call looks like: a
/// rule's right side in Lark.
pub(crate) fn grammar(tools: &[Tool], choice: &ToolChoice, parallel: bool, content: &str) -> String {
    let open = Value::from(CALL);
    let more = if parallel { format!("(\"\\n\" {open} call)*") } else { String::new() };
    let mut text = match choice {
        ToolChoice::Auto | ToolChoice::None => format!(
            "begin[lazy]: /(.|\\n)*/ {open}\nstart: begin call {more} | content\ncontent: {content}\n"
        ),
        ToolChoice::Required | ToolChoice::Named(_) => format!("start: {open} call {more}\n"),
    };
    let wanted: Vec<(usize, &Tool)> = tools
        .iter()
        .enumerate()
        .filter(|(_, tool)| !matches!(choice, ToolChoice::Named(name) if *name != tool.name))
        .collect();
    let names: Vec<String> = wanted.iter().map(|(place, _)| format!("call_{place}")).collect();
    let _ = writeln!(text, "call: {}", names.join(" | "));
    for (place, tool) in wanted {
        let head = Value::from(format!("{NAME}{}{ARGUMENTS}", tool.name));
        let tail = Value::from(END_OF_CALL);
        let _ = writeln!(text, "call_{place}: {head} %json {} {tail}", one_line(tool.parameters.clone()));
    }
    text
}

/// Messages for a model whose template knows of no tools: what they are stands in the system message, calls and what
/// came of them in the text.
pub(crate) fn in_text(messages: Vec<Message>, tools: &[Tool]) -> Vec<Message> {
    let mut told: Vec<Message> = messages.into_iter().map(as_text).collect();
    if tools.is_empty() {
        return told;
    }
    let list: String = tools.iter().map(|tool| format!("\n{}", tool.describe())).collect();
    let about = format!(
        "You may call functions. Their signatures:\n<tools>{list}\n</tools>\n\nTo call one, answer with its name and \
         arguments as JSON between marks:\n{CALL}{NAME}NAME{ARGUMENTS}{{\"ARGUMENT\": \"VALUE\"}}{END_OF_CALL}"
    );
    match told.first_mut() {
        Some(first) if first.role == "system" => {
            let before = first.content.as_str().unwrap_or_default();
            first.content = format!("{before}\n\n{about}").into();
        }
        _ => told.insert(0, Message::new("system", about)),
    }
    told
}

fn as_text(mut message: Message) -> Message {
    if let Some(Value::Array(calls)) = message.extra.remove("tool_calls") {
        let mut text = message.content.as_str().unwrap_or_default().to_owned();
        for call in calls {
            let (name, arguments) = (&call["function"]["name"], &call["function"]["arguments"]);
            let name = name.as_str().unwrap_or_default();
            let begin = if text.is_empty() { "" } else { "\n" };
            let _ = write!(text, "{begin}{CALL}{NAME}{name}{ARGUMENTS}{arguments}{END_OF_CALL}");
        }
        message.content = text.into();
    }
    if message.role == "tool" {
        let text = message.content.as_str().unwrap_or_default();
        return Message::new("user", format!("<tool_response>\n{text}\n</tool_response>"));
    }
    message
}

#[cfg(test)]
mod tests {
    use super::{Tool, ToolChoice, grammar};

    #[test]
    fn what_an_answer_without_a_call_looks_like_is_left_as_it_is() {
        let tool = Tool::new("tools[0]", Some("a".into()), None, None).unwrap();
        let content = "%json {\"const\": \"ONE MORE call\"}";
        for parallel in [false, true] {
            let text = grammar(std::slice::from_ref(&tool), &ToolChoice::Auto, parallel, content);
            assert!(text.lines().any(|line| line == format!("content: {content}")), "{text}");
        }
    }
}
