//! Pulls from a hub on a local port and from wheels made on the spot.

mod data_sets;
mod fixture;
mod hub;
mod server;
mod wheels;
