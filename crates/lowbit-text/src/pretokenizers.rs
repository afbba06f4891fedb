//! The table of named pre-tokenizers: which patterns each `tokenizer.ggml.pre` name stands for.
//!
//! The patterns are facts of the published tokenizers (the `pre_tokenizer` of each `tokenizer.json`). Where
//! llama.cpp only approximates a pattern, the published one is used.

use crate::error::{Result, TextError, nearest};
use crate::pretokenize::SPACES;

/// How a byte-level vocabulary of this name behaves.
#[derive(Debug)]
pub(crate) struct PreTokenizer {
    names: &'static [&'static str],
    /// Stages of alternatives, as [`crate::pretokenize::Splitter::new`] takes them.
    pub(crate) stages: &'static [&'static [&'static str]],
    /// A word that is a token is taken whole, even where the merges would not build it.
    pub(crate) whole_words_first: bool,
    /// Whether text begins with BOS when the file does not say.
    pub(crate) add_bos: bool,
}

impl PreTokenizer {
    /// The entry of that name.
    pub(crate) fn named(name: &str) -> Result<&'static Self> {
        TABLE.iter().find(|entry| entry.names.contains(&name)).ok_or_else(|| TextError::UnknownPreTokenizer {
            found: name.chars().take(80).collect(),
            known: known_pre_tokenizers().collect::<Vec<_>>().join(", "),
            nearest: nearest(name, known_pre_tokenizers()),
        })
    }
}

/// Every name that `tokenizer.ggml.pre` may have.
pub fn known_pre_tokenizers() -> impl Iterator<Item = &'static str> {
    TABLE.iter().flat_map(|entry| entry.names).copied()
}

const SUFFIXES: &str = r"'s|'t|'re|'ve|'m|'ll|'d";
const SUFFIXES_ANY_CASE: &str = r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]";
const WORD: &str = r"[^\r\n\p{L}\p{N}]?\p{L}+";
const SYMBOLS: &str = r" ?[^\s\p{L}\p{N}]+[\r\n]*";
const LINE_ENDS: &str = r"\s*[\r\n]+";

const GPT2: &[&str] = &[SUFFIXES, r" ?\p{L}+", r" ?\p{N}+", r" ?[^\s\p{L}\p{N}]+", SPACES];
const LLAMA3: &[&str] = &[SUFFIXES_ANY_CASE, WORD, r"\p{N}{1,3}", SYMBOLS, LINE_ENDS, SPACES];
const QWEN2: &[&str] = &[SUFFIXES_ANY_CASE, WORD, r"\p{N}", SYMBOLS, LINE_ENDS, SPACES];
const DIGIT: &[&str] = &[r"\p{N}"];
const UP_TO_THREE_DIGITS: &[&str] = &[r"\p{N}{1,3}"];
const CJK: &[&str] = &[r"[一-龥぀-ゟ゠-ヿ]+"];

// Words of the o200k family have an upper-case part and a lower-case part, at least one of them not empty;
// letters without case and marks belong to both.
const UPPER_THEN_LOWER: &str =
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+";
const UPPER_ONLY: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*";
const TEKKEN: &[&str] =
    &[UPPER_THEN_LOWER, UPPER_ONLY, r"\p{N}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", LINE_ENDS, SPACES];
const GPT4O: &[&str] = &[
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i-u:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i-u:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}",
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
    LINE_ENDS,
    SPACES,
];
const KIMI_K2: &[&str] = &[
    r"\p{Han}+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i-u:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i-u:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}",
    SYMBOLS,
    LINE_ENDS,
    SPACES,
];
const DEEPSEEK_V3: &[&str] = &[
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"##,
    r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+",
    r" ?[\p{P}\p{S}]+[\r\n]*",
    LINE_ENDS,
    SPACES,
];
// The cased letters that DeepSeek LLM's tokenizer lists one by one.
const DEEPSEEK_LETTERS: &str = r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u{1F7D}ᾀ-ᾴᾶ-ᾼ\u{1FBE}ῂ-ῄῆ-ῌῐ-\u{1FD3}ῖ-\u{1FDB}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u{2126}ℨ\u{212A}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";
const BLOOM_WORD: &[&str] = &[r" ?[^(\s|.,!?…。，、।۔،)]+"];

const fn plain(names: &'static [&'static str], stages: &'static [&'static [&'static str]]) -> PreTokenizer {
    PreTokenizer { names, stages, whole_words_first: false, add_bos: false }
}

