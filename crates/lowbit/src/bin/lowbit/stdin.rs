//! Text on standard input that is no terminal.

use anyhow::{Context, Result};
use std::{
    io::{self, IsTerminal, Read},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    time::Duration,
};

/// How long to wait for the first byte where a prompt was given as well: a program that starts us without an input of
/// its own often leaves us one that never ends.
const PATIENCE: Duration = Duration::from_secs(5);

/// Standard input being read in the background, or a terminal.
pub(crate) enum Input {
    Terminal,
    Piped(Receiver<io::Result<Vec<u8>>>),
}

impl Input {
    /// Starts reading.
    pub(crate) fn start() -> Self {
        if io::stdin().is_terminal() {
            return Self::Terminal;
        }
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut stdin = io::stdin().lock();
            let mut buffer = vec![0; 1 << 16];
            loop {
                let read = stdin.read(&mut buffer).map(|n| buffer[..n].to_vec());
                let last = read.as_ref().map_or(true, Vec::is_empty);
                if sender.send(read).is_err() || last {
                    return;
                }
            }
        });
        Self::Piped(receiver)
    }

    /// All of the text, without the white space at its end. Where `beside_prompt`, an input that stays silent is given
    /// up, which is said on standard error.
    pub(crate) fn text(&self, expected: Expected) -> Result<String> {
        let Self::Piped(pieces) = self else { return Ok(String::new()) };
        let first = match expected {
            Expected::BesidePrompt => pieces.recv_timeout(PATIENCE),
            Expected::AsPrompt => pieces.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        let mut bytes = match first {
            Ok(piece) => piece.context("cannot read standard input")?,
            Err(RecvTimeoutError::Disconnected) => Vec::new(),
            Err(RecvTimeoutError::Timeout) => {
                eprintln!(
                    "note: nothing came on standard input for {} s, answering without it (PROMPT - waits for it)",
                    PATIENCE.as_secs()
                );
                return Ok(String::new());
            }
        };
        if !bytes.is_empty() {
            for piece in pieces {
                bytes.extend(piece.context("cannot read standard input")?);
            }
        }
        let text = String::from_utf8(bytes).context("standard input is no text: it is not UTF-8")?;
        Ok(text.trim_end().to_owned())
    }
}

/// What the text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// There is a prompt; text is added to it if there is any.
    BesidePrompt,
    /// It is the prompt.
    AsPrompt,
}
