//! Stop strings over streamed text.
//!
//! The text comes in pieces, a stop string may begin in one and end in another, and no part of it may reach the
//! reader. So the matcher holds back the longest end of the text that could still become a stop string, and no more.
//!
//! Generation stops at the first byte with which some stop string is complete. If several end there, the longest is
//! cut away. How the text is divided into pieces makes no difference. Each string is followed by the automaton of
//! Knuth, Morris and Pratt, so a byte costs amortized constant time for each string.

use super::error::SamplerError;

/// Most stop strings a matcher takes.
pub const MOST_STOPS: usize = 64;
/// Longest stop string in bytes.
pub const LONGEST_STOP: usize = 4096;

/// Watches a stream of text for stop strings.
#[derive(Debug, Clone)]
pub struct StopMatcher {
    patterns: Vec<Pattern>,
    /// Text received and not yet released: at any time a proper beginning of some stop string.
    held: String,
    stopped: Option<Stop>,
}

/// Where a text was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// Place of the stop string in the list.
    pub index: usize,
    /// Bytes of the last piece that come after the stop string.
    pub unread: usize,
}

#[derive(Debug, Clone)]
struct Pattern {
    text: Vec<u8>,
    /// For each length of a beginning: the longest shorter beginning that it ends with.
    fallback: Vec<usize>,
    /// How many bytes of the string the text ends with.
    matched: usize,
}

impl StopMatcher {
    /// A matcher for these strings; with none it passes everything on.
    pub fn new<S: AsRef<str>>(stops: &[S]) -> Result<Self, SamplerError> {
        if stops.len() > MOST_STOPS {
            return Err(SamplerError::StopCount { found: stops.len(), limit: MOST_STOPS });
        }
        for (index, stop) in stops.iter().enumerate() {
            let bytes = stop.as_ref().len();
            if bytes == 0 || bytes > LONGEST_STOP {
                return Err(SamplerError::StopLength { index, bytes, limit: LONGEST_STOP });
            }
        }
        let patterns = stops.iter().map(|stop| Pattern::new(stop.as_ref())).collect();
        Ok(Self { patterns, held: String::new(), stopped: None })
    }

    /// Takes the next piece of text and appends to `out` what may be shown.
    ///
    /// Once it has said where the text stops, it says so again and shows nothing more.
    pub fn push(&mut self, piece: &str, out: &mut String) -> Option<Stop> {
        if self.stopped.is_some() {
            return self.stopped;
        }
        self.held.push_str(piece);
        let held_before = self.held.len() - piece.len();
        for (offset, byte) in piece.bytes().enumerate() {
            if let Some((length, index)) = self.longest_complete_with(byte) {
                out.push_str(&self.held[..held_before + offset + 1 - length]);
                self.held.clear();
                self.stopped = Some(Stop { index, unread: piece.len() - offset - 1 });
                return self.stopped;
            }
        }
        let begun = self.patterns.iter().map(|pattern| pattern.matched).max().unwrap_or(0);
        let release = self.held.len() - begun;
        out.push_str(&self.held[..release]);
        self.held.drain(..release);
        None
    }

    /// Feeds every automaton; length and index of the longest string that is now complete, the first of equals.
    fn longest_complete_with(&mut self, byte: u8) -> Option<(usize, usize)> {
        let mut longest = None;
        for (index, pattern) in self.patterns.iter_mut().enumerate() {
            let length = pattern.text.len();
            if pattern.advance(byte) && longest.is_none_or(|(best, _)| length > best) {
                longest = Some((length, index));
            }
        }
        longest
    }

    /// The text is over: appends what was held back.
    pub fn finish(&mut self, out: &mut String) {
        out.push_str(&self.held);
        self.held.clear();
        self.patterns.iter_mut().for_each(|pattern| pattern.matched = 0);
    }

    /// Text received and neither released nor cut away.
    pub fn held(&self) -> &str {
        &self.held
    }
}

impl Pattern {
    fn new(text: &str) -> Self {
        let mut pattern =
            Self { text: text.as_bytes().to_vec(), fallback: vec![0; text.len() + 1], matched: 0 };
        // The automaton built so far, fed with the string from its second byte on, gives the next fallback.
        for length in 2..=text.len() {
            pattern.step(text.as_bytes()[length - 1]);
            pattern.fallback[length] = pattern.matched;
        }
        pattern.matched = 0;
        pattern
    }

    fn step(&mut self, byte: u8) {
        while self.matched > 0 && self.text[self.matched] != byte {
            self.matched = self.fallback[self.matched];
        }
        if self.text[self.matched] == byte {
            self.matched += 1;
        }
    }

