//! Thousands of requests that are wrong in some way: every one gets an answer or a closed connection, none harms the
//! server, and a normal request afterwards gets the text that it got before.

use crate::{chat, client::raw, place::Place, wrong::wrong};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

#[test]
fn thousands_of_wrong_requests_harm_nobody() {
    let place = Place::with(|options| {
        options.limits.header = std::time::Duration::from_millis(50);
        options.limits.body = std::time::Duration::from_millis(50);
    });
    let normal = || place.json("/v1/chat/completions", &chat("a normal request"))["choices"].clone();
    let before = normal();
    let mut runner = TestRunner::new(Config { cases: 4000, failure_persistence: None, ..Config::default() });
    let ran = runner.run(&wrong("tiny"), |request| {
        // Where the head is broken there may be nothing to answer to.
        if let Ok(reply) = raw(place.address, &request.bytes) {
            prop_assert!(matches!(reply.status, 200 | 400..=499), "{:?}", reply);
            prop_assert!(
                reply.status == 200
                    || reply.status == 400 && reply.body.is_empty()
                    || reply.body.contains("\"message\""),
                "{:?}",
                reply
            );
        }
        Ok(())
    });
    ran.unwrap();
    assert_eq!(normal(), before);
    place.wait_for("lowbit_requests_running 0");
    let page = place.send("GET", "/metrics", "", "").body;
    for none in ["failed", "panics"] {
        let known = page.lines().find(|line| line.contains(none) && !line.starts_with('#'));
        assert!(known.is_some_and(|line| line.ends_with(" 0")), "{page}");
    }
}
