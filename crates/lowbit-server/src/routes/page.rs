//! `/` and `/page/NAME`: the web page, a few files that are part of the program. They need no key, as a browser cannot send
//! one for them; what the page asks of the other routes does.

use axum::{
    body::Body,
    http::{HeaderValue, Response, header},
};

/// What the page may do: run and show its own files, ask its own server, and nothing else. With trusted types no text can
/// become markup or code, whoever wrote it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// A file of the page.
pub(crate) struct File {
    pub(crate) path: &'static str,
    kind: &'static str,
    text: &'static str,
}

macro_rules! file {
    ($path:expr, $name:literal, $kind:literal) => {
        File { path: $path, kind: $kind, text: include_str!(concat!("../../page/", $name)) }
    };
    ($name:literal, $kind:literal) => {
        file!(concat!("/page/", $name), $name, $kind)
    };
    ($name:literal) => {
        file!($name, "text/javascript; charset=utf-8")
    };
}

/// All files: routes and guard take them from here.
pub(crate) const FILES: &[File] = &[
    file!("/", "index.html", "text/html; charset=utf-8"),
    file!("style.css", "text/css; charset=utf-8"),
    file!("icon.svg", "image/svg+xml"),
    file!("answer.js"),
    file!("api.js"),
    file!("chat.js"),
    file!("compare.js"),
    file!("dom.js"),
    file!("inline.js"),
    file!("main.js"),
    file!("markdown.js"),
    file!("memory.js"),
    file!("message.js"),
    file!("models.js"),
    file!("notices.js"),
    file!("render.js"),
    file!("scores.js"),
    file!("settings.js"),
    file!("sidebar.js"),
    file!("store.js"),
    file!("theme.js"),
    file!("tokens.js"),
];

/// Whether a path is one of the page's.
pub(crate) fn has(path: &str) -> bool {
    FILES.iter().any(|file| file.path == path)
}

impl File {
    pub(crate) fn response(&self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.text));
        for (name, value) in [
            (header::CONTENT_TYPE, self.kind),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            // The files of one version belong together.
            (header::CACHE_CONTROL, "no-cache"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
        ] {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::FILES;
    use std::{collections::BTreeSet, path::Path};

    #[test]
    fn the_list_has_every_file_of_the_folder() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
        let name =
            |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let there: BTreeSet<String> = std::fs::read_dir(folder).unwrap().map(name).collect();
        let path = |name: &str| if name == "index.html" { "/".to_owned() } else { format!("/page/{name}") };
        let listed: BTreeSet<String> = FILES.iter().map(|file| file.path.to_owned()).collect();
        assert_eq!(there.iter().map(|name| path(name)).collect::<BTreeSet<_>>(), listed);
    }

    #[test]
    fn the_page_names_no_other_origin_and_no_way_around_text_nodes() {
        for file in FILES {
            let text = file.text.replace("http://www.w3.org/2000/svg", "");
            for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "url("] {
                assert!(!text.contains(word), "{}: {word}", file.path);
            }
            for word in ["src=\"http", "href=\"http", "src=\"//", "href=\"//", "@import", "import(\""] {
                assert!(!text.contains(word), "{}: {word}", file.path);
            }
        }
    }
}
