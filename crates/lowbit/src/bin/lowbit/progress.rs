//! What is shown while something takes long: a bar with the remaining time; of a download plain lines where standard error is
//! no terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lowbit::hub::{Event, Progress};
use std::io::IsTerminal;

/// Steps in which plain lines report.
const PLAIN_STEP_PERCENT: u64 = 10;

/// Progress up to `len` on standard error, where that is a terminal.
pub(crate) fn bar(len: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(len), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// A download on standard error.
pub(crate) struct Download {
    bar: Option<ProgressBar>,
    shows: Shows,
    /// Per cent that the last plain line said.
    said: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shows {
    Bar,
    Lines,
}

impl Download {
    pub(crate) fn new() -> Self {
        let shows = if std::io::stderr().is_terminal() { Shows::Bar } else { Shows::Lines };
        Self { bar: None, shows, said: 0 }
    }

    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn start(&mut self, file: &str, bytes: u64, resumed: u64) {
        self.finish();
        self.said = 0;
        if self.shows == Shows::Lines {
            let rest = if resumed > 0 {
                format!(", {} are here already", crate::report::bytes(resumed))
            } else {
                String::new()
            };
            return eprintln!("{file}: {}{rest}", crate::report::bytes(bytes));
        }
        let style =
            "{msg} {wide_bar} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}, {eta} left";
        let bar = bar(bytes, style);
        bar.set_message(file.to_owned());
        bar.set_position(resumed);
        bar.reset_eta();
        self.bar = Some(bar);
    }

    fn position(&mut self, file: &str, done: u64, bytes: u64) {
        if let Some(bar) = &self.bar {
            return bar.set_position(done);
        }
        let percent = done.saturating_mul(100) / bytes.max(1) / PLAIN_STEP_PERCENT * PLAIN_STEP_PERCENT;
        if percent > self.said {
            self.said = percent;
            eprintln!("{file}: {percent} %");
        }
    }
}

impl Progress for Download {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::SourceStarted { source } => self.say(&format!("from {source}")),
            Event::SourceFailed { source, error } => {
                self.finish();
                self.say(&format!("warning: {source} failed: {error}"));
            }
            Event::WaitingForLock { lock } => {
                self.say(&format!("waiting for another download of the same file ({})", lock.display()));
            }
            Event::FileStarted { file, bytes, resumed } => self.start(file, bytes, resumed),
            Event::Position { file, done, bytes } => self.position(file, done, bytes),
            Event::Reconnecting { file, reason } => {
                self.say(&format!("{file}: connection lost ({reason}), connecting again"));
            }
            Event::FileFinished { file, path } => {
                self.finish();
                self.say(&format!("{file}: checked, kept at {}", path.display()));
            }
        }
    }
}