const TABLE: &[PreTokenizer] = &[
    plain(&["default"], &[&[r"[\p{P}\$\+<=>\^~\|]+"], GPT2, &[r"\p{N}+"], &[r"[0-9][0-9][0-9]"]]),
    PreTokenizer {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
            "jina-v5-nano",
        ],
        stages: &[LLAMA3],
        whole_words_first: true,
        add_bos: true,
    },
    plain(&["dbrx", "smaug-bpe", "glm4", "chatglm-bpe"], &[LLAMA3]),
    plain(
        &[
            "qwen2",
            "deepseek-r1-qwen",
            "kormo",
            "f2llmv2",
            "megrez",
            "stablelm2",
            "hunyuan",
            "solar-open",
            "grok-2",
        ],
        &[QWEN2],
    ),
    plain(
        &["qwen35"],
        &[&[
            SUFFIXES_ANY_CASE,
            r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+",
            r"\p{N}",
            r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*",
            LINE_ENDS,
            SPACES,
        ]],
    ),
    plain(
        &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"],
        &[DIGIT, GPT2],
    ),
    plain(
        &[
            "gpt-2",
            "phi-2",
            "jina-es",
            "jina-de",
            "gigachat",
            "jina-v2-es",
            "jina-v2-de",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "exaone4",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
        ],
        &[GPT2],
    ),
    PreTokenizer { names: &["tekken"], stages: &[TEKKEN], whole_words_first: true, add_bos: true },
    plain(&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], &[GPT4O]),
    plain(&["kimi-k2"], &[KIMI_K2]),
    plain(
        &["deepseek-llm"],
        &[
            &[r"[\r\n]"],
            &[DEEPSEEK_LETTERS],
            &[r"\s?[!-/:-~！-／：-～‘-‟　-。]+"],
            &[r"\s+$"],
            &[r"[一-龥ࠀ-一가-퟿]+"],
            &[r"\p{N}+"],
        ],
    ),
    plain(
        &["deepseek-coder"],
        &[&[r"[\r\n]"], &[r"\s?\p{L}+"], &[r"\s?\p{P}+"], &[r"[一-龥ࠀ-一가-퟿]+"], DIGIT],
    ),
    plain(&["deepseek-v3", "hunyuan-dense", "hy_v4", "joyai-llm"], &[UP_TO_THREE_DIGITS, CJK, DEEPSEEK_V3]),
    plain(&["falcon"], &[&[r"[\p{P}\$\+<=>\^~\|`]+"], GPT2, &[r"[0-9][0-9][0-9]"]]),
    plain(&["poro-chat", "bloom", "gpt3-finnish"], &[BLOOM_WORD]),
    plain(&["viking"], &[BLOOM_WORD, DIGIT]),
    plain(
        &["bailingmoe", "bailingmoe2", "llada-moe"],
        &[&[r"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])", WORD, r"\p{N}", SYMBOLS, r"\s*[\r\n]", SPACES]],
    ),
    plain(
        &["seed-coder"],
        &[&[SUFFIXES_ANY_CASE, WORD, r"\p{N}", r" ?[^\s\p{L}\p{N}\r\n]+", LINE_ENDS, SPACES]],
    ),
    PreTokenizer {
        names: &["minicpm5"],
        stages: &[UP_TO_THREE_DIGITS, &[SUFFIXES_ANY_CASE, WORD, r"\p{N}+", SYMBOLS, LINE_ENDS, SPACES]],
        whole_words_first: true,
        add_bos: false,
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pretokenize::Splitter;

    fn pieces(name: &str, text: &str) -> Vec<String> {
        let mut out = Vec::new();
        Splitter::new(PreTokenizer::named(name).unwrap().stages).split(text, &mut |p| out.push(p.to_owned()));
        out
    }

    #[test]
    fn every_name_is_there_once_and_cuts_any_text_without_loss() {
        let text = "Don't\tSTOP 12345 \u{3000}naïve ΣΑΣ 漢字かな 한글 émoji👍🏽 \r\n\r\n  x==y;\u{a0}٣٤ ़क\n ";
        let mut seen = std::collections::HashSet::new();
        for name in known_pre_tokenizers() {
            assert!(seen.insert(name), "{name} is in the table twice");
            assert_eq!(pieces(name, text).concat(), text, "{name}");
        }
    }

    #[test]
    fn families_cut_digits_and_suffixes_their_own_way() {
        assert_eq!(pieces("gpt-2", "I'LL pay 1234"), ["I", "'", "LL", " pay", " 1234"]);
        assert_eq!(pieces("llama-bpe", "I'LL pay 1234"), ["I", "'LL", " pay", " ", "123", "4"]);
        assert_eq!(pieces("qwen2", "pay 12\n\n x"), ["pay", " ", "1", "2", "\n\n", " x"]);
        assert_eq!(pieces("smollm", "pay 12"), ["pay", " ", "1", "2"]);
        assert_eq!(pieces("gpt-4o", "HelloWorld's"), ["Hello", "World's"]);
        assert_eq!(pieces("tekken", "HelloWorld's a/b"), ["Hello", "World", "'s", " a", "/b"]);
        assert_eq!(pieces("kimi-k2", "漢字abc"), ["漢字", "abc"]);
        assert_eq!(pieces("deepseek-v3", "x1234漢字.go"), ["x", "123", "4", "漢字", ".go"]);
        assert_eq!(pieces("falcon", "a12345"), ["a", "123", "45"]);
    }

    #[test]
    fn unknown_name_is_refused_with_the_nearest_known() {
        let error = PreTokenizer::named("qwen22").unwrap_err().to_string();
        assert!(error.contains("did you mean 'qwen2'?") && error.contains("smollm"), "{error}");
    }
}
