//! The web page: its files as they are served, its modules under Node, and the whole of it in Chromium. `playwright-core` is
//! fetched once with npm. What is not there - Node, npm, a package registry, a browser - skips its tests, with the reason.

use crate::place::Place;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const BROWSERS: &[&str] = &["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn every_file_of_the_page_comes_without_a_key_and_with_its_kind_and_policy() {
    let place = Place::with(|options| options.api_key = Some("secret".into()));
    let get = |path: &str, headers: &str| place.send("GET", path, headers, "");
    let mut files = 0;
    for entry in fs::read_dir(folder("page")).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_str().unwrap();
        let path = if name == "index.html" { "/".to_owned() } else { format!("/page/{name}") };
        let kind = match file.extension().unwrap().to_str().unwrap() {
            "html" => "text/html; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "svg" => "image/svg+xml",
            other => panic!("{name}: what kind is {other}?"),
        };
        let reply = get(&path, "");
        assert_eq!(reply.status, 200, "{path}: {}", reply.head);
        assert_eq!(reply.body, fs::read_to_string(&file).unwrap(), "{path}");
        for header in [
            &format!("content-type: {kind}\r\n"),
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; ",
            "cache-control: no-cache\r\n",
            "x-content-type-options: nosniff\r\n",
            "referrer-policy: no-referrer\r\n",
        ] {
            assert!(
                format!("{}\r\n", reply.head).contains(header),
                "{path} without {header}: {}",
                reply.head
            );
        }
        assert_eq!(get(&path, "Host: evil.example\r\n").status, 403, "{path}");
        files += 1;
    }
    assert!(files > 10, "{files}");
    // The key is for all that the page asks.
    for path in ["/v1/models", "/metrics", "/page", "/page/", "/page/nothing.js", "/page/../v1/models", "//"]
    {
        assert_eq!(get(path, "").status, 401, "{path}");
    }
    for path in ["/page/nothing.js", "/page/index.html"] {
        assert_eq!(get(path, "Authorization: Bearer secret\r\n").status, 404, "{path}");
    }
    assert_eq!(place.send("POST", "/", "", "{}").status, 401);
}

#[test]
fn the_modules_of_the_page_do_what_they_promise() {
    if !has_node() {
        return;
    }
    let output = Command::new("node").arg("--test").arg(folder("tests/page/markdown.test.js")).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn the_page_holds_its_session_in_a_browser() {
    if !has_node() {
        return;
    }
    let Some(browser) = BROWSERS.iter().find(|browser| Path::new(browser).exists()) else {
        eprintln!("skipped: no Chromium at {BROWSERS:?}");
        return;
    };
    let Some(modules) = modules() else { return };
    let place = Place::with(|options| options.api_key = Some("secret".into()));
    let output = Command::new("node")
        .arg(folder("tests/page/session.js"))
        .args(["--key", "secret", &format!("http://{}/", place.address)])
        .env("NODE_PATH", modules)
        .env("CHROMIUM", browser)
        .output()
        .unwrap();
    assert!(output.status.success() && said(&output).contains("\nall well\n"), "{}", said(&output));
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Node that takes modules without being told that they are.
fn has_node() -> bool {
    let Ok(output) = Command::new("node").arg("--version").output() else {
        eprintln!("skipped: node does not run");
        return false;
    };
    let version = said(&output);
    let mut numbers = version.trim().trim_start_matches('v').split('.').map(|part| part.parse().unwrap_or(0));
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let is_new = (major, minor) >= (22, 7) || (major == 20 && minor >= 19);
    if !is_new {
        eprintln!("skipped: node is {}, expected 20.19 or 22.7 at least", version.trim());
    }
    is_new
}

/// Where `playwright-core` is, in the version of `package.json`; `None`, with the reason printed, where it cannot be had.
fn modules() -> Option<PathBuf> {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("node-page");
    fs::create_dir_all(&place).unwrap();
    fs::copy(folder("tests/page/package.json"), place.join("package.json")).unwrap();
    let install =
        ["install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"];
    match Command::new("npm").args(install).arg("--fetch-retries=0").current_dir(&place).output() {
        Ok(output) if output.status.success() => Some(place.join("node_modules")),
        Ok(output) => {
            let why = said(&output);
            eprintln!(
                "skipped: npm cannot install playwright-core: {}",
                why.lines().next().unwrap_or_default()
            );
            None
        }
        Err(error) => {
            eprintln!("skipped: npm does not run: {error}");
            None
        }
    }
}
