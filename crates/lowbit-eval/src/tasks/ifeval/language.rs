//! Which language a text is in.

use super::Check;
use lowbit_io::{IoError, texts::Row};
use whatlang::Lang;

/// Languages of the data set, by their ISO 639-1 codes.
const LANGUAGES: [(&str, Lang); 29] = [
    ("ar", Lang::Ara),
    ("bg", Lang::Bul),
    ("bn", Lang::Ben),
    ("de", Lang::Deu),
    ("en", Lang::Eng),
    ("es", Lang::Spa),
    ("fa", Lang::Pes),
    ("fi", Lang::Fin),
    ("fr", Lang::Fra),
    ("gu", Lang::Guj),
    ("he", Lang::Heb),
    ("hi", Lang::Hin),
    ("it", Lang::Ita),
    ("ja", Lang::Jpn),
    ("kn", Lang::Kan),
    ("ko", Lang::Kor),
    ("ml", Lang::Mal),
    ("mr", Lang::Mar),
    ("ne", Lang::Nep),
    ("pa", Lang::Pan),
    ("pl", Lang::Pol),
    ("pt", Lang::Por),
    ("ru", Lang::Rus),
    ("ta", Lang::Tam),
    ("te", Lang::Tel),
    ("th", Lang::Tha),
    ("uk", Lang::Ukr),
    ("ur", Lang::Urd),
    ("vi", Lang::Vie),
];

/// Whether a text looks most like a language; one without letters is in any.
fn is_in(text: &str, language: Lang) -> bool {
    whatlang::detect_lang(text).is_none_or(|found| found == language)
}

/// Whether nothing says clearly that a text is not English: a few words look like many languages. In small letters, as words in
/// capitals do so too.
pub(super) fn is_english(text: &str) -> bool {
    let found = whatlang::detect(&text.to_lowercase());
    found.is_none_or(|found| found.lang() == Lang::Eng || !found.is_reliable())
}

pub(super) fn response(arguments: &Row) -> Result<Option<Check>, IoError> {
    let code = arguments.text("language")?;
    let language = LANGUAGES.iter().find(|(known, _)| *known == code).map(|(_, language)| *language);
    Ok(language.map(|language| -> Check { Box::new(move |text| is_in(text, language)) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_told_apart() {
        for (code, text) in [
            ("en", "The weather was fine and we walked along the river until the evening."),
            ("de", "Das Wetter war schön, und wir gingen bis zum Abend am Fluss entlang."),
            ("hi", "मौसम अच्छा था और हम शाम तक नदी के किनारे चलते रहे।"),
            ("mr", "हवामान छान होते आणि आम्ही संध्याकाळपर्यंत नदीकाठी चालत राहिलो."),
            ("fi", "Sää oli kaunis, ja kävelimme joen rantaa pitkin iltaan asti."),
            ("bg", "Времето беше хубаво и ние вървяхме край реката чак до вечерта."),
            ("ko", "날씨가 좋아서 우리는 저녁까지 강가를 걸었습니다."),
            ("vi", "Thời tiết đẹp và chúng tôi đi bộ dọc bờ sông cho đến tối."),
        ] {
            let found: Vec<&str> = LANGUAGES
                .iter()
                .filter(|(_, language)| is_in(text, *language))
                .map(|(code, _)| *code)
                .collect();
            assert_eq!(found, [code]);
        }
        assert!(is_in("12 + 3", Lang::Eng));
        assert!(is_english("THE WEATHER WAS FINE AND WE WALKED ALONG THE RIVER UNTIL THE EVENING."));
        assert!(is_english("item two"));
        assert!(!is_english("DAS WETTER WAR SCHÖN, UND WIR GINGEN BIS ZUM ABEND AM FLUSS ENTLANG."));
    }

    #[test]
    fn a_language_that_nothing_can_tell_is_not_graded() {
        let arguments = |code: &str| Row {
            fields: [("language".to_owned(), code.into())].into_iter().collect(),
            number: 1,
        };
        assert!(response(&arguments("sw")).unwrap().is_none());
        assert!(response(&arguments("kn")).unwrap().is_some());
    }
}
