//! How a text becomes a perplexity: windows, which of their tokens count, and where the begin token stands.
//!
//! The two protocols in use give different figures for the same model and text, by a third and more: tokens late in a
//! window are easier than those at its start, and only one of the two leaves the early ones out.

/// Rules by which a text is scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Name in commands.
    pub name: &'static str,
    /// One line for a listing.
    pub summary: &'static str,
    /// Tokens of a window; windows do not overlap, and what is left at the end of the text is not used.
    pub window: usize,
    /// First token of a window, from 0, that counts; at least 1, as nothing predicts the very first.
    pub first_scored: usize,
    /// What stands at the start of a window.
    pub begin: Begin,
    /// What happens to a line feed at the very end of the text.
    pub final_newline: FinalNewline,
}

/// What stands at the start of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Whatever token the text has there; a begin token comes only before the text as a whole.
    AsText,
    /// The begin token in place of the text's, for models whose tokenizer adds one.
    Replaced,
}

/// What happens to a line feed at the very end of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinalNewline {
    /// It counts as text.
    Kept,
    /// One is taken away.
    Dropped,
}

/// The protocols, by the names that commands use.
///
/// `llama.cpp` is what `llama-perplexity` does: windows of 512, the second half scored. `paper` is what papers on
/// quantization do since GPTQ (Frantar et al., arXiv 2210.17323): windows of 2048, all but the first token scored; the
/// papers join the rows of the data set by blank lines, here the text is taken as it is.
pub const PROTOCOLS: &[Protocol] = &[
    Protocol {
        name: "llama.cpp",
        summary: "windows of 512 tokens, the second half of each scored",
        window: 512,
        first_scored: 257,
        begin: Begin::Replaced,
        final_newline: FinalNewline::Dropped,
    },
    Protocol {
        name: "paper",
        summary: "windows of 2048 tokens, all but the first of each scored",
        window: 2048,
        first_scored: 1,
        begin: Begin::AsText,
        final_newline: FinalNewline::Kept,
    },
];

impl Protocol {
    /// The protocol of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        PROTOCOLS.iter().find(|protocol| protocol.name == name)
    }

    /// Tokens of each window that count.
    pub fn scored_per_window(&self) -> usize {
        self.window - self.first_scored
    }

    /// The part of `text` that is scored.
    pub fn text<'t>(&self, text: &'t str) -> &'t str {
        match self.final_newline {
            FinalNewline::Kept => text,
            FinalNewline::Dropped => text.strip_suffix('\n').unwrap_or(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_windows_have_something_to_score() {
        for protocol in PROTOCOLS {
            assert_eq!(Protocol::named(protocol.name), Some(protocol));
            assert!((1..protocol.window).contains(&protocol.first_scored), "{}", protocol.name);
        }
        assert_eq!(Protocol::named("gptq"), None);
        assert_eq!(Protocol::named("llama.cpp").unwrap().scored_per_window(), 255);
        assert_eq!(Protocol::named("paper").unwrap().scored_per_window(), 2047);
    }

    #[test]
    fn one_final_newline_is_dropped_where_llama_cpp_drops_it() {
        assert_eq!(PROTOCOLS[0].text("a\n\n"), "a\n");
        assert_eq!(PROTOCOLS[0].text("a"), "a");
        assert_eq!(PROTOCOLS[1].text("a\n"), "a\n");
    }
}