    /// Whether the string is complete with this byte. It is then not fed any further.
    fn advance(&mut self, byte: u8) -> bool {
        self.step(byte);
        self.matched == self.text.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is shown of a whole text, and which string stopped it.
    fn naive(text: &str, stops: &[String]) -> (String, Option<usize>) {
        for end in 1..=text.len() {
            let read = &text.as_bytes()[..end];
            let complete = (0..stops.len()).filter(|&index| read.ends_with(stops[index].as_bytes()));
            if let Some(index) = complete.rev().max_by_key(|&index| stops[index].len()) {
                return (text[..end - stops[index].len()].to_owned(), Some(index));
            }
        }
        (text.to_owned(), None)
    }

    /// The longest end of the text that is a proper beginning of some string.
    fn longest_beginning<'a>(text: &'a str, stops: &[String]) -> &'a str {
        let starts = (0..=text.len()).filter(|&start| text.is_char_boundary(start));
        let begins = |start: &usize| {
            stops.iter().any(|stop| stop.len() > text.len() - start && stop.starts_with(&text[*start..]))
        };
        starts.into_iter().find(begins).map_or("", |start| &text[start..])
    }

    #[test]
    fn a_stop_string_across_pieces_is_never_shown() {
        let mut matcher = StopMatcher::new(&["</s>", "\n\nUser:"]).unwrap();
        let mut out = String::new();
        assert_eq!(matcher.push("Hi <", &mut out), None);
        assert_eq!((out.as_str(), matcher.held()), ("Hi ", "<"));
        assert_eq!(matcher.push("/", &mut out), None);
        assert_eq!(matcher.push("b>\n", &mut out), None);
        assert_eq!((out.as_str(), matcher.held()), ("Hi </b>", "\n"));
        assert_eq!(matcher.push("\nUser: no", &mut out), Some(Stop { index: 1, unread: 3 }));
        assert_eq!(out, "Hi </b>");
        assert_eq!(matcher.push("more", &mut out), Some(Stop { index: 1, unread: 3 }));
        matcher.finish(&mut out);
        assert_eq!(out, "Hi </b>");
    }

    #[test]
    fn the_end_of_the_text_releases_what_was_held() {
        let mut matcher = StopMatcher::new(&["END"]).unwrap();
        let mut out = String::new();
        assert_eq!(matcher.push("the EN", &mut out), None);
        assert_eq!(out, "the ");
        matcher.finish(&mut out);
        assert_eq!(out, "the EN");
    }

    #[test]
    fn characters_that_share_bytes_are_told_apart() {
        let mut matcher = StopMatcher::new(&["é"]).unwrap();
        let mut out = String::new();
        assert_eq!(matcher.push("èê", &mut out), None);
        assert_eq!(matcher.push("aé", &mut out), Some(Stop { index: 0, unread: 0 }));
        assert_eq!(out, "èêa");
    }

    #[test]
    fn limits_are_refused() {
        assert!(matches!(
            StopMatcher::new(&["a", ""]),
            Err(SamplerError::StopLength { index: 1, bytes: 0, .. })
        ));
        let long = "x".repeat(LONGEST_STOP + 1);
        assert!(matches!(StopMatcher::new(&[long]), Err(SamplerError::StopLength { index: 0, .. })));
        assert!(matches!(StopMatcher::new(&vec!["a"; 65]), Err(SamplerError::StopCount { found: 65, .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn agrees_with_a_search_of_the_whole_text(
            text in "[abéè]{0,40}",
            stops in prop::collection::vec("[abéè]{1,5}", 0..4),
            cuts in prop::collection::vec(1usize..5, 1..40),
        ) {
            let mut matcher = StopMatcher::new(&stops).unwrap();
            let mut out = String::new();
            let mut rest: &str = &text;
            let mut sizes = cuts.iter().cycle();
            let mut stop = None;
            while !rest.is_empty() && stop.is_none() {
                let size = rest.char_indices().nth(*sizes.next().unwrap()).map_or(rest.len(), |(at, _)| at);
                let (piece, after) = rest.split_at(size);
                stop = matcher.push(piece, &mut out);
                rest = after;
                let read = &text[..text.len() - rest.len()];
                match stop {
                    Some(stop) => prop_assert_eq!(
                        &read[..read.len() - stop.unread],
                        format!("{out}{}", stops[stop.index])
                    ),
                    None => {
                        prop_assert_eq!(format!("{out}{}", matcher.held()), read);
                        prop_assert_eq!(matcher.held(), longest_beginning(read, &stops));
                    }
                }
            }
            matcher.finish(&mut out);
            prop_assert_eq!((out, stop.map(|stop| stop.index)), naive(&text, &stops));
        }
    }
}
